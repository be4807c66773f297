"""What decides a number is told or refused: nothing passes in silence, and nothing that is finished is lost."""

import contextlib
import io
import itertools
import json
import os
import resource
import runpy
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import train
from conftest import DIGITS, ROOT, USUAL, refusal, run, start

NETWORK = ("--dataset", "MNIST", "--model", "fcnet", "--data", DIGITS, *USUAL)
SELECT = runpy.run_path(str(ROOT / "select.py"))


def load(path):
    return torch.load(path, weights_only=True)


def choose(scores, out, *flags, **kwargs):
    return run("select.py", "--scores", scores, "--order", "low", "--ratio", 0.1, *flags, "--out", out, **kwargs)


def flags_behind(path):
    return json.loads(path.read_bytes().splitlines()[-1])


def same(one, other):
    ours, theirs = load(one)["model"], load(other)["model"]
    return all(torch.equal(ours[name], theirs[name]) for name in theirs)


# ------------------------------------------------------------------------------------------ scores and subsets


@pytest.mark.parametrize("size", [3600, 4001, 600])
def test_scores_of_another_length_than_the_training_set(tmp_path, size):
    """Even where every index that they choose is one of the training set."""
    np.save(tmp_path / "mine.npy", np.arange(size))
    choose("mine.npy", "low.npy", cwd=tmp_path)
    assert flags_behind(tmp_path / "low.npy")["select"]["train_size"] == size
    err = refusal("train.py", *NETWORK, "--subset", "low.npy", "--out", "o.pt", cwd=tmp_path)
    assert f"chosen by {size} scores" in err and "4000 samples" in err and not (tmp_path / "o.pt").exists()


def test_scores_of_an_older_version_do_not_tell_their_number(chain, tmp_path):
    lines = (chain / "low.npy").read_bytes()
    (tmp_path / "low.npy").write_bytes(lines.replace(b', "train_size": 4000}', b"}"))
    assert "train_size" not in flags_behind(tmp_path / "low.npy")["select"]
    run("train.py", *NETWORK, "--epochs", 0, "--subset", tmp_path / "low.npy", "--out", tmp_path / "o.pt")


def test_own_scores_and_subsets_have_the_names_of_their_files(chain, tmp_path):
    np.save(tmp_path / "my scores.npy", np.arange(4000))
    np.save(tmp_path / "mine.npy", np.arange(100))
    choose("my scores.npy", "low.npy", cwd=tmp_path)
    for subset in ("low", "mine"):
        words = ("--epochs", 0, "--subset", f"{subset}.npy", "--out", f"{subset}.pt")
        run("train.py", *NETWORK, *words, cwd=tmp_path)
    low, mine = (load(tmp_path / f"{name}.pt")["args"] for name in ("low", "mine"))
    assert low["select"]["name"] == "my scores" and "name" not in low["train"]
    assert mine["train"]["name"] == "mine" and "select" not in mine
    assert "name" not in flags_behind(chain / "low.npy")["select"]  # forget.py's


def test_an_own_subset_is_a_set(tmp_path):
    """In whatever order its file has it: the same network, to the last bit."""
    chosen = np.random.default_rng(0).permutation(4000)[:300]
    for name, order in (("sorted", np.sort(chosen)), ("drawn", chosen), ("unsigned", chosen.astype(np.uint16))):
        np.save(tmp_path / f"{name}.npy", order)
        run("train.py", *NETWORK, "--epochs", 1, "--subset", f"{name}.npy", "--out", f"{name}.pt", cwd=tmp_path)
        assert same(tmp_path / f"{name}.pt", tmp_path / "sorted.pt")
    digests = {load(path)["args"]["train"]["subset"] for path in tmp_path.glob("*.pt")}
    assert len(digests) == 1


def test_classes_that_a_subset_lacks_are_named(tmp_path):
    labels = load(DIGITS / "MNIST.pt")["train_labels"].numpy()
    np.save(tmp_path / "eight.npy", np.flatnonzero((labels != 4) & (labels != 7))[:100])
    np.save(tmp_path / "ten.npy", np.arange(100))
    told = [
        run("train.py", *NETWORK, "--epochs", 0, "--subset", f"{name}.npy", "--out", "o.pt", cwd=tmp_path)
        for name in ("eight", "ten")
    ]
    assert told == ["train    no sample of 2 of 10 classes: 4, 7\n", ""]


@pytest.fixture(scope="module")
def seeds(tmp_path_factory):
    """{0,1}/forget.npy, correct.npy and errors.npy: the scores of two seeds."""
    folder = tmp_path_factory.mktemp("seeds")
    for seed in (0, 1):
        (folder / str(seed)).mkdir()
        outputs = ("--scores", "forget.npy", "--correct", "correct.npy", "--errors", "errors.npy", "--out", "full.pt")
        run("forget.py", *NETWORK, "--seed", seed, "--epochs", 2, *outputs, cwd=folder / str(seed))
    return folder


@pytest.mark.parametrize("source, order", [("forget", "low"), ("errors", "el2n")])
def test_correct_of_another_seed_tells_nothing(seeds, tmp_path, source, order):
    words = ("select.py", "--scores", f"{source}.npy", "--order", order, "--ratio", 0.1, "--out", "o.npy")
    for seed, told in ((0, True), (1, False)):
        (tmp_path / f"{source}.npy").write_bytes((seeds / "0" / f"{source}.npy").read_bytes())
        (tmp_path / "correct.npy").write_bytes((seeds / str(seed) / "correct.npy").read_bytes())
        assert ("never learned" in run(*words, cwd=tmp_path)) == told


@pytest.mark.parametrize("events", ["forgotten", "flipped", "toneva"])
def test_correct_of_its_scores_is_known_again(events):
    draw = np.random.default_rng(0)
    predictions, labels = draw.integers(0, 3, (5, 200)), draw.integers(0, 3, 200)
    score = runpy.run_path(str(ROOT / "forget.py"), run_name="forget")["score"]
    correct = predictions == labels
    assert SELECT["agrees"](correct, score(predictions, correct, events), labels, events)
    assert not SELECT["agrees"](correct[:, ::-1], score(predictions, correct, events), labels, events)


@pytest.mark.parametrize("order", ["low", "high"])
def test_equal_scores_are_said_to_be_equal(tmp_path, order):
    """As those of one epoch are: low and high are then two draws."""
    outputs = ("--scores", "forget.npy", "--correct", "correct.npy", "--out", "full.pt")
    run("forget.py", *NETWORK, "--epochs", 1, *outputs, cwd=tmp_path)
    assert not np.load(tmp_path / "forget.npy").any()
    told = run("select.py", "--scores", "forget.npy", "--order", order, "--ratio", 0.1, "--out", "o.npy", cwd=tmp_path)
    assert f"all scores are equal, so {order} is chosen at random alone" in told


@pytest.mark.parametrize("scale", [1e200, 1e-200])
def test_errors_whose_squares_are_no_numbers(tmp_path, scale):
    errors = np.random.default_rng(0).normal(size=(400, 10))
    chosen = {}
    for name, array in (("usual", errors), ("scaled", errors * scale)):
        np.save(tmp_path / f"{name}.npy", array)
        for order in ("el2n", "ccs"):
            words = ("--scores", f"{name}.npy", "--order", order, "--ratio", 0.1, "--out", "o.npy")
            run("select.py", *words, cwd=tmp_path)
            chosen[name, order] = np.load(tmp_path / "o.npy").tolist()
    assert chosen["usual", "el2n"] == chosen["scaled", "el2n"] and chosen["usual", "ccs"] == chosen["scaled", "ccs"]


# ------------------------------------------------------------------------------------------------------ the data


def test_mnist_is_the_original_by_its_digest(chain, monkeypatch):
    assert load(chain / "full.pt")["args"]["forget"]["original"] is False  # the embedded digits are a part of it
    assert load(chain / "hold.pt")["args"]["finetune"]["original"] is False
    facts = train.load("MNIST", DIGITS).facts
    monkeypatch.setitem(train.ORIGINALS, "MNIST", facts["data"])
    assert train.load("MNIST", DIGITS).facts["original"] is True


def test_data_whose_original_nobody_can_know(cifar):
    assert "original" not in train.load("CIFAR100", cifar).facts


# ----------------------------------------------------------------------------------------------------- arithmetic


def test_fp32_is_fp32_whatever_a_container_sets():
    code = """
import os, sys, torch
print(torch.backends.cuda.matmul.allow_tf32)
import train
sys.argv = ["train.py"]
parser = train.Parser("")
parser.add_device_flags()
parser.start()
print(torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32, os.environ["NVIDIA_TF32_OVERRIDE"])
"""
    environment = os.environ | {"TORCH_ALLOW_TF32_CUBLAS_OVERRIDE": "1", "NVIDIA_TF32_OVERRIDE": "1"}
    out = run(sys.executable, "-c", code, env=environment, cwd=ROOT)
    assert out.splitlines() == ["True", "False False 0"]


def test_layers_without_fixed_sums_on_a_gpu_are_named():
    pooled = nn.Sequential(nn.Conv2d(3, 8, 3), nn.AdaptiveAvgPool2d(7), nn.AdaptiveAvgPool2d(1))  # as in vgg
    assert train.sums_in_no_order(pooled) == ["1"]
    assert train.sums_in_no_order(train.build("resnet18", "CIFAR10", 0)) == []


@pytest.mark.parametrize("setting", ["ONEDNN_MAX_CPU_ISA=AVX2", "MKL_CBWR=COMPATIBLE"])
def test_device_tells_what_bits_depend_on(chain, tmp_path, setting):
    usual = load(chain / "full.pt")["device"]
    assert usual.endswith(", threads 1") and "=" not in usual
    variable, value = setting.split("=")
    words = ("--epochs", 0, "--out", tmp_path / "o.pt")
    run("train.py", *NETWORK, *words, env=os.environ | {variable: value})
    assert load(tmp_path / "o.pt")["device"] == f"{usual}, {setting}"


def test_every_step_keeps_its_machine(chain, tmp_path):
    words = ("--in", chain / "dense.pt", "--ratio", 0.5, "--data", DIGITS, "--device", "cpu", "--threads", 2)
    run("prune.py", *words, "--out", "pruned.pt", cwd=tmp_path)
    run("finetune.py", "--in", "pruned.pt", "--epochs", 0, "--data", DIGITS, *USUAL, "--out", "tuned.pt", cwd=tmp_path)
    tuned = load(tmp_path / "tuned.pt")
    threads = [tuned["earlier"]["train"]["device"], tuned["earlier"]["prune"]["device"], tuned["device"]]
    assert [device[-1] for device in threads] == ["1", "2", "1"]
    assert tuned["earlier"]["train"]["versions"] == load(chain / "dense.pt")["versions"]


def test_earlier_steps_of_older_versions_have_no_machine(chain, tmp_path):
    checkpoint = load(chain / "pruned.pt")
    for key in ("device", "versions"):
        del checkpoint["earlier"]["train"][key]
    torch.save(checkpoint, tmp_path / "old.pt")
    words = ("--in", "old.pt", "--epochs", 0, "--data", DIGITS, *USUAL, "--out", "tuned.pt")
    run("finetune.py", *words, cwd=tmp_path)
    assert "device" not in load(tmp_path / "tuned.pt")["earlier"]["train"]


def test_one_thread_where_nothing_is_said(tmp_path):
    words = ("--dataset", "MNIST", "--model", "fcnet", "--data", DIGITS, "--device", "cpu", "--epochs", 0)
    environment = os.environ | {"OMP_NUM_THREADS": "2"}
    run(sys.executable, ROOT / "train.py", *words, "--out", tmp_path / "o.pt", env=environment)
    checkpoint = load(tmp_path / "o.pt")
    assert checkpoint["args"]["train"]["threads"] == 1 and checkpoint["device"].endswith("threads 1")


# -------------------------------------------------------------------------------------------------------- pruning


def test_a_ratio_that_leaves_nothing_is_refused(chain, tmp_path):
    for scope in ("layer", "global", "live"):
        words = ("--in", chain / "dense.pt", "--ratio", 0.9999999, "--scope", scope, "--data", DIGITS, *USUAL)
        assert "prunes every weight" in refusal("prune.py", *words, "--out", tmp_path / "o.pt")
    assert not (tmp_path / "o.pt").exists()


def test_a_layer_that_loses_all_is_named(chain, tmp_path):
    words = ("--in", chain / "dense.pt", "--ratio", 0.9999, "--data", DIGITS, *USUAL, "--out", tmp_path / "o.pt")
    assert "layer 3 has lost all its weights" in run("prune.py", *words)
    left = load(tmp_path / "o.pt")["model"]
    assert left["1.weight"].any() and not left["3.weight"].any()


@pytest.mark.parametrize("ratio, told", [(0.8, False), (0.79, True), (0, False)])
def test_pruning_that_does_nothing_says_so(chain, tmp_path, ratio, told):
    """The network has lost 80 % already; a ratio of 0 asks for nothing."""
    source = chain / ("pruned.pt" if told else "dense.pt")
    out = run("prune.py", "--in", source, "--ratio", ratio, "--data", DIGITS, *USUAL, "--out", tmp_path / "o.pt")
    assert ("were zero before: --ratio" in out) == told


def test_start_tells_which_weights_it_gave(chain, tmp_path):
    run("train.py", *NETWORK, "--seed", 9, "--epochs", 0, "--out", tmp_path / "start.pt")
    words = ("--in", chain / "dense.pt", "--ratio", 0.5, "--start", tmp_path / "start.pt", "--data", DIGITS, *USUAL)
    run("prune.py", *words, "--out", tmp_path / "o.pt")
    told = load(tmp_path / "o.pt")["args"]["prune"]
    assert told["start_seed"] == 9 and told["start"] == "initial of another seed"
    assert told["start_weights"] == train.digest(load(tmp_path / "start.pt")["model"].values())


# --------------------------------------------------------------------------------------------------------- outputs


@pytest.fixture
def finished(chain, tmp_path):
    """A folder with files that nobody wants to lose, and links to them."""
    (tmp_path / "digits").mkdir()
    for source, name in ((DIGITS / "MNIST.pt", "digits/MNIST.pt"), *((chain / n, n) for n in os.listdir(chain))):
        (tmp_path / name).write_bytes(source.read_bytes())
    (tmp_path / "link.pt").symlink_to("dense.pt")
    (tmp_path / "here").symlink_to(".")
    return tmp_path


PRUNE = ("prune.py", "--ratio", 0.5, "--data", DIGITS, *USUAL)
INPUTS = {
    "select's scores": ("select.py", "--scores", "forget.npy", "--order", "low", "--ratio", 0.1, "--out", "forget.npy"),
    "what lies beside": ("select.py", "--scores", "forget.npy", "--order", "low", "--ratio", 1, "--out", "correct.npy"),
    "prune's network": (*PRUNE, "--in", "dense.pt", "--out", "dense.pt"),
    "by a link": (*PRUNE, "--in", "dense.pt", "--out", "link.pt"),
    "by a link's folder": (*PRUNE, "--in", "here/dense.pt", "--out", "./dense.pt"),
    "prune's start": (*PRUNE, "--in", "dense.pt", "--start", "full.pt", "--out", "full.pt"),
    "finetune's network": ("finetune.py", "--in", "pruned.pt", "--data", DIGITS, *USUAL, "--out", "pruned.pt"),
    "train's subset": ("train.py", *NETWORK, "--subset", "low.npy", "--out", "low.npy"),
    "the data": ("train.py", *NETWORK, "--data", "digits", "--out", "digits/MNIST.pt"),
    "a data set of another name": ("train.py", *NETWORK, "--data", "digits", "--out", "digits/CIFAR10.pt"),
    "the data of a network": ("finetune.py", "--in", "pruned.pt", "--data", "digits", "--out", "digits/MNIST.pt"),
}


@pytest.mark.parametrize("case", INPUTS)
def test_an_output_may_not_be_an_input(finished, case):
    before = {path: path.read_bytes() for path in finished.rglob("*") if path.is_file()}
    assert "is an input, too" in refusal(*INPUTS[case], cwd=finished)
    assert {path: path.read_bytes() for path in finished.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("length", [254, 244, 600])
def test_a_name_that_cannot_be_written_is_refused_before_training(tmp_path, length):
    name = "x" * (length - 3) + ".pt"
    process = start("train.py", *NETWORK, "--out", name, cwd=tmp_path)
    out, err = process.communicate()
    assert process.returncode == 1 and out == "" and err.count("\n") == 1 and "File name too long" in err, err
    assert os.listdir(tmp_path) == []


# ------------------------------------------------------------------------------------------------------- memory


@pytest.mark.parametrize(
    "error",
    [
        MemoryError("Unable to allocate 9 GiB"),
        torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.\nGPU 0 has ..."),
        RuntimeError("[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: can't allocate memory: you tried"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        ImportError("libjpeg.so: failed to map segment from shared object"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_no_memory_is_one_line_that_says_what_to_lower(error, capsys):
    train.on_uncaught(type(error), error, None)
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and "lower --batch-size" in err


def test_other_defects_keep_their_traceback(capsys):
    train.on_uncaught(KeyError, KeyError("x"), None)
    assert capsys.readouterr().err.startswith("KeyError: 'x'")


@pytest.mark.parametrize("spare", [2, 20, 60])
def test_training_with_too_little_memory(cifar, tmp_path, spare):
    """spare: MiB of address space that are left once the modules are loaded."""
    command = ["train.py", "--dataset", "CIFAR100", "--model", "resnet18", "--data", str(cifar), "--epochs", "1"]
    code = f"""
import re, resource, sys
import torch._dynamo, torchvision
import train
sys.argv = {command + ["--out", str(tmp_path / "o.pt")]!r}
used = int(re.search(r"VmSize:\\s+(\\d+) kB", open("/proc/self/status").read())[1]) * 1024
resource.setrlimit(resource.RLIMIT_AS, (used + {spare} * 2**20, resource.RLIM_INFINITY))
train.main()
"""
    err = refusal(sys.executable, "-c", code, cwd=ROOT)
    assert "not enough memory: lower --batch-size" in err
    assert not (tmp_path / "o.pt").exists() and resource.getrlimit(resource.RLIMIT_AS)[0] == resource.RLIM_INFINITY


# ------------------------------------------------------------------------------------------------ other places


WITH_TORCH = ["forget.py", "train.py", "prune.py", "finetune.py", "report.py"]
WITH_TORCH += [f"tests/{name}.py" for name in ("audit", "bench", "crest", "noise", "pages", "study")]


@pytest.mark.parametrize("script", ["select.py", *WITH_TORCH])
def test_python_that_leaves_out_the_folder(tmp_path, script):
    """As PYTHONSAFEPATH does, with other people's modules on the path."""
    for name in ("train", "prune"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('another')\n")
    environment = os.environ | {"PYTHONSAFEPATH": "1", "PYTHONPATH": str(tmp_path)}
    out = run(sys.executable, ROOT / script, "--help", cwd=tmp_path, env=environment)
    assert out.startswith(f"usage: {Path(script).name}")


class Notebook(io.StringIO):
    """A notebook's stdout, which has no reconfigure."""


def test_stdout_of_a_notebook(tmp_path, monkeypatch):
    words = ("train.py", *NETWORK, "--epochs", 1, "--out", tmp_path / "o.pt")
    monkeypatch.setattr(sys, "argv", [str(word) for word in words])
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    with contextlib.redirect_stdout(Notebook()) as out:
        assert not hasattr(sys.stdout, "reconfigure")
        train.main()
    assert "epoch 1/1" in out.getvalue() and (tmp_path / "o.pt").exists()


BAD = {
    "of argparse": ("train.py", "--dataset", "SVHN"),
    "of a file": ("train.py", *NETWORK, "--subset", "nowhere.npy", "--out", "o.pt"),
    "of select": ("select.py", "--scores", "nowhere.npy", "--order", "low", "--ratio", "1", "--out", "o.npy"),
    "of select's argparse": ("select.py", "--order", "low"),
}


@pytest.mark.parametrize("case", BAD)
def test_errors_do_not_go_to_stdout(tmp_path, case):
    script, *flags = map(str, BAD[case])
    command = [sys.executable, ROOT / script, *flags]
    process = subprocess.run(command, cwd=tmp_path, stdout=subprocess.PIPE, preexec_fn=lambda: os.close(2))
    assert process.returncode > 0 and process.stdout == b""


def test_closed_streams_leave_files_alone(tmp_path):
    """What a library prints to a closed stderr must not end up in a file that took its number."""
    command = [sys.executable, ROOT / "train.py", *map(str, NETWORK), "--epochs", "0", "--out", "o.pt"]
    closing = {"preexec_fn": lambda: (os.close(1), os.close(2))}
    assert subprocess.run(command, cwd=tmp_path, **closing).returncode == 0
    assert "train" in load(tmp_path / "o.pt")["args"]


def interrupted(tmp_path, module, *command, text=None):
    """(stdout, stderr, exit status) of a command that is interrupted while it imports a module."""
    (tmp_path / f"{module}.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGINT)\n")
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    process = start(sys.executable, *command, env=environment, stdin=subprocess.PIPE)
    return (*process.communicate(text), process.returncode)


LOADS = [("numpy", "select.py"), *itertools.product(["numpy", "torch"], WITH_TORCH)]


@pytest.mark.parametrize("module, script", LOADS)
def test_an_interrupt_while_it_loads_prints_nothing(tmp_path, module, script):
    assert interrupted(tmp_path, module, ROOT / script, "--help") == ("", "", -signal.SIGINT)


def test_an_interrupt_of_what_make_runs_first_prints_nothing(tmp_path):
    plan = "python train.py --seed 0 --epochs 1 --out runs/paper/MNIST/fcnet/seed0/matched-0.1/dense.pt\n"
    words = (ROOT / "tests/status.py", "status", "--runs", tmp_path)
    assert interrupted(tmp_path, "torch", *words, text=plan) == ("", "", -signal.SIGINT)


# ---------------------------------------------------------------------------------------------------- what is said


def test_lines_fit_into_eighty_columns(cifar, tmp_path):
    network = ("--dataset", "CIFAR100", "--model", "resnet18", "--data", cifar, *USUAL)
    outputs = ("--scores", "forget.npy", "--correct", "correct.npy", "--out", "a-long-name-of-the-baseline.pt")
    usual = ("--data", cifar, *USUAL, "--out", "a-long-name-of-another-checkpoint.pt")
    told = run("forget.py", *network, "--epochs", 2, *outputs, cwd=tmp_path)
    told += choose("forget.npy", "low.npy", cwd=tmp_path)
    told += run("train.py", *network, "--epochs", 1, "--subset", "low.npy", "--out", "dense.pt", cwd=tmp_path)
    for flags in ((), ("--structure", "channels"), ("--verbose",)):
        told += run("prune.py", "--in", "dense.pt", "--ratio", 0.6, *flags, *usual, cwd=tmp_path)
    told += run(
        "finetune.py", "--in", "dense.pt", "--epochs", 1, "--data", cifar, *USUAL, "--out", "t.pt", cwd=tmp_path
    )
    assert [line for line in told.splitlines() if len(line) > 80] == []
    assert told.startswith("forget   epoch 1/2  loss ") and "%  left " in told.splitlines()[0]


@pytest.mark.parametrize("flags, lines", [((), 2), (("--verbose",), 6)])
def test_layers_are_told_where_that_is_asked(chain, tmp_path, flags, lines):
    words = ("--in", chain / "dense.pt", "--ratio", 0.6, "--data", DIGITS, *USUAL, *flags, "--out", tmp_path / "o.pt")
    told = run("prune.py", *words).splitlines()
    assert len(told) == lines and ("prune    1: 256 x 784" in told) == bool(flags)


@pytest.mark.parametrize(
    "seconds, words",
    [
        (0, "0 s"),
        (59.6, "60 s"),
        (99.4, "99 s"),
        (99.6, "2 min"),
        (3569, "59 min"),
        (3590, "1 h 0 min"),
        (9000, "2 h 30 min"),
    ],
)
def test_time_left_as_people_say_it(seconds, words):
    assert train.duration(seconds) == words


def test_help_says_what_a_seed_and_a_ratio_are_of():
    told = {name: " ".join(run(f"{name}.py", "--help").split()) for name in ("train", "finetune", "prune")}
    assert "--seed SEED of initial weights and the order of samples" in told["train"]
    assert "--seed SEED of the order of samples, that of the network's first training" in told["finetune"]
    assert "share of all weights, zeros among them" in told["prune"]


@pytest.mark.parametrize("model", ["resnet18", "mobilenet_v2", "vgg11"])
def test_networks_that_need_three_channels(tmp_path, model):
    words = ("--dataset", "MNIST", "--model", model, "--data", DIGITS, "--out", tmp_path / "o.pt")
    assert "need three channels: use --dataset CIFAR10" in refusal("train.py", *words)


@pytest.mark.parametrize("prefix, origin", [("module.", "DataParallel"), ("_orig_mod.", "torch.compile")])
def test_weights_of_a_wrapper_are_called_so(chain, tmp_path, prefix, origin):
    checkpoint = load(chain / "dense.pt")
    checkpoint["model"] = {f"{prefix}{name}": tensor for name, tensor in checkpoint["model"].items()}
    torch.save(checkpoint, tmp_path / "x.pt")
    err = refusal("prune.py", "--in", "x.pt", "--ratio", 0.5, "--data", DIGITS, "--out", "o.pt", cwd=tmp_path)
    assert f"of a wrapper, {origin}: take {prefix} off" in err


def test_a_weight_that_is_missing_or_too_many_is_named(chain, tmp_path):
    checkpoint = load(chain / "dense.pt")
    del checkpoint["model"]["3.bias"]
    torch.save(checkpoint, tmp_path / "x.pt")
    err = refusal("prune.py", "--in", "x.pt", "--ratio", 0.5, "--data", DIGITS, "--out", "o.pt", cwd=tmp_path)
    assert "it has no weight 3.bias" in err
    checkpoint = load(chain / "dense.pt")
    checkpoint["model"]["5.weight"] = torch.zeros(10, 10)
    torch.save(checkpoint, tmp_path / "x.pt")
    err = refusal("prune.py", "--in", "x.pt", "--ratio", 0.5, "--data", DIGITS, "--out", "o.pt", cwd=tmp_path)
    assert "it has a weight 5.weight, which the network has not" in err
