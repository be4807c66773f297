"""What the paper claims, in one list, and one rule that says of any runs whether it holds.

    python tests/study.py claims runs/*/CIFAR100/resnet18/seed*/*/p*/finetuned.pt
    python tests/study.py claims tests/results/*.csv --format markdown

A claim has primary contrasts, which the rule judges under both protocols, and secondary evidence, which has intervals
and no verdict. The rule, with the margin of the data set:

    the claim              the interval is within the margin    p <= 0.05, and the seeds agree    else
    a difference, + or -   no effect                            holds, or opposite, by its sign   open
    no difference, =       holds                                fails                             open

Without runs of it a contrast is "not run".
"""

import functools
import itertools
import math
import statistics
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from report import (
    PUBLISHED,
    SEEDS_FOR_A_TEST,
    Estimate,
    Experiment,
    Noise,
    Run,
    as_latex,
    as_text,
    experiments_of,
    holm,
    is_their_experiment,
    load_runs,
    notes_as_text,
    numbers,
    p_in_words,
    paired_half_width,
    pooled_noise,
    published_curves,
    published_rows,
    require_agreement,
    serves,
    wrapped,
)
from train import fail

# ------------------------------------------------------------------------------------------- what the paper claims

MARGIN = {"MNIST": 0.2, "CIFAR10": 1.0, "CIFAR100": 1.0}  # points; an interval inside of it is called equivalence
CIFAR100 = ("resnet18", "CIFAR100")
CIFAR10 = ("resnet18", "CIFAR10")
RESNET50 = ("resnet50", "CIFAR10")
LENET = ("lenet", "MNIST")
FCNET = ("fcnet", "MNIST")
NAMES = {
    CIFAR100: "ResNet18, CIFAR-100",
    CIFAR10: "ResNet18, CIFAR-10",
    RESNET50: "ResNet50, CIFAR-10",
    LENET: "LeNet, MNIST",
    FCNET: "FCNet, MNIST",
}


def name_of(network):
    """A network and its data set in words."""
    return NAMES.get(network, ", ".join(network))


PROTOCOLS = ("paper", "released")
FEWEST_SEEDS = 3  # with fewer, a claim is open


class Measure(NamedTuple):
    """What of a run a contrast compares."""

    words: str
    of: Callable  # (Run, Experiment) -> float, or None where it is not known
    last_epochs: int | None = None  # that the pooled noise is of; None: the noise is that of the seeds alone
    has_margin: bool = False


def share_kept(run, _):
    """The share of its accuracy that a network keeps when it is pruned, %."""
    return 100 * run.pruned / run.dense


def hard_classes(experiment):
    """The fifth of the classes that the baseline is worst in before pruning: int64 [C / 5]; [] if it is not known."""
    accuracies = {}  # of the baseline of every seed, whatever was pruned of it later
    for cell, runs in experiment.runs.items():
        if cell[0] == "base":
            accuracies |= {seed: run.by_class[0] for seed, run in runs.items() if run.classes}
    if not accuracies:
        return np.array([], dtype=np.int64)
    worst_first = np.argsort(np.mean(list(accuracies.values()), 0), kind="stable")
    return worst_first[: len(worst_first) // 5]


def in_hard_classes(run, experiment):
    """Accuracy right after pruning in the classes that the baseline is worst in, %; None if it is not known."""
    hard = hard_classes(experiment) if run.classes else ()
    if not len(hard):
        return None
    return run.by_class[1, hard].mean()


def epochs_to_baseline(run, experiment):
    """Epochs of fine-tuning until a network tests as well as the baseline at its end; one more than all if never."""
    baseline = experiment.at("base", run.data_ratio, run.prune_ratio).get(run.seed)
    if baseline is None:
        return None
    for epoch, accuracy in enumerate(run.accuracies[1:], 1):
        if accuracy >= baseline.end():
            return epoch
    return len(run.accuracies)


def last_three(run, _):
    """Mean test accuracy after the last three epochs, %; None where fewer are known, as of the published ResNet50."""
    return run.end(3) if len(run.accuracies) > 3 else None


AT_THE_END = Measure("after fine-tuning", lambda run, _: run.end(), last_epochs=1, has_margin=True)
LAST_THREE = Measure("last three epochs", last_three, last_epochs=3, has_margin=True)
BEFORE_PRUNING = Measure("before pruning", lambda run, _: run.dense, has_margin=True)
RIGHT_AFTER = Measure("right after pruning", lambda run, _: run.pruned, has_margin=True)
KEPT = Measure("% of its accuracy kept", share_kept)
HARD = Measure("hard classes after pruning", in_hard_classes)
EPOCHS = Measure("epochs to base's end", epochs_to_baseline)


class Contrast(NamedTuple):
    """The mean over some runs of a seed less the mean over others: one number a seed."""

    network: tuple  # model, data set
    words: str
    plus: tuple  # (order, (data ratio, prune ratio)) of each run
    minus: tuple
    cells: int  # that the contrast is the mean of
    direction: str = ""  # claimed: + up, - down, = no difference; "" of secondary evidence
    measure: Measure = AT_THE_END
    every: bool = False  # whether the claim is of every pair of runs, not of their mean


class Claim(NamedTuple):
    """What the paper says, and what decides it."""

    number: int
    words: str
    section: str
    contrasts: tuple = ()  # primary: each has a verdict
    evidence: tuple = ()  # secondary: intervals, no verdict
    counted: Callable | None = None  # of a Table -> (count in words, verdict), where no test is needed
    follows: int | None = None  # from the verdicts of another claim
    remark: str = ""  # where there is nothing to decide


def cells_of(data_ratios, prune_ratios):
    return tuple(itertools.product(data_ratios, prune_ratios))


PRUNED = (0.4, 0.6, 0.8)  # Table 1's prune ratios
CELL = cells_of([0.1], [0.8])
TABLE1 = cells_of([0.1, 0.2, 0.3], PRUNED)
AT_60 = cells_of([0.1, 0.2, 0.3], [0.6])
AT_40 = cells_of([0.1, 0.2, 0.3], [0.4])
GRID = cells_of([0.1, 0.2, 0.3, 0.4, 0.5], [0.2, 0.4, 0.6, 0.8])
UNPRUNED = cells_of([0.1, 0.2, 0.3, 0.4, 0.5], [0])
CELLS_IN_WORDS = {
    CELL: "",
    TABLE1: "nine cells",
    AT_60: "60 % pruned",
    AT_40: "40 % pruned",
    GRID: "twenty pruned cells",
    UNPRUNED: "unpruned, five data ratios",
}


def less(network, order, reference, cells=CELL, direction="", measure=AT_THE_END):
    """order less reference, mean over cells."""
    where = CELLS_IN_WORDS.get(cells, ratios_in_words(cells))
    words = ", ".join(filter(None, [f"{order} less {reference}", where, measure_in_words(measure)]))
    plus = tuple((order, cell) for cell in cells)
    minus = tuple((reference, cell) for cell in cells)
    return Contrast(network, words, plus, minus, len(cells), direction, measure)


def measure_in_words(measure):
    """What a measure is called in a contrast: nothing where it is the usual one."""
    return "" if measure.words == AT_THE_END.words else measure.words


def both(network, cells=CELL, direction="", measure=AT_THE_END):
    """low and high less base."""
    return tuple(less(network, order, "base", cells, direction, measure) for order in ("low", "high"))


def ratios_in_words(cells):
    """The ratios that all cells share, in words."""
    data_ratios = {data_ratio for data_ratio, _ in cells}
    prune_ratios = {prune_ratio for _, prune_ratio in cells}
    words = []
    if len(data_ratios) == 1:
        words.append(f"{100 * data_ratios.pop():g} % of the data")
    if prune_ratios == {0}:
        words.append("unpruned")
    elif len(prune_ratios) == 1:
        words.append(f"{100 * prune_ratios.pop():g} % pruned")
    return ", ".join(words)


def pruned_less_unpruned(network, order, direction=""):
    """The same network pruned and fine-tuned, less itself fine-tuned unpruned."""
    words = f"{order}, 80 % pruned less unpruned"
    return Contrast(network, words, ((order, (0.1, 0.8)),), ((order, (0.1, 0)),), 1, direction)


def gain_less(gain, other, words):
    """One gain less another."""
    return gain._replace(words=words, plus=gain.plus + other.minus, minus=gain.minus + other.plus)


def gain_by_pruning(order):
    """The gain of a cell less that of the same networks unpruned."""
    pruned = less(CIFAR100, order, "base", CELL)
    unpruned = less(CIFAR100, order, "base", cells_of([0.1], [0]))
    return gain_less(pruned, unpruned, f"{order} less base, 80 % pruned less unpruned")


def gain_by_data(order, smaller, larger, direction="", measure=AT_THE_END):
    """The gain of one data ratio less that of a larger one; our baseline is the same network in both."""
    few = less(CIFAR100, order, "base", cells_of([smaller], PRUNED), direction, measure)
    many = less(CIFAR100, order, "base", cells_of([larger], PRUNED))
    gain = f"gain of {order} with {100 * smaller:g} % less with {100 * larger:g} % of the data"
    return gain_less(few, many, ", ".join(filter(None, [gain, measure_in_words(measure)])))


def samples_trained_on(table):
    """Samples times epochs of a low network and of the baseline; training is cheaper if there are fewer."""
    low = mean_of(table, "low", lambda run: run.trained)
    base = mean_of(table, "base", lambda run: run.trained)
    if low is None or base is None:
        return None
    return f"{low / 1e6:.2f} M samples, base {base / 1e6:.2f} M", "holds" if low < base else "fails"


def weights_left(table):
    """The share of live weights that are not zero at the end; the model is smaller if most pruned ones stay zero."""
    low, base = (mean_of(table, order, lambda run: 100 * run.live_nonzero / run.live) for order in ("low", "base"))
    if low is None or base is None:
        return None
    return f"{low:.1f} % of low's live weights not zero, base {base:.1f} %", "holds" if low < 60 else "fails"


def single_weights(table):
    """Pruning methods that remove whole filters are structured; magnitude, whatever the runs, zeroes single weights."""
    return "single weights become zero", "fails"


def mean_of(table, order, measure):
    """The mean of a measure over the runs of the cell 10 % of the data, 80 % pruned; None without one."""
    runs = table.experiment.at(order, *CELL[0]).values()
    return statistics.fmean(map(measure, runs)) if runs else None


EVERY_CELL = Contrast(
    CIFAR100,
    "low, high less base, each of nine cells",
    plus=tuple((order, cell) for order in ("low", "high") for cell in TABLE1),
    minus=tuple(("base", cell) for order in ("low", "high") for cell in TABLE1),
    cells=1,
    direction="+",
    every=True,
)

CLAIMS = (
    Claim(
        1,
        "coresets beat pruning alone",
        "abstract",
        contrasts=both(CIFAR100, TABLE1, "+"),
        evidence=(
            *both(CIFAR100, TABLE1, measure=LAST_THREE),
            *both(CIFAR100, cells_of([0.1], PRUNED)),
            *both(CIFAR100, cells_of([0.2], PRUNED)),
            *both(CIFAR100, cells_of([0.3], PRUNED)),
            less(CIFAR100, "random", "base", TABLE1),
            less(CIFAR100, "matched", "base"),
            less(CIFAR100, "untrained", "base"),
            less(CIFAR100, "untrained", "low"),
            less(CIFAR100, "untrained", "high"),
            less(CIFAR100, "untrained", "random"),
        ),
    ),
    Claim(
        2,
        "coresets and pruning beat data selection alone",
        "abstract",
        contrasts=(pruned_less_unpruned(CIFAR100, "low", "+"), pruned_less_unpruned(CIFAR100, "high", "+")),
        evidence=(
            pruned_less_unpruned(CIFAR100, "random"),
            pruned_less_unpruned(CIFAR100, "base"),
            *both(CIFAR100, cells_of([0.1], [0])),
            less(CIFAR100, "random", "base", cells_of([0.1], [0])),
            gain_by_pruning("low"),
            gain_by_pruning("high"),
            pruned_less_unpruned(LENET, "low"),
            pruned_less_unpruned(LENET, "high"),
            pruned_less_unpruned(LENET, "base"),
            *both(LENET, cells_of([0.1], [0])),
            pruned_less_unpruned(FCNET, "low"),
            pruned_less_unpruned(FCNET, "high"),
            pruned_less_unpruned(FCNET, "base"),
        ),
    ),
    Claim(3, "pruning is structured", "abstract", counted=single_weights),
    Claim(4, "training gets cheaper", "abstract, 1, 4.3", counted=samples_trained_on),
    Claim(5, "the model gets smaller", "1, 4.4", counted=weights_left),
    Claim(6, "accuracy stays competitive", "1, 4.6", follows=1),
    Claim(
        7,
        "coreset networks survive pruning better",
        "3",
        contrasts=(
            *both(FCNET, CELL, "+", KEPT),
            *both(LENET, CELL, "+", KEPT),
            *both(CIFAR100, AT_60, "+", KEPT),
        ),
        evidence=(
            less(FCNET, "random", "base", measure=KEPT),
            less(FCNET, "matched", "base", measure=KEPT),
            less(LENET, "matched", "base", measure=KEPT),
            *both(FCNET, measure=RIGHT_AFTER),
            less(FCNET, "matched", "base", measure=RIGHT_AFTER),
            *both(CIFAR100, AT_40, measure=KEPT),
            less(CIFAR100, "random", "base", AT_60, measure=KEPT),
            *both(CIFAR10, measure=KEPT),
        ),
    ),
    Claim(
        8,
        "forgotten samples teach more",
        "3.2, 4.2",
        contrasts=(
            less(CIFAR100, "high", "random", TABLE1, "+"),
            less(CIFAR10, "high", "random", CELL, "+"),
            less(LENET, "high", "random", CELL, "+"),
            less(FCNET, "high", "random", CELL, "+"),
            less(CIFAR100, "high", "random", CELL, "+", BEFORE_PRUNING),
            less(CIFAR10, "high", "random", CELL, "+", BEFORE_PRUNING),
            less(LENET, "high", "random", CELL, "+", BEFORE_PRUNING),
            less(FCNET, "high", "random", CELL, "+", BEFORE_PRUNING),
        ),
        evidence=(
            less(CIFAR100, "high", "random", cells_of([0.1], PRUNED)),
            less(CIFAR100, "high", "random", cells_of([0.2], PRUNED)),
            less(CIFAR100, "high", "random", cells_of([0.3], PRUNED)),
            less(CIFAR100, "low", "random", TABLE1),
            less(CIFAR100, "high", "random", cells_of([0.2], [0.8]), measure=BEFORE_PRUNING),
            less(CIFAR100, "high", "random", cells_of([0.3], [0.8]), measure=BEFORE_PRUNING),
        ),
    ),
    Claim(
        9,
        "high protects hard samples when pruned",
        "3.2",
        contrasts=(less(FCNET, "high", "random", CELL, "+", HARD), less(LENET, "high", "random", CELL, "+", HARD)),
        evidence=(
            less(FCNET, "high", "base", measure=HARD),
            less(FCNET, "matched", "base", measure=HARD),
            less(FCNET, "high", "matched", measure=HARD),
        ),
    ),
    Claim(10, "fine-tuning converges faster", "4.3", contrasts=both(CIFAR100, TABLE1, "-", EPOCHS)),
    Claim(11, "CIFAR-100 is better across the board", "5.1", contrasts=(EVERY_CELL,)),
    Claim(
        12,
        "coreset networks are worse before pruning (Figure 2)",
        "5.1",
        contrasts=both(CIFAR100, CELL, "-", BEFORE_PRUNING),
        evidence=(
            *both(CIFAR10, measure=BEFORE_PRUNING),
            *both(LENET, measure=BEFORE_PRUNING),
            *both(FCNET, measure=BEFORE_PRUNING),
        ),
    ),
    Claim(
        13,
        "low and high are alike",
        "5.1",
        contrasts=(less(CIFAR100, "low", "high", TABLE1, "="),),
        evidence=(
            less(CIFAR100, "low", "high", TABLE1, measure=LAST_THREE),
            less(CIFAR10, "low", "high"),
            less(CIFAR10, "low", "high", measure=LAST_THREE),
            less(LENET, "low", "high"),
            less(FCNET, "low", "high"),
        ),
    ),
    Claim(
        14,
        "the gain is larger with less data (Table 1)",
        "5.1",
        contrasts=(gain_by_data("low", 0.1, 0.3, "+"), gain_by_data("high", 0.1, 0.3, "+")),
        evidence=(
            gain_by_data("low", 0.1, 0.3, measure=LAST_THREE),
            gain_by_data("high", 0.1, 0.3, measure=LAST_THREE),
            gain_by_data("low", 0.1, 0.2),
            gain_by_data("high", 0.1, 0.2),
            gain_by_data("random", 0.1, 0.3),
        ),
    ),
    Claim(
        15,
        "coreset networks are more flexible when fine-tuned",
        "5.1, 7",
        remark="no test: they gain more, but start lower",
    ),
    Claim(
        16,
        "ResNet18 on CIFAR-10: no difference",
        "5.1",
        contrasts=both(CIFAR10, CELL, "="),
        evidence=(
            *both(CIFAR10, measure=LAST_THREE),
            less(CIFAR10, "random", "base"),
            *both(CIFAR10, cells_of([0.3], [0.6])),
            *both(CIFAR10, GRID),
            *both(CIFAR10, UNPRUNED),
        ),
    ),
    Claim(
        17,
        "ResNet50 on CIFAR-10 struggles to keep up",
        "5.1",
        contrasts=both(RESNET50, CELL, "-"),
        evidence=(
            *both(RESNET50, measure=LAST_THREE),
            *both(RESNET50, measure=BEFORE_PRUNING),
            less(RESNET50, "random", "base"),
        ),
    ),
    Claim(
        18,
        "LeNet is level, like ResNet18 on CIFAR-10; FCNet below, like ResNet50",
        "5.1",
        contrasts=(*both(LENET, CELL, "="), *both(FCNET, CELL, "-")),
        evidence=(
            *both(LENET, GRID),
            *both(LENET, UNPRUNED),
            *both(FCNET, GRID),
            *both(FCNET, UNPRUNED),
            less(LENET, "random", "base"),
            less(FCNET, "random", "base"),
        ),
    ),
    Claim(19, "tests, controls and re-initialised masks are wanted", "7", remark="done in part"),
)


# ------------------------------------------------------------------------------------------------- the contrasts


class Table(NamedTuple):
    """The runs of one network, protocol and file, pruned by magnitude; or those of the checkpoints of a report."""

    source: str  # the csv, or "" of checkpoints
    network: tuple
    protocol: str
    experiment: Experiment
    noises: dict  # {last epochs: PooledNoise}


def tables_of(paths):
    """The Tables of csv files, each by itself, and of checkpoints, together; of the text and as released."""
    files = [[path] for path in paths if path.endswith(".csv")]
    checkpoints = [path for path in paths if not path.endswith(".csv")]
    tables = []
    for group in [*files, checkpoints]:
        if not group:
            continue
        runs = load_runs(group)
        for protocol in PROTOCOLS:
            table = table_of(runs, protocol, group[0] if group in files else "")
            if table:
                tables.append(table)
    return tables


def table_of(runs, protocol, source=""):
    """The Table of those runs that serve a protocol; None if there is none."""
    served = [run for run in runs if run.method == "magnitude" and serves(run, protocol)]
    noises = {epochs: pooled_noise(served, epochs) for epochs in (1, 3)}
    for experiment in experiments_of(served):
        if experiment.protocol == protocol:
            return Table(source, (served[0].model, served[0].dataset), protocol, experiment, noises)
    return None


def runs_of(table):
    """[Run] of a Table."""
    return list(itertools.chain(*(of_seeds.values() for of_seeds in table.experiment.runs.values())))


class Published:
    """The authors' runs of a network, one of each cell, as an Experiment has them; their seed is 0."""

    def __init__(self, network):
        model, dataset = network
        nothing = dict.fromkeys(Run._fields, "")
        blank = Run(**(nothing | {"seed": 0}))
        curves = published_curves(model, dataset)
        self.runs = {}  # {(order, data ratio, prune ratio): Run}
        for row in published_rows(PUBLISHED, model, dataset):
            for order in ("base", "low", "high"):
                cell = order, float(row["data_ratio"]), float(row["prune_ratio"])
                tuned = curves.get(cell) or [float(row[f"{order}_finetuned"])]
                self.runs[cell] = blank._replace(
                    order=order,
                    data_ratio=cell[1],
                    prune_ratio=cell[2],
                    dense=float(row[order]),
                    curve=numbers([float(row[f"{order}_pruned"]), *tuned]),
                )

    def at(self, order, data_ratio, prune_ratio):
        """{seed: Run} of one cell; the authors trained a baseline anew for every data ratio."""
        run = self.runs.get((order, data_ratio, prune_ratio))
        return {0: run} if run else {}


def weighted_runs(contrast, experiment, seed):
    """[(weight, Run)] of a seed, whose weighted sum is the contrast; [] if a run is missing."""
    weighted = []
    for sign, terms in ((1, contrast.plus), (-1, contrast.minus)):
        for order, cell in terms:
            run = experiment.at(order, *cell).get(seed)
            if run is None:
                return []
            weighted.append((sign / contrast.cells, run))
    return weighted


def weighted_sum(contrast, weighted, experiment):
    """The contrast of one seed; None without runs, or if the measure of one is not known."""
    measured = [contrast.measure.of(run, experiment) for _, run in weighted]
    if not measured or None in measured:
        return None
    return sum(weight * value for (weight, _), value in zip(weighted, measured, strict=True))


def within_networks(weighted):
    """Whether each network is compared with itself alone, at another prune ratio."""
    weights = Counter()
    for weight, run in weighted:
        weights[run.network] += weight
    return all(math.isclose(weight, 0, abs_tol=1e-9) for weight in weights.values())


def measured_seeds(contrast, table, seeds=None):
    """[(value, [(weight, Run)])] of the seeds that a contrast rests on; seeds: to go by these alone."""
    first_order, first_cell = contrast.plus[0]
    measured = []
    for seed in sorted(table.experiment.at(first_order, *first_cell)):
        weighted = weighted_runs(contrast, table.experiment, seed)
        value = weighted_sum(contrast, weighted, table.experiment)
        # A seed says nothing of a network's two prune ratios if they are of two trainings, as on two machines.
        trainings = {(run.network, run.dense) for _, run in weighted}
        two_trainings = within_networks(weighted) and len(trainings) > len({run.network for _, run in weighted})
        if value is not None and not two_trainings and (not seeds or seed in seeds):
            measured.append((value, weighted))
    return measured


def estimated(contrast, table, seeds=None):
    """The Estimate of a contrast, with its uncorrected p-value, over the seeds that have all of its runs, or None.

    seeds: to go by these alone.
    """
    measured = measured_seeds(contrast, table, seeds)
    values = [value for value, _ in measured]
    of_seeds = [weighted for _, weighted in measured]
    if not values:
        return None
    noise, half_width = noise_and_half_width(contrast, table, values, of_seeds)
    estimate = Estimate(tuple(values), half_width=half_width)
    if half_width is None:
        return estimate
    return estimate._replace(p=noise.p_value(estimate.mean, half_width))


def noise_and_half_width(contrast, table, values, of_seeds):
    """The Noise of a contrast and half of its 95 % interval, None where too little is known.

    After fine-tuning the noise is the table's, pooled, and the unit is the network; else it is that of the seeds.
    """
    if contrast.measure.last_epochs is None:
        half_width = paired_half_width(values)
        spread = statistics.stdev(values) if half_width is not None else 0.0
        return Noise(spread, len(values) - 1), half_width
    pooled = table.noises[contrast.measure.last_epochs]
    weights_of_networks = Counter()
    weights_of_runs = Counter()
    for seed, weighted in enumerate(of_seeds):
        for weight, run in weighted:
            weights_of_networks[seed, run.network] += weight
            weights_of_runs[seed, run.network, run.prune_ratio] += weight
    prune_ratios = {run.prune_ratio for weighted in of_seeds for _, run in weighted}
    if len(prune_ratios) > 1 and not within_networks(of_seeds[0]):
        noise, weights = pooled.of_mean(prune_ratios), weights_of_networks
    else:  # at one prune ratio a network is one run; within a network its own luck cancels
        noise, weights = pooled.run, weights_of_runs
    return noise, noise.half_width(sum(weight**2 for weight in weights.values()) / len(values) ** 2)


def pairs_of(contrast):
    """[Contrast] of each pair where the claim is of every one, else of the contrast itself."""
    if not contrast.every:
        return [contrast]
    pairs = zip(contrast.plus, contrast.minus, strict=True)
    return [contrast._replace(plus=(plus,), minus=(minus,)) for plus, minus in pairs]


def weighed(contrast, table):
    """(Estimate or None, count in words): of a contrast's mean, or, where it is claimed of every pair, of the weakest.

    Whether all pairs differ from 0 on one side is as sure as the least sure one; p is 1 where their signs differ. With
    too few seeds for a p the weakest is the one nearest 0.
    """
    if not contrast.every:
        return estimated(contrast, table), ""
    pairs = pairs_of(contrast)
    estimates = [estimated(pair, table) for pair in pairs]
    if None in estimates:
        return None, ""
    above = sum(estimate.mean > 0 for estimate in estimates)
    if any(estimate.p is None for estimate in estimates):
        return min(estimates, key=lambda estimate: abs(estimate.mean)), f"{above} of {len(pairs)} above 0, nearest 0 "
    weakest = max(estimates, key=lambda estimate: estimate.p)
    if above not in (0, len(pairs)):
        weakest = weakest._replace(p=1.0)
    return weakest, f"{above} of {len(pairs)} above 0, least sure "


@functools.cache
def published_by(network):
    """The Published of a network."""
    return Published(network)


def published_estimate(contrast):
    """What the authors' accuracies say of a contrast, a number a cell and no interval; None where they do not."""
    experiment = published_by(contrast.network)
    values = []
    for plus, minus in zip(contrast.plus, contrast.minus, strict=True):
        pair = contrast._replace(plus=(plus,), minus=(minus,), cells=1)
        value = weighted_sum(pair, weighted_runs(pair, experiment, seed=0), experiment)
        if value is None:
            return None
        values.append(value * len(contrast.plus) / contrast.cells)
    return Estimate(tuple(values))


# --------------------------------------------------------------------------------------------------- the verdict


class Judgement(NamedTuple):
    """What the runs of one protocol say of a contrast."""

    claim: Claim
    contrast: Contrast
    protocol: str
    estimate: Estimate | None  # of a primary contrast p is Holm-corrected over the list
    count: str  # in words, where pairs are counted
    source: str  # the csv
    is_mixed: bool = False  # whether networks that it compares within a seed ran on two machines
    verdict: str = ""  # of a primary contrast

    @property
    def text(self):
        """The estimate, and how many of its seeds have its sign; - without one."""
        return self.count + estimate_in_words(self.estimate) + (f" {MIXED}" if self.is_mixed else "")


MIXED = "†"


def is_mixed(contrast, table):
    """Whether networks that a contrast compares within a seed ran on two machines, or ended with other versions.

    These train other networks from one seed, so such a pair is less of a pair.
    """
    for one in pairs_of(contrast):
        for _, weighted in measured_seeds(one, table):
            machines = [run.machine for _, run in weighted]
            if machines[: len(one.plus)] != machines[len(one.plus) :]:
                return True
    return False


def estimate_in_words(estimate, count_seeds=True):
    """A mean and its interval, and how many seeds have its sign; without an interval, what each seed says."""
    if estimate is None:
        return "-"
    if estimate.half_width is None:
        values = ", ".join(f"{value:+.2f}" for value in estimate.values)
        return f"{estimate.mean:+.2f} ({'1 seed' if len(estimate.values) == 1 else values})"
    text = f"{estimate.mean:+.2f} ± {estimate.half_width:.2f}"
    if count_seeds:
        text += f" ({of_its_sign(estimate.values)}/{len(estimate.values)})"
    return text


def judgement_on(claim, contrast, protocol, tables):
    """The Judgement of a contrast on one table, still without a verdict.

    It is the table that has most seeds of it; of these, one whose pairs are of one machine; then the one of most cells.
    """
    best = Judgement(claim, contrast, protocol, None, "", "")
    most = (0,)
    for table in tables:
        if (table.network, table.protocol) != (contrast.network, protocol):
            continue
        estimate, count = weighed(contrast, table)
        if estimate is None:
            continue
        mixed = is_mixed(contrast, table)
        worth = len(estimate.values), not mixed, len(table.experiment.runs)
        if worth > most:
            most = worth
            best = best._replace(estimate=estimate, count=count, source=table.source, is_mixed=mixed)
    return best


def judged(tables):
    """[Judgement] of every primary contrast of the list under both protocols.

    Holm's correction is over all of them; one that was not run counts as a test that found nothing.
    """
    judgements = []
    for claim in CLAIMS:
        for contrast, protocol in itertools.product(claim.contrasts, PROTOCOLS):
            judgements.append(judgement_on(claim, contrast, protocol, tables))
    tested = [judgement.estimate is not None and judgement.estimate.p is not None for judgement in judgements]
    p_values = [judgement.estimate.p if test else 1.0 for judgement, test in zip(judgements, tested, strict=True)]
    decided = []
    for judgement, test, p in zip(judgements, tested, holm(p_values), strict=True):
        if test:
            judgement = judgement._replace(estimate=judgement.estimate._replace(p=p))
        decided.append(judgement._replace(verdict=verdict_of(judgement.contrast, judgement.estimate)))
    return decided


def verdict_of(contrast, estimate):
    """What the rule says of a primary contrast: holds, opposite, no effect, fails, open or not run."""
    if estimate is None:
        return "not run"
    if len(estimate.values) < FEWEST_SEEDS or estimate.half_width is None:
        return "open"
    if is_within_margin(contrast, estimate):
        return "holds" if contrast.direction == "=" else "no effect"
    if estimate.p > 0.05 or not seeds_agree(estimate.values):
        return "open"
    if contrast.direction == "=":
        return "fails"
    sign = "+" if estimate.mean > 0 else "-"
    return "holds" if sign == contrast.direction else "opposite"


def is_within_margin(contrast, estimate):
    """Whether the whole interval lies within the margin of the data set; shares and counts have none."""
    if contrast.every or not contrast.measure.has_margin:
        return False
    return abs(estimate.mean) + estimate.half_width < MARGIN[contrast.network[1]]


def seeds_agree(values):
    """Whether the seeds by themselves say so, too: all of a few, or their own t test."""
    if len(values) < SEEDS_FOR_A_TEST:
        return of_its_sign(values) == len(values)
    return abs(statistics.fmean(values)) >= paired_half_width(values)


def of_its_sign(values):
    """How many of the values have the sign of their mean."""
    mean = statistics.fmean(values)
    return sum(value * mean > 0 for value in values)


CLAIM_NOTES = (
    "Points of test accuracy where no unit is said; (n/n): so many of the seeds have the sign.",
    "±: half of the 95 % interval, after fine-tuning of the table's pooled noise, else of the seeds' paired t test.",
    "holds, opposite: p <= 0.05 and the seeds agree; no effect: the interval is within the margin; else open.",
    "Of a claimed equality: holds within the margin, fails with p <= 0.05. Margin: 0.2 points on MNIST, 1 on CIFAR.",
)


def mixed_note(judgements):
    """What the mark of pairs of two machines means, a line where there are any."""
    if not any(judgement.is_mixed for judgement in judgements):
        return []
    return [f"{MIXED}: in a seed, networks that are compared ran on two machines, which train others from one seed."]


def claim_rows(judgements, theirs):
    """[{title: text}] of every judgement; theirs: the networks whose runs are of the authors' experiment."""
    rows = []
    for judgement in judgements:
        rows.append(
            {
                "Claim": str(judgement.claim.number),
                "Network": NAMES[judgement.contrast.network],
                "Compared": judgement.contrast.words,
                "Claimed": judgement.contrast.direction,
                "Published": published_beside(judgement.contrast, theirs),
                "As": judgement.protocol,
                "Measured": judgement.text,
                "p": corrected_p_in_words(judgement),
                "Verdict": judgement.verdict,
            }
        )
    return rows


def claim_as_text(claim, judgements, theirs):
    """What is judged of a claim, as a paragraph: of each contrast what is published, and a line for each protocol."""
    text = wrapped(f"{claim.number}: {claim.words} ({claim.section})", hang=2)
    of_claim = [judgement for judgement in judgements if judgement.claim == claim]
    for contrast, both in itertools.groupby(of_claim, key=lambda judgement: judgement.contrast):
        text += wrapped(f"{NAMES[contrast.network]}: {contrast.words}", indent=2, hang=2)
        lines = [("published", f"claimed {contrast.direction}", "-", published_beside(contrast, theirs))]
        for one in both:
            lines.append((one.protocol, one.verdict, corrected_p_in_words(one), one.text))
        for protocol, verdict, p, measured in lines:
            text += wrapped(f"{protocol:10} {verdict:9}  p {p:6}  {measured}", indent=4, hang=2)
    return text


def corrected_p_in_words(judgement):
    if judgement.estimate is None or judgement.estimate.p is None:
        return "-"
    return p_in_words(judgement.estimate.p)


def published_beside(contrast, theirs):
    """What is published of a contrast, and - beside runs of other data or another training."""
    return published_in_words(contrast) if contrast.network in theirs else "-"


def published_in_words(contrast):
    """What the authors' accuracies say of a contrast: a mean, or how many pairs are above 0; - without them."""
    published = published_estimate(contrast)
    if published is None:
        return "-"
    if contrast.every:
        return f"{sum(value > 0 for value in published.values)} of {len(published.values)} above 0"
    return f"{published.mean:+.2f}"


def claims(paths, style):
    """The claims of the paper judged on any runs, those of which they have network and protocol, as text in a style."""
    tables = tables_of(paths)
    experiments = experiments_in_words(tables)
    theirs = {table.network for table in tables if is_their_experiment(runs_of(table))}
    known = {(table.network, table.protocol) for table in tables}
    every = judged(tables)
    judgements = [one for one in every if (one.contrast.network, one.protocol) in known]
    if not judgements:
        fail("no claim of the paper is about these networks, by the text or as released")
    judged_claims = dict.fromkeys(judgement.claim for judgement in judgements)
    tests = f"p is Holm-corrected over the {len(every)} contrasts of the list; one without runs counts as a test, too."
    notes = [*CLAIM_NOTES, tests, *mixed_note(judgements), *experiments]
    if style == "text":
        paragraphs = [claim_as_text(claim, judgements, theirs) for claim in judged_claims]
        return "\n".join([*paragraphs, notes_as_text(notes, style)])
    names = [f"{claim.number}: {claim.words} ({claim.section})." for claim in judged_claims]
    return claims_as_table(claim_rows(judgements, theirs), [*names, *notes], style)


def claims_as_table(rows, notes, style):
    """The rows of `claim_rows` in markdown, with notes, or in latex."""
    columns = [(name, *(row[name] for row in rows)) for name in rows[0]]
    if style == "latex":
        return as_latex(columns)
    return "\n".join([as_text(columns, style), notes_as_text(notes, style)])


def shared_by_network(tables):
    """{network: {what its runs share: (value, file)}}; exits with one line if two files of a network disagree."""
    known = {table.network: {} for table in tables}
    for table in tables:
        for run in runs_of(table):
            require_agreement(run, table.source or "a checkpoint", known[table.network], is_asked=False)
    return known


def experiments_in_words(tables):
    """A line for each network: its data and training."""
    lines = []
    for network, facts in shared_by_network(tables).items():
        first_training, _ = facts.get("first_training", ("none", ""))
        (data, _), (fine_tuning, _) = facts["data"], facts["fine_tuning"]
        lines.append(f"{name_of(network)}: {data}. First training: {first_training}. Fine-tuning: {fine_tuning}.")
    return lines
