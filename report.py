"""The paper's Table 1 and Figures 1 and 2 from the files of any runs, with the statistics that the paper asks for.

    python report.py table runs/paper/CIFAR100/resnet18/seed*/*/p*/finetuned.pt --format markdown
    python report.py figure1 tests/results/lenet-mnist-paper.csv --out figure1.svg

Every number is the test accuracy after the last epoch of fine-tuning, in %. Differences are paired: within a seed, all
networks start from the same initial weights and are fine-tuned on the same order of samples. A csv that `report.py
cells` wrote stands for the checkpoints it was made from. Figures need matplotlib.
"""

import csv
import io
import itertools
import json
import math
import runpy
import statistics
from collections import Counter, defaultdict
from pathlib import Path
from typing import NamedTuple

import numpy as np

from prune import sparsity
from train import DATASETS, Parser, evaluate, fail, first_line, load_subset, read, replacing, restore, small_maps

SETTINGS = ("events", "positions", "batchnorm", "mask")
PROTOCOLS = {  # the values of SETTINGS; in between, each departure of the authors' program alone
    "paper": ("forgotten", "fixed", "train", "hold"),
    "shuffled": ("forgotten", "shuffled", "train", "hold"),
    "flipped": ("flipped", "fixed", "train", "hold"),
    "frozen": ("forgotten", "fixed", "frozen", "hold"),
    "unheld": ("forgotten", "fixed", "train", "release"),
    "released": ("flipped", "shuffled", "frozen", "release"),
}
ORDERS = ("low", "high", "random", "matched", "none")  # as tables and figures show them, after base
COLOURS = dict(zip(("base", *ORDERS), ("#000000", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#999999")))  # Okabe-Ito
PUBLISHED = Path(__file__).parent / "tests" / "data" / "published_accuracies.csv"


# ---------------------------------------------------------------------------------------------------------- cells


class Cell(NamedTuple):
    """One finetuned.pt, or the line of a csv that stands for it; "" is a setting that the cell does not depend on."""

    dataset: str
    model: str
    train_size: int
    test_size: int
    data: str  # digest
    events: str
    positions: str
    batchnorm: str
    mask: str
    epochs: str
    tune_epochs: str
    lr: str
    batch_size: str
    precision: str
    order: str  # base, or one of ORDERS
    data_ratio: float  # 1 for base, 0 for none
    prune_ratio: float
    seed: int
    dense: float  # % after the first training
    worst_class: float  # % of that network's worst class
    class_sd: float  # standard deviation of its accuracy over classes, in percentage points
    curve: str  # % after pruning, and after every epoch of fine-tuning
    trained: int  # samples times epochs, of both trainings
    parameters: int
    nonzero: int  # parameters less the pruned weights that are zero
    live: int  # prunable weights that can get a gradient
    live_nonzero: int
    first_seconds: float  # of the first training, which cells of several prune ratios share
    seconds: float  # of pruning and fine-tuning
    device: str
    versions: str

    @property
    def key(self):
        return self.order, self.data_ratio, self.prune_ratio, self.seed

    @property
    def accuracies(self):
        return [float(accuracy) for accuracy in self.curve.split()]

    @property
    def accuracy(self):
        return self.accuracies[-1]


AGREE = Cell._fields[: Cell._fields.index("order")]  # what all cells of a table must agree in


def load_cell(path):
    """The Cell of a checkpoint; exits with one line if finetune.py did not write it."""
    checkpoint = read(path)
    args, earlier = checkpoint["args"], checkpoint["earlier"]
    if not {"prune", "finetune"} <= args.keys():
        fail(f"{path} is not the output of finetune.py")
    first = "train" if "train" in args else "forget"
    origin, forget, tune = args[first], args.get("forget", {}), args["finetune"]
    order, ratio = "base", 1.0
    if "select" in args:
        order, ratio = args["select"]["order"], args["select"]["ratio"]
    elif origin["epochs"] == 0:
        order, ratio = "none", 0.0
    elif origin.get("share", 1.0) < 1:
        order, ratio = "matched", origin["share"]
    elif origin.get("samples", origin["train_size"]) < origin["train_size"]:
        fail(f"{path}: its subset does not tell which order and ratio it is; make subsets with select.py")
    by_class = earlier[first]["class_accuracy"]
    same = {key: "" if order == "none" else origin[key] for key in ("lr", "batch_size", "precision")}
    return Cell(
        **{key: origin[key] for key in ("dataset", "model", "train_size", "test_size", "data", "seed")},
        **{key: forget.get(key, "") for key in SETTINGS[:3]},
        mask=tune["mask"],
        epochs="" if order == "none" else str(origin["epochs"]),
        tune_epochs=str(tune["epochs"]),
        **{key: str(tune[key]) if same[key] in ("", tune[key]) else f"{same[key]}, {tune[key]}" for key in same},
        order=order,
        data_ratio=ratio,
        prune_ratio=args["prune"]["ratio"],
        dense=earlier[first]["accuracy"][-1],
        worst_class=min(by_class),
        class_sd=statistics.pstdev(by_class),
        curve=" ".join(f"{accuracy:.6g}" for accuracy in checkpoint["accuracy"]),
        trained=origin.get("samples", origin["train_size"]) * origin["epochs"] + tune["train_size"] * tune["epochs"],
        parameters=tune["parameters"],
        nonzero=tune["parameters"] - tune["zeros"],
        live=tune["live"],
        live_nonzero=tune["live"] - tune["live_zeros"],
        first_seconds=earlier[first]["seconds"],
        seconds=earlier["prune"]["seconds"] + checkpoint["seconds"],
        device=checkpoint["device"],
        versions="  ".join(f"{name} {version}" for name, version in checkpoint["versions"].items()),
    )


def read_csv(path):
    """The Cells of a csv that write_csv made."""
    try:
        with open(path, newline="") as file:
            lines = list(csv.DictReader(file))
        types = Cell.__annotations__
        return [Cell(**{key: types[key](value) for key, value in line.items()}) for line in lines]
    except (OSError, ValueError, KeyError, TypeError) as error:
        fail(f"cannot read cells from {path} ({first_line(error)}); it must be a csv of `report.py cells`")


def load_cells(paths, agree=AGREE):
    """The Cells of checkpoints and csv files; exits if two disagree in a field of `agree`, or are the same cell."""
    cells, known, seen = [], {}, {}
    for path in paths:
        for cell in read_csv(path) if path.endswith(".csv") else [load_cell(path)]:
            for field in agree:
                value, (known_value, known_path) = getattr(cell, field), known.get(field, ("", None))
                if known_value == "":
                    known[field] = value, path
                elif value not in ("", known_value):
                    fail(f"{path} and {known_path} disagree in {field}: {value}, {known_value}; report them apart")
            name = cell.key + tuple(getattr(cell, field) for field in SETTINGS)
            if name in seen:
                fail(f"{path} and {seen[name]} have the same cell, {describe(cell)}; give one of them")
            seen[name] = path
            cells.append(cell)
    return [cell._replace(**{field: known[field][0] for field in agree}) for cell in cells]


def describe(cell):
    ratio = f"-{cell.data_ratio:g}" if cell.order not in ("base", "none") else ""
    return f"{cell.order}{ratio}/p{cell.prune_ratio:g} seed {cell.seed}"


def protocol(cell):
    settings = tuple(getattr(cell, field) for field in SETTINGS)
    known = [name for name, values in PROTOCOLS.items() if all(s in ("", v) for s, v in zip(settings, values))]
    return known[0] if known else ", ".join(map(" ".join, zip(SETTINGS, settings)))


def write_csv(rows):
    """Lines of one csv from dicts of the same keys, or from Cells; numbers to their last digit, None as nothing."""
    rows = [row if isinstance(row, dict) else row._asdict() for row in rows]
    out = io.StringIO()
    writer = csv.DictWriter(out, rows[0].keys(), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


# ----------------------------------------------------------------------------------------------------- statistics


def t_quantile(df, confidence=0.95):
    """t such that Student's t with df degrees of freedom lies in [-t, t] with that probability.

    By bisection of the closed form for whole df (Abramowitz and Stegun, 26.7.3 and 26.7.4).
    """

    def probability(t):
        theta = math.atan(t / math.sqrt(df))
        odd, cosine = df % 2, math.cos(theta)
        term = total = (cosine if df > 1 else 0.0) if odd else 1.0
        for j in range(3 if odd else 2, df - 1, 2):
            term *= (j - 1) / j * cosine**2
            total += term
        total *= math.sin(theta)
        return 2 / math.pi * (theta + total) if odd else total

    low, high = 0.0, 1e6
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if probability(middle) < confidence else (low, middle)
    return high


def half_width(values, new_run=False):
    """Half of the 95 % t interval of the mean of n values, or of the prediction interval of one new run; n >= 2."""
    n = len(values)
    return t_quantile(n - 1) * statistics.stdev(values) * math.sqrt(1 / n + new_run)


def sign_flip_p(values):
    """Exact two-sided p-value of the mean under flips of every value's sign: the share of the 2^n as far from 0."""
    sums = np.zeros(1)
    for value in values:
        sums = np.concatenate([sums + value, sums - value])
    observed = abs(math.fsum(values))
    return float((np.abs(sums) >= observed - 1e-9 * max(1.0, observed)).mean())


def holm(p_values):
    """The p-values adjusted for their number (Holm, 1979), in the order given."""
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, i in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[i]))
        adjusted[i] = largest
    return adjusted


# --------------------------------------------------------------------------------------------------------- tables


def published(cell):
    """The authors' accuracies after fine-tuning, for this data set and network: {(order, data ratio, prune ratio): %}.

    Unlike ours, theirs has a baseline of its own for every data ratio.
    """
    with open(PUBLISHED, newline="") as file:
        rows = [r for r in csv.DictReader(file) if (r["dataset"], r["model"].lower()) == (cell.dataset, cell.model)]
    return {
        (order, float(row["data_ratio"]), float(row["prune_ratio"])): float(row[f"{order}_finetuned"])
        for row in rows
        for order in ("base", "low", "high")
    }


class Grid:
    """The Cells of one table by (order, data ratio, prune ratio, seed), and the values those take."""

    def __init__(self, cells):
        self.cells = {cell.key: cell for cell in cells}
        self.orders = [order for order in ORDERS if any(cell.order == order for cell in cells)]
        self.prune_ratios = sorted({cell.prune_ratio for cell in cells})
        self.seeds = sorted({cell.seed for cell in cells})
        self.data_ratios = sorted({cell.data_ratio for cell in cells if cell.order not in ("base", "none")}) or [1.0]

    def at(self, order, data_ratio, prune_ratio):
        """{seed: Cell} of one place in the grid."""
        ratio = {"base": 1.0, "none": 0.0}.get(order, data_ratio)
        keys = ((order, ratio, prune_ratio, seed) for seed in self.seeds)
        return {key[3]: self.cells[key] for key in keys if key in self.cells}

    def missing(self):
        """{seeds: [ORDER-RATIO/pRATIO]}: the cells that the whole grid has and these have not, by their seeds."""
        cells = {}
        for order, d, p in itertools.product(("base", *self.orders), self.data_ratios, self.prune_ratios):
            if absent := tuple(seed for seed in self.seeds if seed not in self.at(order, d, p)):
                place = f"{order}{'' if order in ('base', 'none') else f'-{d:g}'}/p{p:g}"
                cells.setdefault(absent, {})[place] = None  # base and none are the same at every data ratio
        return {absent: list(places) for absent, places in cells.items()}

    def differences(self, one, other, data_ratio, prune_ratio):
        """[one - other, percentage points] of every seed that has both."""
        ours, theirs = (self.at(order, data_ratio, prune_ratio) for order in (one, other))
        return [ours[seed].accuracy - theirs[seed].accuracy for seed in ours if seed in theirs]


def table(cells):
    """Table 1, a dict per data ratio and prune ratio.

    For each pair of orders: mean of the paired differences, half of its 95 % interval, Holm-corrected sign-flip p,
    seeds, the published difference, and whether that lies in the prediction interval of one new run; None where there
    is none.
    """
    grid, theirs = Grid(cells), published(cells[0])
    pairs = [(order, "base") for order in grid.orders]
    pairs += [(order, "random") for order in ("low", "high") if {order, "random"} <= set(grid.orders)]
    rows = []
    for d, p in itertools.product(grid.data_ratios, grid.prune_ratios):
        base = [cell.accuracy for cell in grid.at("base", d, p).values()]
        row = {"data_ratio": d, "prune_ratio": p, "base": statistics.fmean(base) if base else None}
        row["base_half"] = half_width(base) if len(base) > 1 else None
        for one, other in pairs:
            values, name = grid.differences(one, other, d, p), f"{one}-{other}"
            several = len(values) > 1
            ends = theirs.get((one, d, p)), theirs.get((other, d, p))
            row[name] = statistics.fmean(values) if values else None
            row[f"{name}_half"] = half_width(values) if several else None
            row[f"{name}_p"] = sign_flip_p(values) if several else None
            row[f"{name}_seeds"] = len(values)
            row[f"{name}_published"] = None if None in ends else ends[0] - ends[1]
            row[f"{name}_compatible"] = (
                abs(ends[0] - ends[1] - row[name]) <= half_width(values, new_run=True)
                if several and None not in ends
                else None
            )
        rows.append(row)
    tests = [(row, f"{a}-{b}_p") for row in rows for a, b in pairs if row[f"{a}-{b}_p"] is not None]
    for (row, name), p in zip(tests, holm([row[name] for row, name in tests])):
        row[name] = p
    return rows


def compared(rows):
    """The pairs of orders whose differences the rows of `table` have."""
    return [tuple(key.split("-")) for key in rows[0] if "-" in key and "_" not in key]


def table_lines(rows):
    """Titles and lines of text for the rows of `table`."""
    pairs = compared(rows)
    several = any(row[f"{a}-{b}_p"] is not None for row in rows for a, b in pairs)
    titles, lines = ["Data Ratio", "Prune Ratio", "Base"], [[] for _ in rows]
    for line, row in zip(lines, rows):
        line += [f"{row['data_ratio']:g}", f"{row['prune_ratio']:g}", number(row["base"], row["base_half"])]
    for one, other in pairs:
        name = f"{one}-{other}"
        has_published = any(row[f"{name}_published"] is not None for row in rows)
        titles += [f"{one.title()} - {other.title()}", *["p"] * several, *["published"] * has_published]
        for line, row in zip(lines, rows):
            mean, half, p, theirs = (row[name + field] for field in ("", "_half", "_p", "_published"))
            line.append(number(mean, half, "+") + (" *" if half is not None and abs(mean) > half else ""))
            if several:
                line.append("-" if p is None else f"{p:.3f}")
            if has_published:
                inside = {None: "", True: " in", False: " out"}[row[f"{name}_compatible"]]
                line.append("-" if theirs is None else f"{theirs:+.2f}{inside}")
    return titles, lines


def number(mean, half, sign=""):
    return "-" if mean is None else f"{mean:{sign}.2f}" + ("" if half is None else f" ± {half:.2f}")


def table_notes(cells, rows):
    """What the table was made from and what can be said of it, a line each."""
    pairs = compared(rows)
    n = max((row[f"{a}-{b}_seeds"] for row in rows for a, b in pairs), default=0)
    notes = ["Test accuracy in %, differences in percentage points, paired by seed."]
    if n > 1:
        tests = sum(row[f"{a}-{b}_p"] is not None for row in rows for a, b in pairs)
        notes += [
            "±: half of the 95 % t interval over the seeds; *: it excludes 0; in, out: the published difference lies "
            "inside or outside of the 95 % prediction interval of one new run.",
            f"p: exact sign-flip permutation, two-sided, Holm-corrected over {tests} tests; with {n} seeds one test "
            f"cannot go below 2/2^{n} = {2 / 2**n:.2g}, and the smallest of {tests} not below "
            f"{min(1.0, tests * 2 / 2**n):.2g}.",
        ]
    elif n == 1:
        notes.append("One seed: plain differences, which have no interval.")
    notes += origins(cells)
    size = DATASETS[cells[0].dataset][2]
    theirs = [(row, f"{a}-{b}") for row in rows for a, b in pairs if row[f"{a}-{b}_published"] is not None]
    if theirs and (cells[0].train_size, cells[0].epochs, cells[0].tune_epochs) != (size, "10", "10"):
        notes.append(f"The published numbers are for {size} training images and 10 and 10 epochs: another experiment.")
    zeros = {c.prune_ratio: (c.parameters - c.nonzero, c.live - c.live_nonzero) for c in cells if c.order == "base"}
    dead = [f"{100 * (1 - live / all_):.1f} % at {p:g}" for p, (all_, live) in sorted(zeros.items()) if live < all_]
    if dead:
        notes.append(f"Zero weights of the baseline that no training could reach, by prune ratio: {', '.join(dead)}.")
    if missing := Grid(cells).missing():
        count = sum(len(absent) * len(places) for absent, places in missing.items())
        each = (f"seed {' '.join(map(str, absent))} of {', '.join(places)}" for absent, places in missing.items())
        notes.append(f"missing, {count} cells: {'; '.join(each)}")
    if measured := [(row, name) for row, name in theirs if row[name] is not None]:
        agree = sum(row[name] * row[f"{name}_published"] > 0 for row, name in measured)
        inside = [row[f"{name}_compatible"] for row, name in measured if row[f"{name}_compatible"] is not None]
        notes.append(
            f"Of {len(measured)} published differences, {agree} have the sign of ours"
            + (f", and {sum(inside)} of {len(inside)} are compatible with ours." if inside else ".")
        )
        ends = published(cells[0])
        gaps = [ends["low", d, p] - ends["high", d, p] for order, d, p in ends if order == "low"]
        gap = number(statistics.fmean(gaps), half_width(gaps), "+")
        notes.append(f"Published low - high: {gap} over its {len(gaps)} cells, one run each.")
    return notes


def origins(cells):
    """Experiment, seeds, hardware, versions and time, a line each."""
    cell = cells[0]
    protocols = sorted({protocol(c) for c in cells}, key=lambda name: (*PROTOCOLS, name).index(name))
    lines = [
        f"dataset: {cell.dataset} ({cell.train_size} + {cell.test_size} images, digest {cell.data})",
        f"model: {cell.model}",
        f"protocol: {', '.join(protocols)}",
        f"epochs: {cell.epochs} and {cell.tune_epochs} of fine-tuning, lr {cell.lr}, batch size {cell.batch_size}, "
        f"{cell.precision}",
        f"seeds: {' '.join(map(str, sorted({c.seed for c in cells})))}",
    ]
    machines = Counter(f"{c.device}  {c.versions}" for c in cells)
    lines += [f"made on: {machine} ({count} cells)" for machine, count in machines.items()]
    shared = {(protocol(c), c.order, c.data_ratio, c.seed): c.first_seconds for c in cells}
    seconds = sum(shared.values()) + sum(c.seconds for c in cells)
    amount = f"{seconds / 3600:.2f} h" if seconds > 3600 else f"{seconds:.0f} s"
    lines.append(f"time: {amount} of steps, one after the other")
    return lines


def costs(cells):
    """What networks cost and how their classes fare, a dict per order, data ratio and prune ratio; means of seeds."""
    grid, rows = Grid(cells), []
    for order, d, p in itertools.product(("base", *grid.orders), grid.data_ratios, grid.prune_ratios):
        group = list(grid.at(order, d, p).values())
        fields = ("accuracy", "dense", "worst_class", "class_sd", "trained", "parameters", "nonzero", "live")
        means = {f: statistics.fmean(getattr(c, f) for c in group) for f in (*fields, "live_nonzero") if group}
        if group and (d == grid.data_ratios[0] or order not in ("base", "none")):
            seconds = statistics.fmean(c.first_seconds + c.seconds for c in group)
            rows.append(
                {"order": order, "data_ratio": group[0].data_ratio, "prune_ratio": p} | means | {"seconds": seconds}
            )
    return rows


def cost_lines(rows):
    titles = ["Order", "Data Ratio", "Prune Ratio", "Accuracy", "Before pruning", "its worst class", "sd over classes"]
    titles += ["samples x epochs", "parameters", "not zero", "live weights", "of them not zero", "seconds"]
    decimals = {"accuracy": 2, "dense": 2, "worst_class": 1, "class_sd": 1}
    lines = []
    for row in rows:
        order, d, p, *values = row.items()
        lines.append([order[1], f"{d[1]:g}", f"{p[1]:g}", *(f"{v:.{decimals.get(key, 0)}f}" for key, v in values)])
    return titles, lines


def ablation(cells):
    """What each departure does, a dict per data ratio, prune ratio and protocol: base, differences and their halves."""
    groups = defaultdict(list)
    for cell in cells:
        groups[protocol(cell)].append(cell)
    grid, rows = Grid(cells), []
    for d, p, name in itertools.product(grid.data_ratios, grid.prune_ratios, groups):
        grid_here = Grid(groups[name])
        base = [cell.accuracy for cell in grid_here.at("base", d, p).values()]
        row = {"data_ratio": d, "prune_ratio": p, "protocol": name}
        for key, values in [("base", base)] + [(o, grid_here.differences(o, "base", d, p)) for o in grid.orders]:
            row[key] = statistics.fmean(values) if values else None
            row[f"{key}_half"] = half_width(values) if len(values) > 1 else None
        rows.append(row)
    place = (*PROTOCOLS, *groups).index
    return sorted(rows, key=lambda row: (row["data_ratio"], row["prune_ratio"], place(row["protocol"])))


def ablation_lines(rows):
    orders = [key for key in rows[0] if key in ORDERS]
    titles = ["Data Ratio", "Prune Ratio", "Protocol", "Base", *(f"{order.title()} - Base" for order in orders)]
    lines = [
        [f"{row['data_ratio']:g}", f"{row['prune_ratio']:g}", row["protocol"], number(row["base"], row["base_half"])]
        + [number(row[order], row[f"{order}_half"], "+") for order in orders]
        for row in rows
    ]
    return titles, lines


def render(titles, lines, notes, style):
    """One table as text, markdown or latex (booktabs), and the notes under it."""
    if style == "latex":
        body = [" & ".join(line).replace("±", r"$\pm$") + r" \\" for line in (titles, *lines)]
        head = [rf"\begin{{tabular}}{{{'r' * len(titles)}}}", r"\toprule", body[0], r"\midrule"]
        return "\n".join(head + body[1:] + [r"\bottomrule", r"\end{tabular}"] + [f"% {note}" for note in notes]) + "\n"
    widths = [max(2, *map(len, column)) for column in zip(titles, *lines)]  # markdown's rule is "-:" at least
    lines = [[field.rjust(width) for field, width in zip(line, widths)] for line in (titles, *lines)]
    if style == "markdown":
        lines.insert(1, ["-" * (width - 1) + ":" for width in widths])
        return "".join(f"| {' | '.join(line)} |\n" for line in lines) + "\n" + "".join(f"- {note}\n" for note in notes)
    return "".join("  ".join(line) + "\n" for line in lines) + "\n" + "".join(f"{note}\n" for note in notes)


# --------------------------------------------------------------------------------------------------------- scores


class Scores(NamedTuple):
    """What forget.py wrote; histogram and null are shares of samples by score, float64 [T + 1]."""

    path: str
    scores: np.ndarray  # int64 [N]
    flags: dict
    histogram: np.ndarray
    null: np.ndarray  # Binomial(T - 1, 1 - sum p_c^2): predictions of strangers that differ
    correct: np.ndarray | None  # bool [T, N], if correct.npy is beside the scores

    @property
    def never(self):
        """The samples that were never learned, bool [N]; None if it is not known."""
        return None if self.correct is None else ~self.correct.any(0)


def load_scores(path):
    """The Scores in a forget.npy; exits with one line if forget.py did not write it."""
    try:
        with open(path, "rb") as file:
            scores, labels = np.load(file, allow_pickle=False), np.load(file, allow_pickle=False)
            flags = json.loads(file.read())["forget"]
        beside = Path(path).with_name("correct.npy")
        correct = np.load(beside, allow_pickle=False) if beside.exists() else None
        epochs = flags["epochs"]
        if correct is not None and correct.shape != (epochs, len(scores)):
            raise ValueError(f"{beside} is not [{epochs}, {len(scores)}]")
        histogram = np.bincount(scores, minlength=epochs + 1) / len(scores)
    except (OSError, ValueError, EOFError, KeyError, TypeError) as error:
        fail(f"cannot read {path} ({first_line(error)}); it must be the scores that forget.py wrote")
    differ = 1 - ((np.bincount(labels) / len(labels)) ** 2).sum()
    null = [math.comb(epochs - 1, k) * differ**k * (1 - differ) ** (epochs - 1 - k) for k in range(epochs)] + [0.0]
    return Scores(path, scores, flags, histogram, np.array(null), correct)


def load_select():
    """select.py's function select; an import would find the standard library's module."""
    return runpy.run_path(str(Path(__file__).with_name("select.py")))["select"]


def score_notes(files):
    """The check that would have caught scores that are noise: against chance, against each other, and ties."""
    lines, select = [], load_select()
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


# -------------------------------------------------------------------------------------------------------- figures


def pyplot():
    """matplotlib set for one column's width, text kept as text in an SVG, the same bytes every time."""
    try:
        import matplotlib
    except ImportError:
        fail("figures need matplotlib: run `make figures`, or pip install matplotlib")
    matplotlib.use("Agg")
    settings = {"svg.fonttype": "none", "svg.hashsalt": "figure", "font.size": 8, "axes.spines.top": False}
    matplotlib.rcParams.update(settings | {"axes.spines.right": False, "legend.frameon": False, "savefig.dpi": 200})
    from matplotlib import pyplot

    return pyplot


def save_figure(figure, path):
    kind = Path(path).suffix[1:]
    if kind not in ("svg", "png", "pdf"):
        fail(f"--out {path}: must end in .svg, .png or .pdf")
    picture = io.BytesIO()
    date = {"svg": "Date", "pdf": "CreationDate"}.get(kind)
    figure.savefig(picture, format=kind, bbox_inches="tight", metadata={date: None} if date else None)
    with replacing(path) as file:
        file.write(picture.getvalue())


def title(cell):
    return f"{cell.model} on {cell.dataset}, protocol {protocol(cell)}"


def seeds(grid):
    """The seeds of a figure in words; "up to" if some cells have not been run with all of them."""
    n = len(grid.seeds)
    return f"seed {grid.seeds[0]}" if n == 1 else f"{'up to ' if grid.missing() else ''}{n} seeds"


def figure1(cells, out):
    """Paper, figure 1: test accuracy over fine-tuning, a line per order with the range of seeds, a panel per cell."""
    plt, grid = pyplot(), Grid(cells)
    places = list(itertools.product(grid.data_ratios, grid.prune_ratios))
    columns = min(3, len(places))
    rows = -(-len(places) // columns)
    size = (1.2 + 2.2 * columns, 0.9 + 1.9 * rows)
    figure, axes = plt.subplots(
        rows, columns, figsize=size, sharex=True, sharey=True, squeeze=False, layout="constrained"
    )
    for axis in axes.flat[len(places) :]:
        axis.set_visible(False)
    for axis, (d, p) in zip(axes.flat, places):
        for order in ("base", *grid.orders):
            curves = np.array([cell.accuracies[1:] for cell in grid.at(order, d, p).values()])
            if len(curves):
                epochs = np.arange(1, curves.shape[1] + 1)
                axis.plot(
                    epochs, curves.mean(0), color=COLOURS[order], label=order, lw=1.2, gid=f"line-{order}-{d:g}-{p:g}"
                )
                axis.fill_between(epochs, curves.min(0), curves.max(0), color=COLOURS[order], alpha=0.15, lw=0)
        axis.set_title(f"{100 * d:g} % of the data, {100 * p:g} % pruned", fontsize=8)
    for axis in axes[:, 0]:
        axis.set_ylabel("test accuracy (%)")
    for axis in axes[-1]:
        axis.set_xlabel("epoch of fine-tuning")
    spread = "mean and range of " if len(grid.seeds) > 1 else ""
    figure.suptitle(f"{title(cells[0])}; {spread}{seeds(grid)}", fontsize=9)
    figure.legend(*axes.flat[0].get_legend_handles_labels(), loc="outside lower center", ncols=3 * min(columns, 2))
    save_figure(figure, out)


def figure2(cells, out):
    """Paper, figure 2: test accuracy after the first training and after pruning, bars per order, over prune ratios."""
    plt, grid = pyplot(), Grid(cells)
    d = grid.data_ratios[0]
    orders = ["base", *(order for order in grid.orders if order != "none")]
    figure, axis = plt.subplots(figsize=(3.5, 2.6), layout="constrained")
    width = 0.8 / len(orders)
    for i, order in enumerate(orders):
        look = {"edgecolor": COLOURS[order], "lw": 0.8, "error_kw": {"lw": 0.9, "ecolor": "#888888"}}
        for j, p in enumerate(grid.prune_ratios):
            group = list(grid.at(order, d, p).values())
            values = {"before": [cell.dense for cell in group], "after": [cell.accuracies[0] for cell in group]}
            x = j + width * (i - (len(orders) - 1) / 2)
            for state, accuracy in values.items():
                if accuracy:
                    look["facecolor"] = COLOURS[order] if state == "after" else "none"
                    look["label"] = order if (j, state) == (0, "after") else None
                    spread = statistics.stdev(accuracy) if len(accuracy) > 1 else None
                    bars = axis.bar(x, statistics.fmean(accuracy), 0.85 * width, yerr=spread, **look)
                    bars[0].set_gid(f"bar-{state}-{order}-{p:g}")
    axis.set_xticks(range(len(grid.prune_ratios)), [f"{100 * p:g}" for p in grid.prune_ratios])
    axis.set_xlabel("pruned weights (%)")
    axis.set_ylabel("test accuracy (%)")
    axis.set_title(f"{title(cells[0])}\n{100 * d:g} % of the data; outline: before pruning, filled: after", fontsize=7)
    figure.legend(loc="outside lower center", ncols=5)
    save_figure(figure, out)


def figure_heatmap(cells, out):
    """Low - base and high - base over the whole grid of data ratios and prune ratios, mean over seeds."""
    plt, grid = pyplot(), Grid(cells)
    orders = [order for order in grid.orders if order != "none"]
    figure, axes = plt.subplots(
        1, len(orders), figsize=(0.9 + 2.3 * len(orders), 2.6), squeeze=False, layout="constrained"
    )
    values = [
        [[grid.differences(o, "base", d, p) for p in grid.prune_ratios] for d in grid.data_ratios] for o in orders
    ]
    means = np.array([[[statistics.fmean(v) if v else math.nan for v in line] for line in panel] for panel in values])
    limit = max(np.nanmax(abs(means)), 0.01)
    for axis, order, panel in zip(axes.flat, orders, means):
        image = axis.imshow(panel, cmap="PuOr", vmin=-limit, vmax=limit, origin="lower", aspect="auto")
        for (i, j), value in np.ndenumerate(panel):
            shade = "white" if abs(value) > 0.6 * limit else "black"
            axis.text(
                j,
                i,
                f"{value:+.2f}" if not math.isnan(value) else "-",
                ha="center",
                va="center",
                fontsize=6,
                color=shade,
            )
        axis.set_xticks(range(len(grid.prune_ratios)), [f"{100 * p:g}" for p in grid.prune_ratios])
        axis.set_yticks(range(len(grid.data_ratios)), [f"{100 * d:g}" for d in grid.data_ratios])
        axis.set_xlabel("pruned weights (%)")
        axis.set_title(f"{order} - base", fontsize=8)
    axes[0, 0].set_ylabel("coreset (% of the data)")
    figure.colorbar(image, ax=list(axes.flat), label="percentage points")
    figure.suptitle(f"{title(cells[0])}; {seeds(grid)}", fontsize=8)
    save_figure(figure, out)


def figure_scores(files, out):
    """The distribution of the scores, a panel per file: never-learned samples marked, shuffled ones beside noise."""
    plt = pyplot()
    shape = {"figsize": (3.5, 0.6 + 1.7 * len(files)), "squeeze": False, "layout": "constrained", "sharex": True}
    figure, axes = plt.subplots(len(files), 1, **shape)
    for axis, one in zip(axes.flat, files):
        x, never = np.arange(len(one.histogram)), np.zeros(len(one.histogram))
        if one.never is not None:
            never = np.bincount(one.scores[one.never], minlength=len(x)) / len(one.scores)
        learned = 100 * (one.histogram - never)
        axis.bar(x - 0.2, learned, 0.4, color=COLOURS["low"], label="learned once", gid="learned")
        axis.bar(x - 0.2, 100 * never, 0.4, bottom=learned, color=COLOURS["high"], label="never learned", gid="never")
        if one.flags["positions"] == "shuffled":
            axis.bar(x + 0.2, 100 * one.null, 0.4, color=COLOURS["none"], label="noise (binomial)", gid="chance")
        axis.set_ylabel("samples (%)")
        flags = one.flags
        how = f"{flags['events']}, positions {flags['positions']}"
        axis.set_title(f"{flags['model']} on {flags['dataset']}, seed {flags['seed']}: {how}", fontsize=7)
        axis.legend(fontsize=7)
    axes[-1, 0].set_xlabel("forgetting score (events)")
    axes[-1, 0].set_xticks(x)
    save_figure(figure, out)


# --------------------------------------------------------------------------------------------------- verification


UNCOUNTED = "flips cannot be counted again: correct.npy tells right from wrong, not which class was predicted"


def verify(paths, args):
    """Recompute what the files claim, print a line for each, and fail if any is wrong."""
    wrong, known = 0, {}  # flags of forget.py: the scores that it made with them
    for path in sorted(paths, key=lambda path: not path.endswith("forget.npy")):
        if path.endswith("subset.npy"):
            complaint = verify_subset(path, known)
        elif path.endswith(".npy"):
            complaint = verify_scores(path, known)
        else:
            complaint = verify_checkpoint(path, args)
        wrong += complaint not in (None, UNCOUNTED)
        word = "OK" if complaint is None else "SKIPPED" if complaint is UNCOUNTED else "WRONG"
        print(f"{word:8} {path}" + (f": {complaint}" if complaint else ""), flush=True)
    if wrong:
        fail(f"{wrong} of {len(paths)} files are not what they claim")


def verify_scores(path, known):
    """None, or what is wrong with a forget.npy, counted again from the correct.npy beside it; or UNCOUNTED."""
    one = load_scores(path)
    known[json.dumps(one.flags)] = one.scores
    if one.correct is None:
        return "there is no correct.npy beside it"
    if one.flags["events"] == "flipped":
        return UNCOUNTED
    counts = (np.diff(one.correct.astype(np.int8), axis=0) == -1).sum(0)
    if one.flags["events"] == "toneva":
        counts[one.never] = len(one.correct)
    return (
        None if np.array_equal(counts, one.scores) else f"{(counts != one.scores).sum()} scores differ from the count"
    )


def verify_subset(path, known):
    """None, or what is wrong with a subset.npy, selected again from the scores that it names."""
    subset, steps = load_subset(path)
    scores = known.get(json.dumps(steps.get("forget")))
    if scores is None:
        return "give the forget.npy that it was selected from, too"
    same = np.array_equal(subset, load_select()(scores, **steps["select"]))
    return None if same else "another selection from its scores, with its seed"


def verify_checkpoint(path, args):
    """None, or what is wrong with a checkpoint: the sparsity of its weights, and its accuracy, measured again."""
    checkpoint, net, data = restore(path, args)
    step = list(checkpoint["args"])[-1]
    flags = checkpoint["args"][step]
    if "zeros" in flags and any(flags[key] != count for key, count in sparsity(net).items()):
        return f"it claims {flags['zeros']} zeros, its weights have {sparsity(net)['zeros']}"
    if flags.get("mask") == "hold" and flags["zeros"] < checkpoint["args"]["prune"]["zeros"]:
        return "pruned weights are no longer zero"
    with small_maps(net):
        accuracy, _ = evaluate(net, data, flags.get("precision", args.precision))
    claimed = checkpoint["accuracy"][-1]
    two_images = 200.1 / len(data.test_labels)  # that another machine's rounding may move over a border
    return None if abs(accuracy - claimed) <= two_images else f"it claims {claimed:.2f} %, and has {accuracy:.2f} %"


# --------------------------------------------------------------------------------------------------- command line

TABLES = {"table": (table, table_lines), "costs": (costs, cost_lines), "ablation": (ablation, ablation_lines)}
FIGURES = {"figure1": figure1, "figure2": figure2, "heatmap": figure_heatmap}
KINDS = {
    "table": "Table 1: differences to the baseline, with intervals, tests and the published numbers",
    "costs": "what every network costs: samples, parameters, seconds; and how its classes fare",
    "ablation": "what each departure of the authors' program does alone",
    "cells": "a csv line per checkpoint, from which the tables and figures can be made again",
    "figure1": "test accuracy over the epochs of fine-tuning",
    "figure2": "test accuracy before and after pruning",
    "heatmap": "differences to the baseline over the whole grid",
    "scores": "forgetting scores against chance and against each other",
    "verify": "recompute what the files claim",
}
INPUTS = {"scores": "forget.npy files", "verify": "forget.npy files and checkpoints"}


def main():
    parser = Parser(__doc__)
    kinds = parser.add_subparsers(dest="what", required=True, metavar="WHAT")
    for name, words in KINDS.items():
        kind = kinds.add_parser(name, help=words, doc=words)
        kind.add_argument(
            "inputs", nargs="+", metavar="IN", help=INPUTS.get(name, "finetuned.pt files, or csv of `cells`")
        )
        if name in TABLES:
            formats = ["text", "markdown", "csv", "latex"]
            kind.add_argument("--format", choices=formats, default="text", help="of the output (default: text)")
        if name == "verify":
            kind.add_device_flags()
        else:
            kind.add_argument(
                "--out", required=name in FIGURES, metavar="FILE", help="the file to write (default: none)"
            )
    args = parser.start("out")

    if args.what == "verify":
        return verify(args.inputs, args)
    if args.what == "scores":
        files = [load_scores(path) for path in args.inputs]
        if args.out:
            figure_scores(files, args.out)
        return print("\n".join(score_notes(files)))
    protocols_differ = args.what in ("ablation", "cells")
    cells = load_cells(args.inputs, [field for field in AGREE if not (protocols_differ and field in SETTINGS)])
    if args.what in FIGURES:
        return FIGURES[args.what](cells, args.out)
    if args.what == "cells":
        text = write_csv(cells)
    else:
        make, lines = TABLES[args.what]
        rows = make(cells)
        notes = table_notes(cells, rows) if args.what == "table" else origins(cells)
        text = write_csv(rows) if args.format == "csv" else render(*lines(rows), notes, args.format)
    if args.out:
        with replacing(args.out) as file:
            file.write(text.encode())
    else:
        print(text, end="")


if __name__ == "__main__":
    main()
