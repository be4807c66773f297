"""How far a table is, and how long the rest takes, from the steps of `make -n`.

    make -n table | python tests/status.py status --runs runs

Make calls it: `status` for make status; `begin` before the first step, which
prints the time that all will take and ends with one line if another make is at
the same files; and `progress` after every run.

The time comes from the networks that are done in these folders, or from a few
training steps timed here. It counts what a step takes besides training
(start-up, evaluations) and which steps wait for others: no coreset of a seed
can begin before forget.py has ended.
"""

import argparse
import contextlib
import heapq
import itertools
import json
import os
import platform
import re
import signal
import sys
import time
from pathlib import Path
from typing import NamedTuple

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends the program without a traceback, while it loads, too
STARTED = time.perf_counter()
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

STEP = re.compile(r"\b(forget|select|train|crest|prune|finetune)\.py (.*) --out (\S+)$")
RUN = re.compile(r"\S+/finetuned\.pt\b")
EVALUATED = 1 / 3  # what it costs to evaluate an image, where 1 is what it costs to train on it
CHOSEN = {"failed": 25, "always": 11}  # to choose it, too, by CREST's --renew (ResNet18: 10 and 9; LeNet: 84 and 16)


class Step(NamedTuple):
    """A line of `make -n` that runs a script of the suite."""

    script: str
    flags: dict  # {"--seed": "0", ...}
    out: str

    @property
    def network(self):
        return network_of(self.out)

    @property
    def inputs(self):
        return [self.flags[flag] for flag in ("--in", "--scores", "--subset", "--start") if flag in self.flags]

    @property
    def outputs(self):
        arrays = ("--scores", "--correct", "--errors") if self.script == "forget" else ()
        return [self.out, *(self.flags[flag] for flag in arrays)]


def network_of(path):
    """(dataset, model), which the path of a result tells."""
    parts = Path(path).parts
    at = next(i for i, part in enumerate(parts) if re.fullmatch("seed[0-9]+", part))
    return parts[at - 2], parts[at - 1]


def read_steps(lines):
    steps = []
    for match in filter(None, map(STEP.search, lines)):
        script, flags, out = match.groups()
        steps.append(Step(script, dict(itertools.pairwise(flags.split())), out))
    return steps


# ------------------------------------------------------------------------------------------------------- the time


def cost(script, epochs, samples, train_size, test_size):
    """What a step computes, as a number of images trained on; samples: those in an epoch."""
    if script == "select":
        return 0
    evaluated = (epochs + 1) * test_size  # before the first epoch and after each
    if script == "forget":
        evaluated += (epochs + 1) * train_size  # after each, and the errors at the end
    return epochs * samples + EVALUATED * evaluated


def samples_of(step, train_size):
    """How many samples a step trains on in an epoch; CREST's are counted as what they cost."""
    ratio = float(Path(step.out).parent.name.partition("-")[2]) if "--subset" in step.flags else 1
    if step.script == "crest":
        ratio = CHOSEN[step.flags.get("--renew", "failed")]
    return ratio * float(step.flags.get("--share", 1)) * train_size


def sizes_of(dataset, folder):
    """The sizes of the training and the test set: those of the packed file, or of the original."""
    from train import DATASETS, fail, load_pt

    if dataset not in DATASETS:
        fail(f"{dataset} is no data set: they are {', '.join(DATASETS)}")
    with contextlib.suppress(Exception):
        packed = load_pt(Path(folder) / f"{dataset}.pt")
        return len(packed["train_labels"]), len(packed["test_labels"])
    return DATASETS[dataset][2:]


def last_step(path):
    """(name, flags, seconds) of the step that made a checkpoint, without reading its weights; None for what is none."""
    import torch

    with contextlib.suppress(Exception):
        checkpoint = torch.load(path, map_location="cpu", mmap=True, weights_only=True)
        name, flags = list(checkpoint["args"].items())[-1]
        return name, dict(flags), checkpoint["seconds"]


def measured(runs, dataset, model):
    """Seconds for an image trained on, by the last networks of the kind that are done; None where there is none."""
    paths = [path for path in Path(runs).glob(f"*/{dataset}/{model}/**/*.pt") if not path.match("pruned*.pt")]
    seconds = images = 0
    for path in sorted(paths, key=lambda path: path.stat().st_mtime)[-12:]:
        with contextlib.suppress(KeyError, TypeError):  # what is no network is passed over
            name, flags, taken = last_step(path)
            samples = flags.get("samples", flags["train_size"]) * CHOSEN.get(flags.get("renew"), 1)
            if flags["epochs"]:
                images += cost(name.split("-")[0], flags["epochs"], samples, flags["train_size"], flags["test_size"])
                seconds += taken
    return seconds / images if images else None


def timed(dataset, model, threads):
    """Seconds for an image trained on, from a few steps on random pixels, and whether a GPU made them."""
    import torch

    import train

    torch.set_num_threads(threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    classes, shape, *_ = train.DATASETS[dataset]
    images = torch.randint(0, 256, (64, *shape), dtype=torch.uint8, device=device)
    labels = torch.randint(0, classes, (64,), device=device)
    batch = torch.arange(64, device=device)
    logits = torch.zeros(64, classes, device=device)
    settings = argparse.Namespace(lr=1e-3, precision="fp32", batch_size=64)
    net = train.build(model, dataset, 0).to(device)
    with train.small_maps(net):
        net.train()
        data = train.Data(dataset, images, labels, images, labels, {})
        step = train.training_step(net, data, logits, settings, False)
        step(batch)
        start = time.perf_counter()
        for _ in range(8):
            step(batch)
        logits.sum().item()  # waits for the device
    return (time.perf_counter() - start) / (8 * 64), device.type == "cuda"


def seconds_of(steps, args):
    """How long each step takes, and in words how that is known."""
    sizes, rates = {}, {}
    source = "by the last steps done"
    for network in {step.network: None for step in steps}:
        sizes[network] = sizes_of(network[0], args.data)
        rates[network] = measured(args.runs, *network)
    startup = time.perf_counter() - STARTED  # imports torch and reads the data, as each step does
    for network, rate in rates.items():
        if rate is None:
            rates[network], source = rate_here(network, args)
    seconds = []
    for step in steps:
        epochs = int(step.flags.get("--epochs", 0))
        train_size, test_size = sizes[step.network]
        images = cost(step.script, epochs, samples_of(step, train_size), train_size, test_size)
        seconds.append((startup if images else 0.5) + images * rates[step.network])
    return seconds, source


def rate_here(network, args):
    """Seconds for an image trained on, by a few steps timed here, and in words how that is known."""
    try:
        seconds, on_gpu = timed(*network, args.threads)
    except RuntimeError:  # such as no memory on this machine, where others run the steps
        return 0.0, "what training takes is not known yet"
    shared = args.jobs if on_gpu and not args.elsewhere else 1  # one GPU does the work of all jobs
    return seconds * shared, "by steps timed on this machine"


def finish(steps, jobs):
    """Seconds until [(inputs, outputs, seconds)] are all done, each beginning once its inputs and a job are there."""
    free = [0.0] * min(jobs, max(1, len(steps)))
    written = {}
    for inputs, outputs, seconds in steps:
        start = max([heapq.heappop(free), *(written.get(path, 0.0) for path in inputs)])
        heapq.heappush(free, start + seconds)
        written.update(dict.fromkeys(outputs, start + seconds))
    return max(free)


def duration(seconds):
    minutes = max(1, round(seconds / 60))
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


# ------------------------------------------------------------------------------------------ what is there already


def finished(runs):
    """The paths of the runs that are done, and of the networks that are trained."""
    paths = {Path(run) for run in runs}
    paths |= {path.parent.parent / "dense.pt" for path in paths}
    return sorted(filter(Path.exists, paths))


def check_data(runs, folder):
    """Exit with one line if a finished run, or its network, was trained on other data than the folder has now."""
    from train import fail, load

    digests = {}
    for path in finished(runs):
        _, made, _ = last_step(path) or ("", {}, 0)
        dataset, _ = network_of(path)
        packed = Path(folder) / f"{dataset}.pt"
        if dataset not in digests and packed.exists():
            digests[dataset] = load(dataset, folder).facts["data"]
        now = digests.get(dataset)
        if now and made.get("data", now) != now:
            fail(
                f"{path} was trained on other data than {packed}: give the same DATA, "
                "or these results a folder of their own, such as RUNS=runs/NAME"
            )


def check_settings(runs, asked):
    """Exit with one line if a finished run, or the network that it was pruned from, was made with other flags."""
    from train import asked_flags, fail

    flags = asked_flags(asked)
    for path in finished(runs):
        _, made, _ = last_step(path) or ("", {}, 0)
        wanted = {key: flags[key] for key in ("lr", "batch_size", "precision")}
        if path.name == "finetuned.pt":
            wanted["epochs"] = flags["tune_epochs"] // (5 if path.match("*-5x/*") else 1)
        elif path.parent.name != "untrained":
            wanted["epochs"] = flags["epochs"]
        for key, value in wanted.items():
            if made.get(key, value) != value:
                flag = key.replace("_", "-")
                fail(
                    f"{path} was made with --{flag} {made[key]}, and {value} is asked for: "
                    "give these results a folder of their own, such as RUNS=runs/NAME"
                )


def plan_path(runs, make):
    return Path(runs) / f"make-{platform.node()}-{make}.json"


def birth(process):
    """What tells a process from a later one of the same number, where /proc has it."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        return ""


def lives(plan):
    """Whether the make that wrote the plan still runs on this machine."""
    try:
        os.kill(plan["make"], 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's
        pass
    return plan["birth"] == birth(plan["make"])


def other_plans(mine):
    """[(path, plan)] of other makes in the same folder; those of makes that were killed on this machine go."""
    found = []
    for path in sorted(mine.parent.glob("make-*.json")):
        with contextlib.suppress(OSError, ValueError):
            plan = json.loads(path.read_text())
            if plan["host"] == platform.node() and not lives(plan):
                path.unlink()
            elif path != mine:
                found.append((path, plan))
    return found


def outputs_left(plan):
    return {path for _, outputs, _ in plan["steps"] for path in outputs if not os.path.exists(path)}


def check_others(mine, plan):
    """Exit with one line if another make on this machine began earlier with the same steps; tell of one elsewhere."""
    from train import fail

    for path, other in other_plans(mine):
        both = sorted(outputs_left(plan) & outputs_left(other))
        who = f"make on {other['host']} (process {other['make']}) is at {both[0] if both else ''}, too"
        if both and other["host"] != plan["host"]:
            print(f"{who}, if it still runs: then stop one of the two; else delete {path}", file=sys.stderr)
        elif both and (other["began"], other["make"]) < (plan["began"], plan["make"]):
            mine.unlink()
            fail(f"{who}: wait for it, or give the two other SEEDS or RUNS; nothing was run")


# ------------------------------------------------------------------------------------------------------- commands


def runs_of(lines, steps):
    """The finetuned.pt files that are asked for, done or not, without the rounds' numbered ones."""
    named = {name for line in lines for name in RUN.findall(line)}
    return sorted(named | {step.out for step in steps if step.out.endswith("/finetuned.pt")})


def several(count, word):
    return f"{count} {word}{'s' * (count != 1)}"


def summary(runs, steps, jobs, source):
    done = sum(map(os.path.exists, runs))
    left = duration(finish(steps, jobs))
    at_once = several(min(jobs, len(steps)), "job")
    return f"{done} of {several(len(runs), 'run')}, about {left} left with {at_once}, {source}"


def say(line):
    """As train.py's, which would take the seconds of `import torch`: no reader, no disk ends hours of training."""
    try:
        print(line, flush=True)
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def status(args):
    lines = sys.stdin.read().splitlines()
    steps = read_steps(lines)
    runs = runs_of(lines, steps)
    check_settings(runs, args.asked)
    check_data(runs, args.data)
    if not steps:
        return say(f"done: {several(len(runs), 'run')}, nothing is left")
    seconds, source = seconds_of(steps, args)
    timed_steps = [(step.inputs, step.outputs, s) for step, s in zip(steps, seconds)]
    say(summary(runs, timed_steps, args.jobs, source))
    counts = {step.script: 0 for step in steps}
    for step in steps:
        counts[step.script] += 1
    say("steps left: " + ", ".join(f"{count} {script}" for script, count in counts.items()))
    say(f"next: {steps[0].out}")


def begin(args):
    lines = sys.stdin.read().splitlines()
    steps = read_steps(lines)
    if not steps:
        return
    runs = runs_of(lines, steps)
    path = plan_path(args.runs, args.make)
    plan = {"host": platform.node(), "make": args.make, "birth": birth(args.make), "began": time.time(), "runs": runs}
    plan |= {"jobs": args.jobs, "steps": [(step.inputs, step.outputs, 0) for step in steps]}
    write(path, plan)
    check_others(path, plan)
    check_settings(runs, args.asked)
    check_data(runs, args.data)
    seconds, source = seconds_of(steps, args)
    plan["steps"] = [(step.inputs, step.outputs, s) for step, s in zip(steps, seconds)]
    write(path, plan)
    say(summary(runs, plan["steps"], args.jobs, source))


def progress(args):
    """One line of the whole: the time left is that of the plan, corrected by how long its steps took till now."""
    path = plan_path(args.runs, args.make)
    try:
        plan = json.loads(path.read_text())
    except FileNotFoundError:  # a run that ended at the same time was told to be the last
        return
    left = [step for step in plan["steps"] if not all(map(os.path.exists, step[1]))]
    done = sum(map(os.path.exists, plan["runs"]))
    line = f"{done} of {several(len(plan['runs']), 'run')}"
    if not left:
        path.unlink(missing_ok=True)
        return say(line)
    whole = finish(plan["steps"], plan["jobs"])
    rest = finish(left, plan["jobs"])
    doubt = whole / 10  # so that the first steps, of which others have not ended, do not count for much
    pace = (time.time() - plan["began"] + doubt) / (whole - rest + doubt)
    say(f"{line}, about {duration(rest * pace)} left")


def write(path, plan):
    """The file appears whole: another make may read it at any time."""
    from train import claim, replacing

    claim([path])
    with replacing(path) as file:
        file.write(json.dumps(plan).encode())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = {"status": status, "begin": begin, "progress": progress}
    parser.add_argument("command", choices=commands, help="see above")
    parser.add_argument("--runs", default="runs", metavar="DIR", help="folder of the results (default: runs)")
    parser.add_argument("--make", type=int, metavar="PROCESS", help="the number of make's process")
    parser.add_argument("--jobs", type=int, default=1, help="steps that run at once (default: 1)")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of a step (default: 1)")
    parser.add_argument("--data", default="data", metavar="DIR", help="folder of the data sets (default: data)")
    parser.add_argument("--asked", default="", metavar="FLAGS", help="training flags that all runs must have")
    parser.add_argument("--elsewhere", action="store_true", help="steps run on other machines")
    args = parser.parse_args()
    try:
        commands[args.command](args)
    except ModuleNotFoundError as error:
        print(f"status.py: error: {error}; PYTHON= needs the packages of requirements.txt", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
