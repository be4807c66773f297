"""The paper's Table 1 and Figures 1 and 2 from the files of any runs, with the statistics that the paper asks for.

    python report.py table runs/paper/CIFAR100/resnet18/seed*/*/p*/finetuned.pt --format markdown
    python report.py figure1 tests/results/lenet-mnist-paper.csv --out figure1.svg

Every number is the test accuracy after the last epoch of fine-tuning, in %. Differences are paired: within a seed, all
networks start from the same initial weights and are fine-tuned on the same order of samples. A csv that `report.py
cells` wrote stands for the checkpoints it was made from. Figures need matplotlib.
"""

import csv
import functools
import io
import itertools
import math
import re
import shlex
import statistics
from collections import Counter, defaultdict
from pathlib import Path
from typing import NamedTuple

import numpy as np
from train import DATASETS, Parser, fail, first_line, read, replacing

DEPARTURES = {  # of the authors' program from the paper's text: (step, setting, the text's value, the program's)
    "shuffled": ("forget", "positions", "fixed", "shuffled"),
    "flipped": ("forget", "events", "forgotten", "flipped"),
    "frozen": ("forget", "batchnorm", "train", "frozen"),
    "indexed": ("select", "ties", "lot", "index"),
    "regrown": ("finetune", "mask", "hold", "release"),
}
COLOURS = {"base": "#000000", "low": "#0072B2", "high": "#D55E00", "random": "#009E73"}  # Okabe and Ito
COLOURS |= {"matched": "#CC79A7", "none": "#999999"}  # orders as tables and figures show them; others come after
UNSCORED = ("random", "long", "matched", "none", "own")  # first words of orders that know no scores
MARGIN = {"MNIST": 0.2, "CIFAR10": 1.0, "CIFAR100": 1.0}  # points; an interval inside of it is called equivalence
PUBLISHED = Path(__file__).parent / "tests" / "data" / "published_accuracies.csv"


# ---------------------------------------------------------------------------------------------------------- cells


class Cell(NamedTuple):
    """One finetuned.pt, or the line of a csv that stands for it."""

    dataset: str
    model: str
    data: str  # sizes and digest
    first: str  # settings of the first training; "" where there was none
    tuning: str  # settings of fine-tuning
    protocol: str  # of the departures, those that this cell can depend on
    order: str
    data_ratio: float  # 1 for base, 0 for none
    prune_ratio: float
    pruning: str  # "" for one shot by magnitude in every layer, else what differs
    seed: int
    dense: float  # % after the first training
    worst_class: float  # % of that network's worst class
    class_sd: float  # standard deviation of its accuracy over classes, in percentage points
    curve: str  # % after pruning, and after every epoch of fine-tuning
    trained: int  # samples times epochs of all trainings, with the scoring run where the order needs one
    parameters: int
    nonzero: int  # parameters less the pruned weights that are zero
    live: int  # prunable weights that can get a gradient
    live_nonzero: int
    first_seconds: float  # of the first training, which cells of several prune ratios share
    seconds: float  # of pruning and fine-tuning
    machine: str  # device and versions

    @property
    def network(self):
        """What tells the network before pruning from others, but for its seed."""
        return self.protocol, self.pruning, self.order, self.data_ratio

    @property
    def place(self):
        return *self.network, self.prune_ratio

    @property
    def accuracies(self):
        return [float(accuracy) for accuracy in self.curve.split()]

    @property
    def last(self):
        return self.accuracies[-1]

    @property
    def last_three(self):
        """The mean accuracy after the last three epochs of fine-tuning, %."""
        return statistics.fmean(self.accuracies[1:][-3:] or self.accuracies)


AGREE = Cell._fields[:5]  # what all cells of a report must agree in
RESULT = Cell._fields[11:20]  # what two files of the same cell must agree in


def departures(protocol):
    """The list of departures in a protocol's name."""
    return {"": [], "paper": [], "released": list(DEPARTURES)}.get(protocol, protocol.split("+"))


def project(protocol, order):
    """The protocol without the departures on which no bit of a cell of that order can depend.

    So one random network serves every protocol with the same mask.
    """
    names = departures(protocol)
    if order == "base" or order.split()[0] in UNSCORED or " of own" in order:
        matter = {"regrown", "frozen" if order == "base" else "indexed" if " of own" in order else ""}
        names = [name for name in names if name in matter]
    return "released" if names == list(DEPARTURES) else "+".join(names) or "paper"


def load_cell(path):
    """The Cell of a checkpoint; exits with one line if its last steps are not a pruning and a fine-tuning."""
    checkpoint = read(path)
    try:
        args, earlier = checkpoint["args"], checkpoint["earlier"]
        first = "train" if "train" in args else "forget"
        origin, forget = args[first], args.get("forget")
        steps = [name for name in args if name not in ("forget", "select", "train")]
        prunes, tunes = ([args[s] for s in steps if s.split("-")[0] == kind] for kind in ("prune", "finetune"))
        if not prunes or args[steps[-1]] is not tunes[-1]:
            raise ValueError("it does not end with prune and finetune")
        if len(seeds := sorted({flags["seed"] for flags in args.values() if "seed" in flags})) > 1:
            raise ValueError(f"its steps have the seeds {' and '.join(map(str, seeds))}")
        order, data_ratio = order_of(args, origin)
        trainings = [origin, *tunes, *([forget] if forget and order.split()[0] not in ("base", *UNSCORED) else [])]
        names = []
        for name, (step, setting, text, program) in DEPARTURES.items():
            value = (tunes[-1] if step == "finetune" else args.get(step, {})).get(setting, text)
            if value == program:
                names.append(name)
            elif value != text:  # such as toneva: a departure of its own, which comes first
                names.insert(0, value)
        by_class = [accuracy for accuracy in earlier[first]["class_accuracy"] if not math.isnan(accuracy)]
        versions = (f"{name} {version}" for name, version in checkpoint["versions"].items())
        values = {
            **{key: origin[key] for key in ("dataset", "model", "seed")},
            "data": f"{origin['train_size']} + {origin['test_size']} images, digest {origin['data']}",
            "first": "" if order == "none" else settings(origin),
            "tuning": settings(*tunes),
            "protocol": project("+".join(names), order),
            "order": order,
            "data_ratio": data_ratio,
            "prune_ratio": prunes[-1]["ratio"],
            "pruning": pruning_of(steps, prunes, tunes),
            "dense": earlier[first]["accuracy"][-1],
            "worst_class": min(by_class),
            "class_sd": statistics.pstdev(by_class),
            "curve": " ".join(f"{accuracy:.6g}" for accuracy in checkpoint["accuracy"]),
            "trained": sum(flags.get("samples", flags["train_size"]) * flags["epochs"] for flags in trainings),
            **{key: tunes[-1][key] for key in ("parameters", "live")},
            "nonzero": tunes[-1]["parameters"] - tunes[-1]["zeros"],
            "live_nonzero": tunes[-1]["live"] - tunes[-1]["live_zeros"],
            "first_seconds": earlier[first]["seconds"],
            "seconds": checkpoint["seconds"] + sum(earlier[step]["seconds"] for step in steps[:-1]),
            "machine": f"{checkpoint['device']}; {', '.join(versions)}",
        }
        return check(values[field] for field in Cell._fields)
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RuntimeError) as error:
        fail(f"{path} is no cell of a table: it must be the output of finetune.py ({type(error).__name__}: {first_line(error)})")


def order_of(args, origin):
    """The order and the data ratio of a coreset network, the baseline or a control."""
    samples, share = origin.get("samples", origin["train_size"]), origin.get("share", 1.0)
    order, ratio = "base", 1.0
    if select := args.get("select"):
        own = "" if "forget" in args else f" of own {select.get('scores', '')[:8]}".rstrip()
        order, ratio = select["order"] + own, select["ratio"]
    elif origin["epochs"] == 0:
        order, ratio = "none", 0.0
    elif "subset" in origin or share >= 1 and samples < origin["train_size"]:
        order, ratio = f"own {origin.get('subset', '')[:8]}".rstrip(), samples / share / origin["train_size"]
    elif share < 1:
        return "matched", share
    if share != 1:
        order = "long" if order == "random" and share > 1 else f"{order} share {share:g}"
    return order, ratio


def settings(*trainings):
    """The flags of a training as a report prints them; of several, with the sum of their epochs."""
    several = (dict.fromkeys(str(flags[key]) for flags in trainings) for key in ("lr", "batch_size", "precision"))
    lr, batch_size, precision = map(" ".join, several)
    return f"{sum(flags['epochs'] for flags in trainings)} epochs, lr {lr}, batch size {batch_size}, {precision}"


def pruning_of(steps, prunes, tunes):
    """What differs from one shot by magnitude in every layer, in words."""
    usual = {"scope": "layer", "criterion": "magnitude", "structure": "weights", "start": ""}
    values = [(key, flags.get(key, usual[key])) for flags in prunes for key in usual]
    words = [f"start {value}" if key == "start" else value for key, value in values if value != usual[key]]
    if len(steps) > 2:
        ratios, epochs = (" ".join(f"{f[key]:g}" for f in kind) for kind, key in ((prunes, "ratio"), (tunes, "epochs")))
        words.append(f"prune {ratios}, tune {epochs}")
    if len(steps) != 2 * len(prunes) or not all(s.startswith(("prune", "finetune")[i % 2]) for i, s in enumerate(steps)):
        words.append(f"steps {' '.join(steps)}")
    return ", ".join(dict.fromkeys(words))


def check(values):
    """The Cell of these values, or of their texts; ValueError says which of them cannot be."""
    cell = Cell(*(kind(value) for kind, value in zip(Cell.__annotations__.values(), values, strict=True)))
    numbers = [(name, value, 1e18) for name, value in cell._asdict().items() if not isinstance(value, str)]
    numbers += [("curve", accuracy, 100.001) for accuracy in cell.accuracies] + [("dense", cell.dense, 100.001)]
    for name, value, limit in [*numbers, ("prune_ratio", cell.prune_ratio, 1)]:
        if not 0 <= value < limit:  # nan is neither
            raise ValueError(f"{name} is {value}")
    for name, value in cell._asdict().items():
        if not str(value).isprintable() or name in ("protocol", "order", "curve") and not value.strip():
            raise ValueError(f"{name} is {value!r}")
    return cell


def read_csv(path):
    """The Cells of a csv that `report.py cells` wrote; exits with one line if it is anything else."""
    try:
        with open(path, newline="") as file:
            header, *lines = csv.reader(file, strict=True)
        if header != list(Cell._fields) or not lines:
            raise ValueError("it has no cells" if not lines else "its first line does not name the fields of a cell")
        return [check(line) for line in lines]
    except (OSError, ValueError, ArithmeticError, csv.Error) as error:
        fail(f"cannot read cells from {path} ({first_line(error)}); it must be a csv of `report.py cells`")


def load_cells(paths, known):
    """The Cells of checkpoints and csv files, none twice.

    known: {field: (value, who asked for it)}. Exits with one line if a field of AGREE has two values, or if two files
    have the same cell with different results.
    """
    found = {}
    for path in paths:
        for cell in read_csv(path) if path.endswith(".csv") else [load_cell(path)]:
            length = {f"length of the curve {cell.pruning}": len(cell.accuracies)}
            for field, value in ({name: getattr(cell, name) for name in AGREE} | length).items():
                first, where = known.setdefault(field, (value, path)) if value else (value, path)
                if value != first:
                    fail(f"{path} and {where} disagree in {field}: {value}; {first}. Report them apart")
            other, where = found.setdefault((*cell.place, cell.seed), (cell, path))
            differ = [f"{f} {getattr(cell, f)}; {getattr(other, f)}" for f in RESULT if getattr(cell, f) != getattr(other, f)]
            if differ:
                name = " ".join(str(part) for part in cell.place if part != "")
                fail(f"{path} and {where} are the same cell, {name} seed {cell.seed}, and differ in {', '.join(differ)}")
    cells = [cell for cell, _ in found.values()]
    if len(cells) * len({cell.seed for cell in cells}) > 10_000_000:
        fail(f"{len(cells)} cells of so many seeds are too much for one report")
    return cells


def published(cell):
    """The authors' accuracies after fine-tuning, for this data set and network: {(order, data ratio, prune ratio): %}.

    Unlike ours, theirs has a baseline of its own for every data ratio.
    """
    with open(PUBLISHED, newline="") as file:
        rows = [r for r in csv.DictReader(file) if (r["dataset"], r["model"].lower()) == (cell.dataset, cell.model)]
    place = lambda row: (float(row["data_ratio"]), float(row["prune_ratio"]))  # noqa: E731
    return {(order, *place(row)): float(row[f"{order}_finetuned"]) for row in rows for order in ("base", "low", "high")}


class Grid:
    """The cells that have, or serve, one protocol and one way of pruning; and the places that a table of them has."""

    def __init__(self, protocol, pruning, cells):
        shown = [c for c in cells if c.pruning == pruning and c.protocol == project(protocol, c.order)]
        own = [c for c in shown if c.protocol == protocol]
        known = list(COLOURS)
        self.protocol, self.pruning, self.cells = protocol, pruning, defaultdict(dict)
        for cell in shown:
            self.cells[cell.place[2:]][cell.seed] = cell
        self.orders = sorted({c.order for c in shown}, key=lambda o: (known.index(o) if o in known else len(known), o))
        self.seeds, self.prune_ratios = (sorted({getattr(c, f) for c in own}) for f in ("seed", "prune_ratio"))
        ratios = [sorted({c.data_ratio for c in part if c.order not in ("base", "none")}) for part in (own, shown)]
        self.data_ratios = ratios[0] or ratios[1] or [1.0]
        self.places = list(itertools.product(self.data_ratios, self.prune_ratios))

    def at(self, order, data_ratio, prune_ratio):
        """{seed: Cell} of one place."""
        return self.cells.get((order, {"base": 1.0, "none": 0.0}.get(order, data_ratio), prune_ratio), {})


def split(cells):
    """A Grid per protocol and pruning, but for protocols whose cells are all in the rows of another.

    The baseline of released is that of frozen+regrown, its random networks are those of regrown: they are one row.
    """
    grids = []
    for pruning in sorted({cell.pruning for cell in cells}):
        orders = defaultdict(set)
        for cell in cells:
            if cell.pruning == pruning:
                orders[cell.protocol].add(cell.order)
        inside = lambda name, other: other != name and all(project(other, o) == name for o in orders[name])  # noqa: E731
        names = [name for name in orders if not any(inside(name, other) for other in orders)]
        place = {name: [list(DEPARTURES).index(n) if n in DEPARTURES else -1 for n in departures(name)] for name in names}
        grids += [Grid(name, pruning, cells) for name in sorted(names, key=lambda name: (len(place[name]), place[name]))]
    return grids


# ----------------------------------------------------------------------------------------------------- statistics


class Estimate(NamedTuple):
    """What a statistic becomes: a mean over seeds, what is known of it, and how that is printed."""

    values: tuple  # of each seed, in percent or percentage points
    sign: str = "+"  # "" for an accuracy
    networks: int = 1  # that it rests on
    half: float | None = None  # of the 95 % interval
    p: float | None = None  # of no difference, Holm-corrected over the table
    published: float | None = None
    inside: bool | None = None  # whether the published value lies in the prediction interval of one new run

    @property
    def mean(self):
        return statistics.fmean(self.values)

    def texts(self, count):
        """The estimate, its p and the published value; `count` adds the number of seeds."""
        half = "" if self.half is None else f" ± {self.half:.2f}"
        star = " *" if self.p is not None and self.p <= 0.05 else ""
        p = "-" if self.p is None or len(self.values) < 6 else f"{self.p:.3f}"
        theirs = "-" if self.published is None else f"{self.published:+.2f}"
        inside = {None: "", True: " in", False: " out"}[self.inside]
        return f"{self.mean:{self.sign}.2f}{half}{star}" + (f" ({len(self.values)})" if count else ""), p, theirs + inside


def t_inside(t, df):
    """The probability that Student's t with df degrees of freedom lies in [-t, t].

    In theta = atan(t / sqrt(df)) its density is cos(theta)^(df - 1); summed by the midpoint rule.
    """
    steps = (np.arange(20_000) + 0.5) / 20_000
    within, whole = (end * (np.cos(end * steps) ** (df - 1)).sum() for end in (math.atan(t / math.sqrt(df)), math.pi / 2))
    return within / whole


@functools.cache
def t_quantile(df):
    """t such that Student's t with df degrees of freedom lies in [-t, t] with 95 % probability, by bisection."""
    low, high = 0.0, 100.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if t_inside(middle, df) < 0.95 else (low, middle)
    return high


class Spread(NamedTuple):
    """The standard deviation of one result in a table, in percentage points, and its degrees of freedom."""

    sigma: float
    df: int

    def half(self, variance):
        """Half of the 95 % interval of an estimate whose variance is that many sigma^2; None if sigma is not known."""
        return t_quantile(self.df) * self.sigma * math.sqrt(variance) if self.df > 0 else None

    def p(self, mean, half):
        """Two-sided p-value of the t test of no difference."""
        return 1 - t_inside(abs(mean) / half * t_quantile(self.df), self.df) if half else float(mean == 0)


def spread(cells, unit, value):
    """The pooled Spread of `value`, an attribute of Cell: accuracy = place + seed + residual, by least squares.

    unit: "place", or "network" for a mean over prune ratios, which share their network's luck. Not every place needs
    every seed. A network that two protocols share counts once.
    """
    once = {(c.pruning, *c.place[2:], c.seed, c.dense, c.curve): c for c in cells}.values()
    groups, y = defaultdict(list), residuals([(c.place, c.seed, getattr(c, value)) for c in once])[0]
    for cell, residual in zip(once, y):
        groups[getattr(cell, unit), cell.seed].append(residual)
    y, df = residuals([(*key, statistics.fmean(group)) for key, group in groups.items()])
    return Spread(math.sqrt(y @ y / df) if df > 0 else math.nan, df)


def residuals(rows):
    """Of the least squares fit y = place + seed to rows (place, seed, y): float64 [N], and the degrees of freedom.

    Places are taken out first, as means of y and of the seeds' indicators alike (Frisch and Waugh, 1933).
    """
    places, seeds, y = zip(*rows)
    number = {place: i for i, place in enumerate(dict.fromkeys(places))}
    place = np.array([number[key] for key in places])
    design = np.column_stack([*(np.equal(seeds, seed) for seed in sorted(set(seeds))), y]).astype(float)
    means = np.zeros((len(number), design.shape[1]))
    np.add.at(means, place, design)
    design -= (means / np.bincount(place)[:, None])[place]
    effects, _, rank, _ = np.linalg.lstsq(design[:, :-1], design[:, -1], rcond=1e-9)
    return design[:, -1] - design[:, :-1] @ effects, len(y) - len(number) - int(rank)


def difference(grid, one, other, places, pooled, value="last"):
    """The Estimate of order one - order other over places [(data ratio, prune ratio)], averaged within a seed first.

    It rests on the seeds that have the most of these places; None if there is no pair. pooled: the Spread of a place
    where there is one place, of a network where there are several.
    """
    pairs = defaultdict(list)
    for place in places:
        ours, theirs = grid.at(one, *place), grid.at(other, *place)
        for seed in sorted(ours.keys() & theirs.keys()):
            pairs[seed].append((ours[seed], theirs[seed]))
    most = max(map(len, pairs.values()), default=0)
    pairs = [found for found in pairs.values() if len(found) == most]
    values = tuple(statistics.fmean(getattr(a, value) - getattr(b, value) for a, b in found) for found in pairs)
    shares = Counter()
    for cell in itertools.chain(*itertools.chain(*pairs)):
        shares[cell.network, cell.seed] += 1 / most
    half = pooled.half(sum(share**2 for share in shares.values()) / len(values) ** 2) if values else None
    return Estimate(values, networks=len(shares), half=half) if values else None


def sign_flip_p(values):
    """Two-sided p-value of the mean under flips of every value's sign: the share of flips as far from 0.

    All 2^n up to 20 values; beyond, 100,000 drawn with seed 0, the observed one among them.
    """
    random, exact = np.random.default_rng(0), len(values) <= 20
    sums = np.zeros(1 if exact else 99_999)
    for value in values:
        sums = np.concatenate([sums + value, sums - value]) if exact else sums + value * random.choice([-1, 1], len(sums))
    observed = abs(math.fsum(values))
    far = (abs(sums) >= observed - 1e-9 * max(1.0, observed)).sum()
    return float(far / len(sums) if exact else (far + 1) / (len(sums) + 1))


def holm(p_values):
    """The p-values adjusted for their number (Holm, 1979), in the order given."""
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, i in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[i]))
        adjusted[i] = largest
    return adjusted


# --------------------------------------------------------------------------------------------------------- tables


def title(*orders):
    return " - ".join(order[:1].upper() + order[1:] for order in orders)


def start_row(grids, grid, data_ratio=None, prune_ratio=None):
    """The first fields of a row; protocol and pruning only where the grids differ in them."""
    several = {field: len({getattr(g, field) for g in grids}) > 1 for field in ("protocol", "pruning")}
    return {
        "Data Ratio": None if data_ratio is None else f"{data_ratio:g}",
        "Prune Ratio": None if prune_ratio is None else f"{prune_ratio:g}",
        "Protocol": grid.protocol if several["protocol"] else None,
        "Pruning": (grid.pruning or "magnitude") if several["pruning"] else None,
    }


def table_rows(grids, pooled, theirs):
    """Table 1, and the ablation: {title: text, Estimate or None} for every place and grid.

    pooled: the Spread of a place; theirs: the published accuracies.
    """
    rows, found = [], {order for grid in grids for order in grid.orders}
    orders = sorted(found - {"base"}, key=lambda o: [*COLOURS, *sorted(found)].index(o))
    pairs = [(order, "base") for order in orders]
    pairs += [(order, "random") for order in orders if "random" in found and order not in ("random", "matched", "none")]
    for place in sorted({place for grid in grids for place in grid.places}):
        for grid in (grid for grid in grids if place in grid.places):
            row, base = start_row(grids, grid, *place), grid.at("base", *place)
            for order in ("base", *orders):  # an accuracy stands alone where it has no baseline
                cells = grid.at(order, *place)
                alone = cells and (order == "base" or not cells.keys() & base.keys())
                row[title(order)] = Estimate(tuple(cell.last for cell in cells.values()), "") if alone else None
            for one, other in pairs:
                row[title(one, other)] = e = difference(grid, one, other, [place], pooled)
                ends = theirs.get((one, *place)), theirs.get((other, *place))
                if e and e.half is not None:
                    e = e._replace(p=pooled.p(e.mean, e.half))
                if e and None not in ends and not grid.pruning and set(departures(grid.protocol)) <= set(DEPARTURES):
                    gap, reach = ends[0] - ends[1], pooled.half(2 + 2 / len(e.values))
                    e = e._replace(published=gap, inside=None if reach is None else abs(gap - e.mean) <= reach)
                row[title(one, other)] = e
            rows.append(row)
    tests = [(row, name) for row in rows for name, e in row.items() if isinstance(e, Estimate) and e.p is not None]
    for (row, name), p in zip(tests, holm([row[name].p for row, name in tests])):
        row[name] = row[name]._replace(p=p)
    return rows


def effect_rows(grids, pooled, late):
    """The main effects, {title: text, Estimate or None}; pooled and late: Spreads of a network, at the end and of last_three."""
    rows, ratios = [], sorted({ratio for grid in grids for ratio in grid.data_ratios})
    pairs = ("low", "base"), ("high", "base"), ("low", "random"), ("high", "random"), ("low", "high")
    for grid, pair in itertools.product(grids, pairs):
        if whole := difference(grid, *pair, grid.places, pooled):
            row = start_row(grids, grid) | {"Main effect": title(*pair), "All cells": whole}
            for ratio in ratios if len(ratios) > 1 else ():
                places = [place for place in grid.places if place[0] == ratio]
                row[f"Data Ratio {ratio:g}"] = difference(grid, *pair, places, pooled)
            row["Last three epochs"] = difference(grid, *pair, grid.places, late, "last_three")
            row["Networks"], row["Seeds"] = str(whole.networks), str(len(whole.values))
            row["Sign flips"] = f"{sign_flip_p(whole.values):.3f}" if len(whole.values) >= 6 else None
            rows.append(row)
    return rows


def cost_rows(grids):
    """What networks cost and how their classes fare, {title: text} for every order and place; means over seeds."""
    fields = {"Accuracy": ("last", 2), "Before pruning": ("dense", 2), "its worst class": ("worst_class", 1)}
    fields |= {"sd over classes": ("class_sd", 1), "samples x epochs": ("trained", 0), "parameters": ("parameters", 0)}
    fields |= {"not zero": ("nonzero", 0), "live weights": ("live", 0), "of them not zero": ("live_nonzero", 0)}
    rows = []
    for grid in grids:
        for order, d, p in sorted(grid.cells, key=lambda key: (grid.orders.index(key[0]), key)):
            cells = grid.at(order, d, p).values()
            row = {"Order": order} | start_row(grids, grid, d, p) | {"Seeds": str(len(cells))}
            for name, (field, digits) in fields.items():
                row[name] = f"{statistics.fmean(getattr(cell, field) for cell in cells):.{digits}f}"
            rows.append(row | {"seconds": f"{statistics.fmean(c.first_seconds + c.seconds for c in cells):.0f}"})
    return rows


def columns(rows):
    """Titles, and the texts of every row; without columns that have no value. p and published stand beside an Estimate."""
    count = len({len(e.values) for row in rows for e in row.values() if isinstance(e, Estimate)}) > 1
    titles, texts = [], []
    for name in rows[0]:
        cells = [row[name] for row in rows]
        parts = [cell.texts(count) if isinstance(cell, Estimate) else (cell or "-", "-", "-") for cell in cells]
        for heading, column in zip((name, "p", "published"), zip(*parts)):
            if set(column) != {"-"}:
                titles.append(heading)
                texts.append(column)
    return titles, list(zip(*texts))


def legend(rows, effects, pooled, network):
    """What the signs in the tables mean, a line each."""
    estimates = [e for row in rows for e in row.values() if isinstance(e, Estimate)]
    tests = [e for e in estimates if e.p is not None]
    lines = ["Test accuracy in %, differences in percentage points, paired by seed."]
    if tests:
        lines += [
            f"±: half of the 95 % interval, for one split of the data and this recipe. Its spread is pooled over the table: accuracy = "
            f"cell + seed + residual, sigma {pooled.sigma:.2f}, {pooled.df} degrees of freedom.",
            f"*: not 0, by a t test with that spread at 5 %, Holm-corrected over the table's {len(tests)} differences. "
            "p, from 6 seeds up: the same test's.",
        ]
    else:
        lines.append("No interval: that takes two seeds in two cells.")
    if any(e.inside is not None for e in estimates):
        lines.append("in, out: the published difference lies inside or outside of the 95 % prediction interval of one new run.")
    if len({len(e.values) for e in estimates}) > 1:
        lines.append("(n): seeds.")
    if effects and tests:
        lines.append(
            f"Main effects are averaged within a seed; their unit is the network, sigma {network.sigma:.2f}, {network.df} degrees of "
            "freedom. Last three epochs: the same of the mean accuracy after them. Sign flips: p of that test, not corrected."
        )
    return lines


def notes(cells, grids, rows=(), effects=()):
    """What the report was made from and what can be said of it, a line each."""
    cell, theirs = cells[0], published(cells[0])
    first = next((c.first for c in cells if c.first), "none")
    shared = {(*c.network, c.seed): c.first_seconds for c in cells}
    seconds = sum(shared.values()) + sum(c.seconds for c in cells)
    seeds = " ".join(map(str, sorted({c.seed for c in cells})))
    lines = [
        f"{cell.model} on {cell.dataset} ({cell.data}), protocol {', '.join(dict.fromkeys(g.protocol for g in grids))}, seeds {seeds}.",
        f"First training: {first}. Fine-tuning: {cell.tuning}.",
        f"{len(cells)} cells, made in {seconds / 3600:.2f} h of steps, one after the other, on "
        + "; ".join(f"{machine} ({n} cells)" for machine, n in Counter(c.machine for c in cells).items()) + ".",
    ]
    missing = {
        (project(grid.protocol, order), grid.pruning, order, order in ("base", "none") or d, p, seed)
        for grid in grids
        for order, (d, p), seed in itertools.product(grid.orders, grid.places, grid.seeds)
        if seed not in grid.at(order, d, p)
    }
    if missing:
        lines.append(f"{len(missing)} cells of this table are missing; make -n names them.")
    measured = [e for row in rows for e in row.values() if isinstance(e, Estimate) and e.published is not None]
    if measured:
        agree, inside = sum(e.mean * e.published > 0 for e in measured), [e.inside for e in measured if e.inside is not None]
        compatible = f", {sum(inside)} of {len(inside)} are compatible with ours" if inside else ""
        lines.append(f"Of {len(measured)} published differences, {agree} have the sign of ours{compatible}.")
        gaps = defaultdict(list)
        for (order, d, p), accuracy in theirs.items():
            if order == "low":
                gaps[d].append(accuracy - theirs["high", d, p])
        means = [statistics.fmean(gap) for gap in gaps.values()]
        half = t_quantile(len(means) - 1) * statistics.stdev(means) / math.sqrt(len(means))
        lines.append(f"Published low - high: {statistics.fmean(means):+.2f} ± {half:.2f}, over {len(means)} data ratios whose cells share networks.")
        size = DATASETS[cell.dataset][2]
        if not cell.data.startswith(f"{size} ") or {first[:10], cell.tuning[:10]} != {"10 epochs,"}:
            lines.append(f"The published numbers are for {size} training images and 10 and 10 epochs: another experiment.")
    margin = MARGIN.get(cell.dataset, 0)
    for row in effects:
        e = row["All cells"]
        if e.half is not None and abs(e.mean) + e.half < margin:
            name = f"{row['Main effect']} {row['Protocol'] or ''}".strip()
            lines.append(f"{name}: equivalent, its interval lies within ± {margin} points.")
    return lines


def render(tables, legend, notes, style):
    """Tables [(titles, lines)] as text, markdown or latex; below them what their signs mean, and the notes."""
    out, dash = [], "- " if style == "markdown" else ""
    if style == "latex":
        tabulars = itertools.chain(*itertools.starmap(tabular, tables))
        out = ["% needs \\usepackage{booktabs}", *tabulars, *map(escape, legend), *(f"% {note}" for note in notes)]
        return "\n".join(out) + "\n"
    for titles, lines in tables:
        widths = [max(2, *map(len, column)) for column in zip(titles, *lines)]  # markdown's rule is "-:" at least
        lines = [[field.rjust(width) for field, width in zip(line, widths)] for line in (titles, *lines)]
        if style == "markdown":
            lines.insert(1, ["-" * (width - 1) + ":" for width in widths])
        out += [f"| {' | '.join(line)} |" if style == "markdown" else "  ".join(line) for line in lines] + [""]
    return "\n".join(out + [dash + line for line in (*legend, *notes)]) + "\n"


def tabular(titles, lines):
    """The lines of LaTeX tabulars, each narrow enough for a page and with the columns that say what a row is."""
    keys, groups = [], []
    for column in zip(titles, *lines):
        if column[0] in ("Order", "Data Ratio", "Prune Ratio", "Protocol", "Pruning", "Main effect"):
            keys.append(column)
        elif column[0] in ("p", "published"):
            groups[-1].append(column)
        else:
            groups.append([column])
    while groups:
        part = keys + groups.pop(0)
        while groups and sum(2 + max(map(len, column)) for column in part + groups[0]) <= 84:
            part += groups.pop(0)
        body = [" & ".join(map(escape, line)) + r" \\" for line in zip(*part)]
        yield from (rf"\begin{{tabular}}{{{'r' * len(part)}}}", r"\toprule", body[0], r"\midrule", *body[1:])
        yield from (r"\bottomrule", r"\end{tabular}", "")


def escape(text):
    """Text for LaTeX, its minus signs as minus."""
    text = re.sub(r"([%&#_$^{}])", r"\\\1", text).replace("±", r"$\pm$")
    return re.sub(r"(?<!\S)([-+])(?=\d| )", r"$\1$", text)


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
    date = {"svg": "Date", "pdf": "CreationDate"}.get(kind)
    with replacing(path) as file:
        figure.savefig(file, format=kind, bbox_inches="tight", metadata={date: None} if date else None)


def figure1(cells, grid, plt, colours):
    """Paper, figure 1: test accuracy over fine-tuning, a line per order with the range of seeds, a panel per place."""
    rows, width = len(grid.data_ratios), len(grid.prune_ratios)
    size = {"figsize": (1.0 + 2.1 * width, 1.0 + 1.6 * rows), "layout": "constrained"}
    figure, axes = plt.subplots(rows, width, sharex=True, sharey=True, squeeze=False, **size)
    shown, fewer = [], False
    for axis, place in zip(axes.flat, grid.places):
        for order in grid.orders:
            curves = np.array([cell.accuracies[1:] for cell in grid.at(order, *place).values()])
            if curves.size:
                epochs = range(1, curves.shape[1] + 1)
                style = {"color": colours[order], "ls": "-" if len(curves) == len(grid.seeds) else "--"}
                axis.plot(epochs, curves.mean(0), lw=1.2, gid=f"line-{order}-{place[0]:g}-{place[1]:g}", **style)
                axis.fill_between(epochs, curves.min(0), curves.max(0), color=colours[order], alpha=0.15, lw=0)
                fewer |= style["ls"] == "--"
                shown += [curves.min(), curves.max()] if order != "none" else []
        axis.set_title(f"{100 * place[0]:g} % of the data, {100 * place[1]:g} % pruned", fontsize=8)
    if shown:
        margin = 0.05 * (max(shown) - min(shown)) or 0.5
        axes[0, 0].set_ylim(min(shown) - margin, max(shown) + margin)
    figure.supylabel("test accuracy (%)")
    figure.supxlabel("epoch of fine-tuning")
    words = ["line and band: mean and range of the seeds"] if len(grid.seeds) > 1 else []
    words += ["dashed: of fewer seeds"] * fewer + ["the axis leaves out none"] * ("none" in grid.orders and len(grid.orders) > 1)
    return figure, words


def figure2(cells, grid, plt, colours):
    """Paper, figure 2: test accuracy after the first training and after pruning, bars per order, a panel per data ratio."""
    count = len(grid.data_ratios)
    size = {"figsize": (0.8 + 2.7 * count, 2.6), "layout": "constrained"}
    figure, axes = plt.subplots(1, count, sharey=True, squeeze=False, **size)
    orders = [order for order in grid.orders if order != "none"] or grid.orders
    width, numbers = 0.8 / len(orders), set()
    for axis, d in zip(axes.flat, grid.data_ratios):
        for (i, order), (j, p) in itertools.product(enumerate(orders), enumerate(grid.prune_ratios)):
            group = grid.at(order, d, p).values()
            for state, values in (("before", [c.dense for c in group]), ("after", [c.accuracies[0] for c in group])):
                if values:
                    look = {"edgecolor": colours[order], "facecolor": colours[order] if state == "after" else "none"}
                    error = {"yerr": statistics.stdev(values), "error_kw": {"lw": 0.9, "ecolor": "#888888"}} if len(values) > 1 else {}
                    x = j + width * (i - (len(orders) - 1) / 2)
                    bars = axis.bar(x, statistics.fmean(values), 0.85 * width, lw=0.8, **look, **error)
                    bars[0].set_gid(f"bar-{state}-{order}-{d:g}-{p:g}")
                    numbers.add(len(values))
        axis.set_title(f"{100 * d:g} % of the data", fontsize=8)
        axis.set_xticks(range(len(grid.prune_ratios)), [f"{100 * p:g}" for p in grid.prune_ratios])
    figure.supylabel("test accuracy (%)")
    figure.supxlabel("pruned weights (%)")
    words = ["outline: before pruning, filled: after"]
    seeds = " to ".join(map(str, sorted({min(numbers), max(numbers)})))
    return figure, words + [f"error bars: one standard deviation of {seeds} seeds"] * (max(numbers) > 1)


def draw(figure_of, cells, out):
    """Write the figure that figure_of draws, with its title and a legend of the orders."""
    grids = split(cells)
    if len(grids) > 1:
        names = ", ".join(f"{g.protocol} {g.pruning}".strip() for g in grids)
        fail(f"a figure shows one protocol and one way of pruning, and the files have {names}")
    grid, plt, spare = grids[0], pyplot(), itertools.cycle(("#56B4E9", "#E69F00", "#F0E442", "#8B4513"))
    colours = {order: COLOURS.get(order) or next(spare) for order in grid.orders}
    figure, words = figure_of(cells, grid, plt, colours)
    heading = f"{cells[0].model} on {cells[0].dataset}, protocol {grid.protocol}"
    heading += f" ({grid.pruning})" if grid.pruning else ""
    heading += f", seed{'s' * (len(grid.seeds) > 1)} {' '.join(map(str, grid.seeds))}"
    figure.suptitle("\n".join([heading, *words]), fontsize=8)
    handles = [plt.Line2D([], [], color=colours[order], lw=3, label=order) for order in grid.orders]
    figure.legend(handles=handles, loc="outside lower center", ncols=4)
    save_figure(figure, out)


# --------------------------------------------------------------------------------------------------- command line

KINDS = {
    "table": "Table 1, or an ablation: differences to the baseline, with intervals and the published numbers",
    "costs": "what every network costs: samples, parameters, seconds; and how its classes fare",
    "cells": "a csv line per checkpoint, from which the tables and figures can be made again",
    "figure1": "test accuracy over the epochs of fine-tuning",
    "figure2": "test accuracy before and after pruning",
}


def asked_for(parser, text):
    """{field: (value, who asked)} of the training flags in `text`, for load_cells."""
    asked = Parser("")
    asked.add_training_flags()
    asked.add_device_flags()
    asked.add_argument("--tune-epochs", type=int)
    try:
        flags = vars(asked.parse_args(shlex.split(text)))
    except ValueError as error:
        parser.error(f"argument --asked: {error}")
    tuning = flags | {"epochs": flags["epochs"] if flags["tune_epochs"] is None else flags["tune_epochs"]}
    return {"first": (settings(flags), "--asked"), "tuning": (settings(tuning), "--asked")}


def main():
    parser = Parser(__doc__)
    kinds = parser.add_subparsers(dest="what", required=True, metavar="WHAT")
    for name, words in KINDS.items():
        kind = kinds.add_parser(name, help=words, doc=words)
        kind.add_argument("inputs", nargs="+", metavar="IN", help="finetuned.pt files, or csv of `cells`")
        figure = name.startswith("figure")
        kind.add_argument("--out", required=figure, metavar="FILE", help="the file to write (default: print)")
        kind.add_argument("--asked", metavar="FLAGS", help="training flags that the files must have, in one string")
        if name in ("table", "costs"):
            styles = ["text", "markdown", "latex"]
            kind.add_argument("--format", choices=styles, default="text", help="of the output (default: text)")
    args = parser.start("out")

    cells = load_cells(args.inputs, {} if args.asked is None else asked_for(parser, args.asked))
    if args.what in ("figure1", "figure2"):
        return draw({"figure1": figure1, "figure2": figure2}[args.what], cells, args.out)
    grids = split(cells)
    if args.what == "cells":
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([Cell._fields, *cells])
        text = text.getvalue()
    elif args.what == "costs":
        counted = "samples x epochs count the scoring run of scored orders, seconds do not."
        text = render([columns(cost_rows(grids))], [counted], notes(cells, grids), args.format)
    else:
        place, network, late = (spread(cells, *what) for what in (("place", "last"), ("network", "last"), ("network", "last_three")))
        rows = table_rows(grids, place, published(cells[0]))
        effects = effect_rows(grids, network, late)
        tables = [columns(part) for part in (rows, effects) if part]
        text = render(tables, legend(rows, effects, place, network), notes(cells, grids, rows, effects), args.format)
    try:
        with replacing(args.out) if args.out else open(1, "wb", closefd=False) as file:
            file.write(text.encode())
    except OSError as error:
        fail(f"cannot print ({first_line(error)})")


if __name__ == "__main__":
    main()
