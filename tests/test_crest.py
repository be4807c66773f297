"""CREST: each of its parts against something that is not computed the same way, and the command line."""

import contextlib
import copy
import itertools
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import crest
import train
from conftest import DIGITS, run, start

USUAL = ("--dataset", "MNIST", "--data", DIGITS, "--threads", 1, "--device", "cpu")
SMALL = (*USUAL, "--random", 0.05)  # sets of about 200 of the 4,000 digits
NEVER = ("--tau", 1e9, "--learned", 0)  # the first choice holds
NEEDS_CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


@pytest.fixture(scope="module")
def digits():
    return train.load("MNIST", DIGITS)


@pytest.fixture(scope="module")
def lenet(tmp_path_factory):
    """A folder with dense.pt: LeNet, trained for three epochs of a tenth of the digits."""
    folder = tmp_path_factory.mktemp("crest")
    run("tests/crest.py", *SMALL, "--model", "lenet", "--share", 0.1, "--epochs", 3, "--out", folder / "dense.pt")
    return folder


def loss_of(points, places):
    """The sum of distances from every point to the nearest of some, in plain Python."""
    return sum(min(math.dist(point, points[place]) for place in places) for point in points)


def naive_greedy(points, size):
    """Which of several equal choices it takes, and so all after it, is an accident: two far points, say."""
    chosen = []
    for _ in range(size):
        others = [place for place in range(len(points)) if place not in chosen]
        chosen.append(min(others, key=lambda place: loss_of(points, [*chosen, place])))
    return chosen


# ---------------------------------------------------------------------------------------------- facility location


@pytest.mark.parametrize("seed", range(5))
def test_greedy_is_the_naive_one(seed):
    """Each choice, after those before it, is as good as the best one that is left."""
    points = np.random.default_rng(seed).normal(size=(30, 3))
    chosen, distances = crest.facility_location(torch.from_numpy(points), 8)
    places, listed = chosen.tolist(), points.tolist()
    for k in range(8):
        left = [loss_of(listed, [*places[:k], place]) for place in range(30) if place not in places[:k]]
        assert loss_of(listed, places[: k + 1]) == pytest.approx(min(left), abs=1e-9)
    assert places[:4] == naive_greedy(listed, 4)
    expected = [[math.dist(point, points[place]) for place in chosen] for point in points]
    np.testing.assert_allclose(distances, expected)


@pytest.mark.parametrize("seed", range(5))
def test_greedy_is_as_near_to_the_best_as_it_must_be(seed):
    """Of all that a set can save of everyone's largest distance, 1 - 1/e at least (Nemhauser et al., 1978)."""
    points = np.random.default_rng(seed).normal(size=(12, 2)).tolist()
    chosen, _ = crest.facility_location(torch.tensor(points, dtype=torch.float64), 4)
    best = min(loss_of(points, places) for places in itertools.combinations(range(12), 4))
    nothing = 12 * max(math.dist(one, other) for one in points for other in points)
    assert best <= loss_of(points, chosen.tolist()) + 1e-9
    assert nothing - loss_of(points, chosen.tolist()) >= (1 - 1 / math.e) * (nothing - best)


def test_greedy_takes_one_of_each_cluster_and_no_sample_twice():
    """Three places, four twins at each: three choices save all, further ones nothing, and yet none is taken twice."""
    points = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 5.0]]).repeat(4, 1)
    chosen, distances = crest.facility_location(points, 12)
    assert {place % 3 for place in chosen[:3].tolist()} == {0, 1, 2}
    assert sorted(chosen.tolist()) == list(range(12))
    assert distances[:, :3].min(1).values.sum() == 0


def test_weights_are_sizes_of_clusters():
    random = np.random.default_rng(0)
    points = torch.from_numpy(random.normal(size=(50, 3)))
    chosen, distances = crest.facility_location(points, 10)
    coreset = crest.Coreset(torch.arange(50), chosen, distances)
    for size in (10, 4, 1):
        weights = coreset.weights(size)
        nearest = [min(range(size), key=lambda k: math.dist(point, points[chosen[k]])) for point in points]
        assert (weights * 50 / size).round().tolist() == [nearest.count(k) for k in range(size)]
        assert float(weights.sum()) == pytest.approx(size)
        assert crest.facility_location(points, size)[0].tolist() == chosen[:size].tolist()


# ------------------------------------------------------------------------------------------------- the loss's model


class Tiny(nn.Module):
    """Five parameters between an image's mean and ten answers, smooth."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.hidden, self.bias = nn.Parameter(torch.randn(1, 3)), nn.Parameter(torch.randn(2))
        self.register_buffer("out", torch.randn(3, 10))

    def forward(self, x):
        x = torch.tanh(x.mean((1, 2, 3))[:, None] @ self.hidden) @ self.out
        return x + torch.cat([self.bias.square(), self.bias.new_zeros(8)])


class Signs:
    """All vectors of five signs, one after the other, in the place of a generator."""

    def __init__(self):
        self.rest = iter([bit for bits in itertools.product((0, 1), repeat=5) for bit in bits])

    def integers(self, low, high, shape, dtype):
        return np.array([next(self.rest) for _ in range(math.prod(shape))], dtype).reshape(shape)


def test_curvature_is_that_of_the_exact_hessian(digits):
    """Hutchinson's estimates, over all vectors of signs, average to the diagonal; |Hz|^2 to the squared norm."""
    samples, net = torch.tensor([5, 80, 300, 2000]), Tiny()
    distances = torch.rand(9, 4, generator=torch.Generator().manual_seed(1))
    coreset = crest.Coreset(torch.arange(9), samples, distances)
    counts = torch.tensor([distances.argmin(1).tolist().count(k) for k in range(4)])
    images, labels = digits.train_images[samples].double() / 127.5 - 1, digits.train_labels[samples]
    exact_net = Tiny().double()

    def loss(hidden, bias):
        logits = torch.func.functional_call(exact_net, {"hidden": hidden, "bias": bias}, images)
        return (counts * F.cross_entropy(logits, labels, reduction="none")).sum() / 9

    point = exact_net.hidden.detach(), exact_net.bias.detach()
    blocks = torch.func.hessian(loss, argnums=(0, 1))(*point)
    hessian = torch.cat([torch.cat([b.reshape(p.numel(), -1) for b in row], 1) for row, p in zip(blocks, point)])
    expected = torch.cat([g.flatten() for g in torch.func.grad(loss, argnums=(0, 1))(*point)])

    chooser = SimpleNamespace(data=digits, signs=Signs(), coresets=[coreset] * 32, facts={"chosen_samples": 0})
    model = crest.Chooser.model_at(chooser, net, loss(*point).item())
    assert chooser.facts["chosen_samples"] == 32 * 4
    for ours, theirs in ((model.gradient, expected), (model.diagonal, hessian.diag())):
        torch.testing.assert_close(ours.double(), theirs, rtol=1e-4, atol=1e-5)
    assert model.norm == pytest.approx(hessian.norm().item(), rel=1e-4)

    for axis, size in itertools.product(range(5), (-0.02, 0.02)):  # along an axis, the model errs in the third order
        moved = torch.cat([part.flatten() for part in point])
        moved[axis] += size
        error = model.at(moved.float()) - loss(moved[:3].view(1, 3), moved[3:]).item()
        linear = expected[axis] * size + loss(*point) - loss(moved[:3].view(1, 3), moved[3:])
        assert abs(error) < 1e-5 and abs(error) < abs(linear) + 1e-6


def gradient_of(net, data, samples, weights):
    """Of the weighted mean loss, float32 [D]."""
    losses = F.cross_entropy(
        net(train.pixels(data.train_images[samples])), data.train_labels[samples], reduction="none"
    )
    return crest.flat(torch.autograd.grad((weights * losses).mean(), list(net.parameters())))


@pytest.mark.parametrize("trained", [False, True], ids=["initial", "trained"])
def test_a_coreset_has_the_gradient_of_its_random_set(trained, lenet, digits):
    """Nearer than a random mini-batch of it, in every one of ten sets; relative to its length, on average, half."""
    net = train.build("lenet", "MNIST", 0)
    if trained:
        net.load_state_dict(torch.load(lenet / "dense.pt", weights_only=True)["model"])
    args = SimpleNamespace(seed=7, random=0.1, batch_size=64, precision="fp32")
    chooser, draw, ours, theirs = crest.Chooser(digits, args, steps=10), np.random.default_rng(0), [], []
    for _ in range(10):
        random_set = chooser.random_set()
        chosen, distances = crest.facility_location(chooser.look(net, [random_set])[1], 64)
        weights = crest.Coreset(random_set, random_set[chosen], distances).weights(64)
        batch = random_set[torch.from_numpy(draw.choice(len(random_set), 64, replace=False))]
        whole = gradient_of(net, digits, random_set, torch.ones(len(random_set)))
        ours.append((gradient_of(net, digits, random_set[chosen], weights) - whole).norm() / whole.norm())
        theirs.append((gradient_of(net, digits, batch, torch.ones(64)) - whole).norm() / whole.norm())
    assert sum(ours) < sum(theirs) / 2, (ours, theirs)


def test_choosing_sees_the_network_as_in_a_step_and_moves_nothing(cifar):
    data, net = train.load("CIFAR100", cifar), train.build("resnet18", "CIFAR100", 0)
    before = copy.deepcopy(net.state_dict())
    random_sets = torch.arange(120).split(60)
    found = crest.answers(net, data, random_sets, "fp32")
    coreset = crest.Coreset(random_sets[0], random_sets[0][:20], torch.rand(60, 20))
    gradient, *_ = crest.curvature(net, data, coreset, np.random.default_rng(0))
    assert all(torch.equal(before[name], tensor) for name, tensor in net.state_dict().items())
    net.train()
    expected = torch.cat([net(train.pixels(data.train_images[random_set])) for random_set in random_sets])
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(gradient, gradient_of(net, data, coreset.samples, coreset.weights(20)))
    assert not torch.equal(before["bn1.running_mean"], net.bn1.running_mean)


def test_curvature_through_the_products_on_small_maps_is_that_of_convolutions(cifar):
    """Of ResNet18 in both forms, with z = 1: the products have the live taps alone, of the others Hz is 0."""
    data, net, found = train.load("CIFAR100", cifar), train.build("resnet18", "CIFAR100", 0), []
    coreset = crest.Coreset(torch.arange(60), torch.arange(20), torch.rand(60, 20))
    ones = SimpleNamespace(integers=lambda low, high, shape, dtype: np.ones(shape, dtype))
    for form in (train.small_maps, contextlib.nullcontext):
        with form(net):
            gradient, product, _ = crest.curvature(net, data, coreset, ones)
        found.append([gradient.norm(), product.norm(), product.sum(), torch.count_nonzero(product)])
    products, convolutions = torch.tensor(found, dtype=torch.float64)
    torch.testing.assert_close(products, convolutions, rtol=1e-3, atol=0)


# ------------------------------------------------------------------------------------------------- the whole script


def test_training_is_the_textbook_loop(tmp_path, digits):
    """Two steps, the second of 4 samples: random sets from the documented stream, naive greedy, weighted Adam."""
    flags = (*USUAL, "--random", 0.02, *NEVER, "--seed", 3, "--share", 0.003, "--epochs", 1, "--batch-size", 8)
    run("tests/crest.py", *flags, "--model", "fcnet", "--out", tmp_path / "dense.pt")
    found = torch.load(tmp_path / "dense.pt", weights_only=True)

    net, draw = train.build("fcnet", "MNIST", 3), np.random.default_rng([3, 5])
    labels = digits.train_labels.numpy()
    random_sets = []
    for _ in range(5):
        parts = [np.flatnonzero(labels == label) for label in range(10)]
        drawn = [draw.choice(part, math.ceil(0.02 * len(part)), replace=False) for part in parts]
        random_sets.append(np.concatenate(drawn))
    images = (digits.train_images / 255 - 0.5) / 0.5
    with torch.no_grad():
        errors = (net(images).softmax(1) - F.one_hot(digits.train_labels)).tolist()
    optimizer, seen = torch.optim.Adam(net.parameters(), lr=1e-3), []
    for random_set, size in zip(random_sets, (8, 4)):
        points = [errors[sample] for sample in random_set]
        chosen = naive_greedy(points, size)
        nearest = [min(range(size), key=lambda k: math.dist(point, points[chosen[k]])) for point in points]
        counts = torch.tensor([nearest.count(k) for k in range(size)])
        batch = random_set[chosen]
        losses = counts * F.cross_entropy(net(images[batch]), digits.train_labels[batch], reduction="none")
        optimizer.zero_grad()
        (losses.sum() / len(random_set)).backward()
        optimizer.step()
        seen.append(losses.sum().item() * size / len(random_set))
    for ours, theirs in zip(found["model"].values(), net.state_dict().values(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=2e-5)
    assert found["loss"] == [pytest.approx(sum(seen) / 12, rel=1e-5)]


def test_costs_of_choosing_are_counted(tmp_path):
    """Where the first choice holds: five sets and coresets, and the sets again at a check before every later step."""
    run("tests/crest.py", *SMALL, *NEVER, "--model", "fcnet", "--share", 0.1, "--epochs", 2, "--out", tmp_path / "a.pt")
    flags = torch.load(tmp_path / "a.pt", weights_only=True)["args"]["train"]
    sets = sum(math.ceil(0.05 * n) for n in train.load("MNIST", DIGITS).train_labels.bincount().tolist())
    assert (flags["samples"], flags["renewals"], flags["checks"], flags["dropped"]) == (400, 1, 2 * 7 - 1, 0)
    assert flags["chosen_samples"] == 5 * (sets + 64) + 13 * 5 * sets


def test_renewal_at_every_check_compares_nothing(tmp_path):
    flags = (*SMALL, "--model", "fcnet", "--share", 0.1, "--epochs", 2, "--renew", "always")
    run("tests/crest.py", *flags, "--out", tmp_path / "a.pt")
    flags = torch.load(tmp_path / "a.pt", weights_only=True)["args"]["train"]
    assert flags["renew"] == "always" and flags["checks"] == 0 and 1 < flags["renewals"] <= 14


def test_same_flags_same_bits_and_the_next_steps_go_on(lenet):
    flags = (*SMALL, "--model", "lenet", "--share", 0.1, "--epochs", 3)
    run("tests/crest.py", *flags, "--out", lenet / "again.pt")
    run("tests/crest.py", *flags, "--seed", 1, "--out", lenet / "other.pt")
    one, again, other = (torch.load(lenet / f"{n}.pt", weights_only=True) for n in ("dense", "again", "other"))
    assert all(torch.equal(one["model"][name], again["model"][name]) for name in one["model"])
    assert not any(torch.equal(one["model"][name], other["model"][name]) for name in one["model"])
    assert (one["accuracy"], one["loss"]) == (again["accuracy"], again["loss"])
    assert one["accuracy"][-1] > 50
    usual = ("--data", DIGITS, "--threads", 1, "--device", "cpu")
    run("prune.py", "--in", "dense.pt", "--ratio", 0.8, *usual, "--out", "pruned.pt", cwd=lenet)
    run("finetune.py", "--in", "pruned.pt", "--epochs", 1, *usual, "--out", "finetuned.pt", cwd=lenet)
    assert list(torch.load(lenet / "finetuned.pt", weights_only=True)["args"]) == ["train", "prune", "finetune"]


def test_learned_samples_are_dropped_but_classes_stay(digits):
    args = SimpleNamespace(seed=0, random=0.1, batch_size=64, learned=0.1, precision="fp32")
    chooser = crest.Chooser(digits, args, steps=10)
    labels = digits.train_labels.numpy()
    chooser.worst[:] = np.where(labels == 3, 0.05, 0.5)  # all of class 3 is learned,
    fours = np.flatnonzero(labels == 4)
    chooser.worst[fours[:10]] = 0.09  # ten of class 4,
    chooser.worst[fours[10:20]] = -1  # and ten were not seen
    chooser.drop_learned()
    assert np.flatnonzero(~chooser.left).tolist() == fours[:10].tolist()
    assert chooser.facts["dropped"] == 10 and (chooser.worst == -1).all()
    drawn = np.concatenate([chooser.random_set().numpy() for _ in range(50)])
    assert not np.isin(fours[:10], drawn).any() and np.isin(fours[10:], drawn).mean() > 0.9


def test_bf16_trains(tmp_path):
    flags = (*SMALL, "--model", "lenet", "--share", 0.1, "--epochs", 3, "--precision", "bf16")
    run("tests/crest.py", *flags, "--out", tmp_path / "a.pt")
    assert torch.load(tmp_path / "a.pt", weights_only=True)["accuracy"][-1] > 50


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=NEEDS_CUDA)])
def test_a_network_with_batchnorm_and_small_maps_trains(device, cifar, tmp_path):
    flags = ("--dataset", "CIFAR100", "--data", cifar, "--threads", 1, "--device", device, "--model", "resnet18")
    run("tests/crest.py", *flags, "--random", 0.5, "--share", 0.5, "--epochs", 1, "--out", tmp_path / "a.pt")
    found = torch.load(tmp_path / "a.pt", weights_only=True)
    assert found["args"]["train"]["samples"] == 100 and len(found["accuracy"]) == 2
    assert all(tensor.isfinite().all() for tensor in found["model"].values())


BAD = {  # flags: words that the one line has
    "--share 0": "--share above 0",
    "--share 1.5": "--share at most 1",
    "--share 0.00001": "--share 4000 samples is none",
    "--random 0": "--random above 0",
    "--random 0.01": "--random 40 --batch-size 64",
    "--tau -1": "--tau not negative",
    "--tau nan": "--tau nan",
    "--learned inf": "--learned inf",
    "--renew often": "--renew often",
    "--lr 1e30 --epochs 1": "not finite --lr",
    "--seed 4294967296": "--seed 4294967296",
}


@pytest.mark.parametrize("flags", BAD)
def test_one_line_says_what_is_wrong(flags, tmp_path):
    (tmp_path / "a.pt").write_text("precious")
    usual = (*SMALL, "--model", "fcnet", "--share", 0.1, "--out", tmp_path / "a.pt")
    process = start("tests/crest.py", *usual, *flags.split())
    _, err = process.communicate()
    assert process.returncode > 0 and err.count("\n") == 1 and err.startswith("crest.py: error: "), err
    assert all(word in err for word in BAD[flags].split()), err
    assert (tmp_path / "a.pt").read_text() == "precious" and len(list(tmp_path.iterdir())) == 1
