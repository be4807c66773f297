"""What decides a number stands in the name of its run, or all runs of a report agree in it; else they are refused."""

import shutil

import numpy as np
import pytest
import torch

import report
from conftest import DIGITS, ROOT, refusal, run, run_of

USUAL = ("--data", DIGITS, "--device", "cpu")


@pytest.fixture(scope="module")
def held(chain):
    return torch.load(chain / "hold.pt", weights_only=True)


def with_flag(held, path, step, flag, value):
    """Write the checkpoint as if that flag of a step had been another; returns its path as text."""
    args = {name: dict(flags) for name, flags in held["args"].items()}
    args[step][flag] = value
    torch.save(held | {"args": args}, path)
    return str(path)


# Every flag of every step that a checkpoint keeps, and where a report tells it. What decides a network stands in the
# name of its run, or all runs agree in it; what does not, has a reason.
PLACE_OF_FLAG = {
    "dataset": "all runs agree",
    "model": "all runs agree; scores of another network are named: low of lenet",
    "data": "all runs agree",
    "train_size": "all runs agree",
    "test_size": "all runs agree",
    "original": "all runs agree",
    "seed": "name of the run: seed; all its steps agree",
    "epochs": "all runs agree: in scoring, first training and fine-tuning",
    "batch_size": "all runs agree: in scoring, first training and fine-tuning",
    "lr": "all runs agree: in scoring, first training and fine-tuning",
    "precision": "all runs agree: in scoring, first training and fine-tuning; of prune.py it moves no weight",
    "events": "name: protocol",
    "positions": "name: protocol",
    "batchnorm": "name: protocol",
    "ties": "name: protocol",
    "mask": "name: protocol",
    "order": "name: order",
    "cut": "name: order, where it is not the usual one",
    "share": "name: order",
    "name": "name: order",
    "scores": "all runs of an order agree",
    "subset": "all runs of an order agree",
    "ratio": "name: data ratio of select.py, prune ratio of prune.py",
    "scope": "name: pruning method",
    "criterion": "name: pruning method",
    "structure": "name: pruning method",
    "start": "name: pruning method, with the training of the network that the values are of",
    "start_seed": "name: pruning method says whether it is another; two results of one run are refused",
    "start_weights": "two results of one run are refused",
    "device": "moves bits alone, and is told below a table",
    "threads": "moves bits alone, and is told below a table",
    "renew": "name: order",
    "random": "name: order, where it is not the usual one",
    "tau": "name: order, where it is not the usual one",
    "learned": "name: order, where it is not the usual one",
    "chosen_samples": "counted by the step",
    "choosing_seconds": "counted by the step",
    "checks": "counted by the step",
    "renewals": "counted by the step",
    "dropped": "counted by the step",
    "samples": "follows from subset and share",
    "subset_size": "follows from subset",
    "parameters": "counted by the step",
    "weights": "counted by the step",
    "zeros": "counted by the step",
    "live": "counted by the step",
    "live_zeros": "counted by the step",
}

OTHER = {  # another value of every flag that decides a coreset or a network, in every step that has it
    "dataset": "CIFAR10",
    "model": "lenet",
    "data": "0123456789abcdef",
    "train_size": 4001,
    "test_size": 1001,
    "seed": 1,
    "epochs": 2,
    "batch_size": 7,
    "lr": 0.01,
    "precision": "bf16",
    "events": "flipped",
    "positions": "shuffled",
    "batchnorm": "frozen",
    "ties": "index",
    "mask": "release",
    "order": "high",
    "share": 0.5,
    "ratio": 0.3,
    "scope": "global",
    "criterion": "random",
    "structure": "channels",
    "start": "trained",
}
LATER_STEPS_TELL_IT_AGAIN = ("dataset", "data", "train_size", "test_size", "model", "original")


def test_every_flag_of_a_checkpoint_has_its_place(held, tmp_path):
    flags = set().union(*held["args"].values())
    assert flags - set(PLACE_OF_FLAG) == set()
    run("train.py", "--dataset", "MNIST", "--model", "fcnet", "--epochs", 0, *USUAL, "--out", tmp_path / "x.pt")
    assert set(torch.load(tmp_path / "x.pt", weights_only=True)["args"]["train"]) <= set(PLACE_OF_FLAG)


@pytest.mark.parametrize("step", ["forget", "select", "train", "prune", "finetune"])
def test_another_value_of_a_flag_is_another_cell_or_is_refused(held, tmp_path, chain, step):
    """No two runs that differ in what decides a coreset or a network are one cell of a table."""
    tried = 0
    for flag in held["args"][step]:
        decides = PLACE_OF_FLAG[flag].startswith(("name", "all runs")) and flag in OTHER
        if not decides or (step, flag) == ("prune", "precision"):
            continue
        if step != "train" and flag in LATER_STEPS_TELL_IT_AGAIN and (step, flag) != ("forget", "model"):
            continue  # the first training's are those that a report goes by; train.py and restore compare the others
        other = with_flag(held, tmp_path / f"{flag}.pt", step, flag, OTHER[flag])
        try:
            one = run_of(chain / "hold.pt")
            two = run_of(other)
            report.load_runs([str(chain / "hold.pt"), other])
            assert one.cell != two.cell or one.seed != two.seed, flag
        except SystemExit:
            pass  # refused
        tried += 1
    assert tried >= {"forget": 8, "select": 4, "train": 8, "prune": 4, "finetune": 6}[step]


def test_scores_of_another_network_are_named(held, tmp_path):
    path = with_flag(held, tmp_path / "x.pt", "forget", "model", "lenet")
    assert run_of(path).order == "low of lenet"
    assert "Low of lenet" in run("report.py", "table", path)


def test_scorings_of_other_epochs_are_not_pooled(held, tmp_path, chain):
    other = with_flag(held, tmp_path / "x.pt", "forget", "epochs", 4)
    err = refusal("report.py", "table", chain / "hold.pt", other)
    assert "disagree in scoring" in err and "4 epochs" in err


@pytest.mark.parametrize("cut, order", [(0.3, "ccs"), (0.1, "ccs cut 0.1"), (0.85, "ccs cut 0.85")])
def test_the_cut_of_ccs_is_in_its_name(held, tmp_path, cut, order):
    args = {step: dict(flags) for step, flags in held["args"].items()}
    args["select"] |= {"order": "ccs", "cut": cut}
    torch.save(held | {"args": args}, tmp_path / "x.pt")
    assert run_of(tmp_path / "x.pt").order == order


def test_values_from_networks_of_other_trainings_are_not_pooled(held, tmp_path, chain):
    """Late rewinding: to the baseline after three epochs, and to a network of 64 samples after two."""
    np.save(tmp_path / "mine.npy", np.arange(64))
    network = ("--dataset", "MNIST", "--model", "fcnet", "--epochs", 2, "--lr", 0.01, "--subset", "mine.npy")
    run("train.py", *network, *USUAL, "--out", "two.pt", cwd=tmp_path)
    methods = []
    for start in (chain / "full.pt", tmp_path / "two.pt"):
        words = ("--in", chain / "dense.pt", "--ratio", 0.8, "--start", start, *USUAL, "--out", "p.pt")
        run("prune.py", *words, cwd=tmp_path)
        run("finetune.py", "--in", "p.pt", "--epochs", 1, *USUAL, "--out", "f.pt", cwd=tmp_path)
        methods.append(run_of(tmp_path / "f.pt").method)
    assert methods == [
        "start trained (forget: 3 epochs, 4000 samples, lr 0.001, batch size 64)",
        "start trained (train: 2 epochs, 64 samples, lr 0.01, batch size 64)",
    ]


def test_prunings_of_two_kinds_are_named_in_their_order():
    usual = {"scope": "layer", "criterion": "magnitude", "structure": "weights", "start": "", "ratio": 0.5}
    cut = usual | {"structure": "channels"}
    tunings = [{"epochs": 1}, {"epochs": 1}]
    steps = ["prune", "finetune", "prune-2", "finetune-2"]
    names = {report.method_of(prunings, tunings, steps) for prunings in ([cut, usual], [usual, cut], [cut, cut])}
    schedule = "prune 0.5 0.5, tune 1 1"
    kinds = ("channels then magnitude", "magnitude then channels", "channels")
    assert names == {f"{kind}, {schedule}" for kind in kinds}


def test_learning_rates_of_several_tunings_are_told_in_their_order():
    usual = {"epochs": 1, "batch_size": 64, "precision": "fp32"}
    told = set()
    for rates in ((1, 2, 1), (1, 2, 2), (1, 1, 1)):
        told.add(report.settings([usual | {"lr": rate} for rate in rates]).split(", ")[1])
    assert told == {"lr 1 2 1", "lr 1 2 2", "lr 1"}


def make_own(folder, name, numbers):
    """A fine-tuned network from own scores that lie in NAME.npy; returns its path."""
    folder.mkdir()
    np.save(folder / f"{name}.npy", numbers)
    run("select.py", "--scores", f"{name}.npy", "--order", "high", "--ratio", 0.1, "--out", "high.npy", cwd=folder)
    network = ("--dataset", "MNIST", "--model", "fcnet", "--epochs", 1)
    run("train.py", *network, "--subset", "high.npy", *USUAL, "--out", "d.pt", cwd=folder)
    run("prune.py", "--in", "d.pt", "--ratio", 0.8, *USUAL, "--out", "p.pt", cwd=folder)
    run("finetune.py", "--in", "p.pt", "--epochs", 1, *USUAL, "--out", "f.pt", cwd=folder)
    return folder / "f.pt"


def test_own_scores_have_the_name_of_their_file_and_one_name_has_one_content(tmp_path):
    one = make_own(tmp_path / "1", "margin", np.arange(4000.0))
    two = make_own(tmp_path / "2", "margin", np.arange(4000.0)[::-1])
    assert "High of own margin" in run("report.py", "table", one)
    assert "disagree in scoring of own margin" in refusal("report.py", "table", one, two)


@pytest.mark.parametrize("line, old, new", [(8, "paper", "paper,"), (30, "98.", "198.")])
def test_a_faulty_line_of_a_csv_is_named(tmp_path, line, old, new):
    lines = (ROOT / "tests/results/lenet-mnist-paper.csv").read_text().splitlines()
    assert old in lines[line - 1]
    lines[line - 1] = lines[line - 1].replace(old, new, 1)
    (tmp_path / "x.csv").write_text("\n".join(lines))
    assert f"x.csv (line {line}: " in refusal("report.py", "table", tmp_path / "x.csv")


def test_ratios_that_differ_by_rounding_alone_are_one(held, tmp_path, chain):
    other = with_flag(held, tmp_path / "x.pt", "prune", "ratio", 0.1 + 0.7)  # 0.7999999999999999
    assert run("report.py", "table", chain / "hold.pt", other) == run("report.py", "table", chain / "hold.pt")


def test_checkpoints_of_one_network_have_one_first_training(held, tmp_path, chain):
    """Two prune ratios of a network that was trained twice, on two machines say."""
    args = {step: dict(flags) for step, flags in held["args"].items()}
    args["prune"]["ratio"] = 0.4
    dense = held["earlier"]["train"] | {"accuracy": [10.0, 50.0, 60.0, 70.0]}
    torch.save(held | {"args": args, "earlier": held["earlier"] | {"train": dense}}, tmp_path / "x.pt")
    assert "of one network, but it had 70.00" in refusal("report.py", "table", chain / "hold.pt", tmp_path / "x.pt")


def test_coresets_of_one_seed_have_one_scoring(held, tmp_path, chain):
    """high was chosen by scores that were counted again, with the same flags and other bits."""
    args = {step: dict(flags) for step, flags in held["args"].items()}
    args["select"]["order"] = "high"
    dense = held["earlier"]["train"] | {"accuracy": [10.0, 50.0, 60.0, 70.0]}
    high = held | {"args": args, "earlier": held["earlier"] | {"train": dense}}
    torch.save(high, tmp_path / "x.pt")
    run("report.py", "table", chain / "hold.pt", tmp_path / "x.pt")
    args["select"]["scores"] = "0123456789abcdef"
    torch.save(high, tmp_path / "x.pt")
    err = refusal("report.py", "table", chain / "hold.pt", tmp_path / "x.pt")
    assert "other scores chose their coresets: make one of them again" in err


PLACES = {  # a path of make, and what of the run that lies there is another
    "paper/MNIST/fcnet/seed1/low-0.1/p0.8": "seed",
    "paper/MNIST/fcnet/seed0/high-0.1/p0.8": "order",
    "paper/MNIST/fcnet/seed0/low-0.2/p0.8": "data ratio",
    "paper/MNIST/fcnet/seed0/low-0.1/p0.4": "prune ratio",
    "paper/MNIST/fcnet/seed0/low-0.1/p0.8-global": "pruning method",
    "released/MNIST/fcnet/seed0/low-0.1/p0.8": "protocol",
    "paper/MNIST/lenet/seed0/low-0.1/p0.8": "network",
    "paper/CIFAR10/fcnet/seed0/low-0.1/p0.8": "data set",
}


@pytest.mark.parametrize("place", PLACES)
def test_a_run_that_make_asked_for_is_the_one_of_its_path(chain, tmp_path, place):
    path = tmp_path / place / "finetuned.pt"
    path.parent.mkdir(parents=True)
    shutil.copy(chain / "hold.pt", path)
    asked = "--asked=--epochs 3 --tune-epochs 1"
    err = refusal("report.py", "table", path, asked)
    assert f"its {PLACES[place]} is" in err and str(path) in err
    run("report.py", "table", path)  # by hand, files may lie anywhere


def test_a_run_in_its_own_place_is_shown(chain, tmp_path):
    path = tmp_path / "paper/MNIST/fcnet/seed0/low-0.1/p0.8/finetuned.pt"
    path.parent.mkdir(parents=True)
    shutil.copy(chain / "hold.pt", path)
    assert "Low" in run("report.py", "table", path, "--asked=--epochs 3 --tune-epochs 1")


def test_data_that_are_not_the_original_are_named_and_have_no_published_column():
    training = {"dataset": "MNIST", "train_size": 60_000, "test_size": 10_000, "data": "d"}
    assert report.data_of(training | {"original": True}) == report.data_of(training)
    other = report.data_of(training | {"original": False})
    assert other.endswith("not the original")
    original = report.load_runs([str(ROOT / "tests/results/lenet-mnist-paper.csv")])[0]
    assert report.published_accuracies([original])
    assert not report.published_accuracies([original._replace(data=other)])


def test_the_machines_of_all_steps_are_told(held, tmp_path):
    earlier = {step: dict(history) for step, history in held["earlier"].items()}
    earlier["train"]["device"] = "NVIDIA H200"
    torch.save(held | {"earlier": earlier}, tmp_path / "x.pt")
    assert run_of(tmp_path / "x.pt").machine.endswith("; earlier steps on NVIDIA H200")
