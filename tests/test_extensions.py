"""What the paper leaves open: other masks, other starts, whole channels. Against brute force and other libraries."""

import math
import runpy

import numpy as np
import pytest
import torch
import torchvision
from torch import nn
from torch.nn.utils import prune as torch_prune

import train
from conftest import DIGITS, ROOT, refusal, run

USUAL = ("--threads", 1, "--device", "cpu")


def tensors(path):
    return torch.load(path, weights_only=True)["model"]


def weights(state):
    """The names of the weights that are pruned: those of convolutions and linear layers."""
    return [name for name, tensor in state.items() if name.endswith("weight") and tensor.ndim > 1]


def prune(source, out, *flags, data=DIGITS):
    return run("prune.py", "--in", source, "--data", data, *USUAL, *flags, "--out", out)


@pytest.fixture(scope="module")
def nets(tmp_path_factory, cifar):
    """A folder with {fcnet,lenet,resnet18,resnet50}.pt after an epoch, and {lenet,resnet18}-initial.pt before it."""
    folder = tmp_path_factory.mktemp("nets")
    digits, images = ("--dataset", "MNIST", "--data", DIGITS), ("--dataset", "CIFAR100", "--data", cifar)
    for model, data, epochs, out in (
        ("fcnet", digits, 1, "fcnet"),
        ("lenet", digits, 1, "lenet"),
        ("lenet", digits, 0, "lenet-initial"),
        ("resnet18", images, 1, "resnet18"),
        ("resnet18", images, 0, "resnet18-initial"),
        ("resnet50", images, 0, "resnet50"),
    ):
        run("train.py", "--model", model, *data, "--epochs", epochs, *USUAL, "--out", folder / f"{out}.pt")
    return folder


# ------------------------------------------------------------------------------------------------ scope, criterion


@pytest.mark.parametrize("model", ["fcnet", "lenet"])
def test_global_mask_is_that_of_global_unstructured(nets, tmp_path, model):
    prune(nets / f"{model}.pt", tmp_path / "out.pt", "--ratio", 0.8, "--scope", "global")
    before, after = tensors(nets / f"{model}.pt"), tensors(tmp_path / "out.pt")
    layers = {name: nn.Module() for name in weights(before)}
    for name, layer in layers.items():
        layer.weight = nn.Parameter(before[name].clone())
    torch_prune.global_unstructured(
        [(layer, "weight") for layer in layers.values()], torch_prune.L1Unstructured, amount=0.8
    )
    for name in before:
        assert torch.equal(after[name], layers[name].weight.detach() if name in layers else before[name]), name


@pytest.fixture(scope="module")
def gradients():
    """{name of a weight: its gradient, float64} of a plain torchvision ResNet18 on 32 x 32 pixels; 0 where dead."""
    net = torchvision.models.resnet18(num_classes=100).double()
    net(torch.randn(4, 3, 32, 32, dtype=torch.float64)).square().sum().backward()
    return {name: parameter.grad for name, parameter in net.named_parameters() if parameter.ndim > 1}


@pytest.mark.parametrize("criterion", ["magnitude", "random"])
@pytest.mark.parametrize("scope", ["live", "global"])
def test_scope_counts_live_weights_alone(nets, cifar, tmp_path, gradients, scope, criterion):
    flags = ("--ratio", 0.6, "--scope", scope, "--criterion", criterion, "--seed", 3)
    told = prune(nets / "resnet18.pt", tmp_path / "out.pt", *flags, data=cifar)
    assert " of the 4271296 live ones, 60.00 %\n" in told
    before, after = tensors(nets / "resnet18.pt"), tensors(tmp_path / "out.pt")
    live = {name: (gradient != 0).any(0).any(0).expand_as(gradient) for name, gradient in gradients.items()}
    assert sorted(live) == sorted(weights(before))
    assert all((after[name][~mask] == 0).all() for name, mask in live.items())
    groups = [list(live)] if scope == "global" else [[name] for name in live]
    for names in groups:
        old, new = (torch.cat([state[name][live[name]] for name in names]) for state in (before, after))
        gone = new == 0
        assert gone.sum() == round(0.6 * len(old)) and torch.equal(new[~gone], old[~gone])
        largest_gone, smallest_left = old[gone].abs().max(), old[~gone].abs().min()
        assert (largest_gone <= smallest_left) == (criterion == "magnitude")
    rest = [name for name in before if name not in live]
    assert rest and all(torch.equal(before[name], after[name]) for name in rest)
    how = {"scope": scope, "criterion": criterion, "structure": "weights", "precision": "fp32", "start": ""}
    how |= {"seed": 3} if criterion == "random" else {}
    args = torch.load(tmp_path / "out.pt", weights_only=True)["args"]["prune"]
    assert {key: args[key] for key in args if isinstance(args[key], str) or key == "seed"} == how


def test_random_masks_are_uniform_and_of_their_seed(nets, tmp_path):
    masks = []
    for seed, ratio in ((0, 0.5), (0, 0.5), (1, 0.5)):
        flags = ("--ratio", ratio, "--criterion", "random", "--seed", seed)
        prune(nets / "fcnet.pt", tmp_path / "out.pt", *flags)
        masks.append(tensors(tmp_path / "out.pt")["1.weight"] == 0)
    assert torch.equal(masks[0], masks[1])
    n = masks[0].numel()
    both = (masks[0] & masks[2]).double().mean().item()
    assert both == pytest.approx(0.25, abs=5 * np.sqrt(0.25 * 0.75 / n))  # two seeds agree as strangers do
    strength = tensors(nets / "fcnet.pt")["1.weight"].abs()
    spread = strength.std().item() * np.sqrt(4 / n)
    assert abs(strength[masks[0]].mean() - strength[~masks[0]].mean()).item() < 5 * spread
    prune(tmp_path / "out.pt", tmp_path / "again.pt", "--ratio", 0.8, "--criterion", "random", "--seed", 7)
    again = tensors(tmp_path / "again.pt")["1.weight"] == 0
    assert again[masks[2]].all() and again.sum() == round(0.8 * n)  # what was pruned stays pruned


# ----------------------------------------------------------------------------------------------------------- start


@pytest.mark.parametrize("model", ["lenet", "resnet18"])
def test_start_gives_the_mask_to_other_weights(nets, cifar, tmp_path, model):
    data = cifar if model == "resnet18" else DIGITS
    prune(nets / f"{model}.pt", tmp_path / "usual.pt", "--ratio", 0.8, data=data)
    flags = ("--ratio", 0.8, "--start", nets / f"{model}-initial.pt")
    prune(nets / f"{model}.pt", tmp_path / "rewound.pt", *flags, data=data)
    initial, usual, rewound = (
        tensors(path) for path in (nets / f"{model}-initial.pt", tmp_path / "usual.pt", tmp_path / "rewound.pt")
    )
    for name in initial:
        expected = initial[name] * (usual[name] != 0) if name in weights(initial) else initial[name]
        assert torch.equal(rewound[name], expected), name
    assert any(not torch.equal(usual[name], rewound[name]) for name in initial if name not in weights(initial))
    checkpoint = torch.load(tmp_path / "rewound.pt", weights_only=True)
    assert checkpoint["args"]["prune"]["start"] == "initial" and checkpoint["args"]["train"]["epochs"] == 1


def test_start_of_another_seed_and_of_a_trained_network(nets, tmp_path):
    network = ("--dataset", "MNIST", "--model", "lenet", "--data", DIGITS, *USUAL)
    run("train.py", *network, "--seed", 9, "--epochs", 0, "--out", tmp_path / "other.pt")
    trained = "trained (train: 1 epochs, 4000 samples, lr 0.001, batch size 64)"
    for source, words in ((tmp_path / "other.pt", "initial of another seed"), (nets / "lenet.pt", trained)):
        prune(nets / "lenet.pt", tmp_path / "out.pt", "--ratio", 0.5, "--start", source)
        checkpoint = torch.load(tmp_path / "out.pt", weights_only=True)
        assert checkpoint["args"]["prune"]["start"] == words and checkpoint["args"]["train"]["seed"] == 0
        assert torch.equal(checkpoint["model"]["0.bias"], tensors(source)["0.bias"])


def test_start_at_a_network_that_only_fine_tuning_trained_is_not_initial(nets, tmp_path):
    prune(nets / "lenet-initial.pt", tmp_path / "untrained.pt", "--ratio", 0)
    tune = ("--in", tmp_path / "untrained.pt", "--epochs", 1, "--data", DIGITS, *USUAL)
    run("finetune.py", *tune, "--out", tmp_path / "tuned.pt")
    prune(nets / "lenet.pt", tmp_path / "out.pt", "--ratio", 0.5, "--start", tmp_path / "tuned.pt")
    start = torch.load(tmp_path / "out.pt", weights_only=True)["args"]["prune"]["start"]
    assert start.startswith("trained (train prune finetune: ")


def test_start_leaves_at_zero_what_was_pruned_before(nets, tmp_path):
    prune(nets / "lenet.pt", tmp_path / "pruned.pt", "--ratio", 0.8)
    prune(tmp_path / "pruned.pt", tmp_path / "out.pt", "--ratio", 0.5, "--start", nets / "lenet-initial.pt")
    before, after = tensors(tmp_path / "pruned.pt"), tensors(tmp_path / "out.pt")
    assert all(torch.equal(after[name] == 0, before[name] == 0) for name in weights(before))


# -------------------------------------------------------------------------------------------------------- channels


CUT = {  # the layers that lose channels, with their BatchNorm and the layers that read them
    "fcnet": [("1", None, "3")],
    "lenet": [("0", None, "3"), ("3", None, "7"), ("7", None, "9"), ("9", None, "11")],
}
for _model, _depths, _convs in (("resnet18", (2, 2, 2, 2), 1), ("resnet50", (3, 4, 6, 3), 2)):
    CUT[_model] = [
        (f"layer{stage}.{block}.conv{i}", f"layer{stage}.{block}.bn{i}", f"layer{stage}.{block}.conv{i + 1}")
        for stage, depth in enumerate(_depths, 1)
        for block in range(depth)
        for i in range(1, _convs + 1)
    ]


def textbook(model):
    if model.startswith("resnet"):
        return getattr(torchvision.models, model)(num_classes=100)
    if model == "fcnet":
        return nn.Sequential(nn.Flatten(), nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 10))
    pool = (nn.MaxPool2d(2), nn.ReLU())
    convs = (nn.Conv2d(1, 6, 5), *pool, nn.Conv2d(6, 16, 5), *pool)
    linears = (nn.Linear(256, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10))
    return nn.Sequential(*convs, nn.Flatten(), *linears)


def pixels(model):
    shape = (8, 3, 32, 32) if model.startswith("resnet") else (8, 1, 28, 28)
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def double(state):
    return {name: tensor.double() if tensor.is_floating_point() else tensor for name, tensor in state.items()}


@pytest.mark.parametrize("model, ratio", [("fcnet", 0.8), ("lenet", 0.8), ("resnet18", 0.4), ("resnet50", 0.6)])
def test_cut_network_is_the_masked_one(nets, cifar, tmp_path, model, ratio):
    """In place of being cut, the filters of smallest L1 norm, their biases and their BatchNorm are set to zero."""
    data = cifar if model.startswith("resnet") else DIGITS
    flags = ("--ratio", ratio, "--structure", "channels")
    told = prune(nets / f"{model}.pt", tmp_path / "cut.pt", *flags, data=data)
    checkpoint = torch.load(tmp_path / "cut.pt", weights_only=True)
    masked, small = double(tensors(nets / f"{model}.pt")), double(checkpoint["model"])
    left = {name: tensor.shape for name, tensor in masked.items()}
    norms = {name: masked[f"{name}.weight"].abs().flatten(1).sum(1).tolist() for name, *_ in CUT[model]}
    for name, norm, reader in CUT[model]:
        gone = sorted(range(len(norms[name])), key=norms[name].__getitem__)[: round(ratio * len(norms[name]))]
        keep = len(norms[name]) - len(gone)
        for part in filter(None, (name, norm)):
            for kind in ("weight", "bias", "running_mean", "running_var"):
                if f"{part}.{kind}" in masked:
                    masked[f"{part}.{kind}"][gone] = 0
                    left[f"{part}.{kind}"] = torch.Size([keep, *left[f"{part}.{kind}"][1:]])
        inputs = left[f"{reader}.weight"]
        left[f"{reader}.weight"] = torch.Size([inputs[0], inputs[1] // len(norms[name]) * keep, *inputs[2:]])
    counts = [sum(tensor.numel() for tensor in textbook(model).parameters()), checkpoint["args"]["prune"]["parameters"]]
    assert f"prune    {counts[0]} parameters -> {counts[1]}\n" in told and "are zero" not in told
    assert {name: tensor.shape for name, tensor in small.items()} == left
    net = textbook(model).double().eval()
    answers = [torch.func.functional_call(net, state, pixels(model)) for state in (masked, small)]
    torch.testing.assert_close(answers[1], answers[0], rtol=1e-6, atol=1e-6)
    sizes = [(path).stat().st_size / 1e3 for path in (nets / f"{model}.pt", tmp_path / "cut.pt")]
    assert f"file {sizes[0]:.0f} -> {sizes[1]:.0f} kB" in told and sizes[1] < sizes[0]
    assert "images a second " in told


@pytest.mark.parametrize("model", CUT)
def test_torch_pruning_leaves_the_same_shapes(nets, cifar, tmp_path, model):
    library = pytest.importorskip("torch_pruning", reason="needs torch-pruning")
    data = cifar if model.startswith("resnet") else DIGITS
    prune(nets / f"{model}.pt", tmp_path / "cut.pt", "--ratio", 0.5, "--structure", "channels", data=data)
    net = textbook(model).eval()
    net.load_state_dict(tensors(nets / f"{model}.pt"))
    layers = {name: layer for name, layer in net.named_modules() if isinstance(layer, (nn.Conv2d, nn.Linear))}
    kept_whole = [layer for name, layer in layers.items() if name not in [first for first, *_ in CUT[model]]]
    pruner = library.pruner.MagnitudePruner(
        net,
        pixels(model).float(),
        importance=library.importance.MagnitudeImportance(p=1),
        pruning_ratio=0.5,
        ignored_layers=kept_whole,
    )
    pruner.step()
    ours = {name: tuple(tensor.shape) for name, tensor in tensors(tmp_path / "cut.pt").items()}
    assert ours == {name: tuple(tensor.shape) for name, tensor in net.state_dict().items()}


# ------------------------------------------------------------------------------------------------------- bad input


def test_prune_refuses_in_one_line(nets, cifar, tmp_path):
    def line(model, *flags, data=DIGITS):
        command = ("--in", nets / f"{model}.pt", "--data", data, *USUAL, *flags, "--out", tmp_path / "out.pt")
        return refusal("prune.py", *command)

    channels = ("--structure", "channels")
    assert "none of the 6 channels" in line("lenet", "--ratio", 0.95, *channels)
    assert "--scope" in line("lenet", "--ratio", 0.5, "--scope", "live", *channels)
    assert "lenet-initial.pt" in line("fcnet", "--ratio", 0.5, "--start", nets / "lenet-initial.pt")
    network = ("--dataset", "CIFAR100", "--model", "squeezenet1_1", "--data", cifar, "--epochs", 0)
    run("train.py", *network, *USUAL, "--out", nets / "squeezenet.pt")
    assert "--structure channels" in line("squeezenet", "--ratio", 0.5, *channels, data=cifar)
    assert not (tmp_path / "out.pt").exists()


# ---------------------------------------------------------------------------------------------------- wrong labels


def test_noise_flips_an_exact_share_of_the_training_labels(tmp_path):
    told = run("tests/noise.py", "flip", DIGITS / "MNIST.pt", tmp_path / "MNIST.pt", 0.2, 5)
    before, after = (torch.load(folder / "MNIST.pt", weights_only=True) for folder in (DIGITS, tmp_path))
    flipped = before["train_labels"] != after["train_labels"]
    assert flipped.sum() == 800 and "800 of 4000 training labels" in told
    assert torch.equal(after["true_labels"], before["train_labels"])
    assert all(torch.equal(after[name], before[name]) for name in before if name != "train_labels")
    moves = (after["train_labels"] - before["train_labels"])[flipped] % 10
    assert set(moves.tolist()) == set(range(1, 10))  # to every other class
    assert abs(moves.bincount(minlength=10)[1:] - 800 / 9).max() < 5 * np.sqrt(800 / 9)
    assert abs(flipped.nonzero().double().mean() - 1999.5) < 5 * 4000 / np.sqrt(12 * 800)  # anywhere in the file

    chosen = np.arange(0, 4000, 7)
    np.save(tmp_path / "subset.npy", chosen)
    held = flipped.numpy()[chosen].sum()
    told = run("tests/noise.py", "count", tmp_path / "MNIST.pt", tmp_path / "subset.npy")
    assert f"{held} of 572 samples are flipped, {100 * held / 572:.1f} %  (of all 4000 20.0 %)" in told
    assert "true_labels" in refusal("tests/noise.py", "count", DIGITS / "MNIST.pt", tmp_path / "subset.npy")


def test_formula_avoids_flipped_labels_and_toneva_collects_them(tmp_path):
    """A sample that is never learned, as most flipped ones are, scores 0 by the paper's formula, most by Toneva's."""
    run("tests/noise.py", "flip", DIGITS / "MNIST.pt", tmp_path / "MNIST.pt", 0.2, 0)
    shares = {}
    for events in ("forgotten", "toneva"):
        network = ("--dataset", "MNIST", "--model", "fcnet", "--epochs", 3, "--data", ".", *USUAL)
        outputs = ("--scores", "forget.npy", "--correct", "correct.npy", "--out", "full.pt")
        run("forget.py", *network, "--events", events, *outputs, cwd=tmp_path)
        flags = ("--scores", "forget.npy", "--order", "high", "--ratio", 0.1, "--out", "high.npy")
        run("select.py", *flags, cwd=tmp_path)
        told = run("tests/noise.py", "count", "MNIST.pt", "high.npy", cwd=tmp_path)
        shares[events] = float(told.split("flipped, ")[1].split()[0])
    assert shares["toneva"] > 50 and shares["forgotten"] < 20


# ------------------------------------------------------------------------------------------------ orders by errors


select = runpy.run_path(str(ROOT / "select.py"))


@pytest.fixture(scope="module")
def scored(tmp_path_factory):
    """LeNet's forget.npy, correct.npy, full.pt and errors.npy, and {el2n,ccs}.npy, of a tenth."""
    folder = tmp_path_factory.mktemp("scored")
    network = ("--dataset", "MNIST", "--model", "lenet", "--epochs", 2, "--data", DIGITS, *USUAL)
    outputs = ("--scores", "forget.npy", "--correct", "correct.npy", "--errors", "errors.npy", "--out", "full.pt")
    run("forget.py", *network, *outputs, cwd=folder)
    for order in ("el2n", "ccs"):
        flags = ("--order", order, "--ratio", 0.1, "--seed", 4, "--out", f"{order}.npy")
        run("select.py", "--scores", "errors.npy", *flags, cwd=folder)
    return folder


def random_errors(n=600, classes=5, seed=0):
    """Errors of answers that a network might give, float32 [n, classes], and the labels."""
    draw = np.random.default_rng(seed)
    labels = draw.integers(0, classes, n)
    odds = np.exp(2 * draw.normal(size=(n, classes)))
    return (odds / odds.sum(1, keepdims=True) - np.eye(classes)[labels]).astype(np.float32), labels


def test_errors_are_those_of_the_network_that_is_left(scored):
    errors = np.load(scored / "errors.npy")
    assert errors.dtype == np.float32 and errors.shape == (4000, 10)
    packed = torch.load(DIGITS / "MNIST.pt", weights_only=True)
    net = textbook("lenet").double().eval()
    net.load_state_dict(tensors(scored / "full.pt"))
    with torch.no_grad():
        answers = net((packed["train_images"].double() / 255 - 0.5) / 0.5).exp()
    expected = (answers / answers.sum(1, keepdim=True)).numpy()
    expected[np.arange(4000), packed["train_labels"].numpy()] -= 1
    np.testing.assert_allclose(errors, expected, atol=1e-5)


def test_errors_move_no_bit_of_the_scores(scored, tmp_path):
    network = ("--dataset", "MNIST", "--model", "lenet", "--epochs", 2, "--data", DIGITS, *USUAL)
    outputs = ("--scores", "forget.npy", "--correct", "correct.npy", "--out", "full.pt")
    run("forget.py", *network, *outputs, cwd=tmp_path)
    assert np.array_equal(np.load(tmp_path / "forget.npy"), np.load(scored / "forget.npy"))
    ours, theirs = tensors(tmp_path / "full.pt"), tensors(scored / "full.pt")
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_el2n_has_the_largest_norms(scored):
    errors, chosen = np.load(scored / "errors.npy"), np.load(scored / "el2n.npy")
    np.save(scored / "columns.npy", np.asfortranarray(errors))
    flags = ("--order", "el2n", "--ratio", 0.1, "--seed", 4, "--out", "same.npy")
    run("select.py", "--scores", "columns.npy", *flags, cwd=scored)
    assert np.array_equal(np.load(scored / "same.npy"), chosen)
    norms = [math.sqrt(math.fsum(float(x) ** 2 for x in row)) for row in errors]
    assert len(set(chosen.tolist())) == 400
    border = sorted(norms)[-400]
    rest = set(range(4000)) - set(chosen.tolist())
    assert min(norms[i] for i in chosen) > border - 1e-12 and max(norms[i] for i in rest) < border + 1e-12


def test_el2n_shares_nothing_with_low_which_goes_by_other_scores(scored, tmp_path):
    flags = ("--ratio", 0.6, "--out", tmp_path / "x.npy")
    assert "too" not in run("select.py", "--scores", scored / "errors.npy", "--order", "el2n", *flags)
    assert "are in the coreset of low 0.6, too" in run(
        "select.py", "--scores", scored / "forget.npy", "--order", "high", *flags
    )


def published_budgets(num, bins):
    """The rule of the CCS program: from the smallest stratum up, each gets the mean of what is left, or all it has."""
    order, budgets = torch.argsort(torch.tensor(bins), stable=True).tolist(), [0] * len(bins)
    for place, i in enumerate(order):
        budgets[i] = min(bins[i], num // (len(bins) - place))
        num -= budgets[i]
    return budgets


@pytest.mark.parametrize("ratio, cut", [(0.1, 0.3), (0.3, 0.3), (0.4, 0.5), (0.05, 0)])
def test_ccs_has_the_published_budget_of_each_stratum(ratio, cut):
    errors, _ = random_errors(3000)
    chosen = select["select"](errors, "ccs", ratio, 1, cut=cut)
    norms = np.array([math.sqrt(math.fsum(float(x) ** 2 for x in row)) for row in errors])
    easy = sorted(range(3000), key=norms.__getitem__)[: 3000 - round(cut * 3000)]
    low, high = norms[easy].min(), norms[easy].max() * 1.0001
    step, strata = (high - low) / 50, []
    for k in range(50):
        strata.append([i for i in easy if low + k * step <= norms[i] < low + (k + 1) * step])
    assert sum(map(len, strata)) == len(easy)
    budgets = published_budgets(round(ratio * 3000), [len(stratum) for stratum in strata])
    assert [len(set(stratum) & set(chosen.tolist())) for stratum in strata] == budgets
    assert len(set(chosen.tolist())) == len(chosen) == round(ratio * 3000)
    other = select["select"](errors, "ccs", ratio, 2, cut=cut)
    assert len(set(chosen.tolist()) & set(other.tolist())) < len(chosen)  # drawn by the seed within a stratum


def test_ccs_of_equal_errors_is_drawn(scored):
    chosen = select["select"](np.zeros((100, 10), dtype=np.float32), "ccs", 0.2, 0)
    assert len(set(chosen.tolist())) == 20 and chosen.max() > 25


def test_select_refuses_errors_in_one_line(scored, tmp_path):
    def line(order, source, *flags):
        words = ("--order", order, "--scores", source, "--ratio", 0.1, *flags, "--out", tmp_path / "out.npy")
        return refusal("select.py", *words)

    assert "[N, C]" in line("el2n", scored / "forget.npy")
    assert "one number per sample" in line("low", scored / "errors.npy")
    assert "--cut 0.95" in line("ccs", scored / "errors.npy", "--cut", 0.95)
    assert "--cut: low leaves nothing out" in line("low", scored / "forget.npy", "--cut", 0.3)
    assert not (tmp_path / "out.npy").exists()


# ------------------------------------------------------------------------- training on them, and on what was cut


def test_share_above_one_is_several_passes(monkeypatch):
    seen, data = [], train.load("MNIST", DIGITS)
    args = train.argparse.Namespace(lr=1e-3, precision="fp32", batch_size=4000, seed=3, epochs=3, out="")
    monkeypatch.setattr(train, "training_step", lambda *_: seen.append)
    monkeypatch.setattr(train, "evaluate", lambda *_: (0.0, []))
    subset = np.arange(0, 4000, 10)
    train.fit(train.build("fcnet", "MNIST", 3), data, args, train.FIRST_TRAINING, subset, share=2.5)
    draw = np.random.default_rng([3, 1])
    passes = [subset[draw.permutation(400)].tolist() for _ in range(9)]
    assert [order.tolist() for order in seen] == [sum(passes[k : k + 3], [])[:1000] for k in (0, 3, 6)]


def test_long_training_has_the_steps_of_the_baseline(scored, tmp_path):
    network = ("--dataset", "MNIST", "--model", "fcnet", "--epochs", 1, "--data", DIGITS, *USUAL)
    np.save(tmp_path / "own.npy", np.load(scored / "el2n.npy"))
    run("train.py", *network, "--subset", tmp_path / "own.npy", "--share", 10, "--out", tmp_path / "long.pt")
    long = torch.load(tmp_path / "long.pt", weights_only=True)
    assert long["args"]["train"]["samples"] == 4000 and long["args"]["train"]["share"] == 10
    assert len(long["loss"]) == 1


@pytest.mark.parametrize("model", ["lenet", "resnet18"])
def test_cut_network_goes_on_as_any_other(nets, cifar, tmp_path, model):
    data = cifar if model == "resnet18" else DIGITS
    usual = ("--data", data, *USUAL)
    prune(nets / f"{model}.pt", tmp_path / "cut.pt", "--ratio", 0.5, "--structure", "channels", data=data)
    run("finetune.py", "--in", tmp_path / "cut.pt", "--epochs", 1, *usual, "--out", tmp_path / "tuned.pt")
    cut, tuned = (torch.load(tmp_path / f"{name}.pt", weights_only=True) for name in ("cut", "tuned"))
    shapes = {name: tensor.shape for name, tensor in cut["model"].items()}
    assert {name: tensor.shape for name, tensor in tuned["model"].items()} == shapes
    assert tuned["accuracy"][0] == cut["accuracy"][0]  # what was read back answers as what was written
    net = textbook(model).double().eval()
    packed = torch.load(data / ("CIFAR100.pt" if model == "resnet18" else "MNIST.pt"), weights_only=True)
    images = (packed["test_images"].double() / 255 - 0.5) / 0.5
    right = torch.func.functional_call(net, double(tuned["model"]), images).argmax(1) == packed["test_labels"]
    assert tuned["accuracy"][-1] == pytest.approx(100 * right.double().mean().item(), abs=0.2)
    prune(tmp_path / "tuned.pt", tmp_path / "again.pt", "--ratio", 0.4, data=data)
    again = tensors(tmp_path / "again.pt")
    assert all((again[name] == 0).sum() == round(0.4 * again[name].numel()) for name in weights(again))


@pytest.mark.parametrize("name", ["3.weight", "3.bias", "11.bias"])
def test_a_cut_that_does_not_fit_is_refusal(nets, tmp_path, name):
    checkpoint = torch.load(nets / "lenet.pt", weights_only=True)
    checkpoint["model"][name] = checkpoint["model"][name][:-1].clone()
    torch.save(checkpoint, tmp_path / "odd.pt")
    command = ("--in", tmp_path / "odd.pt", "--data", DIGITS, *USUAL, "--out", tmp_path / "out.pt")
    assert "odd.pt is not a checkpoint" in refusal("finetune.py", *command)
