"""The fast training step against the loop of a textbook, and the networks against outside references."""

from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import nn

import train

DATASET = {"fcnet": "MNIST", "lenet": "MNIST", "resnet18": "CIFAR100", "resnet50": "CIFAR100"}
EVERY = pytest.mark.parametrize("model", DATASET)
LR = 1e-4  # not 1e-3: Adam turns the rounding of tiny gradients into parts of a whole lr, and ResNets amplify it
HELD = pytest.mark.parametrize("held", [False, True], ids=["dense", "held"])
NEEDS_CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
DEVICE = pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=NEEDS_CUDA)])


class TextbookLeNet(nn.Module):
    """As every tutorial writes it, with ReLU before pooling."""

    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 6, 5), nn.Conv2d(6, 16, 5)
        self.fc1, self.fc2, self.fc3 = nn.Linear(256, 120), nn.Linear(120, 84), nn.Linear(84, 10)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        return self.fc3(F.relu(self.fc2(F.relu(self.fc1(x.flatten(1))))))


def textbook_network(model):
    if model == "fcnet":
        return nn.Sequential(nn.Flatten(), nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 10))
    return TextbookLeNet() if model == "lenet" else getattr(torchvision.models, model)(num_classes=100)


class Case:
    """Random images, batches of two epochs over them, and a network, half of its weights zero if `held`.

    The last batch of an epoch is smaller than the others.
    """

    def __init__(self, model, held, dtype=torch.float32, device="cpu"):
        self.model, self.held = model, held
        classes, shape, *_ = train.DATASETS[DATASET[model]]
        size, self.batch_size, epochs = (20, 8, 1) if "resnet" in model else (100, 32, 2)
        random = torch.Generator().manual_seed(1)
        images = torch.randint(0, 256, (size, *shape), dtype=torch.uint8, generator=random).to(device)
        labels = torch.randint(0, classes, (size,), generator=random).to(device)
        self.data = train.Data(DATASET[model], images, labels, images, labels, {})
        orders = [torch.randperm(size, generator=random).to(device) for _ in range(epochs)]
        self.batches = [batch for order in orders for batch in order.split(self.batch_size)]
        self.net = train.build(model, DATASET[model], 0).to(device, dtype)
        if held:
            for layer in train.prunable(self.net).values():
                layer.weight.data[layer.weight.abs() < layer.weight.abs().median()] = 0
        self.logits = torch.zeros(size, classes, dtype=dtype, device=device)

    def run(self, precision="fp32"):
        """Ours; returns the logits of every sample when it was last seen."""
        args = SimpleNamespace(lr=LR, precision=precision, batch_size=self.batch_size)
        with train.small_maps(self.net):
            self.net.train()
            step = train.training_step(self.net, self.data, self.logits, args, self.held)
            for batch in self.batches:
                step(batch)
        return self.logits

    def run_textbook(self):
        """The same by a plain loop over a network of its own; leaves self.net alone. Returns logits and network."""
        net = textbook_network(self.model).to(self.logits)
        net.load_state_dict(dict(zip(net.state_dict(), self.net.state_dict().values(), strict=True)))
        zero = [parameter == 0 for parameter in net.parameters()]
        optimizer = torch.optim.Adam(net.parameters(), lr=LR)
        logits = torch.zeros_like(self.logits)
        for batch in self.batches:
            images = (self.data.train_images[batch].to(logits.dtype) / 255 - 0.5) / 0.5
            optimizer.zero_grad()
            output = net(images)
            F.cross_entropy(output, self.data.train_labels[batch]).backward()
            optimizer.step()
            logits[batch] = output.detach()
            for parameter, mask in zip(net.parameters(), zero, strict=True):
                if self.held and parameter.ndim > 1:
                    parameter.data[mask] = 0
        return logits, net


@HELD
@EVERY
@DEVICE
def test_step_is_the_textbook_loop_in_float64(device, model, held):
    case = Case(model, held, torch.float64, device)
    logits, net = case.run_textbook()
    torch.testing.assert_close(case.run(), logits, rtol=1e-6, atol=1e-6)
    for ours, theirs in zip(case.net.state_dict().values(), net.state_dict().values(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-6)


@HELD
@EVERY
@DEVICE
def test_step_rounds_in_float32_as_the_textbook_loop_does(device, model, held, monkeypatch):
    """Both against the loop in float64, on the first batch: later, BatchNorm over a few images magnifies rounding."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)  # fp32 means fp32
    exact, case = Case(model, held, torch.float64, device), Case(model, held, device=device)
    exact.batches, case.batches = exact.batches[:1], case.batches[:1]
    truth, (logits, net) = exact.run_textbook()[0], case.run_textbook()
    first = case.batches[0]
    error, usual = ((found[first] - truth[first]).norm() for found in (case.run(), logits))
    assert error < 4 * usual
    for ours, theirs in zip(case.net.parameters(), net.parameters(), strict=True):
        if ours.ndim > 1:  # a bias starts at 0 and stays there if its gradients happen to cancel, which is rounding
            assert torch.equal(ours == 0, theirs == 0)


@NEEDS_CUDA
@HELD
@EVERY
def test_cuda_graph_is_the_eager_step(model, held, monkeypatch, capsys):
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", True)
    graphed = Case(model, held, device="cuda")
    logits = graphed.run()
    assert "no CUDA graph" not in capsys.readouterr().out
    monkeypatch.setattr(train, "graphed", lambda step, *_: step)
    eager = Case(model, held, device="cuda")
    torch.testing.assert_close(logits, eager.run(), rtol=0, atol=0)
    for ours, theirs in zip(graphed.net.state_dict().values(), eager.net.state_dict().values(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=0)


GEOMETRIES = [  # kernel, stride, padding, map
    ((3, 3), (1, 1), (1, 1), (2, 2)),
    ((3, 3), (2, 2), (1, 1), (4, 4)),
    ((3, 3), (2, 2), (1, 1), (2, 2)),
    ((3, 3), (1, 1), (1, 1), (1, 1)),
    ((1, 1), (2, 2), (0, 0), (4, 4)),
    ((5, 3), (2, 1), (2, 0), (3, 4)),
    ((1, 1), (2, 2), (1, 1), (2, 2)),  # an output pixel that meets padding alone
]


@pytest.mark.parametrize("kernel, stride, padding, size", GEOMETRIES)
def test_products_on_a_small_map_are_the_convolution(kernel, stride, padding, size):
    torch.manual_seed(0)
    conv = nn.Conv2d(5, 7, kernel, stride, padding).double()
    x = torch.randn(3, 5, *size, dtype=torch.float64, requires_grad=True)
    expected = F.conv2d(x, conv.weight, conv.bias, stride, padding)
    conv.map_sizes = size, tuple(expected.shape[2:])
    assert max(conv.map_sizes[1]) <= 2
    weight, dy = conv.weight, torch.randn_like(expected)
    by_autograd = torch.autograd.grad(expected, (x, weight, conv.bias), dy)
    before = weight.detach().clone()
    with train.small_maps(nn.Sequential(conv)):
        y = conv(x)
        ours = torch.autograd.grad(y, (x, conv.weight, conv.bias), dy)
        conv.weight.data += 1
    torch.testing.assert_close(y, expected)
    rows, columns = train.live_taps(conv)
    of_x, of_weight, of_bias = by_autograd
    for mine, theirs in zip(ours, (of_x, of_weight[..., rows, columns].permute(0, 2, 3, 1), of_bias)):
        torch.testing.assert_close(mine, theirs)
    assert conv.weight is weight
    assert torch.equal(conv.weight - before, (of_weight != 0).any(0).any(0).double().expand_as(before))


@pytest.mark.parametrize("model, parameters", [("fcnet", 203_530), ("lenet", 44_426)])
def test_parameter_counts_of_the_paper(model, parameters):
    assert sum(p.numel() for p in train.build(model, "MNIST", 0).parameters()) == parameters


@pytest.mark.parametrize("model", ["resnet18", "resnet50"])
def test_resnets_are_torchvisions(model):
    torch.manual_seed(7)
    theirs = getattr(torchvision.models, model)(weights=None, num_classes=100)
    ours = train.build(model, "CIFAR100", 7)
    assert str(ours) == str(theirs)
    assert all(torch.equal(a, b) for a, b in zip(ours.parameters(), theirs.parameters(), strict=True))


@pytest.mark.parametrize("model", ["resnet18", "resnet50", "mobilenet_v2"])
def test_live_taps_are_those_with_a_gradient(model):
    """Against autograd: taps that are called dead have gradients of exactly zero, live ones have not."""
    net = train.build(model, "CIFAR100", 0).double().eval()  # no dropout, no batch of equal pixels
    net(torch.randn(4, 3, 32, 32, dtype=torch.float64)).square().sum().backward()
    for name, conv in net.named_modules():
        if isinstance(conv, torch.nn.Conv2d):
            met = (conv.weight.grad != 0).any(0).any(0)
            live = torch.zeros_like(met)
            live[train.live_taps(conv)] = True
            assert torch.equal(live, met), name
