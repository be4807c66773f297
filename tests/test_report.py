"""The report's arithmetic against published figures and scipy, and its files read back."""

import csv
import itertools
import math
import re
import shutil
import xml.etree.ElementTree as ElementTree
from decimal import Decimal

import numpy as np
import pytest
import report
import scipy.stats
import torch
from conftest import DIGITS, ROOT, run, start

PUBLISHED = DIGITS / "published_accuracies.csv"


def make_cell(order, data_ratio, prune_ratio, seed, accuracy, **changes):
    """A Cell of ResNet18 on CIFAR-100 as the paper has it, with a made-up curve that ends in `accuracy`."""
    values = {name: kind() for name, kind in report.Cell.__annotations__.items()}
    values |= dict(zip(report.SETTINGS, report.PROTOCOLS["released"]))
    values |= {"dataset": "CIFAR100", "model": "resnet18", "train_size": 50_000, "test_size": 10_000, "data": "d"}
    values |= {"epochs": "10", "tune_epochs": "10", "lr": "0.001", "batch_size": "64", "precision": "fp32"}
    values |= {"order": order, "data_ratio": data_ratio, "prune_ratio": prune_ratio, "seed": seed, "dense": 34.5}
    values |= {"curve": " ".join(["1.0", *(f"{accuracy - 10 + i}" for i in range(1, 10)), f"{accuracy}"])}
    return report.Cell(**values | changes)


def write(path, cells):
    path.write_text(report.write_csv(cells))
    return path


def published(column):
    """{(data ratio, prune ratio): {order: Decimal}} of ResNet18 on CIFAR-100, exact."""
    with open(PUBLISHED, newline="") as file:
        rows = [row for row in csv.DictReader(file) if (row["model"], row["dataset"]) == ("resnet18", "CIFAR100")]
    orders = ("base", "low", "high")
    return {(r["data_ratio"], r["prune_ratio"]): {o: Decimal(r[o + column]) for o in orders} for r in rows}


def lines_of(text):
    return [line.split() for line in text.split("\n\n")[0].splitlines()]


# ------------------------------------------------------------------------------------------------------ the table


@pytest.mark.parametrize("d", ["0.1", "0.2", "0.3"])
def test_published_accuracies_give_table_1_to_its_last_digit(tmp_path, d):
    """The authors' own accuracies, as if they were a run of ours; they trained a baseline anew for every data ratio."""
    cells, accuracies = [], {p: accuracy for (ratio, p), accuracy in published("_finetuned").items() if ratio == d}
    for p, accuracy in accuracies.items():
        cells += [make_cell(o, 1.0 if o == "base" else float(d), float(p), 0, accuracy[o]) for o in accuracy]
    lines = lines_of(run("report.py", "table", write(tmp_path / "x.csv", cells)))
    expected = []
    for p, accuracy in accuracies.items():
        low, high = (f"{accuracy[o] - accuracy['base']:+.2f}" for o in ("low", "high"))
        expected.append([d, f"{float(p):g}", f"{accuracy['base']:.2f}", low, low, high, high])
    assert lines[1:] == expected and len(expected) == 5


def test_table_says_what_is_missing_and_what_it_was_made_from(tmp_path):
    cells = [
        make_cell("base", 1.0, 0.4, 0, 42.0),
        make_cell("low", 0.1, 0.4, 0, 43.0),
        make_cell("base", 1.0, 0.8, 0, 41),
    ]
    out = run("report.py", "table", write(tmp_path / "x.csv", cells))
    assert "missing, 1 cells: seed 0 of low-0.1/p0.8" in out and "protocol: released" in out and "One seed" in out
    assert lines_of(out)[2] == ["0.1", "0.8", "41.00", "-", "+2.49"]


def several(n, spread=0.5, orders=("low", "high", "random", "none")):
    """Cells of n seeds with normal noise, two data ratios and two prune ratios."""
    random, cells = np.random.default_rng(n), []
    for seed, p in itertools.product(range(n), (0.4, 0.8)):
        draw = lambda: float(f"{42 + spread * random.standard_normal():.2f}")  # noqa: E731
        cells += [make_cell("base", 1.0, p, seed, draw())]
        cells += [make_cell("none", 0.0, p, seed, draw())]
        cells += [make_cell(o, d, p, seed, draw()) for o in orders if o != "none" for d in (0.1, 0.2)]
    return cells


@pytest.mark.parametrize("n", [2, 3, 6, 10])
def test_intervals_and_p_values_are_scipys(n):
    cells = several(n)
    at = {cell.key: cell.accuracy for cell in cells}
    rows = report.table(cells)
    pairs = report.compared(rows)
    assert pairs == [(o, "base") for o in ("low", "high", "random", "none")] + [("low", "random"), ("high", "random")]
    raw = []
    for row in rows:
        for one, other in pairs:
            ratio = {"base": 1.0, "none": 0.0}
            ends = [
                [at[o, ratio.get(o, row["data_ratio"]), row["prune_ratio"], s] for s in range(n)] for o in (one, other)
            ]
            d = np.subtract(*ends)
            name = f"{one}-{other}"
            assert row[name] == pytest.approx(d.mean())
            low, high = scipy.stats.t.interval(0.95, n - 1, d.mean(), scipy.stats.sem(d))
            assert row[f"{name}_half"] == pytest.approx((high - low) / 2)
            test = scipy.stats.permutation_test((d,), np.mean, permutation_type="samples", n_resamples=np.inf)
            raw.append((test.pvalue, row[f"{name}_p"]))
            if other == "base" and one in ("low", "high"):
                theirs = published("_finetuned")[f"{row['data_ratio']}", f"{row['prune_ratio']}"]
                difference = float(theirs[one] - theirs["base"])
                reach = scipy.stats.t.ppf(0.975, n - 1) * d.std(ddof=1) * math.sqrt(1 + 1 / n)
                assert row[f"{name}_compatible"] == (abs(difference - d.mean()) <= reach)
    raw.sort()
    bound = 0
    for rank, (p, adjusted) in enumerate(raw):  # Holm's procedure as it is written: p against alpha / (m - rank)
        bound = max(bound, min(1, p * (len(raw) - rank)))
        assert adjusted == pytest.approx(bound)


@pytest.mark.parametrize("df", [1, 2, 3, 4, 5, 9, 30])
def test_t_quantile_is_scipys(df):
    assert report.t_quantile(df) == pytest.approx(scipy.stats.t.ppf(0.975, df), rel=1e-9)


def test_p_values_at_the_edges():
    assert report.sign_flip_p([1.0, 1.0]) == 0.5 and report.sign_flip_p([0.3] * 10) == pytest.approx(2 / 2**10)
    assert report.sign_flip_p([0.0, 0.0, 0.0]) == 1 and report.sign_flip_p([1.0, -1.0]) == 1
    assert report.half_width([2.0, 2.0, 2.0]) == 0
    assert report.holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])


def test_missing_seeds_are_left_out_of_the_pairs(tmp_path):
    cells = [cell for cell in several(3) if cell.key != ("base", 1.0, 0.4, 1)]
    rows = report.table(cells)
    assert [row["low-base_seeds"] for row in rows] == [2, 3, 2, 3]
    assert "missing, 1 cells: seed 1 of base/p0.4" in run("report.py", "table", write(tmp_path / "x.csv", cells))


def test_every_column_of_a_markdown_table_has_a_rule(tmp_path):
    cells = [cell for cell in several(2) if cell.order != "random" or cell.seed == 0]  # its p is a column of "-"
    out = run("report.py", "table", write(tmp_path / "x.csv", cells), "--format", "markdown").splitlines()
    assert re.fullmatch(r"\|( -+: \|)+", out[1]) and out[1].count("|") == out[0].count("|")


def test_table_tells_the_floor_of_p_and_counts_what_is_compatible(tmp_path):
    cells = several(6)
    out = run("report.py", "table", write(tmp_path / "x.csv", cells))
    gaps = [float(theirs["low"] - theirs["high"]) for theirs in published("_finetuned").values()]
    low, high = scipy.stats.t.interval(0.95, len(gaps) - 1, np.mean(gaps), scipy.stats.sem(gaps))
    assert f"Published low - high: {np.mean(gaps):+.2f} ± {(high - low) / 2:.2f} over its 25 cells" in out
    assert "with 6 seeds one test cannot go below 2/2^6 = 0.031" in out
    rows = report.table(cells)
    inside = [row[f"{o}-base_compatible"] for row in rows for o in ("low", "high")]
    signs = [row[f"{o}-base"] * row[f"{o}-base_published"] > 0 for row in rows for o in ("low", "high")]
    assert (
        f"Of 8 published differences, {sum(signs)} have the sign of ours, and {sum(inside)} of 8 are compatible" in out
    )
    for row, line in zip(rows, out.splitlines()[1:]):
        assert line.count("*") == sum(abs(row[k]) > row[f"{k}_half"] for k in row if f"{k}_half" in row and "-" in k)


# ---------------------------------------------------------------------------------------------------- its formats


def test_csv_read_back_is_the_table(tmp_path):
    cells = several(4)
    path = write(tmp_path / "x.csv", cells)
    assert report.read_csv(str(path)) == cells
    run("report.py", "table", path, "--format", "csv", "--out", tmp_path / "table.csv")
    with open(tmp_path / "table.csv", newline="") as file:
        back = list(csv.DictReader(file))
    rows = report.table(cells)
    assert [{k: "" if v is None else str(v) for k, v in row.items()} for row in rows] == back


def test_formats_have_the_same_fields(tmp_path):
    path = write(tmp_path / "x.csv", several(2))
    text, markdown, latex = (run("report.py", "table", path, "--format", f) for f in ("text", "markdown", "latex"))
    fields = [
        [field.strip() for field in line.strip("| ").split("|")] for line in markdown.splitlines() if line[:1] == "|"
    ]
    assert [re.split(r"\s{2,}", line.strip()) for line in text.split("\n\n")[0].splitlines()] == fields[:1] + fields[2:]
    body = [
        line.removesuffix(r" \\").split(" & ") for line in latex.replace(r"$\pm$", "±").splitlines() if " & " in line
    ]
    assert body == fields[:1] + fields[2:]


@pytest.mark.skipif(not shutil.which("pdflatex"), reason="needs pdflatex: compiles the LaTeX table")
def test_latex_compiles(tmp_path):
    tabular = run("report.py", "table", write(tmp_path / "x.csv", several(2)), "--format", "latex")
    document = r"\documentclass{article}\usepackage{booktabs}\begin{document}" + tabular + r"\end{document}"
    (tmp_path / "t.tex").write_text(document)
    run("pdflatex", "-interaction=nonstopmode", "-halt-on-error", "t.tex", cwd=tmp_path)


def test_cells_of_checkpoints_and_of_their_csv_are_the_same(chain, tmp_path):
    run("report.py", "cells", chain / "hold.pt", "--out", tmp_path / "cells.csv")
    assert run("report.py", "table", chain / "hold.pt") == run("report.py", "table", tmp_path / "cells.csv")
    (cell,) = report.read_csv(str(tmp_path / "cells.csv"))
    checkpoint = torch.load(chain / "hold.pt", weights_only=True)
    assert cell.key == ("low", 0.1, 0.8, 0) and report.protocol(cell) == "paper"
    assert cell.accuracies == pytest.approx(checkpoint["accuracy"])
    assert cell.trained == 3 * 400 + 4000 and cell.parameters == 203_530
    weights = [value for value in checkpoint["model"].values() if value.ndim > 1]
    assert cell.parameters - cell.nonzero == sum(int((weight == 0).sum()) for weight in weights)
    assert cell.worst_class == min(torch.load(chain / "dense.pt", weights_only=True)["class_accuracy"])
    run("report.py", "cells", chain / "hold.pt", chain / "release.pt", "--out", tmp_path / "two.csv")
    assert [report.protocol(cell) for cell in report.read_csv(str(tmp_path / "two.csv"))] == ["paper", "unheld"]


# --------------------------------------------------------------------------------------- costs, ablation, scores


def test_costs_have_a_line_per_network(tmp_path):
    lines = lines_of(run("report.py", "costs", write(tmp_path / "x.csv", several(3))))
    assert [line[0] for line in lines[1:]] == ["base"] * 2 + ["low"] * 4 + ["high"] * 4 + ["random"] * 4 + ["none"] * 2


def test_ablation_has_a_line_per_departure(tmp_path):
    cells = []
    for i, (name, settings) in enumerate(report.PROTOCOLS.items()):
        changes = dict(zip(report.SETTINGS, settings))
        for seed in (0, 1):
            cells.append(make_cell("base", 1.0, 0.8, seed, 40 + i, **changes))
            cells.append(make_cell("low", 0.1, 0.8, seed, 41 + 2 * i, **changes))
    lines = lines_of(run("report.py", "ablation", write(tmp_path / "x.csv", cells)))
    assert [line[2] for line in lines[1:]] == list(report.PROTOCOLS)
    assert [line[3] for line in lines[1:]] == [f"{40 + i}.00" for i in range(6)]
    assert [line[6] for line in lines[1:]] == [f"+{1 + i}.00" for i in range(6)]


def test_scores_are_held_against_chance(chain, tmp_path):
    for name in ("forget.npy", "correct.npy"):
        shutil.copy(chain / name, tmp_path / name)
    out = run("report.py", "scores", chain / "forget.npy", tmp_path / "forget.npy")
    scores, correct = np.load(chain / "forget.npy"), np.load(chain / "correct.npy")
    for k in range(3):
        chance = scipy.stats.binom.pmf(k, 2, 0.9)  # three epochs, ten classes of the same size
        assert f"score {k}: {100 * (scores == k).mean():6.2f} %  binomial {100 * chance:6.2f} %" in out
    assert f"never learned: {(~correct.any(0)).sum()} samples" in out
    assert "correlation 1.000" in out


# -------------------------------------------------------------------------------------------------------- figures


def drawing(path):
    """The ids of the groups in an SVG, and its texts."""
    elements = list(ElementTree.parse(path).iter())
    ids = [element.get("id") for element in elements if element.get("id")]
    return ids, ["".join(element.itertext()).strip() for element in elements if element.tag.endswith("}text")]


def test_figure1_has_a_line_per_order_and_panel(tmp_path):
    path = tmp_path / "f.svg"
    run("report.py", "figure1", write(tmp_path / "x.csv", several(3)), "--out", path)
    ids, texts = drawing(path)
    assert len([i for i in ids if i.startswith("line-")]) == 5 * 4  # base, low, high, random, none; four panels
    for label in ("test accuracy (%)", "epoch of fine-tuning", "10 % of the data, 40 % pruned", "base", "random"):
        assert label in texts
    assert any(text.endswith("mean and range of 3 seeds") for text in texts)
    run("report.py", "figure1", write(tmp_path / "x.csv", several(3)[1:]), "--out", path)
    assert any(text.endswith("mean and range of up to 3 seeds") for text in drawing(path)[1])


def test_figure2_has_bars_before_and_after(tmp_path):
    path = tmp_path / "f.svg"
    run("report.py", "figure2", write(tmp_path / "x.csv", several(3, orders=("low", "high"))), "--out", path)
    ids, texts = drawing(path)
    assert (
        len([i for i in ids if i.startswith("bar-before-")]) == len([i for i in ids if i.startswith("bar-after")]) == 6
    )
    assert "test accuracy (%)" in texts and "pruned weights (%)" in texts and {"base", "low", "high"} <= set(texts)


def test_heatmap_prints_every_difference(tmp_path):
    path, cells = tmp_path / "f.svg", several(1)
    run("report.py", "heatmap", write(tmp_path / "x.csv", cells), "--out", path)
    _, texts = drawing(path)
    rows = report.table(cells)
    for row in rows:
        assert f"{row['low-base']:+.2f}" in texts and f"{row['high-base']:+.2f}" in texts
    assert "percentage points" in texts and "coreset (% of the data)" in texts


@pytest.mark.parametrize("kind", ["svg", "png", "pdf"])
def test_figure_of_scores(chain, tmp_path, kind):
    path = tmp_path / f"f.{kind}"
    run("report.py", "scores", chain / "forget.npy", "--out", path)
    if kind == "svg":
        _, texts = drawing(path)
        assert {"samples (%)", "forgetting score (events)", "never learned"} <= set(texts)
    assert path.read_bytes()[:4] == {"svg": b"<?xm", "png": b"\x89PNG", "pdf": b"%PDF"}[kind]


# ----------------------------------------------------------------------------------------------- verify, README


def test_verify_finds_what_was_changed(chain, tmp_path):
    names = ("forget.npy", "correct.npy", "low.npy", "full.pt", "dense.pt", "pruned.pt", "hold.pt", "release.pt")
    for name in names:
        shutil.copy(chain / name, tmp_path / name)
    shutil.move(tmp_path / "low.npy", tmp_path / "subset.npy")
    files = [name.replace("low", "subset") for name in names if name != "correct.npy"]
    command = ("report.py", "verify", *files, "--data", DIGITS)
    assert run(*command, cwd=tmp_path).count("OK") == 7
    (tmp_path / "flipped").mkdir()
    shutil.copy(tmp_path / "correct.npy", tmp_path / "flipped")
    flips = (tmp_path / "forget.npy").read_bytes().replace(b'"forgotten"', b'"flipped"')
    (tmp_path / "flipped" / "forget.npy").write_bytes(flips)
    assert run("report.py", "verify", "flipped/forget.npy", cwd=tmp_path).startswith("SKIPPED  flipped/forget.npy: ")

    scores, rest = np.load(tmp_path / "forget.npy"), (tmp_path / "forget.npy").read_bytes()
    scores[0] += 1
    with open(tmp_path / "forget.npy", "wb") as file:
        np.save(file, scores)
        file.write(rest[file.tell() :])
    held = torch.load(tmp_path / "hold.pt", weights_only=True)
    held["model"]["1.weight"][held["model"]["1.weight"] == 0] = 1e-3
    torch.save(held, tmp_path / "hold.pt")
    dense = torch.load(tmp_path / "dense.pt", weights_only=True)
    dense["accuracy"][-1] += 1
    torch.save(dense, tmp_path / "dense.pt")
    with open(tmp_path / "subset.npy", "r+b") as file:
        subset = np.load(file)
        rest = file.read()
        subset[0] = np.setdiff1d(np.arange(subset[1]), subset)[0]
        file.seek(0)
        np.save(file, subset)
        file.write(rest)
    process = start(*command, cwd=tmp_path)
    out, err = process.communicate()
    wrong = {line.split()[1].rstrip(":") for line in out.splitlines() if line.startswith("WRONG")}
    assert wrong == {"forget.npy", "subset.npy", "dense.pt", "hold.pt"} and process.returncode == 1
    assert err == "report.py: error: 4 of 7 files are not what they claim\n"


def readme_commands():
    """(command, text after it) of every `python report.py` in a code block of README.md that reads tests/results."""
    text = (ROOT / "README.md").read_text()
    return re.findall(
        r"^```sh\n(python report\.py [^\n]*tests/results/[^\n]*)\n```\n\n(.*?)(?=^```|^#|\Z)", text, re.M | re.S
    )


@pytest.mark.parametrize("command, after", readme_commands(), ids=lambda value: value[:60])
def test_readme_is_made_by_its_commands(command, after, tmp_path):
    """Every table in README.md comes out again, every figure has the same lines and words."""
    words = command.split()[1:]
    if "--out" in words:
        committed = ROOT / words[-1]
        run(*words[:-1], tmp_path / "new.svg", cwd=ROOT)
        assert drawing(tmp_path / "new.svg")[1] == drawing(committed)[1]
        assert f"({words[-1]})" in after
    else:
        assert run(*words, cwd=ROOT).strip() in after


def test_readme_has_results():
    assert len(readme_commands()) >= 4
    size = sum(path.stat().st_size for path in (ROOT / "tests" / "results").iterdir())
    assert size < 1_000_000
