"""README.md does what it says; what the pages, tables and figures show comes out of the csv files again."""

import re
import shutil
import statistics
import subprocess
import xml.etree.ElementTree as ElementTree

import pytest

from conftest import PYTHON, ROOT, clean_environment, make, run

README = (ROOT / "README.md").read_text()
RESULTS = ROOT / "tests" / "results"
PAGE = (RESULTS / "README.md").read_text()
PAGES = ["README.md", "tests/results/README.md"]
BLOCK = re.compile(r"<!-- made by make results: .*?<!-- end -->", re.S)


def written_by_hand(page):
    """The text of a page without its blocks."""
    return BLOCK.sub("", (ROOT / page).read_text())


def words_of(svg):
    return ["".join(e.itertext()).strip() for e in ElementTree.parse(svg).iter() if e.tag.endswith("}text")]


def test_one_cell_by_hand_ends_with_its_number(tmp_path):
    """The block of commands, with fewer epochs; its files stay out of the repository."""
    block = README.split("One cell by hand")[1].split("\n\n")[1].replace("runs/hand", str(tmp_path))
    for script in ("forget.py", "train.py", "finetune.py"):
        block = block.replace(f"python {script}", f"python {script} --epochs 1 --threads 1")
    activated = "    source .venv/bin/activate"
    assert block.startswith(activated)
    block = block.partition("\n")[2].replace("python ", f"{PYTHON} ")
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
    prose = re.sub(r"^    .*$|^\|.*$", "", BLOCK.sub("", text), flags=re.M)
    assert max(map(len, prose.splitlines())) <= 120


@pytest.mark.parametrize("page", PAGES)
def test_anchors_are_headings(page):
    for target in re.findall(r"\]\(((?!https:)[^)]*#[^)]+)\)", (ROOT / page).read_text()):
        name, anchor = target.split("#")
        text = ((ROOT / page).parent / name).read_text() if name else (ROOT / page).read_text()
        headings = re.findall(r"^#+ (.*)$", text, re.M)
        slugs = [re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings]
        assert anchor in [*slugs, *re.findall(r'<a id="([^"]+)"', text)], target


def test_results_are_made_again_from_their_csv(tmp_path):
    """Tables to the letter; figures to their words (their lines are matplotlib's, which differ by its version)."""
    folder = tmp_path / "results"
    folder.mkdir()
    for path in RESULTS.glob("*.csv"):
        shutil.copy(path, folder)
    for page in PAGES:
        shutil.copy(ROOT / page, tmp_path / page.replace("/", "-"))
    copies = " ".join(str(tmp_path / page.replace("/", "-")) for page in PAGES)
    make("results", f"RESULTS={folder}", f"PAGES={copies}", "-j2")
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


@pytest.mark.parametrize("page", PAGES)
def test_intervals_stand_in_blocks_alone(page):
    """A number measured again leaves no old one behind: a number after ± is made from the csv files, or not there."""
    assert re.findall(r".{0,30}±\s*\d.*", written_by_hand(page)) == []


def test_blocks_are_those_of_the_csv_files(tmp_path):
    copies = []
    for page in PAGES:
        copies.append(tmp_path / page)
        copies[-1].parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / page, copies[-1])
    run("tests/pages.py", *copies)
    for page, copy in zip(PAGES, copies):
        assert BLOCK.search(copy.read_text()), page
        assert copy.read_text() == (ROOT / page).read_text(), f"{page} is stale: make results"


def test_the_answer_is_on_the_first_screen():
    lines = README.splitlines()
    assert len(lines) <= 140
    assert any("made by make results: answer" in line for line in lines[:20])


@pytest.mark.parametrize("page", PAGES)
def test_sentences_are_short(page):
    prose = re.sub(r"^(    |\||#|!\[).*$", "", written_by_hand(page), flags=re.M)
    prose = re.sub(r"```.*?```", "", prose, flags=re.S)
    prose = re.sub(r"\]\([^)]*\)|`[^`]*`", "x", prose)
    sentences = [part.split() for part in re.split(r"(?<=[.:?!])\**\s|\n\n|\n- ", prose)]
    lengths = [len(words) for words in sentences if words]
    assert statistics.median(lengths) <= 15
    longest = max(sentences, key=len)
    assert len(longest) <= 35, " ".join(longest)
