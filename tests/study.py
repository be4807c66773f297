"""What the paper lacks: main effects, costs, its claims judged, and pictures.

    python tests/study.py effects runs/paper/MNIST/lenet/seed*/*/p*/finetuned.pt
    python tests/study.py claims tests/results/*.csv

It reads the same files as report.py. Main effects are means over the cells of a
table, averaged within a seed first. Pruning methods are compared network by
network, and each with the same network unpruned, where prune ratio 0 is among
the files. claims.py has the list of the paper's claims and the rule. The
sentence above a picture is made from its data.
"""

import csv
import itertools
import signal
import statistics
import sys
from pathlib import Path
from typing import NamedTuple

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends the program without a traceback, while it loads, too
    sys.path.insert(0, str(Path(__file__).resolve().parent))  # python -P leaves it out

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from claims import (
    CELL,
    FEWEST_SEEDS,
    MARGIN,
    NAMES,
    PROTOCOLS,
    claims,
    estimated,
    hard_classes,
    less,
    name_of,
    of_its_sign,
    published_by,
    published_estimate,
    runs_of,
    shared_by_network,
    table_of,
    tables_of,
)
from report import (
    SEEDS_FOR_A_TEST,
    Estimate,
    Run,
    colours_of,
    difference,
    experiments_of,
    experiments_to_draw,
    finish,
    in_order,
    is_their_experiment,
    legend_of,
    load_runs,
    made_from,
    noises_of,
    paired_half_width,
    paired_runs,
    panel_title,
    panels,
    pooled_noise,
    print_or_write,
    pyplot,
    render,
    require_text_file,
    row_start,
    save_figure,
    side_of,
    side_of_all,
    subject,
    title,
)
from train import DATASETS, Parser, fail, first_line

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
    "Cells: over how many of the table's the mean is. Of its sign: how many of the seeds have the sign of the mean.",
    "Last three epochs: of the mean accuracy after them, or after all where there are fewer.",
    "Before, after pruning: not fine-tuned; ± is of the paired t test of these seeds alone, since noise differs there.",
)
SIGN_FLIPS = "Sign flips: p of that test, uncorrected."


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
    """One main effect, over its cells and each data ratio's, and what it was before; None without a pair."""
    whole = difference(experiment, order, reference, experiment.rows, noise)
    if whole is None:
        return None
    count = len(paired_runs(experiment, order, reference, experiment.rows)[0])
    row = {"Main effect": title(order, reference), "Cells": f"{count}/{len(experiment.rows)}", "Mean": whole}
    row["Seeds alone"] = difference(experiment, order, reference, experiment.rows)
    if len(experiment.data_ratios) > 1:
        for data_ratio in experiment.data_ratios:
            cells = [ratios for ratios in experiment.rows if ratios[0] == data_ratio]
            row[f"Data {data_ratio:g}"] = difference(experiment, order, reference, cells, noise)
    row["Last three epochs"] = difference(experiment, order, reference, experiment.rows, late_noise, last_three)
    row["Before pruning"] = difference(experiment, order, reference, experiment.rows, measure=before_pruning)
    row["After pruning"] = difference(experiment, order, reference, experiment.rows, measure=after_pruning)
    row["Networks"] = str(whole.networks)
    row["Of its sign"] = f"{of_its_sign(whole.values)}/{len(whole.values)}"
    row["Sign flips"] = f"{sign_flip_p(whole.values):.3f}" if len(whole.values) >= SEEDS_FOR_A_TEST else None
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
        effect = row["Mean"]
        if effect.half_width is not None and abs(effect.mean) + effect.half_width < margin:
            names = [row.get(name) for name in ("Protocol", "Pruning", "Main effect")]
            name = " ".join(filter(None, names))
            lines.append(f"{name}, {row['Cells']} cells: equivalent, the whole interval is within ± {margin} points.")
    return lines


# ------------------------------------------------------------------------------------------------ pruning methods

TWO_METHODS = "Two pruning methods: ± takes three seeds and is of the paired t test, not corrected for their number."
OF_UNPRUNED = (
    "Less unpruned: the same network at prune ratio 0; ± is of the pooled noise for magnitude, else as of two."
)


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
    if not of_effects and not of_methods:
        notes.append("Nothing to compare: no two orders, and no two pruning methods, have a cell and a seed in common.")
    if of_effects:
        notes += EFFECT_NOTES
    if any(row["Sign flips"] for row in of_effects):
        notes.append(SIGN_FLIPS)
    compared = {row["Pruning"].endswith("unpruned") for row in of_methods}
    if False in compared:
        notes.append(TWO_METHODS)
    if True in compared:
        notes.append(OF_UNPRUNED)
    return render([of_effects, of_methods], notes + equivalences(of_effects, runs[0].dataset), style)


# ---------------------------------------------------------------------------------------------------------- costs

COST_NOTES = (
    "Means over seeds. samples x epochs count the scoring run where the order needs one; seconds do not.",
    "Hard: the classes, a fifth, that the baseline tests worst in before pruning, which makes it look a little worse.",
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
    finish(figure, axes, [], across, legend_of(colours), [subject(experiments, runs), *notes])
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


# -------------------------------------------------------------------------------------------------------- pictures

LOOKS = {  # of protocols, in every picture: colour, marker, how far below the middle of its row
    "paper": ("#A3003F", "s", 0.12),
    "released": ("#007A6C", "o", -0.06),
    "published": ("#000000", "D", -0.3),
}
PROTOCOL_NAMES = {"paper": "by the paper's text", "released": "as released", "published": "published"}
ORDER_NAMES = {
    "low": "coreset of the least forgotten (low)",
    "high": "coreset of the most forgotten (high)",
    "random": "coreset drawn at random",
    "matched": "all data, for as few steps as a coreset",
    "crest": "mini-batch coresets (CREST)",
    "crestfresh": "mini-batch coresets (CREST, renewed always)",
    "untrained": "not trained before pruning",
    "long": "random coreset, the baseline's steps",
    "el2n": "coreset of the largest errors (EL2N)",
    "ccs": "coreset spread over the errors (CCS)",
}


def first_tables(paths):
    """{protocol: the first Table of it}; exits with one line if the files are of several networks, or of none."""
    known = tables_of(paths)
    tables = {}
    for table in known:
        tables.setdefault(table.protocol, table)
    if not tables:
        fail("a picture takes runs by the text or as released")
    names = sorted(map(name_of, shared_by_network(known)))
    if len(names) > 1:
        fail(f"a picture is of one network, and these files are of {' and of '.join(names)}")
    return tables


def forest(paths, out):
    """Write the picture of Table 1: order less base in every cell and in the mean, published and by both protocols."""
    tables = first_tables(paths)
    network = next(iter(tables.values())).network
    is_theirs = has_published(tables)
    cells = tuple(sorted(set().union(*(table.experiment.rows for table in tables.values()))))
    gains = gains_by_cell(tables, cells)
    if not any(gains.values()):
        fail("this picture takes runs of the baseline and of low or high coresets, with a seed in common")
    figure, axes = pyplot().subplots(1, 2, sharex=True, sharey=True, figsize=(8, 1.6 + 0.33 * len(cells)))
    heights = heights_of(cells)
    for axis, order in zip(axes, ("low", "high"), strict=True):
        axis.set_title(ORDER_NAMES[order], fontsize=10)
        draw_gains(axis, {key: gain for key, gain in gains.items() if key[0] == order}, heights)
        if is_theirs:
            draw_published(axis, network, order, cells, heights)
        finish_forest(axis, heights)
    axes[0].set_yticks(list(heights.values()), map(row_name, heights), fontsize=9)
    means = {(order, protocol): gains[order, protocol, "mean"] for order, protocol, _ in gains}
    shown = [*PROTOCOLS, "published"] if is_theirs else PROTOCOLS
    looks = [protocol for protocol in shown if protocol in (*tables, "published")]
    finish_picture(figure, forest_title(means, is_theirs), looks, forest_notes(gains.values(), network, is_theirs))
    save_figure(figure, out)


def has_published(tables):
    """Whether the Tables {protocol: Table} of one network are of an experiment that the authors published."""
    networks = [table.network for table in tables.values()]
    return bool(published_by(networks[0]).runs) and all(map(is_their_experiment, map(runs_of, tables.values())))


def gains_by_cell(tables, cells):
    """{(order, protocol, cell, or "mean" of all): Estimate or None} of low and high less base."""
    gains = {}
    for order, (protocol, table) in itertools.product(("low", "high"), tables.items()):
        for cell in cells:
            gains[order, protocol, cell] = estimated(less(table.network, order, "base", (cell,)), table)
        gains[order, protocol, "mean"] = estimated(less(table.network, order, "base", cells), table)
    return gains


def heights_of(cells):
    """{cell, or "mean": its height in the picture}, with a gap before another data ratio and before the mean."""
    heights = {}
    height = 0.0
    for before, cell in zip((cells[0], *cells), cells, strict=False):
        height -= 1.0 if before[0] == cell[0] else 1.5
        heights[cell] = height
    if len(cells) > 1:
        heights["mean"] = height - 1.6
    return heights


def row_name(cell):
    if cell == "mean":
        return "mean of all"
    return f"{100 * cell[0]:g} % of the data, {100 * cell[1]:g} % pruned"


def draw_gains(axis, gains, heights):
    """The gains {(order, protocol, cell): Estimate or None} of one order, each beside those of the other protocol."""
    for (_, protocol, cell), gain in gains.items():
        colour, marker, below = LOOKS[protocol]
        if gain and cell in heights:
            draw_interval(axis, gain, heights[cell] - below, colour, marker, size=8 if cell == "mean" else 5)


def draw_interval(axis, estimate, height, colour, marker, size=5):
    """A point with its 95 % interval as a bar."""
    reach = estimate.half_width or 0
    ends = [estimate.mean - reach, estimate.mean + reach]
    axis.plot(ends, [height, height], color=colour, lw=size / 2.5, solid_capstyle="butt")
    axis.plot(estimate.mean, height, marker, color=colour, ms=size)


def draw_published(axis, network, order, cells, heights):
    colour, marker, below = LOOKS["published"]
    look = {"color": colour, "mfc": "white", "mew": 1.2}
    gains = {cell: published_estimate(less(network, order, "base", (cell,))) for cell in cells}
    for cell, gain in gains.items():
        if gain:
            axis.plot(gain.mean, heights[cell] - below, marker, ms=4.5, **look)
    if len(cells) > 1 and None not in gains.values():
        mean = statistics.fmean(gain.mean for gain in gains.values())
        axis.plot(mean, heights["mean"] - below, marker, ms=6.5, **look)


def finish_forest(axis, heights):
    axis.axvline(0, color="#000000", lw=1)
    axis.spines["left"].set_visible(False)
    axis.tick_params(axis="y", length=0)
    axis.tick_params(axis="x", labelsize=9)
    axis.xaxis.set_major_formatter(lambda x, _: f"{x:+g}" if x else "0")
    bottom = min(heights.values()) - 1.3
    axis.set_ylim(bottom, max(heights.values()) + 0.8)
    axis.text(-0.3, bottom + 0.2, "worse than the baseline", ha="right", fontsize=8.5, color="#555555")
    axis.text(0.3, bottom + 0.2, "better", ha="left", fontsize=8.5, color="#555555")


def forest_title(means, is_theirs):
    """The sentence that the means say; means: {(order, protocol): Estimate}."""
    sides = {}
    for protocol in PROTOCOLS:
        sides[protocol] = side_of_all([estimate for (_, one), estimate in means.items() if one == protocol])
    if (sides["paper"], sides["released"], is_theirs) == ("below", "above", True):
        return "The published gain comes back with the authors' program, not with the paper's text"
    words = {"below": "lose to", "above": "beat", "neither": "end on no sure side of"}
    known = [protocol for protocol in PROTOCOLS if any(one == protocol for _, one in means)]
    if len({sides[protocol] for protocol in known}) == 1:
        names = " and ".join(PROTOCOL_NAMES[protocol] for protocol in known)
        text = f"{names}, coresets {words[sides[known[0]]]} the baseline"
    else:
        parts = [f"{PROTOCOL_NAMES[protocol]}, coresets {words[sides[protocol]]} the baseline" for protocol in known]
        text = "; ".join(parts)
    return text[0].upper() + text[1:]


def forest_notes(gains, network, is_theirs):
    counts = [len(gain.values) for gain in gains if gain]
    seeds = dict.fromkeys(f"{count}" for count in (min(counts), max(counts)))
    published = " Published: one number a cell." if is_theirs else ""
    return [
        f"{name_of(network)}: test accuracy after fine-tuning less the baseline's, in points.",
        f"Bars: 95 % intervals, {' to '.join(seeds)} seeds.{published}",
    ]


def finish_picture(figure, headline, protocols, notes):
    """Write a picture's sentence above it, and below it what its signs mean."""
    figure.suptitle(headline, fontsize=11.5, fontweight="bold")
    handles = []
    for protocol in protocols:
        colour, marker, _ = LOOKS[protocol]
        fill = "white" if protocol == "published" else colour
        look = {"color": colour, "mfc": fill, "marker": marker, "ls": "", "ms": 6}
        handles.append(pyplot().Line2D([], [], label=PROTOCOL_NAMES[protocol], **look))
    lines = len(notes) + bool(handles)
    figure.tight_layout(rect=(0, 0.055 * lines * 4.5 / figure.get_figheight(), 1, 0.99))
    if handles:
        place = {"loc": "lower center", "bbox_to_anchor": (0.5, 0.2 * len(notes) / figure.get_figheight())}
        figure.legend(handles=handles, ncols=len(handles), fontsize=10, **place)
    figure.text(0.5, 0.01, "\n".join(notes), ha="center", va="bottom", fontsize=8.5, color="#444444")


# BatchNorm of the baseline, pruned weights: the protocol
WHY = {
    ("trains", "stay zero"): "paper",
    ("frozen", "stay zero"): "frozen",
    ("trains", "grow back"): "regrown",
    ("frozen", "grow back"): "released",
}


AS_RELEASED = "frozen+regrown"  # the same for orders that know no scores


class Why(NamedTuple):
    """One order's share in why the program gains: its runs and the baseline's under four protocols, seed by seed."""

    network: tuple
    order: str
    seeds: tuple  # those with all eight runs
    gains: dict  # {(BatchNorm, pruned weights): Estimate of order less base}
    ends: dict  # {(BatchNorm, pruned weights): (accuracies of base, of order), each by seed, %}


def whys_of(paths):
    """{order: Why} of low, high and random, or of random alone.

    Runs of the authors' program depart in three ways more; for random coresets, which know no scores, they cannot.
    """
    runs = [run for run in load_runs(paths) if run.method == "magnitude"]
    noises = {1: pooled_noise(runs)}
    tables = {}
    orders = ("low", "high", "random")
    for place, protocol in WHY.items():
        table = table_of(runs, protocol)
        if table is None and protocol == "released":
            table = table_of(runs, AS_RELEASED)
            orders = ("random",)
        if table is None:
            fail(f"this picture takes runs under {', '.join(WHY.values())}, and there are none under {protocol}")
        tables[place] = table._replace(noises=noises)
    whys = {order: why_of(order, tables) for order in orders}
    if not any(why.seeds for why in whys.values()):
        fail("no order has its runs and the baseline's under all four protocols with the same seeds")
    return whys


def whys_shown(whys):
    """[Why] of low and high where both have the same three seeds or more, else of the order with most seeds."""
    low, high, random = map(whys.get, ("low", "high", "random"))
    if low and low.seeds == high.seeds and len(low.seeds) >= FEWEST_SEEDS:
        return [low, high]
    return [max(filter(None, (random, low, high)), key=lambda why: len(why.seeds))]


def why_of(order, tables):
    """The Why of one order; tables: {(BatchNorm, pruned weights): Table}."""
    network = tables["trains", "stay zero"].network
    contrast = less(network, order, "base")
    known = []
    for table in tables.values():
        known.append(set(table.experiment.at(order, *CELL[0])) & set(table.experiment.at("base", *CELL[0])))
    seeds = tuple(sorted(set.intersection(*known)))
    gains = {}
    ends = {}
    if seeds:
        for place, table in tables.items():
            gains[place] = estimated(contrast, table, seeds)
            ends[place] = tuple(ends_by_seed(table, one, seeds) for one in ("base", order))
    return Why(network, order, seeds, gains, ends)


def ends_by_seed(table, order, seeds):
    runs = table.experiment.at(order, *CELL[0])
    return tuple(runs[seed].end() for seed in seeds)


def why(paths, out):
    """Write the picture of the two departures that decide: baseline and coresets, with and without each."""
    whys = whys_shown(whys_of(paths))
    colours = colours_of(["base", *(one.order for one in whys)])
    figure, axis = pyplot().subplots(figsize=(8, 3.5 + 0.5 * len(whys)))
    step = 0.5 / len(whys)
    for row, place in enumerate(WHY):
        for position, one in enumerate(whys):
            height = -row - step * (position - (len(whys) - 1) / 2)
            base, end = map(statistics.fmean, one.ends[place])
            arrow = {"arrowstyle": "-|>", "color": colours[one.order], "lw": 2, "shrinkA": 0, "shrinkB": 0}
            axis.annotate("", (end, height), (base, height), arrowprops=arrow)
            axis.plot(end, height, ".", color=colours[one.order], ms=3)
            axis.plot(base, height, "o", color="#000000", mfc="white", mew=1.5, ms=7, zorder=3)
            words = f"{one.gains[place].mean:+.1f}"
            axis.text(
                1.02, height, words, transform=axis.get_yaxis_transform(), va="center", fontweight="bold", fontsize=10.5
            )
    finish_why(figure, axis, whys, colours)
    save_figure(figure, out)


def finish_why(figure, axis, whys, colours):
    names = []
    for (batchnorm, weights), protocol in WHY.items():
        called = {"paper": "\n= the paper's text", "released": "\n= as released"}.get(protocol, "")
        names.append(f"baseline's BatchNorm {batchnorm},\npruned weights {weights}{called}")
    axis.set_yticks([-row for row in range(len(WHY))], names, fontsize=9.5)
    axis.set_ylim(-len(WHY) + 0.4, 0.6)
    axis.spines["left"].set_visible(False)
    axis.tick_params(axis="y", length=0)
    axis.grid(axis="x", color="#DDDDDD", lw=0.8)
    axis.set_axisbelow(True)
    axis.set_xlabel("test accuracy after fine-tuning, %", fontsize=9.5)
    axis.text(1.02, 0.6, "points", transform=axis.get_yaxis_transform(), va="bottom", fontsize=9.5)
    handles = [pyplot().Line2D([], [], marker="o", ls="", color="#000000", mfc="white", ms=7, label="baseline")]
    for one in whys:
        look = {"color": colours[one.order], "lw": 2, "marker": ">", "ms": 6}
        handles.append(pyplot().Line2D([], [], label=f"to the {ORDER_NAMES[one.order]}", **look))
    figure.suptitle(why_title(whys), fontsize=11.5, fontweight="bold")
    figure.legend(handles=handles, loc="upper center", bbox_to_anchor=(0.5, 0.93), ncols=len(handles), fontsize=9.5)
    notes = f"{name_of(whys[0].network)}, 10 % of the data, 80 % pruned, {len(whys[0].seeds)} seeds."
    figure.text(0.5, 0.01, notes, ha="center", va="bottom", fontsize=8.5, color="#444444")
    figure.tight_layout(rect=(0, 0.04, 1, 0.92))


def why_title(whys):
    """The sentence that the gains say."""
    text = side_of_all([one.gains["trains", "stay zero"] for one in whys])
    program = side_of_all([one.gains["frozen", "grow back"] for one in whys])
    if (text, program) == ("below", "neither"):
        return "Two departures of the program undo the loss"
    if (text, program) != ("below", "above"):
        return "What two departures of the program do to the coreset's gain"
    alone = [one.gains[place] for one in whys for place in (("frozen", "stay zero"), ("trains", "grow back"))]
    if any(side_of(gain) == "above" for gain in alone):
        return "Departures of the program turn the loss into a gain"
    return "Pruned, only both departures of the program together show a gain"


def controls(paths, out):
    """Write the picture of the controls: each order less the baseline in one cell, by one protocol."""
    tables = [table for table in first_tables(paths).values() if table.experiment.at("untrained", *CELL[0])]
    if not tables:
        fail("this picture takes runs of untrained networks, at 80 % pruned")
    table = tables[0]
    gains = {order: estimated(less(table.network, order, "base"), table) for order in ORDER_NAMES}
    if gains["untrained"] is None:
        fail("this picture takes runs of untrained networks and of the baseline, with a seed in common")
    orders = sorted((order for order in gains if gains[order]), key=lambda order: gains[order].mean)
    figure, axis = pyplot().subplots(figsize=(8, 1.5 + 0.36 * len(orders)))
    colours = colours_of(orders)
    for height, order in enumerate(orders):
        draw_interval(axis, gains[order], height, colours[order], "o", size=7)
    names = [f"{ORDER_NAMES[order]}, n = {len(gains[order].values)}" for order in orders]
    axis.set_yticks(range(len(orders)), names, fontsize=9.5)
    axis.axvline(0, color="#000000", lw=1)
    axis.axvline(gains["untrained"].mean, color=colours["untrained"], lw=1, ls="--", zorder=0)
    axis.set_ylim(-0.6, len(orders) - 0.4)
    axis.spines["left"].set_visible(False)
    axis.tick_params(axis="y", length=0)
    axis.xaxis.set_major_formatter(lambda x, _: f"{x:+g}" if x else "baseline")
    notes = [
        f"{name_of(table.network)}, {PROTOCOL_NAMES[table.protocol]}, 10 % of the data, 80 % pruned. Points of test",
        "accuracy less the baseline's; bars: 95 % intervals; n: seeds; dashed: untrained.",
    ]
    finish_picture(figure, controls_title(table, orders), [], notes)
    save_figure(figure, out)


def controls_title(table, orders):
    """The sentence that the controls say."""
    coresets = [order for order in orders if order not in ("untrained", "matched")]
    better = [order for order in coresets if above_untrained(table, order)]
    if not better and above_untrained(table, "matched"):
        return "No coreset of 10 % is shown to end above a network pruned untrained; all data, as briefly, is"
    if not better:
        return "No coreset of 10 % is shown to end above a network pruned untrained"
    if better == coresets:
        return "Every coreset ends above a network pruned untrained"
    return f"Above a network pruned untrained end {', '.join(better)}"


def above_untrained(table, order):
    """Whether an order is shown to end above networks that were not trained before pruning."""
    return side_of(estimated(less(table.network, order, "untrained"), table)) == "above"


SCORE_FILES = {  # of published_scores.csv: where the authors' repository has the scores
    (model, dataset): f"results/{folder}/{dataset}/forgetting_scores.pkl"
    for model, folder, dataset in (
        ("fcnet", "FCNet", "MNIST"),
        ("lenet", "LeNet", "MNIST"),
        ("resnet18", "resnet18", "CIFAR10"),
        ("resnet18", "resnet18", "CIFAR100"),
        ("resnet50", "resnet50", "CIFAR10"),
    )
}
MNIST_CLASSES = (5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949)  # training images of each digit
CHANCE = 0.02  # of total variation: the published scores are called chance below it


class PublishedScores(NamedTuple):
    """One published score file: shares of samples by score, and what chance alone gives; float64 [11]."""

    network: tuple
    samples: int
    shares: np.ndarray
    chance: np.ndarray  # Binomial(9, 1 - sum p_c^2)
    chance_by_epoch: np.ndarray  # the same with each epoch's own rate of flips

    @property
    def distances(self):
        """Total variation from chance, and from chance with each epoch's own rate."""
        return tuple(abs(self.shares - other).sum() / 2 for other in (self.chance, self.chance_by_epoch))


def published_scores(path):
    """[PublishedScores] of published_scores.csv; else exits with one line."""
    try:
        with open(path, newline="") as file:
            scores = [scores_in(row) for row in csv.DictReader(file)]
        if not scores:
            raise ValueError("it has no line of scores")
        return scores
    except Exception as error:
        reason = f"it has no column {error}" if isinstance(error, KeyError) else first_line(error)
        fail(f"cannot read scores from {path} ({reason}); it must be tests/data/published_scores.csv")


def scores_in(row):
    """The PublishedScores of a line of the file."""
    network = row["model"].lower(), row["dataset"]
    if network not in SCORE_FILES:
        raise ValueError(f"it names {', '.join(network)}, of which none are published")
    classes, _, size, _ = DATASETS[row["dataset"]]
    counts = MNIST_CLASSES if row["dataset"] == "MNIST" else [size / classes] * classes
    differ = 1 - sum((count / size) ** 2 for count in counts)
    rates = [float(row[f"flips{epoch}"]) for epoch in range(2, 11)]
    shares = np.array([int(row[f"score{score}"]) for score in range(11)]) / int(row["samples"])
    chances = sum_of_flips([differ] * 9), sum_of_flips(rates)
    return PublishedScores(network, int(row["samples"]), shares, *chances)


def sum_of_flips(rates):
    """How often so many independent flips come out as each sum from 0 to 10: float64 [11]."""
    shares = np.zeros(11)
    shares[0] = 1
    for rate in rates:
        shares[1:] = (1 - rate) * shares[1:] + rate * shares[:-1]
        shares[0] *= 1 - rate
    return shares


def scores(path, out):
    """Write the picture of the published scores: five histograms over what chance gives."""
    every = published_scores(path)
    figure, axes = pyplot().subplots(1, len(every), sharex=True, sharey=True, figsize=(8, 2.7), squeeze=False)
    for axis, one in zip(axes.flat, every, strict=True):
        axis.bar(range(11), one.shares, color="#9DB4C8", width=0.9)
        axis.plot(range(11), one.chance, "o", color="#D55E00", ms=3.5)
        axis.set_title(NAMES[one.network].replace(", ", "\n"), fontsize=9.5)
        axis.set_xticks([0, 3, 6, 9])
        axis.set_yticks([])
        axis.spines["left"].set_visible(False)
    notes = [
        "Score: how often a sample is counted as forgotten. Bars: share of samples, published. Dots: chance alone."
    ]
    finish_picture(figure, scores_title(every), [], notes)
    save_figure(figure, out)


def scores_title(every):
    """The sentence that the distances say."""
    if max(one.distances[0] for one in every) < CHANCE:
        return "The published scores are what chance alone would give, whatever the network"
    return "The published scores beside what chance alone would give"


# --------------------------------------------------------------------------------------------------- command line


COMMANDS = """
commands, each with an example, where R=tests/results/resnet18-cifar100:
  effects   main effects, and pruning methods against each other
    python tests/study.py effects $R-paper.csv
  costs     what networks cost, and how hard classes fare
    python tests/study.py costs $R-paper.csv --format markdown
  claims    the paper's claims, judged by one rule on these runs
    python tests/study.py claims tests/results/*.csv
  tradeoff  a picture: accuracy against the samples trained on
    python tests/study.py tradeoff $R-paper.csv --out tradeoff.svg
  forest    a picture: order less base in every cell, by the text, as released
    python tests/study.py forest $R-paper.csv $R-released.csv --out forest.svg
  why       a picture: what two departures of the program do
    python tests/study.py why $R-ablation.csv --out why.svg
  controls  a picture: coresets beside as short a training, and beside none
    python tests/study.py controls $R-paper.csv --out controls.svg
  scores    a picture: the published scores, beside what chance gives
    python tests/study.py scores tests/data/published_scores.csv --out x.svg
"""


def main():
    parser = Parser(__doc__, epilog=COMMANDS)
    tables = {"effects": effects, "costs": costs}
    pictures = {"forest": forest, "why": why, "controls": controls}
    commands = ["claims", *tables, "tradeoff", *pictures, "scores"]
    parser.add_argument("command", choices=commands, help="what to make, see below")
    parser.add_argument("inputs", nargs="+", metavar="IN", help="finetuned.pt files, or csv files of `report.py runs`")
    styles = ["text", "markdown", "latex"]
    parser.add_argument("--format", choices=styles, default="text", help="of tables (default: %(default)s)")
    parser.add_argument("--out", metavar="FILE", help="the file to write; a picture needs one (default: print)")
    args = parser.start("out")
    if args.command not in ("claims", *tables) and not args.out:
        parser.error("argument --out: a picture needs a file")
    if args.command in ("claims", *tables):
        require_text_file(parser, args.out)
    if args.command == "scores" and len(args.inputs) > 1:
        parser.error("scores takes one file, tests/data/published_scores.csv")

    if args.command in tables:
        print_or_write(tables[args.command](load_runs(args.inputs), args.format), args.out)
    elif args.command == "claims":
        print_or_write(claims(args.inputs, args.format), args.out)
    elif args.command == "tradeoff":
        tradeoff(load_runs(args.inputs), args.out)
    elif args.command == "scores":
        scores(args.inputs[0], args.out)
    else:
        pictures[args.command](args.inputs, args.out)


if __name__ == "__main__":
    main()
