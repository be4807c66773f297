"""What study.py adds to the report, against scipy and against what the runs say one by one."""

import itertools
import re
import sys
import xml.etree.ElementTree as ElementTree
from collections import Counter

import numpy as np
import pytest
import scipy.stats

import report
import study
from conftest import ROOT, refusal, run
from test_report import (
    DATA_RATIO,
    MARKDOWN,
    ODD,
    RESULTS,
    blocks_of,
    check_narrow,
    drawing,
    joined,
    lines_of,
    make_run,
    markdown_blocks,
    noise_of,
    noise_of_means,
    several,
    simulated,
    table_of,
    with_prefix,
    write,
)

STUDY = "tests/study.py"


def effects_of(runs):
    """{title of a main effect: its row}, for runs of one protocol and pruning method."""
    experiments = report.experiments_of(runs)
    rows = study.effect_rows(experiments, report.noises_of(runs), report.noises_of(runs, last_epochs=3))
    return {row["Main effect"]: row for row in rows}


def paired_t(ours, theirs):
    """The mean difference and half of its 95 % interval, by scipy."""
    low, high = scipy.stats.ttest_rel(ours, theirs).confidence_interval(0.95)
    return (low + high) / 2, (high - low) / 2


# --------------------------------------------------------------------------------------------------- main effects


def test_main_effects_cover_the_truth_when_networks_have_luck():
    random = np.random.default_rng(0)
    tries = 200
    hits = Counter()
    for _ in range(tries):
        for name, row in effects_of(simulated(random, 3, 0, luck=1.0)).items():
            effect = row["Mean"]
            hits[name] += abs(effect.mean) <= effect.half_width
    assert len(hits) == 6
    for name, count in hits.items():
        assert scipy.stats.binomtest(count, tries, 0.95).pvalue > 0.003, name


@pytest.mark.parametrize("name, times", [("resnet18-cifar10-paper", 0), ("fcnet-mnist-paper", 2)])
def test_sign_flips_are_explained_where_there_are_seeds_enough_to_show_them(name, times):
    told = run("tests/study.py", "effects", str(ROOT / "tests" / "results" / f"{name}.csv"))
    assert told.count("Sign flips") == times  # the column and its note


def test_a_main_effect_over_one_prune_ratio_has_the_interval_of_its_cell():
    """A network of one cell has no mean over prune ratios, whose noise is smaller."""
    runs = several(5) + [make_run("matched", 0.1, 0.8, seed, 40 + seed % 2) for seed in range(5)]
    noise = noise_of(runs)
    (of_cell,) = (row["Matched - Base"] for row in table_of(runs) if row["Matched - Base"])
    effect = effects_of(runs)["Matched - Base"]["Mean"]
    half_width = scipy.stats.t.ppf(0.975, noise.run.df) * noise.run.sigma * (2 / 5) ** 0.5
    assert effect.half_width == pytest.approx(half_width, rel=1e-6)
    assert effect.half_width == of_cell.half_width
    assert noise.of_mean({0.4, 0.8}).sigma < 0.9 * noise.run.sigma


def test_the_main_effects_are_these():
    assert list(effects_of(several(3))) == [
        "Low - Base",
        "High - Base",
        "Low - Random",
        "High - Random",
        "Low - High",
        "Random - Base",
    ]


@pytest.mark.parametrize("order, reference, networks", [("low", "base", 9), ("low", "high", 12)])
def test_main_effects_are_averaged_within_a_seed(order, reference, networks):
    """Three seeds of two data ratios and two prune ratios."""
    runs = several(3)
    at = {(run.order, run.data_ratio, run.prune_ratio, run.seed): run.accuracies for run in runs}
    last = np.empty((3, 2, 2))  # seeds, data ratios, prune ratios
    last_three = np.empty((3, 2, 2))
    pruned = np.empty((3, 2, 2))
    for seed, (i, data_ratio), (j, prune_ratio) in itertools.product(
        range(3), enumerate((0.1, 0.2)), enumerate((0.4, 0.8))
    ):
        ours = at[order, data_ratio, prune_ratio, seed]
        theirs = at[reference, DATA_RATIO.get(reference, data_ratio), prune_ratio, seed]
        last[seed, i, j] = ours[-1] - theirs[-1]
        last_three[seed, i, j] = np.mean(ours[-3:]) - np.mean(theirs[-3:])
        pruned[seed, i, j] = ours[0] - theirs[0]

    row = effects_of([run._replace(dense=50 + run.seed * len(run.order)) for run in runs])[
        report.title(order, reference)
    ]
    assert row["Mean"].mean == pytest.approx(last.mean())
    assert row["Data 0.1"].mean == pytest.approx(last[:, 0].mean())
    assert row["Last three epochs"].mean == pytest.approx(last_three.mean())
    assert row["Before pruning"].values == (0, -1, -2)  # low has a letter less than base, and than high
    assert row["Networks"] == str(networks)
    same_sign = np.count_nonzero(np.sign(last.mean((1, 2))) == np.sign(last.mean()))
    assert row["Of its sign"] == f"{same_sign}/3"
    _, half_width = paired_t(last.mean((1, 2)), np.zeros(3))
    assert row["Seeds alone"].half_width == pytest.approx(half_width)

    of_seeds = pruned.mean((1, 2))
    assert len(set(of_seeds)) == 3
    assert row["After pruning"].values == pytest.approx(of_seeds)
    _, half_width = paired_t(of_seeds, np.zeros(3))
    assert row["After pruning"].half_width == pytest.approx(half_width)

    means = {}  # of every network over its two prune ratios
    for name, data_ratio, _, seed in at:
        means[(name, data_ratio), seed] = np.mean([at[name, data_ratio, p, seed][-1] for p in (0.4, 0.8)])
    sigma, df = noise_of_means(means)
    baselines = 1 if reference == "base" else 2  # networks of a seed in the mean of the reference
    variance = (1 / 2 + 1 / baselines) / 3
    half_width = scipy.stats.t.ppf(0.975, df) * sigma * np.sqrt(variance)
    assert row["Mean"].half_width == pytest.approx(half_width)


@pytest.mark.parametrize("alone", [0, 2])
def test_a_mean_is_of_seeds_that_have_the_same_cells(alone):
    """One seed has as many as the others, but not the same."""
    kept = []
    for one in several(3, orders=("low",)):
        lost = (0.1, 0.4) if one.seed == alone else (0.1, 0.8)
        if one.order == "base" or (one.data_ratio, one.prune_ratio) != lost:
            kept.append(one)
    row = effects_of(kept)["Low - Base"]
    assert row["Cells"] == "3/4"
    assert len(row["Mean"].values) == 2


def test_a_mean_of_some_cells_says_of_how_many_it_is(tmp_path):
    runs = [one for one in several(5, 0.2) if one.order != "low" or one.prune_ratio == 0.4]
    rows = effects_of(runs)
    assert (rows["Low - Base"]["Cells"], rows["High - Base"]["Cells"]) == ("2/4", "4/4")
    assert "Low - High, 2/4 cells: equivalent" in run(STUDY, "effects", write(tmp_path / "x.csv", runs))


def test_equivalence_is_said_only_inside_the_margin(tmp_path):
    line = "Low - High, 4/4 cells: equivalent, the whole interval is within ± 1.0 points."
    assert line in run(STUDY, "effects", write(tmp_path / "x.csv", several(5, 0.2)))
    assert "equivalent" not in run(STUDY, "effects", write(tmp_path / "x.csv", several(5, 3)))


@pytest.mark.parametrize("n", [3, 8, 12])
def test_sign_flips_are_scipys(n):
    values = np.random.default_rng(n).normal(0.3, 1, n)
    test = scipy.stats.permutation_test((values,), np.mean, permutation_type="samples", n_resamples=np.inf)
    assert study.sign_flip_p(values) == pytest.approx(test.pvalue)


def test_sign_flips_of_values_that_are_equal():
    assert study.sign_flip_p([1.0, 1.0]) == 0.5
    assert study.sign_flip_p([0.0, 0.0, 0.0]) == 1


def test_sign_flips_need_no_memory():
    """Of 2^40 flips a part is drawn, and p is near the normal's."""
    values = np.random.default_rng(0).normal(0.2, 1, 40)
    normal = 2 * scipy.stats.norm.sf(abs(values.sum()) / np.sqrt((values**2).sum()))
    assert study.sign_flip_p(values) == pytest.approx(normal, abs=0.02)
    assert study.sign_flip_p([1.0] * 40) == 1e-5


# ----------------------------------------------------------------------------------------- the last row of table 1


def complete_seeds(experiment, order, reference):
    """The seeds that have both orders in every row of an experiment."""
    seeds = set(experiment.seeds)
    for ratios in experiment.rows:
        seeds &= experiment.at(order, *ratios).keys() & experiment.at(reference, *ratios).keys()
    return seeds


def check_means(runs):
    """Every entry of the last rows is a main effect over complete seeds; returns how many there are."""
    experiments = report.experiments_of(runs)
    noises = report.noises_of(runs)
    rows = report.table_rows(experiments, noises, report.published_accuracies(runs))
    means = [row for row in rows if row["Data"] == "mean"]
    spanning = [experiment for experiment in experiments if len(experiment.rows) > 1]
    shown = 0
    for row, experiment in zip(means, spanning, strict=True):
        assert row.get("Protocol", experiment.protocol) == experiment.protocol
        assert row.get("Pruning", experiment.method) == experiment.method
        for order, reference in report.compared_pairs(experiment.orders):
            mean = row[report.title(order, reference)]
            if complete_seeds(experiment, order, reference):
                check_mean(mean, experiment, order, reference, noises[experiment.method])
                shown += 1
            else:
                assert mean is None
    return shown


def check_mean(mean, experiment, order, reference, noise):
    """An entry of a last row is the main effect, and its published value the mean of the published differences."""
    effect = study.effect_row(experiment, order, reference, noise, noise)["Mean"]
    assert mean.values == effect.values
    assert mean.half_width == effect.half_width
    assert len(mean.values) == len(complete_seeds(experiment, order, reference))
    gaps = published_gaps(experiment, order, reference)
    assert mean.published == (None if gaps is None else pytest.approx(np.mean(gaps)))


def published_gaps(experiment, order, reference):
    """What the authors published for a difference, of every row of an experiment; None if they did not."""
    if experiment.method != "magnitude" or "toneva" in experiment.protocol:
        return None
    one = next(iter(experiment.runs.values()))
    published = report.published_accuracies(list(one.values()))
    gaps = []
    for ratios in experiment.rows:
        ends = [published.get((name, *ratios)) for name in (order, reference)]
        if None in ends:
            return None
        gaps.append(ends[0] - ends[1])
    return gaps


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.stem)
def test_means_of_our_tables_are_their_main_effects(path):
    check_means(report.load_runs([str(path)]))


def test_means_are_the_main_effects_of_study(tmp_path):
    """As printed, too: the last row has the numbers of the column Mean."""
    runs = several(6)
    assert check_means(runs) == 6
    path = write(tmp_path / "x.csv", runs)
    shown = {}
    for titles, *lines in blocks_of(run("report.py", "table", path)):
        shown |= dict(zip(titles, lines[-1], strict=True))
    titles, *lines = lines_of(run(STUDY, "effects", path))
    for line in lines:
        row = dict(zip(titles, line, strict=True))
        if row["Main effect"] != "Low - High":
            assert shown[row["Main effect"]] == row["Mean"]


def test_an_order_without_a_cell_has_no_mean():
    """Low lacks a cell, high lacks it in one seed of three and has the mean of the others."""
    runs = []
    for one in several(3):
        in_cell = one.data_ratio == 0.1 and one.prune_ratio == 0.8
        if not (in_cell and (one.order == "low" or (one.order == "high" and one.seed == 0))):
            runs.append(one)
    assert check_means(runs) == 4
    rows = report.table_rows(report.experiments_of(runs), report.noises_of(runs), {})
    assert rows[-1]["Low - Base"] is None
    assert rows[-1]["Low - Random"] is None
    assert len(rows[-1]["High - Base"].values) == 2


def test_an_order_of_another_protocol_has_a_mean_in_each():
    runs = several(3, protocol="paper") + several(3, protocol="frozen", orders=("low",))
    assert check_means(runs) == 6 + 4  # frozen has no high, and shares random and untrained with paper


# ------------------------------------------------------------------------------------------------ pruning methods


def method_block(out):
    """The titles and lines, of markdown, that compare pruning methods."""
    (block,) = (block for block in markdown_blocks(out) if "Main effect" not in block[0])
    return block


METHODS = ("magnitude", "global", "start initial")


def test_pruning_methods_are_compared_network_by_network(tmp_path):
    """Every two of a protocol, against scipy's paired t test; another protocol has one method, low lacks a seed."""
    random = np.random.default_rng(5)
    accuracy = {}
    for method, prune_ratio, order, seed in itertools.product(METHODS, (0.4, 0.8), ("base", "low"), range(4)):
        if (method, order, seed) != ("global", "low", 3):
            accuracy[method, prune_ratio, order, seed] = round(42 + random.standard_normal(), 2)
    runs = []
    for (method, prune_ratio, order, seed), end in accuracy.items():
        runs.append(make_run(order, DATA_RATIO.get(order, 0.1), prune_ratio, seed, end, "paper", method=method))
    runs += [make_run("low", 0.1, 0.8, seed, 50 + seed, "flipped", method="live") for seed in range(4)]
    out = run(STUDY, "effects", write(tmp_path / "x.csv", runs), *MARKDOWN)
    titles, *lines = method_block(out)
    assert titles == ["Data", "Pruned", "Protocol", "Pruning", "Base", "Low"]
    assert "Two pruning methods: ± takes three seeds" in out
    assert "unpruned" not in out

    pairs = [("global", "magnitude"), ("start initial", "magnitude"), ("start initial", "global")]
    compared = list(itertools.product(pairs, (0.4, 0.8)))
    assert [line[:4] for line in lines] == [
        ["0.1", f"{p}", "paper", f"{one} - {other}"] for (one, other), p in compared
    ]
    for ((one, other), prune_ratio), line in zip(compared, lines, strict=True):
        for order, text in zip(("base", "low"), line[4:], strict=True):
            seeds = range(3) if order == "low" and "global" in (one, other) else range(4)
            ours = [accuracy[one, prune_ratio, order, seed] for seed in seeds]
            theirs = [accuracy[other, prune_ratio, order, seed] for seed in seeds]
            mean, half_width = paired_t(ours, theirs)
            assert text == f"{mean:+.2f} ± {half_width:.2f} ({len(seeds)})"


def test_networks_of_another_training_are_no_pair(tmp_path):
    runs = []
    for method, seed in itertools.product(METHODS, range(2)):
        dense = 35.5 if method == "global" else 34.5
        runs.append(make_run("low", 0.1, 0.8, seed, 42 + seed, "paper", method=method, dense=dense))
    titles, *lines = method_block(run(STUDY, "effects", write(tmp_path / "x.csv", runs), *MARKDOWN))
    assert [line[titles.index("Pruning")] for line in lines] == ["start initial - magnitude"]


def test_one_pruning_method_is_compared_with_none(tmp_path):
    assert "Two pruning methods" not in run(STUDY, "effects", write(tmp_path / "x.csv", several(2)))


ORDERS = ("base", "low", "high")


@pytest.fixture(scope="module")
def with_unpruned():
    """(runs, their accuracies) of three orders and four seeds, pruned by 0.4, by 0.8 and not at all."""
    random = np.random.default_rng(6)
    cells = list(itertools.product((0, 0.4, 0.8), ORDERS, range(4)))
    accuracy = {cell: round(42 + random.standard_normal(), 2) for cell in cells}
    runs = []
    for (prune_ratio, order, seed), end in accuracy.items():
        runs.append(make_run(order, DATA_RATIO.get(order, 0.1), prune_ratio, seed, end, "paper"))
    return runs, accuracy


def test_pruned_networks_are_compared_with_the_same_unpruned_ones(with_unpruned, tmp_path):
    """± is of the noise about the means of cells and seeds, with the degrees of freedom of networks."""
    runs, accuracy = with_unpruned
    out = run(STUDY, "effects", write(tmp_path / "x.csv", runs), *MARKDOWN)
    ends = np.reshape(list(accuracy.values()), (9, 4))
    residuals = ends - ends.mean(1, keepdims=True) - ends.mean(0, keepdims=True) + ends.mean()
    sigma = np.sqrt((residuals**2).sum() / (8 * 3))
    half_width = scipy.stats.t.ppf(0.975, 2 * 3) * sigma * np.sqrt(2 / 4)
    titles, *lines = method_block(out)
    assert titles == ["Data", "Pruned", "Pruning", "Base", "Low", "High"]
    assert [line[:3] for line in lines] == [["0.1", p, "magnitude - unpruned"] for p in ("0.4", "0.8")]
    for prune_ratio, line in zip((0.4, 0.8), lines, strict=True):
        for order, text in zip(ORDERS, line[3:], strict=True):
            gaps = [accuracy[prune_ratio, order, seed] - accuracy[0, order, seed] for seed in range(4)]
            assert text == f"{np.mean(gaps):+.2f} ± {half_width:.2f}"
    assert "Less unpruned" in out
    assert "Two pruning methods" not in out


def test_another_pruning_method_less_unpruned_goes_by_its_pairs_alone(with_unpruned, tmp_path):
    """In seed 3 its network is of another training."""
    runs, accuracy = with_unpruned
    unpruned = [one for one in runs if one.prune_ratio == 0]
    live = []
    for one in runs:
        if one.prune_ratio > 0:
            live.append(one._replace(method="live", dense=one.dense + (one.seed == 3)))
    titles, *lines = method_block(run(STUDY, "effects", write(tmp_path / "x.csv", unpruned + live), *MARKDOWN))
    assert [line[:3] for line in lines] == [["0.1", p, "live - unpruned"] for p in ("0.4", "0.8")]
    for prune_ratio, line in zip((0.4, 0.8), lines, strict=True):
        for order, text in zip(ORDERS, line[3:], strict=True):
            ours = [accuracy[prune_ratio, order, seed] for seed in range(3)]
            theirs = [accuracy[0, order, seed] for seed in range(3)]
            mean, half_width = paired_t(ours, theirs)
            assert text == f"{mean:+.2f} ± {half_width:.2f} (3)"


# ---------------------------------------------------------------------------------------------------------- costs


def test_costs_have_a_line_per_network(tmp_path):
    _, *lines = lines_of(run(STUDY, "costs", write(tmp_path / "x.csv", several(3))))
    orders = ["base"] * 2 + ["low"] * 4 + ["high"] * 4 + ["random"] * 4 + ["untrained"] * 2
    assert [line[0] for line in lines] == orders


def test_costs_are_means_over_seeds(tmp_path):
    runs = []
    for seed in range(2):
        one = make_run(
            "low", 0.1, 0.8, seed, 42.0 + seed, dense=30.0 + seed, trained=100 + 2 * seed, seconds=1.0 + seed
        )
        runs.append(one._replace(first_seconds=10.0, parameters=9, nonzero=4 + 2 * seed, live=7, live_nonzero=2))
    row = {}
    for titles, line in blocks_of(run(STUDY, "costs", write(tmp_path / "x.csv", runs))):
        row |= dict(zip(titles, line, strict=True))
    assert row == {
        "Order": "low",
        "Data": "0.1",
        "Pruned": "0.8",
        "Seeds": "2",
        "Accuracy": "42.50",
        "Before pruning": "30.50",
        "After pruning": "21.75",  # 42 / 2, and 43 / 2 and the 1 that make_run adds
        "samples x epochs": "101",
        "parameters": "9",
        "not zero": "5",
        "live weights": "7",
        "of them not zero": "2",
        "seconds": "12",
    }


def test_costs_tell_how_the_hard_classes_of_the_baseline_fare(tmp_path):
    """Base is worst in classes 3 and 8, seeds 0 and 1 together; low is worst elsewhere."""
    accuracies = [
        ("base", 0, [90, 80, 90, 10, 90, 90, 90, 90, 45, 90]),
        ("base", 1, [90, 90, 90, 60, 90, 90, 90, 90, 50, 90]),
        ("low", 0, [1, 2, 3, 50, 5, 6, 7, 8, 70, 10]),
    ]
    runs = []
    for order, seed, before in accuracies:
        pruned = [accuracy / 2 for accuracy in before]
        at_end = [accuracy + 4 for accuracy in before]
        classes = " ".join(map(str, before + pruned + at_end))
        ratio = DATA_RATIO.get(order, 0.1)
        runs.append(make_run(order, ratio, 0.8, seed, 90.0, dataset="MNIST", classes=classes))
    rows = joined(blocks_of(run(STUDY, "costs", write(tmp_path / "x.csv", runs))))
    hard = [(row["hard before"], row["hard pruned"], row["hard at end"]) for row in rows.values()]
    assert hard == [("41.2", "20.6", "45.2"), ("60.0", "30.0", "64.0")]


# ---------------------------------------------------------------------------------------------------- its formats


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.stem)
@pytest.mark.parametrize("command", ["effects", "costs"])
def test_tables_of_our_results_are_narrow(path, command):
    runs = report.load_runs([str(path)])
    tables = {"effects": study.effects, "costs": study.costs}[command]
    check_narrow(tables(runs, "text"), tables(runs, "markdown"))


@pytest.mark.parametrize("command", ["effects", "costs", "tradeoff"])
def test_every_command_refuses_a_csv_of_no_runs(tmp_path, command):
    (tmp_path / "x.csv").write_text(ODD["header only"])
    (tmp_path / "out.svg").write_text("precious")
    assert "no runs" in refusal(STUDY, command, tmp_path / "x.csv", "--out", tmp_path / "out.svg")
    assert (tmp_path / "out.svg").read_text() == "precious"


SCORES = ROOT / "tests" / "data" / "published_scores.csv"
NO_SCORES = {
    "no file": (None, "No such file"),
    "results": (RESULTS[0].read_bytes(), "no column"),
    "no text": (b"\x80\x02", "codec"),
    "no line": (SCORES.read_bytes().splitlines()[0], "no line"),
    "a network without scores": (SCORES.read_bytes().replace(b"LeNet", b"VGG"), "vgg"),
    "a word for a count": (SCORES.read_bytes().replace(b",60000,", b",many,"), "many"),
}


@pytest.mark.parametrize("how", NO_SCORES)
def test_a_file_of_no_scores_is_one_line(tmp_path, how):
    content, words = NO_SCORES[how]
    if content is not None:
        (tmp_path / "x.csv").write_bytes(content)
    (tmp_path / "out.svg").write_text("precious")
    line = refusal(STUDY, "scores", tmp_path / "x.csv", "--out", tmp_path / "out.svg")
    assert words in line and "it must be tests/data/published_scores.csv" in line
    assert (tmp_path / "out.svg").read_text() == "precious"


def test_a_full_disk_behind_the_output_is_one_line(tmp_path):
    path = write(tmp_path / "x.csv", several(3))
    shell = f"{sys.executable} {ROOT}/tests/study.py effects {path} > /dev/full"
    assert "cannot print" in refusal("sh", "-c", shell)


def test_a_table_takes_the_place_of_no_result(chain, tmp_path):
    """As where a * follows --out, and its first file is the output."""
    (tmp_path / "full.pt").write_text("precious")
    for script, command in (("report.py", "table"), (STUDY, "effects"), (STUDY, "costs"), (STUDY, "claims")):
        err = refusal(script, command, "--out", tmp_path / "full.pt", chain / "hold.pt")
        assert "full.pt would be a text in the place of a result" in err
    assert (tmp_path / "full.pt").read_text() == "precious"


def test_a_csv_of_runs_loses_none(tmp_path):
    """As where a * follows --out; the same runs measured again may take its place."""
    runs = several(2)
    write(tmp_path / "a.csv", runs)
    write(tmp_path / "b.csv", runs[:-3])
    err = refusal("report.py", "runs", "--out", tmp_path / "a.csv", tmp_path / "b.csv")
    assert "a.csv has 3 runs that the inputs lack" in err
    assert report.read_csv(str(tmp_path / "a.csv")) == runs
    again = [one._replace(dense=50.0) for one in runs]
    run("report.py", "runs", "--out", tmp_path / "a.csv", write(tmp_path / "b.csv", again))
    assert report.read_csv(str(tmp_path / "a.csv")) == again


# -------------------------------------------------------------------------------------------------------- figures


def points_of(path, ratios):
    """{order: (x, y)} of the panel of these ratios in a drawing of the trade-off."""
    points = {}
    for group in ElementTree.parse(path).iter():
        name = group.get("id", "")
        if name.startswith("point-") and name.endswith(ratios):
            (use,) = (element for element in group.iter() if element.tag.endswith("}use"))
            points[name.split("-")[1]] = float(use.get("x")), float(use.get("y"))
    return points


def test_tradeoff_has_a_point_per_order_where_its_cost_and_accuracy_are(tmp_path):
    """Distances in the drawing are to each other as those of the means; low and high cost the same, and stand apart."""
    trained = {"base": 1_200_000, "low": 1_260_000, "high": 1_260_000, "random": 660_000}
    runs = [one._replace(trained=trained[one.order]) for one in several(3, orders=("low", "high", "random"))]
    path = tmp_path / "f.svg"
    run(STUDY, "tradeoff", write(tmp_path / "x.csv", runs), "--out", path)
    ids, texts = drawing(path)
    assert len(with_prefix(ids, "point-")) == 4 * 4
    assert "samples trained on (millions)" in texts
    assert any(text.endswith("error bars: one standard deviation over the seeds") for text in texts)

    points = points_of(path, "-0.1-0.8")
    ends = {order: [] for order in points}
    for one in runs:
        if one.prune_ratio == 0.8 and one.data_ratio != 0.2:
            ends[one.order].append(one.end())
    x = {order: point[0] for order, point in points.items()}
    y = {order: point[1] for order, point in points.items()}
    between_low_and_high = (x["low"] + x["high"]) / 2
    assert (between_low_and_high - x["base"]) / (x["base"] - x["random"]) == pytest.approx(60 / 540, rel=1e-3)
    assert x["high"] > x["low"] + 2

    mean = {order: np.mean(values) for order, values in ends.items()}
    scale = (y["random"] - y["base"]) / (mean["random"] - mean["base"])
    assert (y["low"] - y["base"]) / (mean["low"] - mean["base"]) == pytest.approx(scale, rel=1e-3)
    error_bar = rf'd="M {x["low"]:g}\d* ([\d.]+) *\n? *L {x["low"]:g}\d* ([\d.]+)'
    bottom, top = map(float, re.search(error_bar, path.read_text()).groups())
    assert bottom - top == pytest.approx(-2 * scale * np.std(ends["low"], ddof=1), rel=1e-3)


def test_a_tradeoff_of_one_file(chain, tmp_path):
    path = tmp_path / "f.svg"
    run(STUDY, "tradeoff", chain / "hold.pt", "--out", path)
    ids, texts = drawing(path)
    assert with_prefix(ids, "point-low")
    assert "low" in texts
    assert "base" not in texts
    err = refusal(STUDY, "tradeoff", chain / "hold.pt", chain / "release.pt", "--out", path)
    assert "this figure shows one protocol" in err
