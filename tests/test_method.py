"""Scores, coresets, masks and fine-tuning against brute force and against torch's own pruning."""

import hashlib
import json
import runpy

import numpy as np
import pytest
import torch
from torch.nn.utils import prune as torch_prune

import forget
import train
from conftest import DIGITS, ROOT, make_chain, run, start

select = runpy.run_path(str(ROOT / "select.py"))["select"]


def tensors(path):
    return torch.load(path, weights_only=True)["model"]


# ------------------------------------------------------------------------------------------------- forgetting


@pytest.mark.parametrize(
    "answers, forgotten, flipped, toneva",  # the true class is 1
    [
        ("1111", 0, 0, 0),
        ("0000", 0, 0, 4),
        ("0231", 0, 3, 0),
        ("1010", 2, 3, 2),
        ("0101", 1, 3, 1),
        ("1202", 1, 3, 1),
        ("1100", 1, 1, 1),
        ("0202", 0, 3, 4),
    ],
)
def test_score_of_a_hand_made_sequence(answers, forgotten, flipped, toneva):
    predictions = np.array([[int(answer)] for answer in answers])
    for events, expected in (("forgotten", forgotten), ("flipped", flipped), ("toneva", toneva)):
        assert forget.score(predictions, predictions == 1, events).tolist() == [expected]


def test_scores_are_the_brute_force_count(chain):
    correct, scores = np.load(chain / "correct.npy"), np.load(chain / "forget.npy")
    assert correct.dtype == bool and correct.shape == (3, 4000) and scores.dtype == np.int64
    for history, score in zip(correct.T, scores, strict=True):
        events = 0
        for before, after in zip(history, history[1:]):
            if before and not after:
                events += 1
        assert score == events
    assert len(set(scores.tolist())) > 1


def test_correct_is_of_the_network_that_is_left(chain):
    """The last row of correct.npy, evaluated again by plain torch from the checkpoint."""
    packed = torch.load(DIGITS / "MNIST.pt", weights_only=True)
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(784, 256), torch.nn.ReLU(), torch.nn.Linear(256, 10))
    net.load_state_dict(tensors(chain / "full.pt"))
    right = net((packed["train_images"] / 255 - 0.5) / 0.5).argmax(1) == packed["train_labels"]
    assert (right.numpy() != np.load(chain / "correct.npy")[-1]).sum() <= 2  # rounding, on the border of two classes
    right = net((packed["test_images"] / 255 - 0.5) / 0.5).argmax(1) == packed["test_labels"]
    checkpoint = torch.load(chain / "full.pt", weights_only=True)
    assert checkpoint["accuracy"][-1] == pytest.approx(100 * right.double().mean().item(), abs=0.2)
    assert checkpoint["accuracy"][-1] == pytest.approx(sum(checkpoint["class_accuracy"]) / 10)  # 100 of every class
    assert len(checkpoint["accuracy"]) == 4 and len(checkpoint["loss"]) == 3


def test_scores_of_the_authors_program_are_binomial_noise(tmp_path):
    """Flips at shuffled positions count agreements of strangers: Binomial(T - 1, 1 - sum p_c^2), here p_c = 0.1."""
    settings = ("--events", "flipped", "--positions", "shuffled", "--epochs", 4, "--data", DIGITS, "--threads", 1)
    outputs = ("--scores", "forget.npy", "--correct", "correct.npy", "--out", "full.pt")
    told = run("forget.py", "--dataset", "MNIST", "--model", "fcnet", *settings, *outputs, cwd=tmp_path)
    scores = np.load(tmp_path / "forget.npy")
    share = np.bincount(scores, minlength=4) / len(scores)
    assert share == pytest.approx([0.1**3, 3 * 0.9 * 0.1**2, 3 * 0.9**2 * 0.1, 0.9**3], abs=0.025)
    assert "never learned" not in told


def test_never_learned_is_not_told_of_places_that_are_another_sample_in_every_epoch(tmp_path):
    settings = ("--positions", "shuffled", "--epochs", 2, "--data", DIGITS, "--threads", 1)
    outputs = ("--scores", "forget.npy", "--correct", "correct.npy", "--out", "full.pt")
    told = run("forget.py", "--dataset", "MNIST", "--model", "fcnet", *settings, *outputs, cwd=tmp_path)
    told += run("select.py", "--scores", "forget.npy", "--order", "low", "--ratio", 0.1, "--out", "l.npy", cwd=tmp_path)
    told += run("tests/audit.py", "scores", "forget.npy", "--data", DIGITS, cwd=tmp_path)
    assert "samples" in told and "never learned" not in told


# --------------------------------------------------------------------------------------------------- coresets


@pytest.mark.parametrize("ratio", [0.001, 0.1, 0.25, 0.5, 1])
def test_coreset_has_the_lowest_or_highest_scores(ratio):
    scores = np.random.default_rng(0).integers(0, 4, 1001)
    for order, sign in (("low", 1), ("high", -1)):
        chosen = select(scores, order, ratio, 0)
        assert len(chosen) == len(set(chosen.tolist())) == round(ratio * 1001) and chosen.dtype == np.int64
        assert sorted(sign * scores[chosen]) == sorted(sign * scores)[: len(chosen)]
    assert len(set(select(scores, "random", ratio, 0).tolist())) == round(ratio * 1001)


@pytest.mark.parametrize("order", ["low", "high", "random"])
def test_ties_are_broken_by_the_seed_and_never_by_index(order):
    ties = np.zeros(20)
    counts = np.bincount(np.concatenate([select(ties, order, 0.5, seed) for seed in range(1000)]), minlength=20)
    assert abs(counts - 500).max() < 5 * np.sqrt(1000 * 0.5 * 0.5)
    assert np.array_equal(select(ties, order, 0.5, 3), select(ties, order, 0.5, 3))


@pytest.mark.parametrize("ratio", [0.1, 0.3, 0.9])
def test_ties_by_index_are_those_of_a_stable_sort(ratio):
    """As the authors' program sorts, with and without reverse=True."""
    scores = np.random.default_rng(0).integers(0, 4, 1000)
    for order, reverse in (("low", False), ("high", True)):
        first = sorted(range(1000), key=scores.__getitem__, reverse=reverse)[: round(ratio * 1000)]
        assert select(scores, order, ratio, 0, "index").tolist() == sorted(first)


@pytest.mark.parametrize("ties", ["random", "index"])
def test_smaller_coreset_is_part_of_the_larger(ties):
    scores = np.random.default_rng(0).integers(0, 4, 1000)
    for order in ("low", "high", "random"):
        assert set(select(scores, order, 0.1, 0, ties)) < set(select(scores, order, 0.2, 0, ties))


def test_old_word_for_ties(chain, tmp_path):
    """Files of older versions are read, and what is written has the new word; a command line is told it."""
    old = (chain / "low.npy").read_bytes()
    (tmp_path / "old.npy").write_bytes(old.replace(b'"ties": "random"', b'"ties": "lot"'))
    assert (tmp_path / "old.npy").read_bytes() != old
    network = ("--dataset", "MNIST", "--model", "fcnet", "--epochs", 0, "--data", DIGITS)
    run("train.py", *network, "--subset", "old.npy", "--out", "new.pt", cwd=tmp_path)
    checkpoint = torch.load(tmp_path / "new.pt", weights_only=True)
    assert checkpoint["args"]["select"]["ties"] == "random"
    checkpoint["args"]["select"]["ties"] = "lot"
    torch.save(checkpoint, tmp_path / "old.pt")
    run("prune.py", "--in", "old.pt", "--ratio", 0.5, "--data", DIGITS, "--out", "pruned.pt", cwd=tmp_path)
    assert torch.load(tmp_path / "pruned.pt", weights_only=True)["args"]["select"]["ties"] == "random"
    words = ("--scores", chain / "forget.npy", "--order", "low", "--ratio", 0.1, "--ties", "lot", "--out", "o.npy")
    process = start("select.py", *words, cwd=tmp_path)
    _, err = process.communicate()
    assert process.returncode == 2 and "--ties lot is now called random" in err and err.count("\n") == 1


@pytest.mark.parametrize("ties, common", [("random", None), ("index", 100)])
def test_select_counts_what_the_other_end_has_in_common(tmp_path, ties, common):
    np.save(tmp_path / "ties.npy", np.full(1000, 9))
    words = ("--scores", "ties.npy", "--ratio", 0.1, "--ties", ties, "--out", "h.npy")
    out = run("select.py", "--order", "high", *words, cwd=tmp_path)
    assert ("are in the coreset of low 0.1, too" in out) == bool(common)
    assert common is None or f"  {common} are in the coreset" in out


def test_select_tells_what_it_chose(chain):
    out = run("select.py", "--scores", "forget.npy", "--order", "high", "--ratio", 0.1, "--out", "h.npy", cwd=chain)
    scores, correct, chosen = (np.load(chain / f"{name}.npy") for name in ("forget", "correct", "h"))
    never = ~correct.any(0)
    labels = torch.load(DIGITS / "MNIST.pt", weights_only=True)["train_labels"].numpy()[chosen]
    cut = scores[chosen].min()
    assert f"high 0.1: 400 of 4000 samples, scores {cut} to {scores.max()}\n" in out
    assert f"{(scores[chosen] == cut).sum()} of the {(scores == cut).sum()} that score {cut}" in out
    assert f"a class has {np.bincount(labels).min()} to {np.bincount(labels).max()}, mean 40.0" in out
    assert f"{never[chosen].sum()} of the {never.sum()} never learned" in out
    steps = json.loads((chain / "h.npy").read_bytes().splitlines()[-1])  # what `tail -n1` shows
    digest = hashlib.sha256(scores.tobytes()).hexdigest()[:16]
    choice = {"order": "high", "ratio": 0.1, "seed": 0, "ties": "random"}
    assert steps["select"] == choice | {"scores": digest, "train_size": 4000}
    assert steps["forget"]["events"] == "forgotten"


# ----------------------------------------------------------------------------------------- pruning, fine-tuning


@pytest.mark.parametrize("ratio", [0, 0.123, 0.4, 0.8])
def test_mask_is_that_of_l1_unstructured(chain, tmp_path, ratio):
    run("prune.py", "--in", chain / "dense.pt", "--ratio", ratio, "--data", DIGITS, "--out", tmp_path / "pruned.pt")
    before, after = tensors(chain / "dense.pt"), tensors(tmp_path / "pruned.pt")
    for name in before:
        expected = before[name]
        if name.endswith("weight"):
            layer = torch.nn.Linear(*expected.shape[::-1])
            layer.weight.data = expected.clone()
            expected = torch_prune.l1_unstructured(layer, "weight", round(ratio * expected.numel())).weight.detach()
        assert torch.equal(after[name], expected), name


def test_hold_keeps_zeros_and_release_lets_them_grow(chain):
    pruned, held, released = (tensors(chain / f"{name}.pt") for name in ("pruned", "hold", "release"))
    for name in ("1.weight", "3.weight"):
        zero = pruned[name] == 0
        assert zero.double().mean() == pytest.approx(0.8, abs=1e-3)
        assert torch.equal(held[name] == 0, zero)
        assert (released[name][zero] != 0).double().mean() > 0.5  # a hidden unit that is never active stays
        assert not torch.equal(held[name], pruned[name])


def test_checkpoint_tells_all_steps_before_it(chain):
    checkpoint = torch.load(chain / "hold.pt", weights_only=True)
    assert list(checkpoint["args"]) == ["forget", "select", "train", "prune", "finetune"]
    assert list(checkpoint["earlier"]) == ["train", "prune"]
    assert checkpoint["accuracy"][0] == checkpoint["earlier"]["prune"]["accuracy"][-1]
    assert checkpoint["earlier"]["train"]["accuracy"][-1] == torch.load(chain / "dense.pt")["accuracy"][-1]
    assert "threads 1" in checkpoint["device"]


def test_same_initial_weights_within_a_seed(chain, tmp_path):
    """--epochs 0 leaves the initial weights; they are those that plain torch draws from the seed."""
    network = ("--dataset", "MNIST", "--model", "fcnet", "--seed", 5, "--epochs", 0, "--data", DIGITS)
    np.save(tmp_path / "low.npy", np.load(chain / "low.npy"))  # the chain's own is of seed 0
    run("train.py", *network, "--subset", tmp_path / "low.npy", "--out", tmp_path / "low.pt")
    torch.manual_seed(5)
    first, second = torch.nn.Linear(784, 256), torch.nn.Linear(256, 10)
    left = tensors(tmp_path / "low.pt")
    assert torch.equal(left["1.weight"], first.weight) and torch.equal(left["3.bias"], second.bias)


def orders(monkeypatch, seed, stream, epochs=3, **kwargs):
    """The order in which `fit` presents the digits, a list of int64 [4000], one for each epoch."""
    seen, data = [], train.load("MNIST", DIGITS)
    args = train.argparse.Namespace(lr=1e-3, precision="fp32", batch_size=4000, seed=seed, epochs=epochs, out="")
    monkeypatch.setattr(train, "training_step", lambda *_: seen.append)
    monkeypatch.setattr(train, "evaluate", lambda *_: (0.0, []))
    train.fit(train.build("fcnet", "MNIST", seed), data, args, stream, **kwargs)
    return seen


def test_fine_tuning_shuffles_on_a_stream_of_its_own(monkeypatch):
    first, tuning = (orders(monkeypatch, 3, stream) for stream in (train.FIRST_TRAINING, train.FINE_TUNING))
    assert not any(torch.equal(a, b) for a in first for b in tuning)
    again = orders(monkeypatch, 3, train.FINE_TUNING, hold=True)  # another network's: the same order, whatever is held
    assert len(again) == 3 and all(torch.equal(a, b) for a, b in zip(tuning, again))
    for epoch, samples in enumerate(tuning):  # and numpy's own, as documented
        drawn = np.random.default_rng([3, 2])
        assert samples.tolist() == [drawn.permutation(4000) for _ in range(epoch + 1)][-1].tolist()


def test_a_hundred_seeds_give_a_hundred_orders_and_networks(monkeypatch):
    seeds = [*range(97), 2**31, 2**32 - 2, 2**32 - 1]
    first = {tuple(orders(monkeypatch, seed, train.FIRST_TRAINING, epochs=1)[0].tolist()) for seed in seeds}
    networks = {train.build("fcnet", "MNIST", seed)[1].weight.detach().numpy().tobytes() for seed in seeds}
    assert len(first) == len(networks) == 100


def test_share_goes_on_where_the_last_epoch_stopped(monkeypatch):
    seen = orders(monkeypatch, 0, train.FIRST_TRAINING, epochs=4, share=0.3)
    assert [len(order) for order in seen] == 4 * [1200]
    samples = torch.cat(seen)
    assert len(samples[:3600].unique()) == 3600 and len(samples[3600:].unique()) == 1200


# ------------------------------------------------------------------------------------------------- determinism


def test_same_flags_same_bits(chain, tmp_path):
    make_chain(tmp_path)
    for path in chain.glob("*.npy"):
        if (tmp_path / path.name).exists():
            assert (tmp_path / path.name).read_bytes() == path.read_bytes(), path.name
    for path in tmp_path.glob("*.pt"):
        ours, theirs = (torch.load(folder / path.name, weights_only=True) for folder in (tmp_path, chain))
        for part in ("model", "args", "accuracy", "class_accuracy", "loss", "device"):
            if part == "model":
                assert all(torch.equal(ours[part][name], theirs[part][name]) for name in theirs[part]), path.name
            else:
                assert ours[part] == theirs[part], path.name
    assert len(list(tmp_path.glob("*.pt"))) == 5


def test_resnet18_runs_every_step(cifar, tmp_path):
    usual = ("--data", cifar, "--batch-size", 50)
    train_flags = ("--epochs", 1, "--seed", 3, *usual)
    network = ("--dataset", "CIFAR100", "--model", "resnet18", *train_flags)
    choice = ("--order", "random", "--ratio", 0.5, "--seed", 3)
    out = ("--scores", "forget.npy", "--correct", "correct.npy", "--out", "full.pt")
    run("forget.py", *network, "--batchnorm", "frozen", *out, cwd=tmp_path)
    run("select.py", "--scores", "forget.npy", *choice, "--out", "half.npy", cwd=tmp_path)
    run("train.py", *network, "--subset", "half.npy", "--out", "dense.pt", cwd=tmp_path)
    told = run("prune.py", "--in", "dense.pt", "--ratio", 0.6, "--data", cifar, "--out", "pruned.pt", cwd=tmp_path)
    run("finetune.py", "--in", "pruned.pt", *train_flags, "--out", "finetuned.pt", cwd=tmp_path)
    full, dense, pruned, tuned = (tensors(tmp_path / f"{n}.pt") for n in ("full", "dense", "pruned", "finetuned"))
    first = train.build("resnet18", "CIFAR100", 3).state_dict()
    assert all((full[name] == 0).all() for name in full if name.endswith("running_mean"))  # frozen
    assert not any((dense[name] == 0).all() for name in dense if name.endswith("running_mean"))
    last = "layer4.1.conv2.weight"  # of its 3 x 3 taps only the middle one ever meets a pixel
    same = dense[last] == first[last]
    assert same.sum() == 512 * 512 * 8 and not same[:, :, 1, 1].any()
    weights = [name for name in pruned if name.endswith("weight") and pruned[name].ndim > 1]
    assert (
        sum(pruned[name].numel() for name in weights) == 11_218_112
    )  # 11,689,512, less 900 classes, BatchNorm and bias
    for name in weights:
        assert (pruned[name] == 0).sum() == round(0.6 * pruned[name].numel())
        assert torch.equal(tuned[name] == 0, pruned[name] == 0)
    assert " of 11218112 weights are zero, 60.00 %\n" in told and " of the 4271296 live ones, " in told
    claimed = torch.load(tmp_path / "finetuned.pt", weights_only=True)["args"]["finetune"]
    counts = sum(int((tuned[name] != 0).sum()) for name in tuned if tuned[name].ndim > 0 and "running" not in name)
    assert claimed["parameters"] - claimed["zeros"] == pytest.approx(counts, abs=5)  # a bias may be zero
    assert claimed["parameters"] == 11_227_812 and claimed["live"] == 4_271_296
