"""Audit finished runs: recompute what their files claim, and hold forgetting scores against chance.

    python tests/audit.py verify --data data runs/paper/MNIST/fcnet/seed0/forget.npy .../subset.npy .../finetuned.pt
    python tests/audit.py scores runs/*/MNIST/fcnet/seed*/forget.npy --out scores.svg

What a file is, is told by its content. verify counts scores again from the correct.npy beside them, selects coresets
again from the scores or errors among the files, counts zeros, and measures accuracies again. scores would have caught
scores that are noise.
"""

import contextlib
import io
import itertools
import json
import math
import runpy
import sys
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from prune import sparsity
from report import COLOURS, pyplot, save_figure
from train import Parser, contents, evaluate, fail, first_line, load, load_subset, restore, small_maps

SELECT = runpy.run_path(str(ROOT / "select.py"))  # an import finds the standard library's module
select, digest, load_scores, load_correct = map(SELECT.get, ("select", "digest", "load_scores", "load_correct"))
select.__globals__["fail"] = fail  # its loaders speak with this script's name


class Scores(NamedTuple):
    """What forget.py wrote; histogram and null are shares of samples by score, float64 [T + 1]."""

    path: str
    scores: np.ndarray  # int64 [N]
    labels: np.ndarray  # int64 [N]
    flags: dict
    correct: np.ndarray | None  # bool [T, N], if correct.npy is beside the scores

    @property
    def never(self):
        """The samples that were never learned, bool [N]; None if it is not known."""
        return None if self.correct is None else ~self.correct.any(0)

    @property
    def histogram(self):
        return np.bincount(self.scores, minlength=self.flags["epochs"] + 1) / len(self.scores)

    @property
    def null(self):
        """Binomial(T - 1, 1 - sum p_c^2): how often the predictions of strangers differ from one epoch to the next."""
        trials, differ = self.flags["epochs"] - 1, 1 - ((np.bincount(self.labels) / len(self.labels)) ** 2).sum()
        shares = [math.comb(trials, k) * differ**k * (1 - differ) ** (trials - k) for k in range(trials + 1)]
        return np.array([*shares, 0.0])


def read_scores(path, data):
    """The Scores in `path`; exits with one line if forget.py did not write them, or if their labels are others.

    data: the folder of the data sets; without the scores' data set in it, labels are not compared.
    """
    scores, labels, steps = load_scores(path)
    try:
        flags = steps["forget"]
        name, epochs, size, digest = (flags[key] for key in ("dataset", "epochs", "train_size", "data"))
        known = {key: flags[key] for key in ("model", "seed", "events", "positions", "batchnorm")}
        if len(scores) != size or scores.dtype.kind not in "iu":
            raise ValueError(f"it must hold {size} whole numbers")
        if type(epochs) is not int or not 0 <= scores.min() <= scores.max() <= epochs <= 1000:
            raise ValueError(f"scores of {epochs} epochs, up to 1000, lie between 0 and their number")
    except (LookupError, TypeError, ValueError) as error:
        fail(f"{path} holds no scores of forget.py ({type(error).__name__}: {first_line(error)})")
    if (Path(data) / f"{name}.pt").exists():
        truth = load(name, data)
        if truth.facts["data"] == digest and not np.array_equal(truth.train_labels.numpy(), labels):
            fail(f"{path}: its labels are not those of {data}/{name}.pt, sample by sample")
    correct = load_correct(Path(path).with_name("correct.npy"), scores, steps)
    return Scores(path, scores, labels, flags | known, correct)


# --------------------------------------------------------------------------------------------------- verification


def kind_of(path):
    """scores, subset, array (errors, or one that tells nothing of itself), or else checkpoint, by what a file holds."""
    try:
        file = contents(path)
        if not file.getvalue().startswith(b"\x93NUMPY"):
            return "checkpoint"
        dimensions, rest = np.lib.format.read_array(file).ndim, file.read()
        if rest.startswith(b"\x93NUMPY"):
            return "scores" if dimensions == 1 else "array"
        return "subset" if "select" in json.loads(rest or "{}") else "array"
    except Exception:
        return "checkpoint"


def verify(paths, args):
    """Recompute what the files claim, print a line for each, and fail if any is wrong."""
    kinds, verdicts, known = {path: kind_of(path) for path in paths}, Counter(), {}
    for path in sorted(paths, key=lambda path: kinds[path] not in ("scores", "array")):
        said = io.StringIO()
        try:
            with contextlib.redirect_stderr(said):
                if kinds[path] == "scores":
                    verdict, why = verify_scores(path, args.data, known)
                elif kinds[path] == "subset":
                    verdict, why = verify_subset(path, known)
                elif kinds[path] == "checkpoint":
                    verdict, why = verify_checkpoint(path, args)
                else:
                    array = np.ascontiguousarray(np.load(path))
                    known[digest(array)], verdict, why = array, "SKIPPED", "it does not tell what made it"
        except SystemExit:
            verdict, why = "WRONG", said.getvalue().partition("error: ")[2].strip()
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            verdict, why = "WRONG", f"it is not what a step writes ({type(error).__name__}: {first_line(error)})"
        verdicts[verdict] += 1
        print(f"{verdict:8} {path}{why and ': '}{why}", flush=True)
    if verdicts["WRONG"]:
        fail(f"{verdicts['WRONG']} of {len(paths)} files are not what they claim")


def verify_scores(path, data, known):
    """(verdict, why) on a forget.npy, counted again from the correct.npy beside it; known gets the scores."""
    one = read_scores(path, data)
    known[digest(one.scores)] = known[json.dumps(one.flags)] = one.scores
    if one.correct is None:
        return "WRONG", "there is no correct.npy of it beside it"
    if one.flags["events"] == "flipped":
        return "SKIPPED", "correct.npy tells right from wrong, not which class was predicted, so flips are not counted"
    counts = (np.diff(one.correct.astype(np.int8), axis=0) == -1).sum(0)
    if one.flags["events"] == "toneva":
        counts[one.never] = len(one.correct)
    different = int((counts != one.scores).sum())
    return ("WRONG", f"{different} scores differ from the count") if different else ("OK", "")


def verify_subset(path, known):
    """(verdict, why) on a subset, selected again from the scores that it names."""
    subset, steps = load_subset(path)
    flags = steps["select"]
    if "scores" not in flags and flags["order"] not in ("low", "high", "random"):
        return "SKIPPED", "it does not tell the digest of its errors"
    scores = known.get(flags.get("scores", json.dumps(steps.get("forget"))))  # a digest; older subsets have none
    if scores is None:
        return "WRONG", "none of the files given has the scores that it was selected from"
    choice = {key: flags[key] for key in ("order", "ratio", "seed", "ties", "cut") if key in flags}
    same = np.array_equal(subset, select(scores, **choice))
    return ("OK", "") if same else ("WRONG", "another selection from its scores, with its seed")


def verify_checkpoint(path, args):
    """(verdict, why) on a checkpoint: the sparsity of its weights, and its accuracy, measured again."""
    checkpoint, net, data = restore(path, args)
    flags = list(checkpoint["args"].values())[-1]
    if "zeros" in flags and any(flags[key] != count for key, count in sparsity(net).items()):
        return "WRONG", f"it claims {flags['zeros']} zeros, its weights have {sparsity(net)['zeros']}"
    pruned = [of["zeros"] for step, of in checkpoint["args"].items() if step.split("-")[0] == "prune"]
    if flags.get("mask") == "hold" and flags["zeros"] < max(pruned, default=0):
        return "WRONG", "pruned weights are no longer zero"
    with small_maps(net):
        accuracy, _ = evaluate(net, data, flags.get("precision", args.precision))
    claimed = checkpoint["accuracy"][-1]
    two_images = 200.1 / len(data.test_labels)  # that another machine's rounding may move over a border
    same = abs(accuracy - claimed) <= two_images
    return ("OK", "") if same else ("WRONG", f"it claims {claimed:.2f} %, and has {accuracy:.2f} %")


# --------------------------------------------------------------------------------------------------------- scores


def score_notes(files):
    """Lines that hold scores against chance and against each other, and tell their ties."""
    lines = []
    for one in files:
        flags, size, values = one.flags, len(one.scores), np.arange(len(one.histogram))
        lines.append(f"{one.path}: {flags['dataset']} {flags['model']} seed {flags['seed']}, {size} samples")
        lines.append(f"  events {flags['events']}, positions {flags['positions']}, batchnorm {flags['batchnorm']}")
        shares = zip(values, 100 * one.histogram, 100 * one.null)
        lines += [f"  score {k}: {share:6.2f} %  binomial {null:6.2f} %" for k, share, null in shares]
        distance = abs(one.histogram - one.null).sum() / 2
        lines.append(
            f"  mean {one.scores.mean():.3f}, binomial {(values * one.null).sum():.3f}; total variation distance from "
            f"Binomial({flags['epochs'] - 1}, 1 - sum p^2), the scores of noise: {distance:.3f}"
        )
        if one.never is not None:
            scored = Counter(one.scores[one.never].tolist())
            where = ", ".join(f"{n} score {k}" for k, n in sorted(scored.items()))
            lines.append(f"  never learned: {one.never.sum()} samples" + (f" ({where})" if scored else ""))
        ordered = np.sort(one.scores)
        for ratio in (0.1, 0.2, 0.3, 0.4, 0.5):
            m, parts = round(ratio * size), []
            for order, inside in (("low", ordered[:m]), ("high", ordered[size - m :])):
                cut = inside[-1] if order == "low" else inside[0]
                tied = (inside == cut).mean() if (one.scores == cut).sum() > (inside == cut).sum() else 0.0
                parts.append(f"{order} cut at {cut}, {100 * tied:.0f} % of it by lot among {(one.scores == cut).sum()}")
            lines.append(f"  ratio {ratio:g}: " + "; ".join(parts))
    for one, other in itertools.combinations(files, 2):
        if len(one.scores) != len(other.scores):
            fail(f"{one.path} and {other.path} are scores of different data sets; report them apart")
        high = set(select(one.scores, "high", 0.1, 0))  # ties by lots of their own, or strangers would agree
        theirs, low = (set(select(other.scores, order, 0.1, 1)) for order in ("high", "low"))
        lines.append(
            f"{one.path} and {other.path}: correlation {np.corrcoef(one.scores, other.scores)[0, 1]:.3f}; of the "
            f"first's highest tenth, {100 * len(high & theirs) / len(high):.0f} % are in the second's highest and "
            f"{100 * len(high & low) / len(high):.0f} % in its lowest tenth (strangers: 10 %)"
        )
    return lines


def figure_scores(files, out):
    """The distribution of the scores, a panel per file: never-learned samples marked, noise beside shuffled ones."""
    plt = pyplot()
    shape = {"figsize": (3.5, 0.6 + 1.7 * len(files)), "squeeze": False, "layout": "constrained", "sharex": True}
    figure, axes = plt.subplots(len(files), 1, **shape)
    for axis, one in zip(axes.flat, files):
        x, never = np.arange(len(one.histogram)), np.zeros(len(one.histogram))
        if one.never is not None:
            never = np.bincount(one.scores[one.never], minlength=len(x)) / len(one.scores)
        learned, flags = 100 * (one.histogram - never), one.flags
        axis.bar(x, learned, 0.7, color=COLOURS["low"], label="learned once", gid="learned")
        axis.bar(x, 100 * never, 0.7, bottom=learned, color=COLOURS["high"], label="never learned", gid="never")
        if flags["positions"] == "shuffled":
            axis.plot(x, 100 * one.null, "D", ms=3, color=COLOURS["base"], label="noise (binomial)", gid="chance")
        axis.set_ylabel("samples (%)")
        how = f"{flags['events']}, positions {flags['positions']}"
        axis.set_title(f"{flags['model']} on {flags['dataset']}, seed {flags['seed']}: {how}", fontsize=7)
        axis.legend(fontsize=7)
    axes[-1, 0].set_xlabel("forgetting score (events)")
    axes[-1, 0].set_xticks(np.arange(max(len(one.histogram) for one in files)))
    save_figure(figure, out)


def main():
    parser = Parser(__doc__)
    parser.add_argument("what", choices=["verify", "scores"], help="recompute claims; scores against chance")
    parser.add_argument("inputs", nargs="+", metavar="IN", help="files of verify; forget.npy files of scores")
    parser.add_device_flags()
    parser.add_argument("--out", metavar="FILE", help="figure of scores to write (default: none)")
    args = parser.start("out")
    if args.what == "verify":
        return verify(args.inputs, args)
    files = [read_scores(path, args.data) for path in args.inputs]
    if args.out:
        figure_scores(files, args.out)
    print("\n".join(score_notes(files)))


if __name__ == "__main__":
    main()
