"""The Makefile, the life of files (kill -9, eight first loads at once), and select.py under a library module's name."""

import os
import shutil
import signal
import sys

import numpy as np
import pytest
import torch

from conftest import DIGITS, ROOT, clean_environment, make, run, start

SMALL = (
    "DATASET=MNIST",
    "MODEL=fcnet",
    f"DATA={DIGITS}",
    "THREADS=1",
    "EPOCHS=2",
    "PRUNE_RATIOS=0.8",
    "DATA_RATIOS=0.1",
)


# ------------------------------------------------------------------------------------------------ files and kill


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A cell made without a stop."""
    folder = tmp_path_factory.mktemp("whole")
    make(f"RUNS={folder}", *SMALL, cell(folder))
    return folder


OUTPUTS = {
    "forget": ["forget.npy", "correct.npy", "full/dense.pt"],
    "select": ["low-0.1/subset.npy"],
    "train": ["low-0.1/dense.pt"],
    "prune": ["low-0.1/p0.8/pruned.pt"],
    "finetune": ["low-0.1/p0.8/finetuned.pt"],
}


def cell(folder):
    return f"{folder}/paper/MNIST/fcnet/seed0/low-0.1/p0.8/finetuned.pt"


@pytest.mark.parametrize("script", OUTPUTS)
def test_make_finishes_after_kill_9(whole, tmp_path, script):
    shutil.copytree(whole, tmp_path, dirs_exist_ok=True)
    scripts = list(OUTPUTS)
    for output in sum((OUTPUTS[name] for name in scripts[scripts.index(script) :]), []):
        (tmp_path / "paper/MNIST/fcnet/seed0" / output).unlink()
    runs = (f"RUNS={tmp_path}", *SMALL, cell(tmp_path))
    command = ["make", f"PYTHON={sys.executable} -u", *runs]
    process = start(*command, start_new_session=True, env=clean_environment())
    waited_for = f"{script}.py" if script in ("select", "prune") else f"{script:8} epoch 1/2"
    for line in process.stdout:
        if waited_for in line:
            break
    else:
        pytest.fail(f"make ended before {script}.py: {process.communicate()[1]}")
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert not os.path.exists(cell(tmp_path))
    assert f"{script}.py" in make(*runs)
    ours, theirs = (torch.load(cell(folder), weights_only=True)["model"] for folder in (tmp_path, whole))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_kill_9_while_writing_leaves_the_old_file(tmp_path):
    path = tmp_path / "out.pt"
    path.write_text("old")
    code = f"""
import os, train
with train.replacing({str(path)!r}) as file:
    file.write(b"ne")
    file.flush()
    os.kill(os.getpid(), 9)
"""
    process = start(sys.executable, "-c", code)
    process.communicate()
    assert process.returncode == -signal.SIGKILL and path.read_text() == "old"


def idx(array):
    """The bytes of an array in the format of the original MNIST files."""
    return bytes([0, 0, 8, array.ndim]) + b"".join(n.to_bytes(4, "big") for n in array.shape) + array.tobytes()


@pytest.fixture(scope="module")
def originals(tmp_path_factory):
    """A folder with MNIST as torchvision lays it out, made of random pixels."""
    folder = tmp_path_factory.mktemp("originals")
    raw = folder / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for name, size in (("train", 60_000), ("t10k", 10_000)):
        images = np.random.default_rng(size).integers(0, 256, (size, 28, 28), dtype=np.uint8)
        (raw / f"{name}-images-idx3-ubyte").write_bytes(idx(images))
        (raw / f"{name}-labels-idx1-ubyte").write_bytes(idx(np.arange(size).astype(np.uint8) % 10))
    return folder


def test_eight_first_loads_at_once(originals, tmp_path):
    outs = [tmp_path / f"{i}.pt" for i in range(8)]
    words = ("--dataset", "MNIST", "--model", "fcnet", "--epochs", 0, "--data", originals)
    processes = [start("train.py", *words, "--out", out) for out in outs]
    told = [process.communicate() for process in processes]
    assert {err for _, err in told} == {""}
    assert sum("the MNIST in" in out and "is not the original one" in out for out, _ in told) == 1  # who packs, says it
    facts = [torch.load(out, weights_only=True)["args"]["train"] for out in outs]
    assert (
        facts == 8 * facts[:1]
        and facts[0]["original"] is False
        and (facts[0]["train_size"], facts[0]["test_size"]) == (60_000, 10_000)
    )
    assert sorted(path.name for path in originals.iterdir()) == ["MNIST", "MNIST.pt"]
    packed, random = torch.load(originals / "MNIST.pt", weights_only=True), np.random.default_rng(60_000)
    assert (packed["train_images"].numpy()[:, 0] == random.integers(0, 256, (60_000, 28, 28), dtype=np.uint8)).all()


@pytest.mark.parametrize("damage", ["labels of one class", "swapped labels"])
def test_damaged_originals_are_not_packed(originals, tmp_path, damage):
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for path in (originals / "MNIST" / "raw").iterdir():
        os.link(path, raw / path.name)
    ours, others = raw / "train-labels-idx1-ubyte", raw / "t10k-labels-idx1-ubyte"
    if damage == "swapped labels":
        ours.rename(raw / "labels")
        others.rename(ours)
        (raw / "labels").rename(others)
    else:
        ours.unlink()
        ours.write_bytes(idx(np.zeros(60_000, dtype=np.uint8)))
    network = ("--dataset", "MNIST", "--model", "fcnet", "--data", tmp_path)
    process = start("train.py", *network, "--out", tmp_path / "out.pt")
    _, err = process.communicate()
    assert process.returncode == 1 and err.count("\n") == 1 and "damaged" in err
    assert not list(tmp_path.glob("*.pt"))


# ------------------------------------------------------------------------- select.py and the library's select


def python(code, cwd=ROOT):
    return run(sys.executable, "-c", code, cwd=cwd)


@pytest.mark.parametrize("inside", [True, False])
def test_select_is_the_librarys_here_and_elsewhere(inside, tmp_path):
    code = "import select, selectors; print(select.select([], [], [], 0), bool(selectors.DefaultSelector))"
    assert python(code, ROOT if inside else tmp_path) == "([], [], []) True\n"


def test_two_copies_of_the_suite_on_the_path(tmp_path):
    shutil.copy(ROOT / "select.py", tmp_path)
    code = "import select; print(select.select([], [], [], 0))"
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    assert run(sys.executable, "-c", code, cwd=ROOT, env=environment) == "([], [], [])\n"


@pytest.mark.parametrize("script", ["forget.py", "select.py", "train.py", "prune.py", "finetune.py", "report.py"])
def test_help_runs_in_this_folder(script):
    assert run(sys.executable, script, "--help", cwd=ROOT).startswith(f"usage: {script}")


NAMES = ("study", "crest", "audit", "bench", "noise", "pages", "knobs", "status", "fuzz")
OTHERS_WITH_HELP = [ROOT / "tests" / f"{name}.py" for name in NAMES]


@pytest.mark.parametrize("script", [*ROOT.glob("*.py"), *OTHERS_WITH_HELP], ids=lambda path: path.stem)
def test_help_fits_a_terminal(script):
    told = run(script, "--help", env=os.environ | {"COLUMNS": "80"})
    assert max(map(len, told.splitlines())) <= 80


def test_spawned_worker_in_this_folder():
    code = "import multiprocessing, math\nif __name__ == '__main__':\n"
    code += " with multiprocessing.get_context('spawn').Pool(2) as pool: print(pool.map(math.sqrt, [4, 9]))"
    assert python(code) == "[2.0, 3.0]\n"


def test_python_m_pytest_in_this_folder():
    out = run(sys.executable, "-m", "pytest", "--collect-only", "-q", "tests/test_step.py", cwd=ROOT)
    assert "test_parameter_counts_of_the_paper" in out


def test_sixteen_threads_import_select_at_once():
    code = """
import threading
barrier, seen = threading.Barrier(16), []
def work():
    barrier.wait()
    import select
    seen.append(select.select([], [], [], 0))
threads = [threading.Thread(target=work) for _ in range(16)]
[t.start() for t in threads]; [t.join() for t in threads]
print(seen == [([], [], [])] * 16)
"""
    assert python(code) == "True\n"
