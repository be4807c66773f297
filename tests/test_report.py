"""The report's arithmetic against published figures and scipy, and its files read back."""

import csv
import itertools
import os
import re
import shutil
import sys
import xml.etree.ElementTree as ElementTree
from collections import defaultdict
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
import scipy.linalg
import scipy.stats
import torch

import report
from conftest import DIGITS, ROOT, make, refusal, run, run_of

PUBLISHED = DIGITS / "published_accuracies.csv"
RESULTS = sorted((ROOT / "tests" / "results").glob("*.csv"))
FIGURES = ("figure1", "figure2")
DATA_RATIO = {"base": 1.0, "untrained": 0.0}  # of the orders that have none
MARKDOWN = ("--format", "markdown")
KEYS = ("Order", "Data", "Pruned", "Protocol", "Pruning", "Main effect")


# ----------------------------------------------------------------------------------------------------- made-up runs


def make_run(order, data_ratio, prune_ratio, seed, accuracy, protocol="released", **changes):
    """A Run of ResNet18 on CIFAR-100 as the paper has it, with a made-up curve that ends in `accuracy`."""
    fields = {name: kind() for name, kind in report.Run.__annotations__.items()}
    rising = [accuracy - 10 + epoch for epoch in range(1, 10)]
    curve = [accuracy / 2 + seed**2 % 7, *rising, accuracy]
    fields |= {
        "dataset": "CIFAR100",
        "model": "resnet18",
        "data": "50000 + 10000 images, digest d",
        "first_training": "10 epochs, lr 0.001, batch size 64, fp32",
        "fine_tuning": "10 epochs, lr 0.001, batch size 64, fp32",
        "protocol": report.relevant_protocol(protocol, order),
        "order": order,
        "data_ratio": data_ratio,
        "prune_ratio": prune_ratio,
        "method": "magnitude",
        "seed": seed,
        "dense": 34.5,
        "curve": " ".join(map(str, curve)),
    }
    return report.Run(**fields | changes)


def several(n, sigma=0.5, orders=("low", "high", "random", "untrained"), protocol="released"):
    """Runs of n seeds with normal noise, two data ratios and two prune ratios."""
    random = np.random.default_rng(n)
    runs = []
    for seed, prune_ratio in itertools.product(range(n), (0.4, 0.8)):
        for order in ("base", *orders):
            data_ratios = [DATA_RATIO[order]] if order in DATA_RATIO else [0.1, 0.2]
            for data_ratio in data_ratios:
                accuracy = float(f"{42 + sigma * random.standard_normal():.2f}")
                runs.append(make_run(order, data_ratio, prune_ratio, seed, accuracy, protocol))
    return runs


def simulated(random, n, holes, luck=0.0, prune_ratios=(0.4, 0.8), controls=()):
    """Runs whose accuracies are cell + seed + luck of the network + noise of 0.4; the true differences are 0.

    controls: orders with one cell each, at 80 % pruned.
    """
    runs = []
    of_seed = random.normal(0, 1, n)
    networks = [("base", 1.0), *itertools.product(("low", "high", "random"), (0.1, 0.2))]
    for order, data_ratio in (*networks, *((control, 0.1) for control in controls)):
        of_network = random.normal(0, luck, n) if luck else np.zeros(n)
        for prune_ratio, seed in itertools.product((0.8,) if order in controls else prune_ratios, range(n)):
            noise = random.normal(0, 0.4)
            accuracy = 50 - 10 * prune_ratio + of_seed[seed] + of_network[seed] + noise
            runs.append(make_run(order, data_ratio, prune_ratio, seed, accuracy, "paper"))
    kept = random.permutation(len(runs))[: len(runs) - holes]
    return [runs[i] for i in sorted(kept)]


def write(path, runs):
    path.write_text(report.write_csv(runs))
    return path


def published():
    """{(data ratio, prune ratio): {order: Decimal}} of ResNet18 on CIFAR-100 after fine-tuning, exact."""
    accuracies = {}
    with open(PUBLISHED, newline="") as file:
        for row in csv.DictReader(file):
            if (row["model"], row["dataset"]) == ("resnet18", "CIFAR100"):
                of_orders = {order: Decimal(row[f"{order}_finetuned"]) for order in ("base", "low", "high")}
                accuracies[row["data_ratio"], row["prune_ratio"]] = of_orders
    return accuracies


# ---------------------------------------------------------------------------------------------- tables read back


def fields_of(line, ends):
    """The fields of a line of right-justified columns that end there."""
    starts = [0, *ends[:-1]]
    return [line[start:end].strip() for start, end in zip(starts, ends, strict=True)]


def lines_of(text, part=0):
    """The titles and the lines of one block of a text, as lists of fields."""
    lines = text.split("\n\n")[part].splitlines()
    ends = [title.end() for title in re.finditer(r"\S+(?: \S+)*", lines[0])]
    return [fields_of(line, ends) for line in lines]


def blocks_of(text):
    """All blocks of a text, as `lines_of` has them; the last paragraph are notes."""
    return [lines_of(text, part) for part in range(text.count("\n\n"))]


def markdown_blocks(text):
    """The same of markdown, whose rules are checked and left out."""
    blocks = []
    for paragraph in text.split("\n\n")[:-1]:
        titles, rule, *lines = paragraph.splitlines()
        assert re.fullmatch(r"\|( -+: \|)+", rule)
        blocks.append([[field.strip() for field in line[1:-1].split("|")] for line in (titles, *lines)])
    return blocks


def joined(blocks):
    """{what a row is: {title: field}} of all blocks, without fields that say nothing.

    The titles of p-values and published values are those of the column that they stand beside: "Low - Base p".
    """
    rows = defaultdict(dict)
    for titles, *lines in blocks:
        keys = sum(title in KEYS for title in titles)
        names = unique_titles(titles)
        for line in lines:
            key = tuple(zip(titles, line, strict=True))[:keys]
            entries = dict(zip(names[keys:], line[keys:], strict=True))
            rows[key] |= {name: field for name, field in entries.items() if field != "-"}
    return dict(rows)


def check_narrow(text, markdown):
    """Both have the same fields; text fits 80 columns, markdown 120, but for tables of one entry that is wider."""
    assert joined(blocks_of(text)) == joined(markdown_blocks(markdown))
    for written, blocks, width in ((text, blocks_of(text), 80), (markdown, markdown_blocks(markdown), 120)):
        *tables, notes = written.split("\n\n")
        for table, (titles, *_) in zip(tables, blocks, strict=True):
            entries = [title for title in titles if title not in (*KEYS, "p", "published")]
            assert len(entries) == 1 or max(map(len, table.splitlines())) <= width
        assert written is markdown or max(map(len, notes.splitlines())) <= width


def unique_titles(titles):
    """The titles, in which "p" and "published" are preceded by the title of their column."""
    names = []
    of_column = ""
    for title in titles:
        if title in ("p", "published"):
            names.append(f"{of_column} {title}")
        else:
            of_column = title
            names.append(title)
    return names


def table_of(runs):
    """The rows of the table that have a cell each."""
    rows = report.table_rows(report.experiments_of(runs), report.noises_of(runs), report.published_accuracies(runs))
    return [row for row in rows if row["Data"] != "mean"]


def noise_of(runs):
    """The PooledNoise of pruning by magnitude."""
    return report.noises_of(runs)["magnitude"]


# ------------------------------------------------------------------------------------------------------ the table


@pytest.mark.parametrize("data_ratio", ["0.1", "0.2", "0.3"])
def test_published_accuracies_give_table_1_to_its_last_digit(tmp_path, data_ratio):
    """The authors' own accuracies, as if they were a run of ours; they trained a baseline anew for every data ratio."""
    accuracies = {p: accuracy for (ratio, p), accuracy in published().items() if ratio == data_ratio}
    runs = []
    for prune_ratio, accuracy in accuracies.items():
        for order in accuracy:
            ratio = DATA_RATIO.get(order, float(data_ratio))
            runs.append(make_run(order, ratio, float(prune_ratio), 0, accuracy[order]))
    _, *lines, mean = lines_of(run("report.py", "table", write(tmp_path / "x.csv", runs)))
    expected = []
    gaps = {"low": [], "high": []}
    for prune_ratio, accuracy in accuracies.items():
        for order in gaps:
            gaps[order].append(accuracy[order] - accuracy["base"])
        low = f"{gaps['low'][-1]:+.2f}"
        high = f"{gaps['high'][-1]:+.2f}"
        expected.append([data_ratio, f"{float(prune_ratio):g}", f"{accuracy['base']:.2f}", low, low, high, high])
    assert lines == expected
    assert len(expected) == 5
    assert mean[:3] == ["mean", "", "-"]
    for order, (ours, theirs) in (("low", mean[3:5]), ("high", mean[5:7])):
        assert ours == theirs
        assert abs(Decimal(ours) - sum(gaps[order]) / 5) <= Decimal("0.005")


def fullest(protocols):
    """The protocol whose rows the runs of all others serve, where a table names none."""
    return max(protocols, key=lambda name: (name == "released", name.count("+"), name != "paper"))


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.stem)
def test_differences_of_our_results_are_those_of_their_csv(path):
    """Every mean in the table, worked out again from the csv as text."""
    accuracy = defaultdict(dict)  # {cell: {seed: Decimal}}
    with open(path, newline="") as file:
        for row in csv.DictReader(file):
            ratios = float(row["data_ratio"]), float(row["prune_ratio"])
            cell = row["protocol"], row["order"], *ratios, row["method"]
            accuracy[cell][int(row["seed"])] = Decimal(row["curve"].split()[-1])
    protocols = dict.fromkeys(cell[0] for cell in accuracy)

    def at(order, row):
        protocol = report.relevant_protocol(row.get("Protocol") or fullest(protocols), order)
        data_ratio = DATA_RATIO.get(order, float(row["Data"]))
        return accuracy[protocol, order, data_ratio, float(row["Pruned"]), row.get("Pruning", "magnitude")]

    shown = 0
    for key, entries in joined(blocks_of(run("report.py", "table", path))).items():
        row = dict(key)
        if row["Data"] == "mean":
            continue
        for title, text in entries.items():
            orders = title.lower().split(" - ")
            if len(orders) == 2 and "published" not in title and not title.endswith(" p"):
                one, other = (at(order, row) for order in orders)
                seeds = sorted(one.keys() & other.keys())
                mean = sum(one[seed] - other[seed] for seed in seeds) / len(seeds)
            elif orders[0] in report.COLOURS and len(orders) == 1:
                ends = at(orders[0], row).values()
                mean = sum(ends) / len(ends)
            else:
                continue
            assert abs(Decimal(text.split()[0]) - mean) < Decimal("0.005001"), (row, title)
            shown += 1
    assert shown > 0


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.stem)
def test_tables_are_narrow_and_published_values_stand_beside_their_order(path):
    """Each fits its columns; a published column shows what the authors published for the one before it."""
    runs = report.load_runs([str(path)])
    theirs = report.published_accuracies(runs)
    text = report.table(runs, "text")
    check_narrow(text, report.table(runs, "markdown"))
    shown = 0
    for titles, *lines in blocks_of(text):
        for column in (i for i, title in enumerate(titles) if title == "published"):
            compared = [title for title in titles[:column] if " - " in title][-1]
            order, reference = compared.lower().split(" - ")
            for line in lines:
                if line[0] != "mean" and line[column] != "-":
                    ratios = float(line[0]), float(line[1])
                    gap = theirs[(order, *ratios)] - theirs[(reference, *ratios)]
                    assert line[column].split()[0] == f"{gap:+.2f}"
                    shown += 1
    assert (shown > 0) == bool(theirs)


def test_orders_less_base_orders_less_random_and_controls_are_blocks_of_their_own(tmp_path):
    matched = [make_run("matched", 0.1, 0.8, seed, 40 + seed) for seed in range(2)]
    path = write(tmp_path / "x.csv", several(2) + matched)
    compared = []
    for titles, *_ in markdown_blocks(run("report.py", "table", path, *MARKDOWN)):
        compared.append({title for title in titles if " - " in title})
    assert compared == [
        {"Low - Base", "High - Base", "Random - Base"},
        {"Matched - Base", "Untrained - Base"},
        {"Low - Random", "High - Random"},
    ]


@pytest.mark.parametrize(
    "change",
    [
        {"data": "5000 + 1000 images, digest d"},
        {"first_training": "1 epochs, lr 0.001, batch size 64, fp32"},
        {"fine_tuning": "1 epochs, lr 0.001, batch size 64, fp32"},
        {"fine_tuning": "10 epochs, lr 0.0003, batch size 64, fp32"},
    ],
    ids=lambda change: " ".join(*change.items())[:30],
)
@pytest.mark.parametrize("style", ["text", "markdown", "latex"])
def test_published_values_vanish_beside_another_experiment(change, style):
    runs = several(3)
    assert "ublished" in report.table(runs, style)
    others = [run._replace(**change) for run in runs]
    words = report.table(others, style).replace("is the published one", "")  # what `in` and `out` mean
    assert "ublished" not in words


def test_published_values_stay_whichever_run_comes_first():
    untrained = make_run("untrained", 0.0, 0.8, 0, 40.0)._replace(first_training="")
    rounds = make_run("low", 0.1, 0.8, 0, 40.0, method="5 rounds")
    longer = rounds._replace(fine_tuning="50 epochs, lr 0.001, batch size 64, fp32")
    assert "published" in report.table([untrained, longer, *several(3)], "text")


def test_table_says_what_is_missing_and_what_it_was_made_from(tmp_path):
    runs = [
        make_run("base", 1.0, 0.4, 0, 42.0),
        make_run("low", 0.1, 0.4, 0, 43.0),
        make_run("base", 1.0, 0.8, 0, 41.0),
    ]
    out = run("report.py", "table", write(tmp_path / "x.csv", runs))
    assert "\nMissing runs: 1 (make -n names them).\n" in out
    assert "Protocol: released. Seeds: 0.\n" in out
    assert lines_of(out)[1:] == [["0.1", "0.4", "42.00", "+1.00", "+2.88"], ["0.1", "0.8", "41.00", "-", "-"]]
    assert "±" not in out.split("Published")[0]


def test_scores_of_another_training_are_told():
    runs = several(2)
    scored = [one._replace(scoring=runs[0].first_training) if one.order in ("low", "high") else one for one in runs]
    assert "Scored by" not in report.table(scored, "text")
    other = [one._replace(scoring=one.scoring.replace("lr 0.001", "lr 0.03")) for one in scored]
    told = " ".join(report.table(other, "text").split())
    assert "Scored by another training than the first: 10 epochs, lr 0.03, batch size 64, fp32." in told


def test_an_order_without_its_baseline_shows_its_own_accuracy(chain):
    out = run("report.py", "table", chain / "hold.pt")
    accuracy = torch.load(chain / "hold.pt", weights_only=True)["accuracy"][-1]
    assert lines_of(out)[:2] == [["Data", "Pruned", "Low"], ["0.1", "0.8", f"{accuracy:.2f}"]]


def ordinary_least_squares(runs):
    """sigma of accuracy = cell + seed + residual, by scipy on explicit indicators; degrees of freedom, in networks."""
    cells = sorted({run.cell for run in runs})
    seeds = sorted({run.seed for run in runs})
    design = []
    for one in runs:
        of_cell = [one.cell == cell for cell in cells]
        of_seed = [one.seed == seed for seed in seeds[1:]]
        design.append(of_cell + of_seed)
    design = np.array(design, dtype=float)
    accuracies = np.array([float(run.curve.split()[-1]) for run in runs])
    residuals = accuracies - design @ scipy.linalg.lstsq(design, accuracies)[0]
    df = len(runs) - len(cells) - (len(seeds) - 1)
    trained = {(run.network, run.seed) for run in runs}
    df_of_networks = len(trained) - len({network for network, _ in trained}) - (len(seeds) - 1)
    return np.sqrt((residuals**2).sum() / df), df_of_networks


PAIRS = [
    ("low", "base"),
    ("high", "base"),
    ("random", "base"),
    ("untrained", "base"),
    ("low", "random"),
    ("high", "random"),
]


@pytest.mark.parametrize("n, dropped", [(2, 0), (3, 5), (6, 0), (7, 20), (10, 40)])
def test_intervals_stars_and_p_are_those_of_least_squares(n, dropped):
    runs = several(n)
    holes = np.random.default_rng(1).choice(len(runs) - 6, dropped, replace=False)
    runs = [run for i, run in enumerate(runs) if i not in holes]
    at = {(run.order, run.data_ratio, run.prune_ratio, run.seed): run.accuracies[-1] for run in runs}
    sigma, df = ordinary_least_squares(runs)
    noise = noise_of(runs).run
    assert noise.sigma == pytest.approx(sigma)
    assert noise.df == df
    t = scipy.stats.t.ppf(0.975, df)

    tests = []  # p, what the report made of it, its text
    for row, (order, reference) in itertools.product(table_of(runs), PAIRS):
        ratios = float(row["Data"]), float(row["Pruned"])
        cells = [(o, DATA_RATIO.get(o, ratios[0]), ratios[1]) for o in (order, reference)]
        gaps = []
        for seed in range(n):
            if all((*cell, seed) in at for cell in cells):
                gaps.append(at[(*cells[0], seed)] - at[(*cells[1], seed)])
        estimate = row[report.title(order, reference)]
        if not gaps:
            assert estimate is None
            continue
        mean = np.mean(gaps)
        error = sigma * np.sqrt(2 / len(gaps))
        assert estimate.mean == pytest.approx(mean)
        assert len(estimate.values) == len(gaps)
        assert estimate.half_width == pytest.approx(t * error)
        text, p_text, _ = report.estimate_texts(estimate, False)
        assert (p_text != "-") == (len(gaps) >= 6)
        tests.append((2 * scipy.stats.t.sf(abs(mean) / error, df), estimate.p, text))
        if reference == "base" and order in ("low", "high"):
            theirs = published()[row["Data"], row["Pruned"]]
            gap = float(theirs[order] - theirs["base"])
            assert estimate.published == pytest.approx(gap)
            reach = t * sigma * np.sqrt(2 + 2 / len(gaps))
            assert estimate.compatible == (abs(gap - mean) <= reach)
    bound = 0
    for rank, (p, adjusted, text) in enumerate(sorted(tests)):  # Holm's procedure as it is written
        bound = max(bound, min(1, p * (len(tests) - rank)))
        assert adjusted == pytest.approx(bound, abs=1e-8)
        assert ("*" in text) == (bound <= 0.05)


def test_a_network_that_protocols_share_counts_once_among_the_degrees_of_freedom():
    """Base, untrained and two sizes of three orders in three seeds; frozen adds networks, regrown only fine-tunings."""
    paper = several(3, 0.5, protocol="paper")
    regrown = several(3, 5.0, protocol="regrown")
    frozen = several(3, 2.5, ("low", "high"), "frozen")
    copies = [run._replace(protocol="frozen") for run in paper if run.order in ("low", "high")]  # it changed nothing
    for runs, df in (
        (paper, 24 - 8 - 2),
        (paper + regrown, 24 - 8 - 2),
        (copies + paper + regrown, 24 - 8 - 2),
        (paper + regrown + copies, 24 - 8 - 2),
        (paper + regrown + frozen, 39 - 13 - 2),
    ):
        noise = noise_of(runs)
        assert noise.run.df == df
        assert noise.of_mean({0.4, 0.8}).df == df
        assert noise.of_mean({0.4, 0.6}) == noise.run  # no network has both
        assert noise.run.sigma == pytest.approx(ordinary_least_squares([run for run in runs if run not in copies])[0])


@pytest.mark.parametrize("n, holes, luck", [(2, 0, 0.0), (3, 12, 0.0), (5, 0, 0.0), (3, 0, 1.2)])
def test_intervals_cover_the_truth(n, holes, luck):
    """95 % of the intervals hold 0, within binomial error; each table counts with one difference."""
    random = np.random.default_rng(n)
    tries = 200
    hits = 0
    for _ in range(tries):
        rows = table_of(simulated(random, n, holes, luck))
        estimate = next(row["High - Base"] for row in rows if row["High - Base"])
        hits += abs(estimate.mean) <= estimate.half_width
    assert scipy.stats.binomtest(int(hits), tries, 0.95).pvalue > 0.003


@pytest.mark.parametrize("luck", [0.0, 0.3])
@pytest.mark.parametrize(
    "prune_ratios, controls",
    [((0.4, 0.8), ("matched", "long", "el2n", "ccs", "crest", "crestfresh")), ((0.0, 0.2, 0.4, 0.6, 0.8), ())],
    ids=["beside networks of one cell", "of a part of the prune ratios"],
)
def test_intervals_of_means_cover_the_truth(luck, prune_ratios, controls):
    """Of low less base over two data ratios and two prune ratios, whatever else the table holds."""
    random = np.random.default_rng(0)
    rows = list(itertools.product((0.1, 0.2), (0.4, 0.8)))
    tries = 600
    hits = 0
    for _ in range(tries):
        runs = simulated(random, 3, 0, luck, prune_ratios, controls)
        (experiment,) = report.experiments_of(runs)
        estimate = report.difference(experiment, "low", "base", rows, noise_of(runs))
        hits += abs(estimate.mean) <= estimate.half_width
    assert scipy.stats.binomtest(int(hits), tries, 0.95).pvalue > 0.003


def noise_of_means(means):
    """(sigma, degrees of freedom) of {(network, seed): mean}, every network with every seed: the two-way residuals."""
    networks = sorted({network for network, _ in means})
    seeds = sorted({seed for _, seed in means})
    table = np.array([[means[network, seed] for seed in seeds] for network in networks])
    residuals = table - table.mean(1, keepdims=True) - table.mean(0) + table.mean()
    df = (len(networks) - 1) * (len(seeds) - 1)
    return np.sqrt((residuals**2).sum() / df), df


def test_a_pruning_method_has_noise_of_its_own(tmp_path):
    """Networks cut to an eighth scatter more; that widens no other interval."""
    steady = several(3, 0.1)
    wild = [run._replace(method="channels") for run in several(3, 5)]
    alone = [row["Low - Base"].half_width for row in table_of(steady)]
    beside = table_of(steady + wild)
    widths = {"magnitude": [], "channels": []}
    for row in beside:
        widths[row["Pruning"]].append(row["Low - Base"].half_width)
    assert widths["magnitude"] == alone
    assert min(widths["channels"]) > 10 * max(alone)
    out = run("report.py", "table", write(tmp_path / "x.csv", steady + wild), *MARKDOWN)
    for method, runs in (("magnitude", steady), ("channels", wild)):
        sigma, df = ordinary_least_squares(runs)
        assert re.search(rf"^- sigma of {method}: {sigma:.2f}; degrees of freedom, in networks: {df}\.$", out, re.M)


def runs_of_cells(cells):
    """Runs whose accuracies no sum of cell and seed explains; cells: [(order, data ratio, prune ratio, seeds)]."""
    runs = []
    for order, data_ratio, prune_ratio, seeds in cells:
        for seed in seeds:
            accuracy = 40 + seed * (prune_ratio + len(order)) ** 2 % 3
            runs.append(make_run(order, data_ratio, prune_ratio, seed, accuracy))
    return runs


def test_noise_is_told_from_three_degrees_of_freedom(tmp_path):
    """Of networks: four of two seeds have three."""
    base = [("base", 1.0, prune_ratio, (0, 1)) for prune_ratio in (0.4, 0.8)]
    others = [(order, 0.1, 0.4, (0, 1)) for order in ("low", "high", "random")]
    known = runs_of_cells([*base, *others])
    sigma, df = ordinary_least_squares(known)
    assert df == 3
    out = run("report.py", "table", write(tmp_path / "x.csv", known))
    assert re.search(rf"^sigma: {sigma:.2f}; degrees of freedom, in networks: 3\.$", out, re.M)
    assert "±: half" in out

    unknown = runs_of_cells([*base, *others[:2]])
    assert ordinary_least_squares(unknown)[1] == 2
    out = run("report.py", "table", write(tmp_path / "x.csv", unknown))
    assert "sigma" not in out
    assert "±" not in out.split("\nPublished low - high")[0]
    assert "An interval takes more seeds: at least 3 degrees of freedom" in out


def test_noise_is_not_told_of_cells_that_leave_a_run_no_residual(tmp_path):
    """Three cells share no two seeds, though a network's mean has a residual."""
    runs = runs_of_cells([("base", 1.0, 0.4, (0, 1)), ("base", 1.0, 0.8, (2, 3)), ("low", 0.1, 0.4, (1, 2))])
    out = run("report.py", "table", write(tmp_path / "x.csv", runs))
    assert "± 0.00" not in out
    assert "sigma" not in out
    assert "An interval takes more seeds" in out


def test_two_seeds_are_told_one_by_one_where_an_interval_says_nothing():
    runs = [make_run("base", 1.0, 0.8, seed, 40.0) for seed in (0, 1)]
    runs += [make_run("low", 0.1, 0.8, seed, 41.0 + seed) for seed in (0, 1)]
    (row,) = joined(blocks_of(report.table(runs, "text"))).values()
    theirs = published()["0.1", "0.8"]
    assert row["Low - Base"] == "+1.50 (2 seeds: +1.0, +2.0)"
    assert row["Low - Base published"] == f"{theirs['low'] - theirs['base']:+.2f}"


@pytest.mark.parametrize("df", [1, 2, 3, 4, 5, 9, 30, 200])
def test_t_is_scipys(df):
    assert report.t_quantile(df) == pytest.approx(scipy.stats.t.ppf(0.975, df), rel=1e-6)
    for t in (0.0, 0.3, 2.0, 9.0):
        assert 1 - report.t_inside(t, df) == pytest.approx(2 * scipy.stats.t.sf(t, df), abs=1e-7)


def test_holm():
    assert report.holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])


def test_table_counts_signs_and_clusters_the_published_gap_by_data_ratio(tmp_path):
    runs = several(6)
    out = run("report.py", "table", write(tmp_path / "x.csv", runs))
    gaps = defaultdict(list)
    for (data_ratio, _), theirs in published().items():
        gaps[data_ratio].append(float(theirs["low"] - theirs["high"]))
    means = [np.mean(gap) for gap in gaps.values()]
    low, high = scipy.stats.t.interval(0.95, len(means) - 1, np.mean(means), scipy.stats.sem(means))
    assert f"Published low - high: {np.mean(means):+.2f} ± {(high - low) / 2:.2f} over 5 data ratios" in out

    signs = compatible = 0
    for row, name in itertools.product(table_of(runs), ("Low - Base", "High - Base")):
        theirs = published()[row["Data"], row["Pruned"]]
        order = name.split()[0].lower()
        signs += row[name].mean * float(theirs[order] - theirs["base"]) > 0
        compatible += row[name].compatible
    line = f"Of 8 published differences, {signs} have the sign of ours, {compatible} are compatible with ours.\n"
    assert line in out


def test_the_published_gap_of_two_data_ratios_has_no_interval(tmp_path):
    runs = [run._replace(model="resnet50", dataset="CIFAR10") for run in several(1)]
    out = run("report.py", "table", write(tmp_path / "x.csv", runs))
    assert " over 2 data ratios." in out
    assert "±" not in out.split("Published low - high:")[1].splitlines()[0]


# ------------------------------------------------------------------------------------------ protocols and controls


def has_row(run, experiments):
    """Whether a run stands in the row of its ratios in one of the experiments."""
    for experiment in experiments:
        for data_ratio, prune_ratio in experiment.rows:
            if experiment.at(run.order, data_ratio, prune_ratio).get(run.seed) == run:
                return experiment.method == run.method
    return False


MIXED_PROTOCOLS = ("paper", "frozen", "regrown", "frozen+regrown", "shuffled+flipped", "toneva", "released")
MIXED_ORDERS = ("base", "low", "high", "random", "matched", "untrained", "low of own x", "own x")


@pytest.mark.parametrize("seed", range(40))
def test_no_run_is_without_a_row(seed):
    """Random mixes of what may be in one report, from two runs to fifty."""
    random = np.random.default_rng(seed)
    orders = ["base", *random.choice(MIXED_ORDERS, random.integers(1, 5))]
    protocols = random.choice(MIXED_PROTOCOLS, random.integers(1, 5))
    methods = random.choice(["magnitude", "global"], random.integers(1, 3))
    runs = {}
    for _ in range(random.integers(2, 60)):
        order = str(random.choice(orders))
        data_ratio = DATA_RATIO.get(order, float(random.choice([0.1, 0.3])))
        ratios = data_ratio, float(random.choice([0.4, 0.8]))
        one = make_run(order, *ratios, int(random.integers(3)), 40.0, str(random.choice(protocols)))
        one = one._replace(method=str(random.choice(methods)))
        runs[one.cell, one.seed] = one
    experiments = report.experiments_of(list(runs.values()))
    for one in runs.values():
        assert has_row(one, experiments), one.cell
    names = [(experiment.protocol, experiment.method) for experiment in experiments]
    assert len(set(names)) == len(names)


def test_random_of_another_ratio_stands_beside_low_as_released():
    """Released has low of 10 % alone; random as regrown serves it, and its 30 % have a row, too."""
    low = [make_run("low", 0.1, 0.8, seed, 43.0) for seed in range(2)]
    random = [make_run("random", 0.3, 0.8, seed, 41.0, "regrown") for seed in range(3)]
    experiments = report.experiments_of(low + random)
    assert all(has_row(one, experiments) for one in low + random)
    text = report.table(low + random, "text")
    assert [line[:2] for line in lines_of(text)[1:]] == [["0.1", "0.8"], ["0.3", "0.8"]]
    assert "41.00 (3)" in text


def test_a_coreset_of_own_scores_stands_beside_a_baseline_that_serves_another_protocol():
    base = make_run("base", 1.0, 0.8, 0, 42.0, "frozen+regrown")
    own = make_run("low of own x", 0.1, 0.8, 0, 44.0, "regrown")
    low = make_run("low", 0.1, 0.8, 0, 43.0, "released")
    runs = [base, own, low]
    experiments = report.experiments_of(runs)
    assert all(has_row(one, experiments) for one in runs)
    rows = joined(blocks_of(report.table(runs, "text")))
    by_protocol = {dict(key)["Protocol"]: row for key, row in rows.items()}
    assert by_protocol["released"]["Low - Base"] == "+1.00"
    assert by_protocol["regrown"]["Low of own x"] == "44.00"


def test_departures_are_those_of_the_makefile():
    for name, departure in report.DEPARTURES.items():
        values = {name: departure.program, "paper": departure.text, "released": departure.program}
        for protocol, value in values.items():
            out = make("-n", "RUNS=runs/new", "table1-0.1-0.4", f"PROTOCOL={protocol}")
            assert f"--{departure.flag} {value} " in out
    assert report.departures("released") == list(report.DEPARTURES)


def test_an_ablation_has_a_row_per_protocol_and_controls_once(tmp_path):
    """As make ablation ORDERS="low random untrained" gives them: a folder per protocol, the controls in each."""
    protocols = ["paper", *report.DEPARTURES, "frozen+regrown", "released"]
    shown = [name for name in protocols if name != "frozen+regrown"]  # that baseline stands in the row of released
    paths = []
    for i, name in enumerate(protocols):
        runs = []
        for order, data_ratio in (("base", 1.0), ("random", 0.1), ("untrained", 0.0)):
            own = report.relevant_protocol(name, order)  # such a network is the same in all that share these departures
            runs += [make_run(order, data_ratio, 0.8, seed, 40 + len(own) / 10 + seed, name) for seed in (0, 1)]
        if name in shown:
            runs += [make_run("low", 0.1, 0.8, seed, 45 + i + seed, name) for seed in (0, 1)]
        paths.append(write(tmp_path / f"{name}.csv", runs))
    out = run("report.py", "table", *paths)
    titles, *lines = lines_of(out)
    assert titles[:4] == ["Data", "Pruned", "Protocol", "Base"]
    assert [line[2] for line in lines if line[0] != "mean"] == shown
    rows = joined(blocks_of(out))
    for name in shown:
        row = rows[("Data", "0.1"), ("Pruned", "0.8"), ("Protocol", name)]
        assert row["Base"] == f"{40 + len(report.relevant_protocol(name, 'base')) / 10 + 0.5:.2f}"
        assert {"Low - Base", "Random - Base", "Untrained - Base"} <= row.keys()

    other = write(tmp_path / "other.csv", [make_run("random", 0.1, 0.8, 0, 41.25, "paper")])
    err = refusal("report.py", "table", *paths, other)
    assert "other.csv" in err
    assert "paper.csv" in err
    assert "paper magnitude random 0.1 0.8 seed 0" in err
    assert "41.25" in err


@pytest.mark.parametrize(
    "protocol, order, expected",
    [
        ("released", "base", "frozen+regrown"),
        ("released", "random", "regrown"),
        ("released", "low", "released"),
        ("toneva+frozen", "low", "toneva+frozen"),
        ("toneva+frozen", "base", "frozen"),
        ("indexed+regrown", "high of own 12345678", "indexed+regrown"),
        ("indexed+regrown", "own 12345678", "regrown"),
        ("shuffled", "long", "paper"),
        ("shuffled+frozen+indexed", "el2n", "frozen+indexed"),
        ("released", "ccs cut 0.1", "frozen+indexed+regrown"),
    ],
)
def test_a_protocol_keeps_what_its_order_depends_on(protocol, order, expected):
    assert report.relevant_protocol(protocol, order) == expected


# ---------------------------------------------------------------------------------------------------- checkpoints


@pytest.fixture(scope="module")
def held(chain):
    return torch.load(chain / "hold.pt", weights_only=True)


def change(held, path, args, earlier=(), **fields):
    """Write the checkpoint with other flags: {step: {flag: value}}, or {step: None} to leave a step out."""
    steps = {step: dict(flags) for step, flags in held["args"].items()}
    for step, flags in args.items():
        if flags is None:
            del steps[step]
        else:
            steps[step] = steps.get(step, {}) | flags
    torch.save(held | {"args": steps, "earlier": held["earlier"] | dict(earlier)} | fields, path)
    return str(path)


CHANGES = {  # what of a run, flags that are not the usual
    "order low of own 12345678": {"forget": None, "select": {"scores": "123456789abc"}},
    "order low of own": {"forget": None, "select": {"scores": ""}},
    "order own abcdef01": {"forget": None, "select": None, "train": {"subset": "abcdef0123"}},
    "order own": {"forget": None, "select": None, "train": {"subset": ""}},
    "order long": {"select": {"order": "random"}, "train": {"share": 10.0}},
    "order random share 7": {"select": {"order": "random"}, "train": {"share": 7.0}},
    "order matched": {"forget": None, "select": None, "train": {"share": 0.1, "subset": ""}},
    "order untrained": {"forget": None, "select": None, "train": {"epochs": 0, "samples": 4000}},
    "order el2n": {"select": {"order": "el2n"}},
    "protocol paper": {"select": {"ties": "random"}},
    "protocol toneva": {"forget": {"events": "toneva"}},
    "protocol toneva+frozen": {"forget": {"events": "toneva", "batchnorm": "frozen"}},
    "protocol shuffled+indexed": {"forget": {"positions": "shuffled"}, "select": {"ties": "index"}},
    "method magnitude": {},
    "method global, random": {"prune": {"scope": "global", "criterion": "random", "structure": "weights"}},
    "method channels, start initial": {"prune": {"structure": "channels", "start": "initial"}},
}


@pytest.mark.parametrize("what", CHANGES)
def test_runs_are_named_by_the_flags_that_made_them(held, tmp_path, what):
    one = run_of(change(held, tmp_path / "x.pt", CHANGES[what]))
    field, value = what.split(" ", 1)
    assert getattr(one, field) == value
    if "own" in value:
        assert one.data_ratio == 0.1
        assert one.trained == 3 * 400 + 4000
    titles = lines_of(run("report.py", "table", tmp_path / "x.pt"))[0]
    assert "published" not in titles


def test_the_size_of_an_own_subset_is_not_worked_out_from_a_rounded_epoch(held, tmp_path):
    flags = {"subset": "abcdef0123", "subset_size": 1234, "share": 0.1, "samples": 123}
    one = run_of(change(held, tmp_path / "x.pt", {"forget": None, "select": None, "train": flags}))
    assert one.data_ratio == 1234 / 4000


def test_a_checkpoint_of_an_older_version_is_the_same_run(held, tmp_path):
    """Its ties are called lot; flags of prune.py that are newer than it are not there."""
    now = run_of(change(held, tmp_path / "x.pt", {"select": {"ties": "random"}}))
    old_steps = {"select": {"ties": "lot"}}
    assert run_of(change(held, tmp_path / "x.pt", old_steps)) == now
    steps = {step: dict(flags) for step, flags in held["args"].items()}
    for flag in ("scope", "criterion", "structure", "start"):
        steps["prune"].pop(flag, None)
    del steps["select"]["ties"]
    torch.save(held | {"args": steps}, tmp_path / "x.pt")
    assert run_of(tmp_path / "x.pt") == now


def test_the_cost_of_an_order_counts_its_scoring(held, tmp_path):
    assert run_of(change(held, tmp_path / "x.pt", {})).trained == 3 * 400 + 4000 + 3 * 4000
    random = run_of(change(held, tmp_path / "x.pt", {"select": {"order": "random"}}))
    assert random.trained == 3 * 400 + 4000


def test_steps_done_twice_are_told_in_full(held, tmp_path):
    prune = held["args"]["prune"]
    tune = held["args"]["finetune"]
    history = held["earlier"]["prune"]
    earlier = {"finetune": history | {"seconds": 5.0}, "prune-2": history | {"seconds": 7.0}}

    def pruned_again(ratio, epochs):
        again = {"prune-2": prune | {"ratio": ratio}, "finetune-2": tune | {"epochs": epochs}}
        return run_of(change(held, tmp_path / "x.pt", again, earlier))

    one = pruned_again(0.9, 2)
    assert one.method == "prune 0.8 0.9, tune 1 2"
    assert one.prune_ratio == 0.9
    assert one.fine_tuning.startswith("3 epochs, ")
    assert one.trained == 3 * 400 + 3 * 4000 + 3 * 4000
    assert one.seconds == pytest.approx(held["seconds"] + history["seconds"] + 12)
    assert pruned_again(0.96, 1).method == "2 rounds"  # 0.2^2 is left
    assert pruned_again(0.96, 2).method == "prune 0.8 0.96, tune 1 2"
    only = run_of(change(held, tmp_path / "x.pt", {"finetune-2": tune}, {"finetune": history}))
    assert only.method == "prune 0.8, tune 1 1, steps prune finetune finetune-2"
    unfinished = change(held, tmp_path / "x.pt", {"prune-2": prune})
    assert "run prune.py and then finetune.py" in refusal("report.py", "table", unfinished)


def test_seeds_and_masks_of_a_run_are_one(held, tmp_path):
    other = change(held, tmp_path / "x.pt", {"finetune": {"seed": 1}})
    assert "--seed 0 and 1" in refusal("report.py", "runs", other)
    again = {"finetune-2": held["args"]["finetune"] | {"mask": "release"}}
    assert "--mask hold and release" in refusal("report.py", "runs", change(held, tmp_path / "x.pt", again))


def test_files_of_one_run_must_have_one_result(held, chain, tmp_path):
    same = chain / "hold.pt"
    assert run("report.py", "runs", same, same).count("\n") == 2
    untrained = {"forget": None, "select": None, "train": {"epochs": 0, "samples": 4000}}
    one = change(held, tmp_path / "1.pt", untrained)
    two = change(held, tmp_path / "2.pt", untrained, accuracy=[50.0, 60.0])
    err = refusal("report.py", "table", one, two)
    assert "1.pt" in err
    assert "2.pt" in err
    assert "curve: 50 60; " in err
    err = refusal("report.py", "table", same, change(held, tmp_path / "3.pt", {"train": {"lr": 0.1}}))
    assert "3 epochs, lr 0.1, batch size 64, fp32; 3 epochs, lr 0.001, batch size 64, fp32" in err


@pytest.fixture
def named(chain, tmp_path):
    """A copy of the chain's last file where make would have put it."""
    path = tmp_path / "paper/MNIST/fcnet/seed0/low-0.1/p0.8/finetuned.pt"
    path.parent.mkdir(parents=True)
    shutil.copy(chain / "hold.pt", path)
    return path


def test_what_was_asked_for_must_be_what_the_files_say(named):
    command = ("report.py", "table", named)
    assert run(*command, "--asked=--epochs 3 --tune-epochs 1 --threads 1") == run(*command)
    for asked in ("--epochs 1", "--epochs 3", "--epochs 3 --tune-epochs 1 --lr 3e-4"):
        assert "--asked disagree" in refusal(*command, f"--asked={asked}")
    assert "--epochs" in refusal(*command, "--asked=--epochs x")


@pytest.mark.parametrize(
    "part, other", [("paper", "regrown"), ("seed0", "seed1"), ("low-0.1", "high-0.1"), ("p0.8", "p0.4")]
)
def test_a_checkpoint_that_make_asks_for_must_be_the_run_that_its_path_names(named, part, other):
    moved = Path(str(named).replace(f"/{part}/", f"/{other}/"))
    moved.parent.mkdir(parents=True)
    named.rename(moved)
    run("report.py", "table", moved)
    err = refusal("report.py", "table", moved, "--asked=--epochs 3 --tune-epochs 1")
    assert "another run than its path says" in err


BROKEN = {
    "no versions": {"versions": None},
    "accuracy of words": {"accuracy": ["a"]},
    "accuracy of a class that is no number": {"class_accuracy": [float("nan")] * 10},
    "no accuracy": {"accuracy": []},
    "accuracy above 100": {"accuracy": [3.0, 101.0]},
    "accuracy of nothing": {"accuracy": [float("nan")]},
    "args of numbers": {"args": 3},
    "no steps before": {"earlier": {}},
    "steps of lists": {"args": {"train": [], "prune": [], "finetune": []}},
}


@pytest.mark.parametrize("how", BROKEN)
def test_a_broken_checkpoint_is_one_line(held, tmp_path, capsys, how):
    torch.save(held | BROKEN[how], tmp_path / "x.pt")
    with pytest.raises(SystemExit):
        run_of(tmp_path / "x.pt")
    err = capsys.readouterr().err
    assert "x.pt" in err
    assert err.count("\n") == 1


# ---------------------------------------------------------------------------------------------------- its formats


def test_csv_read_back_is_the_runs(tmp_path):
    runs = several(4)
    assert report.read_csv(str(write(tmp_path / "x.csv", runs))) == runs
    assert run("report.py", "runs", tmp_path / "x.csv") == (tmp_path / "x.csv").read_text()


OLD_HEADER = {",first_training,": ",first,", ",fine_tuning,": ",tuning,", ",method,": ",pruning,"}


def test_csv_of_an_older_version_is_the_same_runs(tmp_path):
    """Its fields have other names, and magnitude none; untrained is called none."""
    runs = several(2) + [make_run("low", 0.1, 0.8, 0, 43.0, method="channels")]
    header, lines = report.write_csv(runs).split("\n", 1)
    for new, old in OLD_HEADER.items():
        assert new in header
        header = header.replace(new, old)
    lines = lines.replace(",untrained,", ",none,").replace(",magnitude,", ",,")
    assert ",none," in lines
    path = tmp_path / "x.csv"
    path.write_text(f"{header}\n{lines}")
    assert report.read_csv(str(path)) == runs
    written_again = run("report.py", "runs", path)
    assert written_again == report.write_csv(runs)


GOOD = report.write_csv(several(1))
ODD = {
    "header only": GOOD.splitlines()[0] + "\n",
    "empty": "",
    "no header": GOOD.split("\n", 1)[1],
    "a column more": GOOD.replace("\n", ",1\n"),
    "a column less": re.sub(r",[^,\n]*\n", "\n", GOOD),
    "one line too long": GOOD[:-1] + ",1\n",
    "nan": GOOD.replace(",34.5,", ",nan,", 1),
    "infinite": GOOD.replace(",34.5,", ",inf,", 1),
    "above 100": GOOD.replace(",34.5,", ",134.5,", 1),
    "no number": GOOD.replace(",34.5,", ",x,", 1),
    "no curve": re.sub(r",\d+\.\d+ \d[^,]* [^,]*,", ",,", GOOD, count=1),
    "prune ratio 1": GOOD.replace(",0.4,", ",1,", 1),
    "half a seed": GOOD.replace(",0,34.5", ",0.5,34.5", 1),
    "escape sequence": GOOD.replace("CIFAR100", "\x1b[31mCIFAR100"),
    "quote": GOOD.replace("CIFAR100", '"CIFAR100', 1),
    "departures in another order": GOOD.replace("frozen+regrown", "regrown+frozen"),
    "a baseline as released": GOOD.replace("frozen+regrown", "released"),
    "a space behind an order": GOOD.replace(",low,", ",low ,", 1),
    "no order": GOOD.replace(",low,", ",,", 1),
    "no text": "\x00\xff",
}


@pytest.mark.parametrize("how", ODD)
def test_an_odd_csv_is_one_line(tmp_path, capsys, how):
    path = tmp_path / "x.csv"
    assert ODD[how] != GOOD
    path.write_bytes(ODD[how].encode("latin-1"))
    with pytest.raises(SystemExit):
        report.read_csv(str(path))
    err = capsys.readouterr().err
    assert "x.csv" in err
    assert err.count("\n") == 1
    assert "\x1b" not in err


@pytest.mark.parametrize("field, whole", [("nonzero", "parameters"), ("live_nonzero", "live")])
def test_more_weights_than_there_are_is_one_line(tmp_path, field, whole):
    one = make_run("low", 0.1, 0.8, 0, 43.0)
    full = one._replace(**{whole: 7, field: 7})
    assert report.read_csv(str(write(tmp_path / "x.csv", [full]))) == [full]
    err = refusal("report.py", "table", write(tmp_path / "x.csv", [full._replace(**{field: 8})]))
    assert "more weights are not zero than there are" in err


def test_classes_must_be_those_of_the_data_set(tmp_path):
    one = make_run("base", 1.0, 0.8, 0, 90.0, dataset="MNIST", classes="1 2 3")
    assert "three for each of MNIST's" in refusal("report.py", "table", write(tmp_path / "x.csv", [one]))


@pytest.mark.parametrize("command", ["table", "runs", *FIGURES])
def test_every_command_refuses_a_csv_of_no_runs(tmp_path, command):
    (tmp_path / "x.csv").write_text(ODD["header only"])
    out = tmp_path / {"runs": "out.csv"}.get(command, "out.svg")
    out.write_text("precious")
    assert "no runs" in refusal("report.py", command, tmp_path / "x.csv", "--out", out)
    assert out.read_text() == "precious"


def test_runs_are_written_under_a_name_by_which_they_are_read(tmp_path):
    err = refusal("report.py", "runs", RESULTS[0], "--out", tmp_path / "runs.txt")
    assert "must end in .csv" in err
    assert not (tmp_path / "runs.txt").exists()


def plain(latex):
    """What LaTeX sets, as text."""
    return re.sub(r"\$(.)\$", r"\1", latex.replace(r"$\pm$", "±").replace("\\%", "%"))


def test_formats_have_the_same_fields(tmp_path):
    """Text and markdown by block, LaTeX as one tabular whose notes stand below it, as text."""
    path = write(tmp_path / "x.csv", several(6))
    text, markdown, latex = (run("report.py", "table", path, "--format", f) for f in ("text", "markdown", "latex"))
    check_narrow(text, markdown)
    assert len(blocks_of(text)) > 2

    assert latex.count(r"\begin{tabular}") == 1
    tabular, below = plain(latex).split(r"\end{tabular}")
    body = re.search(r"\\toprule\n(.*?)\\bottomrule", tabular, re.S)[1]
    lines = [row.removesuffix(r" \\").split(" & ") for row in body.splitlines() if row != r"\midrule"]
    assert joined([lines]) == joined(blocks_of(text))
    assert "%" not in {line[:1] for line in below.splitlines()}  # comments would not be set
    notes = markdown.split("\n\n")[-1].splitlines()
    assert len(notes) > 5
    for note in notes:
        assert f"\n{note.removeprefix('- ')}\\\\\n" in below
    assert text.split("\n\n")[-1].split() == " ".join(note.removeprefix("- ") for note in notes).split()


@pytest.mark.skipif(not shutil.which("pdflatex"), reason="needs pdflatex: compiles the LaTeX table")
def test_latex_compiles(tmp_path):
    table = run("report.py", "table", write(tmp_path / "x.csv", several(6)), "--format", "latex")
    document = r"\documentclass{article}\usepackage{booktabs}\begin{document}" + table + r"\end{document}"
    (tmp_path / "t.tex").write_text(document)
    run("pdflatex", "-interaction=nonstopmode", "-halt-on-error", "t.tex", cwd=tmp_path)


def test_runs_of_checkpoints_and_of_their_csv_are_the_same(chain, tmp_path):
    run("report.py", "runs", chain / "hold.pt", "--out", tmp_path / "runs.csv")
    assert run("report.py", "table", chain / "hold.pt") == run("report.py", "table", tmp_path / "runs.csv")
    (one,) = report.read_csv(str(tmp_path / "runs.csv"))
    checkpoint = torch.load(chain / "hold.pt", weights_only=True)
    assert one.cell == ("paper", "magnitude", "low", 0.1, 0.8)
    assert one.seed == 0
    assert one.accuracies == pytest.approx(checkpoint["accuracy"])
    weights = [value for value in checkpoint["model"].values() if value.ndim > 1]
    assert one.parameters == 203_530
    assert one.parameters - one.nonzero == sum(int((weight == 0).sum()) for weight in weights)
    histories = [torch.load(chain / f"{name}.pt", weights_only=True) for name in ("dense", "pruned", "hold")]
    np.testing.assert_allclose(one.by_class, [history["class_accuracy"] for history in histories], rtol=1e-5)
    run("report.py", "runs", chain / "hold.pt", chain / "release.pt", "--out", tmp_path / "two.csv")
    assert [one.protocol for one in report.read_csv(str(tmp_path / "two.csv"))] == ["paper", "regrown"]


def test_a_full_or_a_narrow_terminal(tmp_path):
    path = write(tmp_path / "x.csv", several(3))
    assert "±" in run("report.py", "table", path, env=os.environ | {"PYTHONIOENCODING": "ascii", "LC_ALL": "C"})
    shell = f"{sys.executable} {ROOT}/report.py table {path} > /dev/full"
    assert "cannot print" in refusal("sh", "-c", shell)


# -------------------------------------------------------------------------------------------------------- figures


def drawing(path):
    """The ids of the groups in an SVG, and its texts."""
    ids = []
    texts = []
    for element in ElementTree.parse(path).iter():
        if element.get("id"):
            ids.append(element.get("id"))
        if element.tag.endswith("}text"):
            texts.append("".join(element.itertext()).strip())
    return ids, texts


def with_prefix(ids, prefix):
    return [name for name in ids if name.startswith(prefix)]


def test_figure1_has_a_line_per_order_and_panel(tmp_path):
    path = tmp_path / "f.svg"
    runs = several(3)
    run("report.py", "figure1", write(tmp_path / "x.csv", runs), "--out", path)
    ids, texts = drawing(path)
    assert len(with_prefix(ids, "line-released-")) == 4 * 4  # base, low, high, random; four panels
    for label in ("test accuracy (%)", "epoch of fine-tuning", "10 % of the data, 40 % pruned", "base", "random"):
        assert label in texts
    assert "resnet18 on CIFAR100, 3 seeds" in texts
    assert "line and band: mean and range of the seeds; dashed where seeds are missing" in texts
    assert "untrained" not in texts  # controls have figures of their own

    before = path.read_bytes()
    run("report.py", "figure1", tmp_path / "x.csv", "--out", path)
    assert path.read_bytes() == before


def line_of(path, name):
    """The style of a line in a drawing."""
    (group,) = (element for element in ElementTree.parse(path).iter() if element.get("id") == name)
    (line,) = (element for element in group.iter() if element.tag.endswith("}path"))
    return line.get("style")


def test_figure1_dashes_the_lines_that_lack_a_seed(tmp_path):
    path = tmp_path / "f.svg"
    runs = [one for one in several(3) if (one.order, one.seed) != ("low", 0)]
    run("report.py", "figure1", write(tmp_path / "x.csv", runs), "--out", path)
    assert "stroke-dasharray" in line_of(path, "line-released-low-0.1-0.4")
    assert "stroke-dasharray" not in line_of(path, "line-released-high-0.1-0.4")


def test_figure1_has_the_published_curves_beside_the_same_experiment_alone(tmp_path):
    """As released, of all images, pruned by magnitude."""
    path = tmp_path / "f.svg"
    other_sizes = [one._replace(data="5000 + 1000 images, digest d") for one in several(2)]
    channels = [one._replace(method="channels") for one in several(2)]
    by_the_text = several(2, protocol="paper")
    for runs, shown in ((several(2), True), (other_sizes, False), (channels, False), (by_the_text, False)):
        run("report.py", "figure1", write(tmp_path / "x.csv", runs), "--out", path)
        _, texts = drawing(path)
        assert ("published" in texts) == shown


def test_controls_have_figures_of_their_own(tmp_path):
    path = tmp_path / "f.svg"
    runs = [one for one in several(2) if one.order in ("base", "untrained")]
    run("report.py", "figure1", write(tmp_path / "x.csv", runs), "--out", path)
    ids, _ = drawing(path)
    assert with_prefix(ids, "line-frozen+regrown-untrained")


def test_figure2_has_bars_before_and_after(tmp_path):
    path = tmp_path / "f.svg"
    runs = several(3, orders=("low", "high", "untrained"))
    run("report.py", "figure2", write(tmp_path / "x.csv", runs), "--out", path)
    ids, texts = drawing(path)
    assert len(with_prefix(ids, "bar-before-released-")) == 12  # three orders, four cells
    assert len(with_prefix(ids, "bar-after-released-")) == 12
    assert {"20 % of the data", "test accuracy (%)", "pruned weights (%)", "base", "low", "high"} <= set(texts)
    assert "error bars: one standard deviation over the seeds" in texts
    assert "untrained" not in texts


def shifted(shift, protocol):
    """Runs of three seeds with little noise in which low and high end that much above the baseline."""
    runs = []
    for one in several(3, 0.01, ("low", "high"), protocol):
        curve = [accuracy + shift * (one.order != "base") for accuracy in one.accuracies]
        runs.append(one._replace(curve=report.numbers(curve), dense=one.dense + one.seed / 100))
    return runs


def test_figure1_says_where_coreset_networks_end(tmp_path):
    path = tmp_path / "f.svg"
    runs = shifted(-3, "paper") + shifted(+3, "released")
    run("report.py", "figure1", write(tmp_path / "x.csv", runs), "--out", path)
    ids, texts = drawing(path)
    assert "By the text, coreset networks end below the baseline." in texts
    assert "As released, coreset networks end above the baseline." in texts
    assert len(with_prefix(ids, "line-paper-")) == len(with_prefix(ids, "line-released-")) == 3 * 4
    assert "as released, 10 % of the data, 40 % pruned" in texts


def test_a_figure_says_nothing_of_orders_that_lack_a_cell(tmp_path):
    runs = [one for one in shifted(-3, "paper") if (one.order, one.prune_ratio) != ("low", 0.8)]
    for figure in ("figure1", "figure2"):
        run("report.py", figure, write(tmp_path / "x.csv", runs), "--out", tmp_path / "f.svg")
        assert "coreset networks" not in " ".join(drawing(tmp_path / "f.svg")[1])


def test_figures_call_nothing_level_that_ends_on_two_sides(tmp_path):
    opposite = [
        one._replace(curve=report.numbers([accuracy - 6 * (one.order == "high") for accuracy in one.accuracies]))
        for one in shifted(+3, "paper")
    ]
    write(tmp_path / "x.csv", opposite)
    run("report.py", "figure1", tmp_path / "x.csv", "--out", tmp_path / "f1.svg")
    run("report.py", "figure2", tmp_path / "x.csv", "--out", tmp_path / "f2.svg")
    assert "By the text, coreset networks end on no sure side of the baseline." in drawing(tmp_path / "f1.svg")[1]
    sentence = " ".join(drawing(tmp_path / "f2.svg")[1])
    assert "on no sure side of the baseline before pruning and right after it." in sentence


def test_a_curve_is_dashed_where_its_seeds_are_not_those_of_the_rows(tmp_path):
    runs = [one for one in several(3, orders=("low", "high")) if one.order == "base" or one.seed < 2]
    runs = [one for one in runs if one.order != "high" or one.seed == 0]
    run("report.py", "figure1", write(tmp_path / "x.csv", runs), "--out", tmp_path / "f.svg")
    dashed = {}
    for group in ElementTree.parse(tmp_path / "f.svg").iter("{http://www.w3.org/2000/svg}g"):
        name = group.get("id", "")
        if name.startswith("line-released-"):
            dashed[name.split("-")[2]] = any("stroke-dasharray" in path.get("style", "") for path in group)
    assert dashed == {"base": False, "low": False, "high": True}


def test_a_network_that_was_trained_twice_is_told(tmp_path):
    runs = several(2)
    assert "Trained" not in run("report.py", "table", write(tmp_path / "x.csv", runs))
    again = [one._replace(dense=50.0) if one.cell[2:] == ("low", 0.1, 0.8) and one.seed else one for one in runs]
    told = " ".join(run("report.py", "table", write(tmp_path / "x.csv", again)).split())
    assert "Trained 2 times, so that its runs are of 2 networks: released, low, 10 % of the data, seed 1." in told


def test_protocols_of_one_finding_share_its_sentence(tmp_path):
    runs = shifted(-3, "paper") + shifted(-4, "released")
    run("report.py", "figure1", write(tmp_path / "x.csv", runs), "--out", tmp_path / "f.svg")
    _, texts = drawing(tmp_path / "f.svg")
    assert "By the text and as released, coreset networks end below the baseline." in texts


@pytest.mark.parametrize("what, prefix", [("figure1", "line-paper-low"), ("figure2", "bar-after-paper-low")])
def test_a_figure_of_one_file(chain, tmp_path, what, prefix):
    run("report.py", what, chain / "hold.pt", "--out", tmp_path / "f.svg")
    ids, texts = drawing(tmp_path / "f.svg")
    assert with_prefix(ids, prefix)
    assert "low" in texts
    assert "base" not in texts


@pytest.mark.parametrize("what", FIGURES)
def test_a_figure_shows_one_pruning_method(tmp_path, what):
    runs = several(1) + [one._replace(method="global") for one in several(1)]
    err = refusal("report.py", what, write(tmp_path / "x.csv", runs), "--out", tmp_path / "f.svg")
    assert "magnitude, global" in err
