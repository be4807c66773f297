"""Many machines: RUN on a real Slurm of one node, started by hand; first loads in a shared folder."""

import errno
import fcntl
import getpass
import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torchvision import datasets

import train
from conftest import DIGITS, PYTHON, clean_environment, make, run, start
from fuzz import result

NEEDED = ("munged", "slurmctld", "slurmd", "srun", "squeue", "scancel")
FOUND = {name: shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/sbin") for name in NEEDED}
KINDS = (".npy", ".pt")  # of files that no clock has a part in; the table tells seconds
SRUN = "srun -X -n1 -c1 --mem=1G"  # -X: one interrupt ends a step

CONFIGURATION = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
NodeName={host} NodeAddr=127.0.0.1 CPUs=2 RealMemory=4000
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE
SlurmUser=root
SlurmctldPort={controller_port}
SlurmdPort={node_port}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
AuthInfo=socket={folder}/munge
ProctrackType=proctrack/pgid
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
SlurmdParameters=config_overrides
MpiDefault=none
ReturnToService=2
KillWait=2
"""


def daemon(name, ready, environment):
    """A daemon in the foreground, once its log has the word `ready`."""
    process = subprocess.Popen([FOUND[name], "-D"], stderr=subprocess.PIPE, text=True, env=environment)
    log = []
    for line in process.stderr:
        log.append(line)
        if ready in line:
            return process
    raise RuntimeError(f"{name} did not start: {''.join(log)}")


@pytest.fixture(scope="module")
def slurm(tmp_path_factory):
    """The environment in which srun finds a Slurm of one node with two processors."""
    if None in FOUND.values() or getpass.getuser() != "root":
        pytest.skip("no Slurm to start: apt-get install slurm-wlm munge, as root")
    folder = tmp_path_factory.mktemp("slurm")
    for name in ("state", "spool"):
        (folder / name).mkdir()
    with socket.socket() as one, socket.socket() as other:
        one.bind(("127.0.0.1", 0))
        other.bind(("127.0.0.1", 0))
        ports = {"controller_port": one.getsockname()[1], "node_port": other.getsockname()[1]}
    host = socket.gethostname().split(".")[0]
    (folder / "slurm.conf").write_text(CONFIGURATION.format(host=host, folder=folder, **ports))
    (folder / "key").write_bytes(os.urandom(1024))
    (folder / "key").chmod(0o600)
    environment = clean_environment() | {"SLURM_CONF": str(folder / "slurm.conf")}
    files = [f"--{name}-file={folder / name}" for name in ("key", "pid", "log", "seed")]
    run(FOUND["munged"], "--force", f"--socket={folder / 'munge'}", *files)
    daemons = []
    try:
        daemons.append(daemon("slurmctld", "Running as primary controller", environment))
        daemons.append(daemon("slurmd", "slurmd started", environment))
        run("srun", "-n1", "true", env=environment)  # waits until the node is there
        yield environment
    finally:
        subprocess.run(["scancel", "--user=root"], env=environment)
        for process in reversed(daemons):
            process.terminate()
            process.communicate()
        run(FOUND["munged"], "--stop", f"--socket={folder / 'munge'}", f"--pid-file={folder / 'pid'}")
    assert [line for line in processes() if str(folder) in line] == []


def processes():
    """The command line of every process."""
    lines = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            lines.append(path.read_text().replace("\0", " "))
        except OSError:  # it has ended
            continue
    return lines


def test_steps_through_srun_have_the_bits_of_local_ones(slurm, tmp_path):
    knobs = (f"DATA={DIGITS}", "DATA_RATIOS=0.1", "PRUNE_RATIOS=0.8", "ORDERS=low", "EPOCHS=1", "-j2", "table")
    (tmp_path / "logged").write_text(f'#!/bin/sh\necho "$SLURM_JOB_ID $*" >> {tmp_path}/log\nexec "$@"\n')
    (tmp_path / "logged").chmod(0o755)
    make(f"RUNS={tmp_path / 'local'}", *knobs)
    srun = (f"PYTHON={PYTHON}", f"RUN={SRUN} {tmp_path / 'logged'}", f"RUNS={tmp_path / 'slurm'}")
    run("make", *srun, *knobs, env=slurm)
    local, there = (
        {
            path.relative_to(tmp_path / name): result(path)
            for path in (tmp_path / name).rglob("*")
            if path.suffix in KINDS
        }
        for name in ("local", "slurm")
    )
    assert local == there and len(local) == 10
    steps = [line.split() for line in (tmp_path / "log").read_text().splitlines()]
    assert len({job for job, *_ in steps}) == len(steps) == 6
    scripts = {word for words in steps for word in words if word.endswith(".py") and "/" not in word}
    assert scripts == {"forget.py", "train.py", "prune.py", "finetune.py"}


def test_interrupted_make_cancels_its_steps(slurm, tmp_path):
    """Two that run, and one that waits for a processor."""
    knobs = (f"DATA={DIGITS}", "PRUNE_RATIOS=0.8", "ORDERS=untrained", "SEEDS=0 1 2", "EPOCHS=1000000", "-j3", "table")
    words = ("make", f"PYTHON={sys.executable}", f"RUNS={tmp_path / 'runs'}", f"RUN={SRUN}", *knobs)
    process = start(*words, env=slurm, start_new_session=True)
    begun = 0
    while begun < 2:
        assert (line := process.stdout.readline()), process.communicate()[1]
        begun += "epoch 1/" in line
    assert sorted(run("squeue", "-h", "-o", "%T", env=slurm).split()) == ["PENDING", "RUNNING", "RUNNING"]
    os.killpg(process.pid, signal.SIGINT)  # as Ctrl-C does
    process.communicate()
    assert process.returncode != 0
    assert run("squeue", "-h", "-t", "RUNNING,PENDING", env=slurm) == ""
    assert [line for line in processes() if str(tmp_path) in line] == []
    assert list(tmp_path.rglob("finetuned.pt")) == list(tmp_path.rglob("*.tmp")) == []


@pytest.fixture
def original(monkeypatch):
    """MNIST as torchvision would get it, cut to ten images; a list of what was asked for."""
    asked = []

    class Original:
        data, targets = torch.arange(7840, dtype=torch.uint8).view(10, 28, 28), torch.arange(10)

        def __init__(self, root, train, download):
            asked.append((root, train, download))

    monkeypatch.setitem(train.DATASETS, "MNIST", (10, (1, 28, 28), 10, 10))
    monkeypatch.setattr(datasets, "MNIST", Original)
    return asked


def test_lock_whose_holder_died_elsewhere_holds_nobody_for_ever(original, tmp_path, monkeypatch):
    waits = []
    monkeypatch.setattr(train.time, "sleep", waits.append)
    fcntl.flock(os.open(tmp_path, os.O_RDONLY), fcntl.LOCK_EX)
    assert len(train.load("MNIST", tmp_path).train_images) == 10
    assert 60 <= sum(waits) <= 3600 and original == [(tmp_path, True, True), (tmp_path, False, True)]


def test_others_wait_for_the_packing_and_for_nothing_else(original, tmp_path):
    """Not for the hours of training that come after it in the same process."""
    train.load("MNIST", tmp_path)
    fcntl.flock(os.open(tmp_path, os.O_RDONLY), fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_folder_that_cannot_be_written(original, tmp_path, monkeypatch, capsys):
    """It has torchvision's files, and is on a disk that is mounted to be read."""

    def read_only(*args, **kwargs):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(train.tempfile, "TemporaryFile", read_only)
    assert len(train.load("MNIST", tmp_path).train_images) == 10
    assert f"{tmp_path} cannot be written: MNIST stays in memory\n" in capsys.readouterr().out
    assert os.listdir(tmp_path) == []


def test_who_waited_takes_what_the_first_packed(original, tmp_path, monkeypatch):
    holder = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(holder, fcntl.LOCK_EX)

    def pack_and_go(seconds):
        images, labels = torch.zeros(20, 1, 28, 28, dtype=torch.uint8), torch.arange(20) % 10
        parts = {"train_images": images, "train_labels": labels, "test_images": images, "test_labels": labels}
        torch.save(parts, tmp_path / "MNIST.pt")
        os.close(holder)

    monkeypatch.setattr(train.time, "sleep", pack_and_go)
    assert len(train.load("MNIST", tmp_path).train_images) == 20 and original == []


def test_shared_folder_without_locks(original, tmp_path, monkeypatch):
    def none(folder, how):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(train.fcntl, "flock", none)
    assert len(train.load("MNIST", tmp_path).train_images) == 10
    assert os.listdir(tmp_path) == ["MNIST.pt"]
