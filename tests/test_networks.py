"""Which of torchvision's classification models take CIFAR's images: each does, or ends in a line that says why."""

import re

import pytest
import torch
from torch import nn
from torchvision import models

import train
from conftest import run, start

REFUSED = {  # model: why, in torchvision's or this suite's words, a regular expression
    "alexnet": "Output size is too small",
    "googlenet": "does not answer with one number per class and nothing else",
    "inception_v3": "Kernel size can't be greater than actual input size|Output size is too small",  # 2.14 | 2.4
    "maxvit_t": "is invalid for input of size",
    **dict.fromkeys(("vit_b_16", "vit_b_32", "vit_h_14", "vit_l_16", "vit_l_32"), "Expected 224 but got 32"),
}
NAMES = models.list_models(module=models)


@pytest.fixture
def no_initial_weights(monkeypatch):
    """Weights stay memory that nothing touches: the largest networks would take gigabytes and a minute each."""
    for name in dir(nn.init):
        if name.endswith("_") and not name.startswith("_"):
            monkeypatch.setattr(nn.init, name, lambda tensor, *args, **kwargs: tensor)


def test_seventy_one_of_eighty():
    assert len(NAMES) == 80 and len(NAMES) - len(REFUSED) == 71 and REFUSED.keys() <= set(NAMES)


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("name", NAMES)
def test_network_takes_small_images_or_says_why(no_initial_weights, name, capfd):
    if name in REFUSED:
        with pytest.raises(SystemExit):
            train.build(name, "CIFAR100", 0)
        err = capfd.readouterr().err
        assert err.count("\n") == 1 and f"--model {name} cannot take CIFAR100" in err, err
        assert re.search(REFUSED[name], err), err
    else:
        net = train.build(name, "CIFAR100", 0)
        convolutions = [layer for layer in net.modules() if isinstance(layer, nn.Conv2d)]
        assert convolutions[0].map_sizes[0] == (32, 32) and all(hasattr(conv, "map_sizes") for conv in convolutions)
        assert any(layer.out_features == 100 for layer in net.modules() if isinstance(layer, nn.Linear)) or (
            convolutions[-1].out_channels == 100
        )
        assert capfd.readouterr().err == ""


def test_shapes_agree_with_a_real_pass():
    net = train.build("regnet_y_400mf", "CIFAR10", 0).eval()
    seen = {}
    for name, layer in train.prunable(net).items():
        layer.register_forward_hook(lambda layer, x, y, name=name: seen.update({name: (x[0].shape[2:], y.shape[2:])}))
    with torch.no_grad():
        assert net(torch.zeros(1, 3, 32, 32)).shape == (1, 10)
    for name, layer in train.prunable(net).items():
        assert isinstance(layer, nn.Linear) or seen[name] == layer.map_sizes


@pytest.mark.parametrize("name", ["googlenet", "regnet_x_400mf"])
def test_command_with_a_network_of_an_odd_kind(cifar, tmp_path, name):
    command = ("train.py", "--dataset", "CIFAR100", "--model", name, "--data", cifar, "--threads", 1)
    command = (*command, "--device", "cpu", "--epochs", 0, "--out", tmp_path / "o.pt")
    if name not in REFUSED:
        run(*command)
        run("prune.py", "--in", tmp_path / "o.pt", "--ratio", 0.5, "--data", cifar, "--out", tmp_path / "p.pt")
    else:
        _, err = (process := start(*command)).communicate()
        assert process.returncode == 1 and err.count("\n") == 1 and re.search(REFUSED[name], err), err
