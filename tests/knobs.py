"""What make refuses before its first step, to save hours that nobody asked for.

    python tests/knobs.py SEEDS="0 1" ORDERS=low ... --given SEEDS --goals table

The Makefile calls it with the values of all knobs, the names of variables on
its command line, and its goals. It prints the first thing that is wrong, and
nothing else; make ends with that line.
"""

import argparse
import difflib
import os
import re
import signal
import sys

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends the program without a traceback, while it loads, too

CORESETS = ["low", "high", "random", "el2n", "ccs", "long"]  # orders that have a subset.npy
WITHOUT_SUBSET = ["matched", "crest", "crestfresh"]
ORDERS = [*CORESETS, *WITHOUT_SUBSET, "untrained"]
PRUNING_METHODS = ["live", "global", "random", "channels", "rewound", "reinitialised", "5x"]
# What every step that trains takes and no knob sets.
TRAINING_FLAGS = ["--lr", "--batch-size", "--precision", "--device"]

WHOLE = r"(0|[1-9][0-9]*)"
SEED = r"(0|[1-9][0-9]{0,8})"  # torch tells those below 2**32 apart
DATA_RATIO = r"(1|0\.[0-9]*[1-9])"
PRUNE_RATIO = rf"(0|0\.[0-9]*[1-9])(-({'|'.join(PRUNING_METHODS)}))?"
PATH = r"[\w./~+=@][\w./~+=@-]*"
SIZED = rf"({'|'.join(CORESETS + WITHOUT_SUBSET)})-{DATA_RATIO}"
FILES = (  # those of a seed
    r"(forget|correct|errors)\.npy",
    rf"({'|'.join(CORESETS)})-{DATA_RATIO}/subset\.npy",
    rf"(full|untrained|{SIZED})/dense\.pt",
    rf"(full|untrained|{SIZED})/p{PRUNE_RATIO}/(pruned|finetuned)\.pt",
)

ONE_WORD = ["PROTOCOL", "DATASET", "MODEL", "EPOCHS", "TUNE_EPOCHS", "DATA", "RUNS", "FORMAT"]
SOME_WORDS = ["PROTOCOLS", "DATA_RATIOS", "PRUNE_RATIOS", "SEEDS"]
KINDS = {  # knob: what each of its words must be, as a pattern and in words
    "DATA": (PATH, "a path of letters and digits and _./~+=@-"),
    "RUNS": (PATH, "a path of letters and digits and _./~+=@-"),
    "DATA_RATIOS": (DATA_RATIO, "a ratio above 0 and at most 1 such as 0.1"),
    "PRUNE_RATIOS": (PRUNE_RATIO, "a ratio from 0 to below 1 such as 0.8, or 0.8-global"),
    "ORDERS": ("|".join(ORDERS), f"one of {', '.join(ORDERS)}"),
    "SEEDS": (SEED, "a whole number below 10**9"),
    "EPOCHS": (WHOLE, "a whole number"),
    "TUNE_EPOCHS": (WHOLE, "a whole number"),
    "FORMAT": ("text|markdown|latex", "text, markdown or latex"),
}

SET_BY_GOAL = {"smoke": ["DATASET", "DATA", "DATA_RATIOS", "PRUNE_RATIOS"], "ablation": ["PROTOCOL"]}
SET_BY_FAMILY = {"table1": ["DATA_RATIOS", "PRUNE_RATIOS"], "grid": ["DATASET", "MODEL"]}  # table1-0.1-0.8, grid-...
OTHER_VARIABLES = [
    "THREADS",
    "VENV",
    "PACKAGES",
    "LOWEST",
    "RESULTS",
    "PAGES",
    "SHELL",
    "MAKEFLAGS",
]  # not in the help, and make's own


def refuse(message):
    print(message)
    sys.exit()


def nearest(word, words):
    """The most similar of the words, whether they have capitals or not."""
    capitals = {other.upper(): other for other in words}
    return capitals[difflib.get_close_matches(word.upper(), capitals, n=1, cutoff=0)[0]]


def check_values(knobs):
    for knob in ONE_WORD:
        if len(knobs[knob].split()) != 1:
            refuse(f'{knob}="{knobs[knob]}" must be one word')
    for knob in SOME_WORDS:
        if not knobs[knob].split():
            refuse(f"{knob} is empty")
    if "none" in knobs["ORDERS"].split():
        refuse("ORDERS: none is called untrained")
    for knob, (pattern, what) in KINDS.items():
        for word in knobs[knob].split():
            if not re.fullmatch(pattern, word):
                refuse(f"{knob}: {word} is not {what}")
    if "." in knobs["RUNS"].split("/") or "//" in knobs["RUNS"]:
        refuse(f"RUNS={knobs['RUNS']}: write the folder without // and without . as a folder")


def check_protocol(name, departures):
    """Departures stand in their order, so that a protocol has one folder."""
    words = name.split("+")
    in_order = [word for word in ["toneva", *departures] if word in words]
    if name not in ("paper", "released") and words != in_order:
        rule = f"it is paper, released, or some of {' '.join(departures)}, in this order, joined by +"
        refuse(f"no protocol {name}: {rule}")


def check_rounds(knobs, goals):
    """-5x divides the epochs of fine-tuning by five."""
    names = " ".join([knobs["PRUNE_RATIOS"], *goals])
    if re.search(r"-5x(/|\s|$)", names) and (int(knobs["TUNE_EPOCHS"]) % 5 or int(knobs["TUNE_EPOCHS"]) == 0):
        refuse(f"TUNE_EPOCHS: {knobs['TUNE_EPOCHS']} is not a multiple of 5 as -5x needs")


def check_flags(flags):
    for flag in flags.split():
        if flag.startswith("-") and flag.partition("=")[0] not in TRAINING_FLAGS:
            refuse(f"FLAGS: {flag} is none of {', '.join(TRAINING_FLAGS)}; make sets all others itself")


def check_given(given, knobs, goals):
    """Variables on the command line that nothing reads, or that the goal sets itself."""
    for name in given:
        if name not in knobs and name not in OTHER_VARIABLES:
            refuse(f"no knob {name}: did you mean {nearest(name, knobs)}? (The environment stands before make.)")
    for goal in goals:
        family = goal.partition("-")[0] if "-" in goal else None
        own = SET_BY_GOAL.get(goal, SET_BY_FAMILY.get(family, []))
        for knob in given:
            if knob in own:
                refuse(f"make {goal} sets {knob} itself: leave it out, or use make table")
    if "PROTOCOLS" in given and "ablation" not in goals:
        refuse("PROTOCOLS is read by make ablation alone; PROTOCOL is that of all other goals")


def check_row(goal):
    if not re.fullmatch(rf"table1-{DATA_RATIO}-{PRUNE_RATIO}", goal):
        refuse(f"no row {goal}: make table1-0.1-0.8 is the row of data ratio 0.1 and prune ratio 0.8")


def check_file(goal, runs, departures):
    """A result as a goal: its path has the fields that the head of the Makefile lists."""
    protocol, *network, seed, file = goal.removeprefix(f"{runs}/").split("/", 4)
    if match := re.fullmatch("(epochs|tune)([0-9]+)", protocol):
        knob = {"epochs": "EPOCHS", "tune": "TUNE_EPOCHS"}[match[1]]
        refuse(f"{goal}: make it with {knob}={match[2]}")
    check_protocol(protocol, departures)
    if not re.fullmatch(f"seed{SEED}", seed):
        refuse(f"{goal}: {seed} is not seedK")
    if file.startswith("none/"):
        refuse(f"{goal}: none is called untrained")
    if not any(re.fullmatch(pattern, file) for pattern in FILES):
        orders = f"full, untrained, or {', '.join(CORESETS + WITHOUT_SUBSET)} with a ratio as low-0.1"
        refuse(f"{goal}: {file} is none of forget.npy, ORDER/dense.pt, ORDER/p0.8/finetuned.pt, ...; ORDER is {orders}")


def is_a_value(word):
    """Whether a word may be one of several that a knob takes."""
    return any(re.fullmatch(KINDS[knob][0], word) for knob in ("DATA_RATIOS", "PRUNE_RATIOS", "ORDERS", "SEEDS"))


def check_goal(goal, knobs, all_goals):
    runs, departures = knobs["RUNS"], knobs["DEPARTURES"].split()
    goal = goal.rstrip("/")
    if goal.startswith("table1-"):
        check_row(goal)
    elif goal.startswith(f"{runs}/") and goal.count("/") - runs.count("/") >= 5:
        check_file(goal, runs, departures)
    elif f"{goal}/".startswith(f"{runs}/"):
        refuse(f"no goal {goal}: a file of a seed is one, such as {runs}/paper/MNIST/fcnet/seed0/full/dense.pt")
    elif "/seed" in goal:
        hint = f": make {runs}/{goal.removeprefix('runs/')}" if goal.startswith("runs/") else ""
        refuse(f"{goal} is not in RUNS={runs}, the folder of results with these knobs{hint}")
    elif is_a_value(goal):
        refuse(f'no goal {goal}: several words of a knob need quotes, as SEEDS="0 1 2"')
    elif goal not in all_goals and "/" not in goal:
        refuse(f"no goal {goal}: did you mean {nearest(goal, all_goals)}? make help lists them")


def tell_of_environment(given, knobs):
    """Any program may have put a variable of a knob's name there, so make does not read it, and says so."""
    for knob, value in knobs.items():
        if os.environ.get(knob, value) != value and knob not in given and os.environ.get("MAKELEVEL", "0") == "0":
            print(f"{knob} of the environment is not read; write it behind make: make {knob}=...", file=sys.stderr)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("values", nargs="+", metavar="KNOB=VALUE", help="all knobs, and DEPARTURES")
    parser.add_argument("--given", nargs="*", default=[], metavar="NAME", help="variables on make's command line")
    parser.add_argument("--goals", nargs="*", default=[], metavar="GOAL", help="of make")
    parser.add_argument("--all-goals", nargs="*", default=[], metavar="GOAL", help="that the Makefile has")
    args = parser.parse_args()

    knobs = dict(value.split("=", 1) for value in args.values)
    check_given(args.given, [knob for knob in knobs if knob != "DEPARTURES"], args.goals)
    check_values(knobs)
    for protocol in {knobs["PROTOCOL"], *knobs["PROTOCOLS"].split()}:
        check_protocol(protocol, knobs["DEPARTURES"].split())
    for goal in args.goals:
        check_goal(goal, knobs, args.all_goals)
    check_rounds(knobs, args.goals)
    check_flags(knobs["FLAGS"])
    tell_of_environment(args.given, knobs)


if __name__ == "__main__":
    main()
