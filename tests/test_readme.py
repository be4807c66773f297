"""README.md does what it says, and every table and figure in tests/results comes out of its csv again."""

import re
import shutil
import subprocess
import xml.etree.ElementTree as ElementTree

import pytest
from conftest import PYTHON, ROOT, clean_environment, make, run

README = (ROOT / "README.md").read_text()
RESULTS = ROOT / "tests" / "results"
PAGE = (RESULTS / "README.md").read_text()


def words_of(svg):
    return ["".join(e.itertext()).strip() for e in ElementTree.parse(svg).iter() if e.tag.endswith("}text")]


def test_one_cell_by_hand_ends_with_its_number(tmp_path):
    """The block of commands, with fewer epochs; its files stay out of the repository."""
    block = README.split("One cell by hand")[1].split("\n\n")[1].replace("runs/hand", str(tmp_path))
    for script in ("forget.py", "train.py", "finetune.py"):
        block = block.replace(f"python {script}", f"python {script} --epochs 1 --threads 1")
    block = block.replace("python ", f"{PYTHON} ")
    done = subprocess.run(["bash", "-ec", block], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    last = [line for line in done.stdout.splitlines() if line.lstrip().startswith("0.1 ")]
    assert re.fullmatch(r"\s*0.1\s+0.8\s+\d\d\.\d\d\s+[+-]\d+\.\d\d\s.*", last[0] + " ")


def test_every_goal_and_knob_that_it_names_is_makes():
    told = run("make", "help", cwd=ROOT, env=clean_environment())
    for goal in re.findall(r"`make ([a-z][a-z0-9]*)`|^    make ([a-z][a-z0-9]*)", README, re.M):
        goal = "".join(goal)
        assert re.search(rf"^{goal}\b", told, re.M) or goal == "runs", goal
    for knob in set(re.findall(r"\b([A-Z_]{4,})=", README)) - {"CUDA_VISIBLE_DEVICES"}:
        assert f"{knob}=" in told, knob


@pytest.mark.parametrize("page", ["README.md", "tests/results/README.md", "tests/data/README.md"])
def test_links_lead_to_files_and_lines_are_short(page):
    text = (ROOT / page).read_text()
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        assert target.startswith("https:") or ((ROOT / page).parent / target).exists(), target
    prose = re.sub(r"^    .*$|^\|.*$", "", text, flags=re.M)
    assert max(map(len, prose.splitlines())) <= 120


def test_results_are_made_again_from_their_csv(tmp_path):
    """Tables to the letter; figures to their words (their lines are matplotlib's, which differ by its version)."""
    folder = tmp_path / "results"
    folder.mkdir()
    for path in RESULTS.glob("*.csv"):
        shutil.copy(path, folder)
    make("results", f"RESULTS={folder}", "-j2")
    made = {path.name for path in folder.iterdir()}
    assert made == {path.name for path in RESULTS.iterdir()} - {"README.md"}
    for name in made:
        if name.endswith(".md"):
            assert (folder / name).read_text() == (RESULTS / name).read_text(), name
        elif name.endswith(".svg"):
            assert words_of(folder / name) == words_of(RESULTS / name), name


def test_results_page_shows_every_table_and_figure():
    for path in RESULTS.iterdir():
        assert path.name == "README.md" or f"({path.name})" in PAGE, path.name
    assert sum(path.stat().st_size for path in RESULTS.iterdir()) < 2_000_000


def test_intervals_in_the_prose_are_those_of_the_tables():
    """A number measured again leaves no old one behind. Those named are worked out of several tables or rows."""
    derived = {
        *("+0.035 ± 0.079", "+0.89 ± 0.73", "0.21 ± 0.14", "-6.1 ± 8.7"),
        *("-1.55 ± 2.95", "-2.91 ± 1.54", "-2.89 ± 1.01"),  # high - random before pruning, by data ratio
        *("+1.33 ± 0.70", "+1.65 ± 0.70", "+1.49 ± 0.43", "+1.60 ± 0.43"),  # 10 less 30 % of the data
        *("+0.60 ± 0.70", "+1.19 ± 0.70", "+0.79 ± 0.43", "+1.26 ± 0.43"),  # 10 less 20 %
        *("+0.97 ± 0.61", "+1.42 ± 0.61"),  # 10 less the mean of 20 and 30 %
        *("-0.65 ± 0.77", "-0.36 ± 0.77", "-1.08 ± 0.77", "+1.55 ± 0.77"),  # less `none`
    }
    number = r"[+-]?\d+\.\d+ ± \d+\.\d+"
    tables = [path.read_text() for path in RESULTS.glob("*.md") if path.name != "README.md"]
    measured = {interval for table in tables for interval in re.findall(number, table)}
    measured |= {interval.lstrip("+-") for interval in measured}  # "loses 7.30"
    told = set(re.findall(number, " ".join((README + PAGE).split())))
    assert derived <= told
    assert told - derived - measured == set()
