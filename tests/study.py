"""What the paper lacks, from the same files as report.py: main effects, pruning methods, costs, the trade-off.

    python tests/study.py effects runs/paper/CIFAR100/resnet18/seed*/*/p*/finetuned.pt
    python tests/study.py costs tests/results/lenet-mnist-pruning-ablation.csv --format markdown
    python tests/study.py tradeoff tests/results/lenet-mnist-paper.csv --out tradeoff.svg

Main effects are means over the cells of a table, averaged within a seed first. Pruning methods are compared network by
network, and each with the same network unpruned, where prune ratio 0 is among the files.
"""

import itertools
import statistics
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from claims import MARGIN, claims, hard_classes, of_its_sign

from report import (
    Estimate,
    Run,
    colours_of,
    difference,
    experiments_of,
    experiments_to_draw,
    finish,
    in_order,
    legend_of,
    load_runs,
    made_from,
    noises_of,
    paired_half_width,
    panel_title,
    panels,
    print_or_write,
    render,
    row_start,
    save_figure,
    subject,
    title,
)
from train import Parser, fail

# --------------------------------------------------------------------------------------------------- main effects

EFFECTS = (  # order, reference
    ("low", "base"),
    ("high", "base"),
    ("low", "random"),
    ("high", "random"),
    ("low", "high"),
    ("random", "base"),
    ("matched", "base"),
)

EFFECT_NOTES = (
    "Main effects are averaged within a seed, and their unit is the network; seeds alone: ± is of their paired t test.",
    "Of its sign: how many of the seeds have the sign of all cells' effect.",
    "Last three epochs: of the mean accuracy after them, or after all where there are fewer.",
    "Sign flips: p of that test, uncorrected.",
    "Before, after pruning: not fine-tuned; ± is of the paired t test of these seeds alone, since noise differs there.",
)


def effect_rows(experiments, noises, late_noises):
    """The main effects: [{title: text, Estimate or None}].

    noises, late_noises: {pruning method: PooledNoise}, of the last epoch and of the mean of the last three.
    """
    rows = []
    for experiment in experiments:
        noise = noises[experiment.method]
        late_noise = late_noises[experiment.method]
        for order, reference in EFFECTS:
            row = effect_row(experiment, order, reference, noise, late_noise)
            if row:
                names = row_start(experiments, experiment, "", "")
                rows.append({name: text for name, text in names.items() if text} | row)
    return rows


def effect_row(experiment, order, reference, noise, late_noise):
    """One main effect, over all cells and each data ratio's, and what it was before; None without a pair."""
    whole = difference(experiment, order, reference, experiment.rows, noise)
    if whole is None:
        return None
    row = {"Main effect": title(order, reference), "All cells": whole}
    row["Seeds alone"] = difference(experiment, order, reference, experiment.rows)
    if len(experiment.data_ratios) > 1:
        for data_ratio in experiment.data_ratios:
            cells = [ratios for ratios in experiment.rows if ratios[0] == data_ratio]
            row[f"Data Ratio {data_ratio:g}"] = difference(experiment, order, reference, cells, noise)
    row["Last three epochs"] = difference(experiment, order, reference, experiment.rows, late_noise, last_three)
    row["Before pruning"] = difference(experiment, order, reference, experiment.rows, measure=before_pruning)
    row["After pruning"] = difference(experiment, order, reference, experiment.rows, measure=after_pruning)
    row["Networks"] = str(whole.networks)
    row["Of its sign"] = f"{of_its_sign(whole.values)}/{len(whole.values)}"
    row["Sign flips"] = f"{sign_flip_p(whole.values):.3f}" if len(whole.values) >= 6 else None
    return row


def before_pruning(run):
    return run.dense


def after_pruning(run):
    return run.pruned


def last_three(run):
    return run.end(3)


def sign_flip_p(values):
    """Two-sided p-value of the mean under flips of every value's sign: the share of flips as far from 0.

    All 2^n up to 20 values; beyond, 100,000 drawn with seed 0, the observed one among them.
    """
    values = np.array(values)
    if len(values) <= 20:
        sums = np.zeros(1)
        for value in values:
            sums = np.concatenate([sums + value, sums - value])
    else:
        random = np.random.default_rng(0)
        sums = np.full(100_000, values.sum())
        sums[1:] = sum(value * random.choice([-1, 1], len(sums) - 1) for value in values)
    observed = abs(values.sum())
    tolerance = 1e-9 * max(1.0, observed)
    return float((abs(sums) >= observed - tolerance).mean())


def equivalences(rows, dataset):
    """A line for each main effect whose whole interval lies within the margin of the data set."""
    lines = []
    margin = MARGIN[dataset]
    for row in rows:
        effect = row["All cells"]
        if effect.half_width is not None and abs(effect.mean) + effect.half_width < margin:
            names = [row.get(name) for name in ("Protocol", "Pruning", "Main effect")]
            name = " ".join(filter(None, names))
            lines.append(f"{name}: equivalent, the whole interval is within ± {margin} points.")
    return lines


# ------------------------------------------------------------------------------------------------ pruning methods

TWO_METHODS = "Two pruning methods: ± takes two seeds and is of the paired t test, not corrected for the pairs' number."
UNPRUNED = "Less unpruned: the same network at prune ratio 0; ± is of the pooled noise for magnitude, else as of two."


def method_rows(experiments, noises):
    """Every two pruning methods under one protocol, then each less unpruned: [{title: text, Estimate or None}].

    Differences are paired by network. Between two methods ± is of the paired t test, since each has noise of its own.
    Unpruned runs, of prune ratio 0, have magnitude's; so where networks differ in luck, ± is wider than need be.
    """
    rows = []
    for other, one in itertools.combinations(experiments, 2):
        if one.protocol == other.protocol:
            for ratios in pruned_rows(one):
                names = method_row_start(experiments, one, ratios, other.method)
                rows.append(names | same_networks(experiments, one, ratios, other, ratios))
    for one, other in itertools.product(experiments, experiments):
        if one.protocol == other.protocol and other.method == "magnitude":
            noise = noises[one.method] if one is other else None
            for data_ratio, prune_ratio in pruned_rows(one):
                names = method_row_start(experiments, one, (data_ratio, prune_ratio), "unpruned")
                unpruned = data_ratio, 0
                rows.append(names | same_networks(experiments, one, (data_ratio, prune_ratio), other, unpruned, noise))
    return [row for row in rows if any(isinstance(entry, Estimate) for entry in row.values())]


def pruned_rows(experiment):
    return [ratios for ratios in experiment.rows if ratios[1] > 0]


def method_row_start(experiments, experiment, ratios, reference):
    """The first fields of a row that compares an experiment's pruning method with a reference."""
    row = row_start(experiments, experiment, *(f"{ratio:g}" for ratio in ratios))
    return row | {"Pruning": f"{experiment.method} - {reference}"}


def same_networks(experiments, one, ratios, other, other_ratios, noise=None):
    """{title of an order: the Estimate of one experiment's cell less another's, of networks of both, or None}."""
    orders = in_order(itertools.chain(*(experiment.orders for experiment in experiments)))
    estimates = {}
    for order in orders:
        runs = one.at(order, *ratios)
        others = other.at(order, *other_ratios)
        values = []
        for seed in sorted(runs.keys() & others.keys()):
            if runs[seed].dense == others[seed].dense:  # else it is a network of another training
                values.append(runs[seed].end() - others[seed].end())
        estimates[title(order)] = None
        if values:
            half_width = noise.run.half_width(2 / len(values)) if noise else paired_half_width(values)
            estimates[title(order)] = Estimate(tuple(values), half_width=half_width)
    return estimates


def effects(runs, style):
    """Main effects, and pruning methods where there are several or unpruned runs, as text in a style."""
    experiments = experiments_of(runs)
    noises = noises_of(runs)
    of_effects = effect_rows(experiments, noises, noises_of(runs, last_epochs=3))
    of_methods = method_rows(experiments, noises)
    notes = []
    if of_effects:
        notes += EFFECT_NOTES
    compared = {row["Pruning"].endswith("unpruned") for row in of_methods}
    if False in compared:
        notes.append(TWO_METHODS)
    if True in compared:
        notes.append(UNPRUNED)
    return render([of_effects, of_methods], notes + equivalences(of_effects, runs[0].dataset), style)


# ---------------------------------------------------------------------------------------------------------- costs

COST_NOTES = (
    "Means over seeds. samples x epochs count the scoring run where the order needs one; seconds do not.",
    "Hard: the fifth of the classes that the baseline tests worst in before pruning; choosing them so makes it look a",
    "little worse in them than it is.",
)


def cost_rows(experiments):
    """What networks cost and how hard classes fare, [{title: text}] for every cell; means over seeds."""
    rows = []
    for experiment in experiments:
        hard = hard_classes(experiment)
        cells = sorted(experiment.runs, key=lambda cell: (experiment.orders.index(cell[0]), cell))
        for order, data_ratio, prune_ratio in cells:
            runs = list(experiment.runs[order, data_ratio, prune_ratio].values())
            row = {"Order": order}
            row |= row_start(experiments, experiment, f"{data_ratio:g}", f"{prune_ratio:g}")
            row |= costs_of(runs)
            row |= accuracy_in(hard, runs)
            rows.append(row)
    return rows


def costs_of(runs):
    """{title: the mean over the runs of a cell, as text}."""

    def mean(measure, decimals=0):
        return f"{statistics.fmean(measure(run) for run in runs):.{decimals}f}"

    return {
        "Seeds": str(len(runs)),
        "Accuracy": mean(Run.end, 2),
        "Before pruning": mean(before_pruning, 2),
        "After pruning": mean(after_pruning, 2),
        "samples x epochs": mean(lambda run: run.trained),
        "parameters": mean(lambda run: run.parameters),
        "not zero": mean(lambda run: run.nonzero),
        "live weights": mean(lambda run: run.live),
        "of them not zero": mean(lambda run: run.live_nonzero),
        "seconds": mean(lambda run: run.first_seconds + run.seconds),
    }


def accuracy_in(classes, runs):
    """{title: mean accuracy in these classes before pruning, after it and at the end, as text, or None}."""
    titles = ("hard before", "hard pruned", "hard at end")
    accuracies = [run.by_class[:, classes].mean(1) for run in runs if run.classes and len(classes)]
    if not accuracies:
        return dict.fromkeys(titles)
    return {name: f"{accuracy:.1f}" for name, accuracy in zip(titles, np.mean(accuracies, 0), strict=True)}


def costs(runs, style):
    """What networks cost, as text in a style."""
    experiments = experiments_of(runs)
    return render([cost_rows(experiments)], [*COST_NOTES, *made_from(runs, experiments)], style)


# -------------------------------------------------------------------------------------------------------- figures


def tradeoff(runs, out):
    """Write a figure of test accuracy against the samples trained on, a point per order, a panel per cell."""
    experiments = experiments_to_draw(runs)
    if len(experiments) > 1:
        fail("this figure shows one protocol; give the files of one")
    experiment = experiments[0]
    colours = colours_of(experiment.orders)
    figure, axes = panels(len(experiment.data_ratios), len(experiment.prune_ratios))
    for axis, ratios in zip(axes.flat, experiment.rows, strict=True):
        axis.set_title(panel_title(experiments, experiment, *ratios), fontsize=8)
        for order, x in places_by_cost(experiment, ratios).items():
            ends = [run.end() for run in experiment.at(order, *ratios).values()]
            error = statistics.stdev(ends) if len(ends) > 1 else None
            point = axis.errorbar(x, statistics.fmean(ends), error, color=colours[order], fmt="o", ms=4, lw=0.9)
            point[0].set_gid(f"point-{order}-{ratios[0]:g}-{ratios[1]:g}")
    notes = [
        "samples: images times epochs of all trainings, and of the scoring run where the order needs one",
        "orders of one cost stand side by side around it; error bars: one standard deviation over the seeds",
    ]
    across = "samples trained on (millions)"
    finish(figure, axes, [subject(experiments, runs), *notes], across, legend_of(colours))
    save_figure(figure, out)


def places_by_cost(experiment, ratios):
    """{order: where it stands, in millions of samples}; orders of one cost stand side by side."""
    every = [run.trained / 1e6 for runs in experiment.runs.values() for run in runs.values()]
    step = 0.02 * (max(every) - min(every) or max(every) or 1)
    costs = {}
    for order in experiment.orders:
        runs = experiment.at(order, *ratios).values()
        if runs:
            costs[order] = statistics.fmean(run.trained for run in runs) / 1e6
    places = {}
    for order, cost in costs.items():
        neighbours = [other for other in costs if costs[other] == cost]
        places[order] = cost + step * (neighbours.index(order) - (len(neighbours) - 1) / 2)
    return places


# --------------------------------------------------------------------------------------------------- command line


def main():
    parser = Parser(__doc__)
    commands = {
        "effects": "main effects, and pruning methods against each other",
        "costs": "what networks cost, and how hard classes fare",
        "claims": "the paper's claims, judged by one rule on these runs",
        "tradeoff": "a figure: accuracy against the samples trained on",
    }
    parser.add_argument("command", choices=commands, help="; ".join(f"{k}: {v}" for k, v in commands.items()))
    parser.add_argument("inputs", nargs="+", metavar="IN", help="finetuned.pt files, or csv files of `report.py runs`")
    styles = ["text", "markdown", "latex"]
    parser.add_argument("--format", choices=styles, default="text", help="of tables (default: %(default)s)")
    parser.add_argument("--out", metavar="FILE", help="the file to write; a figure needs one (default: print)")
    args = parser.start("out")
    if args.command == "tradeoff" and not args.out:
        parser.error("argument --out: a figure needs a file")

    if args.command == "claims":
        print_or_write(claims(args.inputs, args.format), args.out)
        return
    runs = load_runs(args.inputs)
    if args.command == "tradeoff":
        tradeoff(runs, args.out)
    elif args.command == "effects":
        print_or_write(effects(runs, args.format), args.out)
    else:
        print_or_write(costs(runs, args.format), args.out)


if __name__ == "__main__":
    main()
