"""Step 2 of the method: choose a coreset by forgetting score (section 4.2).

    python select.py --scores forget.npy --order low --ratio 0.1 --out low.npy

Forgetting scores are small integers and thousands of samples tie. Ties are
broken at random, by a draw from the seed; --ties index takes the first in the
file, from either end, as the authors' released program did. With one seed, a
smaller coreset is part of a larger one of the same order. Needs numpy alone.

Two orders of others go by the errors that forget.py --errors writes, [N, C], in
the place of scores:

el2n   the largest L2 norms (Paul et al., 2021)
ccs    without the --cut of largest norm, evenly from 50 strata of the others
       (Zheng et al., 2023)
"""

import argparse
import contextlib
import hashlib
import io
import json
import os
import platform
import signal
import sys
from pathlib import Path

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends the program without a traceback, while it loads, too

import numpy as np

BY_ERRORS = ("el2n", "ccs")
ORDERS = ("high", "low", "random", *BY_ERRORS)
CUT = 0.3  # what ccs leaves out, unless --cut says otherwise


def select(scores, order, ratio, seed, ties="random", cut=CUT):
    """The M = round(ratio * N) indices of the coreset, int64 [M], ascending.

    scores: [N], or for BY_ERRORS errors [N, C]; order: of ORDERS; ties at the border: "random" draws from
    `seed`, "index" takes the first; cut: the share that ccs leaves out.
    """
    rng = np.random.default_rng([seed, 0])  # stream 0 of the seed; train.py says who draws from the others
    places = rng.permutation(len(scores))  # of equal scores, the one with the lower place comes first
    by_chance = rng.permutation(len(scores))  # a draw of its own, so that random leans to neither low nor high
    m = round(ratio * len(scores))
    if scores.ndim == 2:
        scores = norms(scores)
    if ties == "index":
        places = np.arange(len(scores))
        if order in ("high", "el2n"):
            places = -places
    by_score = np.lexsort((places, scores))
    if order == "low":
        chosen = by_score[:m]
    elif order in ("high", "el2n"):
        chosen = by_score[len(scores) - m :]
    elif order == "random":
        chosen = by_chance[:m]
    else:
        left = len(scores) - round(cut * len(scores))
        chosen = cover(by_score[:left], scores, m, places)
    return np.sort(chosen)


def norms(errors):
    """The L2 norm of each row, float64 [N].

    Rows are scaled by powers of two, so that no square overflows or vanishes; that rounds nothing.
    """
    errors = errors.astype(np.float64, copy=False)
    _, exponents = np.frexp(np.abs(errors).max(1))
    scaled = np.ldexp(errors, -exponents[:, None])
    return np.ldexp(np.sqrt(np.einsum("ij,ij->i", scaled, scaled)), exponents)


def cover(candidates, scores, m, places, strata=50):
    """m of the candidates, evenly from strata of equal width in score; what a small stratum lacks, others give.

    The smallest stratum comes first, and each gives an equal share of what is missing, or all it has: those of the
    lowest `places`.
    """
    inside = scores[candidates]
    width = (inside.max() * 1.0001 - inside.min()) / strata  # the largest score lies within the last one
    stratum = ((inside - inside.min()) / (width or 1)).astype(int)
    smallest_first = np.argsort(np.bincount(stratum, minlength=strata), kind="stable")
    chosen = []
    for done, k in enumerate(smallest_first):
        share = (m - len(chosen)) // (strata - done)
        members = candidates[stratum == k]
        chosen += sorted(members, key=places.__getitem__)[:share]
    return np.array(chosen)


def digest(scores):
    """What tells these scores from others: 16 hexadecimal digits."""
    return hashlib.sha256(scores).hexdigest()[:16]


def describe(scores, subset, order, ratio, seed, ties, labels=None, correct=None):
    """Lines on the coreset: size, scores, ties at the border, what the other end shares, classes, never-learned."""
    inside = scores[subset]
    lines = [f"{order} {ratio:g}: {len(subset)} of {len(scores)} samples, scores {inside.min():g} to {inside.max():g}"]
    if order in ("low", "high", "el2n"):
        lines += describe_ties(scores, subset, order, ratio, seed, ties)
    if labels is not None:
        counts = np.bincount(labels[subset], minlength=labels.max() + 1)
        lines.append(f"a class has {counts.min()} to {counts.max()}, mean {counts.mean():.1f}")
    if correct is not None:
        never = ~correct.any(0)
        lines.append(f"{never[subset].sum()} of the {never.sum()} never learned")
    return lines


def describe_ties(scores, subset, order, ratio, seed, ties):
    """Lines on a coreset of one end: how many score as its border does, and what the other end shares."""
    inside = scores[subset]
    if order == "low":
        border = inside.max()
        other = "high"
    else:
        border = inside.min()
        other = "low"
    how = {"random": "at random", "index": "by index"}[ties]
    lines = []
    if scores.min() == scores.max():
        lines.append(f"all scores are equal, so {order} is chosen {how} alone")
    lines.append(f"{(inside == border).sum()} of the {(scores == border).sum()} that score {border:g}, {how}")
    if order != "el2n":  # low goes by other scores
        shared = np.intersect1d(subset, select(scores, other, ratio, seed, ties))
        if len(shared):
            lines.append(f"{len(shared)} are in the coreset of {other} {ratio:g}, too")
    return lines


def fail(message, status=1):
    """End the program with one line on stderr, or none if that is closed: print would take stdout."""
    if sys.stderr is not None:
        print(printable(f"select.py: error: {message}"), file=sys.stderr)
    sys.exit(status)


def printable(text):
    """The text with characters that a terminal would obey shown escaped."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def read(path, kinds):
    """The array at the start of a .npy, whose dtype is of one of `kinds`, and a handle at what stands behind it."""
    try:
        if not Path(path).is_file():
            raise FileNotFoundError("there is no such file")
        file = io.BytesIO(Path(path).read_bytes())
        array = np.ascontiguousarray(np.lib.format.read_array(file))
    except Exception as error:
        fail(f"cannot read {path} ({str(error).splitlines()[0][:200] if str(error) else type(error).__name__})")
    if array.dtype.kind not in kinds or array.size == 0 or (array.dtype.kind == "f" and not np.isfinite(array).all()):
        fail(f"{path} must hold finite numbers, one per sample, not {array.dtype} {list(array.shape)}")
    return array, file


def load_scores(path, ndim=1):
    """Scores [N] (or errors [N, C]), labels int64 [N] or None, and the flags that made them, from forget.py's file."""
    scores, rest = read(path, "iuf")
    labels, steps = None, {}
    try:
        if rest.read(1):
            rest.seek(-1, 1)
            labels = np.lib.format.read_array(rest)
            steps = json.loads(rest.read())
            check_labels(labels, len(scores))
            check_flags(steps)
    except Exception as error:
        fail(f"{path} has scores and something else than forget.py writes behind them ({error})")
    wanted = {1: "one number per sample [N]", 2: "errors [N, C], as forget.py --errors writes them"}
    if scores.ndim != ndim:
        fail(f"{path} must hold {wanted[ndim]}, not {scores.dtype} {list(scores.shape)}")
    if ndim == 2 and float(np.abs(scores).max()) > 1e300:
        fail(f"{path} has errors above 1e300, which are none")
    return scores, labels, steps


def check_labels(labels, size):
    """ValueError unless the labels are a class, int64, for each of `size` samples."""
    if labels.dtype != np.int64 or labels.shape != (size,):
        raise ValueError("its labels are not one class per sample")
    if labels.min() < 0 or labels.max() >= 1000:
        raise ValueError("its labels are no classes from 0 to 999")


def check_flags(steps):
    """ValueError unless the steps are {"forget": {flag: number or text}}."""
    if not isinstance(steps, dict) or list(steps) != ["forget"] or not isinstance(steps["forget"], dict):
        raise ValueError("its flags are not those of forget.py")
    for flag, value in steps["forget"].items():
        if not isinstance(value, (int, float, str)):
            raise ValueError(f"its flag {flag} is neither a number nor text")


def load_correct(path, scores, steps):
    """correct.npy, bool [T, N], if it lies beside scores that forget.py made and is of them, else None."""
    if not path.exists() or "forget" not in steps:
        return None
    correct, _ = read(path, "b")
    if correct.shape != (steps["forget"].get("epochs"), len(scores)):
        return None
    return correct


def agrees(correct, scores, labels, events):
    """Whether correct.npy, bool [T, N], can be of these scores, int [N], or errors, float [N, C]: they are told again.

    Of flips it tells only those that change right into wrong, or wrong into right; of errors, with a margin for
    rounding, which samples were right at the end.
    """
    if scores.ndim == 2:
        answers = scores.copy()
        answers[np.arange(len(labels)), labels] += 1
        return (correct[-1] == (answers.argmax(1) == labels)).mean() > 0.99
    forgotten = (correct[:-1] & ~correct[1:]).sum(0)
    if events == "forgotten":
        return np.array_equal(forgotten, scores)
    if events == "toneva":
        forgotten[~correct.any(0)] = len(correct)
        return np.array_equal(forgotten, scores)
    return bool(((correct[:-1] != correct[1:]).sum(0) <= scores).all())


def write(path, inputs, subset, steps):
    """The .npy appears whole or not at all; the flags stand behind the array, where np.load does not look.

    path: none of the inputs, through links, too.
    """
    target = Path(os.path.realpath(path))
    partial = Path(f"{target}.{platform.node()}.{os.getpid()}.tmp")
    try:
        if not path or target.exists() and not target.is_file():
            raise OSError("it is no regular file")
        if target in [Path(os.path.realpath(source)) for source in inputs]:
            raise OSError("it is an input, too; give it a path of its own")
        target.parent.mkdir(parents=True, exist_ok=True)
        with open(partial, "wb") as file:
            np.save(file, subset)
            file.write(f"\n{json.dumps(steps)}\n".encode())
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, target)
    except OSError as error:
        with contextlib.suppress(OSError):
            partial.unlink()
        fail(f"cannot write '{path}' ({error.strerror or error})")


def number(kind, holds, words):
    """An argparse type: a number of `kind` for which `holds`. train.py has the same; this script starts without it."""

    def parse(text):
        value = kind(text)
        if not holds(value):
            raise argparse.ArgumentTypeError(f"{text} is not {words}")
        return value

    parse.__name__ = kind.__name__
    return parse


def how_ties_break(text):
    """An argparse type: random or index."""
    if text == "lot":
        raise argparse.ArgumentTypeError("--ties lot is now called random")
    if text not in ("random", "index"):
        raise argparse.ArgumentTypeError(f"{text} is neither random nor index")
    return text


def parse_flags():
    """The flags of the command line, checked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.error = lambda message: fail(f"{message} (see --help)", 2)
    parser.add_argument("--scores", required=True, metavar="IN.npy", help="a score per training sample, [N], or errors")
    parser.add_argument("--order", required=True, choices=ORDERS, help="which samples to keep")
    ratio = number(float, lambda ratio: 0 < ratio <= 1, "above 0 and at most 1")
    parser.add_argument("--ratio", required=True, type=ratio, help="share of the training set, 0 < R <= 1")
    parser.add_argument(
        "--ties",
        type=how_ties_break,
        default="random",
        help="which of equal scores to keep: random or index (default: random)",
    )
    seed = number(int, lambda seed: 0 <= seed < 2**32, "a whole number from 0 to 2**32 - 1")
    parser.add_argument("--seed", type=seed, default=0, help="of what is drawn (default: %(default)s)")
    share = number(float, lambda share: 0 <= share < 1, "at least 0 and below 1")
    parser.add_argument("--cut", type=share, help=f"share that ccs leaves out (default: {CUT})")
    parser.add_argument("--out", required=True, metavar="OUT.npy", help="the indices to write, int64 [M]")
    args = parser.parse_args()
    if args.cut is not None and args.order != "ccs":
        parser.error(f"argument --cut: {args.order} leaves nothing out, only ccs does")
    return args


def main():
    args = parse_flags()
    by_errors = args.order in BY_ERRORS
    scores, labels, steps = load_scores(args.scores, 2 if by_errors else 1)
    choice = {
        "order": args.order,
        "ratio": args.ratio,
        "seed": args.seed,
        "ties": args.ties,
    }
    if args.order == "ccs":
        choice["cut"] = CUT if args.cut is None else args.cut
        if round(args.ratio * len(scores)) > len(scores) - round(choice["cut"] * len(scores)):
            fail(f"--cut {choice['cut']:g} leaves less than --ratio {args.ratio:g} of the samples")
    subset = select(scores, **choice)
    if len(subset) == 0:
        fail(f"--ratio {args.ratio} of {len(scores)} samples is none")
    facts = {"scores": digest(scores), "train_size": len(scores)}
    if "forget" not in steps:
        facts["name"] = printable(Path(args.scores).stem)
    beside = Path(args.scores).with_name("correct.npy")
    correct = load_correct(beside, scores, steps)
    write(args.out, [args.scores, beside], subset, steps | {"select": choice | facts})
    if correct is not None and not agrees(correct, scores, labels, steps["forget"].get("events")):
        correct = None
    if steps.get("forget", {}).get("positions") == "shuffled":  # a place is another sample in every epoch
        correct = None
    if by_errors:
        scores = norms(scores)
    with contextlib.suppress(OSError):  # a reader that has gone: the coreset is written
        for line in describe(scores, subset, args.order, args.ratio, args.seed, args.ties, labels, correct):
            print(f"select   {line}", flush=True)


if __name__ == "__main__":
    main()

if __name__ == "select":
    # Python puts this folder first on its path, so here `import select`, which subprocess and through it torch do,
    # finds this file in place of the standard library's module. Be that module then, names and all.
    import importlib.machinery
    import importlib.util

    _path = [folder for folder in sys.path if not os.path.exists(os.path.join(folder, "select.py"))]
    _spec = importlib.machinery.PathFinder.find_spec("select", _path)
    _module = importlib.util.module_from_spec(_spec)
    _spec.loader.exec_module(_module)
    globals().update(vars(_module))
