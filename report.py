"""The paper's Table 1 from the files of any runs, with the published numbers beside it.

    python report.py table runs/paper/CIFAR100/resnet18/seed*/*/p*/finetuned.pt --format markdown

Every number is the test accuracy after the last epoch of fine-tuning. Differences are paired: within a seed, all
networks start from the same initial weights and are fine-tuned on the same order of samples.
"""

import csv
import io
import statistics
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from train import DATASETS, Parser, claim, fail, read, replacing

PROTOCOLS = {
    "paper": {"events": "forgotten", "positions": "fixed", "batchnorm": "train", "mask": "hold"},
    "released": {"events": "flipped", "positions": "shuffled", "batchnorm": "frozen", "mask": "release"},
}
PUBLISHED = Path(__file__).parent / "tests" / "data" / "published_accuracies.csv"


class Cell(NamedTuple):
    """What the report needs of one finetuned.pt."""

    order: str  # base, low, high or random
    data_ratio: float
    prune_ratio: float
    seed: int
    accuracy: float  # %, on the test set, after the last epoch
    common: dict  # what all files of a table must agree in
    seconds: dict
    machine: str


def load_cell(path):
    """The Cell of a checkpoint; exits with one line if finetune.py did not write it."""
    checkpoint = read(path)
    args = checkpoint["args"]
    if not {"prune", "finetune"} <= args.keys():
        fail(f"{path} is not the output of finetune.py")
    origin, forget, finetune = args.get("train") or args["forget"], args.get("forget", {}), args["finetune"]
    if "samples" in origin and origin["samples"] < origin["train_size"] and "select" not in args:
        fail(f"{path}: its subset does not tell which order and ratio it is; make subsets with select.py")
    settings = {key: forget.get(key, usual) for key, usual in PROTOCOLS["paper"].items()} | {"mask": finetune["mask"]}
    protocol = next((name for name, known in PROTOCOLS.items() if known == settings), None)
    common = {
        "dataset": origin["dataset"],
        "model": origin["model"],
        "protocol": protocol or ", ".join(f"{key} {value}" for key, value in settings.items()),
        "epochs": f"{origin['epochs']} and {finetune['epochs']}",
        **{key: f"{origin[key]} and {finetune[key]}" for key in ("lr", "batch_size", "precision")},
        **{key: origin[key] for key in ("train_size", "test_size", "data")},
    }
    versions = "  ".join(f"{name} {version}" for name, version in checkpoint["versions"].items())
    return Cell(
        order=args["select"]["order"] if "select" in args else "base",
        data_ratio=args["select"]["ratio"] if "select" in args else 1.0,
        prune_ratio=args["prune"]["ratio"],
        seed=origin["seed"],
        accuracy=checkpoint["accuracy"][-1],
        common=common,
        seconds={step: past["seconds"] for step, past in checkpoint["earlier"].items()}
        | {"finetune": checkpoint["seconds"]},
        machine=f"{checkpoint['device']}  {versions}",
    )


def load_cells(paths):
    """{(order, data ratio, prune ratio, seed): Cell}; exits if two files disagree or are the same cell."""
    cells, origin = {}, {}
    for path in paths:
        cell = load_cell(path)
        first_path, first = next(((origin[key], cells[key]) for key in cells), (path, cell))
        for key, value in cell.common.items():
            if value != first.common[key]:
                fail(f"{path} and {first_path} disagree in {key}: {value}, {first.common[key]}; report them apart")
        key = cell[:4]
        if key in cells:
            fail(f"{path} and {origin[key]} are the same cell; give one of them")
        cells[key], origin[key] = cell, path
    return cells


def published(common):
    """The authors' fine-tuned accuracies for this data set and model, {(order, data ratio, prune ratio): %}."""
    with open(PUBLISHED, newline="") as file:
        rows = [
            r
            for r in csv.DictReader(file)
            if (r["dataset"], r["model"].lower()) == (common["dataset"], common["model"])
        ]
    return {
        (order, float(row["data_ratio"]), float(row["prune_ratio"])): float(row[f"{order}_finetuned"])
        for row in rows
        for order in ("base", "low", "high")
    }


class Row(NamedTuple):
    data_ratio: float
    prune_ratio: float
    base: list  # test accuracy in % of every seed
    differences: dict  # order: [order - base in percentage points, of every seed that has both]
    published: dict  # order: the authors' difference, where the cell is one of theirs


def table(cells):
    """Table 1: a Row for each data ratio and prune ratio, from the Cells of load_cells."""
    orders = [order for order in ("low", "high", "random") if any(key[0] == order for key in cells)]
    seeds = sorted({key[3] for key in cells})
    theirs = published(next(iter(cells.values())).common)
    ratios = sorted({key[1] for key in cells if key[0] != "base"}) or [1.0]
    rows = []
    for d, p in ((d, p) for d in ratios for p in sorted({key[2] for key in cells})):
        base = {s: cells["base", 1.0, p, s].accuracy for s in seeds if ("base", 1.0, p, s) in cells}
        differences = {
            order: [cells[order, d, p, s].accuracy - base[s] for s in base if (order, d, p, s) in cells]
            for order in orders
        }
        authors = {o: theirs[o, d, p] - theirs["base", d, p] for o in orders if (o, d, p) in theirs}
        rows.append(Row(d, p, list(base.values()), differences, authors))
    return rows


def missing(cells):
    """The cells that the grid of all orders, ratios and seeds in `cells` has and `cells` has not."""
    orders, ratios, prunes, seeds = (sorted({key[i] for key in cells}) for i in range(4))
    coresets = [(o, d) for o in orders if o != "base" for d in ratios if d != 1.0]
    wanted = [(o, d, p, s) for o, d in [("base", 1.0), *coresets] for p in prunes for s in seeds]
    return [
        f"{o}{'' if o == 'base' else f'-{d:g}'}/p{p:g} seed {s}" for o, d, p, s in wanted if (o, d, p, s) not in cells
    ]


def spread(values, sign=""):
    """mean, and +- standard deviation over seeds where there are several; a dash where there is none."""
    if not values:
        return "-"
    text = f"{statistics.fmean(values):{sign}.2f}"
    return text if len(values) == 1 else f"{text} ± {statistics.stdev(values):.2f}"


def render(rows, style):
    """The rows as text, markdown, latex or csv."""
    orders = list(rows[0].differences)
    if style == "csv":
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        columns = ("difference", "sd", "seeds", "published")
        writer.writerow(["data_ratio", "prune_ratio", "base", *(f"{o}_{c}" for o in orders for c in columns)])
        for row in rows:
            line = [row.data_ratio, row.prune_ratio, statistics.fmean(row.base) if row.base else ""]
            for o in orders:
                d = row.differences[o]
                line += [statistics.fmean(d) if d else "", statistics.stdev(d) if len(d) > 1 else "", len(d)]
                line += [row.published.get(o, "")]
            writer.writerow(line)
        return out.getvalue()
    titles = ["Data Ratio", "Prune Ratio", "Base"]
    for order in orders:
        titles += (
            [f"{order.title()} - Base", "published"] if order in rows[0].published else [f"{order.title()} - Base"]
        )
    lines = []
    for row in rows:
        line = [f"{row.data_ratio:g}", f"{row.prune_ratio:g}", spread(row.base)]
        for order in orders:
            line.append(spread(row.differences[order], "+"))
            if order in rows[0].published:
                line.append(f"{row.published[order]:+.2f}" if order in row.published else "-")
        lines.append(line)
    if style == "latex":
        body = [" & ".join(line).replace("±", r"$\pm$") + r" \\" for line in (titles, *lines)]
        return "\n".join(
            [rf"\begin{{tabular}}{{{'r' * len(titles)}}}", r"\toprule", body[0], r"\midrule", *body[1:], r"\bottomrule",
             r"\end{tabular}", ""]
        )  # fmt: skip
    widths = [max(map(len, column)) for column in zip(titles, *lines)]
    lines = [[field.rjust(width) for field, width in zip(line, widths)] for line in (titles, *lines)]
    if style == "markdown":
        lines.insert(1, ["-" * (width - 1) + ":" for width in widths])
        return "".join(f"| {' | '.join(line)} |\n" for line in lines)
    return "".join("  ".join(line) + "\n" for line in lines)


def footer(cells, rows):
    """What the table was made from, a line each."""
    common = next(iter(cells.values())).common
    seeds = sorted({key[3] for key in cells})
    lines = [
        "Test accuracy in %, differences in percentage points"
        + (", mean ± standard deviation over the seeds." if len(seeds) > 1 else ".")
    ]
    lines += [f"{key.replace('_', ' ')}: {value}" for key, value in common.items()]
    lines.append(f"seeds: {' '.join(map(str, seeds))}" + (" (one seed: no spread)" if len(seeds) == 1 else ""))
    for machine, count in Counter(cell.machine for cell in cells.values()).items():
        lines.append(f"made on: {machine} ({count} files)")
    # a coreset's or a baseline's training is shared by its prune ratios, so it counts once
    trained = {
        (c.order, c.data_ratio, c.seed): c.seconds.get("train", 0) + c.seconds.get("forget", 0) for c in cells.values()
    }
    total = sum(trained.values()) + sum(c.seconds["prune"] + c.seconds["finetune"] for c in cells.values())
    lines.append(
        f"time: {total / 3600:.2f} h in all, one process at a time"
        if total > 3600
        else f"time: {total:.0f} s in all, one process at a time"
    )
    full = DATASETS[common["dataset"]][2]
    if any(row.published for row in rows) and (common["train_size"], common["epochs"]) != (full, "10 and 10"):
        lines.append(
            f"The published numbers are for {full} training images and 10 and 10 epochs: not the same experiment."
        )
    absent = missing(cells)
    if absent:
        lines.append(f"missing, {len(absent)} cells: {', '.join(absent)}")
    return lines


def main():
    parser = Parser(__doc__)
    parser.add_argument("what", choices=["table"], help="table: the paper's Table 1")
    parser.add_argument("inputs", nargs="+", metavar="IN.pt", help="checkpoints of finetune.py, in any order")
    parser.add_argument(
        "--format", choices=["text", "markdown", "csv", "latex"], default="text", help="(default: text)"
    )
    parser.add_argument("--out", metavar="FILE", help="write there (default: the screen)")
    args = parser.parse_args()
    if args.out:
        claim(args.out)
    cells = load_cells(args.inputs)
    rows = table(cells)
    text = render(rows, args.format)
    notes = footer(cells, rows)
    if args.format in ("text", "markdown"):
        text += "\n" + "".join(f"- {note}\n" if args.format == "markdown" else f"{note}\n" for note in notes)
    elif args.format == "latex":
        text += "".join(f"% {note}\n" for note in notes)
    if args.out:
        with replacing(args.out) as file:
            file.write(text.encode())
    else:
        print(text, end="")


if __name__ == "__main__":
    main()
