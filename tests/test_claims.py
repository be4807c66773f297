"""The claims' rule against made-up values and scipy, their numbers against the csv files read as text, the pictures."""

import csv
import itertools
import math
import shlex
import shutil
import statistics
import subprocess
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
import scipy.stats

import claims
import pages
import report
import study
from conftest import ROOT, refusal, run
from test_report import noise_of_means

RESULTS = ROOT / "tests" / "results"
TEXT = RESULTS / "resnet18-cifar100-paper.csv"
RELEASED = RESULTS / "resnet18-cifar100-released.csv"
ABLATION = RESULTS / "resnet18-cifar100-ablation.csv"
UNPRUNED = RESULTS / "resnet18-cifar100-unpruned-ablation.csv"
NINE = tuple(itertools.product((0.1, 0.2, 0.3), (0.4, 0.6, 0.8)))
GAIN = claims.less(claims.CIFAR100, "low", "base", direction="+")
FALL = GAIN._replace(direction="-")
SAME = GAIN._replace(direction="=")
KEPT = GAIN._replace(measure=claims.KEPT)
CERTAIN = 0.001


def estimate(mean, half_width, p, seeds=3):
    """An Estimate whose seeds all have its sign, or do not spread at all."""
    return report.Estimate((mean,) * seeds, half_width=half_width, p=p)


@pytest.mark.parametrize(
    ("contrast", "mean", "half_width", "p", "verdict"),
    [
        (GAIN, 2.0, 0.5, CERTAIN, "holds"),
        (GAIN, -2.0, 0.5, CERTAIN, "opposite"),
        (FALL, -2.0, 0.5, CERTAIN, "holds"),
        (FALL, 2.0, 0.5, CERTAIN, "opposite"),
        (GAIN, 2.0, 0.5, 0.051, "open"),
        (GAIN, 0.5, 0.4, CERTAIN, "no effect"),  # within the margin comes first
        (GAIN, 0.5, 0.6, 0.5, "open"),  # 1.1 is not
        (SAME, 0.5, 0.4, CERTAIN, "holds"),
        (SAME, 2.0, 0.5, CERTAIN, "fails"),
        (SAME, -2.0, 0.5, CERTAIN, "fails"),
        (SAME, 0.5, 0.6, 0.5, "open"),
        (KEPT, 0.5, 0.4, CERTAIN, "holds"),  # shares have no margin
        (GAIN, 2.0, None, None, "open"),
    ],
)
def test_verdict_goes_by_the_rule(contrast, mean, half_width, p, verdict):
    assert claims.verdict_of(contrast, estimate(mean, half_width, p)) == verdict


def test_verdict_takes_three_seeds_that_agree():
    assert claims.verdict_of(GAIN, None) == "not run"
    assert claims.verdict_of(GAIN, estimate(2.0, 0.5, CERTAIN, seeds=2)) == "open"
    disagree = report.Estimate((3.0, 3.0, -0.1), half_width=0.5, p=CERTAIN)
    assert claims.verdict_of(GAIN, disagree) == "open"
    assert claims.verdict_of(GAIN, disagree._replace(values=(3.0, 3.0, 0.1))) == "holds"


@pytest.mark.parametrize("seed", range(20))
def test_from_six_seeds_on_their_own_t_test_decides(seed):
    """All of one sign is then neither needed nor enough."""
    values = tuple(np.random.default_rng(seed).normal(1, 1.2, 6))
    agree = scipy.stats.ttest_1samp(values, 0).pvalue <= 0.05
    verdict = claims.verdict_of(GAIN, report.Estimate(values, half_width=0.1, p=CERTAIN))
    assert (verdict in ("holds", "opposite")) == agree or abs(statistics.fmean(values)) < 0.9


def test_what_has_no_interval_says_of_how_many_seeds_it_is():
    assert claims.estimate_in_words(report.Estimate((-5.294,))) == "-5.29 (1 seed)"
    assert claims.estimate_in_words(report.Estimate((1.0, 2.0))) == "+1.50 (+1.00, +2.00)"
    assert claims.estimate_in_words(report.Estimate((1.0, 2.0, -0.6), half_width=0.5)) == "+0.80 ± 0.50 (2/3)"
    one_seed_beside_others = report.Estimate((-9.81,), half_width=1.37)  # the noise is that of a table
    assert claims.estimate_in_words(one_seed_beside_others) == "-9.81 ± 1.37 (1/1)"


def test_margins_are_those_of_the_data_sets():
    on_digits = claims.less(claims.LENET, "low", "base", direction="=")
    assert claims.verdict_of(on_digits, estimate(0.1, 0.09, 0.5)) == "holds"
    assert claims.verdict_of(on_digits, estimate(0.1, 0.11, 0.5)) == "open"


def test_the_list_is_complete_and_its_family_is_fixed():
    """Nineteen claims; a new primary contrast changes every corrected p-value, so it is no accident."""
    assert [claim.number for claim in claims.CLAIMS] == list(range(1, 20))
    primary = [contrast for claim in claims.CLAIMS for contrast in claim.contrasts]
    assert len(primary) == 36
    assert {contrast.direction for contrast in primary} == {"+", "-", "="}
    evidence = [contrast for claim in claims.CLAIMS for contrast in claim.evidence]
    assert {contrast.direction for contrast in evidence} == {""}
    for claim in claims.CLAIMS:
        assert bool(claim.contrasts) + bool(claim.counted) + bool(claim.follows) + bool(claim.remark) == 1, claim.words


# ------------------------------------------------------------------------------------------- numbers, from the text


def accuracies(path, position=-1, protocol=None):
    """{(order, data ratio, prune ratio): {seed: accuracy}} of a csv, or of its protocol, by nothing but csv."""
    found = {}
    with open(path, newline="") as file:
        for row in csv.DictReader(file):
            if row["method"] == "magnitude" and protocol in (None, row["protocol"]):
                cell = row["order"], float(row["data_ratio"]), float(row["prune_ratio"])
                found.setdefault(cell, {})[int(row["seed"])] = float(row["curve"].split()[position])
    return found


def by_seed(found, order, reference, cells, seeds):
    """The mean gain of every seed."""
    gains = []
    for seed in seeds:
        differences = []
        for d, p in cells:
            base = found["base", 1.0, p] if reference == "base" else found[reference, d, p]
            differences.append(found[order, d, p][seed] - base[seed])
        gains.append(statistics.fmean(differences))
    return gains


def judgement(judgements, number, words, protocol):
    (one,) = [j for j in judgements if (j.claim.number, j.contrast.words, j.protocol) == (number, words, protocol)]
    return one


@pytest.fixture(scope="module")
def results():
    return pages.Results(RESULTS)


def test_main_claim_is_that_of_the_csv_files(results):
    for path, protocol in ((TEXT, "paper"), (RELEASED, "released")):
        found = accuracies(path)
        for order in ("low", "high"):
            one = judgement(results.judgements, 1, f"{order} less base, nine cells", protocol)
            assert one.estimate.values == pytest.approx(by_seed(found, order, "base", NINE, (0, 1, 2)))
            assert one.source == str(path)


def noise_of_table1(path):
    """(sigma, degrees of freedom) of the mean of a network of Table 1 over 40, 60 and 80 % pruned."""
    means = {}
    for (order, data_ratio, _), of_seeds in accuracies(path).items():
        for seed in of_seeds:
            ends = [accuracies(path).get((order, data_ratio, p), {}).get(seed) for p in (0.4, 0.6, 0.8)]
            if None not in ends:
                means[(order, data_ratio), seed] = statistics.fmean(ends)
    return noise_of_means(means)


def test_interval_of_a_mean_goes_by_networks_with_all_of_its_prune_ratios(results):
    """Three coreset networks and a baseline in each of three seeds."""
    for path, protocol in ((TEXT, "paper"), (RELEASED, "released")):
        sigma, df = noise_of_table1(path)
        half_width = scipy.stats.t.ppf(0.975, df) * sigma * math.sqrt((1 / 3 + 1) / 3)
        (experiment,) = report.experiments_of(report.load_runs([str(path)]))
        for order in ("low", "high"):
            one = judgement(results.judgements, 1, f"{order} less base, nine cells", protocol)
            assert one.estimate.half_width == pytest.approx(half_width)
            noise = report.pooled_noise(report.load_runs([str(path)]))
            effect = report.difference(experiment, order, "base", list(NINE), noise)
            assert effect.half_width == pytest.approx(half_width)


def test_before_fine_tuning_the_interval_is_that_of_the_seeds(results):
    found = accuracies(RELEASED, position=0)
    with open(RELEASED, newline="") as file:
        rows = list(csv.DictReader(file))
    dense = {
        (r["order"], float(r["data_ratio"]), int(r["seed"]), float(r["prune_ratio"])): float(r["dense"]) for r in rows
    }
    for order in ("low", "high"):
        values = []
        for seed in (0, 1, 2):
            kept = []
            for d in (0.1, 0.2, 0.3):
                ours = found[order, d, 0.6][seed] / dense[order, d, seed, 0.6]
                kept.append(100 * (ours - found["base", 1.0, 0.6][seed] / dense["base", 1.0, seed, 0.6]))
            values.append(statistics.fmean(kept))
        one = judgement(results.judgements, 7, f"{order} less base, 60 % pruned, % of its accuracy kept", "released")
        assert one.estimate.values == pytest.approx(values)
        low, high = scipy.stats.ttest_1samp(values, 0).confidence_interval()
        assert one.estimate.half_width == pytest.approx((high - low) / 2)


def test_p_values_are_corrected_over_the_whole_list(results):
    """Holm, written out: of what was not run p is 1."""
    raw = []
    for one in results.judgements:
        table = [t for t in results.tables if t.source == one.source and t.protocol == one.protocol]
        estimate = claims.weighed(one.contrast, table[0])[0] if one.estimate else None
        raw.append(1.0 if estimate is None or estimate.p is None else estimate.p)
    assert len(raw) == 72
    largest = 0.0
    for rank, i in enumerate(sorted(range(len(raw)), key=raw.__getitem__)):
        largest = max(largest, min(1.0, raw[i] * (len(raw) - rank)))
        if results.judgements[i].estimate and results.judgements[i].estimate.p is not None:
            assert results.judgements[i].estimate.p == pytest.approx(largest)


def test_gain_with_less_data_does_not_know_the_baseline(results):
    """It cancels: the same network is in both gains, so the interval is that of two sets of coreset networks."""
    found = accuracies(RELEASED)
    words = "gain of high with 10 % less with 30 % of the data"
    one = judgement(results.judgements, 14, words, "released")
    for seed, value in zip((0, 1, 2), one.estimate.values, strict=True):
        few, many = (statistics.fmean(found["high", d, p][seed] for p in (0.4, 0.6, 0.8)) for d in (0.1, 0.3))
        assert value == pytest.approx(few - many)
    sigma, df = noise_of_table1(RELEASED)
    assert one.estimate.half_width == pytest.approx(scipy.stats.t.ppf(0.975, df) * sigma * math.sqrt(2 / 3))


def test_gain_by_pruning_does_not_know_the_luck_of_networks(results):
    """Each is compared with itself, so the interval is that of four runs."""
    for protocol, of_base in (("paper", "paper"), ("released", "frozen+regrown")):
        one = results.on(claims.gain_by_pruning("low"), protocol)
        found = accuracies(UNPRUNED, protocol=protocol)
        found |= accuracies(UNPRUNED, protocol=of_base)
        cells = ("low", 0.1, 0.8), ("low", 0.1, 0.0), ("base", 1.0, 0.8), ("base", 1.0, 0.0)
        low, low_unpruned, base, base_unpruned = (found[cell] for cell in cells)
        seeds = sorted(set.intersection(*(set(found[cell]) for cell in cells)))
        expected = [low[seed] - base[seed] - (low_unpruned[seed] - base_unpruned[seed]) for seed in seeds]
        assert one.estimate.values == pytest.approx(expected)
        runs = [run for run in report.load_runs([str(UNPRUNED)]) if report.serves(run, protocol)]
        noise = report.pooled_noise(runs).run
        quantile = scipy.stats.t.ppf(0.975, noise.df)
        assert one.estimate.half_width == pytest.approx(quantile * noise.sigma * (4 / len(seeds)) ** 0.5)


def test_two_trainings_of_one_network_are_no_pair():
    """The unpruned baseline of seed 0 becomes another network before pruning."""
    runs = report.load_runs([str(UNPRUNED)])
    changed = []
    for one in runs:
        is_other = (one.order, one.prune_ratio, one.seed) == ("base", 0, 0)
        changed.append(one._replace(dense=one.dense + is_other))
    for contrast, lost in ((claims.gain_by_pruning("low"), 1), (claims.less(claims.CIFAR100, "low", "base"), 0)):
        before, after = (claims.estimated(contrast, claims.table_of(of, "paper")).values for of in (runs, changed))
        assert len(before) - len(after) == lost


def test_across_the_board_is_as_sure_as_the_least_sure_cell(results):
    words = "low, high less base, each of nine cells"
    text = judgement(results.judgements, 11, words, "paper")
    program = judgement(results.judgements, 11, words, "released")
    assert text.verdict == "opposite"
    assert text.count.startswith("0 of 18 above 0")
    found = accuracies(RELEASED)
    gains = {
        (order, cell): by_seed(found, order, "base", [cell], (0, 1, 2)) for order in ("low", "high") for cell in NINE
    }
    above = sum(statistics.fmean(gain) > 0 for gain in gains.values())
    assert program.count.startswith(f"{above} of 18 above 0")
    least = min(gains.values(), key=lambda gain: abs(statistics.fmean(gain)))
    assert program.estimate.values == pytest.approx(least)


def test_hard_classes_count_each_baseline_once(results):
    """A baseline that was pruned five times is one network."""
    (table,) = [t for t in results.tables if (t.network, t.protocol) == (claims.FCNET, "paper")]
    dense = {}
    with open(RESULTS / "fcnet-mnist-paper.csv", newline="") as file:
        for row in csv.DictReader(file):
            if row["order"] == "base" and row["classes"]:
                dense[row["seed"]] = [float(accuracy) for accuracy in row["classes"].split()[:10]]
    worst = np.argsort(np.mean(list(dense.values()), 0))[:2]
    assert sorted(claims.hard_classes(table.experiment)) == sorted(worst)


def test_published_numbers_are_the_authors():
    with open(ROOT / "tests" / "data" / "published_accuracies.csv", newline="") as file:
        rows = [row for row in csv.DictReader(file) if (row["model"], row["dataset"]) == ("resnet18", "CIFAR100")]
    cells = {(float(row["data_ratio"]), float(row["prune_ratio"])): row for row in rows}
    for order in ("low", "high"):
        gains = [float(cells[cell][f"{order}_finetuned"]) - float(cells[cell]["base_finetuned"]) for cell in NINE]
        contrast = claims.less(claims.CIFAR100, order, "base", NINE)
        assert claims.published_estimate(contrast).mean == pytest.approx(statistics.fmean(gains))
    assert claims.published_estimate(claims.less(claims.CIFAR100, "random", "base", NINE)) is None


def test_published_last_three_epochs_are_told_only_where_the_authors_logged_them():
    with open(ROOT / "tests" / "data" / "published_curves.csv", newline="") as file:
        logged = {(row["model"].lower(), row["dataset"]) for row in csv.DictReader(file)}
    assert len(logged) == 4
    for network in claims.NAMES:
        for contrast in claims.both(network, measure=claims.LAST_THREE):
            assert (claims.published_in_words(contrast) != "-") == (network in logged)


def best_epochs(path):
    """{(order, data ratio, prune ratio, seed): best accuracy of fine-tuning} of a csv."""
    best = {}
    with open(path, newline="") as file:
        for r in csv.DictReader(file):
            cell = r["order"], float(r["data_ratio"]), float(r["prune_ratio"])
            best[(*cell, int(r["seed"]))] = max(map(float, r["curve"].split()[1:]))
    return best


def test_published_gain_is_there_with_nothing_pruned_and_smaller_at_the_best_epoch(results):
    """Two findings, from the csv files as text."""
    unpruned = pages.gains_by_ratio([0])
    with open(ROOT / "tests" / "data" / "published_accuracies.csv", newline="") as file:
        rows = [row for row in csv.DictReader(file) if (row["model"], row["dataset"]) == ("resnet18", "CIFAR100")]
    for order, told in zip(("low", "high"), unpruned, strict=True):
        ends = [(row[f"{order}_finetuned"], row["base_finetuned"]) for row in rows if float(row["prune_ratio"]) == 0]
        values = [float(one) - float(base) for one, base in ends]
        reach = np.subtract(*scipy.stats.ttest_1samp(values, 0).confidence_interval()[::-1]) / 2
        assert told == f"{statistics.fmean(values):+.2f} ± {reach:.2f}"
    with open(ROOT / "tests" / "data" / "published_curves.csv", newline="") as file:
        curves = {}
        for row in csv.DictReader(file):
            if (row["model"], row["dataset"]) == ("resnet18", "CIFAR100"):
                cell = row["order"], (float(row["data_ratio"]), float(row["prune_ratio"]))
                curves[cell] = [float(row[f"epoch{epoch}"]) for epoch in range(1, 11)]
    best = [max(curves["low", cell]) - max(curves["base", cell]) for cell in NINE]
    shown = [statistics.fmean(best)]
    for path in (TEXT, RELEASED):
        ours = best_epochs(path)
        gains = [ours["low", d, p, s] - ours["base", 1.0, p, s] for (d, p), s in itertools.product(NINE, range(3))]
        shown.append(statistics.fmean(gains))
    row = " | ".join(f"{gain:+.2f}" for gain in shown)
    assert f"| best epoch of each network | {row} |" in pages.curves_block(results)


def test_published_scores_are_a_binomial_draw():
    every = study.published_scores(ROOT / "tests" / "data" / "published_scores.csv")
    assert len(every) == 5
    for one in every:
        if one.network[1] != "MNIST":
            differ = 1 - 1 / (100 if one.network[1] == "CIFAR100" else 10)
            assert one.chance[:10] == pytest.approx(scipy.stats.binom(9, differ).pmf(range(10)))
        assert max(one.distances) < study.CHANCE
    assert study.scores_title(every) == "The published scores are what chance alone would give, whatever the network"
    learned = every[0]._replace(shares=np.roll(every[0].shares, -5))
    assert "beside" in study.scores_title([learned, *every])


# ----------------------------------------------------------------------------------------------- the command line


def verdicts_in(told, contrast):
    """{protocol: verdict} that a text of claims gives of a contrast."""
    _, below = told.split(f": {contrast}\n")
    lines = itertools.takewhile(lambda line: line.startswith("    "), below.splitlines())
    return {line[4:14].strip(): line[14:24].strip() for line in lines}


@pytest.mark.parametrize("files", [[TEXT, RELEASED], sorted(RESULTS.glob("*.csv"))], ids=["two", "all"])
def test_text_of_claims_fits_a_terminal_and_has_what_markdown_has(files):
    text = run("tests/study.py", "claims", *files)
    assert max(map(len, text.splitlines())) <= 80
    markdown = run("tests/study.py", "claims", *files, "--format", "markdown")
    rows = [line.strip("| ").split(" | ") for line in markdown.splitlines() if line.startswith("|")][2:]
    words = " ".join(text.split())
    for _, network, compared, _, published, protocol, measured, p, verdict in (map(str.strip, row) for row in rows):
        assert f"{network}: {compared} published claimed" in words and published in words
        assert f"{protocol} {verdict} p {p} {measured}" in words


def test_anybodys_csv_is_judged_by_the_same_list():
    told = run("tests/study.py", "claims", RELEASED, TEXT)
    verdicts = {"published": "claimed +", "paper": "opposite", "released": "holds"}
    assert verdicts_in(told, "low less base, nine cells") == verdicts
    assert "LeNet" not in told


def test_a_checkpoint_is_judged_too(chain):
    """A single coreset network has no baseline to compare with."""
    told = run("tests/study.py", "claims", chain / "hold.pt")
    assert verdicts_in(told, "high less random") == {"published": "claimed +", "paper": "not run"}


def test_one_seed_of_every_cell_leaves_the_claim_of_each_open(tmp_path):
    runs = [one for one in report.load_runs([str(RELEASED)]) if one.seed == 0]
    (tmp_path / "one.csv").write_text(report.write_csv(runs))
    table = claims.table_of(runs, "released")
    gain, count = claims.weighed(claims.EVERY_CELL, table)
    found = accuracies(RELEASED)
    gains = [by_seed(found, order, "base", [cell], [0])[0] for order in ("low", "high") for cell in NINE]
    assert count == f"{sum(one > 0 for one in gains)} of 18 above 0, nearest 0 "
    assert gain.values == pytest.approx([min(gains, key=abs)])
    told = run("tests/study.py", "claims", tmp_path / "one.csv")
    assert verdicts_in(told, "low, high less base, each of nine cells")["released"] == "open"


def test_pairs_of_two_machines_are_marked_and_come_after_others(tmp_path):
    """The same runs twice, in one of them seed 1's baseline on another machine."""
    runs = report.load_runs([str(TEXT)])
    mixed = []
    for one in runs:
        elsewhere = (one.order, one.seed) == ("base", 1)
        mixed.append(one._replace(machine=f"another {one.machine}" if elsewhere else one.machine))
    paths = {}
    for name, of_file in (("alike", runs), ("mixed", mixed)):
        paths[name] = tmp_path / f"{name}.csv"
        paths[name].write_text(report.write_csv(of_file))
    texts = {}
    for names in (("alike",), ("mixed",), ("mixed", "alike")):
        told = run("tests/study.py", "claims", *(paths[name] for name in names))
        _, below = told.split(": low less base, nine cells\n")
        texts[names] = next(line for line in below.splitlines() if line.startswith("    paper"))
        assert ("†: in a seed, networks that are compared ran on two machines" in told) == (names == ("mixed",))
    assert "†" in texts["mixed",]
    assert "†" not in texts["alike",]
    assert texts["mixed", "alike"] == texts["alike",]


def test_the_mark_of_two_machines_goes_by_the_seeds_that_count():
    """Of the unpruned file, seed 1's low runs go elsewhere; then its unpruned one is of another training, too."""
    runs = report.load_runs([str(UNPRUNED)])
    contrast = claims.pruned_less_unpruned(claims.CIFAR100, "low")
    for changes, marked in (({}, True), ({"dense": 1.0}, False)):
        moved = []
        for one in runs:
            is_it = (one.order, one.prune_ratio, one.seed) == ("low", 0, 1)
            moved.append(one._replace(machine="another", **changes) if is_it else one)
        assert claims.is_mixed(contrast, claims.table_of(moved, "paper")) == marked
    assert not claims.is_mixed(contrast, claims.table_of(runs, "paper"))


def test_cells_of_two_machines_are_marked_only_where_their_baselines_are_of_another():
    """All of 40 % on another machine is no mixed pair; a coreset alone is, of that cell and of every one."""
    runs = [one for one in report.load_runs([str(TEXT)]) if one.order in ("base", "low", "high")]
    mean = claims.less(claims.CIFAR100, "low", "base", NINE)
    for orders, marked in ((("base", "low", "high"), False), (("low",), True)):
        moved = []
        for one in runs:
            elsewhere = one.prune_ratio == 0.4 and one.order in orders
            moved.append(one._replace(machine="another") if elsewhere else one)
        lost = [one for one in moved if one.seed != 2 or one.order != "low" or one.prune_ratio != 0.8]
        assert claims.is_mixed(mean, claims.table_of(moved, "paper")) == marked
        assert claims.is_mixed(claims.EVERY_CELL, claims.table_of(lost, "paper")) == marked


def test_two_seeds_leave_a_claim_open(tmp_path):
    runs = report.load_runs([str(RELEASED)])
    (tmp_path / "two.csv").write_text(report.write_csv([run for run in runs if run.seed < 2]))
    told = run("tests/study.py", "claims", tmp_path / "two.csv")
    assert verdicts_in(told, "low less base, nine cells")["released"] == "open"


def test_runs_that_no_claim_is_about_are_refused(tmp_path):
    runs = [run._replace(model="resnet34") for run in report.load_runs([str(RELEASED)])]
    (tmp_path / "other.csv").write_text(report.write_csv(runs))
    assert "no claim of the paper is about" in refusal("tests/study.py", "claims", tmp_path / "other.csv")


def words_of(svg):
    return ["".join(e.itertext()).strip() for e in ElementTree.parse(svg).iter() if e.tag.endswith("}text")]


def with_ends(path, out, change):
    """A copy of a csv whose runs end otherwise; change: (Run) -> points to add after fine-tuning."""
    runs = []
    for one in report.load_runs([str(path)]):
        ends = [one.pruned, *(accuracy + change(one) for accuracy in one.accuracies[1:])]
        runs.append(one._replace(curve=report.numbers(ends)))
    out.write_text(report.write_csv(runs))
    return out


def coreset_up(one):
    return 0.0 if one.order == "base" else 12.0


def test_forest_says_what_its_means_say(tmp_path):
    pytest.importorskip("matplotlib")
    run("tests/study.py", "forest", TEXT, RELEASED, "--out", tmp_path / "forest.svg")
    assert "The published gain comes back with the authors' program, not with the paper's text" in words_of(
        tmp_path / "forest.svg"
    )
    other = with_ends(TEXT, tmp_path / "text.csv", coreset_up)
    run("tests/study.py", "forest", other, RELEASED, "--out", tmp_path / "other.svg")
    title = "By the paper's text and as released, coresets beat the baseline"
    assert title in words_of(tmp_path / "other.svg")


def test_why_says_what_its_gains_say(tmp_path):
    pytest.importorskip("matplotlib")
    run("tests/study.py", "why", ABLATION, "--out", tmp_path / "why.svg")
    whys = study.whys_shown(study.whys_of([str(ABLATION)]))
    assert study.why_title(whys) in words_of(tmp_path / "why.svg")
    other = with_ends(ABLATION, tmp_path / "text.csv", coreset_up)
    run("tests/study.py", "why", other, "--out", tmp_path / "other.svg")
    assert "What two departures of the program do to the coreset's gain" in words_of(tmp_path / "other.svg")


def test_why_takes_no_other_protocol_for_as_released(tmp_path):
    """Low and high under both departures alone are not the program's; a random coreset is."""
    runs = []
    for one in report.load_runs([str(ABLATION)]):
        runs.append(one._replace(protocol="frozen+regrown") if one.protocol == "released" else one)
    (tmp_path / "x.csv").write_text(report.write_csv(runs))
    assert [why.order for why in study.whys_shown(study.whys_of([str(tmp_path / "x.csv")]))] == ["random"]


def test_why_shows_low_and_high_when_they_have_three_seeds(tmp_path):
    """Runs under frozen and regrown made up from those of paper and released."""
    runs = report.load_runs([str(TEXT)]) + report.load_runs([str(RELEASED)])
    cell = [run for run in runs if run.prune_ratio == 0.8 and run.data_ratio in (0.1, 1.0)]
    cell = [run for run in cell if run.order in ("base", "low", "high")]
    names = {"paper": "frozen", "released": "regrown", "frozen+regrown": "regrown"}
    made_up = [run._replace(protocol=names[run.protocol]) for run in cell]
    (tmp_path / "both.csv").write_text(report.write_csv(cell + made_up))
    whys = study.whys_shown(study.whys_of([str(tmp_path / "both.csv")]))
    assert [(why.order, why.seeds) for why in whys] == [("low", (0, 1, 2)), ("high", (0, 1, 2))]
    found = accuracies(TEXT)
    gain = statistics.fmean(by_seed(found, "low", "base", [(0.1, 0.8)], (0, 1, 2)))
    assert whys[0].gains["trains", "stay zero"].mean == pytest.approx(gain)


def test_controls_say_what_their_differences_say(tmp_path):
    pytest.importorskip("matplotlib")
    run("tests/study.py", "controls", TEXT, "--out", tmp_path / "controls.svg")
    title = "No coreset of 10 % is shown to end above a network pruned untrained; all data, as briefly, is"
    assert title in words_of(tmp_path / "controls.svg")
    other = with_ends(TEXT, tmp_path / "text.csv", lambda one: 3.0 if one.order == "low" else 0.0)
    run("tests/study.py", "controls", other, "--out", tmp_path / "other.svg")
    assert "Above a network pruned untrained end low" in words_of(tmp_path / "other.svg")


def test_pictures_refuse_what_they_cannot_show(tmp_path):
    out = tmp_path / "x.svg"
    digits = RESULTS / "lenet-mnist-released.csv"
    other = RESULTS / "fcnet-mnist-released.csv"
    assert "LeNet, MNIST" in refusal("tests/study.py", "forest", digits, other, "--out", out)
    assert "a picture needs a file" in refusal("tests/study.py", "forest", TEXT)
    assert "this picture takes runs under" in refusal("tests/study.py", "why", TEXT, "--out", out)
    assert "untrained" in refusal("tests/study.py", "controls", ABLATION, "--out", out)
    controls = [one for one in report.load_runs([str(TEXT)]) if one.order in ("base", "random")]
    (tmp_path / "x.csv").write_text(report.write_csv(controls))
    assert "low or high" in refusal("tests/study.py", "forest", tmp_path / "x.csv", "--out", out)
    runs = report.load_runs([str(TEXT)])
    no_baseline = [one for one in runs if one.order != "base"]
    (tmp_path / "x.csv").write_text(report.write_csv(no_baseline))
    assert "of the baseline" in refusal("tests/study.py", "controls", tmp_path / "x.csv", "--out", out)
    no_magnitude = [one._replace(method="global") for one in report.load_runs([str(ABLATION)])]
    (tmp_path / "x.csv").write_text(report.write_csv(no_magnitude))
    assert "this picture takes runs under" in refusal("tests/study.py", "why", tmp_path / "x.csv", "--out", out)
    assert not out.exists()


def test_published_scores_of_one_network_are_a_picture(tmp_path):
    lines = (ROOT / "tests" / "data" / "published_scores.csv").read_text().splitlines(keepends=True)
    (tmp_path / "x.csv").write_text("".join(lines[:2]))
    run("tests/study.py", "scores", tmp_path / "x.csv", "--out", tmp_path / "x.svg")
    assert "Bars: share of samples, published." in " ".join(words_of(tmp_path / "x.svg"))


def test_pictures_name_the_network_that_they_show(tmp_path):
    run("tests/study.py", "why", RESULTS / "lenet-mnist-ablation.csv", "--out", tmp_path / "why.svg")
    assert "LeNet, MNIST, 10 % of the data" in " ".join(words_of(tmp_path / "why.svg"))
    runs = [one._replace(model="resnet34") for one in report.load_runs([str(TEXT)])]
    (tmp_path / "x.csv").write_text(report.write_csv(runs))
    for picture in ("forest", "controls"):
        run("tests/study.py", picture, tmp_path / "x.csv", "--out", tmp_path / "x.svg")
        assert "resnet34, CIFAR100" in " ".join(words_of(tmp_path / "x.svg"))


def with_recipe(path, copy, lr):
    """A copy of a csv whose networks were all trained with another learning rate."""
    text = path.read_text()
    assert "lr 0.001" in text
    copy.write_text(text.replace("lr 0.001", f"lr {lr}"))
    return copy


def test_published_numbers_stand_beside_the_same_experiment_alone(tmp_path):
    other = with_recipe(RELEASED, tmp_path / "other.csv", 0.01)
    ours = run("tests/study.py", "claims", RELEASED)
    told = run("tests/study.py", "claims", other)
    assert "+1.72" in ours and "+1.72" not in told
    assert "lr 0.001, batch size 64" in " ".join(ours.split()) and "lr 0.01, batch size 64" in " ".join(told.split())
    run("tests/study.py", "forest", other, "--out", tmp_path / "x.svg")
    assert "published" not in " ".join(words_of(tmp_path / "x.svg")).lower()
    err = refusal("tests/study.py", "claims", RELEASED, other)
    assert "other.csv" in err and "disagree in first_training" in err


# ---------------------------------------------------------------------------------------------------- the blocks


def page_of(blocks):
    return "\n".join(f"<!-- made by make results: {name} -->\nold\n<!-- end -->\n" for name in blocks)


@pytest.fixture(scope="module")
def remade(tmp_path_factory):
    """(the page with every block, its text made from tests/results)."""
    page = tmp_path_factory.mktemp("page") / "README.md"
    page.write_text("# Title\n\n" + page_of(pages.BLOCKS))
    run("tests/pages.py", page)
    return page, page.read_text()


def test_blocks_made_again_are_the_same(remade):
    page, text = remade
    assert "old" not in text.split("\n")
    run("tests/pages.py", page)
    assert page.read_text() == text


def test_sentences_of_blocks_are_short(remade):
    """At most 15 words, wherever code writes a sentence."""
    _, text = remade
    prose = [line for line in text.splitlines() if line and line[0] not in "|#<` "]
    prose = [line for line in prose if not line.startswith("make ")]
    assert prose
    for line in prose:
        assert len(line.split()) <= 15, line


@pytest.mark.parametrize(
    ("change", "protocols"),
    [
        ("frozen BatchNorm alone", {"base": "frozen", "low": "frozen", "high": "frozen"}),
        ("weights that grow back alone", {"base": "regrown", "low": "regrown", "high": "regrown", "random": "regrown"}),
        ("as released", {"base": "frozen+regrown", "low": "released", "high": "released", "random": "regrown"}),
    ],
)
def test_what_departures_move_is_that_of_the_runs(remade, change, protocols):
    _, text = remade
    words = []
    for order, protocol in protocols.items():
        cell = order, 1.0 if order == "base" else 0.1, 0.8
        before, after = accuracies(ABLATION, protocol="paper")[cell], accuracies(ABLATION, protocol=protocol)[cell]
        moved = [after[seed] - before[seed] for seed in sorted(before)]
        reach = scipy.stats.ttest_1samp(moved, 0).confidence_interval(0.95)
        half_width = (reach.high - reach.low) / 2
        same_sign = sum((one > 0) == (statistics.fmean(moved) > 0) for one in moved)
        words.append(f"{statistics.fmean(moved):+.2f} ± {half_width:.2f} ({same_sign}/{len(moved)})")
    if "random" not in protocols:
        words.append("0, the same runs")
    assert f"| {change} | {' | '.join(words)} |" in text


def test_a_changed_csv_changes_page_verdict_and_answer(remade, tmp_path):
    page, text = remade
    folder = tmp_path / "results"
    shutil.copytree(RESULTS, folder)
    with_ends(RELEASED, folder / RELEASED.name, lambda one: -6.0 if one.order in ("low", "high") else 0.0)
    other = tmp_path / "README.md"
    shutil.copy(page, other)
    run("tests/pages.py", other, "--results", folder)
    by_the_text = "**By the paper's text, coresets end 5.3 to 5.7 points below the baseline.**\n"
    program = "**With the authors' program, they end {} the baseline.**"
    assert by_the_text + program.format("1.2 to 1.5 points above") in text
    assert by_the_text + program.format("4.5 to 4.8 points below") in other.read_text()
    before, after = (
        [line for line in one.splitlines() if line.startswith("| [1](#claim-1)")] for one in (text, other.read_text())
    )
    assert "**holds**" in before[0] and after[0].count("**opposite**") == 2


def test_an_order_that_a_pruning_method_lacks_moves_no_column(tmp_path):
    """Nor does another prune ratio or protocol add lines that look alike."""
    runs = report.load_runs([str(RESULTS / "lenet-mnist-pruning-ablation.csv")])
    held = [one for one in runs if (one.method, one.order) != ("channels", "low")]
    held += [one._replace(prune_ratio=0.6) for one in runs if one.method in ("magnitude", "global")]
    held += [one._replace(protocol="regrown") for one in runs if one.method in ("magnitude", "random")]
    tables = []
    for of_file in (runs, held):
        (tmp_path / "x.csv").write_text(report.write_csv(of_file))
        tables.append(pages.methods_block(pages.Results(tmp_path)).splitlines())
    whole, lacking = tables
    (row,) = [line for line in whole if line.startswith("| channels")]
    fields = row.split(" | ")
    assert whole[0] == "| LeNet, MNIST, by the text | base | low | high | random |"
    assert lacking == [" | ".join([*fields[:2], "-", *fields[3:]]) if line == row else line for line in whole]


def test_results_of_two_experiments_make_no_page(tmp_path):
    shutil.copy(RELEASED, tmp_path / "a.csv")
    with_recipe(RELEASED, tmp_path / "b.csv", 0.01)
    (tmp_path / "README.md").write_text(page_of(["answer"]))
    err = refusal("tests/pages.py", tmp_path / "README.md", "--results", tmp_path)
    assert "b.csv" in err and "disagree in first_training" in err


def test_a_block_that_nothing_makes_is_refused(tmp_path):
    page = tmp_path / "README.md"
    page.write_text(page_of(["no-such"]))
    assert "no block is called no-such" in refusal("tests/pages.py", page)
    page.write_text("<!-- made by make results: answer -->\nold\n")
    assert "does not end" in refusal("tests/pages.py", page)
    assert page.read_text().endswith("old\n")


def test_commands_of_the_provenance_name_every_run(results):
    """What make would list, written out: protocol, order, ratios, seed."""
    for name, runs in results.files.items():
        if "pruning" in name or "reused" in name:
            continue
        listed = set()
        for line in pages.commands_of(runs):
            knobs = {"PROTOCOL": "paper", "DATA_RATIOS": "0.1 0.2 0.3", "PRUNE_RATIOS": "0.4 0.6 0.8"}
            knobs |= {"ORDERS": "low high", "SEEDS": "0"}
            for word in shlex.split(line):
                key, _, value = word.partition("=")
                knobs[key] = value
            ratios = itertools.product(knobs["DATA_RATIOS"].split(), knobs["PRUNE_RATIOS"].split())
            for (d, p), seed in itertools.product(ratios, knobs["SEEDS"].split()):
                for order in ("base", *knobs["ORDERS"].split()):
                    ratio = report.DATA_RATIO_OF.get(order, float(d))
                    protocol = report.relevant_protocol(knobs["PROTOCOL"], order)
                    listed.add((protocol, order, ratio, float(p), int(seed)))
        held = {(one.protocol, one.order, one.data_ratio, one.prune_ratio, one.seed) for one in runs}
        assert held == listed, name


def test_a_long_command_breaks_between_knobs(results):
    """As bash reads it."""
    commands = list(itertools.chain(*map(pages.commands_of, results.files.values())))
    shown = list(map(pages.in_short_lines, commands))
    assert any("\n" in text for text in shown)
    assert max(len(line) for text in shown for line in text.splitlines()) <= 120
    script = "".join(f"printf '%s\\n' {text}\n" for text in shown)
    words = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True).stdout.splitlines()
    assert words == list(itertools.chain(*map(shlex.split, commands)))
