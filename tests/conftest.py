"""What the tests share: they run the real command lines on the embedded digits and on a small CIFAR-shaped file."""

import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest

SUITE = Path(__file__).resolve().parent.parent
os.environ["OMP_NUM_THREADS"] = "1"  # here and in all processes: two threads beside another busy process are slow

if "FORK_SERVER" not in os.environ:  # one for all workers of pytest-xdist, which inherit the name
    with socket.socket(socket.AF_UNIX) as listener:
        os.environ["FORK_SERVER"] = os.path.join(tempfile.mkdtemp(), "socket")
        Path(os.environ["FORK_SERVER"]).with_name("suite").symlink_to(SUITE)
        listener.bind(os.environ["FORK_SERVER"])
        listener.listen()
        subprocess.Popen([sys.executable, SUITE / "tests" / "fork.py"], stdin=listener)

# make takes no path with a space, so in a folder of such a name the suite is tested through a link.
ROOT = Path(os.environ["FORK_SERVER"]).with_name("suite") if " " in str(SUITE) else SUITE
DIGITS = ROOT / "tests" / "data"
FORK = ROOT / "tests" / "fork.py"
INTERPRETER = sys.executable.replace(str(SUITE), str(ROOT))
PYTHON = f"{INTERPRETER} -IS {FORK}"  # runs a script as this Python does, without the seconds of `import torch`
USUAL = ("--threads", 1, "--device", "cpu")
sys.path.insert(0, str(ROOT))  # where pytest's own start-up did not put it


def start(*command, cwd=ROOT, **kwargs):
    """A process; a script's name as the first word is run with this Python, in a fork of one that has torch."""
    words = [str(word) for word in command]
    if words[0].endswith(".py"):
        words = [*PYTHON.split(), str(ROOT / words[0]), *words[1:]]
    return subprocess.Popen(words, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **kwargs)


def run(*command, **kwargs):
    """What the command printed; fails the test with its stderr if it did not succeed."""
    process = start(*command, **kwargs)
    out, err = process.communicate()
    assert process.returncode == 0, err
    return out


def refusal(*command, **kwargs):
    """The one line on stderr with which a command fails that must not succeed."""
    process = start(*command, **kwargs)
    _, err = process.communicate(timeout=120)  # one that waits, such as for a pipe, has not refused
    assert process.returncode > 0, err  # below 0 it died of a signal
    assert err.count("\n") == 1 and err.endswith("\n") and "Traceback" not in err, err
    return err


def run_of(path):
    """The Run of a checkpoint."""
    import report  # here, since it takes the seconds of `import torch`

    return report.run_and_scores(str(path))[0]


def clean_environment():
    """This one without what a `make test` around it put there."""
    return {key: value for key, value in os.environ.items() if not key.startswith("MAKE") and key != "MFLAGS"}


def make(*goals, **kwargs):
    """What `make` printed, with this Python as its PYTHON."""
    return run("make", f"PYTHON={PYTHON}", *goals, env=clean_environment(), **kwargs)


def make_chain(folder):
    """Write every file of the method into `folder`: FCNet, three epochs a step, one thread."""
    usual = ("--data", DIGITS, *USUAL)
    network = ("--dataset", "MNIST", "--model", "fcnet", "--epochs", 3, *usual)
    run("forget.py", *network, "--scores", "forget.npy", "--correct", "correct.npy", "--out", "full.pt", cwd=folder)
    run("select.py", "--scores", "forget.npy", "--order", "low", "--ratio", 0.1, "--out", "low.npy", cwd=folder)
    run("train.py", *network, "--subset", "low.npy", "--out", "dense.pt", cwd=folder)
    run("prune.py", "--in", "dense.pt", "--ratio", 0.8, *usual, "--out", "pruned.pt", cwd=folder)
    for mask in ("hold", "release"):
        tune = ("--in", "pruned.pt", "--mask", mask, "--epochs", 1, "--out", f"{mask}.pt")
        run("finetune.py", *tune, *usual, cwd=folder)


@pytest.fixture(scope="session")
def chain(tmp_path_factory):
    folder = tmp_path_factory.mktemp("chain")
    make_chain(folder)
    return folder


@pytest.fixture(scope="session")
def cifar(tmp_path_factory):
    """A folder with a CIFAR100.pt of 200 + 100 random images."""
    import torch  # not above: pytest-xdist's own process reads this file and needs none

    folder = tmp_path_factory.mktemp("cifar")
    random = np.random.default_rng(0)
    packed = {}
    for split, size in (("train", 200), ("test", 100)):
        packed[f"{split}_images"] = torch.from_numpy(random.integers(0, 256, (size, 3, 32, 32), dtype=np.uint8))
        packed[f"{split}_labels"] = torch.arange(size) % 100
    torch.save(packed, folder / "CIFAR100.pt")
    return folder
