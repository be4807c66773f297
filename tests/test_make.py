"""The Makefile: what it plans, what it refuses, what it says on the way, and what it does with finished files."""

import os
import sys
from pathlib import Path

import pytest
import torch

import report
from conftest import DIGITS, PYTHON, ROOT, clean_environment, make, run, start

SMALL = ("DATASET=MNIST", "MODEL=fcnet", f"DATA={DIGITS}", "EPOCHS=2", "PRUNE_RATIOS=0.8", "DATA_RATIOS=0.1")
SEED = "runs/new/paper/MNIST/lenet/seed3"


# ------------------------------------------------------------------------------------------------- what it plans


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
    assert steps("table", "ORDERS=random matched untrained") == controls


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


@pytest.mark.parametrize(
    "method, flags",
    [
        ("live", "--ratio 0.8 --scope live"),
        ("global", "--ratio 0.8 --scope global"),
        ("random", "--ratio 0.8 --criterion random --seed 3"),
        ("channels", "--ratio 0.8 --structure channels"),
        ("rewound", f"--ratio 0.8 --start {SEED}/untrained/dense.pt"),
        ("reinitialised", "--ratio 0.8 --start runs/new/paper/MNIST/lenet/seed1003/untrained/dense.pt"),
    ],
)
def test_make_takes_the_pruning_method_from_the_path(method, flags):
    folder = f"{SEED}/low-0.1/p0.8-{method}"
    *_, pruning, tuning = make("-n", "RUNS=runs/new", f"{folder}/finetuned.pt").splitlines()
    assert f"prune.py --in {SEED}/low-0.1/dense.pt {flags} --data data" in pruning
    assert f"finetune.py --in {folder}/pruned.pt" in tuning and "--seed 3 --epochs 10" in tuning


def test_make_knows_the_orders_by_errors_and_long():
    for order in ("el2n", "ccs"):
        *_, selecting, training = make("-n", "RUNS=runs/new", f"{SEED}/{order}-0.1/dense.pt").splitlines()
        assert f"--scores {SEED}/errors.npy --order {order} --ratio 0.1" in selecting and "--share" not in training
    *_, selecting, training = make("-n", "RUNS=runs/new", f"{SEED}/long-0.1/dense.pt").splitlines()
    assert f"--scores {SEED}/forget.npy --order random --ratio 0.1" in selecting
    assert f"--subset {SEED}/long-0.1/subset.npy --share 10 --seed 3 --epochs 10" in training
    out = make("-n", f"{SEED.replace('new/paper', 'toneva')}/high-0.1/dense.pt")
    assert out.count("--events toneva") == 1 and "forgotten" not in out


def test_make_tunes_for_longer_in_a_folder_of_its_own():
    out = make("-n", "table1-0.1-0.8", "TUNE_EPOCHS=30", "PYTHON=python")
    lines = [line for line in out.splitlines() if ".py" in line and "status" not in line]
    for line in lines:
        assert ("--epochs 30" in line) == ("finetune.py" in line) and "runs/tune30/" in line
    assert "--tune-epochs 30" in next(line for line in lines if "report.py" in line)


def test_make_refuses_a_pruning_method_that_is_none():
    for goals in ([f"{SEED}/low-0.1/p0.8-alive/finetuned.pt"], ["table", "PRUNE_RATIOS=0.8-alive"]):
        process = start("make", "-n", "RUNS=runs/new", *goals, env=clean_environment())
        assert "0.8-alive" in process.communicate()[1].replace("method alive", "0.8-alive") and process.returncode


def test_five_rounds_end_where_one_shot_does(tmp_path):
    """Of `make p0.8-5x`: masks nest, a round prunes at 1 - 0.2^(i / 5), and the first is a one-shot pruning."""
    folder = tmp_path / "paper/MNIST/fcnet/seed0/full"
    usual = (f"RUNS={tmp_path}", f"DATA={DIGITS}", "EPOCHS=5")
    make(*usual, folder / "p0.8-5x/finetuned.pt", folder / "p0.27522/finetuned.pt", "TUNE_EPOCHS=5")
    ends = ["-1", "-2", "-3", "-4", ""]
    rounds = [torch.load(folder / f"p0.8-5x/pruned{end}.pt", weights_only=True) for end in ends]
    for name in ("1.weight", "3.weight"):
        masks = [checkpoint["model"][name] == 0 for checkpoint in rounds]
        assert all((late | ~early).all() for early, late in zip(masks, masks[1:]))
        for i, mask in enumerate(masks, 1):
            assert mask.double().mean().item() == pytest.approx(1 - 0.2 ** (i / 5), abs=1e-3)
        assert masks[-1].sum() == round(0.8 * masks[-1].numel())
    shot = torch.load(folder / "p0.27522/pruned.pt", weights_only=True)["model"]
    assert all(torch.equal(shot[name], rounds[0]["model"][name]) for name in shot)
    last = torch.load(folder / "p0.8-5x/finetuned.pt", weights_only=True)
    steps = ["forget", "prune", "finetune", *(f"{s}-{i}" for i in range(2, 6) for s in ("prune", "finetune"))]
    assert list(last["args"]) == steps
    assert sum(last["args"][step]["epochs"] for step in steps if step.startswith("finetune")) == 5
    assert report.load_cell(folder / "p0.8-5x/finetuned.pt").pruning == "5 rounds"


# ------------------------------------------------------------------------------------------------------- the knobs

WRONG = {  # words on make's command line: words of the error
    ("table", "DATA_RATIOS=1e-1"): "DATA_RATIOS: 1e-1",
    ("table", "DATA_RATIOS=0.1 0.10"): "DATA_RATIOS: 0.10",
    ("table", "PRUNE_RATIOS=0.80"): "PRUNE_RATIOS: 0.80",
    ("table", "PRUNE_RATIOS=1"): "PRUNE_RATIOS: 1",
    ("table", "DATA_RATIOS=-0.1"): "DATA_RATIOS: -0.1",
    ("table", "ORDERS=low hihg"): "ORDERS: hihg",
    ("table", "SEEDS="): "SEEDS is empty",
    ("verify", "SEEDS=01"): "SEEDS: 01",
    ("figures", "EPOCHS=1e3"): "EPOCHS: 1e3",
    ("grid-fcnet-mnist", "SEEDS=a"): "SEEDS: a",
    ("ablation", "MODEL="): "MODEL",
    ("status", "RUNS="): "RUNS",
    ("table", "PRUNE_RATIOS=0.8-5x", "TUNE_EPOCHS=0"): "TUNE_EPOCHS: 0",
    ("table", "PRUNE_RATIOS=0.8-5x", "TUNE_EPOCHS=12"): "TUNE_EPOCHS: 12",
    ("status", "RUNS=a%b"): "a%b is not a path",
    ("table", "DATA=it's"): "it's is not a path",
    ("status", "PROTOCOL=foo"): "no protocol foo",
    ("table1", "DATASET="): "DATASET",
    ("table1-0.1",): "PRUNE_RATIOS",
    ("table1-foo",): "RATIOS",
    ("table1-0.1-80",): "PRUNE_RATIOS: 80",
}


@pytest.mark.parametrize("words", WRONG, ids=" ".join)
def test_make_refuses_before_any_step(words, tmp_path):
    runs = () if any(word.startswith("RUNS") for word in words) else (f"RUNS={tmp_path / 'runs'}",)
    process = start("make", f"PYTHON={sys.executable}", *runs, *words, env=clean_environment())
    out, err = process.communicate()
    assert process.returncode != 0 and WRONG[words] in err and ".py" not in out
    assert not (tmp_path / "runs").exists()


def test_run_is_put_before_the_steps_that_compute():
    lines = make("-n", "RUNS=runs/new", "RUN=srun -n1", "table1-0.1-0.4").splitlines()
    for name in ("forget", "select", "train", "prune", "finetune", "report"):
        first, *_ = [line for line in lines if f" {name}.py" in line]
        assert first.startswith("srun -n1 ") == (name not in ("select", "report"))


def test_ratio_of_a_file_as_target_is_whole():
    out = make("-n", "RUNS=runs/new", "runs/new/paper/MNIST/fcnet/seed0/low-1e-1/subset.npy")
    assert "--order low --ratio 1e-1 " in out


def test_plan_comes_before_the_first_step(tmp_path):
    """RUN=false ends the first step; of two goals each has its own plan."""
    for goal, cells in {"table1-0.1-0.4": 3, "grid-fcnet-mnist": 55, "ablation": 21, "table": 21}.items():
        knobs = (f"PYTHON={PYTHON}", f"RUNS={tmp_path}", "RUN=false", "-j1")
        process = start("make", *knobs, goal, env=clean_environment())
        first, *_ = process.communicate()[0].splitlines()
        assert process.returncode and first.startswith(f"0 of {cells} cells are done, "), first
    process = start("make", *knobs, "-k", "grid-lenet-mnist", "table", env=clean_environment())
    lines = process.communicate()[0].splitlines()
    assert [line.split()[2] for line in lines if "cells are done" in line] == ["55", "21"]


def test_status_passes_over_what_is_no_network_and_counts_a_cell_once(tmp_path):
    folder = tmp_path / "lr=3e-4/paper/MNIST/fcnet/seed0"
    folder.mkdir(parents=True)
    (folder / "note.pt").write_text("x")
    knobs = (f"RUNS={tmp_path}/lr=3e-4", "DATA_RATIOS=0.1", "PRUNE_RATIOS=0.8", "SEEDS=0 0", "RUN=srun -j5")
    out = make("status", *knobs)
    assert out.startswith("0 of 3 cells are done, 11 steps to run (") and "hours unknown until one is done" in out


def test_status_counts_steps_and_names_the_next(chain, tmp_path):
    folder = tmp_path / "paper/MNIST/fcnet/seed0"
    (folder / "full").mkdir(parents=True)
    (folder / "forget.npy").write_bytes((chain / "forget.npy").read_bytes())
    torch.save(torch.load(chain / "full.pt", weights_only=True) | {"seconds": 3600.0}, folder / "full/dense.pt")
    knobs = (
        f"RUNS={tmp_path}",
        f"DATA={DIGITS}",
        "DATA_RATIOS=0.1",
        "PRUNE_RATIOS=0.4 0.8",
        "ORDERS=low random",
        "EPOCHS=3",
        "-j2",
    )
    out = make("status", *knobs)
    # Two trainings on a tenth and six on all of the data, at an hour for all of it, by two jobs.
    counts = "6 prune, 6 finetune, 2 select, 2 train"
    told = f"0 of 6 cells are done, 16 steps to run ({counts}): about 3.1 hours with 2 jobs, by the last steps done"
    assert out == f"{told}\nnext: {folder}/full/p0.4/pruned.pt\n"
    assert len(list(tmp_path.rglob("*.npy"))) == 1 and len(list(tmp_path.rglob("*.pt"))) == 1
