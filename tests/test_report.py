"""The report's arithmetic against published figures and scipy, and its files read back."""

import csv
import itertools
import os
import re
import shutil
import sys
import xml.etree.ElementTree as ElementTree
from collections import Counter
from decimal import Decimal

import numpy as np
import pytest
import report
import scipy.linalg
import scipy.stats
import torch
from conftest import DIGITS, ROOT, make, run, start

PUBLISHED = DIGITS / "published_accuracies.csv"
RESULTS = sorted((ROOT / "tests" / "results").glob("*.csv"))


def make_cell(order, data_ratio, prune_ratio, seed, accuracy, protocol="released", **changes):
    """A Cell of ResNet18 on CIFAR-100 as the paper has it, with a made-up curve that ends in `accuracy`."""
    values = {name: kind() for name, kind in report.Cell.__annotations__.items()}
    values |= {"dataset": "CIFAR100", "model": "resnet18", "data": "50000 + 10000 images, digest d", "dense": 34.5}
    values |= dict.fromkeys(("first", "tuning"), "10 epochs, lr 0.001, batch size 64, fp32")
    values |= {"order": order, "data_ratio": data_ratio, "prune_ratio": prune_ratio, "seed": seed}
    values |= {"protocol": report.project(protocol, order)}
    curve = [accuracy / 2 + seed**2 % 7, *(accuracy - 10 + i for i in range(1, 10)), accuracy]
    values |= {"curve": " ".join(map(str, curve))}
    return report.Cell(**values | changes)


def write(path, cells):
    path.write_text(report.write_csv(cells))
    return path


def published():
    """{(data ratio, prune ratio): {order: Decimal}} of ResNet18 on CIFAR-100 after fine-tuning, exact."""
    with open(PUBLISHED, newline="") as file:
        rows = [row for row in csv.DictReader(file) if (row["model"], row["dataset"]) == ("resnet18", "CIFAR100")]
    orders = ("base", "low", "high")
    return {(r["data_ratio"], r["prune_ratio"]): {o: Decimal(r[f"{o}_finetuned"]) for o in orders} for r in rows}


def lines_of(text, part=0):
    return [re.split(r"\s{2,}", line.strip()) for line in text.split("\n\n")[part].splitlines()]


def refusal(*command, **kwargs):
    """The one line that a command ends with."""
    process = start(*command, **kwargs)
    _, err = process.communicate()
    assert process.returncode > 0 and err.count("\n") == 1 and "Traceback" not in err, err
    return err


def several(n, spread=0.5, orders=("low", "high", "random", "none"), protocol="released"):
    """Cells of n seeds with normal noise, two data ratios and two prune ratios."""
    random, cells = np.random.default_rng(n), []
    for seed, p in itertools.product(range(n), (0.4, 0.8)):
        for order in ("base", *orders):
            for d in {"base": [1.0], "none": [0.0]}.get(order, [0.1, 0.2]):
                accuracy = float(f"{42 + spread * random.standard_normal():.2f}")
                cells.append(make_cell(order, d, p, seed, accuracy, protocol))
    return cells


def tables(cells):
    """The rows of the table, those of the main effects, and the spreads of a cell and of a network."""
    grids = report.split(cells)
    spreads = report.pooled_spreads(cells)
    rows = report.table_rows(grids, spreads, report.published(cells[0]))
    return rows, report.effect_rows(grids, spreads), *spreads["magnitude"][0]


# ------------------------------------------------------------------------------------------------------ the table


@pytest.mark.parametrize("d", ["0.1", "0.2", "0.3"])
def test_published_accuracies_give_table_1_to_its_last_digit(tmp_path, d):
    """The authors' own accuracies, as if they were a run of ours; they trained a baseline anew for every data ratio."""
    cells, accuracies = [], {p: accuracy for (ratio, p), accuracy in published().items() if ratio == d}
    for p, accuracy in accuracies.items():
        cells += [make_cell(o, 1.0 if o == "base" else float(d), float(p), 0, accuracy[o]) for o in accuracy]
    lines = lines_of(run("report.py", "table", write(tmp_path / "x.csv", cells)))
    expected = []
    for p, accuracy in accuracies.items():
        low, high = (f"{accuracy[o] - accuracy['base']:+.2f}" for o in ("low", "high"))
        expected.append([d, f"{float(p):g}", f"{accuracy['base']:.2f}", low, low, high, high])
    assert lines[1:] == expected and len(expected) == 5


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.stem)
def test_differences_of_our_results_are_those_of_their_csv(path):
    """Every mean in the table, worked out again from the csv as text."""
    accuracy = {}
    with open(path, newline="") as file:
        for r in csv.DictReader(file):
            key = (r["protocol"], r["order"], float(r["data_ratio"]), float(r["prune_ratio"]), r["pruning"])
            accuracy.setdefault(key, {})[int(r["seed"])] = Decimal(r["curve"].split()[-1])
    ratio, shown = {"base": 1.0, "none": 0.0}, 0
    titles, *lines = lines_of(run("report.py", "table", path))
    names = dict.fromkeys(key[0] for key in accuracy)
    for line in lines:
        row = dict(zip(titles, line))
        full = row.get("Protocol") or max(
            names, key=lambda name: (name == "released", name.count("+"), name != "paper")
        )
        way = row.get("Pruning", "magnitude").replace("magnitude", "")
        for name, text in row.items():
            if name.lower() in report.COLOURS and text != "-":
                order, d = name.lower(), float(row["Data Ratio"])
                found = accuracy[
                    report.project(full, order), order, ratio.get(order, d), float(row["Prune Ratio"]), way
                ]
                assert abs(float(text.split()[0]) - float(sum(found.values())) / len(found)) < 0.005001, (row, name)
                shown += 1
            if " - " in name and text != "-":
                d, p, orders = float(row["Data Ratio"]), float(row["Prune Ratio"]), name.lower().split(" - ")
                one, other = (accuracy[report.project(full, o), o, ratio.get(o, d), p, way] for o in orders)
                seeds = sorted(one.keys() & other.keys())
                mean = sum(float(one[seed] - other[seed]) for seed in seeds) / len(seeds)
                assert abs(float(text.split()[0]) - mean) < 0.005001, (row, name)
                shown += 1
    assert shown and len({tuple(line) for line in lines}) == len(lines)


def test_table_says_what_is_missing_and_what_it_was_made_from(tmp_path):
    places = (("base", 1.0, 0.4, 42.0), ("low", 0.1, 0.4, 43.0), ("base", 1.0, 0.8, 41.0))
    out = run("report.py", "table", write(tmp_path / "x.csv", [make_cell(o, d, p, 0, a) for o, d, p, a in places]))
    assert "\nMissing cells: 1 (make -n names them).\n" in out and "Protocol: released. Seeds: 0.\n" in out
    assert lines_of(out)[1:] == [["0.1", "0.4", "42.00", "+1.00", "+2.88"], ["0.1", "0.8", "41.00", "-", "-"]]
    assert "±" not in out.split("Published")[0]


def test_an_order_without_its_baseline_shows_its_own_accuracy(chain):
    out = run("report.py", "table", chain / "hold.pt")
    accuracy = torch.load(chain / "hold.pt", weights_only=True)["accuracy"][-1]
    assert lines_of(out)[:2] == [["Data Ratio", "Prune Ratio", "Low"], ["0.1", "0.8", f"{accuracy:.2f}"]]


def ordinary_least_squares(cells):
    """sigma of accuracy = cell + seed + residual, by scipy on explicit indicators; degrees of freedom, in networks."""
    places, seeds = sorted({c.place for c in cells}), sorted({c.seed for c in cells})
    design = [[c.place == p for p in places] + [c.seed == s for s in seeds[1:]] for c in cells]
    y = np.array([float(c.curve.split()[-1]) for c in cells])
    solution = scipy.linalg.lstsq(np.array(design, dtype=float), y)[0]
    df = len(cells) - len(places) - (len(seeds) - 1)
    networks = {(c.place[:4], c.seed) for c in cells}
    shared = len(networks) - len({network for network, _ in networks}) - (len(seeds) - 1)
    return np.sqrt(((y - np.array(design) @ solution) ** 2).sum() / df), shared


@pytest.mark.parametrize("n, dropped", [(2, 0), (3, 5), (6, 0), (7, 20), (10, 40)])
def test_intervals_stars_and_p_are_those_of_least_squares(n, dropped):
    cells = several(n)
    for i in np.random.default_rng(1).choice(len(cells) - 6, dropped, replace=False):
        cells[i] = None
    cells = [cell for cell in cells if cell]
    at = {(*cell.place[2:], cell.seed): cell.accuracies[-1] for cell in cells}
    sigma, df = ordinary_least_squares(cells)
    rows, _, pooled, _ = tables(cells)
    assert pooled.sigma == pytest.approx(sigma) and pooled.df == df
    pairs = [(o, "base") for o in ("low", "high", "random", "none")] + [("low", "random"), ("high", "random")]
    raw, ratio = [], {"base": 1.0, "none": 0.0}
    for row, (one, other) in itertools.product(rows, pairs):
        ends = [(o, ratio.get(o, float(row["Data Ratio"])), float(row["Prune Ratio"])) for o in (one, other)]
        d = [at[(*ends[0], s)] - at[(*ends[1], s)] for s in range(n) if all((*end, s) in at for end in ends)]
        e = row[report.title(one, other)]
        if not d:
            assert e is None
            continue
        error = sigma * np.sqrt(2 / len(d))
        assert e.mean == pytest.approx(np.mean(d)) and len(e.values) == len(d)
        assert e.half == pytest.approx(scipy.stats.t.ppf(0.975, df) * error)
        raw.append((2 * scipy.stats.t.sf(abs(np.mean(d)) / error, df), e.p, e.texts(False)))
        if other == "base" and one in ("low", "high"):
            theirs = published()[row["Data Ratio"], row["Prune Ratio"]]
            gap = float(theirs[one] - theirs["base"])
            assert e.published == pytest.approx(gap)
            reach = scipy.stats.t.ppf(0.975, df) * sigma * np.sqrt(2 + 2 / len(d))
            assert e.inside == (abs(gap - np.mean(d)) <= reach)
        assert (e.texts(False)[1] != "-") == (len(d) >= 6)
    bound = 0
    for rank, (p, adjusted, texts) in enumerate(sorted(raw)):  # Holm's procedure as it is written
        bound = max(bound, min(1, p * (len(raw) - rank)))
        assert adjusted == pytest.approx(bound, abs=1e-8)
        assert ("*" in texts[0]) == (bound <= 0.05)


def test_a_network_that_protocols_share_counts_once_among_the_degrees_of_freedom():
    """Base, none and two sizes of three orders in three seeds; frozen adds networks, regrown only fine-tunings."""
    paper, regrown = several(3, 0.5, protocol="paper"), several(3, 5.0, protocol="regrown")
    frozen = several(3, 2.5, ("low", "high"), "frozen")
    for cells, df in ((paper, 24 - 8 - 2), (paper + regrown, 24 - 8 - 2), (paper + regrown + frozen, 39 - 13 - 2)):
        *_, cell, network = tables(cells)
        assert cell.df == network.df == df
        assert cell.sigma == pytest.approx(ordinary_least_squares(cells)[0])


def simulated(random, n, holes, luck=0.0):
    """Cells whose accuracies are place + seed + luck of the network + noise of 0.4; the true differences are 0."""
    cells, seeds = [], random.normal(0, 1, n)
    for order, d in (("base", 1.0), *itertools.product(("low", "high", "random"), (0.1, 0.2))):
        networks = random.normal(0, luck, n) if luck else np.zeros(n)
        for p, seed in itertools.product((0.4, 0.8), range(n)):
            accuracy = 50 - 10 * p + seeds[seed] + networks[seed] + random.normal(0, 0.4)
            cells.append(make_cell(order, d, p, seed, accuracy, "paper"))
    keep = random.permutation(len(cells))[: len(cells) - holes]
    return [cells[i] for i in sorted(keep)]


@pytest.mark.parametrize("n, holes, luck", [(2, 0, 0.0), (3, 12, 0.0), (5, 0, 0.0), (3, 0, 1.2)])
def test_intervals_cover_the_truth(n, holes, luck):
    """95 % of the intervals hold 0, within binomial error; each table counts with one difference."""
    random, hits, tries = np.random.default_rng(n), 0, 200
    for _ in range(tries):
        rows = tables(simulated(random, n, holes, luck))[0]
        e = next(row["High - Base"] for row in rows if row["High - Base"])
        hits += abs(e.mean) <= e.half
    assert scipy.stats.binomtest(int(hits), tries, 0.95).pvalue > 0.003


def test_main_effects_cover_the_truth_when_networks_have_luck():
    random, hits, tries = np.random.default_rng(0), Counter(), 200
    for _ in range(tries):
        for row in tables(simulated(random, 3, 0, luck=1.0))[1]:
            hits[row["Main effect"]] += abs(row["All cells"].mean) <= row["All cells"].half
    assert len(hits) == 6
    for name, count in hits.items():
        assert scipy.stats.binomtest(count, tries, 0.95).pvalue > 0.003, name


def test_a_main_effect_over_one_prune_ratio_has_the_interval_of_its_cell():
    """A network of one cell has no mean over prune ratios, whose spread is smaller."""
    matched = [make_cell("matched", 0.1, 0.8, seed, 40 + seed % 2) for seed in range(5)]
    rows, effects, cell, network = tables(several(5) + matched)
    (single,) = (row["Matched - Base"] for row in rows if row["Matched - Base"])
    (effect,) = (row["All cells"] for row in effects if row["Main effect"] == "Matched - Base")
    assert effect.half == pytest.approx(scipy.stats.t.ppf(0.975, cell.df) * cell.sigma * (2 / 5) ** 0.5, rel=1e-6)
    assert effect.half == single.half and network.sigma < 0.9 * cell.sigma


def test_main_effects_are_averaged_within_a_seed():
    cells = several(3)
    at = {(*cell.place[2:], cell.seed): cell.accuracies for cell in cells}
    cells = [cell._replace(dense=50 + cell.seed * len(cell.order)) for cell in cells]
    _, effects, _, network = tables(cells)
    assert effects[0]["Before pruning"].values == (0, -1, -2) and effects[4]["Before pruning"].values == (0, -1, -2)
    assert [row["Main effect"] for row in effects] == [
        "Low - Base",
        "High - Base",
        "Low - Random",
        "High - Random",
        "Low - High",
        "Random - Base",
    ]
    for row, ours, theirs, networks in ((effects[0], "low", "base", 9), (effects[4], "low", "high", 12)):
        ends = lambda p, d, s: [(o, 1.0 if o == "base" else d, p, s) for o in (ours, theirs)]  # noqa: E731
        keys = [ends(p, d, s) for s, d, p in itertools.product(range(3), (0.1, 0.2), (0.4, 0.8))]
        last = [at[a][-1] - at[b][-1] for a, b in keys]
        late = [np.mean(at[a][-3:]) - np.mean(at[b][-3:]) for a, b in keys]
        assert row["All cells"].mean == pytest.approx(np.mean(last))
        assert row["Last three epochs"].mean == pytest.approx(np.mean(late))
        first = np.reshape([at[a][0] - at[b][0] for a, b in keys], (3, 4)).mean(1)
        assert row["After pruning"].values == pytest.approx(first) and len(set(first)) == 3
        interval = scipy.stats.ttest_1samp(first, 0).confidence_interval(0.95)
        assert row["After pruning"].half == pytest.approx((interval.high - interval.low) / 2)
        assert row["Data Ratio 0.1"].mean == pytest.approx(np.mean(np.reshape(last, (3, 2, 2))[:, 0]))
        assert row["Networks"] == str(networks) and row["Seeds"] == "3"
        variance = 1 / 3 * (1 / 2 + (1 if theirs == "base" else 1 / 2))  # means over two networks; one baseline
        assert row["All cells"].half == pytest.approx(
            scipy.stats.t.ppf(0.975, network.df) * network.sigma * np.sqrt(variance)
        )


def test_ways_of_pruning_are_compared_network_by_network(tmp_path):
    """Every two of a protocol, against scipy's paired t test; the second protocol has one way, and low lacks a seed."""
    random, accuracy, ways = np.random.default_rng(5), {}, ("", "global", "start initial")
    for way, p, order, seed in itertools.product(ways, (0.4, 0.8), ("base", "low"), range(4)):
        if (way, order, seed) != ("global", "low", 3):
            accuracy[way, p, order, seed] = round(42 + random.standard_normal(), 2)
    ratio = {"base": 1.0, "low": 0.1}
    cells = [make_cell(o, ratio[o], p, s, a, "paper", pruning=w) for (w, p, o, s), a in accuracy.items()]
    cells += [make_cell("low", 0.1, 0.8, s, 50 + s, "flipped", pruning="live") for s in range(4)]
    out = run("report.py", "table", write(tmp_path / "x.csv", cells))
    titles, *lines = lines_of(out, 2)
    assert titles == ["Data Ratio", "Prune Ratio", "Protocol", "Pruning", "Base", "Low"]
    assert "Two ways of pruning: ± takes two seeds" in out and "unpruned" not in out
    two = [(ways[1], ways[0]), (ways[2], ways[0]), (ways[2], ways[1])]
    pairs = [(one, other, p) for one, other in two for p in (0.4, 0.8)]
    expected = [["0.1", f"{p}", "paper", f"{one} - {other or 'magnitude'}"] for one, other, p in pairs]
    assert [line[:4] for line in lines] == expected
    for (one, other, p), line in zip(pairs, lines):
        for order, text in zip(ratio, line[4:]):
            seeds = [s for s in range(4) if (one, p, order, s) in accuracy and (other, p, order, s) in accuracy]
            ours, theirs = ([accuracy[way, p, order, s] for s in seeds] for way in (one, other))
            low, high = scipy.stats.ttest_rel(ours, theirs).confidence_interval(0.95)
            assert text == f"{(low + high) / 2:+.2f} ± {(high - low) / 2:.2f} ({len(seeds)})"
    others = [cell._replace(dense=cell.dense + 1) if cell.pruning == "global" else cell for cell in cells]
    shown = {line[3] for line in lines_of(run("report.py", "table", write(tmp_path / "x.csv", others)), 2)[1:]}
    assert shown == {"start initial - magnitude"}  # networks of another training are no pair
    assert "Two ways" not in run("report.py", "table", write(tmp_path / "x.csv", several(2)))


def test_pruned_networks_are_compared_with_the_same_unpruned_ones(tmp_path):
    """Ratio 0 is data selection alone. ± is of the spread about the means of places and seeds, df of networks."""
    random, ratio = np.random.default_rng(6), {"base": 1.0, "low": 0.1, "high": 0.1}
    places = list(itertools.product((0, 0.4, 0.8), ratio, range(3)))
    accuracy = {place: round(42 + random.standard_normal(), 2) for place in places}
    cells = [make_cell(o, ratio[o], p, s, accuracy[p, o, s], "paper") for p, o, s in places]
    out = run("report.py", "table", write(tmp_path / "x.csv", cells))
    y = np.reshape([accuracy[place] for place in places], (9, 3))
    rest = y - y.mean(1, keepdims=True) - y.mean(0, keepdims=True) + y.mean()
    half = f" ± {scipy.stats.t.ppf(0.975, 2 * 2) * np.sqrt((rest**2).sum() / (8 * 2) * 2 / 3):.2f}"
    titles, *lines = lines_of(out, 2)
    assert titles == ["Data Ratio", "Prune Ratio", "Pruning", "Base", "Low", "High"]
    assert [line[:3] for line in lines] == [["0.1", p, "magnitude - unpruned"] for p in ("0.4", "0.8")]
    for p, line in zip((0.4, 0.8), lines):
        gaps = [np.mean([accuracy[p, o, s] - accuracy[0, o, s] for s in range(3)]) for o in ratio]
        assert line[3:] == [f"{gap:+.2f}{half}" for gap in gaps]
    assert "Less unpruned" in out and "Two ways" not in out
    live = [cell._replace(pruning="live", dense=cell.dense + (cell.seed == 2)) for cell in cells if cell.prune_ratio]
    titles, *lines = lines_of(run("report.py", "table", write(tmp_path / "x.csv", cells[:9] + live)), 2)
    assert [line[:3] for line in lines] == [["0.1", p, "live - unpruned"] for p in ("0.4", "0.8")]
    for p, line in zip((0.4, 0.8), lines):
        for order, text in zip(ratio, line[3:]):
            ours, theirs = ([accuracy[way, order, s] for s in range(2)] for way in (p, 0))  # seed 2: another training
            low, high = scipy.stats.ttest_rel(ours, theirs).confidence_interval(0.95)
            assert text == f"{(low + high) / 2:+.2f} ± {(high - low) / 2:.2f} (2)"


NETWORKS = r"of a network's mean \d\.\d\d; degrees of freedom, in networks"


def test_a_way_of_pruning_has_a_spread_of_its_own(tmp_path):
    """Networks cut to an eighth scatter more; that widens no other interval."""
    steady, wild = several(3, 0.1), [cell._replace(pruning="channels") for cell in several(3, 5)]
    alone, beside = tables(steady)[0], tables(steady + wild)[0]
    halves = [[row["Low - Base"].half for row in rows] for rows in (alone, beside)]
    assert halves[1][::2] == halves[0] and min(halves[1][1::2]) > 10 * max(halves[0])
    out = run("report.py", "table", write(tmp_path / "x.csv", steady + wild))
    for way, cells in (("magnitude", steady), ("channels", wild)):
        sigma, df = ordinary_least_squares(cells)
        assert re.search(rf"^sigma of {way}: {sigma:.2f}, {NETWORKS}: {df}\.$", out, re.M)


def test_a_spread_is_told_only_where_it_is_known(tmp_path):
    """Two seeds of two networks; of one; three places that leave a cell no residual, but a network's mean one."""
    base = [make_cell("base", 1.0, p, s, 42 + s * p) for p in (0.4, 0.8) for s in (0, 1)]
    cells = [*base, *(make_cell("low", 0.1, 0.4, s, 41 - 3 * s) for s in (0, 1))]
    out = run("report.py", "table", write(tmp_path / "x.csv", cells))
    sigma, df = ordinary_least_squares(cells)
    assert df == 1 and re.search(rf"^sigma: {sigma:.2f}, {NETWORKS}: 1\.$", out, re.M)
    assert "±: half" in out
    out = run("report.py", "table", write(tmp_path / "x.csv", [*base, cells[-2]]))
    assert "sigma" not in out and "A pooled interval takes two seeds of two networks" in out
    places = [("base", 1.0, 0.4, (0, 1)), ("base", 1.0, 0.8, (2, 3)), ("low", 0.1, 0.4, (1, 2))]
    cells = [make_cell(o, d, p, s, 40 + s**2 - p) for o, d, p, seeds in places for s in seeds]
    out = run("report.py", "table", write(tmp_path / "x.csv", cells))
    assert "± 0.00" not in out and "sigma" not in out and "A pooled interval takes two seeds" in out


def test_equivalence_is_said_only_inside_the_margin(tmp_path):
    near, far = (run("report.py", "table", write(tmp_path / "x.csv", several(5, spread))) for spread in (0.2, 3))
    assert "Low - High: equivalent, the whole interval is within ± 1.0 points." in near and "equivalent" not in far


@pytest.mark.parametrize("df", [1, 2, 3, 4, 5, 9, 30, 200])
def test_t_is_scipys(df):
    assert report.t_quantile(df) == pytest.approx(scipy.stats.t.ppf(0.975, df), rel=1e-6)
    for t in (0.0, 0.3, 2.0, 9.0):
        assert 1 - report.t_inside(t, df) == pytest.approx(2 * scipy.stats.t.sf(t, df), abs=1e-7)


def test_sign_flips_are_scipys_and_need_no_memory():
    for n in (3, 8, 12):
        values = np.random.default_rng(n).normal(0.3, 1, n)
        test = scipy.stats.permutation_test((values,), np.mean, permutation_type="samples", n_resamples=np.inf)
        assert report.sign_flip_p(values) == pytest.approx(test.pvalue)
    assert report.sign_flip_p([1.0, 1.0]) == 0.5 and report.sign_flip_p([0.0, 0.0, 0.0]) == 1
    values = np.random.default_rng(0).normal(0.2, 1, 40)  # 2^40 flips; the sampled p is near the normal's
    normal = 2 * scipy.stats.norm.sf(abs(values.sum()) / np.sqrt((values**2).sum()))
    assert report.sign_flip_p(values) == pytest.approx(normal, abs=0.02) and report.sign_flip_p([1.0] * 40) == 1e-5


def test_holm():
    assert report.holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])


def test_table_counts_signs_and_clusters_the_published_gap_by_data_ratio(tmp_path):
    cells = several(6)
    out = run("report.py", "table", write(tmp_path / "x.csv", cells))
    gaps = {}
    for (d, _), theirs in published().items():
        gaps.setdefault(d, []).append(float(theirs["low"] - theirs["high"]))
    means = [np.mean(gap) for gap in gaps.values()]
    low, high = scipy.stats.t.interval(0.95, len(means) - 1, np.mean(means), scipy.stats.sem(means))
    assert f"Published low - high: {np.mean(means):+.2f} ± {(high - low) / 2:.2f} over 5 data ratios" in out
    found = [e for row in tables(cells)[0] for e in row.values() if getattr(e, "published", None) is not None]
    signs, inside = sum(e.mean * e.published > 0 for e in found), sum(e.inside for e in found)
    assert f"Of 8 published differences, {signs} have the sign of ours, {inside} are compatible with ours.\n" in out


# ------------------------------------------------------------------------------------------ protocols and controls


def test_departures_are_those_of_the_makefile():
    for name, (_, setting, text, program) in report.DEPARTURES.items():
        for protocol, value in ((name, program), ("paper", text), ("released", program)):
            out = make("-n", "RUNS=runs/new", "table1-0.1-0.4", f"PROTOCOL={protocol}")
            assert f"--{setting} {value} " in out
    assert report.departures("released") == list(report.DEPARTURES)


def test_an_ablation_has_a_row_per_protocol_and_controls_once(tmp_path):
    """As make ablation ORDERS="low random none" gives them: a folder per protocol, the controls in each."""
    protocols, paths = ["paper", *report.DEPARTURES, "frozen+regrown", "released"], []
    for i, name in enumerate(protocols):
        cells = [make_cell("low", 0.1, 0.8, s, 45 + i + s, name) for s in (0, 1) if name != "frozen+regrown"]
        for order, d in (("base", 1.0), ("random", 0.1), ("none", 0.0)):
            own = report.project(name, order)  # such a network is the same in all protocols that share these
            cells += [make_cell(order, d, 0.8, s, 40 + len(own) / 10 + s, name) for s in (0, 1)]
        paths.append(write(tmp_path / f"{name}.csv", cells))
    lines = lines_of(run("report.py", "table", *paths))
    shown = [name for name in protocols if name != "frozen+regrown"]  # that baseline stands in the row of released
    assert lines[0][:3] == ["Data Ratio", "Prune Ratio", "Protocol"] and [line[2] for line in lines[1:]] == shown
    base = [f"{40 + len(report.project(name, 'base')) / 10 + 0.5:.2f}" for name in shown]
    assert [line[3] for line in lines[1:]] == base
    assert all("-" not in (line[4], line[5], line[6]) for line in lines[1:])
    other = write(tmp_path / "other.csv", [make_cell("random", 0.1, 0.8, 0, 41.25, "paper")])
    err = refusal("report.py", "table", *paths, other)
    assert "other.csv" in err and "paper.csv" in err and "paper random 0.1 0.8 seed 0" in err and "41.25" in err


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
        ("shuffled+indexed", "el2n", "shuffled+indexed"),
    ],
)
def test_a_protocol_keeps_what_its_order_depends_on(protocol, order, expected):
    assert report.project(protocol, order) == expected


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


CHANGES = {  # what of a cell, flags that are not the usual
    "order low of own 12345678": {"forget": None, "select": {"scores": "123456789abc"}},
    "order low of own": {"forget": None, "select": {"scores": ""}},
    "order own abcdef01": {"forget": None, "select": None, "train": {"subset": "abcdef0123"}},
    "order own": {"forget": None, "select": None, "train": {"subset": ""}},
    "order long": {"select": {"order": "random"}, "train": {"share": 10.0}},
    "order matched": {"forget": None, "select": None, "train": {"share": 0.1, "subset": ""}},
    "order none": {"forget": None, "select": None, "train": {"epochs": 0, "samples": 4000}},
    "order el2n": {"select": {"order": "el2n"}},
    "protocol toneva": {"forget": {"events": "toneva"}},
    "protocol toneva+frozen": {"forget": {"events": "toneva", "batchnorm": "frozen"}},
    "protocol shuffled+indexed": {"forget": {"positions": "shuffled"}, "select": {"ties": "index"}},
    "pruning global, random": {"prune": {"scope": "global", "criterion": "random", "structure": "weights"}},
    "pruning channels, start none seed 0": {"prune": {"structure": "channels", "start": "none seed 0"}},
}


@pytest.mark.parametrize("what", CHANGES)
def test_cells_are_named_by_the_flags_that_made_them(held, tmp_path, what):
    cell = report.load_cell(change(held, tmp_path / "x.pt", CHANGES[what]))
    field, value = what.split(" ", 1)
    assert getattr(cell, field) == value
    if "own" in value:
        assert cell.data_ratio == 0.1 and cell.trained == 3 * 400 + 4000
    titles = lines_of(run("report.py", "table", tmp_path / "x.pt"))[0]
    assert "published" not in titles


def test_the_cost_of_an_order_counts_its_scoring(held, tmp_path):
    assert report.load_cell(change(held, tmp_path / "x.pt", {})).trained == 3 * 400 + 4000 + 3 * 4000
    random = report.load_cell(change(held, tmp_path / "x.pt", {"select": {"order": "random"}}))
    assert random.trained == 3 * 400 + 4000


def test_steps_done_twice_are_told_in_full(held, tmp_path):
    prune, tune, history = held["args"]["prune"], held["args"]["finetune"], held["earlier"]["prune"]
    again = {"prune-2": prune | {"ratio": 0.9}, "finetune-2": tune | {"epochs": 2}}
    earlier = {"finetune": history | {"seconds": 5.0}, "prune-2": history | {"seconds": 7.0}}
    cell = report.load_cell(change(held, tmp_path / "x.pt", again, earlier))
    assert cell.pruning == "prune 0.8 0.9, tune 1 2" and cell.prune_ratio == 0.9
    assert cell.tuning.startswith("3 epochs, ") and cell.trained == 3 * 400 + 3 * 4000 + 3 * 4000
    assert cell.seconds == pytest.approx(held["seconds"] + history["seconds"] + 12)
    for ratio, epochs, pruning in ((0.96, 1, "2 rounds"), (0.96, 2, "prune 0.8 0.96, tune 1 2")):  # 0.2^2 is left
        again = {"prune-2": prune | {"ratio": ratio}, "finetune-2": tune | {"epochs": epochs}}
        assert report.load_cell(change(held, tmp_path / "x.pt", again, earlier)).pruning == pruning
    only = report.load_cell(change(held, tmp_path / "x.pt", {"finetune-2": tune}, {"finetune": history}))
    assert only.pruning == "prune 0.8, tune 1 1, steps prune finetune finetune-2"
    unfinished = change(held, tmp_path / "x.pt", {"prune-2": prune})
    assert "run prune.py and then finetune.py" in refusal("report.py", "table", unfinished)


def test_seeds_and_masks_of_a_cell_are_one(held, tmp_path):
    other = change(held, tmp_path / "x.pt", {"finetune": {"seed": 1}})
    assert "--seed 0 and 1" in refusal("report.py", "cells", other)
    again = {"finetune-2": held["args"]["finetune"] | {"mask": "release"}}
    assert "--mask hold and release" in refusal("report.py", "cells", change(held, tmp_path / "x.pt", again))


def test_files_of_one_cell_must_have_one_result(held, chain, tmp_path):
    same = chain / "hold.pt"
    assert run("report.py", "cells", same, same).count("\n") == 2
    none = {"forget": None, "select": None, "train": {"epochs": 0, "samples": 4000}}
    one = change(held, tmp_path / "1.pt", none)
    two = change(held, tmp_path / "2.pt", none, accuracy=[50.0, 60.0])
    err = refusal("report.py", "table", one, two)
    assert "1.pt" in err and "2.pt" in err and "curve: 50 60; " in err
    err = refusal("report.py", "table", same, change(held, tmp_path / "3.pt", {"train": {"lr": 0.1}}))
    assert "3 epochs, lr 0.1, batch size 64, fp32; 3 epochs, lr 0.001, batch size 64, fp32" in err


def test_what_was_asked_for_must_be_what_the_files_say(chain):
    command = ("report.py", "table", chain / "hold.pt")
    assert run(*command, "--asked=--epochs 3 --tune-epochs 1 --threads 1") == run(*command)
    for asked in ("--epochs 1", "--epochs 3", "--epochs 3 --tune-epochs 1 --lr 3e-4"):
        assert "--asked disagree" in refusal(*command, f"--asked={asked}")
    assert "--epochs" in refusal(*command, "--asked=--epochs x")


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
        report.load_cell(str(tmp_path / "x.pt"))
    err = capsys.readouterr().err
    assert "x.pt" in err and err.count("\n") == 1


# ---------------------------------------------------------------------------------------------------- its formats


def test_csv_read_back_is_the_cells(tmp_path):
    cells = several(4)
    assert report.read_csv(str(write(tmp_path / "x.csv", cells))) == cells
    assert run("report.py", "cells", tmp_path / "x.csv") == (tmp_path / "x.csv").read_text()


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
    "no text": "\x00\xff",
}


@pytest.mark.parametrize("how", ODD)
def test_an_odd_csv_is_one_line(tmp_path, capsys, how):
    path = tmp_path / "x.csv"
    path.write_bytes(ODD[how].encode("latin-1"))
    with pytest.raises(SystemExit):
        report.read_csv(str(path))
    err = capsys.readouterr().err
    assert "x.csv" in err and err.count("\n") == 1 and "\x1b" not in err


@pytest.mark.parametrize("what", ["table", "costs", "cells", *report.FIGURES])
def test_every_command_refuses_a_csv_of_no_cells(tmp_path, what):
    (tmp_path / "x.csv").write_text(ODD["header only"])
    (tmp_path / "out.svg").write_text("precious")
    assert "no cells" in refusal("report.py", what, tmp_path / "x.csv", "--out", tmp_path / "out.svg")
    assert (tmp_path / "out.svg").read_text() == "precious"


def test_formats_have_the_same_fields(tmp_path):
    path = write(tmp_path / "x.csv", several(6))
    text, markdown, latex = (run("report.py", "table", path, "--format", f) for f in ("text", "markdown", "latex"))
    marked = [line.strip("| ").split("|") for line in markdown.splitlines() if line[:1] == "|" and line[:3] != "| -"]
    fields = [[field.strip() for field in line] for line in marked]
    assert lines_of(text) + lines_of(text, 1) == fields
    rules = [line for line in markdown.splitlines() if line[:3] == "| -"]
    assert all(re.fullmatch(r"\|( -+: \|)+", rule) for rule in rules) and len(rules) == 2
    plain = re.sub(r"\$(.)\$", r"\1", latex.replace(r"$\pm$", "±").replace("\\%", "%"))
    bodies = re.findall(r"\\toprule\n(.*?)\\bottomrule", plain, re.S)
    bodies = [body.replace(r" \\", "").replace("\\midrule\n", "").splitlines() for body in bodies]
    parts = [[row.split(" & ") for row in body] for body in bodies]
    joined = []
    for part in parts:  # those of one table repeat the columns that say what a row is
        if joined and joined[-1][0][0] == part[0][0]:
            keys = sum(a == b for a, b in zip(joined[-1][0], part[0]))
            joined[-1] = [one + more[keys:] for one, more in zip(joined[-1], part)]
        else:
            joined.append(part)
    assert joined[0] + joined[1] == fields and len(parts) > 2
    assert "Test accuracy in \\%" in latex and all(len(line) <= 120 for line in text.split("\n\n")[2].splitlines())


@pytest.mark.skipif(not shutil.which("pdflatex"), reason="needs pdflatex: compiles the LaTeX table")
def test_latex_compiles(tmp_path):
    tabular = run("report.py", "table", write(tmp_path / "x.csv", several(6)), "--format", "latex")
    document = r"\documentclass{article}\usepackage{booktabs}\begin{document}" + tabular + r"\end{document}"
    (tmp_path / "t.tex").write_text(document)
    out = run("pdflatex", "-interaction=nonstopmode", "-halt-on-error", "t.tex", cwd=tmp_path)
    assert "Overfull" not in out


def test_cells_of_checkpoints_and_of_their_csv_are_the_same(chain, tmp_path):
    run("report.py", "cells", chain / "hold.pt", "--out", tmp_path / "cells.csv")
    assert run("report.py", "table", chain / "hold.pt") == run("report.py", "table", tmp_path / "cells.csv")
    (cell,) = report.read_csv(str(tmp_path / "cells.csv"))
    checkpoint = torch.load(chain / "hold.pt", weights_only=True)
    assert cell.place == ("paper", "", "low", 0.1, 0.8) and cell.seed == 0
    assert cell.accuracies == pytest.approx(checkpoint["accuracy"])
    weights = [value for value in checkpoint["model"].values() if value.ndim > 1]
    assert cell.parameters == 203_530
    assert cell.parameters - cell.nonzero == sum(int((weight == 0).sum()) for weight in weights)
    histories = [torch.load(chain / f"{name}.pt", weights_only=True) for name in ("dense", "pruned", "hold")]
    np.testing.assert_allclose(cell.by_class, [history["class_accuracy"] for history in histories], rtol=1e-5)
    run("report.py", "cells", chain / "hold.pt", chain / "release.pt", "--out", tmp_path / "two.csv")
    assert [cell.protocol for cell in report.read_csv(str(tmp_path / "two.csv"))] == ["paper", "regrown"]


def test_costs_have_a_line_per_network(tmp_path):
    lines = lines_of(run("report.py", "costs", write(tmp_path / "x.csv", several(3))))
    assert [line[0] for line in lines[1:]] == ["base"] * 2 + ["low"] * 4 + ["high"] * 4 + ["random"] * 4 + ["none"] * 2


def test_costs_tell_how_the_hard_classes_of_the_baseline_fare(tmp_path):
    """Base is worst in classes 3 and 8, seeds 0 and 1 together; low is worst elsewhere."""
    base = [[90, 80, 90, 10, 90, 90, 90, 90, 45, 90], [90, 90, 90, 60, 90, 90, 90, 90, 50, 90]]
    low = [[1, 2, 3, 50, 5, 6, 7, 8, 70, 10]]
    cells = []
    for order, seed, classes in [("base", 0, base[0]), ("base", 1, base[1]), ("low", 0, low[0])]:
        three = " ".join(str(x) for x in [*classes, *(x / 2 for x in classes), *(x + 4 for x in classes)])
        cell = make_cell(order, 1.0 if order == "base" else 0.1, 0.8, seed, 90.0)
        cells.append(cell._replace(dataset="MNIST", classes=three))
    titles, *lines = lines_of(run("report.py", "costs", write(tmp_path / "x.csv", cells)))
    first = titles.index("hard before")
    assert [line[first : first + 3] for line in lines] == [["41.2", "20.6", "45.2"], ["60.0", "30.0", "64.0"]]
    short = cells[0]._replace(classes="1 2 3")
    assert "three for each of MNIST's" in refusal("report.py", "table", write(tmp_path / "y.csv", [short]))


def test_a_full_or_a_narrow_terminal(tmp_path):
    path = write(tmp_path / "x.csv", several(3))
    assert "±" in run("report.py", "table", path, env=os.environ | {"PYTHONIOENCODING": "ascii", "LC_ALL": "C"})
    shell = f"{sys.executable} {ROOT}/report.py table {path} > /dev/full"
    assert "cannot print" in refusal("sh", "-c", shell)


# -------------------------------------------------------------------------------------------------------- figures


def drawing(path):
    """The ids of the groups in an SVG, and its texts."""
    elements = list(ElementTree.parse(path).iter())
    ids = [element.get("id") for element in elements if element.get("id")]
    return ids, ["".join(element.itertext()).strip() for element in elements if element.tag.endswith("}text")]


def test_figure1_has_a_line_per_order_and_panel(tmp_path):
    path, cells = tmp_path / "f.svg", several(3)
    run("report.py", "figure1", write(tmp_path / "x.csv", cells), "--out", path)
    ids, texts = drawing(path)
    assert len([i for i in ids if i.startswith("line-")]) == 5 * 4  # base, low, high, random, none; four panels
    for label in ("test accuracy (%)", "epoch of fine-tuning", "10 % of the data, 40 % pruned", "base", "random"):
        assert label in texts
    assert {"resnet18 on CIFAR100, protocol released, seeds 0 1 2", "mean and range of the seeds"} <= set(texts)
    assert not any("dashed" in text for text in texts) and "stroke-dasharray" not in path.read_text()
    before = path.read_bytes()
    run("report.py", "figure1", tmp_path / "x.csv", "--out", path)
    assert path.read_bytes() == before
    run("report.py", "figure1", write(tmp_path / "x.csv", cells[1:]), "--out", path)
    assert "dashed: of fewer seeds" in drawing(path)[1] and "stroke-dasharray" in path.read_text()


def test_none_does_not_stretch_figure1(tmp_path):
    """The ticks are those of the figure without none, whose curve is far below."""
    cells = [cell for cell in several(2) if cell.order != "none"]
    far = [make_cell("none", 0.0, p, s, 15) for p in (0.4, 0.8) for s in (0, 1)]
    ticks = []
    for part in (cells, cells + far):
        run("report.py", "figure1", write(tmp_path / "x.csv", part), "--out", tmp_path / "f.svg")
        ticks.append([text for text in drawing(tmp_path / "f.svg")[1] if re.fullmatch(r"[\d.]+", text)])
    assert ticks[0] == ticks[1] and "the axis is not stretched for none" in drawing(tmp_path / "f.svg")[1]


def test_figure2_has_bars_before_and_after(tmp_path):
    path = tmp_path / "f.svg"
    run("report.py", "figure2", write(tmp_path / "x.csv", several(3, orders=("low", "high", "none"))), "--out", path)
    ids, texts = drawing(path)
    bars = [i for i in ids if i.startswith("bar-before-")]
    assert len(bars) == len([i for i in ids if i.startswith("bar-after")]) == 12  # three orders, four places
    assert {"20 % of the data", "test accuracy (%)", "pruned weights (%)", "base", "low", "high"} <= set(texts)
    assert "error bars: one standard deviation over 3 seeds" in texts and "none" not in texts


def test_tradeoff_has_a_point_per_order_where_its_cost_and_accuracy_are(tmp_path):
    """Distances in the drawing are to each other as those of the means; low and high cost the same, and stand apart."""
    trained = {"base": 1_200_000, "low": 1_260_000, "high": 1_260_000, "random": 660_000}
    cells = [cell._replace(trained=trained[cell.order]) for cell in several(3, orders=("low", "high", "random"))]
    run("report.py", "tradeoff", write(tmp_path / "x.csv", cells), "--out", tmp_path / "f.svg")
    ids, texts = drawing(tmp_path / "f.svg")
    assert len([i for i in ids if i.startswith("point-")]) == 4 * 4
    assert {"samples trained on (millions)", "error bars: one standard deviation over 3 seeds"} <= set(texts)
    at = {}
    for group in ElementTree.parse(tmp_path / "f.svg").iter():
        if group.get("id", "").endswith("-0.1-0.8") and group.get("id").startswith("point-"):
            (use,) = (element for element in group.iter() if element.tag.endswith("}use"))
            at[group.get("id").split("-")[1]] = float(use.get("x")), float(use.get("y"))
    here = [cell for cell in cells if cell.prune_ratio == 0.8 and cell.data_ratio != 0.2]
    mean = {order: np.mean([cell.end() for cell in here if cell.order == order]) for order in at}
    (x, y), (x_low, y_low), (x_random, y_random) = at["base"], at["low"], at["random"]
    x_high = at["high"][0]
    assert ((x_low + x_high) / 2 - x) / (x - x_random) == pytest.approx(60 / 540, rel=1e-3) and x_high > x_low + 2
    scale = (y_random - y) / (mean["random"] - mean["base"])
    assert (y_low - y) / (mean["low"] - mean["base"]) == pytest.approx(scale, rel=1e-3)
    ends = re.search(rf'd="M {x_low:g}\d* ([\d.]+) *\n? *L {x_low:g}\d* ([\d.]+)', (tmp_path / "f.svg").read_text())
    low = [cell.end() for cell in here if cell.order == "low"]
    assert float(ends[1]) - float(ends[2]) == pytest.approx(-2 * scale * np.std(low, ddof=1), rel=1e-3)


@pytest.mark.parametrize("what", report.FIGURES)
def test_a_figure_of_one_file(chain, tmp_path, what):
    run("report.py", what, chain / "hold.pt", "--out", tmp_path / "f.svg")
    ids, texts = drawing(tmp_path / "f.svg")
    assert any(i.startswith(("line-low", "bar-after-low", "point-low")) for i in ids)
    assert "low" in texts and "base" not in texts
    err = refusal("report.py", what, chain / "hold.pt", chain / "release.pt", "--out", tmp_path / "f.svg")
    assert "paper, regrown" in err


# ---------------------------------------------------------------------------------------------------------- audit

AUDIT = (sys.executable, ROOT / "tests" / "audit.py")


def test_scores_are_held_against_chance(chain, tmp_path):
    for name in ("forget.npy", "correct.npy"):
        shutil.copy(chain / name, tmp_path / name)
    out = run(*AUDIT, "scores", chain / "forget.npy", tmp_path / "forget.npy", "--data", DIGITS)
    scores, correct = np.load(chain / "forget.npy"), np.load(chain / "correct.npy")
    labels = torch.load(DIGITS / "MNIST.pt", weights_only=True)["train_labels"].numpy()
    differ = 1 - sum((np.mean(labels == c)) ** 2 for c in range(10))
    for k in range(3):
        chance = scipy.stats.binom.pmf(k, 2, differ)  # three epochs
        assert f"score {k}: {100 * (scores == k).mean():6.2f} %  binomial {100 * chance:6.2f} %" in out
    assert f"never learned: {(~correct.any(0)).sum()} samples" in out
    assert "correlation 1.000" in out


def rewrite(path, arrays, tail):
    with open(path, "wb") as file:
        for array in arrays:
            np.save(file, array)
        file.write(tail)


def test_scores_refuse_labels_that_are_others(chain, tmp_path):
    with open(chain / "forget.npy", "rb") as file:
        scores, labels, tail = np.load(file), np.load(file), file.read()
    path = tmp_path / "forget.npy"
    for other, words in ((labels[:-1], "one class per sample"), (np.roll(labels, 1), "sample by sample")):
        rewrite(path, (scores, other), tail)
        assert words in refusal(*AUDIT, "scores", path, "--data", DIGITS)


@pytest.mark.parametrize("kind", ["svg", "png", "pdf"])
def test_figure_of_scores(chain, tmp_path, kind):
    path = tmp_path / f"f.{kind}"
    run(*AUDIT, "scores", chain / "forget.npy", "--data", DIGITS, "--out", path)
    if kind == "svg":
        _, texts = drawing(path)
        assert {"samples (%)", "forgetting score (events)", "never learned"} <= set(texts)
    assert path.read_bytes()[:4] == {"svg": b"<?xm", "png": b"\x89PNG", "pdf": b"%PDF"}[kind]


def test_verify_finds_what_was_changed(chain, tmp_path):
    names = {"forget.npy": "a.npy", "low.npy": "b.npy", "correct.npy": "correct.npy"}  # names tell nothing
    names |= {name: name for name in ("full.pt", "dense.pt", "pruned.pt", "hold.pt", "release.pt")}
    for name, new in names.items():
        shutil.copy(chain / name, tmp_path / new)
    files = [name for name in names.values() if name != "correct.npy"]
    command = (*AUDIT, "verify", *files, "--data", DIGITS)
    assert run(*command, cwd=tmp_path).count("OK ") == 7
    (tmp_path / "flipped").mkdir()
    shutil.copy(tmp_path / "correct.npy", tmp_path / "flipped")
    flips = (tmp_path / "a.npy").read_bytes().replace(b'"forgotten"', b'"flipped"')
    (tmp_path / "flipped" / "a.npy").write_bytes(flips)
    out = run(*AUDIT, "verify", "flipped/a.npy", "--data", DIGITS, cwd=tmp_path)
    assert out.startswith("SKIPPED  flipped/a.npy: ")

    with open(tmp_path / "a.npy", "rb") as file:
        scores, labels, tail = np.load(file), np.load(file), file.read()
    scores[0] = 1 - scores[0]
    rewrite(tmp_path / "a.npy", (scores, labels), tail)
    held = torch.load(tmp_path / "hold.pt", weights_only=True)
    held["model"]["1.weight"][held["model"]["1.weight"] == 0] = 1e-3
    torch.save(held, tmp_path / "hold.pt")
    dense = torch.load(tmp_path / "dense.pt", weights_only=True)
    dense["accuracy"][-1] += 1
    torch.save(dense, tmp_path / "dense.pt")
    with open(tmp_path / "b.npy", "rb") as file:
        subset, tail = np.load(file), file.read()
    subset[0] = np.setdiff1d(np.arange(subset[1]), subset)[0]
    rewrite(tmp_path / "b.npy", (subset,), tail)
    process = start(*command, cwd=tmp_path)
    out, err = process.communicate()
    wrong = {line.split()[1].rstrip(":") for line in out.splitlines() if line.startswith("WRONG")}
    assert wrong == {"a.npy", "b.npy", "dense.pt", "hold.pt"} and process.returncode == 1
    assert err == "audit.py: error: 4 of 7 files are not what they claim\n"
    (tmp_path / "none.pt").write_text("x")
    process = start(*AUDIT, "verify", "none.pt", "full.pt", "--data", DIGITS, cwd=tmp_path)
    out, err = process.communicate()
    assert re.search(r"^WRONG +none.pt: .*zip", out, re.M) and "OK       full.pt" in out and err.count("\n") == 1


def test_verify_takes_steps_done_twice(chain, tmp_path):
    usual = ("--data", DIGITS, "--threads", 1, "--device", "cpu")
    run("prune.py", "--in", chain / "hold.pt", "--ratio", 0.9, *usual, "--out", tmp_path / "p.pt")
    run("finetune.py", "--in", tmp_path / "p.pt", "--epochs", 1, *usual, "--out", tmp_path / "f.pt")
    out = run(*AUDIT, "verify", tmp_path / "p.pt", tmp_path / "f.pt", "--data", DIGITS)
    assert out.count("OK ") == 2
