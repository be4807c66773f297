"""Bad copies of every file, each read by a command; and make, killed at any time.

    python tests/fuzz.py files --count 10000
    python tests/fuzz.py files --file tuned.pt --first 12 --count 1 --keep found
    python tests/fuzz.py kills --count 20

A bad copy has damaged bytes, the end of another file, or, of a checkpoint, one
value that is another. A command given one must succeed with a readable output,
or end with one line on stderr. Either way it takes at most ten seconds of
processor time and memory of a few times the file, and writes its output and
nothing else. A .pt whose bytes are damaged must be refused or change no result.
Whatever is drawn comes from the file's name and the number of the copy, so that
one finding is made again by its number.

After a kill -9 of make, or of one of its steps, the next make must end with the
same bits as one that nobody killed.
"""

import argparse
import functools
import io
import itertools
import math
import multiprocessing
import os
import resource
import runpy
import shutil
import signal
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path
from typing import NamedTuple

os.environ["OMP_NUM_THREADS"] = "1"
ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import numpy as np
import torch
import torch._dynamo  # like torchvision, it is imported here once for all commands
import torchvision
from torch.utils._pytree import keystr, tree_flatten_with_path

import train

SECONDS = 10  # of processor time
SPARE = 64 * 2**20  # bytes of memory that a command may take beside eight times its file

USUAL = "--data . --device cpu --threads 1"
NETWORK = f"--dataset MNIST --model lenet {USUAL}"
ORIGINALS = [  # how the files are made that are copied; a last word with a suffix is what a command writes
    f"forget.py --epochs 2 {NETWORK} --scores forget.npy --correct correct.npy --errors errors.npy --out base.pt",
    "select.py --scores forget.npy --order low --ratio 0.2 --out low.npy",
    f"train.py --epochs 2 {NETWORK} --subset low.npy --out dense.pt",
    f"prune.py --in dense.pt --ratio 0.5 {USUAL} --out pruned.pt",
    f"prune.py --in dense.pt --ratio 0.5 --structure channels {USUAL} --out channels.pt",
    f"finetune.py --in pruned.pt --epochs 2 {USUAL} --out tuned.pt",
    f"prune.py --in base.pt --ratio 0.5 {USUAL} --out full-pruned.pt",
    f"finetune.py --in full-pruned.pt --epochs 2 {USUAL} --out full.pt",
    "report.py runs tuned.pt full.pt --out runs.csv",
]
VERIFY = f"audit.py verify forget.npy low.npy tuned.pt {USUAL}"
READERS = [  # (a file that is copied, a command that reads it)
    ("MNIST.pt", f"train.py --epochs 1 {NETWORK} --out out.pt"),
    ("dense.pt", f"prune.py --in dense.pt --ratio 0.5 {USUAL} --out out.pt"),
    ("dense.pt", f"prune.py --in dense.pt --ratio 0.5 --structure channels {USUAL} --out out.pt"),
    ("dense.pt", f"prune.py --in base.pt --start dense.pt --ratio 0.5 --scope global {USUAL} --out out.pt"),
    ("pruned.pt", f"finetune.py --in pruned.pt --epochs 1 {USUAL} --out out.pt"),
    ("channels.pt", f"finetune.py --in channels.pt --epochs 1 {USUAL} --out out.pt"),
    ("tuned.pt", "report.py table tuned.pt full.pt --out out.txt"),
    ("tuned.pt", "study.py costs tuned.pt full.pt --out out.txt"),
    ("tuned.pt", VERIFY),
    ("forget.npy", "select.py --scores forget.npy --order low --ratio 0.2 --out out.npy"),
    ("forget.npy", "audit.py scores forget.npy --data ."),
    ("forget.npy", VERIFY),
    ("correct.npy", "select.py --scores forget.npy --order high --ratio 0.2 --out out.npy"),
    ("correct.npy", VERIFY),
    ("errors.npy", "select.py --scores errors.npy --order el2n --ratio 0.2 --out out.npy"),
    ("errors.npy", "select.py --scores errors.npy --order ccs --ratio 0.2 --out out.npy"),
    ("low.npy", f"train.py --subset low.npy --epochs 1 {NETWORK} --out out.pt"),
    ("low.npy", VERIFY),
    ("runs.csv", "report.py table runs.csv --out out.txt"),
    ("runs.csv", "study.py costs runs.csv --out out.txt"),
    ("runs.csv", "study.py effects runs.csv --out out.txt"),
    ("runs.csv", "report.py table runs.csv --format markdown --out out.txt"),
    ("runs.csv", "report.py table runs.csv --format latex --out out.txt"),
]
FILES = list(dict.fromkeys(name for name, _ in READERS))

# ------------------------------------------------------------------------------------------------------- bad copies

WORDS = ["", "0", "-1", "nan", "1e400", "9" * 10_000, "null", "[" * 10_000, '"', ",", "\n", "\x1b[2J", "\0", "٣"]
ODD = [None, True, -1, 0, 2**63, 10**400, 0.5, 1e308, math.nan, -math.inf, "", "x", "a\nb\x1b[2J", "9" * 10_000, [], {}]
ODD += ["CIFAR100", "resnet18", {"seed": 1}, [math.nan], *map(torch.zeros, ((), 0, (3, 3))), torch.full((4,), math.nan)]


def pick(random, values):
    return values[random.integers(len(values))]


def damaged(random, content):
    """Bytes as a bad disk, a broken copy or a slip in an editor leave them."""
    start = int(random.integers(len(content)))
    end = start + int(2 ** random.uniform(0, 14))
    before, part, after = content[:start], content[start:end], content[end:]
    copies = [
        before + bytes([content[start] ^ (1 << random.integers(8))]) + content[start + 1 :],
        before,
        before + after,
        before + part + part + after,
        before + random.bytes(len(part)) + after,
        before + bytes(len(part)) + part + after,
        before + pick(random, WORDS).encode() + content[start + random.integers(1, 9) :],
    ]
    return pick(random, copies)


def alter(random, tree):
    """Change one place of the nested dict or list `tree`: its value is gone, another's, or an odd one."""
    keys = list(tree) if isinstance(tree, dict) else list(range(len(tree)))
    key = pick(random, keys)
    if isinstance(tree[key], (dict, list)) and tree[key] and random.random() < 0.7:
        alter(random, tree[key])
    elif (how := random.integers(4)) == 0:
        del tree[key]
    elif how == 1:
        tree[key] = tree[pick(random, keys)]
    else:
        tree[key] = pick(random, ODD)


def bad_copy(random, name, originals):
    """The bytes of a bad copy of `name`, and whether they may only be refused or change no result."""
    content = originals[name]
    how = random.integers(8)
    if how == 0:
        other = pick(random, list(originals.values()))
        return content[: random.integers(len(content))] + other[random.integers(len(other)) :], False
    if how == 1:
        return pick(random, [*originals.values(), b""]), False
    if how < 5 or not name.endswith(".pt"):
        return damaged(random, content), name.endswith(".pt")
    tree = torch.load(io.BytesIO(content), weights_only=True)
    alter(random, tree)
    file = io.BytesIO()
    torch.save(tree, file)
    return file.getvalue(), False


# ---------------------------------------------------------------------------------------------- what comes of them


class Ending(NamedTuple):
    """How a process ended."""

    status: int  # below 0: of which signal it died
    err: str  # what it wrote on stderr
    peak: int  # bytes of memory


def ending(action, folder):
    """The Ending of a process that does action() in `folder`."""
    with tempfile.TemporaryFile() as err:
        sys.stdout.flush()
        process = os.fork()
        if process == 0:
            live(action, folder, err)
        _, status, usage = os.wait4(process, 0)
        err.seek(0)
        words = err.read().decode(errors="replace")
        return Ending(os.waitstatus_to_exitcode(status), words, usage.ru_maxrss * 1024)


def live(action, folder, err):
    """The whole life of a process that does action(), with bounds for its time and its memory; does not return."""
    status = 1
    try:
        os.chdir(folder)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        os.dup2(err.fileno(), 2)
        size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (size + 2**31, size + 2**31))
        resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, 2 * SECONDS))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        signal.alarm(60 * SECONDS)  # for one that waits
        action()
        status = 0
    except SystemExit as end:
        status = end.code
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)


def output(command):
    """The name of the file that a command writes, or None."""
    last = command.split()[-1]
    return last if Path(last).suffix else None


def call(command):
    """Run a script as the shell would; its output must be readable."""
    sys.argv = command.split()
    folder = ROOT / "tests" if sys.argv[0] in ("audit.py", "study.py") else ROOT
    runpy.run_path(str(folder / sys.argv[0]), run_name="__main__")
    if out := output(command):
        readers = {".pt": train.read, ".npy": train.load_subset}
        readers.get(Path(out).suffix, lambda path: Path(path).read_text())(out)


def result(path):
    """What a file says, less the seconds it took; to be compared."""
    if path.suffix != ".pt":
        return path.read_bytes()
    said = []
    for place, value in tree_flatten_with_path(torch.load(path, weights_only=True))[0]:
        if "seconds" not in keystr(place):
            said.append((keystr(place), value.numpy().tobytes() if torch.is_tensor(value) else repr(value)))
    return said


def listing(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def complaints(end, command, folder, before, memory, expected=None):
    """What is wrong with the Ending of a command, a list of texts.

    before: the folder's listing. memory: the bytes that it may take. expected: the result that an output must have.
    """
    out = output(command)
    succeeded = end.status == 0
    after = listing(folder)
    changed = {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}
    wrong = wrong_words(end, command.split()[0])
    if end.status not in (0, 1, 2):
        wrong.append(signal.Signals(-end.status).name if end.status < 0 else f"status {end.status}")
    if end.peak > memory:
        wrong.append(f"{(end.peak - memory) / 2**20:.0f} MiB too much memory")
    if changed - ({out} if succeeded else set()):
        wrong.append(f"changed {' '.join(sorted(changed))}")
    if succeeded and out and expected and result(folder / out) != expected:
        wrong.append("another result, in silence")
    return wrong


def wrong_words(end, script):
    if end.status == 0:
        return ["words on stderr"] if end.err else []
    one_line = end.err.startswith(f"{script}: error: ") and end.err.endswith("\n") and end.err[:-1].isprintable()
    return [] if one_line else ["not one line on stderr"]


# ------------------------------------------------------------------------------------------------------------ files


def prepare(folder):
    """Write the originals into `folder`; returns {command: (its peak of memory, the result of its output or None)}."""
    digits = torch.load(ROOT / "tests" / "data" / "MNIST.pt", weights_only=True)
    torch.save({part: numbers[:100].clone() for part, numbers in digits.items()}, folder / "MNIST.pt")
    usual = {}
    for command in [*ORIGINALS, *(command for _, command in READERS)]:
        end = ending(functools.partial(call, command), folder)
        if end.status or end.err:
            raise SystemExit(f"{command}: {end.err}")
        out = output(command)
        usual[command] = end.peak, result(folder / out) if out else None
    for name in ("out.pt", "out.npy", "out.txt"):
        (folder / name).write_text("precious")
    return usual


def attempt(originals, usual, args, task):
    """(name, whether a command took the bad copy of this name and number, what was wrong in words or "")."""
    name, number = task
    random = np.random.default_rng([FILES.index(name), number])
    command = pick(random, [command for file, command in READERS if file == name])
    content, must_be_harmless = bad_copy(random, name, listing(originals))
    peak, expected = usual[command]
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        shutil.copytree(originals, folder, dirs_exist_ok=True)
        (folder / name).write_bytes(content)
        before = listing(folder)
        end = ending(functools.partial(call, command), folder)
        memory = peak + 8 * len(content) + SPARE
        wrong = complaints(end, command, folder, before, memory, expected if must_be_harmless else None)
    if wrong and args.keep:
        (Path(args.keep) / f"{number}-{name}").write_bytes(content)
    again = f"python tests/fuzz.py files --file {name} --first {number} --count 1"
    words = f"{', '.join(wrong)}: {command}\n  {again}\n  {end.err[-400:].strip()}" if wrong else ""
    return name, end.status == 0, words


def files(args):
    """Read bad copies of every file and print what is wrong; whether nothing was."""
    names = args.file or FILES
    tasks = itertools.product(names, range(args.first, args.first + args.count))
    taken = dict.fromkeys(names, 0)
    sound = True
    with tempfile.TemporaryDirectory() as place, multiprocessing.get_context("fork").Pool(args.jobs) as pool:
        usual = prepare(Path(place))
        for name, success, wrong in pool.imap_unordered(functools.partial(attempt, Path(place), usual, args), tasks):
            taken[name] += success
            if wrong:
                sound = False
                print(wrong, flush=True)
    for name, count in taken.items():
        print(f"fuzz     {name:11} {args.count} bad copies, {count} taken, {args.count - count} refused")
    return sound


# ------------------------------------------------------------------------------------------------------------ kills


def begin(runs):
    """A make of a small table into the folder `runs`."""
    command = ["make", f"PYTHON={sys.executable}", f"RUNS={runs}", "DATA=tests/data", "DATA_RATIOS=0.1"]
    command += ["PRUNE_RATIOS=0.8", "ORDERS=low", "EPOCHS=2", "-j2", "table"]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("MAKE") and key != "MFLAGS"}
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen(command, cwd=ROOT, env=environment, start_new_session=True, **streams)


def finish(runs):
    """{file: its result} of a make that nobody kills; exits with its words if it fails."""
    process = begin(runs)
    words, _ = process.communicate()
    if process.returncode or "Pruned" not in words:
        raise SystemExit(f"make does not end: {words}")
    paths = [path for path in runs.rglob("*") if path.suffix in (".pt", ".npy")]
    return {str(path.relative_to(runs)): result(path) for path in paths}


def kill(process, random):
    """kill -9 of make with all that it started, or of one of its steps."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    if children and random.integers(2):
        os.kill(int(pick(random, children)), signal.SIGKILL)
    else:
        os.killpg(process.pid, signal.SIGKILL)


def kills(args):
    """Kill a make after a drawn number of lines and let another finish, again and again; whether no bit is another."""
    sound = True
    with tempfile.TemporaryDirectory() as place:
        expected = finish(Path(place) / "whole")
        for number in range(args.first, args.first + args.count):
            random = np.random.default_rng(number)
            runs = Path(place) / str(number)
            process = begin(runs)
            for _ in range(random.integers(1, 16)):
                process.stdout.readline()
            kill(process, random)
            process.communicate()
            if finish(runs) != expected:
                print(f"other results: python tests/fuzz.py kills --first {number} --count 1", flush=True)
                sound = False
    print(f"fuzz     kills      {args.count}, each under a table of {len(expected)} files")
    return sound


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["files", "kills"])
    parser.add_argument("--count", type=int, default=100, help="copies of each file, or kills (default: %(default)s)")
    parser.add_argument(
        "--file", action="append", choices=FILES, metavar="FILE", help="what is copied, such as tuned.pt (default: all)"
    )
    parser.add_argument("--first", type=int, default=0, help="number of the first copy or kill (default: %(default)s)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes (default: one per core)")
    parser.add_argument("--keep", metavar="DIR", help="folder for the copies on which something was wrong")
    args = parser.parse_args()
    sound = files(args) if args.what == "files" else kills(args)
    sys.exit(not sound)


if __name__ == "__main__":
    main()
