"""Every kind of bad input: one line on stderr, a status that is not 0, nothing written or overwritten, no code run."""

import io
import os
import pickle
import shutil
import sys
import zipfile

import numpy as np
import pytest
import torch

from conftest import DIGITS, refusal, run

OFFLINE = {"http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9"}  # nobody listens there

FORGET = f"forget.py --dataset MNIST --model fcnet --data {DIGITS} --scores out.npy --correct out2.npy --out out.pt"
SELECT = "select.py --scores forget.npy --order low --ratio 0.1 --out out.npy"
TRAIN = f"train.py --dataset MNIST --model fcnet --data {DIGITS} --epochs 1 --out out.pt"
PRUNE = f"prune.py --in dense.pt --ratio 0.5 --data {DIGITS} --out out.pt"
TUNE = f"finetune.py --in pruned.pt --epochs 1 --data {DIGITS} --out out.pt"
REPORT = "report.py table hold.pt --out out.txt"
OUTPUTS = ("out.pt", "out.npy", "out2.npy", "out.txt")


def listing(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def check_refusal(command, words, folder):
    """The command's one line has all the words, and after it the folder is as it was."""
    before = listing(folder)
    err = refusal(*command.split(), cwd=folder, env=os.environ | OFFLINE)
    assert err.startswith(f"{command.split()[0]}: error: ")
    for word in words.split():
        assert word in err, err
    assert listing(folder) == before


def subset_of(name):
    return f"{TRAIN} --subset {name}.npy"


def scores_of(name):
    return SELECT.replace("forget", name)


def trained_on(folder):
    return TRAIN.replace(str(DIGITS), folder)


@pytest.fixture(scope="module")
def folder(chain, tmp_path_factory):
    """A folder with the chain's files, bad ones beside them, and outputs that must not be lost."""
    folder = tmp_path_factory.mktemp("bad")
    shutil.copytree(chain, folder, dirs_exist_ok=True)
    write_arrays(folder)
    write_checkpoints(folder)
    write_csv(folder)
    write_data(folder)
    os.mkfifo(folder / "pipe.npy")
    os.mkfifo(folder / "pipe.pt")
    (folder / "link.pt").symlink_to("pipe.pt")
    for name in OUTPUTS:
        (folder / name).write_text("precious")
    return folder


def write_arrays(folder):
    arrays = {
        "empty": np.array([], dtype=np.int64),
        "beyond": np.array([0, 4000]),
        "negative": np.array([0, -1]),
        "floats": np.array([0.0, 1.0]),
        "pairs": np.array([[0, 1], [2, 3]]),
        "one": np.array(3),
        "twice": np.array([5, 6, 5]),
        "nan": np.array([0.0, np.nan]),
    }
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
    (folder / "half.npy").write_bytes((folder / "forget.npy").read_bytes()[:9999])
    low = (folder / "low.npy").read_bytes()
    (folder / "null.npy").write_bytes(low.replace(b'"order": "low"', b'"order": null'))


def write_checkpoints(folder):
    (folder / "half.pt").write_bytes((folder / "dense.pt").read_bytes()[:9999])
    torch.save([1, 2], folder / "list.pt")
    base = torch.load(folder / "full.pt", weights_only=True)
    del base["args"]["forget"]["epochs"]
    torch.save(base, folder / "epochs.pt")
    strange = torch.load(folder / "dense.pt", weights_only=True)
    strange["args"]["train"]["model"] = "fcnett"
    torch.save(strange, folder / "strange.pt")
    better = torch.load(folder / "hold.pt", weights_only=True)
    better["accuracy"][-1] += 1
    torch.save(better, folder / "better.pt")


def write_csv(folder):
    header, line = run("report.py", "runs", folder / "hold.pt").splitlines()
    (folder / "twins.csv").write_text(f"{header},seed\n{line},7\n")
    (folder / "unknown.csv").write_text(f"{header},colour\n{line},7\n")
    (folder / "lacking.csv").write_text(f"{header.replace('seed,', '')}\n{line}\n")


def write_data(folder):
    digits = torch.load(DIGITS / "MNIST.pt", weights_only=True)
    images, labels = digits["train_images"], digits["train_labels"]
    test_labels = digits["test_labels"]
    changes = {
        "other": {"train_labels": labels.flip(0)},
        "float": {"train_images": images.float()},
        "shape": {"test_images": digits["test_images"].repeat(1, 3, 1, 1)},
        "none": {"train_images": images[:0], "train_labels": labels[:0]},
        "short": {"train_labels": labels.int()},
        "few": {"train_labels": labels[:-1]},
        "ten": {"test_labels": test_labels + 1},
        "nine": {"test_labels": torch.where(test_labels == 3, 4, test_labels)},
    }
    for name in (*changes, "cut", "void"):
        (folder / name).mkdir()
    for name, change in changes.items():
        torch.save(digits | change, folder / name / "MNIST.pt")
    (folder / "cut" / "MNIST.pt").write_bytes((DIGITS / "MNIST.pt").read_bytes()[:100_000])


CASES = {  # name: command, words that the one line has
    # flags
    "unknown dataset": (TRAIN.replace("MNIST", "SVHN"), "--dataset 'SVHN' MNIST"),
    "unknown model": (TRAIN.replace("fcnet", "fcnett"), "--model fcnett resnet18"),
    "a model that is no classifier": (TRAIN.replace("fcnet", "raft_small"), "--model raft_small"),
    "lenet on CIFAR": (TRAIN.replace("MNIST --model fcnet", "CIFAR10 --model lenet"), "lenet CIFAR10 3 x 32 x 32"),
    "unknown order": (SELECT.replace("low", "middle"), "--order 'middle' high"),
    "data ratio 0": (SELECT.replace("0.1", "0"), "--ratio above 0"),
    "data ratio above 1": (SELECT.replace("0.1", "1.1"), "--ratio at most 1"),
    "data ratio NaN": (SELECT.replace("0.1", "nan"), "--ratio nan"),
    "data ratio of no sample": (SELECT.replace("0.1", "0.00001"), "--ratio 4000 samples is none"),
    "share of no sample": (TRAIN + " --share 1e-9", "--share 4000 samples is none"),
    "share without end": (TRAIN + " --share inf", "--share at most 1000"),
    "prune ratio 1": (PRUNE.replace("0.5", "1"), "--ratio below 1"),
    "prune ratio below 0": (PRUNE.replace("--ratio 0.5", "--ratio=-0.1"), "--ratio at least 0"),
    "negative seed": (TRAIN + " --seed -1", "--seed -1"),
    "a seed that torch takes for another": (TRAIN + " --seed 4294967296", "--seed 4294967296 2**32 - 1"),
    "such a seed for ties": (SELECT + " --seed 4294967296", "--seed 4294967296 2**32 - 1"),
    "no epochs for scores": (FORGET + " --epochs 0", "--epochs one epoch"),
    "epochs that are no number": (TRAIN + " --epochs x", "--epochs x"),
    "lr 0": (TRAIN + " --lr 0", "--lr 0"),
    "loss not finite": (TRAIN + " --lr 1e38", "epoch 1, step 2"),
    "unknown flag": (TRAIN + " --speed 3", "--speed"),
    "a device that is none": (TRAIN + " --device gpu", "--device gpu"),
    "no report of that name": (REPORT.replace("table", "chair"), "chair"),
    # subsets
    "subset empty": (subset_of("empty"), "empty.npy empty"),
    "subset out of range": (subset_of("beyond"), "beyond.npy 0 to 3999"),
    "subset negative": (subset_of("negative"), "negative.npy 0 to 3999"),
    "subset of floats": (subset_of("floats"), "floats.npy float64"),
    "subset of pairs": (subset_of("pairs"), "pairs.npy [2, 2]"),
    "subset of a single number": (subset_of("one"), "one.npy int64 []"),
    "subset with a sample twice": (subset_of("twice"), "twice.npy more than once"),
    "subset of other data": (trained_on("other") + " --subset low.npy", "low.npy other data"),
    "subset missing": (subset_of("nowhere"), "nowhere.npy"),
    "subset that is a pipe": (subset_of("pipe"), "pipe.npy no such file"),
    "subset with a flag that is null": (subset_of("null"), "null.npy flags"),
    "subset of another seed": (subset_of("low") + " --seed 1", "--seed 1: low.npy seed 0"),
    "pruned network of another seed": (TUNE + " --seed 1", "--seed 1: pruned.pt seed 0"),
    "subset that is a checkpoint": (TRAIN + " --subset dense.pt", "dense.pt"),
    # scores
    "scores with NaN": (scores_of("nan"), "nan.npy finite"),
    "scores of pairs": (scores_of("pairs"), "pairs.npy [2, 2]"),
    "scores missing": (scores_of("nowhere"), "nowhere.npy"),
    "scores that are a pipe": (scores_of("pipe"), "pipe.npy no such file"),
    "scores truncated": (scores_of("half"), "half.npy"),
    "scores that are a checkpoint": (SELECT.replace("forget.npy", "dense.pt"), "dense.pt"),
    # checkpoints
    "checkpoint truncated": (PRUNE.replace("dense", "half"), "half.pt"),
    "checkpoint that is none": (PRUNE.replace("dense", "list"), "list.pt not a checkpoint"),
    "checkpoint missing": (TUNE.replace("pruned", "nowhere"), "nowhere.pt"),
    "checkpoint that is a pipe": (PRUNE.replace("dense", "pipe"), "pipe.pt no such file"),
    "checkpoint with an escape sequence in its name": (PRUNE.replace("dense", "\x1b[2Jx"), "\\x1b[2Jx.pt"),
    "checkpoint of other data": (TUNE.replace(str(DIGITS), "other"), "pruned.pt other data"),
    "checkpoint of an unknown model": (PRUNE.replace("dense", "strange"), "fcnett resnet18"),
    "start that lacks a flag": (PRUNE + " --start epochs.pt", "epochs.pt 'epochs'"),
    "report of a checkpoint not pruned": (REPORT.replace("hold", "dense"), "dense.pt run prune.py"),
    "report of a checkpoint not fine-tuned": (REPORT.replace("hold", "pruned"), "pruned.pt run prune.py"),
    "report of a run with two results": (REPORT.replace("hold.pt", "hold.pt better.pt"), "hold.pt better.pt one run"),
    # a csv of runs
    "csv with a column twice": (REPORT.replace("hold.pt", "twins.csv"), "twins.csv first line"),
    "csv with an unknown column": (REPORT.replace("hold.pt", "unknown.csv"), "unknown.csv first line"),
    "csv that lacks a column": (REPORT.replace("hold.pt", "lacking.csv"), "lacking.csv first line"),
    # data
    "data truncated": (trained_on("cut"), "cut/MNIST.pt"),
    "data of floats": (trained_on("float"), "float/MNIST.pt uint8"),
    "data of the wrong shape": (trained_on("shape"), "shape/MNIST.pt [N, 1, 28, 28]"),
    "data of no images": (trained_on("none"), "none/MNIST.pt train_images"),
    "data with labels of another type": (trained_on("short"), "short/MNIST.pt int64"),
    "data with too few labels": (trained_on("few"), "few/MNIST.pt one for each"),
    "data with labels outside the classes": (trained_on("ten"), "ten/MNIST.pt 0 to 9"),
    "data whose test set lacks a class": (trained_on("nine"), "nine/MNIST.pt every class"),
    "no data and no network": (trained_on("void"), "void/MNIST.pt copy"),
    # outputs
    "output in a folder that is a file": (TRAIN.replace("out.pt", "out.txt/out.pt"), "out.txt/out.pt"),
    "output that is a folder": (TRAIN.replace("out.pt", "other"), "other folder"),
    "output that is a pipe": (TRAIN.replace("out.pt", "pipe.pt"), "pipe.pt no regular file"),
    "output that is a link to a pipe": (TRAIN.replace("out.pt", "link.pt"), "link.pt no regular file"),
    "output without a name": (TRAIN.replace(" out.pt", "="), "cannot write ''"),
    "output of select in a file": (SELECT.replace("out.npy", "out.txt/out.npy"), "out.txt/out.npy"),
    "output of select that is a folder": (SELECT.replace("out.npy", "other"), "other no regular file"),
    "output of select that is a pipe": (SELECT.replace("out.npy", "pipe.npy"), "pipe.npy no regular file"),
    "output of select without a name": (SELECT.replace(" out.npy", "="), "cannot write ''"),
    "two outputs on one path": (FORGET.replace("out2.npy", "./out.npy"), "two outputs"),
}
if not torch.cuda.is_available():
    CASES["cuda without one"] = (TRAIN + " --device cuda", "--device cuda")


@pytest.mark.parametrize("case", CASES)
def test_one_line_says_what_is_wrong(case, folder):
    check_refusal(*CASES[case], folder)
    assert folder.joinpath("pipe.pt").is_fifo() and folder.joinpath("link.pt").is_symlink()


@pytest.mark.parametrize("size", [199, 1])  # of a batch, of 200 samples
def test_a_batch_of_one_is_too_little_for_batchnorm(cifar, folder, size):
    command = f"train.py --dataset CIFAR100 --model resnet18 --data {cifar} --batch-size {size} --out out.pt"
    check_refusal(command, "--batch-size BatchNorm", folder)


# ------------------------------------------------------------------------------------------------------- .npy files


def npy(*arrays):
    file = io.BytesIO()
    for array in arrays:
        np.save(file, array, allow_pickle=True)
    return file.getvalue()


def under(header, version=1):
    """A .npy of eight zeros under a header of any text."""
    return b"\x93NUMPY" + bytes([version, 0]) + len(header).to_bytes(2, "little") + header.encode() + bytes(64)


def describing(shape="(8,)", descr="'<i8'"):
    return under(f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}}}")


def npz():
    file = io.BytesIO()
    np.savez(file, np.arange(8))
    return file.getvalue()


class Code:
    """Unpickled, it is a file named "ran"."""

    def __reduce__(self):
        return open, ("ran", "w")


ARRAYS = {  # what is no array of numbers
    "empty": b"",
    "text": b"some text",
    "an .npz": npz(),
    "a pickle with code": pickle.dumps(Code()),
    "objects with code": npy(np.array([Code()])),
    "texts": npy(np.array(["a", "b"])),
    "complex numbers": npy(np.zeros(8, "c16")),
    "times": npy(np.zeros(8, "M8[s]")),
    "records": npy(np.zeros(8, "i4,f8")),
    "bytes without a type": npy(np.zeros(8, "V4")),
    "a million million numbers": describing(shape=f"({10**12},)"),
    "more numbers than there are addresses": describing(shape=f"({2**62}, {2**62})"),
    "a shape below zero": describing(shape="(-1,)"),
    "a shape of half a number": describing(shape="(1.5,)"),
    "a shape that is none": describing(shape="None"),
    "a shape of 70 dimensions": describing(shape=str((1,) * 70)),
    "a type of objects": describing(descr="'|O'"),
    "a type of long texts": describing(descr="'<U99999999'"),
    "a type that is none": describing(descr="3"),
    "a header that is no dict": under("1"),
    "a header that does not end": under("{'descr':"),
    "a header of deep lists": under("[" * 5000),
    "a header of code": under("__import__('os').mkdir('ran')"),
    "a header longer than the file": under("")[:8] + b"\xff\xff" + bytes(64),
    "a version to come": under("{}", version=255),
}


@pytest.mark.parametrize("kind", ARRAYS)
@pytest.mark.parametrize("reader", ["scores", "errors", "subset", "correct"])
def test_a_file_that_is_no_array_of_numbers(reader, kind, folder, tmp_path):
    commands = {
        "scores": scores_of("x"),
        "errors": scores_of("x").replace("low", "el2n"),
        "subset": subset_of("x"),
        "correct": SELECT,
    }
    for name in ("forget.npy", *OUTPUTS):
        shutil.copy(folder / name, tmp_path)
    name = "correct.npy" if reader == "correct" else "x.npy"
    (tmp_path / name).write_bytes(ARRAYS[kind])
    check_refusal(commands[reader], name, tmp_path)


FLAGS = {  # what is not the flags of steps
    "a list": b"[1]",
    "a text": b'"x"',
    "a number": b"3",
    "flags that are a number": b'{"forget": 3}',
    "a flag that is a list": b'{"forget": {"epochs": [1]}}',
    "flags of another step": b'{"prune": {}}',
    "what does not end": b"{",
    "two values": b"{} {}",
    "deep lists": b"[" * 100_000,
    "a number without end": b"9" * 100_000,
    "bytes that are no text": b"\xff",
}


@pytest.mark.parametrize("kind", FLAGS)
@pytest.mark.parametrize("reader", ["scores", "subset"])
def test_other_things_than_flags_behind_an_array(reader, kind, folder):
    arrays = [np.arange(400), np.arange(400) % 10] if reader == "scores" else [np.arange(400)]
    (folder / "x.npy").write_bytes(npy(*arrays) + b"\n" + FLAGS[kind] + b"\n")
    check_refusal(scores_of("x") if reader == "scores" else subset_of("x"), "x.npy", folder)


LABELS = {  # what is not one class per sample
    "of a million million classes": np.full(4000, 10**12),
    "below zero": np.full(4000, -1),
    "too few": np.zeros(3999, dtype=np.int64),
    "of another type": np.zeros(4000),
    "with code": np.array([Code()]),
}


@pytest.mark.parametrize("kind", LABELS)
def test_other_things_than_labels_behind_scores(kind, folder):
    (folder / "x.npy").write_bytes(npy(np.zeros(4000, dtype=np.int64), LABELS[kind]) + b'\n{"forget": {}}\n')
    check_refusal(scores_of("x"), "x.npy", folder)


# -------------------------------------------------------------------------------------------------------- .pt files


def check_checkpoint(content, folder):
    (folder / "x.pt").write_bytes(content)
    check_refusal(PRUNE.replace("dense", "x"), "x.pt is not a checkpoint", folder)


def saved(checkpoint, **kwargs):
    file = io.BytesIO()
    torch.save(checkpoint, file, **kwargs)
    return file.getvalue()


FILES = {
    "empty": b"",
    "text": b"some text",
    "a pickle with code": pickle.dumps({"model": Code()}),
    "an empty zip": b"PK\5\6" + bytes(18),
    "the format before zip": saved({"model": {}}, _use_new_zipfile_serialization=False),
}


@pytest.mark.parametrize("kind", FILES)
def test_a_file_that_is_no_checkpoint(kind, folder):
    check_checkpoint(FILES[kind], folder)


DEEP = b"\x80\x02" + b"]" * 100_000 + b"a" * 99_999 + b"."  # a pickle of lists within lists
PARTS = {  # a part of the zip, and what comes in its place, with the right checksum
    "numbers missing": ("data/0", None),
    "numbers of another size": ("data/0", b"x"),
    "values missing": ("data.pkl", None),
    "values cut off": ("data.pkl", b"\x80\x02}q\x00"),
    "values with code": ("data.pkl", pickle.dumps({"model": Code()}, protocol=2)),
    "values that are lists, very deep": ("data.pkl", DEEP),
}


@pytest.mark.parametrize("kind", PARTS)
def test_a_checkpoint_of_which_one_part_is_another(kind, folder):
    part, content = PARTS[kind]
    changed = io.BytesIO()
    with zipfile.ZipFile(folder / "dense.pt") as dense, zipfile.ZipFile(changed, "w") as archive:
        for name in dense.namelist():
            if not name.endswith(f"/{part}"):
                archive.writestr(name, dense.read(name))
            elif content is not None:
                archive.writestr(name, content)
    check_checkpoint(changed.getvalue(), folder)


def test_a_checkpoint_with_one_bit_of_a_weight_flipped(folder):
    content = bytearray((folder / "dense.pt").read_bytes())
    content[len(content) // 2] ^= 1
    check_checkpoint(bytes(content), folder)


WEIGHTS = {
    "of half the inputs": lambda weight: weight[:, :128].clone(),
    "of no outputs": lambda weight: weight[:0].clone(),
    "of one dimension": lambda weight: weight.flatten(),
    "of three dimensions": lambda weight: weight[None],
    "without numbers": lambda weight: weight.to("meta"),
    "sparse": lambda weight: weight.to_sparse(),
    "not a number": lambda weight: weight.log(),
    "infinite": lambda weight: weight / 0,
}


@pytest.mark.parametrize("kind", WEIGHTS)
def test_a_weight_that_no_network_has(kind, folder):
    checkpoint = torch.load(folder / "dense.pt", weights_only=True)
    checkpoint["model"]["3.weight"] = WEIGHTS[kind](checkpoint["model"]["3.weight"])
    check_checkpoint(saved(checkpoint), folder)


ORIGIN = {  # a flag of the first training, and a value that it cannot have
    "another network": ("model", "lenet"),
    "a data set that is none": ("dataset", "x"),
    "a seed of words": ("seed", "x"),
    "a seed beyond all numbers": ("seed", 10**400),
    "epochs of several": ("epochs", torch.tensor([3, 3])),
    "nothing": ("seed", None),
    "a list": ("dataset", ["MNIST"]),
}


@pytest.mark.parametrize("kind", ORIGIN)
def test_a_flag_of_a_checkpoint_that_cannot_be(kind, folder):
    flag, value = ORIGIN[kind]
    checkpoint = torch.load(folder / "dense.pt", weights_only=True)
    checkpoint["args"]["train"][flag] = value
    check_checkpoint(saved(checkpoint), folder)


FIELDS = ["model", "args", "accuracy", "class_accuracy", "loss", "seconds", "earlier", "versions", "device"]


@pytest.mark.parametrize("field", FIELDS)
def test_a_field_of_a_checkpoint_missing_or_of_another_type(field, folder):
    checkpoint = torch.load(folder / "dense.pt", weights_only=True)
    del checkpoint[field]
    check_checkpoint(saved(checkpoint), folder)
    check_checkpoint(saved(checkpoint | {field: (1, 2)}), folder)
    check_checkpoint(saved(checkpoint | {field: torch.zeros(10)}), folder)


def test_a_small_file_that_inflates_to_a_gigabyte(chain, tmp_path):
    path = tmp_path / "bomb.pt"
    with zipfile.ZipFile(chain / "dense.pt") as small, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as bomb:
        for entry in small.infolist():
            zeros = 10**9 if entry.filename.endswith("data.pkl") else 0  # behind the end of the pickle
            bomb.writestr(entry.filename, small.read(entry) + bytes(zeros))
    check_memory(path)


def test_a_small_file_with_a_tensor_of_a_million_million_numbers(chain, tmp_path):
    path = tmp_path / "bomb.pt"
    checkpoint = torch.load(chain / "dense.pt", weights_only=True)
    checkpoint["model"]["3.weight"] = torch.zeros(1).expand(10**6, 10**6)
    torch.save(checkpoint, path)
    check_memory(path)


def check_memory(path):
    """train.read refuses the file in less than 50 MB."""
    assert path.stat().st_size < 2_000_000
    code = f"""
import resource, train
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    train.read({str(path)!r})
except SystemExit:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    assert int(run(sys.executable, "-c", code)) < 50_000  # KiB
