"""What must never go wrong in silence: overwritten inputs, closed outputs, knobs that a path takes for others."""

import hashlib
import os
import stat
import subprocess
import sys
import zipfile

import numpy as np
import pytest
import torch
import train
from conftest import DIGITS, ROOT, run, start

USUAL = ("--data", DIGITS, "--threads", 1, "--device", "cpu")
TRAIN = ("train.py", "--dataset", "MNIST", "--model", "fcnet", *USUAL)


def select(scores):
    return ("select.py", "--scores", scores, "--order", "low", "--ratio", 0.1, "--out", "o.npy")


def refused(*command, **kwargs):
    """The one line with which a command ends that must not succeed."""
    process = start(*command, **kwargs)
    _, err = process.communicate(timeout=120)
    assert process.returncode not in (0, None) and process.returncode > 0, err
    assert err.count("\n") == 1 and "Traceback" not in err, err
    return err


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


@pytest.mark.parametrize("size", ["file", "tensor"])
def test_small_files_that_would_fill_the_memory(tmp_path, size):
    """A .pt that inflates to a gigabyte, and one whose tensor repeats a byte a million million times."""
    path = tmp_path / "bomb.pt"
    if size == "tensor":
        torch.save({"model": {"0.weight": torch.zeros(1).expand(10**6, 10**6)}}, path)
    else:
        torch.save({"model": {"0.weight": torch.zeros(1)}}, tmp_path / "small.pt")
        with zipfile.ZipFile(tmp_path / "small.pt") as small, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as bomb:
            for entry in small.infolist():
                bomb.writestr(entry.filename, small.read(entry))
            bomb.writestr("small/data/1", bytes(10**9))
    assert path.stat().st_size < 2_000_000
    code = f"""
import resource, sys, train
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    train.read({str(path)!r})
except SystemExit:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    assert int(run(sys.executable, "-c", code)) < 50_000  # KiB


def test_npy_header_that_promises_a_million_million(tmp_path):
    with open(tmp_path / "x.npy", "wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<i8", "fortran_order": False, "shape": (10**12,)})
    assert "x.npy" in refused(*select("x.npy"), cwd=tmp_path)
    assert "x.npy" in refused(*TRAIN, "--subset", "x.npy", "--out", "o.pt", cwd=tmp_path)


def test_labels_of_a_million_million_classes(chain, tmp_path):
    with open(tmp_path / "x.npy", "wb") as file:
        np.save(file, np.zeros(4000, dtype=np.int64))
        np.save(file, np.full(4000, 10**12))
        file.write(b'\n{"forget": {}}\n')
    assert "labels" in refused(*select("x.npy"), cwd=tmp_path)


@pytest.mark.parametrize("tail", ["[1]", '"x"', '{"forget": 3}', "{", "3"])
def test_flags_of_another_kind_behind_an_array(tmp_path, tail):
    with open(tmp_path / "x.npy", "wb") as file:
        np.save(file, np.arange(400))
        file.write(f"\n{tail}\n".encode())
    assert "x.npy" in refused(*TRAIN, "--subset", "x.npy", "--out", "o.pt", cwd=tmp_path)
    assert "x.npy" in refused(*select("x.npy"), cwd=tmp_path)


def test_npz_and_pt_are_no_npy(chain, tmp_path):
    np.savez(tmp_path / "x.npz", np.arange(400))
    for path in (tmp_path / "x.npz", chain / "dense.pt"):
        assert path.name in refused(*TRAIN, "--subset", path, "--out", tmp_path / "o.pt")
        assert path.name in refused(*select(path), cwd=tmp_path)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weight_that_is_not_finite(chain, tmp_path, value):
    checkpoint = torch.load(chain / "dense.pt", weights_only=True)
    checkpoint["model"]["1.weight"][3, 3] = value
    torch.save(checkpoint, tmp_path / "x.pt")
    assert "finite" in refused("prune.py", "--in", "x.pt", "--ratio", 0.5, *USUAL, "--out", "o.pt", cwd=tmp_path)
    assert not (tmp_path / "o.pt").exists()


@pytest.mark.parametrize("field", train.CHECKPOINT)
@pytest.mark.parametrize("change", ["missing", "of another type"])
def test_field_of_a_checkpoint(chain, tmp_path, field, change, capsys):
    checkpoint = torch.load(chain / "dense.pt", weights_only=True)
    checkpoint.pop(field)
    torch.save(checkpoint | ({field: (1, 2)} if change != "missing" else {}), tmp_path / "x.pt")
    with pytest.raises(SystemExit):
        train.read(tmp_path / "x.pt")
    assert "x.pt is not a checkpoint" in capsys.readouterr().err


def test_test_set_that_lacks_a_class(tmp_path):
    packed = torch.load(DIGITS / "MNIST.pt", weights_only=True)
    packed["test_labels"][packed["test_labels"] == 3] = 4
    torch.save(packed, tmp_path / "MNIST.pt")
    command = ("train.py", "--dataset", "MNIST", "--model", "fcnet", "--data", tmp_path, "--out", tmp_path / "o.pt")
    assert "every class" in refused(*command)


def test_correct_is_read_with_its_own_scores_only(chain, tmp_path):
    (tmp_path / "correct.npy").write_bytes((chain / "correct.npy").read_bytes())
    np.save(tmp_path / "forget.npy", np.load(chain / "forget.npy"))  # the same scores, without the flags that made them
    assert "never learned" not in run(*select("forget.npy"), cwd=tmp_path)
    (tmp_path / "forget.npy").write_bytes((chain / "forget.npy").read_bytes())
    assert "never learned" in run(*select("forget.npy"), cwd=tmp_path)
    np.save(tmp_path / "correct.npy", np.load(chain / "correct.npy")[:2])  # of another number of epochs
    assert "never learned" not in run(*select("forget.npy"), cwd=tmp_path)


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
    prune = ("prune.py", *USUAL, "--ratio", 0.9, "--in")
    run(*prune, chain / "hold.pt", "--out", "pruned.pt", cwd=tmp_path)
    run("finetune.py", *USUAL, "--epochs", 1, "--in", "pruned.pt", "--out", "tuned.pt", cwd=tmp_path)
    found = torch.load(tmp_path / "tuned.pt", weights_only=True)
    usual = ["forget", "select", "train", "prune", "finetune"]
    assert list(found["args"]) == [*usual, "prune-2", "finetune-2"]
    assert list(found["earlier"]) == ["train", "prune", "finetune", "prune-2"]
    assert found["args"]["prune"]["ratio"] == 0.8 and found["args"]["prune-2"]["ratio"] == 0.9
    hold = torch.load(chain / "hold.pt", weights_only=True)
    assert found["earlier"]["finetune"]["accuracy"] == hold["accuracy"]


@pytest.mark.parametrize("command", [TRAIN, select("{chain}/forget.npy")[:-2]], ids=["train", "select"])
@pytest.mark.parametrize("kind", ["pipe", "folder", "empty", "link to a pipe"])
def test_output_that_is_no_file(chain, tmp_path, command, kind):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    (tmp_path / "link to a pipe").symlink_to("pipe")
    command = [str(word).format(chain=chain) for word in command]
    refused(*command, "--out", "" if kind == "empty" else kind, cwd=tmp_path)
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode) and (tmp_path / "link to a pipe").is_symlink()


def test_output_through_a_link(chain, tmp_path):
    (tmp_path / "link.pt").symlink_to("file.pt")
    run("prune.py", "--in", chain / "dense.pt", "--ratio", 0.5, *USUAL, "--out", "link.pt", cwd=tmp_path)
    assert (tmp_path / "link.pt").is_symlink() and not (tmp_path / "file.pt").is_symlink()
    assert "prune" in torch.load(tmp_path / "file.pt", weights_only=True)["args"]


def test_two_outputs_on_one_path(tmp_path):
    network = ("forget.py", "--dataset", "MNIST", "--model", "fcnet", *USUAL)
    same = ("--scores", "x.npy", "--correct", "./x.npy", "--out", "x.pt")
    assert "two outputs" in refused(*network, *same, cwd=tmp_path)


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


def test_escape_sequences_are_printed_escaped(tmp_path):
    err = refused("prune.py", "--in", "\x1b[2Jx.pt", "--ratio", 0.5, "--out", "o.pt", cwd=tmp_path)
    assert "\x1b" not in err and "\\x1b[2Jx.pt" in err


def test_full_disk_is_called_so(monkeypatch, tmp_path, capsys):
    def full(descriptor):
        raise OSError(28, os.strerror(28))

    (tmp_path / "o.pt").write_text("old")
    monkeypatch.setattr(train.os, "fsync", full)
    with pytest.raises(SystemExit):
        train.write(tmp_path / "o.pt", {"x": torch.zeros(3)})
    assert "No space left on device" in capsys.readouterr().err
    assert os.listdir(tmp_path) == ["o.pt"] and (tmp_path / "o.pt").read_text() == "old"
