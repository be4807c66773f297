"""How far a table is: steps done and left, the next one, and the hours left, from the files that make names.

    python tests/status.py --jobs 2 runs/paper/MNIST/fcnet/seed0/forget.npy ...

Make calls it: `make status`, and with --plan before the first step of a table. The hours come from the seconds that the
steps already done took for a sample and an epoch; where none is done, from a few steps timed here.
"""

import argparse
import sys
import time
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

SCRIPTS = {"subset.npy": "select", "dense.pt": "train", "pruned.pt": "prune", "finetuned.pt": "finetune"}


def step(path, epochs):
    """(script, data set, network, samples times epochs that it trains on) of the step that makes the file.

    None for full/dense.pt, which comes with forget.npy.
    """
    from train import DATASETS, fail

    parts = Path(path).parts
    at = max((i for i, part in enumerate(parts) if part.startswith("seed")), default=0)
    if at < 2 or parts[at - 2] not in DATASETS:
        fail(f"{path} is no file of a table of {', '.join(DATASETS)}")
    dataset, model, chosen, name = parts[at - 2], parts[at - 1], parts[at + 1], parts[-1]
    size = DATASETS[dataset][2] * epochs
    if name == "forget.npy":
        return "forget", dataset, model, size
    if name == "dense.pt" and chosen == "full":
        return None
    share = float(chosen.partition("-")[2] or 0) if name == "dense.pt" else name == "finetuned.pt"
    share = 1 if (name, chosen[:5]) == ("dense.pt", "long-") else share
    return SCRIPTS[name], dataset, model, share * size


def seconds_taken(path):
    """Of the step that made a file, or None where its file does not tell."""
    from train import read

    path = Path(path)
    checkpoint = path.parent / "full" / "dense.pt" if path.name == "forget.npy" else path
    return read(checkpoint)["seconds"] if checkpoint.suffix == ".pt" and checkpoint.exists() else None


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


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", metavar="FILE", help="the files of the table, done or not")
    parser.add_argument("--jobs", type=int, default=1, help="steps that run at once (default: 1)")
    parser.add_argument("--epochs", type=int, default=10, help="of every training (default: 10)")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of a step (default: 1)")
    parser.add_argument("--plan", action="store_true", help="one line on what is left")
    args = parser.parse_args()

    steps = {path: found for path in dict.fromkeys(args.files) if (found := step(path, args.epochs))}
    done = [path for path in steps if Path(path).exists()]
    left = [path for path in steps if path not in set(done)]
    rates = {}  # script: [seconds, samples], of the steps done
    for path in done:
        script, *_, samples = steps[path]
        if samples and (seconds := seconds_taken(path)):
            was = rates.get(script, (0, 0))
            rates[script] = was[0] + seconds, was[1] + samples
    source = f"by the {len(done)} steps done"
    samples = sum(steps[path][3] for path in left)
    if samples and not rates:
        _, dataset, model, _ = steps[left[0]]
        rates["train"] = timed(dataset, model, args.threads), 1
        source = "by a few steps timed now"
    usual = [sum(numbers) for numbers in zip(*rates.values())]
    hours = 0.0
    for script, *_, samples in map(steps.get, left):
        taken, of = rates.get(script, usual) if samples else (0, 1)
        hours += samples * taken / of / args.jobs / 3600
    counts = ", ".join(f"{n} {script}" for script, n in Counter(steps[path][0] for path in left).items())
    told = f"{hours:.1f} hours" if hours >= 1 else f"{60 * hours:.0f} minutes"
    if not left:
        print(f"all {len(steps)} steps are done")
    else:
        print(f"{len(left)} of {len(steps)} steps to run ({counts}): about {told} with {args.jobs} jobs, {source}")
    if left and not args.plan:
        cells = [path for path in done if path.endswith("finetuned.pt")]
        print(f"{len(cells)} of {sum(path.endswith('finetuned.pt') for path in steps)} cells are done")
        print(f"next: {left[0]}")


if __name__ == "__main__":
    main()
