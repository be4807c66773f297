"""The Makefile: what it plans, what it refuses, what it says on the way, and what it does with finished files."""

import contextlib
import json
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest
import torch

import report
import status
from conftest import DIGITS, PYTHON, ROOT, clean_environment, make, run, run_of, start

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


def jobs_of(*words, **environment):
    """The -j that make gives itself."""
    out = run("make", "-pn", "help", *words, env=clean_environment() | environment)
    (flags,) = [line for line in out.splitlines() if line.startswith("MAKEFLAGS = ")]
    return [word for word in flags.split() if word.startswith("-j")]


def test_make_runs_a_job_a_core_of_one_thread():
    """Cores are those that this process may use; -j on the command line wins."""
    cores = len(os.sched_getaffinity(0))
    assert jobs_of(OMP_NUM_THREADS="7") == [f"-j{1 if list(Path('/dev').glob('nvidia[0-9]*')) else cores}"]
    assert jobs_of("-j1") == ["-j1"] and jobs_of("-j7") == ["-j7"]
    assert "--threads 1 " in make("-n", "RUNS=runs/new", "table1-0.1-0.4")


def program(folder, name, text):
    """A program of that name, first on the path."""
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{text}\n")
    (folder / name).chmod(0o755)
    return {"PATH": f"{folder}:{os.environ['PATH']}"}


@pytest.mark.skipif(bool(list(Path("/dev").glob("nvidia[0-9]*"))), reason="a machine with a GPU has one job")
def test_cores_where_there_is_no_nproc(tmp_path):
    """As on macOS; where no program tells their number, one."""
    path = program(tmp_path / "mac", "nproc", "exit 127") | program(tmp_path / "mac", "sysctl", "echo 3")
    assert jobs_of(**path) == ["-j3"]
    for name in ("nproc", "sysctl", "getconf"):
        path = program(tmp_path / "bare", name, "exit 127")
    assert jobs_of(**path) == ["-j1"]


def test_decimal_points_where_the_language_has_commas(tmp_path):
    awk = 'if [ "$LC_ALL" = C ]; then /usr/bin/awk "$@"; else /usr/bin/awk "$@" | tr . ,; fi'
    path = program(tmp_path, "awk", awk)
    goals = (f"{SEED}/long-0.3/dense.pt", f"{SEED}/full/p0.8-5x/finetuned.pt")
    usual = ("make", "-n", f"PYTHON={PYTHON}", "RUNS=runs/new", *goals)
    out = run(*usual, env=clean_environment() | path | {"LC_ALL": "de_DE.UTF-8"})
    assert "--share 3.33333 " in out and "--ratio 0.27522 " in out


def test_places_of_results_may_be_written_in_several_ways(tmp_path):
    def planned(runs):
        environment = clean_environment() | {"HOME": str(tmp_path)}
        out = run("make", "-n", f"PYTHON={PYTHON}", f"RUNS={runs}", "table1-0.1-0.4", env=environment)
        return [line for line in out.splitlines() if ".py" in line]

    expected = planned("x")
    assert "--out x/paper/CIFAR100/resnet18/seed0/full/dense.pt" in expected[0]
    assert planned("./x") == planned("x/") == planned("./x/") == expected
    assert planned("~/x") == planned(tmp_path / "x")


# ------------------------------------------------------------------------------------------------ finished files

TWO = (*SMALL, "PRUNE_RATIOS=0.4 0.8", "ORDERS=low untrained")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """(the folder of a finished table, what make printed)."""
    folder = tmp_path_factory.mktemp("finished")
    return folder, make("-j1", f"RUNS={folder}", *TWO, "FORMAT=markdown", "table")


def copy(finished, folder):
    """A copy with fresh time stamps, in an order that no training would leave."""
    shutil.copytree(finished[0], folder, dirs_exist_ok=True, copy_function=shutil.copyfile)
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    for age, path in enumerate(sorted(paths, key=lambda path: path.name)):
        os.utime(path, (age, age))
    return folder / "paper/MNIST/fcnet/seed0"


def scripts(out):
    return re.findall(r"\b(forget|select|train|prune|finetune)\.py", out)


def test_a_copy_is_done_whatever_its_time_stamps(finished, tmp_path):
    seed = copy(finished, tmp_path)
    runs = (f"RUNS={tmp_path}", *TWO)
    assert scripts(make("-n", *runs, "table")) == []
    assert "done: 6 runs, nothing is left" in make("status", *runs)
    table = make(*runs, "table")
    assert scripts(table) == [] and "of 6 runs" not in table
    for path in [*seed.rglob("dense.pt"), *seed.rglob("pruned.pt"), *seed.rglob("*.npy")]:
        path.unlink()  # what a result was made from is not made again
    assert scripts(make("-n", *runs, "table")) == []


def test_a_missing_file_is_made_with_what_it_lacks_and_no_more(finished, tmp_path):
    seed = copy(finished, tmp_path)
    runs = (f"RUNS={tmp_path}", *TWO)
    cell = seed / "low-0.1/p0.8/finetuned.pt"
    before = torch.load(cell, weights_only=True)["model"]
    cell.unlink()
    assert scripts(make("-n", *runs, "table")) == ["finetune"]
    shutil.rmtree(seed / "low-0.1/p0.4")
    (seed / "full/dense.pt").unlink()
    out = make(*runs, "table")
    assert sorted(scripts(out)) == ["finetune", "finetune", "prune"]
    after = torch.load(cell, weights_only=True)["model"]
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_what_reports_never_trains(finished, tmp_path):
    runs = (f"RUNS={tmp_path}", *TWO)
    for goal in ("verify", "figures"):
        process = start("make", f"PYTHON={PYTHON}", *runs, goal, env=clean_environment())
        out, err = process.communicate()
        assert process.returncode and "no run of this table is there yet" in err and scripts(out) == []
    seed = copy(finished, tmp_path)
    for path in (seed / "full/p0.4/finetuned.pt", seed / "low-0.1/dense.pt"):
        path.unlink()
    out = make(*runs, "verify")
    assert f"1 of 6 runs are not there. The first: {seed}/full/p0.4/finetuned.pt" in out
    assert out.count("OK ") == len(list(tmp_path.rglob("p0.*/*.pt"))) + 4 and "WRONG" not in out
    assert not (seed / "full/p0.4/finetuned.pt").exists()


def test_suite_is_tested_in_a_folder_with_a_space(tmp_path):
    folder = tmp_path / "a b"
    ignore = shutil.ignore_patterns("results", "__pycache__")
    shutil.copytree(ROOT / "tests", folder / "tests", ignore=ignore)
    for name in ("Makefile", *(path.name for path in ROOT.glob("*.py"))):
        shutil.copy(ROOT / name, folder)
    environment = {key: value for key, value in clean_environment().items() if not key.startswith(("FORK", "PYTEST"))}
    which = "person_would_type or commas"
    words = ("-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/test_make.py", "-k", which)
    assert "2 passed" in run(sys.executable, *words, cwd=folder, env=environment)


@pytest.mark.parametrize("what, file", [("verify", "full/p0.8/finetuned.pt"), ("scores", "forget.npy")])
def test_verdicts_that_cannot_be_printed_are_an_error(finished, what, file):
    path = finished[0] / "paper/MNIST/fcnet/seed0" / file
    with open("/dev/full", "w") as full:
        words = ["tests/audit.py", what, "--data", DIGITS, path]
        done = subprocess.run(
            [*PYTHON.split(), *map(str, words)], stdout=full, stderr=subprocess.PIPE, text=True, cwd=ROOT
        )
    assert done.returncode == 1 and done.stderr.startswith("audit.py: error: cannot print")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("flag, why", [("-t", "would leave empty files"), ("-B", "would train again what is done")])
def test_make_neither_touches_nor_makes_again(finished, tmp_path, flag, why):
    copy(finished, tmp_path)
    process = start("make", flag, f"PYTHON={PYTHON}", f"RUNS={tmp_path}", "SEEDS=0 1", "table", env=clean_environment())
    assert f"make {flag} {why}" in process.communicate()[1] and process.returncode
    assert len(list(tmp_path.rglob("*.pt"))) == len(list(finished[0].rglob("*.pt")))


def test_python_without_torch_is_told_of(tmp_path):
    bare = f"{sys.executable} -IS"  # without site-packages
    process = start("make", f"PYTHON={bare}", f"RUNS={tmp_path / 'runs'}", "table", env=clean_environment())
    out, err = process.communicate()
    assert process.returncode and scripts(out) == [] and "Traceback" not in err
    assert re.search("No module named '.*'; PYTHON= needs the packages of requirements.txt", err)


def test_other_settings_than_those_of_finished_runs_are_refused(finished, tmp_path):
    seed = copy(finished, tmp_path)
    (seed / "low-0.1/p0.8/finetuned.pt").unlink()
    for words, what in ((["FLAGS=--lr 3e-4"], "--lr 0.001, and 0.0003"), (["EPOCHS=1"], "--epochs 2, and 1")):
        process = start("make", f"PYTHON={PYTHON}", f"RUNS={tmp_path}", *TWO, *words, "table", env=clean_environment())
        out, err = process.communicate()
        assert process.returncode and what in err and "RUNS=runs/NAME" in err and scripts(out) == []


@pytest.mark.parametrize("goal", ["table", "status"])
def test_other_settings_are_refused_where_all_is_done(finished, tmp_path, goal):
    copy(finished, tmp_path)
    knobs = (f"PYTHON={PYTHON}", f"RUNS={tmp_path}", *TWO, "FLAGS=--batch-size 32")
    out, err = (process := start("make", *knobs, goal, env=clean_environment())).communicate()
    assert process.returncode and "batch" in err and "RUNS=runs/NAME" in err and "nothing is left" not in out


@pytest.mark.parametrize("goal", ["table", "status"])
def test_other_data_than_those_of_finished_runs_are_refused(finished, tmp_path, goal):
    """Before a control trains on them, which has no scores that could tell."""
    copy(finished, tmp_path)
    packed = torch.load(DIGITS / "MNIST.pt", weights_only=True)
    torch.save(packed | {"train_labels": packed["train_labels"].flip(0)}, tmp_path / "MNIST.pt")
    knobs = (f"PYTHON={PYTHON}", f"RUNS={tmp_path}", *TWO, "ORDERS=low matched", f"DATA={tmp_path}")
    out, err = (process := start("make", *knobs, goal, env=clean_environment())).communicate()
    assert process.returncode and "on other data than" in err and "RUNS=runs/NAME" in err and scripts(out) == []


# ----------------------------------------------------------------------------------------------------- the whole


def test_progress_of_the_whole(finished):
    folder, out = finished
    lines = out.splitlines()
    plan = next(line for line in lines if "of 6 runs" in line)
    assert re.fullmatch(r"0 of 6 runs, about \d+ min left with 1 job, by steps timed on this machine", plan)
    assert lines.index(plan) < min(i for i, line in enumerate(lines) if "forget.py" in line)
    told = [re.fullmatch(r"(\d) of 6 runs(, about \d+ min left)?", line) for line in lines]
    assert [int(match[1]) for match in told if match] == [1, 2, 3, 4, 5, 6]
    assert list(folder.glob("make-*")) == []


def test_table_is_kept_beside_its_runs_and_says_what_comes_next(finished):
    folder, out = finished
    saved = folder / "paper/MNIST/fcnet/table.md"
    text = saved.read_text()
    assert text.count("| ") > 10 and text in out
    table = re.compile(r"\| +0.1 \| +0.8 \|")
    assert table.search(text)
    saved_as, figures, seeds = out.splitlines()[-3:]
    assert saved_as == f"saved: {saved}"
    assert (
        figures.startswith("next: make figures ")
        and f"RUNS={folder}" in figures
        and 'ORDERS="low untrained"' in figures
    )
    assert seeds.startswith("more seeds: make table ") and seeds.endswith('SEEDS="0 1 2"')


def test_figures_are_of_the_settings_that_were_asked_for(finished):
    knobs = (f"RUNS={finished[0]}", *TWO, "FLAGS=--lr 3e-4", "figures")
    for figure in ("figure1", "figure2"):
        assert f"report.py {figure} --asked='--epochs 2 --lr 3e-4' " in make("-n", *knobs)
    process = start("make", f"PYTHON={PYTHON}", *knobs, env=clean_environment())
    _, err = process.communicate()
    assert process.returncode and "--asked disagree in first_training" in err


def published_but(file):
    """Words of make by which the published files, but for one or none, are old."""
    names = [path.name for path in (ROOT / "tests" / "data").glob("published_*.csv")]
    return [word for name in names if name != file for word in ("-o", f"tests/data/{name}")]


@pytest.mark.parametrize("file", ["published_accuracies.csv", "published_curves.csv"])
def test_pictures_are_made_again_when_published_numbers_change(file):
    results = ROOT / "tests" / "results"
    others = ["report.py", "tests/study.py", "tests/claims.py", *results.glob("*.csv")]
    old = [word for path in others for word in ("-o", os.path.relpath(path, ROOT))]  # whatever their time stamps
    assert "report.py figure1" not in make("-n", *old, *published_but(None), "results")
    out = make("-n", *old, *published_but(file), "-W", f"tests/data/{file}", "results")
    for picture in ("figure1", "figure2", "forest"):
        assert f" {picture} tests/results/resnet18-cifar100-paper.csv" in out


@pytest.mark.parametrize(
    "knob, folder", [("EPOCHS=3", "runs/smoke/epochs3"), ("RUNS=runs/lr", "runs/smoke/lr"), ("RUNS=new", "new")]
)
def test_smoke_of_other_settings_has_a_folder_of_its_own(knob, folder):
    assert f"--scores {folder}/paper/MNIST/fcnet/seed0/forget.npy" in make("-n", "smoke", knob)


def test_a_table_that_cannot_be_kept_is_shown(finished, tmp_path):
    """As where a folder of results may be read alone."""
    seed = copy(finished, tmp_path)
    (seed.parent / "table.txt.tmp").mkdir()
    process = start("make", f"PYTHON={PYTHON}", f"RUNS={tmp_path}", *TWO, "table", env=clean_environment())
    out, err = process.communicate()
    assert process.returncode and "Low - Base" in out and "saved:" not in out and "table.txt.tmp" in err


def test_what_comes_next_has_the_knobs_that_the_goal_set():
    *_, closing = make("-n", "RUNS=runs/new", "SEEDS=0 1 2", "table1-0.1-0.8-global").splitlines()
    knobs = "DATASET=CIFAR100 DATA_RATIOS=0.1 MODEL=resnet18 PRUNE_RATIOS=0.8-global "
    assert f"next: make figures {knobs}" in closing and 'SEEDS="0 1 2"' in closing and "more seeds" not in closing


def test_smoke_ends_with_a_sentence():
    *_, last = run("make", "-n", f"PYTHON={PYTHON}", "smoke", env=clean_environment()).splitlines()
    assert "The whole method runs on this machine." in last


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


@pytest.mark.parametrize("method", ["p0.8", "p0.8-5x"])
def test_pruning_takes_the_device_of_flags_and_no_flag_of_training(method):
    flags = "FLAGS=--lr 3e-4 --device=cpu --precision bf16"
    lines = make("-n", "RUNS=runs/new", flags, f"{SEED}/low-0.1/{method}/finetuned.pt").splitlines()
    prunings = [line for line in lines if "prune.py" in line]
    assert prunings
    for line in prunings:
        assert " --device=cpu --precision bf16 --data data" in line and "--lr" not in line


@pytest.mark.parametrize("method", ["p0.8", "p0.8-5x"])
def test_a_failure_after_a_step_leaves_its_files(tmp_path, method):
    """As where the line of progress cannot be printed; a program that makes its outputs stands for Python."""
    stand_in = """#!/bin/sh
        case "$*" in *progress*) exit 1;; *knobs.py*) exit 0;; esac
        while [ $# -gt 1 ]; do [ "$1" = --out ] && mkdir -p "$(dirname "$2")" && touch "$2"; shift; done
        """
    (tmp_path / "python").write_text(stand_in)
    (tmp_path / "python").chmod(0o755)
    folder = tmp_path / f"paper/MNIST/fcnet/seed0/full/{method}"
    words = ("-j1", f"PYTHON={tmp_path}/python", f"RUNS={tmp_path}", folder / "finetuned.pt")
    process = start("make", *words, env=clean_environment())
    _, err = process.communicate()
    assert process.returncode and "Error 1" in err
    assert (folder / "pruned.pt").exists() and (folder / "finetuned.pt").exists()


def test_untrained_weights_are_rewound_to_themselves():
    """The network and the initial weights are one file, which make lists once."""
    *_, pruning, _ = make("-n", "RUNS=runs/new", f"{SEED}/untrained/p0.8-rewound/finetuned.pt").splitlines()
    assert f"prune.py --in {SEED}/untrained/dense.pt --ratio 0.8 --start {SEED}/untrained/dense.pt --data" in pruning


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
    assert run_of(folder / "p0.8-5x/finetuned.pt").method == "5 rounds"


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
    ("table1-0.1",): "no row table1-0.1: make table1-0.1-0.8 is",
    ("table1-foo",): "no row table1-foo",
    ("table1-0.1-80",): "no row table1-0.1-80",
    ("table1-0.1-0.8-alive",): "no row table1-0.1-0.8-alive",
    ("table", "PRUNE_RATIOS=0.8-alive"): "PRUNE_RATIOS: 0.8-alive",
    ("table", "ORDERS=low none"): "none is called untrained",
    ("table1", "EPOCH=1"): "no knob EPOCH: did you mean EPOCHS?",
    ("table1", "DATA_RATIO=0.1"): "no knob DATA_RATIO: did you mean DATA_RATIOS?",
    ("table", "Orders=low"): "no knob Orders: did you mean ORDERS?",
    ("table", "SEEDS=0 4294967296"): "SEEDS: 4294967296 is not a whole number below 10**9",
    ("tabel",): "no goal tabel: did you mean table?",
    ("TABLE1",): "no goal TABLE1: did you mean table1?",
    ("table", "SEEDS=0", "1"): 'no goal 1: several words of a knob need quotes, as SEEDS="0 1 2"',
    ("table", "ORDERS=low", "random"): "no goal random: several words of a knob need quotes",
    ("table", "PRUNE_RATIOS=0.4", "0.8-global"): "no goal 0.8-global: several words of a knob need quotes",
    ("grid-lenet-mnst",): "no goal grid-lenet-mnst: did you mean grid-lenet-mnist?",
    ("table1-0.1-0.8", "DATA_RATIOS=0.3"): "make table1-0.1-0.8 sets DATA_RATIOS itself",
    ("grid-fcnet-mnist", "MODEL=lenet"): "make grid-fcnet-mnist sets MODEL itself",
    ("smoke", "DATA=x"): "make smoke sets DATA itself",
    ("ablation", "PROTOCOL=released"): "make ablation sets PROTOCOL itself",
    ("table", "PROTOCOLS=released"): "PROTOCOLS is read by make ablation alone",
    ("ablation", "PROTOCOLS=paper regrown+frozen"): "no protocol regrown+frozen",
    ("table", "FORMAT=md"): "FORMAT: md is not text, markdown or latex",
    ("table", "FLAGS=--epochs 1"): "FLAGS: --epochs is none of",
    ("table", "FLAGS=--lr 1e-3 --seed=5"): "FLAGS: --seed=5 is none of",
    ("table", "FLAGS=--ep 1"): "FLAGS: --ep is none of",
    ("table", "FLAGS=--subset x"): "FLAGS: --subset is none of",
    ("status", "RUNS=a:b"): "RUNS: a:b is not a path",
    ("status", "RUNS=a//b"): "RUNS=a//b: write the folder without //",
    ("status", "RUNS=."): "write the folder without",
    ("runs/paper/MNIST/fcnet/seed0/full/p0.8/finetuned.pt", "EPOCHS=1", "RUNS=runs/epochs1"): (
        "is not in RUNS=runs/epochs1, the folder of results with these knobs: "
        "make runs/epochs1/paper/MNIST/fcnet/seed0/full/p0.8/finetuned.pt"
    ),
    ("runs/epochs1/paper/MNIST/fcnet/seed0/full/dense.pt", "RUNS=runs"): "make it with EPOCHS=1",
    ("x/other/MNIST/fcnet/seed0/full/dense.pt", "RUNS=x"): "no protocol other",
    ("x/paper/MNIST/fcnet/seed0/hihg-0.1/dense.pt", "RUNS=x"): "hihg-0.1/dense.pt is none of",
    ("x/paper/MNIST/fcnet/seed0/low-1e-1/subset.npy", "RUNS=x"): "low-1e-1/subset.npy is none of",
    ("x/paper/MNIST/fcnet/seed0/low-0.1/p0.8-alive/finetuned.pt", "RUNS=x"): "p0.8-alive/finetuned.pt is none of",
    ("x/paper/MNIST/fcnet/seed0/none/dense.pt", "RUNS=x"): "none is called untrained",
    ("x/paper/MNIST/fcnet/seed0/crest-0.1/subset.npy", "RUNS=x"): "crest-0.1/subset.npy is none of",
    ("x/paper/MNIST/fcnet/seed0", "RUNS=x"): "no goal x/paper/MNIST/fcnet/seed0: a file of a seed is one",
    ("x/paper/MNIST/fcnet/", "RUNS=x"): "no goal x/paper/MNIST/fcnet: a file of a seed is one",
    ("x/paper/MNIST/fcnet/seed-1/full/dense.pt", "RUNS=x"): "seed-1 is not seedK",
    ("x/paper/MNIST/fcnet/seed0/full/p0.8-5x/finetuned.pt", "RUNS=x", "TUNE_EPOCHS=12"): "TUNE_EPOCHS: 12",
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


def test_knobs_in_the_environment_are_told_of():
    environment = clean_environment() | {"SEEDS": "0 1", "MODEL": "lenet", "PROTOCOL": "paper"}
    process = start("make", "-n", f"PYTHON={PYTHON}", "RUNS=runs/new", "MODEL=fcnet", "table", env=environment)
    out, err = process.communicate()
    assert err == "SEEDS of the environment is not read; write it behind make: make SEEDS=...\n" and "seed1" not in out


def test_help_has_a_line_for_every_knob_and_fits_a_terminal():
    out = run("make", "help", env=clean_environment())
    lines = out.splitlines()
    makefile = (ROOT / "Makefile").read_text()
    (knobs,) = re.findall(r"^knobs = (.*?[^\\])$", makefile, re.M | re.S)
    for knob in knobs.replace("\\", "").split():
        (line,) = [line for line in lines if line.startswith(f"{knob}=")]
        assert re.search(r" [a-z(]", line), line
    (goals,) = re.findall(r"^goals = (.*)$", makefile, re.M)
    for goal in set(goals.split()) - {"begin", "$(grids)"}:
        assert sum(line.startswith(f"{goal} ") for line in lines) == 1, goal
    assert max(map(len, lines)) <= 80


def test_workflow_and_ci_run_the_same_goals():
    goals = re.compile(r"^\s*(?:- run: )?make (?:-j2 )?(\w+)$", re.M)
    ours, public = (goals.findall((ROOT / name).read_text()) for name in (".ci/run", ".github/workflows/ci.yml"))
    assert sorted(ours) == sorted(public) == ["lint", "smoke", "test"]


# ---------------------------------------------------------------------------------------------- two makes at once


def test_plan_comes_before_the_first_step(tmp_path):
    """RUN=false ends the first step."""
    runs = {"table1-0.1-0.4": 3, "grid-fcnet-mnist": 55, "ablation": 21, "table": 21, "grid-lenet-mnist table": 76}
    for goals, count in runs.items():
        knobs = (f"PYTHON={PYTHON}", f"RUNS={tmp_path}", "RUN=false", "-j1")
        process = start("make", *knobs, *goals.split(), env=clean_environment())
        first, *_ = process.communicate()[0].splitlines()
        assert process.returncode and re.match(rf"0 of {count} runs, about .* left with 1 job, by steps timed", first)


def test_training_goes_on_where_nothing_can_be_printed(tmp_path):
    """make itself ends with an error then, once all is done."""
    knobs = (f"PYTHON={PYTHON}", f"RUNS={tmp_path}", *SMALL, "ORDERS=", "-j1")
    with open("/dev/full", "w") as full:
        words = ["make", *knobs, "table"]
        done = subprocess.run(words, stdout=full, stderr=subprocess.PIPE, text=True, cwd=ROOT, env=clean_environment())
    assert (tmp_path / "paper/MNIST/fcnet/seed0/full/p0.8/finetuned.pt").exists()
    assert "Traceback" not in done.stderr and list(tmp_path.glob("make-*")) == []


@pytest.fixture
def held(tmp_path):
    """A make whose first step waits, its knobs, and a function that starts another one."""
    os.mkfifo(tmp_path / "fifo")
    path = program(tmp_path, "wait", f"read line < {tmp_path}/fifo")
    runs = (f"PYTHON={PYTHON}", f"RUNS={tmp_path / 'runs'}", *SMALL)

    def another(*words, **kwargs):
        return start("make", *runs, *words, env=clean_environment() | path, **kwargs)

    process = another("RUN=wait", "table", start_new_session=True)
    assert process.stdout.readline().startswith("0 of 3 runs, about ")
    yield process, another
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def test_second_make_at_the_same_files_is_refused(held):
    process, another = held
    out, err = (second := another("table")).communicate()
    assert second.returncode and scripts(out) == []
    assert f"(process {process.pid}) is at " in err and "wait for it, or give the two other SEEDS or RUNS" in err
    out, err = another("RUN=false", "SEEDS=1", "table").communicate()  # another seed is no other's business
    assert "0 of 3 runs, about" in out and "is at" not in err


def test_killed_make_holds_nobody(held):
    process, another = held
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    out, err = another("RUN=false", "table").communicate()
    assert "0 of 3 runs, about" in out and "is at" not in err


def test_make_on_another_machine_is_told_of(held, tmp_path):
    process, another = held
    (ours,) = (tmp_path / "runs").glob("make-*.json")
    plan = json.loads(ours.read_text())
    (tmp_path / "runs/make-elsewhere-1.json").write_text(json.dumps(plan | {"host": "elsewhere", "make": 1}))
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    out, err = another("RUN=false", "table").communicate()
    assert "make on elsewhere (process 1) is at " in err and "make-elsewhere-1.json" in err and "0 of 3 runs" in out


# ------------------------------------------------------------------------------------------------------ the time


def test_steps_wait_for_their_inputs_and_for_a_job():
    forget = ([], ["scores", "dense"], 10)
    steps = [forget, *(([source], [f"out{i}"], 4) for i, source in enumerate(["scores", "dense", "dense"]))]
    assert status.finish(steps, 1) == 22  # one after the other
    assert status.finish(steps, 2) == 18  # forget.py alone, then two and one
    assert status.finish(steps, 9) == 14


def test_cost_counts_evaluations():
    assert status.cost("select", 0, 0, 60, 12) == 0
    assert status.cost("prune", 0, 0, 60, 12) == 4
    assert status.cost("finetune", 2, 60, 60, 12) == 2 * 60 + 3 * 4
    assert status.cost("forget", 2, 60, 60, 12) == 2 * 60 + 3 * 4 + 3 * 20


def test_time_of_crest_is_about_what_it_took():
    """Of LeNet, whose runs are in a csv: within a factor of four; a coreset's steps alone are off by ten and fifty."""
    taken = defaultdict(list)
    for one in report.load_runs([str(ROOT / "tests" / "results" / "lenet-mnist-paper.csv")]):
        taken[one.order].append(one.first_seconds)
    seed = "runs/paper/MNIST/lenet/seed0"
    lines = {
        "matched": f"train.py --share 0.1 --out {seed}/matched-0.1/dense.pt",
        "crest": f"tests/crest.py --share 0.1 --out {seed}/crest-0.1/dense.pt",
        "crestfresh": f"tests/crest.py --share 0.1 --renew always --out {seed}/crestfresh-0.1/dense.pt",
    }
    costs = {}
    for order, line in lines.items():
        (step,) = status.read_steps([f"python {line}"])
        costs[order] = status.cost(step.script, 10, status.samples_of(step, 60_000), 60_000, 10_000)
    for order in ("crest", "crestfresh"):
        measured = statistics.median(taken[order]) / statistics.median(taken["matched"])
        assert 1 / 4 < costs[order] / costs["matched"] / measured < 4


@pytest.mark.parametrize("seconds, words", [(3, "1 min"), (95, "2 min"), (3600, "1 h 0 min"), (5980, "1 h 40 min")])
def test_duration_in_words(seconds, words):
    assert status.duration(seconds) == words


def test_status_passes_over_what_is_no_network_and_counts_a_run_once(tmp_path):
    """Steps that RUN sends elsewhere are timed here where none is done."""
    folder = tmp_path / "lr=3e-4/paper/MNIST/fcnet/seed0"
    folder.mkdir(parents=True)
    (folder / "note.pt").write_text("x")
    knobs = (f"RUNS={tmp_path}/lr=3e-4", "DATA_RATIOS=0.1", "PRUNE_RATIOS=0.8", "SEEDS=0 0", "RUN=srun -j5")
    first, counts, _ = make("status", *knobs).splitlines()
    assert re.match(r"0 of 3 runs, about \d+ min left with .* jobs?, by steps timed on this machine", first)
    assert counts == "steps left: 1 forget, 3 prune, 3 finetune, 2 select, 2 train"


def test_status_counts_steps_and_names_the_next(chain, tmp_path):
    folder = tmp_path / "paper/MNIST/fcnet/seed0"
    (folder / "full").mkdir(parents=True)
    (folder / "forget.npy").write_bytes((chain / "forget.npy").read_bytes())
    torch.save(torch.load(chain / "full.pt", weights_only=True) | {"seconds": 3600.0}, folder / "full/dense.pt")
    knobs = (f"RUNS={tmp_path}", f"DATA={DIGITS}", "DATA_RATIOS=0.1", "PRUNE_RATIOS=0.4 0.8", "ORDERS=low random")
    out = make("status", *knobs, "EPOCHS=3", "-j2")
    # An hour is 3 x 4,000 images trained on and, at a third, 4 x 5,000 evaluated. A fine-tuning evaluates 4 x 1,000, a
    # pruning 1,000, and a training on a tenth 4 x 1,000: 43, 1.1 and 8.1 minutes. Two jobs share 6, 6 and 2 of them.
    first, counts, following = out.splitlines()
    assert re.fullmatch("0 of 6 runs, about 2 h 2[0-9] min left with 2 jobs, by the last steps done", first)
    assert counts == "steps left: 6 prune, 6 finetune, 2 select, 2 train"
    assert following == f"next: {folder}/full/p0.4/pruned.pt"
    assert len(list(tmp_path.rglob("*.npy"))) == 1 and len(list(tmp_path.rglob("*.pt"))) == 1
