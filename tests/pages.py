"""Write the blocks of the pages anew from the csv files of the results.

    python tests/pages.py README.md tests/results/README.md

A block begins with <!-- made by make results: NAME --> and ends with
<!-- end -->. No number in a block is typed by hand.
"""

import itertools
import math
import re
import signal
import statistics
import sys
import textwrap
from collections import Counter
from pathlib import Path

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends the program without a traceback, while it loads, too
    sys.path.insert(0, str(Path(__file__).resolve().parent))  # python -P leaves it out
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from claims import (
    AT_THE_END,
    CELL,
    CIFAR10,
    CIFAR100,
    CLAIMS,
    LAST_THREE,
    LENET,
    NAMES,
    PROTOCOLS,
    PRUNED,
    RESNET50,
    TABLE1,
    cells_of,
    estimate_in_words,
    estimated,
    judged,
    judgement_on,
    less,
    published_by,
    published_estimate,
    published_in_words,
    share_kept,
    shared_by_network,
    tables_of,
)
from report import (
    DEPARTURES,
    METHOD_IN_PATH,
    Estimate,
    experiments_of,
    in_order,
    load_runs,
    mean_and_interval,
    noises_of,
    paired_half_width,
    seconds_of,
    serves,
    title,
)
from study import SCORE_FILES, WHY, method_rows, published_scores, why_title, whys_of, whys_shown
from train import Parser, fail, replacing

ROOT = Path(__file__).resolve().parent.parent
BLOCK = re.compile(r"(<!-- made by make results: ([a-z0-9-]+) -->\n)(.*?)(<!-- end -->)", re.S)

MOST_IMPORTANT = (1, 2, 13, 8, 7, 5, 4, 16, 18, 17)  # claims of the front page
REPOSITORY = "https://github.com/VigneshPreetham/CS-260D_DropHot/blob/e4965a8/"


class Results:
    """The csv files of a folder, and what the claims come to on them."""

    def __init__(self, folder):
        self.folder = Path(folder)
        self.files = {path.name: load_runs([str(path)]) for path in sorted(self.folder.glob("*.csv"))}
        if not self.files:
            fail(f"{folder} has no csv files of `report.py runs`")
        self.tables = tables_of([str(self.folder / name) for name in self.files])
        shared_by_network(self.tables)  # which refuses files of two experiments
        self.judgements = judged(self.tables)

    def path(self, name):
        return str(self.folder / name)

    def of_claim(self, number, protocol):
        """[Judgement] of the primary contrasts of a claim."""
        return [one for one in self.judgements if one.claim.number == number and one.protocol == protocol]

    def on(self, contrast, protocol):
        """The Judgement of secondary evidence, which has no verdict."""
        return judgement_on(None, contrast, protocol, self.tables)

    def table(self, network, protocol):
        """The largest Table of a network under a protocol, or None."""
        tables = [table for table in self.tables if (table.network, table.protocol) == (network, protocol)]
        return max(tables, key=lambda table: len(table.experiment.runs), default=None)


def markdown(titles, rows, left=1):
    """A table in markdown; the first columns are flush left, the others right."""
    rule = [":--"] * left + ["--:"] * (len(titles) - left)
    lines = [f"| {' | '.join(fields)} |" for fields in (titles, rule, *rows)]
    return "\n".join(lines) + "\n"


# --------------------------------------------------------------------------------------------------------- claims


def answer(results):
    """The answer to the paper's main claim, a sentence for each protocol."""
    text, program = (ends_in_words(results, protocol) for protocol in PROTOCOLS)
    return f"**By the paper's text, coresets {text}.**\n**With the authors' program, they {program}.**\n"


def ends_in_words(results, protocol):
    """Where low and high coresets end in the mean of Table 1, where the rule says that they differ."""
    judgements = results.of_claim(1, protocol)
    verdicts = {one.verdict for one in judgements}
    if verdicts == {"not run"}:
        return "were not run"
    if len(verdicts) > 1 or verdicts == {"open"}:
        return "show nothing sure"
    means = sorted(abs(one.estimate.mean) for one in judgements)
    points = f"{means[0]:.1f} to {means[-1]:.1f} points"
    ends = {"holds": f"end {points} above", "opposite": f"end {points} below", "no effect": "end level with"}
    return f"{ends[verdicts.pop()]} the baseline"


def claims_block(results):
    """Every claim: published, by the text, as released, and the verdicts."""
    titles = ["", "the paper says (section)", "compared", "published", "by the text", "", "as released", ""]
    rows = []
    for claim in CLAIMS:
        name = f"[{claim.number}](#claim-{claim.number})"
        words = f"{claim.words} ({claim.section})"
        for compared, published, *decided in decisions(results, claim):
            rows.append([name, words, compared, published, *decided])
            name, words = "", ""
    return markdown(titles, rows, left=3)


def decisions(results, claim):
    """[[compared, published, by the text, verdict, as released, verdict]] of a claim."""
    if claim.remark:
        return [[claim.remark, "", "", "", "", ""]]
    if claim.follows:
        seen = [f"as claim {claim.follows}", ""]
        for protocol in PROTOCOLS:
            seen += ["", f"**{verdict_that_follows(results, claim.follows, protocol)}**"]
        return [seen]
    if claim.counted:
        row = ["by construction", ""]
        for protocol in PROTOCOLS:
            count, verdict = counted(results, claim, protocol)
            row += [count, f"**{verdict}**"]
        return [row]
    rows = []
    for contrast in claim.contrasts:
        row = [compared_in_words(contrast), published_in_words(contrast)]
        for protocol in PROTOCOLS:
            judgement = next(one for one in results.of_claim(claim.number, protocol) if one.contrast == contrast)
            row += [judgement.text, f"**{judgement.verdict}**"]
        rows.append(row)
    return rows


def compared_in_words(contrast):
    """What a contrast compares; the network where it is not ResNet18 on CIFAR-100."""
    return contrast.words if contrast.network == CIFAR100 else f"{SHORT[contrast.network]}: {contrast.words}"


SHORT = {network: name.split(",")[0] for network, name in NAMES.items()}
SHORT |= {CIFAR10: "ResNet18 on CIFAR-10", RESNET50: "ResNet50 on CIFAR-10"}
FOLLOWING = {"holds": "holds", "no effect": "holds", "opposite": "fails"}


def verdict_that_follows(results, number, protocol):
    """Accuracy is competitive where coresets gain, or change nothing; it is not where they lose."""
    verdicts = {FOLLOWING.get(one.verdict, one.verdict) for one in results.of_claim(number, protocol)}
    return verdicts.pop() if len(verdicts) == 1 else "open"


def counted(results, claim, protocol):
    """(count in words, verdict) of a claim that needs no test."""
    table = results.table(CIFAR100, protocol)
    return (table and claim.counted(table)) or ("-", "not run")


def headlines(results):
    """The most important claims for the front page, a line each."""
    by_number = {claim.number: claim for claim in CLAIMS}
    rows = []
    for number in MOST_IMPORTANT:
        claim = by_number[number]
        words = claim.words[0].upper() + claim.words[1:]
        if len({contrast.measure for contrast in claim.contrasts}) > 1:
            words += f", {AT_THE_END.words}"
        row = [f"[{words}](tests/results/README.md#claim-{number})"]
        row += [headline(results, claim, protocol) for protocol in PROTOCOLS]
        rows.append(row)
    return markdown(["the paper says", "by the text", "as released"], rows, left=3)


def headline(results, claim, protocol):
    """The verdicts on a claim, each with what it is of."""
    if claim.counted:
        count, verdict = counted(results, claim, protocol)
        return f"**{verdict}**: {count}" if count != "-" else verdict
    judgements = results.of_claim(claim.number, protocol)
    judgements = [one for one in judgements if one.contrast.measure == AT_THE_END] or judgements
    parts = []
    for verdict in ("holds", "opposite", "no effect", "fails", "open", "not run"):
        if any(one.verdict == verdict for one in judgements):
            told = [told_briefly(of_network, verdict, judgements) for of_network in by_network(judgements)]
            told = ", ".join(filter(None, told))
            parts.append(f"**{verdict}**: {told}" if told else f"**{verdict}**")
    return "; ".join(parts)


def by_network(judgements):
    """[[Judgement] of each network]."""
    networks = {}
    for judgement in judgements:
        networks.setdefault(judgement.contrast.network, []).append(judgement)
    return list(networks.values())


def told_briefly(of_network, verdict, judgements):
    """The contrasts of one network with a verdict, "" where there is none or nothing to add.

    Estimates are told where they decide, or where the claim is of this network alone.
    """
    alike = [one for one in of_network if one.verdict == verdict]
    alone = len(of_network) == len(judgements)
    words = []
    for one in alike:
        order = one.contrast.words.split(",")[0].removesuffix(" less base")
        if one.estimate and (alone or verdict in ("holds", "opposite", "fails")):
            words.append(f"{order} {estimate_in_words(one.estimate, count_seeds=False)}")
        elif len(alike) < len(of_network):
            words.append(order)
    name = SHORT[of_network[0].contrast.network] if alike and not alone else ""
    return " ".join(filter(None, [name, ", ".join(words)]))


def section_of(claim):
    """The block of one claim: its primary contrasts with their verdicts, then the evidence."""

    def block(results):
        titles = ["compared", "published", "by the text", "", "as released", ""]
        rows = decisions(results, claim)
        for contrast in claim.evidence:
            judgements = [results.on(contrast, protocol) for protocol in PROTOCOLS]
            if any(judgement.estimate for judgement in judgements):
                row = [compared_in_words(contrast), published_in_words(contrast)]
                for judgement in judgements:
                    row += [judgement.text, ""]
                rows.append(row)
        return markdown(titles, rows)

    return block


# ------------------------------------------------------------------------------------------------ Table 1 and why


def table1(results):
    """Table 1: published, by the text and as released, side by side."""
    titles = ["data", "pruned"]
    for order in ("low", "high"):
        titles += [f"{order}: published", "by the text", "as released"]
    rows = []
    for cells in (*((cell,) for cell in TABLE1), TABLE1):
        row = ["mean", ""] if cells == TABLE1 else [f"{100 * ratio:g} %" for ratio in cells[0]]
        for order in ("low", "high"):
            contrast = less(CIFAR100, order, "base", cells)
            row.append(published_in_words(contrast))
            estimates = [results.on(contrast, protocol).estimate for protocol in PROTOCOLS]
            row += [estimate_in_words(estimate, count_seeds=False) for estimate in estimates]
        rows.append(row)
    return markdown(titles, rows, left=0) + "\n" + baselines(results)


def baselines(results):
    """The baseline's accuracies beside Table 1's; the authors trained one for every data ratio."""
    rows = []
    for prune_ratio in PRUNED:
        theirs = [published_by(CIFAR100).at("base", data_ratio, prune_ratio)[0].end() for data_ratio in (0.1, 0.2, 0.3)]
        row = [f"{100 * prune_ratio:g} %", f"{statistics.fmean(theirs):.2f}"]
        for protocol in PROTOCOLS:
            table = results.table(CIFAR100, protocol)
            runs = table.experiment.at("base", 1.0, prune_ratio).values() if table else []
            row.append(f"{statistics.fmean(run.end() for run in runs):.2f}" if runs else "-")
        rows.append(row)
    return markdown(["the baseline itself, %: pruned", "published", "by the text", "as released"], rows, left=0)


def whys(results):
    """{order: Why}, from the csv with the most runs that has ResNet18 on CIFAR-100 under all four protocols."""
    known = []
    for name, runs in results.files.items():
        of_network = (runs[0].model, runs[0].dataset) == CIFAR100
        if of_network and set(WHY.values()) <= {run.protocol for run in runs}:
            known.append((len(runs), name))
    if not known:
        fail(f"{results.folder} has no csv with runs under {', '.join(WHY.values())}")
    return whys_of([results.path(max(known)[1])])


def why_block(results):
    """What the two departures do, two by two."""
    shown = whys_shown(whys(results))
    rows = []
    for batchnorm in ("trains", "frozen"):
        row = [f"BatchNorm of the baseline: {batchnorm}"]
        for weights in ("stay zero", "grow back"):
            called = {"paper": " (the text)", "released": " (as released)"}.get(WHY[batchnorm, weights], "")
            gains = [(one.order, one.gains[batchnorm, weights]) for one in shown]
            told = [f"{order} {estimate_in_words(gain, count_seeds=False)}" for order, gain in gains]
            row.append(", ".join(told) + called)
        rows.append(row)
    corner = f"coreset less baseline (10 % of the data, 80 % pruned, {len(shown[0].seeds)} seeds)"
    table = markdown([corner, "pruned weights stay zero", "pruned weights grow back"], rows)
    return f"**{why_title(shown)}.**\n\n{table}"


def ends_block(results):
    """Where the baseline ends under the four protocols, %, each coreset less it, and what the departures move."""
    known = whys(results)
    shown = whys_shown(known)
    beside = [one for one in known.values() if one.seeds == shown[0].seeds]
    rows = []
    for place in WHY:
        base, _ = shown[0].ends[place]
        gains = [estimate_in_words(one.gains[place]) for one in beside]
        rows.append([*place, f"{statistics.fmean(base):.2f}", *gains])
    titles = ["BatchNorm of the baseline", "pruned weights", "base, %", *(f"{one.order} less base" for one in beside)]
    return f"**{why_title(shown)}.**\n\n{markdown(titles, rows, left=2)}\n{moves(beside)}"


def moves(beside):
    """What the departures, alone and together, move the baseline and the coresets of [Why] by."""
    text, frozen, regrown, program = WHY
    changes = {
        "frozen BatchNorm alone": (frozen, text),
        "weights that grow back alone": (regrown, text),
        "as released": (program, text),
        "as released, less frozen BatchNorm alone": (program, frozen),
    }
    rows = []
    for change, (place, other) in changes.items():
        row = [change, moved(beside[0].ends[place][0], beside[0].ends[other][0])]
        row += [moved(one.ends[place][1], one.ends[other][1]) for one in beside]
        rows.append(row)
    return markdown(["points moved by", "base", *(one.order for one in beside)], rows)


def moved(ours, theirs):
    """In words, the mean difference of two tuples of accuracies, by seed, and the ± of its paired t test."""
    if ours == theirs:
        return "0, the same runs"
    values = tuple(one - other for one, other in zip(ours, theirs, strict=True))
    return estimate_in_words(Estimate(values, half_width=paired_half_width(values)))


def gain_block(results):
    """Coreset networks as released less a baseline by the text, which trains BatchNorm and stays pruned."""
    text = results.table(CIFAR100, "paper")
    program = results.table(CIFAR100, "released")
    rows = []
    for order in ("low", "high", "base"):
        values = []
        for seed in program.experiment.seeds if text and program else []:
            gaps = gaps_between(program, text, order, seed)
            if gaps:
                values.append(statistics.fmean(gaps))
        words = mean_and_interval(values) if values else "-"
        rows.append([f"{order} as released less base by the text", words, str(len(values))])
    return markdown(["nine cells, points", "mean", "seeds"], rows)


def gaps_between(program, text, order, seed):
    """[accuracy of an order as released less the baseline's by the text] in Table 1's cells; [] if one is missing."""
    gaps = []
    for cell in TABLE1:
        one = program.experiment.at(order, *cell).get(seed)
        other = text.experiment.at("base", *cell).get(seed)
        if one is None or other is None:
            return []
        gaps.append(one.end() - other.end())
    return gaps


def fit_block(results):
    """How well what was run as released fits what was published."""
    table = results.table(CIFAR100, "released")
    if table is None:
        return "Not run as released.\n"
    gaps = {}
    seeds = []
    for order in ("low", "high"):
        gaps[order] = []
        for cell in TABLE1:
            contrast = less(CIFAR100, order, "base", (cell,))
            ours = estimated(contrast, table)
            if ours:
                gaps[order].append(published_estimate(contrast).mean - ours.mean)
                seeds.append(len(ours.values))
    every = gaps["low"] + gaps["high"]
    if not every:
        return "Not run as released.\n"
    seen = math.sqrt(statistics.fmean(gap**2 for gap in every))
    expected = table.noises[1].run.sigma * math.sqrt(2 + 2 / statistics.fmean(seeds))
    row = [f"{statistics.fmean(gaps[order]):+.2f}" if gaps[order] else "-" for order in ("low", "high")]
    titles = ["published less as released, points: low", "high", "root mean square", "expected of noise"]
    return markdown(titles, [[*row, f"{seen:.2f}", f"{expected:.2f}"]], left=0)


def controls_block(results):
    """Coresets beside networks that were not trained before pruning, or on all data for as few steps."""
    references = ("base", "untrained", "matched")
    compared = [(order, CELL) for order in ("matched", "untrained", "low", "high", "random", "long", "el2n", "ccs")]
    compared += [(order, cells_of([0.3], [0.8])) for order in ("low", "high", "random")]
    rows = []
    for order, cells in compared:
        judgements = [results.on(less(CIFAR100, order, reference, cells), "paper") for reference in references]
        if judgements[0].estimate:
            name = order if cells == CELL else f"{order}, {100 * cells[0][0]:g} % of the data"
            rows.append([name, *("" if order == one.contrast.minus[0][0] else one.text for one in judgements)])
    return markdown(["by the text, 80 % pruned", *(f"less {reference}" for reference in references)], rows)


# ------------------------------------------------------------------------------------------------------- published


def published_block(_):
    """What the authors' accuracies say by themselves."""
    rows = [
        ["ResNet18, CIFAR-100: gain with nothing pruned, mean of five data ratios", *gains_by_ratio([0])],
        ["ResNet18, CIFAR-100: gain with 20 to 80 % pruned, likewise", *gains_by_ratio(PUBLISHED_PRUNED)],
        ["ResNet18, CIFAR-100: the latter less the former", *gains_by_ratio(PUBLISHED_PRUNED, [0])],
        ["ResNet18, CIFAR-10: gain of 10 % of the data, 80 % pruned", *map(gain_here, ("low", "high"))],
        ["ResNet18, CIFAR-10: mean of all 25 gains", *map(gain_of_all, ("low", "high"))],
    ]
    return markdown(["published, points", "low", "high"], rows)


FIVE_RATIOS = (0.1, 0.2, 0.3, 0.4, 0.5)
PUBLISHED_PRUNED = (0.2, 0.4, 0.6, 0.8)


def gains_by_ratio(prune_ratios, less_those_of=()):
    """[The published gain of low, of high], with the interval of the t test over the data ratios."""
    told = []
    for order in ("low", "high"):
        values = []
        for data_ratio in FIVE_RATIOS:
            gain = published_gain(CIFAR100, order, cells_of([data_ratio], prune_ratios))
            other = published_gain(CIFAR100, order, cells_of([data_ratio], less_those_of)) if less_those_of else 0
            values.append(gain - other)
        told.append(mean_and_interval(values))
    return told


def published_gain(network, order, cells):
    return published_estimate(less(network, order, "base", cells)).mean


def gain_here(order):
    """The published gain of 10 % of the data and 80 % pruned on CIFAR-10, and its place among the 25 of its order."""
    every = published_estimate(less(CIFAR10, order, "base", cells_of(FIVE_RATIOS, (0, *PUBLISHED_PRUNED)))).values
    here = published_gain(CIFAR10, order, CELL)
    larger = sum(value > here for value in every)
    return f"{here:+.2f} (the largest of {len(every)})" if larger == 0 else f"{here:+.2f} ({larger} are larger)"


def gain_of_all(order):
    return f"{published_gain(CIFAR10, order, cells_of(FIVE_RATIOS, (0, *PUBLISHED_PRUNED))):+.2f}"


def best_of(run, _):
    """The best accuracy of fine-tuning, %."""
    return max(run.accuracies[1:])


def curves_block(results):
    """The gain of Table 1 in the mean, published and ours, when not the last epoch is taken."""
    measures = {"last epoch": AT_THE_END, "mean of the last three": LAST_THREE}
    measures["best epoch of each network"] = AT_THE_END._replace(of=best_of)
    rows = []
    for name, measure in measures.items():
        row = [name]
        for order in ("low", "high"):
            contrast = less(CIFAR100, order, "base", TABLE1, measure=measure)
            ours = [results.on(contrast, protocol).estimate for protocol in PROTOCOLS]
            row += [f"{one.mean:+.2f}" if one else "-" for one in (published_estimate(contrast), *ours)]
        rows.append(row)
    titles = ["gain, nine cells, points", "low: published", "by the text", "as released"]
    return markdown([*titles, "high: published", "by the text", "as released"], rows)


def robust_block(results):
    """How many coreset networks keep a smaller share of their accuracy than their baseline when they are pruned."""
    rows = []
    for prune_ratio in (0.4, 0.6):
        row = [f"{100 * prune_ratio:g} % pruned", kept_less(published_by(CIFAR100), FIVE_RATIOS, prune_ratio)]
        for protocol in PROTOCOLS:
            table = results.table(CIFAR100, protocol)
            row.append(kept_less(table.experiment, [0.1, 0.2, 0.3], prune_ratio) if table else "-")
        rows.append(row)
    titles = ["low and high networks that keep less than the baseline", "published", "by the text", "as released"]
    return markdown(titles, rows)


def kept_less(experiment, data_ratios, prune_ratio):
    """How many low and high networks keep less than the baseline of their seed, and what shares each keeps."""
    kept = {"base": [], "coresets": []}
    fewer = []
    for data_ratio, order in itertools.product(data_ratios, ("low", "high")):
        baselines = experiment.at("base", data_ratio, prune_ratio)
        for seed, run in experiment.at(order, data_ratio, prune_ratio).items():
            if seed in baselines:
                kept["base"].append(share_kept(baselines[seed], None))
                kept["coresets"].append(share_kept(run, None))
                fewer.append(kept["coresets"][-1] < kept["base"][-1])
    if not fewer:
        return "-"
    return f"{sum(fewer)} of {len(fewer)} (base {range_of(kept['base'])}, they {range_of(kept['coresets'])})"


def range_of(shares):
    """The smallest and the largest of some shares, in %."""
    ends = dict.fromkeys(f"{share:.0f}" for share in (min(shares), max(shares)))
    return f"{' to '.join(ends)} %"


def scores_block(_):
    """How far the published scores are from what chance gives."""
    rows = []
    for one in published_scores(ROOT / "tests" / "data" / "published_scores.csv"):
        link = f"[{NAMES[one.network]}]({REPOSITORY}{SCORE_FILES[one.network]})"
        rows.append([link, f"{one.samples:,}", *(f"{distance:.3f}" for distance in one.distances)])
    titles = ["scores of", "samples", "total variation from chance", "from chance at each epoch's own rate"]
    return markdown(titles, rows)


# ------------------------------------------------------------------------------------------- what was run, and how


def provenance(results):
    """A line for each csv: protocol, how many orders in how many cells, runs, seeds, machines, hours; then the commands
    that make it again.
    """
    rows = []
    commands = []
    for name, runs in results.files.items():
        experiments = experiments_of(runs)
        machines = Counter(run.machine.split(";")[0].split(",")[0] for run in runs)
        stem = name.removesuffix(".csv")
        rows.append(
            [
                f"[{stem}]({stem}.md) ([csv]({name}))",
                ", ".join(dict.fromkeys(experiment.protocol for experiment in experiments)),
                str(len({run.cell for run in runs})),
                str(len(runs)),
                " ".join(str(seed) for seed in sorted({run.seed for run in runs})),
                ", ".join(f"{machine} {count}" for machine, count in machines.most_common()),
                f"{seconds_of(runs) / 3600:.1f}",
            ]
        )
        commands.append(f"# {stem}")
        commands += map(in_short_lines, commands_of(runs))
    titles = ["table", "protocol", "order x cell", "runs", "seeds", "machines", "hours"]
    return markdown(titles, rows, left=2) + "\n```sh\n" + "\n".join(commands) + "\n```\n"


SUFFIX = {method: f"-{word}".rstrip("-") for word, method in METHOD_IN_PATH.items()}


def commands_of(runs):
    """The make commands that make these runs again, a list; what is there already is not made twice.

    They tell neither epochs nor FLAGS: the pages are of the paper's training.
    """
    places = {}  # {protocol: {order: {seeds: {(data ratio, prune ratio in words)}}}}
    for experiment in experiments_of(runs):
        of_orders = places.setdefault(experiment.protocol, {})
        for (order, data_ratio, prune_ratio), of_seeds in experiment.runs.items():
            if order == "untrained":
                data_ratio = experiment.data_ratios[0]
            pruning = f"{prune_ratio:g}{SUFFIX.get(experiment.method, '')}"
            of_orders.setdefault(order, {}).setdefault(tuple(sorted(of_seeds)), set()).add((data_ratio, pruning))
    lines = []
    for protocol, of_orders in places.items():
        together = {}  # {(seeds, cells): [order]}
        for order in in_order(of_orders):
            for seeds, cells in of_orders[order].items():
                if order != "base" or set(of_orders) == {"base"}:
                    together.setdefault((seeds, frozenset(cells)), []).append(order)
        for (seeds, cells), orders in together.items():
            lines.append(command_of(runs[0], protocol, orders, cells, seeds))
    return lines


def command_of(run, protocol, orders, cells, seeds):
    """One make command; a knob stands in it where it is not at its default."""
    table1s = (run.model, run.dataset) == CIFAR100
    data_ratios = " ".join(f"{ratio:g}" for ratio in sorted({data_ratio for data_ratio, _ in cells}))
    words = ["make table1"] if table1s else ["make table", knob("DATASET", run.dataset, "MNIST")]
    if not table1s:
        words.append(knob("MODEL", run.model, "fcnet"))
    knobs = {
        "PROTOCOL": (protocol, "paper"),
        "DATA_RATIOS": ("0.1" if orders == ["base"] else data_ratios, "0.1 0.2 0.3"),
        "PRUNE_RATIOS": (" ".join(sorted({pruning for _, pruning in cells})), "0.4 0.6 0.8"),
        "ORDERS": (" ".join(order for order in orders if order != "base") or " ", "low high"),
        "SEEDS": (" ".join(map(str, seeds)), "0"),
    }
    words += [knob(name, value, default) for name, (value, default) in knobs.items()]
    return " ".join(filter(None, words))


def in_short_lines(command):
    """A make command, in lines of at most 120 characters that break between knobs."""
    unbroken = re.sub(r'"[^"]*"', lambda quoted: quoted[0].replace(" ", "\xa0"), command)
    lines = textwrap.wrap(unbroken, 118, subsequent_indent="    ", break_on_hyphens=False)
    return " \\\n".join(lines).replace("\xa0", " ")


def knob(name, value, default):
    """A knob of make and its value, or "" at its default."""
    if value == default:
        return ""
    return f'{name}="{value.strip()}"' if " " in value else f"{name}={value}"


def versions(results):
    """The packages that the results were made with, and the command that installs most of them's."""
    different = dict.fromkeys(itertools.chain(*results.files.values()))  # a run may stand in several files
    counts = Counter(run.machine.split("; ")[1] for run in different)
    rows = [[packages, str(count)] for packages, count in counts.most_common()]
    most = counts.most_common(1)[0][0]
    pinned = [f"{name}=={number}" for name, number in (part.split() for part in most.split(", ")) if name != "python"]
    install = f"pip install {' '.join(pinned)}"
    return markdown(["versions", "runs"], rows) + f"\n    {install}\n"


def not_run(results):
    """How many seeds of each published cell, and of each control, were run by the text and as released."""
    seeds = {}
    for network in NAMES:
        seeds[network] = {protocol: seeds_run(results, network, protocol) for protocol in PROTOCOLS}
    rows = []
    done = Counter()
    for network, data_ratio in itertools.product(NAMES, FIVE_RATIOS):
        entries = [cell_run(seeds[network], network, data_ratio, p, done) for p in (0, *PUBLISHED_PRUNED)]
        if any(entries):
            rows.append([NAMES[network], f"{100 * data_ratio:g} %", *entries])
    words = (
        f"Of {done['published']} published cells {done['paper']} were run by the text, {done['released']} as released."
    )
    titles = ["seeds: by the text · as released", "data", "unpruned"]
    titles += [f"{100 * prune_ratio:g} % pruned" for prune_ratio in PUBLISHED_PRUNED]
    return f"{words}\n\n{markdown(titles, rows)}\n{controls_run(seeds)}\n{others_run(results)}"


def cell_run(seeds, network, data_ratio, prune_ratio, done):
    """How many seeds of a published cell were run under each protocol, "" of another cell; done counts the cells."""
    if not published_by(network).at("low", data_ratio, prune_ratio):
        return ""
    counts = {protocol: seeds_of_cell(seeds[protocol], data_ratio, prune_ratio) for protocol in PROTOCOLS}
    done.update(["published", *(protocol for protocol, count in counts.items() if count)])
    return " · ".join(str(count or "-") for count in counts.values())


def seeds_run(results, network, protocol):
    """{(order, data ratio, prune ratio): seeds} of all csv files, pruned by magnitude."""
    seeds = {}
    for table in results.tables:
        if (table.network, table.protocol) == (network, protocol):
            for cell, runs in table.experiment.runs.items():
                seeds.setdefault(cell, set()).update(runs)
    return seeds


def seeds_of_cell(seeds, data_ratio, prune_ratio):
    """How many seeds have the baseline, low and high."""
    cells = ("base", 1.0, prune_ratio), ("low", data_ratio, prune_ratio), ("high", data_ratio, prune_ratio)
    return len(set.intersection(*(seeds.get(cell, set()) for cell in cells)))


def controls_run(seeds):
    """A table of the orders that the paper lacks: cells x most seeds, by the text and as released."""
    orders = ("random", "matched", "untrained", "long", "el2n", "ccs", "crest", "crestfresh")
    rows = []
    for network, of_protocol in seeds.items():
        row = [NAMES[network]]
        for order in orders:
            counts = []
            for protocol in PROTOCOLS:
                of_order = [len(found) for cell, found in of_protocol[protocol].items() if cell[0] == order]
                counts.append(f"{len(of_order)} x {max(of_order)}" if of_order else "-")
            row.append(" · ".join(counts))
        rows.append(row)
    return markdown(["cells x most seeds: by the text · as released", *orders], rows)


def others_run(results):
    """A table of single departures and of pruning methods: which orders, with how many seeds at most."""
    rows = []
    for network in NAMES:
        orders = {"departures": {}, "methods": {}}
        for runs in results.files.values():
            if (runs[0].model, runs[0].dataset) != network:
                continue
            protocols = {experiment.protocol for experiment in experiments_of(runs)}
            for run in runs:
                if run.method != "magnitude":
                    note_run(orders["methods"], run.method, run)
                elif run.protocol in DEPARTURES and run.protocol in protocols:
                    note_run(orders["departures"], run.protocol, run)
        rows.append([NAMES[network], *map(notes_in_words, orders.values())])
    return markdown(["orders, and the seeds of each", "single departures", "pruning methods"], rows, left=3)


def note_run(notes, name, run):
    """Add a run to {name: {order: seeds}}."""
    notes.setdefault(name, {}).setdefault(run.order, set()).add(run.seed)


def notes_in_words(notes):
    """{name: {order: seeds}} in words: orders with as many seeds stand together."""
    words = []
    for name, of_orders in notes.items():
        together = {}
        for order in in_order(of_orders):
            together.setdefault(len(of_orders[order]), []).append(order)
        words.append(f"{name}: " + ", ".join(f"{' '.join(orders)} {seeds}" for seeds, orders in together.items()))
    return "; ".join(words) or "-"


# ------------------------------------------------------------------------------------- what the paper leaves open


def orders_block(results):
    """Other scores, and controls of size and steps, on LeNet."""
    contrasts = [less(LENET, order, "random") for order in ("low", "high", "el2n", "ccs", "long", "matched")]
    contrasts += [less(LENET, order, "base") for order in ("random", "long", "matched", "untrained")]
    rows = []
    for contrast in contrasts:
        rows.append([contrast.words, *before_pruning_too(results, contrast)])
    return markdown(["LeNet, MNIST, by the text", "before pruning", "after fine-tuning"], rows)


def before_pruning_too(results, contrast):
    """The texts of a contrast by the text before pruning and after fine-tuning."""
    before = contrast._replace(measure=contrast.measure._replace(of=lambda run, _: run.dense, last_epochs=None))
    return [results.on(one, "paper").text for one in (before, contrast)]


def crest_block(results):
    """CREST beside the networks whose steps it has, and what its choosing costs."""
    differences = []
    costs = []
    for network in (CIFAR100, LENET):
        for order in ("crest", "crestfresh"):
            for reference in ("matched", "random", "untrained", "base"):
                texts = before_pruning_too(results, less(network, order, reference))
                if set(texts) != {"-"}:
                    differences.append([f"{NAMES[network]}: {order} less {reference}", *texts])
        costs += crest_costs(results, network)
    if not differences:
        return "CREST was not run.\n"
    table = markdown(["by the text, 10 % of the data, 80 % pruned", "before pruning", "after fine-tuning"], differences)
    titles = ["cost", "samples trained on or looked at, fine-tuning with it, M", "minutes before pruning, median"]
    return f"{table}\n{markdown(titles, costs)}"


def crest_costs(results, network):
    """What CREST's networks cost beside those that have their steps: a row for each order."""
    table = results.table(network, "paper")
    rows = []
    if table is None or not {"crest", "crestfresh"} & set(table.experiment.orders):
        return rows
    for order in ("base", "matched", "crest", "crestfresh"):
        runs = list(table.experiment.at(order, 0.1, 0.8).values())
        if runs:
            samples = statistics.fmean(run.trained for run in runs) / 1e6
            minutes = statistics.median(run.first_seconds for run in runs) / 60
            rows.append([f"{NAMES[network]}: {order}", f"{samples:.2f}", f"{minutes:.1f}"])
    return rows


def is_of_cell(run):
    """Whether a run is of 10 % of the data, or of all, and 80 % pruned."""
    data_ratio, prune_ratio = CELL[0]
    return run.data_ratio in (data_ratio, 1) and run.prune_ratio == prune_ratio


def methods_block(results):
    """Pruning methods against magnitude on LeNet in one cell, network by network."""
    of_lenet = [runs for runs in results.files.values() if (runs[0].model, runs[0].dataset) == LENET]
    most_methods = max(of_lenet, key=lambda runs: len({run.method for run in runs}), default=[])
    runs = [run for run in most_methods if serves(run, "paper") and is_of_cell(run)]
    orders = in_order(run.order for run in runs)
    rows = []
    for row in method_rows(experiments_of(runs), noises_of(runs)):
        method, reference = row["Pruning"].split(" - ")
        if reference == "magnitude":
            name = "random mask" if method == "random" else method  # random is a coreset, too
            rows.append([f"{name} less {reference}", *(estimate_in_words(row[title(order)]) for order in orders)])
    return markdown(["LeNet, MNIST, by the text", *orders], rows)


# ----------------------------------------------------------------------------------------------------------- pages

BLOCKS = {
    "answer": answer,
    "why": why_block,
    "headlines": headlines,
    "claims": claims_block,
    **{f"claim-{claim.number}": section_of(claim) for claim in CLAIMS},
    "table1": table1,
    "ends": ends_block,
    "gain": gain_block,
    "fit": fit_block,
    "controls": controls_block,
    "published": published_block,
    "curves": curves_block,
    "robust": robust_block,
    "scores": scores_block,
    "provenance": provenance,
    "versions": versions,
    "not-run": not_run,
    "orders": orders_block,
    "crest": crest_block,
    "methods": methods_block,
}


def rewritten(text, results, path):
    """The text of a page with every block made again; exits with one line on a block that nothing makes."""

    def remade(match):
        start, name, _, end = match.groups()
        if name not in BLOCKS:
            fail(f"{path}: no block is called {name}; there are {', '.join(BLOCKS)}")
        return f"{start}\n{BLOCKS[name](results)}\n{end}"

    marks = text.count("<!-- made by make results: ")
    if marks != len(BLOCK.findall(text)):
        fail(f"{path}: a block does not end, or its name is not of small letters, digits and -")
    return BLOCK.sub(remade, text)


def main():
    parser = Parser(__doc__)
    parser.add_argument("pages", nargs="+", metavar="PAGE", help="markdown files; their blocks are written anew")
    results = str(ROOT / "tests" / "results")
    parser.add_argument("--results", metavar="DIR", default=results, help="of the csv files (default: tests/results)")
    args = parser.start()
    results = Results(args.results)
    pages = {}
    for path in args.pages:
        try:
            text = Path(path).read_text()
        except (OSError, UnicodeDecodeError) as error:
            fail(f"cannot read {path} ({error})")
        pages[path] = rewritten(text, results, path)
    for path, text in pages.items():
        with replacing(path) as file:
            file.write(text.encode())


if __name__ == "__main__":
    main()
