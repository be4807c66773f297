"""Every kind of bad input: one line on stderr, a status that is not 0, nothing written or overwritten."""

import os

import numpy as np
import pytest
import torch
from conftest import DIGITS, start

OFFLINE = {"http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9"}  # nobody listens there

FORGET = "forget.py --dataset MNIST --model fcnet --scores out.npy --correct out2.npy --out out.pt"
SELECT = "select.py --scores {chain}/forget.npy --order low --ratio 0.1 --out out.npy"
TRAIN = "train.py --dataset MNIST --model fcnet --data {digits} --epochs 1 --out out.pt"
PRUNE = "prune.py --in {chain}/dense.pt --ratio 0.5 --data {digits} --out out.pt"
TUNE = "finetune.py --in {chain}/pruned.pt --epochs 1 --data {digits} --out out.pt"
REPORT = "report.py table {chain}/hold.pt --out out.txt"

CASES = {  # name: command, words that the one line has
    "unknown dataset": (TRAIN.replace("MNIST", "SVHN"), "--dataset 'SVHN' MNIST"),
    "unknown model": (TRAIN.replace("fcnet", "fcnett"), "--model fcnett resnet18"),
    "a model that is no classifier": (TRAIN.replace("fcnet", "raft_small"), "--model raft_small"),
    "unknown order": (SELECT.replace("low", "middle"), "--order 'middle' high"),
    "lenet on CIFAR": (
        TRAIN.replace("MNIST --model fcnet", "CIFAR10 --model lenet"),
        "--model lenet CIFAR10 3 x 32 x 32",
    ),
    "data ratio 0": (SELECT.replace("0.1", "0"), "--ratio above 0"),
    "data ratio above 1": (SELECT.replace("0.1", "1.1"), "--ratio at most 1"),
    "data ratio NaN": (SELECT.replace("0.1", "nan"), "--ratio nan"),
    "share of none": (TRAIN + " --share 1e-9", "--share 4000 samples is none"),
    "share without end": (TRAIN + " --share inf", "--share at most 1000"),
    "data ratio of none": (SELECT.replace("0.1", "0.00001"), "--ratio 4000 samples is none"),
    "prune ratio 1": (PRUNE.replace("0.5", "1"), "--ratio below 1"),
    "prune ratio below 0": (PRUNE.replace("--ratio 0.5", "--ratio=-0.1"), "--ratio at least 0"),
    "negative seed": (TRAIN + " --seed -1", "--seed -1"),
    "a seed that torch takes for another": (TRAIN + " --seed 4294967296", "--seed 4294967296 2**32 - 1"),
    "such a seed for ties": (SELECT + " --seed 4294967296", "--seed 4294967296 2**32 - 1"),
    "no epochs for scores": (FORGET + " --data {digits} --epochs 0", "--epochs one epoch"),
    "no epochs": (TRAIN + " --epochs x", "--epochs x"),
    "lr 0": (TRAIN + " --lr 0", "--lr 0"),
    "unknown flag": (TRAIN + " --speed 3", "--speed"),
    "subset empty": (TRAIN + " --subset empty.npy", "empty.npy empty"),
    "subset out of range": (TRAIN + " --subset beyond.npy", "beyond.npy 0 to 3999"),
    "subset negative": (TRAIN + " --subset negative.npy", "negative.npy 0 to 3999"),
    "subset of floats": (TRAIN + " --subset floats.npy", "floats.npy float64"),
    "subset of pairs": (TRAIN + " --subset pairs.npy", "pairs.npy [2, 2]"),
    "subset with a sample twice": (TRAIN + " --subset twice.npy", "twice.npy more than once"),
    "subset of other data": (
        TRAIN.format(digits="other", chain="") + " --subset {chain}/low.npy",
        "low.npy other data",
    ),
    "subset that needs pickle": (TRAIN + " --subset pickle.npy", "pickle.npy"),
    "subset missing": (TRAIN + " --subset nowhere.npy", "nowhere.npy"),
    "subset that is text": (TRAIN + " --subset text.npy", "text.npy"),
    "subset with a flag that is null": (TRAIN + " --subset null.npy", "null.npy flags"),
    "scores with NaN": (SELECT.replace("{chain}/forget", "nan"), "nan.npy finite"),
    "scores of the wrong shape": (SELECT.replace("{chain}/forget", "pairs"), "pairs.npy [2, 2]"),
    "scores that need pickle": (SELECT.replace("{chain}/forget", "pickle"), "pickle.npy"),
    "scores missing": (SELECT.replace("{chain}/forget", "nowhere"), "nowhere.npy"),
    "scores truncated": (SELECT.replace("{chain}/forget", "half"), "half.npy"),
    "checkpoint truncated": (PRUNE.replace("{chain}/dense", "half"), "half.pt"),
    "checkpoint that is none": (PRUNE.replace("{chain}/dense", "list"), "list.pt not a checkpoint"),
    "checkpoint with another network": (PRUNE.replace("{chain}/dense", "wrong"), "wrong.pt not a checkpoint"),
    "checkpoint that needs code": (TUNE.replace("{chain}/pruned", "code"), "code.pt"),
    "checkpoint with a tensor for a flag": (PRUNE.replace("{chain}/dense", "flag"), "flag.pt other types"),
    "checkpoint with a tensor for numbers": (PRUNE.replace("{chain}/dense", "tensor"), "tensor.pt other types"),
    "start that lacks a flag": (PRUNE + " --start epochs.pt", "epochs.pt 'epochs'"),
    "checkpoint missing": (TUNE.replace("{chain}/pruned", "nowhere"), "nowhere.pt"),
    "checkpoint of other data": (TUNE.replace("{digits}", "other"), "pruned.pt other data"),
    "report of a checkpoint not pruned": (REPORT.replace("hold", "dense"), "dense.pt run prune.py"),
    "report of a checkpoint not fine-tuned": (REPORT.replace("hold", "pruned"), "pruned.pt run prune.py"),
    "report of a cell with two results": (REPORT.replace("hold.pt", "hold.pt better.pt"), "hold.pt better.pt one cell"),
    "report of no table": (REPORT.replace("table", "chair"), "chair"),
    "data truncated": (TRAIN.replace("{digits}", "cut"), "cut/MNIST.pt"),
    "data of floats": (TRAIN.replace("{digits}", "float"), "float/MNIST.pt uint8"),
    "data of the wrong shape": (TRAIN.replace("{digits}", "shape"), "shape/MNIST.pt [N, 1, 28, 28]"),
    "data with labels of another type": (TRAIN.replace("{digits}", "short"), "short/MNIST.pt int64"),
    "data with too few labels": (TRAIN.replace("{digits}", "few"), "few/MNIST.pt one for each"),
    "data with labels outside the classes": (TRAIN.replace("{digits}", "ten"), "ten/MNIST.pt 0 to 9"),
    "no data and no network": (TRAIN.replace("{digits}", "void"), "void/MNIST.pt copy"),
    "output in a folder that is a file": (TRAIN.replace("out.pt", "text.npy/out.pt"), "text.npy/out.pt"),
    "output that is a folder": (TRAIN.replace("out.pt", "other"), "other folder"),
    "output of select in a file": (SELECT.replace("out.npy", "text.npy/out.npy"), "text.npy/out.npy"),
    "a batch of one for BatchNorm": (
        "train.py --dataset CIFAR100 --model resnet18 --data {cifar} --batch-size 199 --out out.pt",
        "--batch-size BatchNorm",
    ),
    "loss not finite": (TRAIN + " --lr 1e38", "epoch 1, step 2"),
}
if not torch.cuda.is_available():
    CASES["cuda without one"] = (TRAIN + " --device cuda", "--device cuda")
CASES["a device that is none"] = (TRAIN + " --device gpu", "--device gpu")


@pytest.fixture(scope="module")
def folder(chain, tmp_path_factory):
    folder = tmp_path_factory.mktemp("bad")
    arrays = {
        "empty": np.array([], dtype=np.int64),
        "beyond": np.array([0, 4000]),
        "negative": np.array([0, -1]),
        "floats": np.array([0.0, 1.0]),
        "pairs": np.array([[0, 1], [2, 3]]),
        "twice": np.array([5, 6, 5]),
        "nan": np.array([0.0, np.nan]),
    }
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
    np.save(folder / "pickle.npy", np.array([{}]), allow_pickle=True)
    (folder / "text.npy").write_text("some text")
    (folder / "null.npy").write_bytes((chain / "low.npy").read_bytes().replace(b'"order": "low"', b'"order": null'))
    for whole, half in (("forget.npy", "half.npy"), ("dense.pt", "half.pt")):
        (folder / half).write_bytes((chain / whole).read_bytes()[:9999])
    torch.save([1, 2], folder / "list.pt")
    torch.save(listing, folder / "code.pt")
    wrong = torch.load(chain / "dense.pt", weights_only=True)
    wrong["args"]["train"]["model"] = "lenet"
    torch.save(wrong, folder / "wrong.pt")
    base = torch.load(chain / "full.pt", weights_only=True)
    flags = base["args"]["forget"]
    torch.save(base | {"args": {"forget": {k: flags[k] for k in flags if k != "epochs"}}}, folder / "epochs.pt")
    torch.save(base | {"args": {"forget": flags | {"epochs": torch.tensor([3, 3])}}}, folder / "flag.pt")
    torch.save(base | {"class_accuracy": torch.tensor(base["class_accuracy"])}, folder / "tensor.pt")
    better = torch.load(chain / "hold.pt", weights_only=True)
    better["accuracy"][-1] += 1
    torch.save(better, folder / "better.pt")

    digits = torch.load(DIGITS / "MNIST.pt", weights_only=True)
    images, labels = digits["train_images"], digits["train_labels"]
    changes = {
        "other": {"train_labels": labels.flip(0)},
        "float": {"train_images": images.float()},
        "shape": {"test_images": digits["test_images"].repeat(1, 3, 1, 1)},
        "short": {"train_labels": labels.int()},
        "few": {"train_labels": labels[:-1]},
        "ten": {"test_labels": digits["test_labels"] + 1},
    }
    for name in (*changes, "cut", "void"):
        (folder / name).mkdir()
    for name, change in changes.items():
        torch.save(digits | change, folder / name / "MNIST.pt")
    (folder / "cut" / "MNIST.pt").write_bytes((DIGITS / "MNIST.pt").read_bytes()[:100_000])
    for name in ("out.pt", "out.npy", "out2.npy", "out.txt"):
        (folder / name).write_text("precious")
    return folder


def listing(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("case", CASES)
def test_one_line_says_what_is_wrong(case, folder, chain, cifar):
    command, words = CASES[case]
    before = listing(folder)
    command = command.format(chain=chain, digits=DIGITS, cifar=cifar).split()
    process = start(*command, cwd=folder, env=os.environ | OFFLINE)
    _, err = process.communicate()
    assert process.returncode > 0
    assert err.count("\n") == 1 and err.endswith("\n") and "Traceback" not in err, err
    assert err.startswith(f"{command[0]}: error: ")
    for word in words.split():
        assert word in err, err
    assert listing(folder) == before
