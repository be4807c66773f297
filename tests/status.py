"""How far a table is: cells done, steps left and the next one, and the hours left, from what `make -n` would run.

    make -n table | python tests/status.py --cells 3 --jobs 2 runs/paper/MNIST/fcnet/seed0

Make calls it: `make status`, and with --plan beside the first step of a table. The hours come from the seconds that the
last steps done in these folders took for a sample; where none is done, from a few steps timed here.
"""

import argparse
import contextlib
import itertools
import re
import sys
import time
from collections import Counter, defaultdict
from pathlib import Path
from types import SimpleNamespace

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

STEP = re.compile(r"\b(forget|select|train|prune|finetune)\.py (.*) --out (\S+)$")


def commands(lines):
    """[(script, its flags, the file it makes)] of the lines that run a script of the suite."""
    steps = (found.groups() for found in map(STEP.search, lines) if found)
    return [(script, dict(itertools.pairwise(flags.split())), out) for script, flags, out in steps]


def trained(flags, out, size):
    """Samples times epochs that a step trains on; size: of the training set."""
    ratio = float(Path(out).parent.name.partition("-")[2]) if "--subset" in flags else 1
    return ratio * size * float(flags.get("--share", 1)) * int(flags.get("--epochs", 0))


def rates(folders):
    """{script: seconds for a sample and epoch} of the last networks in the folders; what is none is passed over."""
    from train import load_pt

    taken = defaultdict(lambda: [0, 0])
    found = (path for folder in folders for path in Path(folder).glob("**/*.pt") if not path.match("pruned*.pt"))
    for path in sorted(found, key=lambda path: path.stat().st_mtime)[-12:]:
        with contextlib.suppress(Exception):
            checkpoint = load_pt(path)
            step, flags = list(checkpoint["args"].items())[-1]
            if samples := flags.get("samples", flags["train_size"]) * flags["epochs"]:
                rate = taken[step.split("-")[0]]
                rate[:] = rate[0] + checkpoint["seconds"], rate[1] + samples
    return {script: seconds / samples for script, (seconds, samples) in taken.items()}


def timed(dataset, model, threads):
    """Seconds for a sample, from a few training steps on random pixels."""
    import torch
    import train

    torch.set_num_threads(threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    classes, shape, *_ = train.DATASETS[dataset]
    images = torch.randint(0, 256, (64, *shape), dtype=torch.uint8, device=device)
    labels, batch = torch.randint(0, classes, (64,), device=device), torch.arange(64, device=device)
    net = train.build(model, dataset, 0).to(device)
    logits = torch.zeros(64, classes, device=device)
    args = SimpleNamespace(lr=1e-3, precision="fp32", batch_size=64)
    with train.small_maps(net):
        net.train()
        one = train.training_step(net, train.Data(dataset, images, labels, images, labels, {}), logits, args, False)
        one(batch)
        start = time.perf_counter()
        for _ in range(8):
            one(batch)
        logits.sum().item()  # waits for the device
    return (time.perf_counter() - start) / (8 * 64)


def several(count, word):
    return f"{count} {word}{'s' * (count != 1)}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words = "of the table's seeds, DATASET/MODEL/seedK at the end"
    parser.add_argument("folders", nargs="+", metavar="FOLDER", help=words)
    parser.add_argument("--cells", type=int, required=True, help="in the table, done or not")
    parser.add_argument("--jobs", type=int, default=1, help="steps that run at once (default: 1)")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of a step (default: 1)")
    parser.add_argument("--data", default="data", metavar="DIR", help="folder of the data sets (default: data)")
    parser.add_argument("--elsewhere", action="store_true", help="steps run on other machines: time none here")
    parser.add_argument("--plan", action="store_true", help="one line on what is left, none where that is nothing")
    args = parser.parse_args()

    left = commands(sys.stdin)
    if not left:
        return None if args.plan else print(f"done: {several(args.cells, 'cell')}, nothing is left")
    from train import DATASETS, fail, load_pt

    dataset, model = Path(args.folders[0]).parts[-3:-1]
    if dataset not in DATASETS:
        fail(f"{dataset} is no data set: they are {', '.join(DATASETS)}")
    size = DATASETS[dataset][2]
    with contextlib.suppress(Exception):
        size = len(load_pt(Path(args.data) / f"{dataset}.pt")["train_labels"])
    samples, known = [trained(flags, out, size) for _, flags, out in left], rates(args.folders)
    source = "by the last steps done" if known else "by a few steps timed here"
    if not known and any(samples) and not args.elsewhere:
        known = {"train": timed(dataset, model, args.threads)}
    usual = sum(known.values()) / max(1, len(known))
    hours = sum(n * known.get(script, usual) for n, (script, *_) in zip(samples, left)) / args.jobs / 3600
    told = f"{hours:.1f} hours" if hours >= 1 else several(round(60 * hours), "minute")
    counts = ", ".join(f"{n} {script}" for script, n in Counter(script for script, *_ in left).items())
    done = args.cells - sum(Path(out).name == "finetuned.pt" for *_, out in left)
    time_left = (
        f"about {told} with {several(args.jobs, 'job')}, {source}" if known else "hours unknown until one is done"
    )
    print(
        f"{done} of {args.cells} cells are done, {several(len(left), 'step')} to run ({counts}): {time_left}",
        flush=True,
    )
    if not args.plan:
        print(f"next: {left[0][2]}")


if __name__ == "__main__":
    main()
