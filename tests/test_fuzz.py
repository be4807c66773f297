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
    "resource.setrlimit(resource.RLIMIT_CPU, (1, 9))\n while True: pass": "SIGXCPU (too long)",
    "torch.load('x.pt', weights_only=False)": "changed ran",
    "open('out.pt', 'w').close(); train.fail('too late')": "changed out.pt",
    "open('y', 'w').close()": "changed y",
    "open('out.pt', 'w').write('another')": "another result, in silence",
    "open('out.pt', 'w').write('usual')": "nothing",
    "train.fail('as it should')": "nothing",
}


def test_files_of_every_kind():
    out = run(sys.executable, "tests/fuzz.py", "files", "--count", 60, "--jobs", 1, cwd=ROOT)
    counts = re.findall(r"^fuzz +(\w+) +60 files, (\d+) taken, (\d+) refused$", out, re.MULTILINE)
    assert [kind for kind, *_ in counts] == ["data", "checkpoint", "scores", "correct", "errors", "subset", "csv"]
    assert all(0 < int(taken) < 60 for _, taken, _ in counts) and len(out.splitlines()) == len(counts)


def test_two_kills_under_make():
    assert "kills      2 under " in run(sys.executable, "tests/fuzz.py", "kills", "--count", 2, cwd=ROOT)


def test_a_file_is_made_again_by_its_number(tmp_path):
    code = """
import numpy, sys
sys.path.insert(0, "tests")
import fuzz
originals = {path.name: path.read_bytes() for path in map(fuzz.Path, sys.argv[1:])}
for name in originals:
    random = [numpy.random.default_rng([0, 1, 2]) for _ in range(2)]
    for _ in range(200):
        one, other = (fuzz.mutated(r, name, originals) for r in random)
        assert one == other
"""
    (tmp_path / "x.csv").write_text("a,seed\n1,0\n2,1\n")
    run(sys.executable, "-c", code, tmp_path / "x.csv", cwd=ROOT)


@pytest.fixture(scope="module")
def said(tmp_path_factory):
    """What the fuzzer says of each planted fault."""
    folder = tmp_path_factory.mktemp("planted")
    code = f"""
import os, resource, sys
sys.path.insert(0, "tests")
import fuzz, torch, train
from pathlib import Path
folder = Path({str(folder)!r})
sys.argv = ["train.py"]
for fault in {list(PLANTED)!r}:
    for path in folder.iterdir():
        path.unlink()
    (folder / "x.pt").write_bytes(fuzz.pickle.dumps(fuzz.Call()))
    (folder / "out.pt").write_text("precious")
    fuzz.result = lambda path: path.read_text()
    before = fuzz.listing(folder)
    exec(f"def reader(command):\\n {{fault}}", globals())
    peak = fuzz.outcome(print, "", folder)[2]
    found = fuzz.outcome(reader, "", folder)
    same = "usual" if "out.pt" in fault else None
    wrong = fuzz.complaints(found, "train.py --out out.pt", folder, before, peak + fuzz.SPARE, same)
    print("; ".join(wrong) or "nothing", flush=True)
"""
    return dict(zip(PLANTED, run(sys.executable, "-c", code, cwd=ROOT).splitlines(), strict=True))


@pytest.mark.parametrize("fault", PLANTED)
def test_planted_fault_is_found(said, fault):
    assert PLANTED[fault] in said[fault]
