"""Damaged and hostile files of every kind, each read by the commands that read it; and make, killed at any moment.

    python tests/fuzz.py files --count 10000
    python tests/fuzz.py files --kind csv --first 123 --count 1 --keep found
    python tests/fuzz.py kills --count 20

A command given such a file must succeed with a readable output, or end with one line on stderr. Either way it takes at
most ten seconds of processor time and memory of a few times the file, writes its output and nothing else, and runs no
code that the file brings. A .pt that was damaged, and not rewritten, must be refused or change no result. Whatever is
drawn comes from the seed, the kind and the number of a file, so that one finding is made again by its number.

After a kill -9 of make, or of one of its steps, the next make must end with the same bits as one that nobody killed.
"""

import argparse
import ast
import contextlib
import copy
import csv
import functools
import hashlib
import importlib
import importlib.util
import io
import itertools
import json
import math
import multiprocessing
import os
import pickle
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import traceback
import warnings
import zipfile
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"
ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import numpy as np
import torch
import torch._dynamo
import torchvision
import train

SECONDS, SPARE = 10, 64 * 2**20  # of processor time; bytes beside eight times the file

USUAL = "--data . --device cpu --threads 1"
NETWORK = f"--dataset MNIST --model lenet {USUAL}"
SELECT = [
    *(f"select.py --scores forget.npy --order {order} --ratio 0.2 --out out.npy" for order in ("low", "high")),
    "audit.py scores forget.npy --data .",
    f"audit.py verify forget.npy low.npy tuned.pt {USUAL}",
]
COMMANDS = {  # kind: the files that are mutated, and what reads them; a last word that starts with "out" is the output
    "data": {"MNIST.pt": [f"train.py --epochs 1 {NETWORK} --out out.pt"]},
    "checkpoint": {
        "dense.pt": [
            f"prune.py --in dense.pt --ratio 0.5 {USUAL} --out out.pt",
            f"prune.py --in dense.pt --ratio 0.5 --structure channels {USUAL} --out out.pt",
            f"prune.py --in base.pt --start dense.pt --ratio 0.5 --scope global {USUAL} --out out.pt",
        ],
        "pruned.pt": [f"finetune.py --in pruned.pt --epochs 1 {USUAL} --out out.pt"],
        "channels.pt": [f"finetune.py --in channels.pt --epochs 1 {USUAL} --out out.pt"],
        "tuned.pt": [
            *(f"report.py {what} tuned.pt full.pt --out out.txt" for what in ("table", "costs", "cells")),
            f"audit.py verify tuned.pt {USUAL}",
        ],
    },
    "scores": {"forget.npy": SELECT},
    "correct": {"correct.npy": SELECT[1:]},
    "errors": {
        "errors.npy": [
            f"select.py --scores errors.npy --order {order} --ratio 0.2 --out out.npy" for order in ("el2n", "ccs")
        ]
    },
    "subset": {"low.npy": [f"train.py --subset low.npy --epochs 1 {NETWORK} --out out.pt", *SELECT[3:]]},
    "csv": {
        "cells.csv": [
            *(f"report.py {what} cells.csv --out out.txt" for what in ("table", "costs", "cells")),
            *(f"report.py table cells.csv --format {style} --out out.txt" for style in ("markdown", "latex")),
        ]
    },
}
ORIGINALS = [  # how the undamaged files are made
    f"forget.py --epochs 2 {NETWORK} --scores forget.npy --correct correct.npy --errors errors.npy --out base.pt",
    "select.py --scores forget.npy --order low --ratio 0.2 --out low.npy",
    f"train.py --epochs 2 {NETWORK} --subset low.npy --out dense.pt",
    f"prune.py --in dense.pt --ratio 0.5 {USUAL} --out pruned.pt",
    f"prune.py --in dense.pt --ratio 0.5 --structure channels {USUAL} --out channels.pt",
    f"finetune.py --in pruned.pt --epochs 2 {USUAL} --out tuned.pt",
    f"prune.py --in base.pt --ratio 0.5 {USUAL} --out full-pruned.pt",
    f"finetune.py --in full-pruned.pt --epochs 2 {USUAL} --out full.pt",
    "report.py cells tuned.pt full.pt --out cells.csv",
]

# ------------------------------------------------------------------------------------------------------ mutations


class Call:
    """Unpickled, it is a file named "ran"."""

    def __reduce__(self):
        return open, ("ran", "w")

    def __deepcopy__(self, memo):
        return self


def plain():
    """Values that a flag, a field or a number of a file should not be."""
    deep = functools.reduce(lambda inner, _: [inner], range(500), [])
    numbers = [-1, 0, 1, 3, 2**31, 2**63, 10**30, 10**400, -0.5, 0.1, 1e308, math.nan, math.inf, -math.inf]
    texts = ["", " ", "x", "1", "nan", "\x1b[2J", "a\nb", "\0", "é±", "9" * 10_000]
    texts += ["resnet18", "CIFAR100", "../x", "low"]
    return [None, True, False, *numbers, *texts, [], {}, [[], {}], {"": 0}, {"seed": 1}, [math.nan] * 3, deep]


def tensors():
    one = torch.zeros(1)
    odd = [one.expand(10**6, 10**6), one.expand(4), one.to("meta"), *map(torch.zeros, (0, (), (3, 0, 5)))]
    kinds = [torch.bool, torch.uint8, torch.int64, torch.float16, torch.bfloat16, torch.float64, torch.complex64]
    odd += [torch.zeros(4, dtype=kind) for kind in kinds] + [torch.eye(3).to_sparse(), torch.eye(3).to_sparse_csr()]
    odd += [torch.nn.Parameter(one), torch.full((4,), math.nan)]
    return [*odd, torch.quantize_per_tensor(one, 0.1, 0, torch.qint8)]


def pick(random, values):
    return values[random.integers(len(values))]


def damage(random, content):
    """Bytes as a bad disk or a broken copy leaves them: flipped, overwritten, cut off, cut out, doubled, grown."""
    content = bytearray(content)
    at, size = (int(random.integers(len(content))) for _ in range(2)) if content else (0, 0)
    size = min(size, int(2 ** random.uniform(0, 14)))
    how = random.integers(6)
    if how == 0:
        for place in random.integers(len(content), size=random.integers(1, 9)):
            content[place] ^= 1 << random.integers(8)
    elif how == 1:
        content[at : at + size] = random.bytes(len(content[at : at + size]))
    elif how == 2:
        del content[at:]
    elif how == 3:
        del content[at : at + size]
    elif how == 4:
        content[at:at] = content[at : at + size]
    else:
        content[at:at] = random.bytes(size) if random.integers(2) else bytes(size)
    return bytes(content)


def altered_tensor(random, x):
    """The tensor with another shape, type, layout or other values."""
    flat = x.flatten()
    kinds = [torch.bool, torch.uint8, torch.int32, torch.int64, torch.float16, torch.float64, torch.complex64]
    how = random.integers(8)
    if how == 0:
        return x.to(pick(random, kinds))
    if how == 1:
        return flat[: random.integers(len(flat) + 1)]
    if how == 2:
        return x[None] if random.integers(2) else flat
    if how == 3:
        return x.flip(0) if x.ndim else x
    if how == 4:
        return x[: random.integers(len(x) + 1)] if x.ndim else x
    if how == 5:
        return x.mT.contiguous().mT if x.ndim > 1 else x
    if how == 6:
        return flat[:1].expand(x.shape) if len(flat) else x
    other = flat.clone()
    values = [-1, 255, 10] if not x.dtype.is_floating_point else [math.nan, math.inf, 1e38, 0.0]
    other[random.integers(len(flat), size=3)] = torch.tensor(pick(random, values)).to(x.dtype)
    return other.view(x.shape)


def altered(random, tree, odd):
    """The nested dict or list with one place changed: another value, a missing or a new key, two values swapped."""
    place = tree = copy.deepcopy(tree)
    while True:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        inner = [key for key in keys if isinstance(place[key], (dict, list)) and place[key]]
        if not inner or random.random() < 0.3:
            break
        place = place[pick(random, inner)]
    if not keys:
        return pick(random, odd)
    key, other, how = pick(random, keys), pick(random, keys), random.integers(6)
    if how == 0:
        del place[key]
    elif how == 1:
        place[key], place[other] = place[other], place[key]
    elif how == 2 and isinstance(place, dict):
        new = ["x", "", "prune-2", "finetune-x", "train", "forget", "share", "\x1b[2J"]
        place[pick(random, new)] = pick(random, odd)
    elif how == 3 and torch.is_tensor(place[key]):
        place[key] = altered_tensor(random, place[key])
    elif how == 4 and isinstance(place[key], (int, float)):
        place[key] = pick(random, [-1, 2, 0.5, 10, 10**9]) * place[key]
    else:
        place[key] = pick(random, odd)
    return tree


def rezipped(random, content, members=None, compression=zipfile.ZIP_STORED):
    """The zip of these members {name: bytes}, or of those of `content` with one of them gone, renamed or changed."""
    if members is None:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
        name, other, how = pick(random, list(members)), pick(random, list(members)), random.integers(7)
        pickled = next(name for name in members if name.endswith("data.pkl"))
        if how == 0:
            del members[name]
        elif how == 1:
            members[name], members[other] = members[other], members[name]
        elif how == 2:
            members[pick(random, ["x/data.pkl", "/etc/x", "../x", name + "x", "x"])] = members.pop(name)
        elif how == 3:
            compression = zipfile.ZIP_DEFLATED
            members[name.split("/")[0] + "/data/bomb"] = bytes(2 ** int(random.integers(10, 26)))
        elif how == 4:
            members[name] = damage(random, members[name]) if members[name] else b"x"
        elif how == 5:
            members[pickled] = damage(random, members[pickled])
        else:
            members[pickled] = pickle.dumps({"model": Call()}, protocol=int(random.integers(6)))
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, member in members.items():
            archive.writestr(name, member)
    return file.getvalue()


def mutated_pt(random, content):
    how = random.integers(8)
    if how < 3:
        return rezipped(random, content)
    if how == 3:
        return pickle.dumps({"model": Call()}, protocol=int(random.integers(6)))
    tree = torch.load(io.BytesIO(content), weights_only=True)
    for _ in range(random.integers(1, 3)):
        if isinstance(tree, dict) and tree:
            tree = altered(random, tree, plain() + tensors() + [Call(), {1: 2}, (1,), b"x", {3}])
    file = io.BytesIO()
    torch.save(tree, file, _use_new_zipfile_serialization=bool(how > 4 or random.integers(2)))
    return file.getvalue()


def altered_array(random, x):
    """The array with another shape, type or byte order, or with other values."""
    how = random.integers(8)
    if how < 2:
        kinds = ["?", "i1", "u1", ">i8", "<u8", "f2", "f4", "f8", "g", "c16", "U3", "S2", "V4", "M8[s]", "i4,f8"]
        return np.zeros(x.shape, pick(random, kinds)) if random.integers(2) else x.astype(pick(random, kinds[:8]))
    if how == 2:
        return pick(random, [x[:0], x[..., None], x[None], x.ravel()[0], np.array(x.shape), x[: len(x) // 2]])
    if how == 3:
        return np.array([Call(), None][: random.integers(1, 3)], dtype=object)
    if how == 4:
        return np.asfortranarray(np.stack([x, x]))
    x = x.astype(pick(random, ["i8", "f8", x.dtype]))
    values = [-1, 0, 1, 255] if x.dtype.kind == "b" else [-1, 0, 10, 2**40, -(2**62), 2**62, 3]
    x.ravel()[random.integers(x.size, size=random.integers(1, 9))] = pick(random, values)
    if x.dtype.kind == "f":
        x.ravel()[random.integers(x.size)] = pick(random, [math.nan, math.inf, 0.5, 1e308])
    return x


def header(random, content):
    """The .npy with another header: hostile shapes and types, text that is no dict, wrong lengths and versions."""
    size = 10 + int.from_bytes(content[8:10], "little")
    fields = ast.literal_eval(content[10:size].decode())
    shapes = [(), (0,), (-1,), (10**12,), (2**62, 2**62), (1,) * 70, (True,), (1.5,), [3], 3, None, ("x",), (10**30,)]
    types = ["<i8", "|O", "<U99999999", "|V0", "x", "", 3, None, [("a", "<i8")], [("a", "|O")], "<i8" * 99, "(9,9)i8"]
    how = random.integers(7)
    fields |= {"shape": pick(random, shapes)} if how < 3 else {"descr": pick(random, types)} if how == 3 else {}
    fields |= {pick(random, ["fortran_order", "x", "descr"]): pick(random, [True, 1, None])} if how == 4 else {}
    text = repr(fields)
    if how > 4:
        odd = ["", "1", "[" * 5000, "-" * 5000 + "1", "{" * 99, "()" * 9999, "__import__('os')", "\0", "{'x':"]
        text = pick(random, odd)
    if how == 5:
        text = damage(random, content[10:size]).decode("latin1")
    length = len(text) if random.integers(4) else int(random.integers(2**16))
    version = pick(random, [1, 1, 1, 2, 3, 0, 255])
    start = b"\x93NUMPY" + bytes([version, 0]) + length.to_bytes(4 if version in (2, 3) else 2, "little")
    return start + text.encode("latin1", "replace") + content[size:]


def mutated_npy(random, content):
    file, arrays = io.BytesIO(content), []
    while content[file.tell() :][:1] == b"\x93":
        arrays.append(np.lib.format.read_array(file))
    steps, how = json.loads(file.read() or "{}"), random.integers(8)
    if how == 0:
        return header(random, content)
    at = random.integers(len(arrays))
    if how < 4:
        arrays[at] = altered_array(random, arrays[at])
    elif how == 4:
        arrays = pick(random, [arrays[:-1], arrays * 2, arrays[::-1], [np.sort(x, axis=0) for x in arrays]])
    tail = json.dumps(steps if how < 6 else altered(random, steps or {"": 0}, plain())) if steps or how > 5 else ""
    if how == 7 and random.integers(2):
        odd = ["[" * 10**5, "{" * 10**5, "9" * 10**5, '"', "\xff", "{} {}", '{"forget": {}}', '{"train": {}}', "\n\n"]
        tail = pick(random, [damage(random, tail.encode()).decode("latin1"), *odd])
    file = io.BytesIO()
    for array in arrays:
        np.save(file, array, allow_pickle=True)
    if tail:
        file.write(f"\n{tail}\n".encode(pick(random, ["utf8", "latin1", "utf16"]) if how == 7 else "utf8", "replace"))
    return file.getvalue()


def mutated_csv(random, content):
    rows = list(csv.reader(io.StringIO(content.decode())))
    for _ in range(random.integers(1, 4)):
        how, row = random.integers(9), pick(random, rows) if rows else []
        column = random.integers(max(map(len, rows), default=1) or 1)
        if how < 4 and column < len(row):
            odd = [*map(str, plain()), "1_0", "٣", "1e400", "0x1", "+1", "-0", "1,5", '"', "x" * 200_000, "1 2 3"]
            odd += ["none", "base", "random", "own x", "toneva", "frozen+regrown", "regrown+frozen", "1e17", "5e-324"]
            row[column] = pick(random, [*odd, *(other[column] for other in rows if column < len(other)), row[-1]])
        elif how == 4 and row:
            rows += [[*row] for _ in range(random.integers(1, 40))]
            if "seed" in rows[0] and len(row) == len(rows[0]):
                for seed, other in enumerate(rows):
                    other[rows[0].index("seed")] = str(seed) if seed else "seed"
        elif how == 5 and rows:
            del rows[random.integers(len(rows))]
        elif how == 6:
            rows = [r[:column] + r[column + 1 :] if random.integers(9) else r for r in rows]
        elif how == 7:
            random.shuffle(rows)
        else:
            rows.insert(random.integers(len(rows) + 1), pick(random, [[], ["x"], row[:3], [*row, "x"]]))
    file = io.StringIO()
    csv.writer(file, lineterminator=pick(random, ["\n", "\r\n", "\r"])).writerows(rows)
    return file.getvalue().encode(pick(random, ["utf8"] * 8 + ["utf16", "utf-8-sig", "latin1"]), "replace")


def mutated(random, name, originals):
    """The bytes of a mutated `name`, and whether they may only be refused or change nothing."""
    how = random.integers(8)
    if how == 0:  # another kind of file, or the head of this one and the tail of another
        other = pick(random, list(originals.values()) + [b"", b"x", b"PK\5\6" + bytes(18), b"\x93NUMPY"])
        cut = [int(random.integers(len(part) + 1)) for part in (originals[name], other)]
        return other if random.integers(2) else originals[name][: cut[0]] + other[cut[1] :], False
    if how < 3:
        return damage(random, originals[name]), name.endswith(".pt")
    change = {".pt": mutated_pt, ".npy": mutated_npy, ".csv": mutated_csv}[Path(name).suffix]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        while True:  # a change that cannot be made, such as a sparse tensor's to another type, is drawn again
            with contextlib.suppress(Exception):
                return change(random, originals[name]), False


# ------------------------------------------------------------------------------------------------------- outcomes


def output(command):
    """The name of the file that a command writes, or None."""
    out = command.split()[-1]
    return out if Path(out).suffix else None


def call(command):
    """Run the script as the shell would; its output must be readable."""
    sys.argv = command.split()
    name = Path(sys.argv[0]).stem
    if name == "select":  # `import select` is the library's
        spec = importlib.util.spec_from_file_location("coreset", ROOT / "select.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    else:
        module = importlib.import_module(name)
    module.main()
    if out := output(command):
        {".pt": train.read, ".npy": train.load_subset}.get(Path(out).suffix, lambda path: Path(path).read_text())(out)


def outcome(run, command, folder):
    """What a process ends with that does run(command) in `folder`: status (below 0: a signal), stderr, peak bytes."""
    with tempfile.TemporaryFile() as err:
        sys.stdout.flush()
        process = os.fork()
        if process == 0:
            status = 1
            try:
                os.chdir(folder)
                os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
                os.dup2(err.fileno(), 2)
                resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, 2 * SECONDS))
                resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
                size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
                resource.setrlimit(resource.RLIMIT_AS, (size + 2**31, size + 2**31))
                signal.alarm(60 * SECONDS)  # for one that waits
                run(command)
                status = 0
            except SystemExit as end:
                status = end.code
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stderr.flush()
                os._exit(status)
        _, status, usage = os.wait4(process, 0)
        err.seek(0)
        return os.waitstatus_to_exitcode(status), err.read().decode(errors="replace"), usage.ru_maxrss * 1024


def result(path):
    """A digest of what a file says, less the seconds it took."""
    if path.suffix != ".pt":
        return hashlib.sha256(path.read_bytes()).hexdigest()
    digest = hashlib.sha256()

    def add(value):
        if isinstance(value, dict):
            for key, inner in value.items():
                digest.update(repr(key).encode())
                add(None if key == "seconds" else inner)
        else:
            digest.update(value.numpy().tobytes() if torch.is_tensor(value) else repr(value).encode())

    add(torch.load(path, weights_only=True))
    return digest.hexdigest()


def listing(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def complaints(found, command, folder, before, memory, same=None):
    """What is wrong with an outcome, a list of texts.

    before: the folder's listing. memory: the bytes that it may take. same: the digest that an output must have.
    """
    status, err, peak = found
    script, out = command.split()[0], output(command)
    wrong = []
    if status < 0:
        wrong.append(f"{signal.Signals(-status).name}{' (too long)' * (-status in (signal.SIGXCPU, signal.SIGALRM))}")
    elif status not in (0, 1, 2):
        wrong.append(f"status {status}")
    if status == 0 and err:
        wrong.append("words on stderr")
    if status != 0 and (not err.startswith(f"{script}: error: ") or err.count("\n") != 1 or not err[:-1].isprintable()):
        wrong.append("not one line on stderr")
    if peak > memory:
        wrong.append(f"{(peak - memory) / 2**20:.0f} MiB too much memory")
    after = listing(folder)
    changed = {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}
    if changed - ({out} if status == 0 else set()):
        wrong.append(f"changed {' '.join(sorted(changed))}")
    if status == 0 and out and same and result(folder / out) != same:
        wrong.append("another result, in silence")
    return wrong


# ---------------------------------------------------------------------------------------------------------- files


def prepare(folder):
    """Write the undamaged files into `folder`; of each command its peak memory and the digest of its output."""
    digits = torch.load(ROOT / "tests" / "data" / "MNIST.pt", weights_only=True)
    few = {}
    for split, size in (("train", 6), ("test", 3)):
        labels = digits[f"{split}_labels"]
        chosen = torch.cat([(labels == c).nonzero()[:size, 0] for c in range(10)])
        few |= {f"{split}_labels": labels[chosen], f"{split}_images": digits[f"{split}_images"][chosen]}
    torch.save(few, folder / "MNIST.pt")
    for name in ("out.pt", "out.npy", "out.txt"):
        (folder / name).write_text("precious")
    usual = {}
    for command in ORIGINALS + [c for files in COMMANDS.values() for commands in files.values() for c in commands]:
        status, err, peak = outcome(call, command, folder)
        if status or err:
            raise SystemExit(f"{command}: {err}")
        out = output(command)
        usual[command] = peak, out and result(folder / out)
        if out and out.startswith("out."):
            (folder / out).write_text("precious")
    return usual


def attempt(kind, number, seed, folder, usual, keep=None):
    """Mutate a file of `kind`, run what reads it; whether it was taken, and a line for each thing that is wrong."""
    random = np.random.default_rng([seed, list(COMMANDS).index(kind), number])
    name = pick(random, list(COMMANDS[kind]))
    command = pick(random, COMMANDS[kind][name])
    before = listing(folder)
    content, same = mutated(random, name, {key: value for key, value in before.items() if not key.startswith("out")})
    (folder / name).write_bytes(content)
    peak, digest = usual[command]
    mutant = before | {name: content}
    found = outcome(call, command, folder)
    wrong = complaints(found, command, folder, mutant, peak + 8 * len(content) + SPARE, digest if same else None)
    if wrong and keep:
        shutil.copy(folder / name, Path(keep) / f"{kind}-{number}-{name}")
    for path in folder.iterdir():
        if path.name not in before:
            path.unlink()
        elif name == path.name or path.name.startswith("out"):
            path.write_bytes(before[path.name])
    again = f"python tests/fuzz.py files --seed {seed} --kind {kind} --first {number} --count 1"
    return found[0] == 0, [f"{', '.join(wrong)}: {command}\n  {again}\n  {found[1][-400:].strip()}"] if wrong else []


def work(folder, usual, seed, keep, task):
    """One task in a pool's process, in its own copy of the folder."""
    mine = folder.parent / str(os.getpid())
    if not mine.exists():
        shutil.copytree(folder, mine)
    return task[0], *attempt(*task, seed, mine, usual, keep)


def files(args):
    sound = True
    importlib.import_module("audit")  # and with it all others, once
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "files"
        folder.mkdir()
        usual = prepare(folder)
        tasks = [(kind, i) for kind in args.kind or COMMANDS for i in range(args.first, args.first + args.count)]
        taken = dict.fromkeys(args.kind or COMMANDS, 0)
        with multiprocessing.get_context("fork").Pool(args.jobs) as pool:
            doing = functools.partial(work, folder, usual, args.seed, args.keep)
            for kind, success, wrong in pool.imap_unordered(doing, tasks, chunksize=8):
                taken[kind] += success
                sound &= not wrong
                for line in wrong:
                    print(line, flush=True)
    for kind, count in taken.items():
        print(f"fuzz     {kind:10} {args.count} files, {count} taken, {args.count - count} refused")
    return sound


# ---------------------------------------------------------------------------------------------------------- kills


def kills(args):
    """Kill make, or a step of it, after a number of lines drawn from the seed; whether all ends with the same bits."""
    random, sound, tables = np.random.default_rng(args.seed), True, 0
    environment = {key: value for key, value in os.environ.items() if not key.startswith("MAKE") and key != "MFLAGS"}
    knobs = ["DATA=tests/data", "DATA_RATIOS=0.1", "PRUNE_RATIOS=0.8", "ORDERS=low", "EPOCHS=2", "-j2", "table"]
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, "start_new_session": True}

    def begin(runs):
        words = ["make", f"PYTHON={sys.executable}", f"RUNS={runs}", *knobs]
        return subprocess.Popen(words, cwd=ROOT, env=environment, **streams)

    def results(runs):
        found = {path.relative_to(runs): path for path in runs.rglob("*") if path.suffix in (".pt", ".npy")}
        return {name: result(path) for name, path in found.items()}

    with tempfile.TemporaryDirectory() as place:
        whole, killed = Path(place) / "whole", Path(place) / "killed"
        words, _ = begin(whole).communicate()
        expected, done = results(whole), 0
        if "Data Ratio" not in words:
            raise SystemExit(words)
        while done < args.count or killed.exists():
            process = begin(killed)
            moment = int(random.integers(1, 12)) if done < args.count else None
            lines = list(itertools.islice(process.stdout, moment))
            if moment and len(lines) == moment:
                done += 1
                children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
                if random.integers(2) and children:
                    os.kill(int(pick(random, children)), signal.SIGKILL)
                else:
                    os.killpg(process.pid, signal.SIGKILL)
            rest, _ = process.communicate()
            found = results(killed)
            ended = process.returncode == 0
            if found.items() - expected.items() or ended and found != expected:
                print(f"after kill {done}, other results: {sorted(map(str, dict(found.items() - expected.items())))}")
                sound = False
            if ended:
                shutil.rmtree(killed)
                tables += 1
            elif moment is None:
                raise SystemExit(f"make does not go on after a kill: {''.join(lines)}{rest}")
    print(f"fuzz     kills      {done} under {tables} tables of {len(expected)} files")
    return sound


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["files", "kills"])
    parser.add_argument("--count", type=int, default=100, help="files of each kind, or kills (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="(default: %(default)s)")
    parser.add_argument("--kind", action="append", choices=COMMANDS, help="of files (default: all)")
    parser.add_argument("--first", type=int, default=0, help="number of the first file (default: %(default)s)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes (default: one per core)")
    parser.add_argument("--keep", metavar="DIR", help="folder for the files on which something was wrong")
    args = parser.parse_args()
    sys.exit(not {"files": files, "kills": kills}[args.what](args))


if __name__ == "__main__":
    main()
