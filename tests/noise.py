"""Flip a share of the training labels of a data set, and count them in coresets.

    python tests/noise.py flip data/MNIST.pt noisy/MNIST.pt 0.2 0
    make table DATA=noisy RUNS=runs/noisy
    python tests/noise.py count noisy/MNIST.pt runs/noisy/*/*/*/*/*/subset.npy

The test set stays as it is. The original training labels are kept beside the
flipped ones, as `true_labels`.
"""

import argparse
import signal
import sys
from pathlib import Path

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends the program without a traceback, while it loads, too

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from train import SEED, claim, fail, first_line, load_pt, load_subset, number, write


def flip(labels, rate, seed):
    """`labels`, int64 [N], of which round(rate * N) are another class; which ones, and to which class, is drawn."""
    draw = np.random.default_rng(seed)
    classes = labels.max() + 1
    chosen = draw.choice(len(labels), round(rate * len(labels)), replace=False)
    noisy = labels.copy()
    noisy[chosen] = (labels[chosen] + draw.integers(1, classes, len(chosen))) % classes
    return noisy


def write_flipped(args, packed, labels):
    """The `flip` command: a copy of the data set `packed`, with its labels, int64 [N], flipped."""
    claim([args.out])
    noisy = flip(labels, args.rate, args.seed)
    write(args.out, packed | {"train_labels": torch.from_numpy(noisy), "true_labels": packed["train_labels"]})
    print(f"{(noisy != labels).sum()} of {len(labels)} training labels are flipped  {args.out}")


def count_flipped(paths, flipped):
    """The `count` command: a line for each subset. flipped: bool [N], of all training samples."""
    for path in paths:
        subset, *_ = load_subset(path)
        if subset.min() < 0 or subset.max() >= len(flipped):
            fail(f"{path} holds indices outside 0 to {len(flipped) - 1}, the training set's")
        count = flipped[subset].sum()
        share = f"{100 * count / len(subset):.1f} %"
        share_of_all = f"of all {len(flipped)} {100 * flipped.mean():.1f} %"
        print(f"{path}  {count} of {len(subset)} samples are flipped, {share}  ({share_of_all})")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    flipping = commands.add_parser("flip", help="write a copy of the data set with flipped labels")
    flipping.add_argument("data", metavar="IN.pt", help="the packed data set")
    flipping.add_argument("out", metavar="OUT.pt", help="the copy to write, with the same name in another folder")
    rate = number(float, lambda rate: 0 <= rate <= 1, "at least 0 and at most 1")
    flipping.add_argument("rate", metavar="RATE", type=rate, help="share of the training labels, 0 <= RATE <= 1")
    flipping.add_argument("seed", metavar="SEED", type=SEED, help="draws the samples and their new classes")
    counting = commands.add_parser("count", help="tell how many flipped samples are in each coreset")
    counting.add_argument("data", metavar="NOISY.pt", help="what `flip` wrote")
    counting.add_argument("subsets", metavar="SUBSET.npy", nargs="+", help="what select.py wrote")
    args = parser.parse_args()

    try:
        packed = load_pt(args.data)
        labels = packed["train_labels"].numpy()
        if args.command == "count":
            true_labels = packed["true_labels"].numpy()
    except Exception as error:
        fail(f"{args.data} is not a packed data set, or not one with flipped labels ({first_line(error)})")
    if args.command == "flip":
        write_flipped(args, packed, labels)
    else:
        count_flipped(args.subsets, labels != true_labels)


if __name__ == "__main__":
    main()
