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
from train import DATASETS, Parser, contents, fail, first_line, read, replacing

DEPARTURES = {  # of the authors' program from the paper's text: (step, setting, the text's value, the program's)
    "shuffled": ("forget", "positions", "fixed", "shuffled"),
    "flipped": ("forget", "events", "forgotten", "flipped"),
    "frozen": ("forget", "batchnorm", "train", "frozen"),
    "indexed": ("select", "ties", "lot", "index"),
    "regrown": ("finetune", "mask", "hold", "release"),
}
COLOURS = {"base": "#000000", "low": "#0072B2", "high": "#D55E00", "random": "#009E73"}  # Okabe and Ito
COLOURS |= {"matched": "#CC79A7", "none": "#999999"}  # orders as tables and figures show them; others come after
ALONE = {"base": 1.0, "none": 0.0}  # orders of no data ratio, and what stands in its place
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
    curve: str  # % after pruning, and after every epoch of fine-tuning
    classes: str  # % of every class before pruning, after it, and after fine-tuning; "" in older files
    trained: int  # samples times epochs of all trainings, with the scoring run where the order needs one
    parameters: int
    nonzero: int  # parameters less the pruned weights that are zero
    live: int  # prunable weights that can get a gradient
    live_nonzero: int
    first_seconds: float  # of the first training, which cells of several prune ratios share
    seconds: float  # of pruning and fine-tuning
    machine: str  # device and versions

    @property
    def place(self):
        """What tells the cell from others, but for its seed; without the prune ratio, what tells its network."""
        return self.protocol, self.pruning, self.order, self.data_ratio, self.prune_ratio

    @property
    def way(self):
        """The way of pruning as tables call it."""
        return self.pruning or "magnitude"

    @property
    def accuracies(self):
        return [float(accuracy) for accuracy in self.curve.split()]

    @property
    def by_class(self):
        """float64 [3, classes], or [3, 0]."""
        return np.array(self.classes.split(), dtype=np.float64).reshape(3, -1)

    def end(self, epochs=1):
        """The mean accuracy after the last epochs of fine-tuning, or, of 0 epochs, after pruning, %."""
        return statistics.fmean((self.accuracies[1:] or self.accuracies)[-epochs:] if epochs else self.accuracies[:1])


AGREE, RESULT = Cell._fields[:5], Cell._fields[11:19]  # what all files must agree in; what two files of the same cell


def departures(protocol):
    """The list of departures in a protocol's name."""
    return {"": [], "paper": [], "released": list(DEPARTURES)}.get(protocol, protocol.split("+"))


def rank(protocol):
    """Where a protocol comes among others: with fewer departures first."""
    numbers = [list(DEPARTURES).index(name) if name in DEPARTURES else -1 for name in departures(protocol)]
    return len(numbers), numbers


def project(protocol, order):
    """The protocol without the departures on which no bit of a cell of that order can depend.

    So one random network serves every protocol with the same mask.
    """
    names = sorted(set(departures(protocol)), key=rank)
    if order == "base":
        names = [name for name in names if name in ("frozen", "regrown")]
    elif order.split()[0] in UNSCORED:
        names = [name for name in names if name == "regrown"]
    elif " of own" in order:
        names = [name for name in names if name in ("indexed", "regrown")]
    return "released" if names == list(DEPARTURES) else "+".join(names) or "paper"


def load_cell(path):
    """The Cell of a checkpoint; exits with one line if its last steps are not a pruning and a fine-tuning."""
    checkpoint = read(path)
    try:
        args, earlier = checkpoint["args"], checkpoint["earlier"]
        steps = [name for name in args if name not in ("forget", "select", "train")]
        prunes, tunes = ([args[s] for s in steps if s.split("-")[0] == kind] for kind in ("prune", "finetune"))
        if not prunes or not tunes or args[steps[-1]] is not tunes[-1]:
            raise ValueError("run prune.py and then finetune.py on it")
        first = "train" if "train" in args else "forget"
        origin, dense = args[first], earlier[first]
        for key, of in (("seed", args.values()), ("mask", tunes)):
            if len(found := sorted({str(flags[key]) for flags in of if key in flags})) > 1:
                raise ValueError(f"its steps have --{key} {' and '.join(found)}")
        order, data_ratio = order_of(args, origin)
        scored = "forget" in args and order.split()[0] not in ("base", *UNSCORED)
        trainings = [origin, *tunes, *([args["forget"]] if scored else [])]
        names = []
        for name, (step, setting, text, program) in DEPARTURES.items():
            value = (tunes[-1] if step == "finetune" else args.get(step, {})).get(setting, text)
            if value != text:  # a third value, such as toneva, is a departure of its own
                names.append(name if value == program else value)
        pruned = earlier[[step for step in steps if step.startswith("prune")][-1]]
        by_class = (x for history in (dense, pruned, checkpoint) for x in history["class_accuracy"])
        tune, versions = tunes[-1], (f"{name} {version}" for name, version in checkpoint["versions"].items())
        values = {
            **{key: origin[key] for key in ("dataset", "model", "seed")},
            "data": f"{origin['train_size']} + {origin['test_size']} images, digest {origin['data']}",
            **{"first": "" if order == "none" else settings(origin), "tuning": settings(*tunes)},
            **{"protocol": project("+".join(names), order), "order": order, "data_ratio": data_ratio},
            **{"prune_ratio": prunes[-1]["ratio"], "pruning": pruning_of(steps, prunes, tunes)},
            "dense": dense["accuracy"][-1],
            "curve": " ".join(f"{accuracy:.6g}" for accuracy in checkpoint["accuracy"]),
            "classes": " ".join(f"{accuracy:.6g}" for accuracy in by_class),
            "trained": sum(flags.get("samples", flags["train_size"]) * flags["epochs"] for flags in trainings),
            **{"parameters": tune["parameters"], "nonzero": tune["parameters"] - tune["zeros"]},
            **{"live": tune["live"], "live_nonzero": tune["live"] - tune["live_zeros"]},
            "first_seconds": dense["seconds"],
            "seconds": checkpoint["seconds"] + sum(earlier[step]["seconds"] for step in steps[:-1]),
            "machine": f"{checkpoint['device']}; {', '.join(versions)}",
        }
        return check(values[field] for field in Cell._fields)
    except Exception as error:
        fail(f"{path} is not a pruned network that finetune.py wrote ({type(error).__name__}: {first_line(error)})")


def order_of(args, origin):
    """The order and the data ratio of a coreset network, the baseline or a control."""
    samples, share = origin.get("samples", origin["train_size"]), origin.get("share", 1.0)
    order, ratio = "base", 1.0
    if select := args.get("select"):
        own = "" if "forget" in args else f" of own {select.get('scores', '')[:8]}".rstrip()
        order, ratio = select["order"] + own, select["ratio"]
    elif origin["epochs"] == 0:
        order, ratio = "none", 0.0
    elif origin.get("subset") or share >= 1 and samples < origin["train_size"]:
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
    alternate = [step.split("-")[0] for step in steps] == ["prune", "finetune"] * len(prunes)
    if len(steps) > 2:
        ratios, epochs = [flags["ratio"] for flags in prunes], [flags["epochs"] for flags in tunes]
        even = 1 - (1 - ratios[-1]) ** (np.arange(1, len(ratios) + 1) / len(ratios))
        if alternate and len(set(epochs)) == 1 and np.allclose(ratios, even, rtol=0, atol=1e-5):
            words.append(f"{len(ratios)} rounds")  # each leaves the same share of what it found, as p0.8-5x does
        else:
            words.append(f"prune {' '.join(f'{r:g}' for r in ratios)}, tune {' '.join(f'{e:g}' for e in epochs)}")
    if not alternate:
        words.append(f"steps {' '.join(steps)}")
    return ", ".join(dict.fromkeys(words))


def check(values):
    """The Cell of these values, or of their texts; ValueError says which of them cannot be."""
    cell = Cell(*(kind(value) for kind, value in zip(Cell.__annotations__.values(), values, strict=True)))
    by_class = cell.by_class
    parts = [("curve", accuracy) for accuracy in cell.accuracies] + [("classes", x) for x in by_class.flat]
    for name, value in [*cell._asdict().items(), *parts]:
        most = {"dense": 100.001, "curve": 100.001, "classes": 100.001, "prune_ratio": 1}.get(name, 1e18)
        if not (value.isprintable() if isinstance(value, str) else 0 <= value < most):  # nan is neither
            raise ValueError(f"{name} is {value!r}")
    if not cell.accuracies or not cell.order.strip() or cell.protocol != project(cell.protocol, cell.order):
        raise ValueError(f"curve {cell.curve!r}, order {cell.order!r}, protocol {cell.protocol!r}")
    if cell.classes and len(by_class[0]) != DATASETS[cell.dataset][0]:
        raise ValueError(f"classes has {by_class.size} numbers, not three for each of {cell.dataset}'s")
    if cell.data_ratio != ALONE.get(cell.order, cell.data_ratio):
        raise ValueError(f"data_ratio {cell.data_ratio} of {cell.order}")
    return cell


def read_csv(path):
    """The Cells of a csv that `report.py cells` wrote; exits with one line if it is anything else."""
    try:
        header, *lines = csv.reader(contents(path).getvalue().decode().splitlines(), strict=True)
        if header != list(Cell._fields) or not lines:
            raise ValueError("it has no cells" if not lines else "its first line does not name the fields of a cell")
        return [check(line) for line in lines]
    except Exception as error:
        fail(f"cannot read cells from {path} ({first_line(error)}); it must be a csv of `report.py cells`")


def write_csv(cells):
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows([Cell._fields, *cells])
    return out.getvalue()


def load_cells(paths, known):
    """The Cells of checkpoints and csv files, none twice.

    known: {field: (value, who asked for it)}. Exits with one line if a field of AGREE has two values, or if two files
    have the same cell with different results.
    """
    found = {}
    for path in paths:
        for cell in read_csv(path) if path.endswith(".csv") else [load_cell(path)]:
            facts = {field: getattr(cell, field) for field in AGREE if getattr(cell, field)}
            for field, value in (facts | {f"epochs of the curve {cell.pruning}": len(cell.accuracies)}).items():
                other, where = known.setdefault(field, (value, path))
                if value != other:
                    fail(f"{path} and {where} disagree in {field}: {value}; {other}. Report them apart")
            other, where = found.setdefault((*cell.place, cell.seed), (cell, path))
            pairs = {field: (getattr(cell, field), getattr(other, field)) for field in RESULT}
            if differ := [f"{field}: {one}; {two}" for field, (one, two) in pairs.items() if one != two]:
                name = " ".join(str(part) for part in cell.place if part != "")
                fail(f"{path} and {where} are one cell, {name} seed {cell.seed}, but differ in {', '.join(differ)}")
    cells = [cell for cell, _ in found.values()]
    places, seeds, ways = (len({getattr(cell, key) for cell in cells}) for key in ("place", "seed", "pruning"))
    if len(cells) * (places + seeds + ways**2) > 4_000_000:  # every two ways of pruning have a row
        fail(f"{len(cells)} cells are too many for one report; report protocols or ways of pruning apart")
    return cells


def published(cell):
    """The authors' accuracies after fine-tuning, for this data set and network: {(order, data ratio, prune ratio): %}.

    Unlike ours, theirs has a baseline of its own for every data ratio.
    """
    with open(PUBLISHED, newline="") as file:
        rows = [r for r in csv.DictReader(file) if (r["dataset"], r["model"].lower()) == (cell.dataset, cell.model)]
    places = [(float(row["data_ratio"]), float(row["prune_ratio"])) for row in rows]
    return {(o, *place): float(r[f"{o}_finetuned"]) for place, r in zip(places, rows) for o in ("base", "low", "high")}


class Grid:
    """The cells that have, or serve, one protocol and one way of pruning, by place; and what its own cells span."""

    def __init__(self, own, cells):
        self.protocol, self.pruning, self.cells = own[0].protocol, own[0].pruning, defaultdict(dict)
        shown = [c for c in cells if c.pruning == self.pruning and c.protocol == project(self.protocol, c.order)]
        for cell in shown:
            self.cells[cell.place[2:]][cell.seed] = cell
        self.orders = in_order(cell.order for cell in shown)
        self.seeds, self.prune_ratios = (sorted({getattr(c, name) for c in own}) for name in ("seed", "prune_ratio"))
        ratios = [sorted({c.data_ratio for c in part if c.order not in ALONE}) for part in (own, shown)]
        self.data_ratios = ratios[0] or ratios[1] or [1.0]
        self.places = list(itertools.product(self.data_ratios, self.prune_ratios))
        self.way = own[0].way

    def at(self, order, data_ratio, prune_ratio):
        """{seed: Cell} of one place."""
        return self.cells.get((order, ALONE.get(order, data_ratio), prune_ratio), {})

    def missing(self):
        """The keys of the cells that it spans and does not have."""
        spanned = itertools.product(self.orders, self.places, self.seeds)
        gaps = [(order, place, seed) for order, place, seed in spanned if seed not in self.at(order, *place)]
        return {(project(self.protocol, o), self.pruning, o, o in ALONE or d, p, seed) for o, (d, p), seed in gaps}


def in_order(orders):
    """Orders as tables and figures show them."""
    return sorted(set(orders), key=lambda order: ([*COLOURS, order].index(order), order))


def split(cells):
    """A Grid for every way of pruning and protocol, but for protocols whose cells are all in the rows of others.

    The baseline of released is that of frozen+regrown, its random networks are those of regrown: they are one row.
    """
    protocols, own = defaultdict(set), {}
    for cell in cells:
        protocols[cell.pruning].add(cell.protocol)
    for cell in sorted(cells, key=lambda cell: (cell.pruning, rank(cell.protocol))):
        others = protocols[cell.pruning] - {cell.protocol}
        if not any(project(other, cell.order) == cell.protocol for other in others):
            own.setdefault((cell.pruning, cell.protocol), []).append(cell)
    for cell in cells:  # none may be without a row
        rows = [key for key in own if key[0] == cell.pruning and project(key[1], cell.order) == cell.protocol]
        alone = cell.order in ALONE
        at = {(alone or c.data_ratio, c.prune_ratio) for key in rows for c in own[key]}
        if (alone or cell.data_ratio, cell.prune_ratio) not in at:
            own[max(rows, key=lambda key: key[1] == cell.protocol)].append(cell)
    return [Grid(group, cells) for group in own.values()]


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
        seeds = f" ({len(self.values)})" if count else ""
        p = "-" if self.p is None or len(self.values) < 6 else f"{self.p:.3f}" if self.p >= 0.001 else "<0.001"
        inside = {None: "", True: " in", False: " out"}[self.inside]
        theirs = "-" if self.published is None else f"{self.published:+.2f}{inside}"
        return f"{self.mean:{self.sign}.2f}{half}{star}{seeds}", p, theirs


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


class Spreads(NamedTuple):
    """Of one way of pruning: that of a cell, and that of a network's mean over prune ratios."""

    cell: Spread
    network: Spread


def t_inside(t, df):
    """The probability that Student's t with df degrees of freedom lies in [-t, t].

    In theta = atan(t / sqrt(df)) its density is as cos(theta)^(df - 1); summed by the midpoint rule.
    """
    steps, ends = (np.arange(20_000) + 0.5) / 20_000, (math.atan(t / math.sqrt(df)), math.pi / 2)
    within, whole = (end * (np.cos(end * steps) ** (df - 1)).sum() for end in ends)
    return within / whole


@functools.cache
def t_quantile(df):
    """t such that Student's t with df degrees of freedom lies in [-t, t] with 95 % probability, by bisection."""
    low, high = 0.0, 100.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if t_inside(middle, df) < 0.95 else (low, middle)
    return high


def spread(cells, epochs):
    """The Spreads of Cell.end(epochs), pooled over cells: accuracy = place + seed + residual, by least squares.

    Cells of several prune ratios, and of protocols that differ in the mask alone, share the luck of their network, so
    degrees of freedom count networks. Not every place needs every seed. A cell that two protocols share counts once.
    """
    unknown = Spreads(*[Spread(math.nan, 0)] * 2)
    once = {(*c.place[2:], c.seed, c.dense, c.curve): c for c in cells}.values()
    count = Counter(c.place for c in once)
    once = [c for c in once if count[c.place] > 1]  # the others have no residual
    if not once:
        return unknown
    groups, (y, most) = defaultdict(list), residuals([(c.place, c.seed, c.end(epochs)) for c in once])
    for cell, residual in zip(once, y):
        groups[cell.place[:4], cell.seed].append(residual)
    means, some = residuals([(*key, statistics.fmean(group)) for key, group in groups.items()])
    some = min(some, most)  # means of residuals know no more than the residuals
    trained = (("+".join(d for d in departures(c.protocol) if d != "regrown"), *c.place[2:4], c.seed) for c in once)
    df = min(some, residuals([(key[:-1], key[-1], 0.0) for key in dict.fromkeys(trained)])[1])
    if not df:
        return unknown
    return Spreads(Spread(math.sqrt(y @ y / most), df), Spread(math.sqrt(means @ means / some), df))


def pooled_spreads(cells):
    """{way of pruning: (Spreads of the last epoch, of the last three)}."""
    groups = defaultdict(list)
    for cell in sorted(cells, key=lambda cell: cell.pruning):
        groups[cell.way].append(cell)
    return {way: (spread(group, 1), spread(group, 3)) for way, group in groups.items()}


def residuals(rows):
    """Of the least squares fit y = place + seed to rows (place, seed, y): float64 [N], and the degrees of freedom."""
    levels = [(k, level) for k in (0, 1) for level in dict.fromkeys(row[k] for row in rows)]
    design = np.array([[row[k] == level for k, level in levels] for row in rows], dtype=np.float64)
    y = np.array([row[2] for row in rows])
    effects, _, rank, _ = np.linalg.lstsq(design, y, rcond=1e-9)
    return y - design @ effects, len(y) - int(rank)


def difference(grid, one, other, places, pooled, of=Cell.end):
    """The Estimate of order one - order other over places [(data ratio, prune ratio)], averaged within a seed first.

    It rests on the seeds that have the most of these places; None if there is no pair. of: what of a Cell is compared.
    pooled: the Spreads, of which the cell's counts where all places have one prune ratio, else the network's; None to
    go by these pairs alone.
    """
    pairs = defaultdict(list)
    for place in places:
        ours, theirs = grid.at(one, *place), grid.at(other, *place)
        for seed in sorted(ours.keys() & theirs.keys()):
            pairs[seed].append((ours[seed], theirs[seed]))
    most = max(map(len, pairs.values()), default=0)
    pairs = [found for found in pairs.values() if len(found) == most]
    if not pairs:
        return None
    shares, ratios = Counter(), set()
    for cell in itertools.chain(*itertools.chain(*pairs)):
        shares[cell.place[:4], cell.seed] += 1 / most
        ratios.add(cell.prune_ratio)
    values = tuple(statistics.fmean(of(a) - of(b) for a, b in found) for found in pairs)
    variance = sum(share**2 for share in shares.values()) / len(values) ** 2
    if pooled:
        half = (pooled.network if len(ratios) > 1 else pooled.cell).half(variance)
    else:
        half = paired_half(values)
    return Estimate(values, networks=len(shares), half=half)


def paired_half(values):
    """Half of the 95 % interval of the mean by the t test of these values alone; None of a single one."""
    return Spread(statistics.stdev(values), len(values) - 1).half(1 / len(values)) if len(values) > 1 else None


def sign_flip_p(values):
    """Two-sided p-value of the mean under flips of every value's sign: the share of flips as far from 0.

    All 2^n up to 20 values; beyond, 100,000 drawn with seed 0, the observed one among them.
    """
    random, exact = np.random.default_rng(0), len(values) <= 20
    sums = np.zeros(1 if exact else 99_999)
    for v in values:
        sums = np.concatenate([sums + v, sums - v]) if exact else sums + v * random.choice([-1, 1], len(sums))
    observed = abs(math.fsum(values))
    far = (abs(sums) >= observed - 1e-9 * max(1.0, observed)).sum()
    return float(far / len(sums) if exact else (far + 1) / (len(sums) + 1))


def holm(p_values):
    """The p-values adjusted for their number (Holm, 1979), a list in the order given."""
    order, count = np.argsort(p_values, kind="stable"), len(p_values)
    adjusted = np.empty(count)
    adjusted[order] = np.maximum.accumulate(np.array(p_values)[order] * np.arange(count, 0, -1)).clip(max=1)
    return adjusted.tolist()


# --------------------------------------------------------------------------------------------------------- tables


def title(*orders):
    return " - ".join(order[:1].upper() + order[1:] for order in orders)


def start_row(grids, grid, *place):
    """The first fields of a row: ratios, and protocol and pruning only where the grids differ in them."""
    row = dict(zip(("Data Ratio", "Prune Ratio"), (f"{ratio:g}" for ratio in place)))
    several = {field: len({getattr(g, field) for g in grids}) > 1 for field in ("protocol", "pruning")}
    row["Protocol"] = grid.protocol if several["protocol"] else None
    return row | {"Pruning": grid.way if several["pruning"] else None}


def table_rows(grids, spreads, theirs):
    """Table 1, and the ablation: {title: text, Estimate or None} for every place and grid.

    spreads: of `pooled_spreads`; theirs: the published accuracies.
    """
    rows, orders = [], in_order(order for grid in grids for order in grid.orders if order != "base")
    pairs = [(order, "base") for order in orders]
    pairs += [(o, "random") for o in orders if "random" in orders and o not in ("random", "matched", "none")]
    places = sorted({place for grid in grids for place in grid.places})
    for place, grid in ((place, grid) for place in places for grid in grids if place in grid.places):
        row, base, pooled = start_row(grids, grid, *place), grid.at("base", *place), spreads[grid.way][0]
        for order in ("base", *orders):  # another accuracy than base's is shown where it has no baseline
            cells = grid.at(order, *place)
            alone = cells and (order == "base" or not cells.keys() & base.keys())
            row[title(order)] = Estimate(tuple(cell.end() for cell in cells.values()), "") if alone else None
        comparable = not grid.pruning and set(departures(grid.protocol)) <= set(DEPARTURES)
        for one, other in pairs:
            found = difference(grid, one, other, [place], pooled)
            ends = theirs.get((one, *place)), theirs.get((other, *place))
            if found and found.half is not None:
                found = found._replace(p=pooled.cell.p(found.mean, found.half))
            if found and comparable and None not in ends:
                gap, reach = ends[0] - ends[1], pooled.cell.half(2 + 2 / len(found.values))
                found = found._replace(published=gap, inside=None if reach is None else abs(gap - found.mean) <= reach)
            row[title(one, other)] = found
        rows.append(row)
    tests = [(row, name) for row in rows for name, e in row.items() if isinstance(e, Estimate) and e.p is not None]
    for (row, name), p in zip(tests, holm([row[name].p for row, name in tests])):
        row[name] = row[name]._replace(p=p)
    return rows


def effect_rows(grids, spreads):
    """The main effects: {title: text, Estimate or None}; spreads: as in `table_rows`."""
    rows, ratios = [], sorted({ratio for grid in grids for ratio in grid.data_ratios})
    pairs = "low base", "high base", "low random", "high random", "low high", "random base", "matched base"
    for grid, pair in itertools.product(grids, map(str.split, pairs)):
        pooled, late = spreads[grid.way]
        if whole := difference(grid, *pair, grid.places, pooled):
            row = start_row(grids, grid) | {"Main effect": title(*pair), "All cells": whole}
            for ratio in ratios if len(ratios) > 1 else ():
                places = [place for place in grid.places if place[0] == ratio]
                row[f"Data Ratio {ratio:g}"] = difference(grid, *pair, places, pooled)
            row["Last three epochs"] = difference(grid, *pair, grid.places, late, lambda cell: cell.end(3))
            row["Before pruning"] = difference(grid, *pair, grid.places, None, lambda cell: cell.dense)
            row["After pruning"] = difference(grid, *pair, grid.places, None, lambda cell: cell.end(0))
            row |= {"Networks": str(whole.networks), "Seeds": str(len(whole.values))}
            row["Sign flips"] = f"{sign_flip_p(whole.values):.3f}" if len(whole.values) >= 6 else None
            rows.append(row)
    return rows


def way_rows(grids, spreads):
    """Every two ways of pruning under one protocol, and each less none: {title: text, Estimate or None}, by place.

    Differences are paired by network. Between two ways ± is of the paired t test, since each has a spread of its own.
    Unpruned cells, of prune ratio 0, have magnitude's; so where networks differ in luck, ± is wider than need be.
    spreads: as in `table_rows`.
    """
    rows, orders = [], in_order(order for grid in grids for order in grid.orders)
    two = [(a, b) for b, a in itertools.combinations(grids, 2) if a.protocol == b.protocol]
    compared = [(a, b, place, place, f"{a.way} - {b.way}") for a, b in two for place in a.places if place[1]]
    none = [(a, b) for a, b in itertools.product(grids, grids) if a.protocol == b.protocol and not b.pruning]
    compared += [(a, b, (d, p), (d, 0), f"{a.way} - unpruned") for a, b in none for d, p in a.places if p]
    for grid, other, place, origin, name in compared:
        found = {}
        for order in orders:
            ours, theirs = grid.at(order, *place), other.at(order, *origin)
            pairs = [(ours[seed], theirs[seed]) for seed in sorted(ours.keys() & theirs.keys())]
            values = tuple(a.end() - b.end() for a, b in pairs if a.dense == b.dense)  # else of another training
            found[title(order)] = None
            if values:
                half = spreads[grid.way][0].cell.half(2 / len(values)) if grid is other else paired_half(values)
                found[title(order)] = Estimate(values, half=half)
        if any(found.values()):
            rows.append(start_row(grids, grid, *place) | {"Pruning": name} | found)
    return rows


COSTS = {  # title: (of a Cell, decimals)
    "Accuracy": (Cell.end, 2),
    "Before pruning": (lambda cell: cell.dense, 2),
    "After pruning": (lambda cell: cell.end(0), 2),
    "samples x epochs": (lambda cell: cell.trained, 0),
    "parameters": (lambda cell: cell.parameters, 0),
    "not zero": (lambda cell: cell.nonzero, 0),
    "live weights": (lambda cell: cell.live, 0),
    "of them not zero": (lambda cell: cell.live_nonzero, 0),
    "seconds": (lambda cell: cell.first_seconds + cell.seconds, 0),
}

COUNTED = (
    "Means over seeds. samples x epochs count the scoring run where the order needs one; seconds do not.",
    "Hard: the fifth of the classes that the baseline tests worst in before pruning; choosing them so makes it look a",
    "little worse in them than it is.",
)


def cost_rows(grids):
    """What networks cost and how hard classes fare, {title: text} for every order and place; means over seeds."""
    rows = []
    for grid in grids:
        cells = (cell for found in grid.cells.values() for cell in found.values())
        base = [cell.by_class[0] for cell in cells if cell.order == "base" and cell.classes]
        hard = np.argsort(np.mean(base, 0), kind="stable")[: len(base[0]) // 5] if base else []
        for order, *place in sorted(grid.cells, key=lambda key: (grid.orders.index(key[0]), key)):
            cells = grid.cells[order, *place].values()
            row = {"Order": order} | start_row(grids, grid, *place) | {"Seeds": str(len(cells))}
            for name, (value, digits) in COSTS.items():
                row[name] = f"{statistics.fmean(map(value, cells)):.{digits}f}"
            known = [cell.by_class[:, hard].mean(1) for cell in cells if cell.classes and base]
            for k, name in enumerate(("hard before", "hard pruned", "hard at end")):
                row[name] = f"{np.mean(known, 0)[k]:.1f}" if known else None
            rows.append(row)
    return rows


def columns(rows, count):
    """Titles and the texts of every row, without columns that have no value; beside an Estimate its p and published.

    count: whether an Estimate tells its number of seeds; a table cannot know, since that of others may differ.
    """
    found = []
    for name in rows[0]:
        cells = [row[name] for row in rows]
        parts = [cell.texts(count) if isinstance(cell, Estimate) else (cell or "-", "-", "-") for cell in cells]
        for heading, texts in zip((name, "p", "published"), zip(*parts)):
            if set(texts) != {"-"}:
                found.append((heading, *texts))
    titles, *lines = zip(*found)
    return titles, lines


LEGEND = """\
Test accuracy in %, differences in percentage points, paired by seed; (n): of n seeds.
±: half of the 95 % interval, given this split of the data and this recipe.
Its spread is pooled over a way of pruning's cells with two seeds: accuracy = cell + seed + residual; sigma is below.
*: not 0 at 5 % by the t test with that spread, Holm-corrected over the {tests} differences of the table.
p: of the same test, from 6 seeds up. in, out: of the 95 % prediction interval of a new run is the published one.
Main effects are averaged within a seed, and their unit is the network.
Last three epochs: of the mean accuracy after them, or after all where there are fewer.
Sign flips: p of that test, uncorrected.
Before, after pruning: not fine-tuned; ± is of the paired t test of these seeds alone, since spreads differ there."""

TWO = "Two ways of pruning: ± takes two seeds and is of the paired t test, not corrected for the number of pairs."
NONE = "Less unpruned: the same network at prune ratio 0; ± is of the pooled spread for magnitude, else as of two ways."


def legend(estimates, ways, spreads):
    """What the signs of the tables that hold the Estimates mean, a line each; ways: of `way_rows`."""
    known = {way: pair for way, (pair, _) in spreads.items() if pair.cell.df > 0}
    lines = LEGEND.format(tests=sum(e.p is not None for e in estimates)).splitlines()
    lines = lines if known else [lines[0], "A pooled interval takes two seeds of two networks."]
    for way, (cell, network) in known.items():
        of = f" of {way}" if len(spreads) > 1 else ""
        told = f"{cell.sigma:.2f}, of a network's mean {network.sigma:.2f}"
        lines.append(f"sigma{of}: {told}; degrees of freedom, in networks: {network.df}.")
    unpruned = {row["Pruning"].endswith("unpruned") for row in ways}
    return lines + [TWO] * (False in unpruned) + [NONE] * (True in unpruned)


def notes(cells, grids, estimates=(), effects=()):
    """What the report was made from and what can be said of it, a line each; effects: of `effect_rows`."""
    cell = cells[0]
    first = next((c.first for c in cells if c.first), "none")
    dense = {(c.protocol, c.order, c.data_ratio, c.seed): c.first_seconds for c in cells}  # that ways of pruning share
    seconds = sum(dense.values()) + sum(c.seconds for c in cells)
    missing = set().union(*(grid.missing() for grid in grids))
    lines = [
        f"{cell.model} on {cell.dataset}: {cell.data}.",
        f"First training: {first}. Fine-tuning: {cell.tuning}.",
        f"Protocol: {', '.join(dict.fromkeys(g.protocol for g in grids))}. "
        f"Seeds: {' '.join(map(str, sorted({c.seed for c in cells})))}.",
        *(f"{n} cell{'s' * (n > 1)} made on {machine}." for machine, n in Counter(c.machine for c in cells).items()),
        f"Their steps took {f'{seconds / 3600:.2f} h' if seconds > 3600 else f'{seconds:.0f} s'}, one after the other.",
        *([f"Missing cells: {len(missing)} (make -n names them)."] if missing else []),
    ]
    measured = [e for e in estimates if e.published is not None]
    if measured and len(grids) == 1:
        agree, inside = sum(e.mean * e.published > 0 for e in measured), [e.inside for e in measured]
        compatible = "" if None in inside else f", {sum(inside)} are compatible with ours"
        lines.append(f"Of {len(measured)} published differences, {agree} have the sign of ours{compatible}.")
        theirs, gaps = published(cell), defaultdict(list)
        for d, p in (place for order, *place in theirs if order == "low"):
            gaps[d].append(theirs["low", d, p] - theirs["high", d, p])
        gaps = [statistics.fmean(gap) for gap in gaps.values()]
        mean = f"{statistics.fmean(gaps):+.2f} ± {paired_half(gaps):.2f}"
        lines.append(f"Published low - high: {mean} over {len(gaps)} data ratios, whose cells share networks.")
        size = DATASETS[cell.dataset][2]
        if (cell.data.split()[0], first[:10], cell.tuning[:10]) != (str(size), "10 epochs,", "10 epochs,"):
            lines.append(f"The published numbers are of {size} training images, 10 and 10 epochs: another experiment.")
    margin = MARGIN.get(cell.dataset, 0)
    for row in effects:
        if row["All cells"].half is not None and abs(row["All cells"].mean) + row["All cells"].half < margin:
            name = " ".join(filter(None, (row["Protocol"], row["Pruning"], row["Main effect"])))
            lines.append(f"{name}: equivalent, the whole interval is within ± {margin} points.")
    return lines


def render(tables, legend, notes, style):
    """Tables [(titles, lines)] as text, markdown or latex; below them what their signs mean, and the notes."""
    out, dash = [], "- " if style == "markdown" else ""
    if style == "latex":
        tabulars = itertools.chain(*(tabulars_of(titles, lines) for titles, lines in tables))
        small = r"{\footnotesize\tabcolsep=3pt\parindent=0pt\parskip=1ex"
        out = ["% needs \\usepackage{booktabs}", small, *tabulars, *map(escape, legend), r"\par}"]
        return "\n".join(out + [f"% {note}" for note in notes]) + "\n"
    for titles, lines in tables:
        widths = [max(2, *map(len, column)) for column in zip(titles, *lines)]  # markdown's rule is "-:" at least
        lines = [[field.rjust(width) for field, width in zip(line, widths)] for line in (titles, *lines)]
        if style == "markdown":
            lines.insert(1, ["-" * (width - 1) + ":" for width in widths])
        out += [f"| {' | '.join(line)} |" if style == "markdown" else "  ".join(line) for line in lines] + [""]
    return "\n".join(out + [dash + line for line in (*legend, *notes)]) + "\n"


def tabulars_of(titles, lines):
    """The lines of LaTeX tabulars that a page holds, each with the columns that say what a row is."""
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
        while groups and sum(2 + min(24, max(map(len, column))) for column in part + groups[0]) <= 78:
            part += groups.pop(0)
        form = "".join("p{3cm}" if column[0] == "Pruning" else "r" for column in part)
        head, *body = (" & ".join(map(escape, line)) + r" \\" for line in zip(*part))
        for rows in range(0, len(body), 45):
            yield from (rf"\begin{{tabular}}{{{form}}}", r"\toprule", head, r"\midrule", *body[rows : rows + 45])
            yield from (r"\bottomrule", r"\end{tabular}", "")


def escape(text):
    """Text for LaTeX, minus signs as minus."""
    text = re.sub(r"([%&#_$^{}])", r"\\\1", text).replace("±", r"$\pm$").replace("<", "$<$")
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
    """Write the figure as its path's ending says; exits with one line if matplotlib is not to know that ending."""
    date = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}, ".png": {}}.get(Path(path).suffix)
    if date is None:
        fail(f"--out {path}: must end in .svg, .png or .pdf")
    with replacing(path) as file:
        figure.savefig(file, format=Path(path).suffix[1:], bbox_inches="tight", metadata=date)


def draw_lines(axes, grid, colours):
    """Paper, figure 1: test accuracy over fine-tuning, a line per order, a panel per place; what must be explained."""
    shown, fewer = [], False
    for axis, (d, p) in zip(axes.flat, grid.places):
        for order in colours:
            curves = np.array([cell.accuracies[1:] for cell in grid.at(order, d, p).values()])
            if curves.size:
                look = {"color": colours[order], "ls": "-" if len(curves) == len(grid.seeds) else "--", "lw": 1.2}
                epochs, fewer = range(1, curves.shape[1] + 1), fewer or look["ls"] == "--"
                axis.plot(epochs, curves.mean(0), gid=f"line-{order}-{d:g}-{p:g}", **look)
                axis.fill_between(epochs, curves.min(0), curves.max(0), color=colours[order], alpha=0.15, lw=0)
                shown += [curves.min(), curves.max()] if order != "none" else []
    if shown:
        margin = 0.05 * (max(shown) - min(shown)) or 0.5
        axes[0, 0].set_ylim(min(shown) - margin, max(shown) + margin)
    words = ["mean and range of the seeds"] * (len(grid.seeds) > 1) + ["dashed: of fewer seeds"] * fewer
    return words + ["the axis is not stretched for none"] * (len(shown) > 0 and "none" in grid.orders)


def draw_bars(axes, grid, colours):
    """Paper, figure 2: test accuracy before and after pruning, bars per order, a panel per data ratio; as above."""
    width, seeds = 0.8 / len(colours), set()
    for axis, d in zip(axes.flat, grid.data_ratios):
        axis.set_xticks(range(len(grid.prune_ratios)), [f"{100 * p:g}" for p in grid.prune_ratios])
        for (i, order), (j, p) in itertools.product(enumerate(colours), enumerate(grid.prune_ratios)):
            cells, x = grid.at(order, d, p).values(), j + width * (i - (len(colours) - 1) / 2)
            states = {"before": [c.dense for c in cells], "after": [c.accuracies[0] for c in cells]} if cells else {}
            for state, values in states.items():
                look = {"edgecolor": colours[order], "facecolor": colours[order] if state == "after" else "none"}
                if len(values) > 1:
                    look |= {"yerr": statistics.stdev(values), "error_kw": {"lw": 0.9, "ecolor": "#888888"}}
                    seeds.add(len(values))
                bars = axis.bar(x, statistics.fmean(values), 0.85 * width, lw=0.8, **look)
                bars[0].set_gid(f"bar-{state}-{order}-{d:g}-{p:g}")
    return ["outline: before pruning, filled: after", *deviation(seeds)]


def draw_points(axes, grid, colours):
    """Test accuracy against the samples trained on, a point per order, a panel per place; as above."""
    trained = [cell.trained / 1e6 for found in grid.cells.values() for cell in found.values()]
    step, seeds = 0.02 * (max(trained) - min(trained) or max(trained) or 1), set()
    for axis, (d, p) in zip(axes.flat, grid.places):
        found = {order: grid.at(order, d, p).values() for order in colours}
        costs = {order: statistics.fmean(c.trained for c in cells) / 1e6 for order, cells in found.items() if cells}
        for order, cost in costs.items():
            same = [other for other in costs if costs[other] == cost]
            values = [cell.end() for cell in found[order]]
            look = {"color": colours[order], "fmt": "o", "ms": 4, "lw": 0.9}
            if len(values) > 1:
                look["yerr"] = statistics.stdev(values)
                seeds.add(len(values))
            x = cost + step * (same.index(order) - (len(same) - 1) / 2)
            axis.errorbar(x, statistics.fmean(values), **look)[0].set_gid(f"point-{order}-{d:g}-{p:g}")
    words = "samples: images times epochs of all trainings, and of the scoring run where the order needs one"
    return [words, "orders of one cost stand side by side around it", *deviation(seeds)]


def deviation(seeds):
    """What error bars are, in words, if there are any; seeds: the numbers of seeds that they are of."""
    numbers = " to ".join(map(str, sorted({min(seeds), max(seeds)}))) if seeds else ""
    return [f"error bars: one standard deviation over {numbers} seeds"] if seeds else []


FIGURES = {  # kind: (what draws it, whether it has a panel for every prune ratio and shows none, its horizontal axis)
    "figure1": (draw_lines, True, "epoch of fine-tuning"),
    "figure2": (draw_bars, False, "pruned weights (%)"),
    "tradeoff": (draw_points, True, "samples trained on (millions)"),
}


def draw(kind, cells, out):
    """Write a figure of cells that have one protocol and one way of pruning; kind: of FIGURES."""
    grids, plt = split(cells), pyplot()
    if len(grids) > 1:
        names = ", ".join(f"{grid.protocol} {grid.pruning}".strip() for grid in grids)
        fail(f"a figure shows one protocol and one way of pruning, and these files have {names}")
    (grid,), spare = grids, itertools.cycle(("#56B4E9", "#E69F00", "#F0E442", "#8B4513"))
    draw_panels, by_place, across = FIGURES[kind]
    orders = grid.orders if by_place else [o for o in grid.orders if o != "none"] or grid.orders
    colours = {order: COLOURS.get(order) or next(spare) for order in orders}
    rows, count = (len(grid.data_ratios), len(grid.prune_ratios)) if by_place else (1, len(grid.data_ratios))
    size = {"figsize": (1.0 + 2.4 * count, 1.2 + 1.6 * rows), "layout": "constrained", "squeeze": False}
    figure, axes = plt.subplots(rows, count, sharex=True, sharey=True, **size)
    words = draw_panels(axes, grid, colours)
    for axis, ratios in zip(axes.flat, grid.places if by_place else zip(grid.data_ratios)):
        parts = (f"{100 * ratio:g} % {what}" for ratio, what in zip(ratios, ("of the data", "pruned")))
        axis.set_title(", ".join(parts), fontsize=8)
    for axis in axes[:, 0]:
        axis.set_ylabel("test accuracy (%)")
    for axis in axes[-1]:
        axis.set_xlabel(across)
    name = f"{cells[0].model} on {cells[0].dataset}, protocol {grid.protocol}{grid.pruning and ', '}{grid.pruning}"
    seeds = f"seed{'s' * (len(grid.seeds) > 1)} {' '.join(map(str, grid.seeds))}"
    figure.suptitle("\n".join([f"{name}, {seeds}", *words]), fontsize=8)
    handles = [plt.Line2D([], [], color=colour, lw=3, label=order) for order, colour in colours.items()]
    lines = math.ceil(len(handles) / (2 + 2 * min(count, 2)))
    figure.legend(handles=handles, loc="outside lower center", ncols=math.ceil(len(handles) / lines))
    save_figure(figure, out)


# --------------------------------------------------------------------------------------------------- command line


def asked(text):
    """What --asked says, as `load_cells` takes it: {"first", "tuning": (settings, "--asked")}."""
    parser = Parser("")
    parser.add_training_flags()
    parser.add_device_flags()
    parser.add_argument("--tune-epochs", type=int)
    flags = vars(parser.parse_args(shlex.split(text)))
    tuning = flags | ({} if flags["tune_epochs"] is None else {"epochs": flags["tune_epochs"]})
    return {"first": (settings(flags), "--asked"), "tuning": (settings(tuning), "--asked")}


def main():
    parser = Parser(__doc__)
    kinds = ["table", "costs", "cells", *FIGURES]
    words = "Table 1 or an ablation; what networks cost; a csv line per cell; accuracy over fine-tuning; before and "
    words += "after pruning; against the samples trained on"
    parser.add_argument("what", choices=kinds, help=words)
    parser.add_argument("inputs", nargs="+", metavar="IN", help="finetuned.pt files, or csv files of `cells`")
    styles = ["text", "markdown", "latex"]
    parser.add_argument("--format", choices=styles, default="text", help="of table and costs (default: %(default)s)")
    words = "insist on these training flags, with --tune-epochs N where fine-tuning has others"
    parser.add_argument("--asked", metavar="FLAGS", type=asked, default={}, help=words)
    parser.add_argument("--out", metavar="FILE", help="the file to write; figures need one (default: print)")
    args = parser.start("out")
    if args.what in FIGURES and not args.out:
        parser.error("argument --out: a figure needs a file")

    cells = load_cells(args.inputs, args.asked)
    if args.what in FIGURES:
        return draw(args.what, cells, args.out)
    grids = split(cells)
    if args.what == "cells":
        text = write_csv(cells)
    elif args.what == "costs":
        text = render([columns(cost_rows(grids), False)], COUNTED, notes(cells, grids), args.format)
    else:
        spreads = pooled_spreads(cells)
        effects, ways = effect_rows(grids, spreads), way_rows(grids, spreads)
        parts = [part for part in (table_rows(grids, spreads, published(cells[0])), effects, ways) if part]
        estimates = [e for part in parts for row in part for e in row.values() if isinstance(e, Estimate)]
        count = len({len(e.values) for e in estimates}) > 1
        tables = [columns(part, count) for part in parts]
        text = render(tables, legend(estimates, ways, spreads), notes(cells, grids, estimates, effects), args.format)
    try:
        with replacing(args.out) if args.out else open(1, "wb", closefd=False) as file:
            file.write(text.encode())
    except OSError as error:
        fail(f"cannot print ({first_line(error)})")


if __name__ == "__main__":
    main()
