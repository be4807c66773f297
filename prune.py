"""Step 4 of the method: one-shot pruning by magnitude, layer by layer (paper, sections 3.3 and 4.4).

    python prune.py --in low.pt --ratio 0.4 --out low-p0.4.pt

In the weight of every Conv2d and Linear the round(R * n) smallest magnitudes become zero; biases and BatchNorm are
left alone. On small images some weights are never trained, because their place in the kernel meets padding alone:
`live` is the sparsity among the others.

Four flags ask what the paper leaves open: --scope and --criterion choose other weights, --start puts the values of
another checkpoint in the place of those that are left, and --structure channels cuts whole filters out.
"""

import os
import time
from itertools import pairwise

import numpy as np
import torch
from torch import nn
from train import SEED, Parser, evaluate, fail, live_taps, number, prunable, restore, save, say, small_maps


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


def magnitudes(net, criterion="magnitude", seed=0):
    """{layer name: float, shaped like its weight}, on the CPU, the smallest to go first; 0 where the weight is 0."""
    found = {name: layer.weight.detach().cpu().abs() for name, layer in prunable(net).items()}
    if criterion == "random":
        draw = np.random.default_rng([seed, 4])  # stream 4 of the seed; train.py says who draws from the others
        found = {name: torch.from_numpy(draw.random(size.shape)) * (size > 0) for name, size in found.items()}
    return found


def zero(net, found, ratio, scope="layer"):
    """Set the weights to zero that are smallest by what `magnitudes` found, and all that had been zero then.

    scope: "layer" takes round(ratio * n) of each layer; "live" the same of its live weights, and all others; "global"
    as live, but in one ranking over all layers.
    """
    among = {name: mask.cpu() | (scope == "layer") for name, mask in live(net).items()}
    parts = [found[name][mask] for name, mask in among.items()]
    pruned = [smallest(part, ratio) for part in parts]
    if scope == "global":
        pruned = smallest(torch.cat(parts), ratio).split([len(part) for part in parts])
    for (name, mask), part in zip(among.items(), pruned):
        net.get_submodule(name).weight.data[(~mask).masked_scatter(mask, part) | (found[name] == 0)] = 0


def chains(net):
    """[(layer, its BatchNorm or None, the layer that it feeds)], by name: whose channels no other layer reads.

    In a ResNet they are within the blocks; what a block adds to its input keeps its width. [] for other networks.
    """
    if isinstance(net, nn.Sequential):
        return [(layer, None, reader) for layer, reader in pairwise(prunable(net))]
    from torchvision.models.resnet import BasicBlock, Bottleneck

    widths = {BasicBlock: (1,), Bottleneck: (1, 2)}  # the convolutions of a block before its last one
    blocks = [(name, block) for name, block in net.named_modules() if type(block) in widths and block.conv2.groups == 1]
    return [(f"{n}.conv{i}", f"{n}.bn{i}", f"{n}.conv{i + 1}") for n, block in blocks for i in widths[type(block)]]


def cut(net, found, ratio):
    """Take the round(ratio * C) channels whose filters' magnitudes sum least (L1 norm) out of layers in `chains`."""
    for name, norm, reader in chains(net) or fail("--structure channels: only fcnet, lenet and ResNets without groups"):
        keep = ~smallest(found[name].flatten(1).sum(1), ratio)
        if not keep.any():
            fail(f"--ratio {ratio} leaves none of the {len(keep)} channels of layer {name}")
        inputs = net.get_submodule(reader).weight  # of a channel on a flattened map there are several
        inputs.data = inputs.data[:, keep.repeat_interleave(inputs.shape[1] // len(keep))]
        for module in map(net.get_submodule, filter(None, (name, norm))):
            for tensor in (*module.parameters(), *module.buffers()):
                tensor.data = tensor.data[keep] if tensor.ndim else tensor.data
        say(f"prune    {name:24} {len(keep)} channels -> {keep.sum()}")


def restart(net, checkpoint, args):
    """Give `net`, restored from `checkpoint`, all values of the one at args.start; returns in words what that is."""
    start, other, _ = restore(args.start, args)
    ours, first = (steps.get("train") or steps["forget"] for steps in (checkpoint["args"], start["args"]))
    try:
        net.load_state_dict(other.state_dict())
    except RuntimeError:
        fail(f"--start {args.start} is another network than that of --in: {first['model']} on {first['dataset']}")
    return ("trained" if first["epochs"] else "initial") + (" of another seed" if first["seed"] != ours["seed"] else "")


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


def measure(net, data, args):
    """Test accuracy in %, over all images (float) and per class (list of floats), and test images per second."""
    start = time.perf_counter()
    with small_maps(net):
        found = evaluate(net, data, args.precision)
    return *found, len(data.test_labels) / (time.perf_counter() - start)


def main():
    parser = Parser(__doc__)
    parser.add_argument("--in", required=True, metavar="IN.pt", help="the checkpoint to prune")
    ratio = number(float, lambda ratio: 0 <= ratio < 1, "at least 0 and below 1")
    parser.add_argument("--ratio", required=True, type=ratio, help="share of each layer's weights, 0 <= R < 1")
    add = parser.add_argument
    scope = "live: of the live weights, all others going, too; global: the same in one ranking (default: layer)"
    add("--scope", choices=["layer", "live", "global"], default="layer", help=scope)
    criterion = "what goes first: the smallest, or a draw from --seed (default: magnitude)"
    add("--criterion", choices=["magnitude", "random"], default="magnitude", help=criterion)
    add("--seed", type=SEED, default=0, help="of --criterion random (default: 0)")
    add("--start", metavar="START.pt", help="what is left takes its values from here (default: from --in)")
    structure = "channels: cut filters of smallest L1 norm out of the network (default: weights)"
    add("--structure", choices=["weights", "channels"], default="weights", help=structure)
    parser.add_device_flags()
    parser.add_argument("--out", required=True, metavar="OUT.pt", help="the checkpoint to write")
    args = parser.start("out")
    channels = args.structure == "channels"
    if channels and args.scope != "layer":
        parser.error("argument --scope: channels are chosen layer by layer")

    start = time.perf_counter()
    checkpoint, net, data = restore(vars(args)["in"], args)
    before = {name: (layer.weight == 0).double().mean() for name, layer in prunable(net).items()}
    speed = measure(net, data, args)[-1] if channels else None
    found = magnitudes(net, args.criterion, args.seed)
    how = {key: getattr(args, key) for key in ("ratio", "scope", "criterion", "structure", "precision")}
    how |= {"seed": args.seed} if args.criterion == "random" else {}
    how["start"] = restart(net, checkpoint, args) if args.start else ""
    if channels:
        cut(net, found, args.ratio)
    else:
        zero(net, found, args.ratio, args.scope)
    for name, mask in live(net).items():
        zeros = net.get_submodule(name).weight == 0
        say(
            f"prune    {name:24} {' x '.join(map(str, mask.shape)):18} sparsity "
            f"{100 * before[name]:.2f} -> {100 * zeros.double().mean():.2f} %  "
            f"live {100 * zeros[mask].double().mean():.2f} %"
        )
    accuracy, class_accuracy, speed_left = measure(net, data, args)
    counts = sparsity(net)
    share = counts["zeros"] / counts["weights"], counts["live_zeros"] / counts["live"]
    say(
        f"prune    total {counts['zeros']} of {counts['weights']} weights are zero, {100 * share[0]:.2f} %; of the "
        f"{counts['live']} live ones {100 * share[1]:.2f} %  test {accuracy:.2f} %  {args.out}"
    )
    history = {"accuracy": [accuracy], "class_accuracy": class_accuracy, "loss": []}
    history["seconds"] = time.perf_counter() - start
    save(args.out, net, {"prune": how | counts}, history, checkpoint)
    if channels:
        sizes = (f"{os.path.getsize(path) / 1e3:.0f}" for path in (vars(args)["in"], args.out))
        say(f"prune    images a second {speed:.0f} -> {speed_left:.0f}  file {' -> '.join(sizes)} kB")


if __name__ == "__main__":
    main()
