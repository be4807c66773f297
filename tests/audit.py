"""Audit finished runs: recompute what files claim, compare scores with chance.

    R=runs/paper/MNIST/fcnet/seed0
    python tests/audit.py verify $R/forget.npy $R/low-0.1/subset.npy
    python tests/audit.py scores $R/forget.npy --out scores.svg

What a file is, is told by its content. verify counts scores again from the
correct.npy beside them, selects coresets again from the scores or errors among
the files, counts zeros, and measures accuracies again. scores would have caught
scores that are noise.
"""

import contextlib
import io
import itertools
import json
import math
import os
import runpy
import signal
import sys
from collections import Counter
from pathlib import Path
from typing import NamedTuple

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends the program without a traceback, while it loads, too

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from prune import sparsity
from report import COLOURS, pyplot, save_figure
from train import Parser, contents, evaluate, fail, first_line, load, load_subset, restore, small_maps

SELECT = runpy.run_path(str(ROOT / "select.py"))  # an import finds the standard library's module
select = SELECT["select"]
digest = SELECT["digest"]
load_scores = SELECT["load_scores"]
load_correct = SELECT["load_correct"]
select.__globals__["fail"] = fail  # its loaders speak with this script's name

FLAGS_OF_SCORES = ("dataset", "model", "seed", "epochs", "train_size", "data", "events", "positions", "batchnorm")
RATIOS = (0.1, 0.2, 0.3, 0.4, 0.5)  # of coresets, at whose cuts ties are told


class Scores(NamedTuple):
    """What forget.py wrote; histogram and null are shares of samples by score, float64 [T + 1]."""

    path: str
    scores: np.ndarray  # int64 [N]
    labels: np.ndarray  # int64 [N]
    flags: dict
    correct: np.ndarray | None  # bool [T, N], if correct.npy is beside the scores

    @property
    def never(self):
        """The samples that were never learned, bool [N]; None if it is not known, as of places that change samples."""
        if self.correct is None or self.flags["positions"] == "shuffled":
            return None
        return ~self.correct.any(0)

    @property
    def histogram(self):
        return np.bincount(self.scores, minlength=self.flags["epochs"] + 1) / len(self.scores)

    @property
    def null(self):
        """Binomial(T - 1, 1 - sum p_c^2): how often the predictions of strangers differ from one epoch to the next."""
        trials = self.flags["epochs"] - 1
        differ = 1 - ((np.bincount(self.labels) / len(self.labels)) ** 2).sum()
        shares = [math.comb(trials, k) * differ**k * (1 - differ) ** (trials - k) for k in range(trials + 1)]
        return np.array([*shares, 0.0])


def read_scores(path, data):
    """The Scores in `path`; exits with one line if forget.py did not write them, or if their labels are others.

    data: the folder of the data sets; without the scores' data set in it, labels are not compared.
    """
    scores, labels, steps = load_scores(path)
    try:
        flags = steps["forget"]
        require_scores(scores, flags)
    except (LookupError, TypeError, ValueError) as error:
        fail(f"{path} holds no scores of forget.py ({type(error).__name__}: {first_line(error)})")
    dataset = flags["dataset"]
    if (Path(data) / f"{dataset}.pt").exists():
        truth = load(dataset, data)
        same_data = truth.facts["data"] == flags["data"]
        if same_data and not np.array_equal(truth.train_labels.numpy(), labels):
            fail(f"{path}: its labels are not those of {data}/{dataset}.pt, sample by sample")
    correct = load_correct(Path(path).with_name("correct.npy"), scores, steps)
    return Scores(path, scores, labels, flags, correct)


def require_scores(scores, flags):
    """LookupError, TypeError or ValueError if these are not scores that forget.py makes with these flags."""
    missing = [flag for flag in FLAGS_OF_SCORES if flag not in flags]
    if missing:
        raise LookupError(f"it does not tell {', '.join(missing)}")
    if len(scores) != flags["train_size"] or scores.dtype.kind not in "iu":
        raise ValueError(f"it must hold {flags['train_size']} whole numbers")
    epochs = flags["epochs"]
    if type(epochs) is not int or not 0 <= scores.min() <= scores.max() <= epochs <= 1000:
        raise ValueError(f"scores of {epochs} epochs, up to 1000, lie between 0 and their number")


def say(line):
    """Print a line at once; exits with one line where there is no room for it."""
    try:
        print(line, flush=True)
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # or Python tries again at its end
        fail(f"cannot print ({first_line(error)})")


# --------------------------------------------------------------------------------------------------- verification


def kind_of(path):
    """scores, subset, array (errors, or one that tells nothing of itself), or else checkpoint, by what a file holds."""
    try:
        file = contents(path)
        if not file.getvalue().startswith(b"\x93NUMPY"):
            return "checkpoint"
        array = np.lib.format.read_array(file)
        rest = file.read()
        if rest.startswith(b"\x93NUMPY"):
            return "scores" if array.ndim == 1 else "array"
        return "subset" if "select" in json.loads(rest or "{}") else "array"
    except Exception:
        return "checkpoint"


def verify(paths, args):
    """Recompute what the files claim, print a line for each, and fail if any is wrong."""
    kinds = {path: kind_of(path) for path in paths}
    scores_first = sorted(paths, key=lambda path: kinds[path] not in ("scores", "array"))
    known = {}  # scores or errors, by what subsets call them
    verdicts = Counter()
    for path in scores_first:
        verdict, why = verdict_on(path, kinds[path], known, args)
        verdicts[verdict] += 1
        say(f"{verdict:8} {path}: {why}" if why else f"{verdict:8} {path}")
    if verdicts["WRONG"]:
        fail(f"{verdicts['WRONG']} of {len(paths)} files are not what they claim")


def verdict_on(path, kind, known, args):
    """(verdict, why) on a file of that kind, which is WRONG, too, where a step would refuse to read it."""
    refusal = io.StringIO()
    try:
        with contextlib.redirect_stderr(refusal):
            if kind == "scores":
                return verify_scores(path, args.data, known)
            if kind == "array":
                return verify_array(path, known)
            if kind == "subset":
                return verify_subset(path, known)
            return verify_checkpoint(path, args)
    except SystemExit:
        return "WRONG", refusal.getvalue().partition("error: ")[2].strip()
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        return "WRONG", f"it is not what a step writes ({type(error).__name__}: {first_line(error)})"


def verify_scores(path, data, known):
    """(verdict, why) on a forget.npy, counted again from the correct.npy beside it; known gets the scores."""
    one = read_scores(path, data)
    known[digest(one.scores)] = one.scores
    known[json.dumps(one.flags)] = one.scores  # older subsets name no digest
    if one.correct is None:
        return "WRONG", "there is no correct.npy of it beside it"
    if one.flags["events"] == "flipped":
        return "SKIPPED", "correct.npy tells right from wrong, not which class was predicted, so flips are not counted"
    right = one.correct.astype(np.int8)
    counts = (np.diff(right, axis=0) == -1).sum(0)
    if one.flags["events"] == "toneva":
        counts[~one.correct.any(0)] = len(one.correct)
    different = int((counts != one.scores).sum())
    if different:
        return "WRONG", f"{different} scores differ from the count"
    return "OK", ""


def verify_array(path, known):
    """(verdict, why) on an array that is no claim by itself, such as errors; known gets it."""
    array = np.ascontiguousarray(np.load(path))
    known[digest(array)] = array
    return "SKIPPED", "it does not tell what made it"


def verify_subset(path, known):
    """(verdict, why) on a subset, selected again from the scores that it names."""
    subset, steps = load_subset(path)
    flags = steps["select"]
    if "scores" not in flags and flags["order"] not in ("low", "high", "random"):
        return "SKIPPED", "it does not tell the digest of its errors"
    name = flags.get("scores", json.dumps(steps.get("forget")))  # a digest; older subsets have none
    if name not in known:
        return "WRONG", "none of the files given has the scores that it was selected from"
    choice = {key: flags[key] for key in ("order", "ratio", "seed", "ties", "cut") if key in flags}
    if not np.array_equal(subset, select(known[name], **choice)):
        return "WRONG", "another selection from its scores, with its seed"
    return "OK", ""


def verify_checkpoint(path, args):
    """(verdict, why) on a checkpoint: the sparsity of its weights, and its accuracy, measured again."""
    checkpoint, net, data = restore(path, args)
    flags = list(checkpoint["args"].values())[-1]
    counts = sparsity(net)
    if "zeros" in flags and any(flags[name] != count for name, count in counts.items()):
        return "WRONG", f"it claims {flags['zeros']} zeros, its weights have {counts['zeros']}"
    if flags.get("mask") == "hold" and flags["zeros"] < most_zeros(checkpoint):
        return "WRONG", "pruned weights are no longer zero"
    with small_maps(net):
        accuracy, _ = evaluate(net, data, flags.get("precision", args.precision))
    claimed = checkpoint["accuracy"][-1]
    two_images = 200.1 / len(data.test_labels)  # that another machine's rounding may move over a border
    if not abs(accuracy - claimed) <= two_images:
        return "WRONG", f"it claims {claimed:.2f} %, and has {accuracy:.2f} %"
    return "OK", ""


def most_zeros(checkpoint):
    """The most zeros that a pruning left, or 0."""
    prunings = [flags for step, flags in checkpoint["args"].items() if step.split("-")[0] == "prune"]
    return max((flags["zeros"] for flags in prunings), default=0)


# --------------------------------------------------------------------------------------------------------- scores


def score_notes(files):
    """Lines that hold scores against chance and against each other, and tell their ties."""
    lines = []
    for one in files:
        lines += chance_lines(one)
        lines += tie_lines(one)
    for one, other in itertools.combinations(files, 2):
        lines.append(pair_line(one, other))
    return lines


def chance_lines(one):
    """What was scored and how, and the distribution of the scores beside that of noise."""
    flags = one.flags
    values = np.arange(len(one.histogram))
    null_mean = (values * one.null).sum()
    distance = abs(one.histogram - one.null).sum() / 2
    lines = [
        f"{one.path}: {flags['dataset']} {flags['model']} seed {flags['seed']}, {len(one.scores)} samples",
        f"  events {flags['events']}, positions {flags['positions']}, batchnorm {flags['batchnorm']}",
    ]
    for score, share, null in zip(values, one.histogram, one.null, strict=True):
        lines.append(f"  score {score}: {100 * share:6.2f} %  binomial {100 * null:6.2f} %")
    lines.append(
        f"  mean {one.scores.mean():.3f}, binomial {null_mean:.3f}; total variation distance from "
        f"Binomial({flags['epochs'] - 1}, 1 - sum p^2), the scores of noise: {distance:.3f}"
    )
    if one.never is not None:
        lines.append(f"  never learned: {one.never.sum()} samples{scores_of_never(one)}")
    return lines


def scores_of_never(one):
    """What samples score that were never learned, in brackets; "" if there are none."""
    counts = Counter(one.scores[one.never].tolist())
    if not counts:
        return ""
    return f" ({', '.join(f'{count} score {score}' for score, count in sorted(counts.items()))})"


def tie_lines(one):
    """Which score a coreset is cut at, and how much of it equal scores leave to the draw, a line per data ratio."""
    ordered = np.sort(one.scores)
    lines = []
    for ratio in RATIOS:
        size = round(ratio * len(ordered))
        low = cut_in_words("low", ordered[:size], ordered[size - 1], ordered)
        high = cut_in_words("high", ordered[-size:], ordered[-size], ordered)
        lines.append(f"  ratio {ratio:g}: {low}; {high}")
    return lines


def cut_in_words(order, chosen, cut, scores):
    """At which score a coreset is cut, and what share of it is drawn among equals; chosen: its scores."""
    tied = (scores == cut).sum()
    at_cut = (chosen == cut).sum()
    drawn = at_cut if tied > at_cut else 0
    return f"{order} cut at {cut}, {100 * drawn / len(chosen):.0f} % of it at random among {tied}"


def pair_line(one, other):
    """How far two runs score the same samples alike; exits with one line if they score other data sets."""
    if len(one.scores) != len(other.scores):
        fail(f"{one.path} and {other.path} are scores of different data sets; report them apart")
    high = set(select(one.scores, "high", 0.1, 0))  # ties by draws of their own, or strangers would agree
    other_high = set(select(other.scores, "high", 0.1, 1))
    other_low = set(select(other.scores, "low", 0.1, 1))
    return (
        f"{one.path} and {other.path}: {correlation_in_words(one, other)}; of the "
        f"first's highest tenth, {100 * len(high & other_high) / len(high):.0f} % are in the second's highest and "
        f"{100 * len(high & other_low) / len(high):.0f} % in its lowest tenth (strangers: 10 %)"
    )


def correlation_in_words(one, other):
    """Pearson's correlation, which scores that are all equal have with none."""
    for scores in (one, other):
        if scores.scores.min() == scores.scores.max():
            return f"no correlation, since all scores of {scores.path} are {scores.scores[0]}"
    return f"correlation {np.corrcoef(one.scores, other.scores)[0, 1]:.3f}"


def figure_scores(files, out):
    """The distribution of the scores, a panel per file: never-learned samples marked, noise beside shuffled ones."""
    size = 3.5, 0.6 + 1.7 * len(files)
    figure, axes = pyplot().subplots(len(files), 1, figsize=size, squeeze=False, layout="constrained", sharex=True)
    for axis, one in zip(axes.flat, files, strict=True):
        draw_scores(axis, one)
    axes[-1, 0].set_xlabel("forgetting score (events)")
    axes[-1, 0].set_xticks(np.arange(max(len(one.histogram) for one in files)))
    save_figure(figure, out)


def draw_scores(axis, one):
    """The distribution of one file's scores, with its title and legend."""
    flags = one.flags
    values = np.arange(len(one.histogram))
    shares = 100 * one.histogram
    if one.never is None:
        axis.bar(values, shares, 0.7, color=COLOURS["low"], label="samples", gid="samples")
    else:
        never = 100 * np.bincount(one.scores[one.never], minlength=len(values)) / len(one.scores)
        axis.bar(values, shares - never, 0.7, color=COLOURS["low"], label="learned once", gid="learned")
        axis.bar(values, never, 0.7, bottom=shares - never, color=COLOURS["high"], label="never learned", gid="never")
    if flags["positions"] == "shuffled":
        axis.plot(values, 100 * one.null, "D", ms=3, color=COLOURS["base"], label="noise (binomial)", gid="chance")
    axis.set_ylabel("samples (%)")
    scoring = f"{flags['events']}, positions {flags['positions']}"
    axis.set_title(f"{flags['model']} on {flags['dataset']}, seed {flags['seed']}: {scoring}", fontsize=7)
    axis.legend(fontsize=7)


def main():
    parser = Parser(__doc__)
    parser.add_argument("what", choices=["verify", "scores"], help="recompute claims; scores against chance")
    parser.add_argument("inputs", nargs="+", metavar="IN", help="files of verify; forget.npy files of scores")
    parser.add_device_flags()
    parser.add_argument("--out", metavar="FILE", help="figure of scores to write (default: none)")
    args = parser.start("out")
    if args.what == "verify":
        verify(args.inputs, args)
        return

    files = [read_scores(path, args.data) for path in args.inputs]
    for one in files:
        if len(one.scores) < 10:
            fail(f"{one.path}: {len(one.scores)} samples have no tenth to compare")
    if args.out:
        figure_scores(files, args.out)
    for line in score_notes(files):
        say(line)


if __name__ == "__main__":
    main()
