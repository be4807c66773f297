"""Step 4 of the method: one-shot pruning by magnitude, layer by layer (paper, sections 3.3 and 4.4).

    python prune.py --in low.pt --ratio 0.4 --out low-p0.4.pt

In the weight of every Conv2d and Linear the round(R * n) smallest magnitudes become zero; biases and BatchNorm are
left alone. On small images some weights are never trained, because their place in the kernel meets padding alone:
`live` is the sparsity among the others.
"""

import time

import torch
from torch import nn
from train import Parser, evaluate, live_taps, number, prunable, restore, save, say, small_maps


def smallest(weight, ratio):
    """True for the round(ratio * n) weights of smallest magnitude: bool, shaped like `weight`."""
    pruned = torch.zeros(weight.numel(), dtype=torch.bool)
    pruned[weight.abs().flatten().topk(round(ratio * weight.numel()), largest=False).indices] = True
    return pruned.view_as(weight)


def live(net):
    """{layer name: bool, shaped like its weight}: True for the prunable weights that can get a gradient."""
    masks = {}
    for name, layer in prunable(net).items():
        masks[name] = torch.ones_like(layer.weight, dtype=torch.bool)
        if isinstance(layer, nn.Conv2d):
            masks[name].zero_()[(..., *live_taps(layer))] = True
    return masks


def sparsity(net):
    """Counts over the whole network, ints: {"parameters", "weights": the prunable ones, "zeros" among these, and of
    the live ones "live" and "live_zeros"}.
    """
    counts = {"parameters": sum(p.numel() for p in net.parameters())}
    counts |= dict.fromkeys(("weights", "zeros", "live", "live_zeros"), 0)
    for name, mask in live(net).items():
        zero = net.get_submodule(name).weight == 0
        found = {"weights": mask.numel(), "zeros": zero.sum(), "live": mask.sum(), "live_zeros": (zero & mask).sum()}
        counts |= {key: counts[key] + int(value) for key, value in found.items()}
    return counts


def main():
    parser = Parser(__doc__)
    parser.add_argument("--in", required=True, metavar="IN.pt", help="the checkpoint to prune")
    ratio = number(float, lambda ratio: 0 <= ratio < 1, "at least 0 and below 1")
    parser.add_argument("--ratio", required=True, type=ratio, help="share of each layer's weights, 0 <= R < 1")
    parser.add_device_flags()
    parser.add_argument("--out", required=True, metavar="OUT.pt", help="the checkpoint to write")
    args = parser.start("out")

    start = time.perf_counter()
    checkpoint, net, data = restore(vars(args)["in"], args)
    masks = live(net)
    for name, layer in prunable(net).items():
        weight, before = layer.weight.data, (layer.weight == 0).double().mean()
        weight[smallest(weight.cpu(), args.ratio).to(weight.device)] = 0
        zero = weight == 0
        say(
            f"prune    {name or args.model:24} {' x '.join(map(str, weight.shape)):18} sparsity "
            f"{100 * before:.2f} -> {100 * zero.double().mean():.2f} %  "
            f"live {100 * zero[masks[name]].double().mean():.2f} %"
        )
    with small_maps(net):
        accuracy, class_accuracy = evaluate(net, data, args.precision)
    counts = sparsity(net)
    share = counts["zeros"] / counts["weights"], counts["live_zeros"] / counts["live"]
    say(
        f"prune    total {counts['zeros']} of {counts['weights']} weights are zero, {100 * share[0]:.2f} %; of the "
        f"{counts['live']} live ones {100 * share[1]:.2f} %  test {accuracy:.2f} %  {args.out}"
    )
    seconds = time.perf_counter() - start
    history = {"accuracy": [accuracy], "class_accuracy": class_accuracy, "loss": [], "seconds": seconds}
    save(args.out, net, {"prune": {"ratio": args.ratio} | counts}, history, checkpoint)


if __name__ == "__main__":
    main()
