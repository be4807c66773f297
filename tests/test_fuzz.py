"""A part of `make fuzz`, and that the fuzzer would find what it looks for."""

import re
import sys

import pytest

from conftest import ROOT, run

PLANTED = {  # a fault in a reader of x.pt: what the fuzzer must say of it
    "raise KeyError('x')": "not one line on stderr",
    "sys.stderr.write('train.py: error: two\\nlines\\n'); sys.exit(1)": "not one line on stderr",
    "print('careful', file=sys.stderr)": "words on stderr",
    "os.kill(os.getpid(), 11)": "SIGSEGV",
    "sys.exit(3)": "status 3",
    "bytearray(os.urandom(1)) * 2**28": "MiB too much memory",
    "resource.setrlimit(resource.RLIMIT_CPU, (1, 9))\n while True: pass": "SIGXCPU",
    "torch.load('x.pt', weights_only=False)": "changed ran",
    "open('out.pt', 'w').close(); train.fail('too late')": "changed out.pt",
    "open('y', 'w').close()": "changed y",
    "open('out.pt', 'w').write('another')": "another result, in silence",
    "open('out.pt', 'w').write('usual')": "nothing",
    "train.fail('as it should')": "nothing",
}


def test_bad_copies_of_every_file():
    out = run(sys.executable, "tests/fuzz.py", "files", "--count", 20, "--jobs", 1, cwd=ROOT)
    files = "MNIST.pt dense.pt pruned.pt channels.pt tuned.pt forget.npy correct.npy errors.npy low.npy runs.csv"
    counts = re.findall(r"^fuzz +(\S+) +20 bad copies, (\d+) taken, (\d+) refused$", out, re.MULTILINE)
    assert [name for name, *_ in counts] == files.split() and len(out.splitlines()) == len(counts)
    assert all(int(refused) > 0 for *_, refused in counts) and any(int(taken) > 0 for _, taken, _ in counts)


def test_a_kill_under_make():
    assert "kills      1, each under " in run(sys.executable, "tests/fuzz.py", "kills", "--count", 1, cwd=ROOT)


def test_a_bad_copy_is_made_again_by_its_number(chain):
    code = """
import numpy, sys
sys.path.insert(0, "tests")
import fuzz
originals = {path.name: path.read_bytes() for path in map(fuzz.Path, sys.argv[1:])}
for name in originals:
    for number in range(200):
        one, other = (fuzz.bad_copy(numpy.random.default_rng(number), name, originals) for _ in range(2))
        assert one == other
"""
    run(sys.executable, "-c", code, chain / "dense.pt", chain / "forget.npy", cwd=ROOT)


@pytest.fixture(scope="module")
def said(tmp_path_factory):
    """What the fuzzer says of each planted fault."""
    code = """
import os, pickle, resource, sys
sys.path.insert(0, "tests")
import fuzz, torch, train

class Code:
    def __reduce__(self):
        return open, ("ran", "w")

folder = fuzz.Path(sys.argv[1])
faults = sys.argv[2:]
sys.argv = ["train.py"]
fuzz.result = fuzz.Path.read_text
for fault in faults:
    for path in folder.iterdir():
        path.unlink()
    (folder / "x.pt").write_bytes(pickle.dumps(Code()))
    (folder / "out.pt").write_text("precious")
    before = fuzz.listing(folder)
    exec(f"def reader():\\n {fault}", globals())
    memory = fuzz.ending(print, folder).peak + fuzz.SPARE
    end = fuzz.ending(reader, folder)
    expected = "usual" if "out.pt" in fault else None
    wrong = fuzz.complaints(end, "train.py --out out.pt", folder, before, memory, expected)
    print("; ".join(wrong) or "nothing", flush=True)
"""
    out = run(sys.executable, "-c", code, tmp_path_factory.mktemp("planted"), *PLANTED, cwd=ROOT)
    return dict(zip(PLANTED, out.splitlines(), strict=True))


@pytest.mark.parametrize("fault", PLANTED)
def test_planted_fault_is_found(said, fault):
    assert PLANTED[fault] in said[fault]
