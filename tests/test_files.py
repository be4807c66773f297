"""The Makefile, the life of files (kill -9, eight first loads at once), and select.py under a library module's name."""

import os
import shutil
import signal
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import DIGITS, PYTHON, ROOT, clean_environment, make, run, start

SMALL = (
    "DATASET=MNIST",
    "MODEL=fcnet",
    f"DATA={DIGITS}",
    "THREADS=1",
    "EPOCHS=2",
    "PRUNE_RATIOS=0.8",
    "DATA_RATIOS=0.1",
)


# ------------------------------------------------------------------------------------------------- the Makefile


def test_make_n_of_a_cell_prints_what_a_person_would_type():
    cell = "runs/paper/CIFAR100/resnet18/seed3/low-0.1/p0.4/finetuned.pt"
    seed = "runs/paper/CIFAR100/resnet18/seed3"
    low = f"{seed}/low-0.1"
    usual = "--seed 3 --epochs 10"
    where = "--data data --threads 2"
    network = "--dataset CIFAR100 --model resnet18"
    assert make("-n", "THREADS=2", "RUNS=runs/new", cell.replace("runs", "runs/new", 1)).splitlines() == [
        line.replace("PYTHON", PYTHON).replace("runs/", "runs/new/")
        for line in (
            f"PYTHON forget.py {network} {usual} --events forgotten --positions fixed --batchnorm train {where} "
            f"--scores {seed}/forget.npy --correct {seed}/correct.npy --errors {seed}/errors.npy "
            f"--out {seed}/full/dense.pt",
            f"PYTHON select.py --scores {seed}/forget.npy --order low --ratio 0.1 --ties random --seed 3 "
            f"--out {low}/subset.npy",
            f"PYTHON train.py {network} --subset {low}/subset.npy {usual} {where} --out {low}/dense.pt",
            f"PYTHON prune.py --in {low}/dense.pt --ratio 0.4 {where} --out {low}/p0.4/pruned.pt",
            f"PYTHON finetune.py --in {low}/p0.4/pruned.pt --mask hold {usual} {where} --out {cell}",
        )
    ]


def steps(*goals):
    """How often `make -n` would run each script."""
    words = make("-n", "RUNS=runs/new", *goals).split()
    return {name: words.count(f"{name}.py") for name in ("forget", "select", "train", "prune", "finetune", "report")}


def test_make_runs_no_step_twice():
    table1 = {"forget": 1, "select": 6, "train": 6, "prune": 21, "finetune": 21, "report": 1}
    assert steps("table1") == table1
    assert steps("table1", "SEEDS=0 1") == {name: 2 * n - (name == "report") for name, n in table1.items()}
    assert steps("table1-0.1-0.4") == {"forget": 1, "select": 2, "train": 2, "prune": 3, "finetune": 3, "report": 1}
    grid = {"forget": 1, "select": 10, "train": 10, "prune": 55, "finetune": 55, "report": 1}
    assert steps("grid-resnet50-cifar10") == grid
    controls = {"forget": 1, "select": 3, "train": 7, "prune": 24, "finetune": 24, "report": 1}
    assert steps("table", "ORDERS=random matched none") == controls


SETTINGS = {  # what the Makefile asks of the steps for the text and, where a protocol departs, for the program
    "shuffled": ("--positions fixed", "--positions shuffled"),
    "flipped": ("--events forgotten", "--events flipped"),
    "frozen": ("--batchnorm train", "--batchnorm frozen"),
    "indexed": ("--ties random", "--ties index"),
    "regrown": ("--mask hold", "--mask release"),
}


@pytest.mark.parametrize("protocol", ["paper", *SETTINGS, "frozen+regrown", "shuffled+flipped+indexed", "released"])
def test_protocol_sets_the_flags_of_its_departures(protocol):
    departs = SETTINGS if protocol == "released" else protocol.split("+")
    out = make("-n", "RUNS=runs/new", "table1-0.1-0.4", f"PROTOCOL={protocol}")
    for name, settings in SETTINGS.items():
        assert settings[name in departs] in out and settings[name not in departs] not in out


@pytest.mark.parametrize("protocol", ["other", "regrown+frozen", "paper+frozen", "unheld"])
def test_make_refuses_a_protocol_that_is_none(protocol):
    process = start("make", "-n", "table", f"PROTOCOL={protocol}", env=clean_environment())
    assert f"no protocol {protocol}" in process.communicate()[1] and process.returncode != 0


@pytest.mark.parametrize("jobs", [(), ("-j1",), ("-j7",)])
def test_make_runs_a_job_a_core_of_one_thread(tmp_path, jobs):
    """Cores are those that this process may use; -j on the command line wins."""
    (tmp_path / "Makefile").write_text(f"include {ROOT}/Makefile\njobs:\n\t@echo $(MAKEFLAGS)\n")
    cores = len(os.sched_getaffinity(0))
    out = run("make", "jobs", *jobs, cwd=tmp_path, env=clean_environment())
    expected = jobs[0] if jobs else f"-j{1 if list(Path('/dev').glob('nvidia[0-9]*')) else cores}"
    assert expected in out.split()
    assert "--threads 1 " in make("-n", "RUNS=runs/new", "table1-0.1-0.4")


def test_parallel_make_remakes_a_deleted_cell_alone(tmp_path):
    runs = f"RUNS={tmp_path}"
    table = make("-j2", runs, *SMALL, "ORDERS=low", "table")
    assert "0.1          0.8" in table
    report = table[table.index("Data Ratio") :]
    assert make(runs, *SMALL, "ORDERS=low", "table") == report  # nothing else left to do
    cell = tmp_path / "paper/MNIST/fcnet/seed0/low-0.1/p0.8/finetuned.pt"
    before = torch.load(cell, weights_only=True)["model"]
    cell.unlink()
    again = make(runs, *SMALL, "ORDERS=low", "table")
    assert again.count("finetune.py") == 1 and again.count("prune.py") == 0 and again.count("forget.py") == 0
    after = torch.load(cell, weights_only=True)["model"]
    assert all(torch.equal(before[name], after[name]) for name in before)


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
    assert {process.communicate()[1] for process in processes} == {""}
    facts = [torch.load(out, weights_only=True)["args"]["train"] for out in outs]
    assert facts == 8 * facts[:1] and (facts[0]["train_size"], facts[0]["test_size"]) == (60_000, 10_000)
    assert sorted(path.name for path in originals.iterdir()) == ["MNIST", "MNIST.pt"]
    packed, random = torch.load(originals / "MNIST.pt", weights_only=True), np.random.default_rng(60_000)
    assert (packed["train_images"].numpy()[:, 0] == random.integers(0, 256, (60_000, 28, 28), dtype=np.uint8)).all()


def test_damaged_originals_are_not_packed(originals, tmp_path):
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for path in (originals / "MNIST" / "raw").iterdir():
        os.link(path, raw / path.name)
    damaged = raw / "train-labels-idx1-ubyte"
    damaged.unlink()
    damaged.write_bytes(idx(np.zeros(60_000, dtype=np.uint8)))
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
