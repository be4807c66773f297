"""The audit against scipy's binomial, and against files that were changed after they were written."""

import re
import shutil
import sys

import numpy as np
import pytest
import scipy.stats
import torch

from conftest import DIGITS, ROOT, refusal, run, start
from test_report import drawing

AUDIT = (sys.executable, ROOT / "tests" / "audit.py")


def read_array_file(path, arrays):
    """The arrays at the start of a .npy, and the bytes behind them."""
    with open(path, "rb") as file:
        return *(np.load(file) for _ in range(arrays)), file.read()


def write_array_file(path, *arrays, tail):
    with open(path, "wb") as file:
        for array in arrays:
            np.save(file, array)
        file.write(tail)


def outcome(*command, **kwargs):
    """(stdout, stderr) of a command that must fail."""
    process = start(*command, **kwargs)
    out, err = process.communicate()
    assert process.returncode == 1
    return out, err


# --------------------------------------------------------------------------------------------------------- scores


def test_scores_are_held_against_chance(chain, tmp_path):
    for name in ("forget.npy", "correct.npy"):
        shutil.copy(chain / name, tmp_path / name)
    out = run(*AUDIT, "scores", chain / "forget.npy", tmp_path / "forget.npy", "--data", DIGITS)
    scores = np.load(chain / "forget.npy")
    correct = np.load(chain / "correct.npy")
    labels = torch.load(DIGITS / "MNIST.pt", weights_only=True)["train_labels"].numpy()
    differ = 1 - sum(np.mean(labels == digit) ** 2 for digit in range(10))
    for score in range(3):
        share = (scores == score).mean()
        chance = scipy.stats.binom.pmf(score, 2, differ)  # three epochs
        assert f"score {score}: {100 * share:6.2f} %  binomial {100 * chance:6.2f} %" in out
    assert f"never learned: {(~correct.any(0)).sum()} samples" in out
    assert "correlation 1.000" in out


def test_ties_at_the_cut_are_told(chain):
    """Of a tenth, 400 samples: which score it ends at, and whether all that score so are in it."""
    ordered = np.sort(np.load(chain / "forget.npy"))
    words = []
    for order, inside in (("low", ordered[:400]), ("high", ordered[3600:])):
        cut = inside[-1] if order == "low" else inside[0]
        tied = np.count_nonzero(ordered == cut)
        at_cut = np.count_nonzero(inside == cut)
        drawn = at_cut / 4 if at_cut < tied else 0
        words.append(f"{order} cut at {cut}, {drawn:.0f} % of it at random among {tied}")
    assert f"\n  ratio 0.1: {'; '.join(words)}\n" in run(*AUDIT, "scores", chain / "forget.npy", "--data", DIGITS)


def test_scores_that_are_all_equal_have_no_correlation(chain, tmp_path):
    scores, labels, tail = read_array_file(chain / "forget.npy", 2)
    path = tmp_path / "forget.npy"
    write_array_file(path, np.ones_like(scores), labels, tail=tail)
    process = start(*AUDIT, "scores", chain / "forget.npy", path, "--data", DIGITS)
    out, err = process.communicate()
    assert process.returncode == 0
    assert err == ""
    assert f"no correlation, since all scores of {path} are 1; of the first's highest tenth, " in out
    assert "nan" not in out
    assert "low cut at 1, 100 % of it at random among 4000" in out


def test_scores_of_too_few_samples_are_refused(chain, tmp_path):
    scores, labels, tail = read_array_file(chain / "forget.npy", 2)
    few = tail.replace(b'"train_size": 4000', b'"train_size": 4')
    write_array_file(tmp_path / "forget.npy", scores[:4], labels[:4], tail=few)
    assert "4 samples have no tenth" in refusal(*AUDIT, "scores", tmp_path / "forget.npy", "--data", tmp_path)


def test_scores_refuse_labels_that_are_others(chain, tmp_path):
    scores, labels, tail = read_array_file(chain / "forget.npy", 2)
    path = tmp_path / "forget.npy"
    for other, words in ((labels[:-1], "one class per sample"), (np.roll(labels, 1), "sample by sample")):
        write_array_file(path, scores, other, tail=tail)
        assert words in refusal(*AUDIT, "scores", path, "--data", DIGITS)


def test_scores_refuse_flags_that_are_not_those_of_forget(chain, tmp_path):
    scores, labels, tail = read_array_file(chain / "forget.npy", 2)
    path = tmp_path / "forget.npy"
    write_array_file(path, scores, labels, tail=tail.replace(b'"positions"', b'"places"'))
    assert "does not tell positions" in refusal(*AUDIT, "scores", path, "--data", DIGITS)
    write_array_file(path, scores + 3, labels, tail=tail)
    assert "scores of 3 epochs" in refusal(*AUDIT, "scores", path, "--data", DIGITS)


@pytest.mark.parametrize("kind", ["svg", "png", "pdf"])
def test_figure_of_scores(chain, tmp_path, kind):
    path = tmp_path / f"f.{kind}"
    run(*AUDIT, "scores", chain / "forget.npy", "--data", DIGITS, "--out", path)
    if kind == "svg":
        _, texts = drawing(path)
        assert {"samples (%)", "forgetting score (events)", "never learned"} <= set(texts)
    assert path.read_bytes()[:4] == {"svg": b"<?xm", "png": b"\x89PNG", "pdf": b"%PDF"}[kind]


def test_figure_tells_no_learned_samples_where_it_cannot_know_them(chain, tmp_path):
    """Without a correct.npy, and of shuffled positions, where a place is another sample in every epoch."""
    scores, labels, tail = read_array_file(chain / "forget.npy", 2)
    fixed = tmp_path / "fixed" / "forget.npy"
    shuffled = tmp_path / "shuffled" / "forget.npy"
    for path in (fixed, shuffled):
        path.parent.mkdir()
    write_array_file(fixed, scores, labels, tail=tail)
    other = tail.replace(b'"positions": "fixed"', b'"positions": "shuffled"')
    assert other != tail
    write_array_file(shuffled, scores, labels, tail=other)
    shutil.copy(chain / "correct.npy", shuffled.parent)
    for path in (fixed, shuffled):
        run(*AUDIT, "scores", path, "--data", DIGITS, "--out", tmp_path / "f.svg")
        _, texts = drawing(tmp_path / "f.svg")
        assert "samples" in texts
        assert not {"learned once", "never learned"} & set(texts)


@pytest.mark.parametrize("what", ["scores", "verify"])
def test_a_full_disk_behind_the_output_is_one_line(chain, what):
    command = f"{sys.executable} {AUDIT[1]} {what} {chain}/forget.npy --data {DIGITS} > /dev/full"
    assert "audit.py: error: cannot print" in refusal("sh", "-c", command)


# --------------------------------------------------------------------------------------------------- verification

CHECKPOINTS = ("full.pt", "dense.pt", "pruned.pt", "hold.pt", "release.pt")


@pytest.fixture
def copies(chain, tmp_path):
    """A folder of the chain's files, of which the arrays have names that tell nothing."""
    for name in ("correct.npy", *CHECKPOINTS):
        shutil.copy(chain / name, tmp_path / name)
    shutil.copy(chain / "forget.npy", tmp_path / "a.npy")
    shutil.copy(chain / "low.npy", tmp_path / "b.npy")
    return tmp_path


def change_checkpoint(path, change):
    checkpoint = torch.load(path, weights_only=True)
    change(checkpoint)
    torch.save(checkpoint, path)


def fill_zeros(checkpoint):
    weight = checkpoint["model"]["1.weight"]
    weight[weight == 0] = 1e-3


def claim_more(checkpoint):
    checkpoint["accuracy"][-1] += 1


def test_verify_finds_what_was_changed(copies):
    command = (*AUDIT, "verify", "a.npy", "b.npy", *CHECKPOINTS, "--data", DIGITS)
    assert run(*command, cwd=copies).count("OK ") == 7

    scores, labels, tail = read_array_file(copies / "a.npy", 2)
    scores[0] = 1 - scores[0]
    write_array_file(copies / "a.npy", scores, labels, tail=tail)
    subset, tail = read_array_file(copies / "b.npy", 1)
    subset[0] = np.setdiff1d(np.arange(subset[1]), subset)[0]
    write_array_file(copies / "b.npy", subset, tail=tail)
    change_checkpoint(copies / "hold.pt", fill_zeros)
    change_checkpoint(copies / "dense.pt", claim_more)
    out, err = outcome(*command, cwd=copies)
    wrong = {line.split()[1].rstrip(":") for line in out.splitlines() if line.startswith("WRONG")}
    assert wrong == {"a.npy", "b.npy", "dense.pt", "hold.pt"}
    assert err == "audit.py: error: 4 of 7 files are not what they claim\n"


def test_verify_tells_one_wrong_score_from_scores_of_another_coreset(copies):
    """The scores stay as they are: only the subset is another one."""
    subset, tail = read_array_file(copies / "b.npy", 1)
    subset[0] = np.setdiff1d(np.arange(subset[1]), subset)[0]
    write_array_file(copies / "b.npy", subset, tail=tail)
    out, _ = outcome(*AUDIT, "verify", "b.npy", "a.npy", "--data", DIGITS, cwd=copies)
    assert out == "OK       a.npy\nWRONG    b.npy: another selection from its scores, with its seed\n"
    out, _ = outcome(*AUDIT, "verify", "b.npy", "--data", DIGITS, cwd=copies)
    assert out.startswith("WRONG    b.npy: none of the files given has the scores")


def test_verify_takes_subsets_that_name_ties_by_their_older_word(copies):
    raw = (copies / "b.npy").read_bytes()
    assert raw.count(b'"ties": "random"') + raw.count(b'"ties": "lot"') == 1
    for word in (b"lot", b"random"):
        (copies / "b.npy").write_bytes(re.sub(rb'"ties": "\w+"', b'"ties": "%s"' % word, raw))
        assert "OK       b.npy\n" in run(*AUDIT, "verify", "a.npy", "b.npy", "--data", DIGITS, cwd=copies)


def test_verify_skips_what_correct_cannot_count(copies):
    (copies / "flipped").mkdir()
    shutil.copy(copies / "correct.npy", copies / "flipped")
    flips = (copies / "a.npy").read_bytes().replace(b'"forgotten"', b'"flipped"')
    (copies / "flipped" / "a.npy").write_bytes(flips)
    out = run(*AUDIT, "verify", "flipped/a.npy", "correct.npy", "--data", DIGITS, cwd=copies)
    assert re.search(r"^SKIPPED  flipped/a.npy: correct.npy tells right from wrong", out, re.M)
    assert "SKIPPED  correct.npy: it does not tell what made it\n" in out


def test_verify_goes_on_after_a_file_that_is_none(copies):
    (copies / "none.pt").write_text("x")
    out, err = outcome(*AUDIT, "verify", "none.pt", "full.pt", "--data", DIGITS, cwd=copies)
    assert re.search(r"^WRONG +none.pt: .*zip", out, re.M)
    assert "OK       full.pt" in out
    assert err == "audit.py: error: 1 of 2 files are not what they claim\n"


def test_verify_wants_correct_beside_the_scores(copies):
    (copies / "correct.npy").unlink()
    out, _ = outcome(*AUDIT, "verify", "a.npy", "--data", DIGITS, cwd=copies)
    assert out == "WRONG    a.npy: there is no correct.npy of it beside it\n"


def test_verify_takes_steps_done_twice(chain, tmp_path):
    usual = ("--data", DIGITS, "--threads", 1, "--device", "cpu")
    run("prune.py", "--in", chain / "hold.pt", "--ratio", 0.9, *usual, "--out", tmp_path / "p.pt")
    run("finetune.py", "--in", tmp_path / "p.pt", "--epochs", 1, *usual, "--out", tmp_path / "f.pt")
    out = run(*AUDIT, "verify", tmp_path / "p.pt", tmp_path / "f.pt", "--data", DIGITS)
    assert out.count("OK ") == 2
