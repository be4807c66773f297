"""Step 4 of the method: one-shot pruning by magnitude, layer by layer (paper,
sections 3.3 and 4.4).

    python prune.py --in low.pt --ratio 0.4 --out low-p0.4.pt

In the weight of every Conv2d and Linear the round(R * n) smallest magnitudes
become zero; biases and BatchNorm are left alone. On small images some weights
are never trained, because their place in the kernel meets padding alone: `live`
is the sparsity among the others.

Four flags ask what the paper leaves open: --scope and --criterion choose other
weights, --start puts the values of another checkpoint in the place of those
that are left, and --structure channels cuts whole filters out.
"""

import signal
import sys
from pathlib import Path

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends the program without a traceback, while it loads, too
    sys.path.insert(0, str(Path(__file__).resolve().parent))  # python -P leaves it out

import os
import time
from collections import Counter
from itertools import pairwise

import numpy as np
import torch
from torch import nn

from train import (
    SEED,
    Parser,
    digest,
    evaluate,
    fail,
    first_training,
    live_taps,
    number,
    prunable,
    restore,
    save,
    say,
    small_maps,
)


def smallest(weight, ratio):
    """True for the round(ratio * n) weights of smallest magnitude: bool, shaped like `weight`."""
    pruned = torch.zeros(weight.numel(), dtype=torch.bool)
    pruned[weight.abs().flatten().topk(round(ratio * weight.numel()), largest=False).indices] = True
    return pruned.view_as(weight)


def live(net):
    """{layer name: bool, shaped like its weight}: True for the prunable weights that can get a gradient."""
    masks = {}
    for name, layer in prunable(net).items():
        taps = live_taps(layer) if isinstance(layer, nn.Conv2d) else ()
        masks[name] = torch.zeros_like(layer.weight, dtype=torch.bool)
        masks[name][(..., *taps)] = True
    return masks


def importances(net, criterion="magnitude", seed=0):
    """{layer name: float, shaped like its weight}, on the CPU: the least important weights go first.

    criterion: "magnitude", or "random", a draw from `seed`. A weight that is zero has importance 0, others have more.
    """
    magnitudes = {name: layer.weight.detach().cpu().abs() for name, layer in prunable(net).items()}
    if criterion == "magnitude":
        return magnitudes
    draw = np.random.default_rng([seed, 4])  # stream 4 of the seed; train.py says who draws from the others
    importance = {}
    for name, magnitude in magnitudes.items():
        importance[name] = torch.from_numpy(draw.random(magnitude.shape)) * (magnitude > 0)
    return importance


def zero(net, importance, ratio, scope="layer"):
    """Set the weights of least importance to zero, and all whose importance is 0.

    importance: what `importances` returns. scope: "layer" takes round(ratio * n) of each layer; "live" the same of its
    live weights, and all others; "global" as live, but in one ranking over all layers.
    """
    eligible = {name: mask.cpu() | (scope == "layer") for name, mask in live(net).items()}
    ranked = [importance[name][mask] for name, mask in eligible.items()]
    if scope == "global":
        pruned = smallest(torch.cat(ranked), ratio).split([len(part) for part in ranked])
    else:
        pruned = [smallest(part, ratio) for part in ranked]
    for (name, mask), chosen in zip(eligible.items(), pruned):
        gone = ~mask | (importance[name] == 0)
        gone[mask] |= chosen
        net.get_submodule(name).weight.data[gone] = 0


def chains(net):
    """[(layer, its BatchNorm or None, the layer that it feeds)], by name: whose channels no other layer reads.

    In a ResNet they are within the blocks; what a block adds to its input keeps its width. [] for other networks.
    """
    if isinstance(net, nn.Sequential):
        return [(layer, None, reader) for layer, reader in pairwise(prunable(net))]
    from torchvision.models.resnet import BasicBlock, Bottleneck

    convolutions = {BasicBlock: (1,), Bottleneck: (1, 2)}  # of a block, those before its last one
    links = []
    for name, block in net.named_modules():
        if type(block) in convolutions and block.conv2.groups == 1:
            for i in convolutions[type(block)]:
                links.append((f"{name}.conv{i}", f"{name}.bn{i}", f"{name}.conv{i + 1}"))
    return links


def cut(net, importance, ratio):
    """Take the round(ratio * C) channels of least importance, summed over the filter, out of the layers in `chains`.

    By magnitude that is the L1 norm of the filter. importance: what `importances` returns.
    """
    links = chains(net)
    if not links:
        fail("--structure channels: only fcnet, lenet and ResNets without groups")
    for name, norm, reader in links:
        keep = ~smallest(importance[name].flatten(1).sum(1), ratio)
        if not keep.any():
            fail(f"--ratio {ratio} leaves none of the {len(keep)} channels of layer {name}")
        inputs = net.get_submodule(reader).weight  # of a channel on a flattened map there are several
        inputs.data = inputs.data[:, keep.repeat_interleave(inputs.shape[1] // len(keep))]
        keep_channels(net.get_submodule(name), keep)
        if norm:
            keep_channels(net.get_submodule(norm), keep)


def keep_channels(module, keep):
    """Leave only the output channels where keep, bool [C], is True in every tensor of a layer that has channels."""
    for tensor in (*module.parameters(), *module.buffers()):
        if tensor.ndim > 0:
            tensor.data = tensor.data[keep]


def restart(net, checkpoint, args):
    """Give `net`, restored from `checkpoint`, all values of the one at args.start.

    Returns the flags that tell what that is: "start" in words, "start_seed", and "start_weights", a digest.
    """
    start, other, _ = restore(args.start, args)
    ours = first_training(checkpoint)
    theirs = first_training(start)
    try:
        net.load_state_dict(other.state_dict())
    except RuntimeError:
        fail(f"--start {args.start} is another network than that of --in: {theirs['model']} on {theirs['dataset']}")
    was_trained = any(flags.get("epochs") for flags in start["args"].values())
    words = training_of(start) if was_trained else "initial"
    if theirs["seed"] != ours["seed"]:
        words += " of another seed"
    weights = digest([tensor.cpu() for tensor in other.state_dict().values()])
    return {"start": words, "start_seed": theirs["seed"], "start_weights": weights}


def training_of(checkpoint):
    """How a network was trained, in words: its steps, with the order of its coreset, and its first training."""
    steps = {step: step for step in checkpoint["args"]}
    if "select" in steps:
        steps["select"] = checkpoint["args"]["select"]["order"]
    flags = first_training(checkpoint)
    samples = flags.get("samples", flags["train_size"])
    by = f"{flags['epochs']} epochs, {samples} samples, lr {flags['lr']}, batch size {flags['batch_size']}"
    return f"trained ({' '.join(steps.values())}: {by})"


def sparsity(net):
    """Counts over the whole network, ints: {"parameters", "weights": the prunable ones, "zeros" among these, and of
    the live ones "live" and "live_zeros"}.
    """
    counts = Counter(parameters=sum(parameter.numel() for parameter in net.parameters()))
    for name, mask in live(net).items():
        zeros = net.get_submodule(name).weight == 0
        counts["weights"] += mask.numel()
        counts["zeros"] += int(zeros.sum())
        counts["live"] += int(mask.sum())
        counts["live_zeros"] += int((zeros & mask).sum())
    return dict(counts)


def measure(net, data, args):
    """Test accuracy in %, over all images (float) and per class (list of floats), and test images per second."""
    start = time.perf_counter()
    with small_maps(net):
        accuracy, class_accuracy = evaluate(net, data, args.precision)
    return accuracy, class_accuracy, len(data.test_labels) / (time.perf_counter() - start)


def say_layers(net):
    """Two lines for each layer: its shape; how many of its weights, and of the live ones, are zero."""
    for name, mask in live(net).items():
        zeros = net.get_submodule(name).weight == 0
        say(f"prune    {name}: {' x '.join(map(str, mask.shape))}")
        say(
            f"prune        zero: {100 * zeros.double().mean():.2f} % of the weights, "
            f"{100 * zeros[mask].double().mean():.2f} % of the live ones"
        )


def say_total(counts, before, ratio):
    """Lines on the whole network; counts and before: its `sparsity` after and before pruning."""
    share = counts["zeros"] / counts["weights"]
    live_share = counts["live_zeros"] / counts["live"]
    if counts["weights"] < before["weights"]:
        say(f"prune    {before['parameters']} parameters -> {counts['parameters']}")
        return
    say(f"prune    {counts['zeros']} of {counts['weights']} weights are zero, {100 * share:.2f} %")
    if counts["live"] < counts["weights"]:
        say(f"prune    {counts['live_zeros']} of the {counts['live']} live ones, {100 * live_share:.2f} %")
    if counts["zeros"] == before["zeros"] and ratio > 0:
        say(f"prune    these were zero before: --ratio {ratio} is a share of all weights")


def fail_if_nothing_is_left(net, counts, ratio):
    """Exit with one line if every weight is zero; say which layers have lost all of theirs."""
    if counts["zeros"] == counts["weights"]:
        fail(f"--ratio {ratio} prunes every weight; give a smaller one")
    for name, layer in prunable(net).items():
        if not layer.weight.any():
            say(f"prune    layer {name} has lost all its weights")


def parse_flags():
    """The flags of the command line, checked, and the device set up."""
    parser = Parser(__doc__)
    parser.add_argument("--in", required=True, metavar="IN.pt", help="the checkpoint to prune")
    ratio = number(float, lambda ratio: 0 <= ratio < 1, "at least 0 and below 1")
    parser.add_argument(
        "--ratio",
        required=True,
        type=ratio,
        help="share of all weights, zeros among them, or of what --scope or --structure names; 0 <= R < 1",
    )
    parser.add_argument(
        "--scope",
        choices=["layer", "live", "global"],
        default="layer",
        help="live: of the live weights, all others going, too; global: the same in one ranking (default: %(default)s)",
    )
    parser.add_argument(
        "--criterion",
        choices=["magnitude", "random"],
        default="magnitude",
        help="what goes first: the smallest, or a draw from --seed (default: %(default)s)",
    )
    parser.add_argument("--seed", type=SEED, default=0, help="of --criterion random (default: %(default)s)")
    parser.add_argument(
        "--start", metavar="START.pt", help="what is left takes its values from here (default: from --in)"
    )
    parser.add_argument(
        "--structure",
        choices=["weights", "channels"],
        default="weights",
        help="channels: cut filters of smallest L1 norm out of the network (default: %(default)s)",
    )
    parser.add_argument("--verbose", action="store_true", help="print what is left of every layer")
    parser.add_device_flags()
    parser.add_argument("--out", required=True, metavar="OUT.pt", help="the checkpoint to write")
    args = parser.start("out")
    if args.structure == "channels" and args.scope != "layer":
        parser.error("argument --scope: channels are chosen layer by layer")
    return args


def main():
    args = parse_flags()
    channels = args.structure == "channels"
    start = time.perf_counter()
    source = vars(args)["in"]
    checkpoint, net, data = restore(source, args)
    before = sparsity(net)
    if channels:
        *_, speed_before = measure(net, data, args)
    importance = importances(net, args.criterion, args.seed)
    how = {
        "ratio": args.ratio,
        "scope": args.scope,
        "criterion": args.criterion,
        "structure": args.structure,
        "precision": args.precision,
        "start": "",
    }
    if args.criterion == "random":
        how["seed"] = args.seed
    if args.start:
        how |= restart(net, checkpoint, args)
    if channels:
        cut(net, importance, args.ratio)
    else:
        zero(net, importance, args.ratio, args.scope)
    counts = sparsity(net)
    fail_if_nothing_is_left(net, counts, args.ratio)
    if args.verbose:
        say_layers(net)
    say_total(counts, before, args.ratio)
    accuracy, class_accuracy, speed = measure(net, data, args)
    say(f"prune    test {accuracy:.2f} %")
    history = {
        "accuracy": [accuracy],
        "class_accuracy": class_accuracy,
        "loss": [],
        "seconds": time.perf_counter() - start,
    }
    save(args.out, net, {"prune": how | counts}, history, checkpoint)
    if channels:
        kilobytes_before = os.path.getsize(source) / 1e3
        kilobytes = os.path.getsize(args.out) / 1e3
        say(
            f"prune    images a second {speed_before:.0f} -> {speed:.0f}  "
            f"file {kilobytes_before:.0f} -> {kilobytes:.0f} kB"
        )


if __name__ == "__main__":
    main()
