"""The paper's Table 1 and Figures 1 and 2 from the files of any runs, with the
statistics that the paper asks for.

    python report.py table runs/paper/MNIST/lenet/seed*/*/p*/finetuned.pt
    python report.py figure1 tests/results/lenet-mnist-paper.csv --out f1.svg

A run is one fine-tuned network. A cell is what the runs of several seeds share:
the order and the share of their data, the prune ratio, the protocol and the
pruning method. Every number of a table is the test accuracy after the last
epoch of fine-tuning, in %. Differences are paired: within a seed, all networks
start from the same initial weights and are fine-tuned on the same order of
samples.
What `report.py runs` writes, a csv line a run, stands for the checkpoints it
was made from. Figures need matplotlib.
"""

import csv
import functools
import io
import itertools
import math
import re
import signal
import statistics
import sys
import textwrap
from collections import Counter, defaultdict
from pathlib import Path
from typing import NamedTuple

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends the program without a traceback, while it loads, too
    sys.path.insert(0, str(Path(__file__).resolve().parent))  # python -P leaves it out

import numpy as np

from train import DATASETS, Parser, asked_flags, contents, duration, fail, first_line, read, replacing, script_of

COLOURS = {  # of the orders, as tables and figures arrange them; others come after (Okabe and Ito)
    "base": "#000000",
    "low": "#0072B2",
    "high": "#D55E00",
    "random": "#009E73",
    "matched": "#CC79A7",
    "untrained": "#999999",
}
SPARE_COLOURS = ("#56B4E9", "#E69F00", "#F0E442", "#8B4513", "#332288")
CONTROLS = ("matched", "crest", "crestfresh", "untrained")
DATA_RATIO_OF = {"base": 1.0, "untrained": 0.0}  # orders that have no data ratio, and what stands in its place
BY_ERRORS = ("el2n", "ccs")  # first words of orders that know the baseline's errors in place of scores
# First words of orders that know no scores.
UNSCORED = ("base", "random", "long", "matched", "crest", "crestfresh", "untrained", "own")
OLD_WORDS = {"lot": "random", "none": "untrained"}  # in checkpoints and csv files of earlier versions
PUBLISHED = Path(__file__).parent / "tests" / "data" / "published_accuracies.csv"
PUBLISHED_CURVES = PUBLISHED.with_name("published_curves.csv")
USUAL_CUT = 0.3  # of select.py --order ccs
WIDTHS = {"text": 80, "markdown": 120}  # columns that a table may take: a terminal's, and a file's


# ----------------------------------------------------------------------------------------------------------- runs


class Run(NamedTuple):
    """One finetuned.pt, or the line of a csv that stands for it."""

    dataset: str
    model: str
    data: str  # sizes and digest
    scoring: str  # what chose the coreset: settings of the scoring run, or the digest of own scores or an own subset
    first_training: str  # its settings; "" where there was none
    fine_tuning: str  # its settings
    protocol: str  # of the departures, those that this run can depend on
    order: str
    data_ratio: float  # 1 for base, 0 for untrained
    prune_ratio: float
    method: str  # of pruning: "magnitude" is one shot in every layer, else what differs
    seed: int
    dense: float  # % after the first training
    curve: str  # % after pruning, and after every epoch of fine-tuning
    classes: str  # % of every class before pruning, after it, and after fine-tuning; "" in older files
    trained: int  # samples times epochs of all trainings, with the scoring run where the order needs one
    parameters: int
    nonzero: int  # parameters less the pruned weights that are zero
    live: int  # prunable weights that can get a gradient
    live_nonzero: int
    first_seconds: float  # of the first training, which runs of several prune ratios share
    seconds: float  # of pruning and fine-tuning
    machine: str  # device and versions of the last step, and the devices of earlier steps where they were others

    @property
    def network(self):
        """What runs of one seed share when they differ in the prune ratio alone."""
        return self.protocol, self.method, self.order, self.data_ratio

    @property
    def cell(self):
        """What tells the run from others, but for its seed."""
        return *self.network, self.prune_ratio

    @property
    def accuracies(self):
        """Test accuracy after pruning and after every epoch of fine-tuning, %: a list of floats."""
        return [float(accuracy) for accuracy in self.curve.split()]

    @property
    def by_class(self):
        """Accuracy before pruning, after it and after fine-tuning, %: float64 [3, classes], or [3, 0]."""
        return np.array(self.classes.split(), dtype=np.float64).reshape(3, -1)

    @property
    def pruned(self):
        """Test accuracy right after pruning, %."""
        return self.accuracies[0]

    def end(self, epochs=1):
        """The mean test accuracy after the last epochs of fine-tuning, or, where there were none, after pruning, %."""
        tuned = self.accuracies[1:] or self.accuracies
        return statistics.fmean(tuned[-epochs:])


NOT_ORIGINAL = ", not the original"
UNKNOWN = "unknown"  # a fact that a file of an earlier version does not tell
RESULTS = ("dense", "curve", "classes", "trained", "parameters", "nonzero", "live", "live_nonzero")
OLD_HEADERS = {"first": "first_training", "tuning": "fine_tuning", "pruning": "method"}
LATER_FIELDS = {"scoring"}  # that files of earlier versions lack


def run_and_scores(path):
    """The Run of a checkpoint, and the digest of the scores that chose the coreset, "" where none did.

    Exits with one line if its last steps are not a pruning and a fine-tuning.
    """
    checkpoint = read(path)
    try:
        run = checked(describe(checkpoint))
    except Exception as error:
        kind = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
        fail(f"{path} is not a pruned network that finetune.py wrote ({kind}{first_line(error)})")
    scores = checkpoint["args"].get("select", {}).get("scores", "")
    return run, scores if is_scored(run.order) else ""


def describe(checkpoint):
    """The fields of the Run that a checkpoint is; LookupError, TypeError or ValueError if it is none."""
    args = checkpoint["args"]
    earlier = checkpoint["earlier"]
    first = "train" if "train" in args else "forget"
    later = [step for step in args if step not in ("forget", "select", "train")]
    pruning_steps = steps_of("prune", later)
    tuning_steps = steps_of("finetune", later)
    if not pruning_steps or not tuning_steps or tuning_steps[-1] != later[-1]:
        raise ValueError("run prune.py and then finetune.py on it")
    prunings = [args[step] for step in pruning_steps]
    tunings = [args[step] for step in tuning_steps]
    require_one("seed", args.values())
    require_one("mask", tunings)

    training = args[first]
    tuning = tunings[-1]
    dense = earlier[first]
    order, data_ratio = order_of(args, training)
    pruned = earlier[pruning_steps[-1]]
    by_class = dense["class_accuracy"] + pruned["class_accuracy"] + checkpoint["class_accuracy"]
    return {
        "dataset": training["dataset"],
        "model": training["model"],
        "data": data_of(training),
        "scoring": scoring_of(args, training, order),
        "first_training": "" if order == "untrained" else settings([training]),
        "fine_tuning": settings(tunings),
        "protocol": relevant_protocol(protocol_of(args, tuning), order),
        "order": order,
        "data_ratio": data_ratio,
        "prune_ratio": prunings[-1]["ratio"],
        "method": method_of(prunings, tunings, later),
        "seed": training["seed"],
        "dense": dense["accuracy"][-1],
        "curve": numbers(checkpoint["accuracy"]),
        "classes": numbers(by_class),
        "trained": samples_trained_on(args, order, [training, *tunings]),
        "parameters": tuning["parameters"],
        "nonzero": tuning["parameters"] - tuning["zeros"],
        "live": tuning["live"],
        "live_nonzero": tuning["live"] - tuning["live_zeros"],
        "first_seconds": dense["seconds"],
        "seconds": checkpoint["seconds"] + sum(earlier[step]["seconds"] for step in later[:-1]),
        "machine": machine_of(checkpoint),
    }


def data_of(training):
    """The sizes and the digest of a data set, and that it is not the one of its name, where train.py could tell."""
    text = f"{training['train_size']} + {training['test_size']} images, digest {training['data']}"
    is_whole = training["train_size"] == DATASETS[training["dataset"]][2]
    if is_whole and training.get("original") is False:
        text += NOT_ORIGINAL
    return text


def steps_of(script, steps):
    """Those of the steps that a script made; done again, a step is called prune-2, finetune-2 and so on."""
    return [step for step in steps if script_of(step) == script]


def samples_trained_on(args, order, trainings):
    """Samples times epochs of all trainings, with the scoring run, or what CREST looked at, where they are needed."""
    if "forget" in args and is_scored(order):
        trainings = [*trainings, args["forget"]]
    chosen = sum(flags.get("chosen_samples", 0) for flags in trainings)
    return chosen + sum(flags.get("samples", flags["train_size"]) * flags["epochs"] for flags in trainings)


def require_one(flag, steps):
    """ValueError if the flags of several steps have two values of one flag."""
    values = sorted({str(flags[flag]) for flags in steps if flag in flags})
    if len(values) > 1:
        raise ValueError(f"its steps have --{flag} {' and '.join(values)}")


def numbers(values):
    return " ".join(f"{value:.6g}" for value in values)


def machine_of(checkpoint):
    """Device and versions of the last step, and the devices of earlier steps where they were others."""
    versions = ", ".join(f"{package} {version}" for package, version in checkpoint["versions"].items())
    devices = {history.get("device", checkpoint["device"]) for history in checkpoint["earlier"].values()}
    others = sorted(devices - {checkpoint["device"]})
    machine = f"{checkpoint['device']}; {versions}"
    if others:
        machine += f"; earlier steps on {', '.join(others)}"
    return machine


def scoring_of(args, training, order):
    """What chose the coreset: the settings of the scoring run, or a digest of own scores or of an own subset."""
    if "select" in args and is_scored(order):
        if "forget" in args:
            return settings([args["forget"]])
        return f"scores with digest {args['select'].get('scores', UNKNOWN)}"
    if order.startswith("own"):
        return f"indices with digest {training.get('subset') or UNKNOWN}"
    return ""


def order_of(args, training):
    """How the samples of a first training were chosen, in words, and what share of the training set they are."""
    size = training["train_size"]
    samples = training.get("samples", size)
    share = training.get("share", 1.0)
    subset = training.get("subset", "")
    if "select" in args:
        ratio = args["select"]["ratio"]
        return with_share(selected_order(args, training), share, ratio), ratio
    if training["epochs"] == 0:
        return "untrained", DATA_RATIO_OF["untrained"]
    if subset or (share >= 1 and samples < size):  # files of earlier versions do not tell a subset's digest
        name = f"own {training.get('name', subset[:8])}".rstrip()
        return with_share(name, share), training.get("subset_size", samples / share) / size
    if "renew" in training:
        return crest_order(training), share
    if share < 1:
        return "matched", share
    return with_share("base", share), DATA_RATIO_OF["base"]


def with_share(order, share, ratio=1.0):
    """The order, with the share of its samples that an epoch takes where that is not 1.

    A random coreset, of that ratio, is `long` if an epoch takes as many samples as the baseline's.
    """
    if share == 1:
        return order
    if order == "random" and math.isclose(share * ratio, 1, rel_tol=1e-4):  # the share comes rounded
        return "long"
    return f"{order} share {share:g}"


USUAL_OF_CREST = {"random": 0.01, "tau": 0.1, "learned": 0.1}  # the flags of tests/crest.py


def crest_order(training):
    """The order of a network that trained on CREST's mini-batch coresets, with the flags that are not the usual."""
    words = [{"failed": "crest", "always": "crestfresh"}[training["renew"]]]
    for flag, usual in USUAL_OF_CREST.items():
        if training[flag] != usual:
            words.append(f"{flag} {training[flag]:g}")
    return " ".join(words)


def selected_order(args, training):
    """The order of a coreset that select.py chose, with whose scores: none where forget.py scored the same network."""
    select = args["select"]
    order = select["order"]
    if order == "ccs" and select.get("cut", USUAL_CUT) != USUAL_CUT:
        order += f" cut {select['cut']:g}"
    if order == "random":
        return order
    if "forget" not in args:
        return f"{order} of own {select.get('name', select.get('scores', '')[:8])}".rstrip()
    if args["forget"]["model"] != training["model"]:
        return f"{order} of {args['forget']['model']}"
    return order


def is_scored(order):
    """Whether an order knows scores: the baseline, controls and own subsets do not."""
    return order.split()[0] not in UNSCORED


def settings(trainings):
    """The flags of a training as a report prints them; of several, with the sum of their epochs."""
    epochs = sum(flags["epochs"] for flags in trainings)
    lr = each_once(flags["lr"] for flags in trainings)
    batch_size = each_once(flags["batch_size"] for flags in trainings)
    precision = each_once(flags["precision"] for flags in trainings)
    return f"{epochs} epochs, lr {lr}, batch size {batch_size}, {precision}"


def each_once(values):
    """One text of values that are all the same, else that of each."""
    texts = [str(value) for value in values]
    if len(set(texts)) == 1:
        texts = texts[:1]
    return " ".join(texts)


def method_of(prunings, tunings, steps):
    """The pruning method in words, from the flags of every pruning and fine-tuning and the names of all these steps.

    "magnitude" is the paper's: one shot, in every layer, by magnitude. Else what differs from it.
    """
    names = [pruned_by(flags) for flags in prunings]
    words = [names[0] if len(set(names)) == 1 else " then ".join(names)]
    if len(steps) > 2:
        words.append(schedule_of(prunings, tunings, steps))
    return ", ".join(word for word in words if word != "magnitude") or "magnitude"


def pruned_by(flags):
    """What differs in a single pruning from the paper's, in words; "magnitude" where nothing does."""
    usual = {"scope": "layer", "criterion": "magnitude", "structure": "weights", "start": ""}
    words = []
    for flag, value in usual.items():
        if flags.get(flag, value) != value:
            words.append(f"start {flags[flag]}" if flag == "start" else flags[flag])
    return ", ".join(words) or "magnitude"


def schedule_of(prunings, tunings, steps):
    """The ratios and epochs of a network that was pruned or fine-tuned more than once, in words."""
    ratios = [flags["ratio"] for flags in prunings]
    epochs = [flags["epochs"] for flags in tunings]
    alternate = [script_of(step) for step in steps] == ["prune", "finetune"] * len(prunings)
    same_share_each = 1 - (1 - ratios[-1]) ** (np.arange(1, len(ratios) + 1) / len(ratios))  # as p0.8-5x prunes
    even = np.allclose(ratios, same_share_each, rtol=0, atol=1e-5) and len(set(epochs)) == 1
    if alternate and even:
        return f"{len(ratios)} rounds"
    schedule = f"prune {numbers(ratios)}, tune {numbers(epochs)}"
    if alternate:
        return schedule
    return f"{schedule}, steps {' '.join(steps)}"


def checked(fields):
    """The Run of {field: value, or its text}; ValueError says which of them cannot be."""
    kinds = Run.__annotations__
    values = {name: kinds[name](value) for name, value in fields.items()}
    for ratio in ("data_ratio", "prune_ratio"):  # 0.6 and 0.6000000000000001, which steps of 0.1 add up to, are one
        values[ratio] = float(f"{values[ratio]:.9g}")
    run = Run(**values)
    for name, value in run._asdict().items():
        require_plausible(name, value)
    for accuracy in run.accuracies:
        require_plausible("curve", accuracy)
    for accuracy in run.by_class.flat:
        require_plausible("classes", accuracy)
    require_consistent(run)
    return run


def require_consistent(run):
    """ValueError if fields of a Run contradict each other."""
    if not run.accuracies:
        raise ValueError("curve is empty")
    if not run.order or run.order != run.order.strip():
        raise ValueError(f"order is {run.order!r}")
    if run.protocol != relevant_protocol(run.protocol, run.order):
        raise ValueError(f"protocol is {run.protocol!r}, on which {run.order} cannot depend so")
    if run.classes and len(run.by_class[0]) != DATASETS[run.dataset][0]:
        raise ValueError(f"classes has {run.by_class.size} numbers, not three for each of {run.dataset}'s")
    if run.data_ratio != DATA_RATIO_OF.get(run.order, run.data_ratio):
        raise ValueError(f"data_ratio is {run.data_ratio} of {run.order}")
    if run.nonzero > run.parameters or run.live_nonzero > run.live:
        raise ValueError("more weights are not zero than there are")


def require_plausible(name, value):
    """ValueError if no run has such a value of a field."""
    if isinstance(value, str):
        possible = value.isprintable()
    elif name in ("dense", "curve", "classes"):
        possible = 0 <= value <= 100.001  # nan is not
    elif name == "prune_ratio":
        possible = 0 <= value < 1
    else:
        possible = 0 <= value < 1e18
    if not possible:
        raise ValueError(f"{name} is {value!r}")


def read_csv(path):
    """The Runs of a csv that `report.py runs` wrote, of this version or an older one; else exits with one line."""
    lines = csv.reader([])
    try:
        text = contents(path).getvalue().decode()
        lines = csv.reader(text.splitlines(), strict=True)
        fields = [OLD_HEADERS.get(name, name) for name in next(lines, [])]
        known = set(Run._fields)
        named_once = len(set(fields)) == len(fields)
        if not named_once or not known - LATER_FIELDS <= set(fields) <= known:
            raise ValueError("its first line does not name the fields of a run")
        runs = [checked(renewed(dict(zip(fields, line, strict=True)))) for line in lines]
        if not runs:
            raise ValueError("it has no runs")
        return runs
    except Exception as error:
        reason = first_line(error)
        if lines.line_num > 1:
            reason = f"line {lines.line_num}: {reason}"
        fail(f"cannot read runs from {path} ({reason}); it must be a csv of `report.py runs`")


def renewed(fields):
    """The fields of a csv's line with the words of this version, and what an older one did not write."""
    first, *words = fields["order"].split(" ")
    order = " ".join([OLD_WORDS.get(first, first), *words])
    fields = fields | {"order": order, "method": fields["method"] or "magnitude"}
    if "scoring" not in fields:
        fields["scoring"] = ""
        if first == "own" or (order.strip() and is_scored(order)):
            fields["scoring"] = UNKNOWN
    if first in BY_ERRORS:  # older files name departures on which these cannot depend
        fields["protocol"] = relevant_protocol(fields["protocol"], order)
    return fields


def write_csv(runs):
    """The text of a csv: a line with the names of the fields, and one for each run."""
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows([Run._fields, *runs])
    return out.getvalue()


def load_runs(paths, asked=None):
    """The Runs of checkpoints and csv files, none twice.

    asked: {field: (value, who asked for it)}; where it is given, checkpoints must be the runs that their paths name.
    Exits with one line if the files disagree in what all runs of a report have in common, or if two files have one run
    with different results.
    """
    known = dict(asked or {})
    seen = {}
    first_trainings = {}
    scorings = {}
    for path in paths:
        is_csv = path.endswith(".csv")
        found = [(run, "") for run in read_csv(path)] if is_csv else [run_and_scores(path)]
        for run, scores in found:
            require_agreement(run, path, known, is_asked=bool(asked))
            require_one_result(run, path, seen)
            if is_csv:
                continue
            require_one_first_training(run, path, first_trainings)
            if scores:
                require_one_scoring(run, scores, path, scorings)
            if asked:
                require_place(run, path)
    runs = [run for run, _ in seen.values()]
    require_few_enough(runs)
    return runs


ASKED = "--asked"  # who says so, where make asks for it


def require_agreement(run, path, known, is_asked):
    """Exit with one line if the run differs from earlier ones in what all share.

    known: {what: (value, who says so)}, to which the run adds; is_asked: whether make's wishes are among them.
    """
    for field, value in shared_facts(run, is_asked).items():
        if value in ("", UNKNOWN):  # an untrained network has no first training, a random coreset no scoring
            continue
        other, where = known.setdefault(field, (value, path))
        if value != other:
            remedy = "Give results of other flags a folder of their own, such as RUNS=runs/NAME"
            if where != ASKED:
                remedy = "Report them apart"
            fail(f"{path} and {where} disagree in {field}: {value}; {other}. {remedy}")


def shared_facts(run, is_asked):
    """{what: a value that all runs of a report must have}.

    A network that was pruned several times may have been fine-tuned longer than others: its method tells that. What
    make asks for is the same of all.
    """
    _, _, recipe = run.fine_tuning.partition(" epochs, ")
    facts = {
        "dataset": run.dataset,
        "model": run.model,
        "data": run.data,
        "first_training": run.first_training,
        "the recipe of fine-tuning": recipe,
        f"the epochs of the curve, {run.method}": len(run.accuracies),
        scores_of(run.order): run.scoring,
    }
    if has_schedule(run.method) and not is_asked:
        facts[f"fine_tuning, {run.method}"] = run.fine_tuning
    else:
        facts["fine_tuning"] = run.fine_tuning
    return facts


def has_schedule(method):
    """Whether a pruning method tells that it was done several times."""
    return "tune " in method or method.endswith("rounds")


def scores_of(order):
    """What an order goes by, in words: runs that share it must share its scores."""
    _, _, source = order.partition(" of ")
    if order.startswith("own"):
        return f"the subset of {order}"
    if source:
        return f"scoring of {source}"
    return "scoring"


def require_one_first_training(run, path, first_trainings):
    """Exit with one line if two checkpoints of one network and seed are not of one first training."""
    key = (*trained_as(run), run.seed)
    dense, where = first_trainings.setdefault(key, (run.dense, path))
    if dense != run.dense:
        fail(
            f"{path} and {where} say that they are of one network, but it had {run.dense:.2f} and {dense:.2f} % before "
            f"pruning: make one of them again"
        )


def require_one_scoring(run, scores, path, scorings):
    """Exit with one line if two coresets of one protocol and seed were chosen by scores of two scoring runs.

    scores: a digest; scorings: {what it is of: (digest, path)}, to which this adds.
    """
    by_errors = run.order.split()[0] in BY_ERRORS
    other, where = scorings.setdefault((run.protocol, scores_of(run.order), by_errors, run.seed), (scores, path))
    if scores != other:
        fail(f"{path} and {where} are of one seed, but other scores chose their coresets: make one of them again")


METHOD_IN_PATH = {  # what follows pRATIO- in a path of make: the pruning method
    "": "magnitude",
    "live": "live",
    "global": "global",
    "random": "random",
    "channels": "channels",
    "rewound": "start initial",
    "reinitialised": "start initial of another seed",
    "5x": "5 rounds",
}


def require_place(run, path):
    """Exit with one line if the run is not the one that its path names, PROTOCOL/DATASET/MODEL/seedK/SET/pRATIO."""
    protocol, dataset, model, seed, data, pruning = ("", "", "", "", "", "", *Path(path).parts[:-1])[-6:]
    order, _, data_ratio = data.partition("-")
    prune_ratio, _, method = pruning.removeprefix("p").partition("-")
    facts = {  # what: (of the run, by its path)
        "protocol": (run.protocol, relevant_protocol(protocol, run.order)),
        "data set": (run.dataset, dataset),
        "network": (run.model, model),
        "seed": (f"seed{run.seed}", seed),
        "order": (run.order, "base" if order == "full" else order),
        "data ratio": (f"{run.data_ratio:g}", data_ratio or f"{run.data_ratio:g}"),  # full and untrained have none
        "prune ratio": (f"{run.prune_ratio:g}", prune_ratio),
        "pruning method": (run.method, METHOD_IN_PATH.get(method, method)),
    }
    for what, (held, named) in facts.items():
        if held != named:
            fail(f"{path} is another run than its path says: its {what} is {held}; delete it, and make it again")


def require_one_result(run, path, seen):
    """Exit with one line if another file has this run with another result; seen: {cell and seed: (run, path)}."""
    other, where = seen.setdefault((*run.cell, run.seed), (run, path))
    differ = [field for field in RESULTS if getattr(run, field) != getattr(other, field)]
    if differ:
        name = " ".join(str(part) for part in run.cell)
        values = ", ".join(f"{field}: {getattr(run, field)}; {getattr(other, field)}" for field in differ)
        fail(f"{path} and {where} are one run, {name} seed {run.seed}, but differ in {values}")


def require_few_enough(runs):
    """Exit with one line if the statistics of so many runs would not fit into memory."""
    cells = len({run.cell for run in runs})
    seeds = len({run.seed for run in runs})
    methods = len({run.method for run in runs})
    if len(runs) * (cells + seeds + methods**2) > 4_000_000:
        fail(f"{len(runs)} runs are too many for one report; report protocols or pruning methods apart")


# ------------------------------------------------------------------------------------------------------ protocols


class Departure(NamedTuple):
    """One way in which the authors' program departs from the paper's text, as a flag of a step."""

    step: str
    flag: str
    text: str  # the value by the paper's text
    program: str  # the value of the program


DEPARTURES = {
    "shuffled": Departure("forget", "positions", "fixed", "shuffled"),
    "flipped": Departure("forget", "events", "forgotten", "flipped"),
    "frozen": Departure("forget", "batchnorm", "train", "frozen"),
    "indexed": Departure("select", "ties", "random", "index"),
    "regrown": Departure("finetune", "mask", "hold", "release"),
}


def departures(protocol):
    """The list of departures in a protocol's name."""
    named = {"": [], "paper": [], "released": list(DEPARTURES)}
    return named.get(protocol, protocol.split("+"))


def protocol_of(args, tuning):
    """The departures in the flags of a run's steps, joined by +; a third value, such as toneva, is one of its own."""
    names = []
    for name, departure in DEPARTURES.items():
        flags = tuning if departure.step == "finetune" else args.get(departure.step, {})
        value = flags.get(departure.flag, departure.text)
        if value == departure.program:
            names.append(name)
        elif value != departure.text:
            names.append(value)
    return "+".join(names)


def rank(protocol):
    """Where a protocol comes among others: with fewer departures first."""
    positions = {name: position for position, name in enumerate(DEPARTURES)}
    places = [positions.get(name, -1) for name in departures(protocol)]
    return len(places), places


def relevant_protocol(protocol, order):
    """The protocol without the departures on which no bit of a run of that order can depend.

    So one random network serves every protocol with the same mask.
    """
    names = sorted(set(departures(protocol)), key=rank)
    relevant = names
    if order == "base":
        relevant = ("frozen", "regrown")  # forget.py trains it, and nothing chooses its samples
    elif not is_scored(order):
        relevant = ("regrown",)  # forget.py has no part in it
    elif " of own" in order:
        relevant = ("indexed", "regrown")  # the scores are not forget.py's
    elif order.split()[0] in BY_ERRORS:
        relevant = ("frozen", "indexed", "regrown")  # errors are of the baseline, and count no events
    names = [name for name in names if name in relevant]
    if names == list(DEPARTURES):
        return "released"
    return "+".join(names) or "paper"


def in_order(orders):
    """Each order once, as tables and figures arrange them."""
    known = {order: position for position, order in enumerate(COLOURS)}
    return sorted(set(orders), key=lambda order: (known.get(order, len(known)), order))


class Experiment:
    """The runs of one protocol and one pruning method, by cell, and those of other protocols that serve it.

    making: the runs that make its rows; among: all runs of its pruning method.
    """

    def __init__(self, making, among):
        self.protocol = making[0].protocol
        self.method = making[0].method
        shown = [run for run in among if serves(run, self.protocol)]
        self.runs = defaultdict(dict)  # {(order, data ratio, prune ratio): {seed: Run}}
        for run in shown:
            self.runs[run.order, run.data_ratio, run.prune_ratio][run.seed] = run
        self.orders = in_order(run.order for run in shown)
        self.seeds = sorted({run.seed for run in making})
        self.data_ratios = data_ratios_of(making) or data_ratios_of(shown) or [1.0]
        self.prune_ratios = sorted({run.prune_ratio for run in making})
        self.rows = list(itertools.product(self.data_ratios, self.prune_ratios))

    def at(self, order, data_ratio, prune_ratio):
        """{seed: Run} of one cell."""
        return self.runs.get((order, DATA_RATIO_OF.get(order, data_ratio), prune_ratio), {})

    def missing(self):
        """The cells and seeds that the experiment spans and has no run of: a set."""
        gaps = set()
        for order, (data_ratio, prune_ratio), seed in itertools.product(self.orders, self.rows, self.seeds):
            if seed not in self.at(order, data_ratio, prune_ratio):
                protocol = relevant_protocol(self.protocol, order)
                ratio = DATA_RATIO_OF.get(order, data_ratio)
                gaps.add((protocol, self.method, order, ratio, prune_ratio, seed))
        return gaps


def data_ratios_of(runs):
    return sorted({run.data_ratio for run in runs if run.order not in DATA_RATIO_OF})


def serves(run, protocol):
    """Whether a run is one of that protocol, of whose departures it may depend on a part alone."""
    return run.protocol == relevant_protocol(protocol, run.order)


def experiments_of(runs):
    """An Experiment for every pruning method and protocol, but for protocols whose runs all serve another one.

    The baseline of released is that of frozen+regrown, its random networks are those of regrown: they are one row.
    """
    experiments = []
    for method in sorted({run.method for run in runs}, key=lambda method: (method != "magnitude", method)):
        of_method = [run for run in runs if run.method == method]
        experiments += [Experiment(making, of_method) for making in runs_making_rows(of_method).values()]
    return experiments


def runs_making_rows(runs):
    """{protocol: the runs of one pruning method that make its rows}; no run is without a row.

    First those that serve no protocol but their own, then others whose ratios are in no row of a protocol they serve.
    """
    protocols = {run.protocol for run in runs}
    making = defaultdict(list)
    for run in sorted(runs, key=lambda run: rank(run.protocol)):
        if not any(serves(run, other) for other in protocols - {run.protocol}):
            making[run.protocol].append(run)
    for run in runs:
        served = [protocol for protocol in making if serves(run, protocol)]
        if not any(has_row_for(run, making[protocol]) for protocol in served):
            if not served or run.protocol in served:
                making[run.protocol].append(run)
            else:
                making[served[0]].append(run)
    return making


def has_row_for(run, making):
    """Whether one of the runs that make an experiment's rows has the ratios of this run."""
    at_prune_ratio = [other for other in making if other.prune_ratio == run.prune_ratio]
    if run.order in DATA_RATIO_OF:
        return bool(at_prune_ratio)
    return any(other.data_ratio == run.data_ratio for other in at_prune_ratio)


# ----------------------------------------------------------------------------------------------------- statistics


FEWEST_DF = 3  # with fewer degrees of freedom, in networks, an interval says nothing
FEWEST_PAIRS = 3  # likewise, of an interval from the pairs alone
SEEDS_FOR_A_TEST = 6  # with fewer, a p-value is not shown, and seeds agree by their signs, not by a test of their own


class Noise(NamedTuple):
    """The standard deviation of one result in a table, in percentage points, and its degrees of freedom."""

    sigma: float
    df: int

    def half_width(self, variance):
        """Half of the 95 % interval of an estimate whose variance is that many sigma^2; None if too little is known."""
        if self.df < FEWEST_DF:
            return None
        return self.reach(variance)

    def reach(self, variance):
        """As `half_width`, whatever the degrees of freedom."""
        return t_quantile(self.df) * self.sigma * math.sqrt(variance)

    def p_value(self, mean, half_width):
        """Two-sided p-value of the t test of no difference."""
        if half_width == 0:
            return float(mean == 0)
        return 1 - t_inside(abs(mean) / half_width * t_quantile(self.df), self.df)


class PooledNoise(NamedTuple):
    """The Noise of a run in the cells of one pruning method, and what that of a network's mean is worked out from."""

    run: Noise
    runs: tuple
    last_epochs: int

    def of_mean(self, prune_ratios):
        """The Noise of a network's mean over these prune ratios, from the networks that have them all.

        Where those are too few it is that of a run, which is larger.
        """
        at_ratio = defaultdict(dict)  # {(network, seed): {prune ratio: Run}}
        for run in self.runs:
            at_ratio[run.network, run.seed][run.prune_ratio] = run
        of_networks = [[found[p] for p in prune_ratios] for found in at_ratio.values() if found.keys() >= prune_ratios]
        means = [statistics.fmean(run.end(self.last_epochs) for run in runs) for runs in of_networks]
        one_each = [runs[0] for runs in of_networks]
        noise = noise_of(means, one_each, [run.network for run in one_each])
        if noise.df < FEWEST_DF:
            return self.run
        return noise


class Estimate(NamedTuple):
    """What a statistic becomes: a mean over seeds, and what is known of it."""

    values: tuple  # of each seed, in percent or percentage points
    networks: int = 1  # that it rests on
    half_width: float | None = None  # of the 95 % interval
    p: float | None = None  # of no difference, Holm-corrected over the table
    published: float | None = None
    compatible: bool | None = None  # whether the published value lies in the prediction interval of one new run
    is_difference: bool = True

    @property
    def mean(self):
        return statistics.fmean(self.values)


def t_inside(t, df):
    """The probability that Student's t with df degrees of freedom lies in [-t, t].

    In theta = atan(t / sqrt(df)) its density is as cos(theta)^(df - 1); summed by the midpoint rule.
    """
    midpoints = (np.arange(20_000) + 0.5) / 20_000
    end = math.atan(t / math.sqrt(df))
    inside = end * (np.cos(end * midpoints) ** (df - 1)).sum()
    whole = math.pi / 2 * (np.cos(math.pi / 2 * midpoints) ** (df - 1)).sum()
    return inside / whole


@functools.cache
def t_quantile(df):
    """t such that Student's t with df degrees of freedom lies in [-t, t] with 95 % probability, by bisection."""
    low, high = 0.0, 100.0
    for _ in range(60):
        middle = (low + high) / 2
        if t_inside(middle, df) < 0.95:
            low = middle
        else:
            high = middle
    return high


def cell_and_seed_residuals(cells, seeds, values):
    """Of the least squares fit value = cell + seed: residuals float64 [N], and their degrees of freedom.

    cells, seeds: of each value, anything that can be compared; values: [N].
    """
    indicators = [[cell == level for cell in cells] for level in dict.fromkeys(cells)]
    indicators += [[seed == level for seed in seeds] for level in dict.fromkeys(seeds)]
    design = np.array(indicators, dtype=np.float64).T
    y = np.array(values, dtype=np.float64)
    effects, _, levels, _ = np.linalg.lstsq(design, y, rcond=1e-9)  # levels: of them the independent ones
    return y - design @ effects, len(y) - int(levels)


def pooled_noise(runs, last_epochs=1):
    """The PooledNoise of Run.end(last_epochs) over the cells of one pruning method.

    Not every cell needs every seed; those of one seed have no residual. A run that two protocols share counts once.
    """
    runs = without_copies(runs)
    seeds_of_cell = Counter(run.cell for run in runs)
    runs = [run for run in runs if seeds_of_cell[run.cell] > 1]
    of_run = noise_of([run.end(last_epochs) for run in runs], runs, [run.cell for run in runs])
    return PooledNoise(of_run, tuple(runs), last_epochs)


def noise_of(values, runs, cells):
    """The Noise of values about value = cell + seed; runs: of each value one, or one of those that it is the mean of.

    Runs of several prune ratios, and of protocols that differ in the mask alone, share the luck of their network. So t
    has the degrees of freedom of first trainings, the least that is independent.
    """
    if not runs:
        return Noise(math.nan, 0)
    residuals, df = cell_and_seed_residuals(cells, [run.seed for run in runs], values)
    t_df = min(df, degrees_of_freedom(runs, lambda run: run.network), degrees_of_freedom(runs, trained_as))
    if t_df == 0:
        return Noise(math.nan, 0)
    return Noise(math.sqrt(residuals @ residuals / df), t_df)


def degrees_of_freedom(runs, group_of):
    """What a fit value = group + seed leaves, with one value for each group and seed; group_of: of a Run."""
    groups, seeds = zip(*dict.fromkeys((group_of(run), run.seed) for run in runs), strict=True)
    _, df = cell_and_seed_residuals(groups, seeds, [0.0] * len(groups))
    return df


def without_copies(runs):
    """The runs, but of those that several protocols share only the one with the fewest departures.

    A departure that changes nothing, as `frozen` in a network without BatchNorm, trains no other network.
    """
    once = {}
    for run in sorted(runs, key=lambda run: len(departures(run.protocol))):
        once.setdefault((run.order, run.data_ratio, run.prune_ratio, run.seed, run.dense, run.curve), run)
    return list(once.values())


def trained_as(run):
    """What tells the first training of a run from others, but for its seed: the mask comes later."""
    names = [name for name in departures(run.protocol) if name != "regrown"]
    return "+".join(names), run.order, run.data_ratio


def noises_of(runs, last_epochs=1):
    """{pruning method: its PooledNoise}."""
    methods = sorted({run.method for run in runs}, key=lambda method: (method != "magnitude", method))
    return {method: pooled_noise([run for run in runs if run.method == method], last_epochs) for method in methods}


def difference(experiment, order, reference, rows, noise=None, measure=Run.end):
    """The Estimate of order - reference over rows [(data ratio, prune ratio)], averaged within a seed first.

    It rests on the seeds of `paired_runs`; None if there is no pair. measure: of a Run, in %.
    noise: the PooledNoise; None to go by these pairs alone.
    """
    pairs = paired_runs(experiment, order, reference, rows)
    if not pairs:
        return None
    values = []
    shares = Counter()  # of each network in the mean of its seed
    for of_seed in pairs:
        values.append(statistics.fmean(measure(one) - measure(other) for one, other in of_seed))
        for run in itertools.chain(*of_seed):
            shares[run.network, run.seed] += 1 / len(of_seed)
    prune_ratios = {one.prune_ratio for of_seed in pairs for one, _ in of_seed}
    if noise is None:
        half_width = paired_half_width(values)
    else:
        variance = sum(share**2 for share in shares.values()) / len(values) ** 2
        of_estimate = noise.of_mean(prune_ratios) if len(prune_ratios) > 1 else noise.run
        half_width = of_estimate.half_width(variance)
    return Estimate(tuple(values), networks=len(shares), half_width=half_width)


def paired_runs(experiment, order, reference, rows):
    """[[(run, run of the reference)] of a seed], for the seeds that have the most of the rows: those that most have."""
    pairs = defaultdict(dict)
    for row in rows:
        runs = experiment.at(order, *row)
        references = experiment.at(reference, *row)
        for seed in sorted(runs.keys() & references.keys()):
            pairs[seed][row] = runs[seed], references[seed]
    shared = Counter(map(tuple, pairs.values()))  # {rows: how many seeds have just these}
    most = max(shared, key=lambda rows: (len(rows), shared[rows]), default=())
    return [list(of_seed.values()) for of_seed in pairs.values() if tuple(of_seed) == most]


def has_all_rows(experiment, order, reference):
    """Whether a seed has both orders in every row of the experiment."""
    pairs = paired_runs(experiment, order, reference, experiment.rows)
    return bool(pairs) and len(pairs[0]) == len(experiment.rows)


def paired_half_width(values):
    """Half of the 95 % interval of the mean by the t test of these values alone; None of fewer than three."""
    if len(values) < FEWEST_PAIRS:
        return None
    return Noise(statistics.stdev(values), len(values) - 1).reach(1 / len(values))


def mean_and_interval(values):
    """In words, a mean and, from three values up, the 95 % interval of the t test of these values alone."""
    half_width = paired_half_width(values)
    interval = "" if half_width is None else f" ± {half_width:.2f}"
    return f"{statistics.fmean(values):+.2f}{interval}"


def holm(p_values):
    """The p-values adjusted for their number (Holm, 1979), a list in the order given."""
    order = np.argsort(p_values, kind="stable")
    count = len(p_values)
    adjusted = np.empty(count)
    factors = np.arange(count, 0, -1)
    adjusted[order] = np.maximum.accumulate(np.array(p_values)[order] * factors).clip(max=1)
    return adjusted.tolist()


# -------------------------------------------------------------------------------------------------------- table 1


def published_accuracies(runs):
    """The authors' accuracies after fine-tuning, {(order, data, prune ratio): %}; {} beside another experiment's runs.

    Unlike ours, theirs has a baseline of its own for every data ratio.
    """
    accuracies = {}
    if not is_their_experiment(runs):
        return accuracies
    for row in published_rows(PUBLISHED, runs[0].model, runs[0].dataset):
        for order in ("base", "low", "high"):
            accuracies[order, float(row["data_ratio"]), float(row["prune_ratio"])] = float(row[f"{order}_finetuned"])
    return accuracies


THEIR_SETTINGS = "10 epochs, lr 0.001, batch size 64, "


def is_their_experiment(runs):
    """Whether runs have the authors' data and training, whatever the precision; of other pruning methods none asks."""
    train_size = DATASETS[runs[0].dataset][2]
    if not runs[0].data.startswith(f"{train_size} + ") or runs[0].data.endswith(NOT_ORIGINAL):
        return False
    trainings = {run.fine_tuning for run in runs if run.method == "magnitude"}
    trainings |= {run.first_training for run in runs if run.order != "untrained"}
    return all(flags.startswith(THEIR_SETTINGS) for flags in trainings)


def published_curves(model, dataset):
    """The authors' accuracies after each epoch of fine-tuning: {(order, data, prune ratio): [%]}."""
    curves = {}
    for row in published_rows(PUBLISHED_CURVES, model, dataset):
        cell = row["order"], float(row["data_ratio"]), float(row["prune_ratio"])
        curves[cell] = [float(row[f"epoch{epoch}"]) for epoch in range(1, 11)]
    return curves


def published_rows(path, model, dataset):
    """The rows [{column: text}] on a network and a data set."""
    return [row for row in csv_rows(path) if row["dataset"] == dataset and row["model"].lower() == model]


@functools.cache
def csv_rows(path):
    """The lines [{column: text}] of a csv, read once however many panels of a figure ask for them."""
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def title(*orders):
    return " - ".join(order[:1].upper() + order[1:] for order in orders)


def compared_pairs(orders):
    """The [(order, reference)] that a table compares: less base, then less random."""
    pairs = [(order, "base") for order in orders if order != "base"]
    if "random" in orders:
        pairs += [(order, "random") for order in orders if order not in ("base", "random", *CONTROLS)]
    return pairs


def row_start(experiments, experiment, data_ratio, prune_ratio):
    """The first fields of a row; protocol and pruning method only where the experiments differ in them."""
    row = {"Data": data_ratio, "Pruned": prune_ratio}
    if len({other.protocol for other in experiments}) > 1:
        row["Protocol"] = experiment.protocol
    if len({other.method for other in experiments}) > 1:
        row["Pruning"] = experiment.method
    return row


def table_rows(experiments, noises, published):
    """Table 1, and the ablation: [{title: text, Estimate or None}] for every row of every experiment, then the means.

    noises: {pruning method: PooledNoise}; published: of `published_accuracies`.
    """
    orders = in_order(itertools.chain(*(experiment.orders for experiment in experiments)))
    all_ratios = sorted(set(itertools.chain(*(experiment.rows for experiment in experiments))))
    rows = []
    for ratios in all_ratios:
        for experiment in experiments:
            if ratios in experiment.rows:
                noise = noises[experiment.method]
                row = row_start(experiments, experiment, *(f"{ratio:g}" for ratio in ratios))
                row |= accuracies_at(experiment, orders, ratios)
                for pair in compared_pairs(orders):
                    row[title(*pair)] = table_entry(experiment, pair, ratios, noise, published)
                rows.append(row)
    correct_p_values(rows)
    return rows + [mean_row(experiments, e, orders, noises, published) for e in experiments if len(e.rows) > 1]


def accuracies_at(experiment, orders, ratios):
    """{title: Estimate or None}: the accuracy of the baseline, and of an order that has no baseline to compare with."""
    base = experiment.at("base", *ratios)
    accuracies = {}
    for order in in_order(["base", *orders]):
        runs = experiment.at(order, *ratios)
        shown = runs and (order == "base" or not runs.keys() & base.keys())
        ends = tuple(run.end() for run in runs.values())
        accuracies[title(order)] = Estimate(ends, is_difference=False) if shown else None
    return accuracies


def table_entry(experiment, pair, ratios, noise, published):
    """The Estimate of one difference in one cell, with its p-value and what the authors published; None without one."""
    estimate = difference(experiment, *pair, [ratios], noise)
    if estimate is None:
        return None
    if estimate.half_width is not None:
        estimate = estimate._replace(p=noise.run.p_value(estimate.mean, estimate.half_width))
    theirs = published_difference(experiment, pair, ratios, published)
    if theirs is not None:
        reach = noise.run.half_width(2 + 2 / len(estimate.values))  # of one new pair beside the mean of ours
        compatible = None if reach is None else abs(theirs - estimate.mean) <= reach
        estimate = estimate._replace(published=theirs, compatible=compatible)
    return estimate


def published_difference(experiment, pair, ratios, published):
    """What the authors published for order - reference in a cell, in points; None where they did not."""
    departs_as_theirs = set(departures(experiment.protocol)) <= set(DEPARTURES)
    ends = [published.get((order, *ratios)) for order in pair]
    if experiment.method != "magnitude" or not departs_as_theirs or None in ends:
        return None
    return ends[0] - ends[1]


def correct_p_values(rows):
    """Give every Estimate of the rows that has a p-value the one that is Holm-corrected over all of them."""
    tests = []
    for row in rows:
        tests += [(row, name) for name, entry in row.items() if isinstance(entry, Estimate) and entry.p is not None]
    corrected = holm([row[name].p for row, name in tests])
    for (row, name), p in zip(tests, corrected, strict=True):
        row[name] = row[name]._replace(p=p)


def mean_row(experiments, experiment, orders, noises, published):
    """The mean over all rows of an experiment: the main effects of the orders that have every row."""
    row = row_start(experiments, experiment, "mean", "")
    noise = noises[experiment.method]
    for pair in compared_pairs(orders):
        row[title(*pair)] = None
        if has_all_rows(experiment, *pair):
            estimate = difference(experiment, *pair, experiment.rows, noise)
            theirs = [published_difference(experiment, pair, ratios, published) for ratios in experiment.rows]
            known = None not in theirs
            row[title(*pair)] = estimate._replace(published=statistics.fmean(theirs) if known else None)
    return row


# ---------------------------------------------------------------------------------------------- tables as text


def estimate_texts(estimate, count_seeds):
    """The estimate, its p-value and the published value as a table prints them, "-" for what there is not."""
    text = f"{estimate.mean:+.2f}" if estimate.is_difference else f"{estimate.mean:.2f}"
    seeds = len(estimate.values)
    if estimate.half_width is not None:
        text += f" ± {estimate.half_width:.2f}"
    elif estimate.is_difference and 1 < seeds < FEWEST_PAIRS:
        values = ", ".join(f"{value:+.1f}" for value in estimate.values)
        return f"{text} ({seeds} seeds: {values})", "-", published_text(estimate)
    if estimate.p is not None and estimate.p <= 0.05:
        text += " *"
    if count_seeds:
        text += f" ({seeds})"
    return text, p_text(estimate), published_text(estimate)


def p_text(estimate):
    if estimate.p is None or len(estimate.values) < SEEDS_FOR_A_TEST:
        return "-"
    return p_in_words(estimate.p)


def p_in_words(p):
    if p < 0.001:
        return "<0.001"
    return f"{p:.3f}"


def published_text(estimate):
    if estimate.published is None:
        return "-"
    compatible = {None: "", True: " in", False: " out"}[estimate.compatible]
    return f"{estimate.published:+.2f}{compatible}"


def column_groups(rows, count_seeds):
    """[[(title, text of every row)]]: of every entry of the rows the columns that have a value.

    An Estimate has up to three, itself, its p-value and what is published, which stay side by side.
    """
    groups = []
    for name in dict.fromkeys(itertools.chain(*rows)):
        texts = []
        for row in rows:
            entry = row.get(name)
            if isinstance(entry, Estimate):
                texts.append(estimate_texts(entry, count_seeds))
            else:
                texts.append(("-" if entry is None else entry, "-", "-"))
        columns = zip((name, "p", "published"), *texts, strict=True)
        group = [column for column in columns if set(column[1:]) != {"-"}]
        if group:
            groups.append(group)
    return groups


KEYS = ("Data", "Pruned", "Protocol", "Pruning", "Main effect", "Order")  # columns that say what a row is


def blocks_of(groups, style):
    """Tables [[column]] of a style's width, or of one group; each begins with the columns that say what a row is.

    Differences from base, from random, and of controls do not share a table.
    """
    keys = [group[0] for group in groups if group[0][0] in KEYS]
    blocks = []
    last_kind = None
    for group in groups:
        if group[0][0] in KEYS:
            continue
        kind = kind_of_column(group[0][0])
        if kind != last_kind or width_of(blocks[-1] + group, style) > WIDTHS[style]:
            blocks.append(list(keys))
            last_kind = kind
        blocks[-1] += group
    return blocks


def kind_of_column(name):
    """What a column compares: with which reference, or a control."""
    order, _, reference = name.partition(" - ")
    if order.lower() in CONTROLS:
        return "control"
    return reference if reference == "Random" else "Base"


def width_of(columns, style):
    """The characters of a table's line."""
    return as_text(columns, style).index("\n")


def lines_with_entries(columns):
    """The titles of a block, and its lines [[text]], but for those that say nothing beside what row they are."""
    titles, *lines = zip(*columns, strict=True)
    keys = sum(name in KEYS for name in titles)
    return titles, [line for line in lines if set(line[keys:]) != {"-"}]


def as_text(columns, style):
    """A block of columns as aligned text, or as a markdown table: style "text" or "markdown"."""
    titles, lines = lines_with_entries(columns)
    lines = [titles, *lines]
    widths = [max(2, *map(len, column)) for column in zip(*lines, strict=True)]  # markdown's rule is "-:" at least
    padded = []
    for line in lines:
        padded.append([field.rjust(width) for field, width in zip(line, widths, strict=True)])
    if style == "text":
        return "".join("  ".join(line) + "\n" for line in padded)
    padded.insert(1, ["-" * (width - 1) + ":" for width in widths])
    return "".join(f"| {' | '.join(line)} |\n" for line in padded)


def as_latex(columns):
    """Columns as one LaTeX tabular, for the package booktabs."""
    titles, lines = lines_with_entries(columns)
    head, *body = (" & ".join(map(latex_escaped, line)) + r" \\" for line in (titles, *lines))
    start = rf"\begin{{tabular}}{{{'r' * len(columns)}}}"
    return "\n".join([start, r"\toprule", head, r"\midrule", *body, r"\bottomrule", r"\end{tabular}", ""])


def latex_escaped(text):
    """Text for LaTeX, minus signs as minus."""
    text = re.sub(r"([%&#_$^{}])", r"\\\1", text).replace("±", r"$\pm$").replace("<", "$<$")
    return re.sub(r"(?<!\S)([-+])(?=\d| )", r"$\1$", text)


def render(tables, notes, style):
    """Tables [[row]] and the notes below them in a style: text, markdown or latex."""
    estimates = list(estimates_of(itertools.chain(*tables)))
    count_seeds = len({len(estimate.values) for estimate in estimates}) > 1
    groups_of_tables = [column_groups(rows, count_seeds) for rows in tables if rows]
    if style == "latex":
        tabulars = [as_latex(list(itertools.chain(*groups))) for groups in groups_of_tables]
        lines = [latex_escaped(note) + r"\\" for note in notes]
        return "\n".join([r"% needs \usepackage{booktabs}", *tabulars, r"\par\footnotesize\noindent", *lines, ""])
    texts = []
    for groups in groups_of_tables:
        texts += [as_text(block, style) for block in blocks_of(groups, style)]
    return "\n".join([*texts, notes_as_text(notes, style)])


def notes_as_text(notes, style):
    """Notes, a line each, or a list in markdown; text is broken at its width."""
    if style == "markdown":
        return "".join(f"- {note}\n" for note in notes)
    return "".join(wrapped(note, hang=2) for note in notes)


def wrapped(line, indent=0, hang=0):
    """A line of text, broken at the width of text; all of it is indented, and what follows the first break hangs."""
    first = " " * indent
    indents = {"initial_indent": first, "subsequent_indent": first + " " * hang}
    return textwrap.fill(line, WIDTHS["text"], **indents, break_long_words=False, break_on_hyphens=False) + "\n"


def estimates_of(rows):
    for row in rows:
        yield from (entry for entry in row.values() if isinstance(entry, Estimate))


# ---------------------------------------------------------------------------------------------------------- notes


def statistics_notes(estimates, noises, has_mean):
    """What the signs in a table of these Estimates mean, a line each; has_mean: whether it has a row of means."""
    lines = ["Test accuracy in %, differences in percentage points, paired by seed; (n): of n seeds."]
    tests = sum(estimate.p is not None for estimate in estimates)
    known = {method: noise for method, noise in noises.items() if noise.run.df >= FEWEST_DF}
    if not known:
        return lines + [f"An interval takes more seeds: at least {FEWEST_DF} degrees of freedom, in networks."]
    lines += [
        "±: half of the 95 % interval, given this split of the data and this recipe.",
        "Noise is pooled over a pruning method's cells with two seeds: accuracy = cell + seed + residual, sigma below.",
        f"*: not 0 at 5 % by the t test with that noise, Holm-corrected over the {tests} differences of the table.",
        f"p: of the same test, from {SEEDS_FOR_A_TEST} seeds up. "
        "in, out: of the 95 % prediction interval of a new run is the published one.",
    ]
    if has_mean:
        lines.append(
            "mean: over the rows above, averaged within a seed first; its unit is the network, "
            "its noise that of networks with all its prune ratios."
        )
    for method, noise in known.items():
        name = f"sigma of {method}" if len(noises) > 1 else "sigma"
        lines.append(f"{name}: {noise.run.sigma:.2f}; degrees of freedom, in networks: {noise.run.df}.")
    return lines


def made_from(runs, experiments):
    """What a report was made from, a line each."""
    first_training = next((run.first_training for run in runs if run.first_training), "none")
    tunings = dict.fromkeys(run.fine_tuning for run in runs)
    protocols = dict.fromkeys(experiment.protocol for experiment in experiments)
    methods = dict.fromkeys(experiment.method for experiment in experiments)
    seeds = sorted({run.seed for run in runs})
    lines = [
        f"{runs[0].model} on {runs[0].dataset}: {runs[0].data}.",
        f"First training: {first_training}. Fine-tuning: {'; '.join(tunings)}.",
        f"Protocol: {', '.join(protocols)}. Seeds: {' '.join(map(str, seeds))}.",
    ]
    lines += scored_otherwise(runs, first_training)
    if list(methods) != ["magnitude"] and len(methods) == 1:
        lines.append(f"Pruning: {', '.join(methods)}.")
    lines += machines_of(runs)
    lines += trained_twice(runs)
    lines.append(f"Their steps took {duration(seconds_of(runs))}, one after the other.")
    missing = set().union(*(experiment.missing() for experiment in experiments))
    if missing:
        lines.append(f"Missing runs: {len(missing)} (make -n names them).")
    return lines


def scored_otherwise(runs, first_training):
    """A line for each scoring run that had other settings than the first training."""
    others = {run.scoring for run in runs if is_scored(run.order)} - {first_training, "", UNKNOWN}
    return [f"Scored by another training than the first: {scoring}." for scoring in sorted(others)]


def machines_of(runs):
    """How many runs were made on which machine, a line each."""
    counts = Counter(run.machine for run in runs)
    return [f"{count} run{'s' * (count > 1)} made on {machine}." for machine, count in counts.items()]


def trained_twice(runs):
    """A line for each network whose runs are of several first trainings, as of two machines."""
    trainings = defaultdict(set)
    for run in runs:
        trainings[run.protocol, run.order, run.data_ratio, run.seed].add(run.dense)
    lines = []
    for (protocol, order, data_ratio, seed), found in trainings.items():
        if len(found) > 1:
            name = f"{protocol}, {order}, {100 * data_ratio:g} % of the data, seed {seed}"
            lines.append(f"Trained {len(found)} times, so that its runs are of {len(found)} networks: {name}.")
    return lines


def seconds_of(runs):
    """What the steps of these runs took; a first training that several share counts once."""
    first_trainings = {(run.protocol, run.order, run.data_ratio, run.seed): run.first_seconds for run in runs}
    return sum(first_trainings.values()) + sum(run.seconds for run in runs)


def published_notes(estimates, published):
    """How the published differences go with ours, a line each; estimates: of the cells of one experiment."""
    compared = [estimate for estimate in estimates if estimate.published is not None]
    if not compared:
        return []
    agree = sum(estimate.mean * estimate.published > 0 for estimate in compared)
    line = f"Of {len(compared)} published differences, {agree} have the sign of ours"
    if all(estimate.compatible is not None for estimate in compared):
        line += f", {sum(estimate.compatible for estimate in compared)} are compatible with ours"
    gaps = defaultdict(list)
    for order, data_ratio, prune_ratio in published:
        if order == "low":
            gap = published["low", data_ratio, prune_ratio] - published["high", data_ratio, prune_ratio]
            gaps[data_ratio].append(gap)
    means = [statistics.fmean(gap) for gap in gaps.values()]
    return [f"{line}.", f"Published low - high: {mean_and_interval(means)} over {len(means)} data ratios."]


def table(runs, style):
    """Table 1 of the runs as text, in a style: text, markdown or latex."""
    experiments = experiments_of(runs)
    noises = noises_of(runs)
    published = published_accuracies(runs)
    rows = table_rows(experiments, noises, published)
    of_cells = list(estimates_of(row for row in rows if row["Data"] != "mean"))
    has_mean = any(row["Data"] == "mean" for row in rows)
    notes = statistics_notes(of_cells, noises, has_mean) + made_from(runs, experiments)
    if len(experiments) == 1:
        notes += published_notes(of_cells, published)
    return render([rows], notes, style)


# -------------------------------------------------------------------------------------------------------- figures


def pyplot():
    """matplotlib set for one column's width, text kept as text in an SVG, the same bytes every time."""
    try:
        import matplotlib
    except ImportError:
        fail("figures need matplotlib: run `make figures`, or pip install matplotlib")
    matplotlib.use("Agg")
    settings = {
        "svg.fonttype": "none",
        "svg.hashsalt": "figure",
        "font.size": 8,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "legend.frameon": False,
        "savefig.dpi": 200,
    }
    matplotlib.rcParams.update(settings)
    from matplotlib import pyplot

    return pyplot


def save_figure(figure, path):
    """Write the figure as its path's ending says; exits with one line if matplotlib is not to know that ending."""
    metadata = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}, ".png": {}}.get(Path(path).suffix)
    if metadata is None:
        fail(f"--out {path}: must end in .svg, .png or .pdf")
    with replacing(path) as file:
        figure.savefig(file, format=Path(path).suffix[1:], bbox_inches="tight", metadata=metadata)


def colours_of(orders):
    """{order: its colour}, the same in every figure."""
    spare = itertools.cycle(SPARE_COLOURS)
    return {order: COLOURS.get(order) or next(spare) for order in orders}


def experiments_to_draw(runs):
    """The Experiments of a figure, one for each protocol; exits with one line if pruning methods are mixed."""
    experiments = experiments_of(runs)
    methods = dict.fromkeys(experiment.method for experiment in experiments)
    if len(methods) > 1:
        fail(f"a figure shows one pruning method, and these files have {', '.join(methods)}")
    return experiments


def orders_to_draw(experiments):
    """The orders that have every row of an experiment, but for controls, where there is anything else to show."""
    orders = set()
    for experiment in experiments:
        for order in experiment.orders:
            if all(experiment.at(order, *ratios) for ratios in experiment.rows):
                orders.add(order)
    chosen = orders - set(CONTROLS)
    if chosen - {"base"}:
        return in_order(chosen)
    return in_order(itertools.chain(*(experiment.orders for experiment in experiments)))


def panels(rows, columns):
    """A figure of rows x columns panels that share their axes, and the panels [rows, columns]."""
    size = 1.0 + 2.4 * columns, 1.2 + 1.6 * rows
    return pyplot().subplots(rows, columns, sharex=True, sharey=True, figsize=size, layout="constrained", squeeze=False)


def finish(figure, axes, headlines, across, legend, notes):
    """Write a figure's title, axis labels and legend, and the notes below; legend: {name: look of its line}."""
    figure.suptitle("\n".join(headlines), fontsize=9, fontweight="bold")
    for axis in axes[:, 0]:
        axis.set_ylabel("test accuracy (%)")
    for axis in axes[-1]:
        axis.set_xlabel(across)
    lines = [pyplot().Line2D([], [], label=name, **look) for name, look in legend.items()]
    per_row = 2 + 2 * min(axes.shape[1], 2)
    legend_rows = math.ceil(len(lines) / per_row)
    figure.legend(
        handles=lines,
        loc="outside lower center",
        ncols=math.ceil(len(lines) / legend_rows),
        title="\n".join(notes),
        title_fontsize=7,
    )


def legend_of(colours):
    return {order: {"color": colour, "lw": 3} for order, colour in colours.items()}


def subject(experiments, runs):
    """What a figure is of, in a line."""
    words = [f"{runs[0].model} on {runs[0].dataset}"]
    if experiments[0].method != "magnitude":
        words.append(experiments[0].method)
    seeds = sorted({run.seed for run in runs})
    words.append(f"{len(seeds)} seeds" if len(seeds) > 1 else f"seed {seeds[0]}")
    return ", ".join(words)


def protocol_in_words(protocol):
    return {"paper": "by the text", "released": "as released"}.get(protocol, protocol)


def standing(experiment, measure, noise=None):
    """Where low and high networks stand to the baseline in all cells: below, above or on no sure side of it.

    None unless all are there. measure: of a Run, in %; noise: as in `difference`.
    """
    if not all(has_all_rows(experiment, order, "base") for order in ("low", "high")):
        return None
    estimates = [difference(experiment, order, "base", experiment.rows, noise, measure) for order in ("low", "high")]
    if any(estimate.half_width is None for estimate in estimates):
        return None
    return side_of_all(estimates).replace("neither", "on no sure side of")


def side_of(estimate):
    """Where an Estimate lies: below or above 0, or neither where its interval holds 0 or is not known."""
    if estimate is None or estimate.half_width is None or abs(estimate.mean) <= estimate.half_width:
        return "neither"
    return "above" if estimate.mean > 0 else "below"


def side_of_all(estimates):
    """The side that all Estimates share, else neither."""
    sides = {side_of(estimate) for estimate in estimates}
    return sides.pop() if len(sides) == 1 else "neither"


def figure1(runs, out):
    """Paper, figure 1: test accuracy over fine-tuning, a line per order, a panel per cell, protocol under protocol."""
    experiments = experiments_to_draw(runs)
    colours = colours_of(orders_to_draw(experiments))
    noise = noises_of(runs)[experiments[0].method]
    rows = [(experiment, data_ratio) for experiment in experiments for data_ratio in experiment.data_ratios]
    prune_ratios = sorted(set(itertools.chain(*(experiment.prune_ratios for experiment in experiments))))
    figure, axes = panels(len(rows), len(prune_ratios))
    legend = legend_of(colours)
    for (experiment, data_ratio), row in zip(rows, axes, strict=True):
        for prune_ratio, axis in zip(prune_ratios, row, strict=True):
            axis.set_title(panel_title(experiments, experiment, data_ratio, prune_ratio), fontsize=8)
            axis.xaxis.get_major_locator().set_params(integer=True)
            for order, colour in colours.items():
                draw_curve(axis, experiment, order, (data_ratio, prune_ratio), colour)
                if draw_published_curve(axis, experiment, order, (data_ratio, prune_ratio), colour):
                    legend["published"] = {"color": "#444444", "ls": ":", "lw": 1.2}
    findings = {experiment: standing(experiment, Run.end, noise) for experiment in experiments}
    headlines = sentences({e: f"coreset networks end {side} the baseline" for e, side in findings.items() if side})
    notes = [subject(experiments, runs), *curve_notes(runs)]
    finish(figure, axes, headlines, "epoch of fine-tuning", legend, notes)
    save_figure(figure, out)


def sentences(findings):
    """[A sentence for each finding, with the protocols that it is of]; findings: {Experiment: text}."""
    protocols = defaultdict(list)
    for experiment, finding in findings.items():
        protocols[finding].append(protocol_in_words(experiment.protocol))
    lines = [f"{' and '.join(names)}, {finding}." for finding, names in protocols.items()]
    return [line[0].upper() + line[1:] for line in lines]


def panel_title(experiments, experiment, data_ratio, prune_ratio=None):
    """What a panel is of; the protocol only where the figure has several."""
    words = []
    if len(experiments) > 1:
        words.append(protocol_in_words(experiment.protocol))
    words.append(f"{100 * data_ratio:g} % of the data")
    if prune_ratio is not None:
        words.append(f"{100 * prune_ratio:g} % pruned")
    return ", ".join(words)


def draw_curve(axis, experiment, order, ratios, colour):
    """The mean of the seeds as a line, their range as a band; dashed where seeds are missing."""
    runs = experiment.at(order, *ratios)
    curves = np.array([run.accuracies[1:] for run in runs.values()])  # [seeds, epochs]
    if not curves.size:
        return
    epochs = range(1, curves.shape[1] + 1)
    look = {"color": colour, "lw": 1.2, "ls": "-" if runs.keys() >= set(experiment.seeds) else "--"}
    if len(epochs) == 1:
        look |= {"marker": "o", "ms": 4}
        axis.set_xlim(0, 2)
    data_ratio, prune_ratio = ratios
    axis.plot(epochs, curves.mean(0), gid=f"line-{experiment.protocol}-{order}-{data_ratio:g}-{prune_ratio:g}", **look)
    axis.fill_between(epochs, curves.min(0), curves.max(0), color=colour, alpha=0.15, lw=0)


def draw_published_curve(axis, experiment, order, ratios, colour):
    """What the authors' log has of this cell, dotted, beside ours as released; returns whether there is any."""
    runs = list(experiment.at(order, *ratios).values())
    as_theirs = experiment.protocol == "released" and experiment.method == "magnitude"
    if not as_theirs or not runs or not is_their_experiment(runs):
        return False
    curve = published_curves(runs[0].model, runs[0].dataset).get((order, *ratios))
    if curve is None:
        return False
    axis.plot(range(1, len(curve) + 1), curve, color=colour, lw=1.2, ls=":")
    return True


def curve_notes(runs):
    """What the signs in figure 1 mean, a line each."""
    if len({run.seed for run in runs}) == 1:
        return []
    return ["line and band: mean and range of the seeds; dashed where seeds are missing"]


def figure2(runs, out):
    """Paper, figure 2: accuracy before and after pruning, bars per order, a panel per data ratio and protocol."""
    experiments = experiments_to_draw(runs)
    colours = colours_of(orders_to_draw(experiments))
    data_ratios = sorted(set(itertools.chain(*(experiment.data_ratios for experiment in experiments))))
    prune_ratios = sorted(set(itertools.chain(*(experiment.prune_ratios for experiment in experiments))))
    figure, axes = panels(len(experiments), len(data_ratios))
    for experiment, row in zip(experiments, axes, strict=True):
        for data_ratio, axis in zip(data_ratios, row, strict=True):
            axis.set_title(panel_title(experiments, experiment, data_ratio), fontsize=8)
            axis.set_xticks(range(len(prune_ratios)), [f"{100 * p:g}" for p in prune_ratios])
            for position, prune_ratio in enumerate(prune_ratios):
                draw_bars(axis, experiment, (data_ratio, prune_ratio), position, colours)
    findings = {experiment: standing_around_pruning(experiment) for experiment in experiments}
    headlines = sentences({experiment: finding for experiment, finding in findings.items() if finding})
    notes = [subject(experiments, runs), "outline: before pruning, filled: right after it"]
    if len({run.seed for run in runs}) > 1:
        notes.append("error bars: one standard deviation over the seeds")
    finish(figure, axes, headlines, "pruned weights (%)", legend_of(colours), notes)
    save_figure(figure, out)


def standing_around_pruning(experiment):
    """Where coreset networks stand to the baseline before pruning and right after it, in words; None without them."""
    before = standing(experiment, lambda run: run.dense)
    after = standing(experiment, lambda run: run.pruned)
    if before is None or after is None:
        return None
    then = "and right after it" if after == before else f"and {after} it right after"
    return f"coreset networks are {before} the baseline before pruning {then}"


def draw_bars(axis, experiment, ratios, position, colours):
    """At one prune ratio, the accuracy of every order before pruning (outline) and after (filled), side by side."""
    found = {order: list(experiment.at(order, *ratios).values()) for order in colours}
    orders = [order for order, runs in found.items() if runs]
    width = 0.8 / max(1, len(orders))
    for i, order in enumerate(orders):
        x = position + width * (i - (len(orders) - 1) / 2)
        name = f"{experiment.protocol}-{order}-{ratios[0]:g}-{ratios[1]:g}"
        before = draw_bar(axis, x, width, [run.dense for run in found[order]], colours[order], "none")
        before.set_gid(f"bar-before-{name}")
        after = draw_bar(axis, x, width, [run.pruned for run in found[order]], colours[order], colours[order])
        after.set_gid(f"bar-after-{name}")


def draw_bar(axis, x, width, accuracies, edge, fill):
    """A bar of the mean accuracy, with one standard deviation where there are several."""
    bars = axis.bar(
        x,
        statistics.fmean(accuracies),
        0.85 * width,
        yerr=statistics.stdev(accuracies) if len(accuracies) > 1 else None,
        error_kw={"lw": 0.9, "ecolor": "#888888"},
        lw=0.8,
        edgecolor=edge,
        facecolor=fill,
    )
    return bars[0]


# --------------------------------------------------------------------------------------------------- command line


def asked(text):
    """What --asked says, as `load_runs` takes it: {field: (settings, "--asked")}."""
    flags = asked_flags(text)
    tuning = flags | {"epochs": flags["tune_epochs"]}
    return {"first_training": (settings([flags]), ASKED), "fine_tuning": (settings([tuning]), ASKED)}


def print_or_write(text, path):
    """Write the text to the file at `path`, or print it; exits with one line if there is no room for it."""
    try:
        with replacing(path) if path else open(1, "wb", closefd=False) as file:
            file.write(text.encode())
    except OSError as error:
        fail(f"cannot print ({first_line(error)})")


def require_text_file(parser, path):
    """Exit with one line if a table would take the place of a result, as of the first file after an empty --out."""
    if path and path.endswith((".pt", ".npy", ".csv")):
        parser.error(f"argument --out: {path} would be a text in the place of a result")


def require_all_kept(path, runs):
    """Exit with one line if the csv at `path` has runs that are not among these: they may be nowhere else."""
    if not path or not Path(path).exists():
        return
    kept = {(run.cell, run.seed) for run in runs}
    lost = [run for run in read_csv(path) if (run.cell, run.seed) not in kept]
    if lost:
        fail(f"{path} has {len(lost)} runs that the inputs lack: give --out another file, or move this one away")


COMMANDS = """
commands, each with an example:
  table     Table 1, or a table of several protocols or pruning methods
    python report.py table runs/paper/MNIST/lenet/seed*/*/p*/finetuned.pt
  runs      a csv line a run, which other commands read in place of checkpoints
    python report.py runs runs/*/MNIST/lenet/seed*/*/p*/finetuned.pt --out x.csv
  figure1   test accuracy over fine-tuning, a panel a cell, protocol by protocol
    python report.py figure1 x.csv --out figure1.svg
  figure2   test accuracy before and right after pruning
    python report.py figure2 x.csv --out figure2.svg
"""


def main():
    parser = Parser(__doc__, epilog=COMMANDS)
    figures = {"figure1": figure1, "figure2": figure2}
    parser.add_argument("command", choices=["table", "runs", *figures], help="what to make, see below")
    parser.add_argument("inputs", nargs="+", metavar="IN", help="finetuned.pt files, or csv files of `report.py runs`")
    styles = ["text", "markdown", "latex"]
    parser.add_argument("--format", choices=styles, default="text", help="of table (default: %(default)s)")
    insist = "insist on these training flags, with --tune-epochs N where fine-tuning has others, and on what paths say"
    parser.add_argument("--asked", metavar="FLAGS", type=asked, default={}, help=insist)
    parser.add_argument("--out", metavar="FILE", help="the file to write; figures need one (default: print)")
    args = parser.start("out")
    if args.command in figures and not args.out:
        parser.error("argument --out: a figure needs a file")
    if args.command == "runs" and args.out and not args.out.endswith(".csv"):
        parser.error(f"argument --out: {args.out} must end in .csv, by which other commands know it")
    if args.command == "table":
        require_text_file(parser, args.out)

    runs = load_runs(args.inputs, args.asked)
    if args.command in figures:
        figures[args.command](runs, args.out)
    elif args.command == "runs":
        require_all_kept(args.out, runs)
        print_or_write(write_csv(runs), args.out)
    else:
        print_or_write(table(runs, args.format), args.out)


if __name__ == "__main__":
    main()
