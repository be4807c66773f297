"""What must never go wrong in silence: inputs overwritten, outputs closed, full or shared."""

import hashlib
import os
import subprocess
import sys

import numpy as np
import pytest
import torch

import train
from conftest import DIGITS, ROOT, USUAL, run, start

STEP = ("--data", DIGITS, *USUAL)
TRAIN = ("train.py", "--dataset", "MNIST", "--model", "fcnet", *STEP)


def select(scores):
    return ("select.py", "--scores", scores, "--order", "low", "--ratio", 0.1, "--out", "o.npy")


# ---------------------------------------------------------------------------------------------------------- inputs


def test_data_overwritten_in_place_is_not_what_trains(tmp_path):
    """As rsync --inplace and cp overwrite it."""
    path = tmp_path / "MNIST.pt"
    path.write_bytes((DIGITS / "MNIST.pt").read_bytes())
    data = train.load("MNIST", tmp_path)
    before = data.train_images.sum()
    with open(path, "r+b") as file:
        file.write(bytes(path.stat().st_size))
    assert data.train_images.sum() == before > 0


def test_correct_is_read_with_its_own_scores_only(chain, tmp_path):
    (tmp_path / "correct.npy").write_bytes((chain / "correct.npy").read_bytes())
    np.save(tmp_path / "forget.npy", np.load(chain / "forget.npy"))  # the same scores, without the flags that made them
    assert "never learned" not in run(*select("forget.npy"), cwd=tmp_path)
    (tmp_path / "forget.npy").write_bytes((chain / "forget.npy").read_bytes())
    assert "never learned" in run(*select("forget.npy"), cwd=tmp_path)
    np.save(tmp_path / "correct.npy", np.load(chain / "correct.npy")[:2])  # of another number of epochs
    assert "never learned" not in run(*select("forget.npy"), cwd=tmp_path)


def test_correct_of_other_samples_is_not_read_beside_errors(chain, tmp_path):
    with open(chain / "forget.npy", "rb") as scores, open(tmp_path / "errors.npy", "wb") as errors:
        np.lib.format.read_array(scores)
        np.save(errors, np.random.default_rng(0).random((4000, 10), dtype=np.float32))
        errors.write(scores.read())  # labels and flags
    np.save(tmp_path / "correct.npy", np.load(chain / "correct.npy")[:, :100])
    process = start(
        "select.py", "--scores", "errors.npy", "--order", "el2n", "--ratio", 0.1, "--out", "o.npy", cwd=tmp_path
    )
    out, err = process.communicate()
    assert process.returncode == 0 and err == "" and "never learned" not in out


def test_own_scores_and_subsets_leave_a_digest(tmp_path):
    scores = np.random.default_rng(0).random(4000)
    np.save(tmp_path / "own.npy", scores)
    run(*select("own.npy"), cwd=tmp_path)
    run(*TRAIN, "--epochs", 0, "--subset", "o.npy", "--out", "low.pt", cwd=tmp_path)
    args = torch.load(tmp_path / "low.pt", weights_only=True)["args"]
    assert list(args) == ["select", "train"]
    assert args["select"]["scores"] == hashlib.sha256(scores.tobytes()).hexdigest()[:16]
    chosen = np.load(tmp_path / "o.npy").astype("<i8").tobytes()
    assert args["train"]["subset"] == hashlib.sha256(chosen).hexdigest()[:16]


# --------------------------------------------------------------------------------------------------------- outputs


def test_steps_done_again_get_a_number(chain, tmp_path):
    prune = ("prune.py", *STEP, "--ratio", 0.9, "--in")
    run(*prune, chain / "hold.pt", "--out", "pruned.pt", cwd=tmp_path)
    run("finetune.py", *STEP, "--epochs", 1, "--in", "pruned.pt", "--out", "tuned.pt", cwd=tmp_path)
    found = torch.load(tmp_path / "tuned.pt", weights_only=True)
    usual = ["forget", "select", "train", "prune", "finetune"]
    assert list(found["args"]) == [*usual, "prune-2", "finetune-2"]
    assert list(found["earlier"]) == ["train", "prune", "finetune", "prune-2"]
    assert found["args"]["prune"]["ratio"] == 0.8 and found["args"]["prune-2"]["ratio"] == 0.9
    hold = torch.load(chain / "hold.pt", weights_only=True)
    assert found["earlier"]["finetune"]["accuracy"] == hold["accuracy"]


def test_output_through_a_link(chain, tmp_path):
    (tmp_path / "link.pt").symlink_to("file.pt")
    run("prune.py", "--in", chain / "dense.pt", "--ratio", 0.5, *STEP, "--out", "link.pt", cwd=tmp_path)
    assert (tmp_path / "link.pt").is_symlink() and not (tmp_path / "file.pt").is_symlink()
    assert "prune" in torch.load(tmp_path / "file.pt", weights_only=True)["args"]


def test_two_processes_write_one_path(tmp_path):
    """Each has a temporary file of its own: the one that only starts takes nothing from the one that ends."""
    path = tmp_path / "out.pt"
    with train.replacing(path) as file:
        file.write(b"first")
        code = (
            "import sys, train\ntrain.claim(sys.argv[1:])\nwith train.replacing(sys.argv[1]) as f: f.write(b'second')"
        )
        run(sys.executable, "-c", code, path)
        assert path.read_bytes() == b"second"
    assert path.read_bytes() == b"first" and os.listdir(tmp_path) == ["out.pt"]


def test_reader_that_leaves_ends_no_training(tmp_path):
    process = start(*TRAIN, "--epochs", 3, "--out", "o.pt", cwd=tmp_path)
    process.stdout.readline()
    process.stdout.close()
    assert process.wait() == 0 and process.stderr.read() == ""
    assert len(torch.load(tmp_path / "o.pt", weights_only=True)["loss"]) == 3


@pytest.mark.parametrize("where", ["/dev/full", "closed"])
def test_output_that_nobody_takes_ends_no_training(tmp_path, where):
    words = [sys.executable, ROOT / "train.py", *map(str, TRAIN[1:]), "--epochs", "1", "--out", "o.pt"]
    with open("/dev/full" if where == "/dev/full" else os.devnull, "w") as out:
        closing = {"preexec_fn": lambda: os.close(1)} if where == "closed" else {"stdout": out}
        process = subprocess.run(words, cwd=tmp_path, stderr=subprocess.PIPE, text=True, **closing)
    assert process.returncode == 0 and process.stderr == "" and (tmp_path / "o.pt").exists()


def test_full_disk_is_called_so(monkeypatch, tmp_path, capsys):
    def full(descriptor):
        raise OSError(28, os.strerror(28))

    (tmp_path / "o.pt").write_text("old")
    monkeypatch.setattr(train.os, "fsync", full)
    with pytest.raises(SystemExit):
        train.write(tmp_path / "o.pt", {"x": torch.zeros(3)})
    assert "No space left on device" in capsys.readouterr().err
    assert os.listdir(tmp_path) == ["o.pt"] and (tmp_path / "o.pt").read_text() == "old"
