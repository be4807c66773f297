# Every cell of the paper's tables is a file, and every file is a target of its own:
#
#   runs/PROTOCOL/DATASET/MODEL/seedK/
#       forget.npy  correct.npy  errors.npy        forget.py, with full/dense.pt
#       ORDER-RATIO/subset.npy                     select.py
#       ORDER-RATIO/dense.pt                       train.py
#       {full,ORDER-RATIO}/pRATIO/pruned.pt        prune.py
#       {full,ORDER-RATIO}/pRATIO/finetuned.pt     finetune.py
#
# ORDER is low, high, random, el2n or ccs. Controls in its place know no scores: long-RATIO trains on a random
# coreset for as many steps as the baseline; matched-RATIO, without a subset.npy, on all data for as many steps as a
# coreset of that ratio, crest-RATIO and crestfresh-RATIO on mini-batch coresets for as many; and untrained (without
# -RATIO) keeps the initial weights.
#
# A prune RATIO may be followed by the pruning method: p0.8-live, p0.8-global, p0.8-random, p0.8-channels; p0.8-rewound
# and p0.8-reinitialised give the mask to the initial weights of this seed and of seed 100K; p0.8-5x prunes and
# fine-tunes in five rounds of a fifth of the epochs.
#
# What exists is done: a file is made where it is missing, never because another one is newer. So a copy or a clone goes
# on where the original stopped. To make a file again, delete it.

# ------------------------------------------------------------------------------------------------- the knobs
# The line above a knob is its line in `make help`.

## paper, released, or departures as frozen+regrown
PROTOCOL     = paper
## of make ablation: paper, departures, released
PROTOCOLS    = paper $(DEPARTURES) released
## MNIST, CIFAR10 or CIFAR100
DATASET      = MNIST
## fcnet, lenet, or one of torchvision's: resnet18, ...
MODEL        = fcnet
## sizes of the coresets, as shares of the training set
DATA_RATIOS  = 0.1 0.2 0.3
## shares of the weights, and how, as 0.8-global
PRUNE_RATIOS = 0.4 0.6 0.8
## and random el2n ccs long matched untrained crest ...
ORDERS       = low high
## whole numbers; three and more give intervals
SEEDS        = 0
## of the first training
EPOCHS       = 10
## of fine-tuning, where they are not EPOCHS
TUNE_EPOCHS  = $(EPOCHS)
## some of --lr --batch-size --precision --device
FLAGS        =
## folder of the data sets
DATA         = data
## folder of the results; with FLAGS, give a new one
RUNS         = runs$(if $(filter-out 10,$(EPOCHS)),/epochs$(EPOCHS))$(if $(tuned),/tune$(TUNE_EPOCHS))
## of the table: text, markdown or latex
FORMAT       = text
## your own interpreter, as python3, or else .venv
PYTHON       = $(VENV)/bin/python
## comes before what computes: srun -X -n1 -c1 --mem=4G
RUN          =

# Threads move bits of a result, jobs do not: so each process has one thread.
THREADS      = 1

VENV         = .venv
PACKAGES     = --requirement requirements.txt
LOWEST       = torch==2.4.0 torchvision==0.19.0 numpy==1.26.4
RESULTS      = tests/results

# Departures of the authors' program from the paper's text, in the order in which + joins them. `released` departs in
# all of them, `paper` in none. `toneva`, before them all, counts forgetting as Toneva et al. do.
DEPARTURES   = shuffled flipped frozen indexed regrown

knobs = PROTOCOL PROTOCOLS DATASET MODEL DATA_RATIOS PRUNE_RATIOS ORDERS SEEDS EPOCHS TUNE_EPOCHS FLAGS DATA RUNS \
        FORMAT PYTHON RUN
goals = help smoke table1 table $(grids) ablation status figures verify results test lint lowest fuzz bench begin
grids = grid-fcnet-mnist grid-lenet-mnist grid-resnet18-cifar10 grid-resnet18-cifar100 grid-resnet50-cifar10
rows  = $(filter table1-%,$(MAKECMDGOALS))
tuned = $(filter-out $(EPOCHS),$(TUNE_EPOCHS))

# What make itself was called with: variables, -n, -j.
given      := $(foreach name,$(.VARIABLES),$(if $(filter command,$(firstword $(origin $(name)))),$(name)))
short_flags = $(filter-out --%,$(firstword -$(MAKEFLAGS)))
printing    = $(findstring n,$(short_flags))$(findstring q,$(short_flags))
jobs        = $(or $(patsubst -j%,%,$(firstword $(filter -j%,$(MAKEFLAGS)))),1000)

# One job a core, or one on a machine with a GPU; -j on the command line overrides it. (nproc takes OMP_NUM_THREADS for
# the number of cores, if it is set; macOS has sysctl in its place.)
cores = $(shell { env -u OMP_NUM_THREADS nproc || sysctl -n hw.ncpu || getconf _NPROCESSORS_ONLN || echo 1; } \
                2>/dev/null)
ifeq ($(MAKELEVEL),0)
MAKEFLAGS  += -j$(if $(wildcard /dev/nvidia[0-9]*),1,$(cores))
endif

# The project's own Python has to be installed first, the caller's does not.
own_python = $(filter $(VENV)/bin/python,$(PYTHON))
venv       = $(own_python:%/bin/python=%/ready)
tools      = $(own_python:%/bin/python=%/tools)

# A text as one word of a shell command.
shell_quoted = '$(subst ','\'',$(1))'

# make reads a target ./x as x and ~ as the home folder, so RUNS has to be written that way.
override RUNS := $(patsubst %/,%,$(patsubst ./%,%,$(patsubst ~/%,$(HOME)/%,$(RUNS))))

# What a path would take for something else, or nothing would read, is refused before any step runs.
ifneq ($(findstring t,$(short_flags)),)
$(error make -t would leave empty files that pass for results)
endif
ifneq ($(findstring B,$(short_flags)),)
$(error make -B would train again what is done; delete the files that are to be made again)
endif
values   = $(foreach knob,$(knobs) DEPARTURES,$(call shell_quoted,$(knob)=$($(knob))))
targets  = $(foreach goal,$(MAKECMDGOALS),$(call shell_quoted,$(goal)))
refusal := $(shell $(or $(if $(own_python),python3),$(PYTHON)) tests/knobs.py $(values) \
             --given $(given) --goals $(targets) --all-goals $(goals))
ifneq ($(.SHELLSTATUS),0)
$(error PYTHON=$(PYTHON) could not check the knobs)
endif
ifneq ($(refusal),)
$(error $(refusal))
endif

# --------------------------------------------------------------------------------------------------- targets

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.SECONDEXPANSION:
.PHONY: $(goals) $(rows)

# The table that the knobs ask for: the networks of a seed, and their files.
seeds     = $(foreach seed,$(SEEDS),$(RUNS)/$(PROTOCOL)/$(DATASET)/$(MODEL)/seed$(seed))
alone     = full $(filter untrained,$(ORDERS))
sized     = $(foreach order,$(filter-out untrained,$(ORDERS)),$(foreach ratio,$(DATA_RATIOS),$(order)-$(ratio)))
networks  = $(foreach seed,$(seeds),$(addprefix $(seed)/,$(alone) $(sized)))
finetuned = $(foreach network,$(networks),$(foreach ratio,$(PRUNE_RATIOS),$(network)/p$(ratio)/finetuned.pt))
pruned    = $(finetuned:finetuned.pt=pruned.pt)
dense     = $(networks:%=%/dense.pt)
subsets   = $(foreach seed,$(seeds),$(patsubst %,$(seed)/%/subset.npy,$(filter-out matched-% crest%,$(sized))))
scores    = $(seeds:%=%/forget.npy)
errors    = $(if $(filter el2n ccs,$(ORDERS)),$(seeds:%=%/errors.npy))
all_files = $(scores) $(errors) $(subsets) $(dense) $(pruned) $(finetuned)
folder    = $(RUNS)/$(PROTOCOL)/$(DATASET)/$(MODEL)

# Of these files, those that are there, for what never trains; $(call present,FILES).
present   = $(or $(wildcard $(1)),$(error no run of this table is there yet: make table, \
                                          with the same knobs, makes them))
absent    = $(filter-out $(wildcard $(finetuned)),$(finetuned))
tell_absent = $(if $(absent),@echo '$(words $(absent)) of $(words $(finetuned)) runs are not there. \
                                    The first: $(firstword $(absent))')

help:  ## this list
	@sed -n 's/^\([^ .:]*\): .*## /\1\t/p' Makefile | sed 's/^$$(grids)/grid-NAME/; s/^$$(rows)/table1-D-P/' | expand -t 12
	@echo 'grid-NAME is one of'
	@printf '    %s\n' $(grids)
	@echo 'A file is a goal, too:'
	@echo '    make $(RUNS)/paper/CIFAR100/resnet18/seed0/low-0.1/p0.4/finetuned.pt'
	@echo 'Knobs, such as make table MODEL=lenet SEEDS="0 1 2":'
	@awk -F ' *= *' '/^## / { text = substr($$0, 4) } text && /^[A-Z_]+ *=/ { print $$1 "=" $$2 "\t" text; text = "" }' \
	    Makefile | sed 's/[^=\t]*$$(.*\t/\t/' | expand -t 28
	@echo 'How to prune, see README: 0.8-live -global -random -channels -rewound'
	@echo '                          -reinitialised -5x'

smoke: | $$(venv)  ## the whole method on 5,000 embedded digits, in a minute
	@$(MAKE) --no-print-directory table DATA=tests/data RUNS=$(RUNS:runs%=runs/smoke%) \
	    DATA_RATIOS="0.1 0.3" PRUNE_RATIOS=0.8
	@echo 'The whole method runs on this machine. To judge it takes more data: make table1'

table1 table1-%: DATASET = CIFAR100
table1 table1-%: MODEL = resnet18
table1-%: DATA_RATIOS = $(word 2,$(subst -, ,$@))
table1-%: PRUNE_RATIOS = $(patsubst table1-$(DATA_RATIOS)-%,%,$@)
table1: $$(finetuned)  ## the paper's Table 1: ResNet18 on CIFAR-100
$(rows): $$(finetuned)  ## a row of it: make table1-0.1-0.4
table: $$(finetuned)  ## any table: set the knobs below

grid-%: DATA_RATIOS = 0.1 0.2 0.3 0.4 0.5
grid-%: PRUNE_RATIOS = 0 0.2 0.4 0.6 0.8
grid-%: MODEL = $(word 2,$(subst -, ,$@))
grid-%: DATASET = $(subst mnist,MNIST,$(subst cifar,CIFAR,$(word 3,$(subst -, ,$@))))
$(grids): $$(finetuned)  ## the paper's 5 x 5 grid of one experiment

ablation: DATA_RATIOS = 0.1
ablation: PRUNE_RATIOS = 0.8
ablation: $$(foreach PROTOCOL,$$(PROTOCOLS),$$(finetuned))  ## each departure alone, at one data and one prune ratio

# A table ends with itself, kept beside its runs, and with what to type next.
asked     = --epochs $(strip $(EPOCHS) $(if $(tuned),--tune-epochs $(tuned)) $(FLAGS))
insist    = --asked=$(call shell_quoted,$(asked))
report    = $(PYTHON) report.py table --format $(FORMAT) $(insist) $^
effects   = $(PYTHON) tests/study.py effects --format $(FORMAT) $^
saved     = $(if $(filter ablation,$@),$(RUNS)/$@-$(MODEL)-$(DATASET),$(folder)/$@).$(suffix-$(FORMAT))
suffix-text     = txt
suffix-markdown = md
suffix-latex    = tex

# $(call typed,KNOBS): the knobs as one would type them.
typed       = $(foreach knob,$(1),$(knob)=$(if $(filter 1,$(words $($(knob)))),$($(knob)),"$($(knob))"))
given_knobs = $(filter $(knobs),$(given))
its_knobs   = $(sort $(given_knobs) $(if $(filter table,$@),,DATASET MODEL DATA_RATIOS PRUNE_RATIOS))
figures_too = $(if $(filter ablation,$@),,next: make figures $(call typed,$(its_knobs)))
more_seeds  = $(if $(word 3,$(SEEDS)),,more seeds: make $@ \
                   $(call typed,$(filter-out SEEDS,$(given_knobs))) SEEDS="0 1 2")
closing     = $(foreach line,saved_as figures_too more_seeds,$(if $($(line)),$(call shell_quoted,$($(line)))))
saved_as    = saved: $(saved)

table1 $(rows) table $(grids) ablation: | $$(venv)
	@text=$$($(report) && echo && $(effects)) && printf '%s\n' "$$text" && \
	    printf '%s\n' "$$text" > $(saved).tmp && mv $(saved).tmp $(saved)
	@printf '%s\n' '' $(closing)

figures: | $$(tools)  ## figures 1 and 2, cost and scores, of the finished runs of a table
	$(tell_absent)
	$(PYTHON) report.py figure1 $(insist) $(call present,$(finetuned)) --out $(folder)/figure1.svg
	$(PYTHON) report.py figure2 $(insist) $(call present,$(finetuned)) --out $(folder)/figure2.svg
	$(PYTHON) tests/study.py tradeoff $(call present,$(finetuned)) --out $(folder)/tradeoff.svg
	$(PYTHON) tests/audit.py scores --data $(DATA) $(call present,$(scores)) --out $(folder)/scores.svg

verify: | $$(venv)  ## recompute what the finished files of a table claim
	$(tell_absent)
	@$(PYTHON) tests/audit.py verify --data $(DATA) --threads $(THREADS) $(call present,$(all_files))

# How far it is. The steps that are left are those that make -n prints.
steps_left = steps=$$($(MAKE) --no-print-directory -n $(1) 2>&1); printf '%s\n' "$$steps"
progress   = $(PYTHON) tests/status.py $(1) --runs $(RUNS) --jobs $(jobs) $(if $(RUN),--elsewhere) $(run) $(insist)

status: | $$(venv)  ## what of a table is done, and the time left; runs no step
	@$(call steps_left,table) | $(call progress,status)

# Comes before the first step of whatever is asked for: the time that it takes, and whether another make is at it, too.
begin: | $$(venv)
	@$(if $(printing),,$(call steps_left,$(MAKECMDGOALS)) | $(call progress,begin) --make $$PPID)

# Comes after each run.
run_done = @$(if $(printing),,$(PYTHON) tests/status.py progress --runs $(RUNS) --make $$PPID)

# The table and the main effects of every csv, the pictures of the pages, and the blocks of the pages themselves.
table1_csv = $(RESULTS)/resnet18-cifar100-paper.csv $(RESULTS)/resnet18-cifar100-released.csv
ablation_csv = $(RESULTS)/resnet18-cifar100-ablation.csv
picture    = $(RESULTS)/resnet18-cifar100
pictures   = $(foreach name,forest why controls figure1 figure2,$(picture)-$(name).svg) $(RESULTS)/published-scores.svg
tables     = $(patsubst %.csv,%.md,$(wildcard $(RESULTS)/*.csv))
PAGES      = README.md $(RESULTS)/README.md
results: $(tables) $(pictures) | $$(venv)  ## tables, pictures and pages from the csv files
	$(PYTHON) tests/pages.py $(PAGES) --results $(RESULTS)
statistics = report.py tests/claims.py tests/study.py $(wildcard tests/data/published_*.csv)
$(RESULTS)/%.md: $(RESULTS)/%.csv $(statistics) | $$(venv)
	$(PYTHON) report.py table $< --format markdown > $@
	@echo >> $@
	$(PYTHON) tests/study.py effects $< --format markdown >> $@
$(picture)-figure%.svg: $(table1_csv) $(statistics) | $$(tools)
	$(PYTHON) report.py figure$* $(table1_csv) --out $@
$(picture)-forest.svg: $(table1_csv) $(statistics) | $$(tools)
	$(PYTHON) tests/study.py forest $(table1_csv) --out $@
$(picture)-why.svg: $(ablation_csv) $(statistics) | $$(tools)
	$(PYTHON) tests/study.py why $(ablation_csv) --out $@
$(picture)-controls.svg: $(firstword $(table1_csv)) $(statistics) | $$(tools)
	$(PYTHON) tests/study.py controls $(firstword $(table1_csv)) --out $@
$(RESULTS)/published-scores.svg: tests/data/published_scores.csv $(statistics) | $$(tools)
	$(PYTHON) tests/study.py scores tests/data/published_scores.csv --out $@

test: $$(tools)  ## the test suite (your own PYTHON needs pytest, scipy, ...)
	$(PYTHON) -m pytest -q -rs -n 2 --dist worksteal tests

lint: | $$(tools)  ## what ruff finds in Python files, and functions too complex
	$(PYTHON) -m ruff check
	$(PYTHON) -m ruff format --check
	@$(PYTHON) -m radon cc --min C --show-complexity $(read_closely) | $(too_complex)
read_closely = $(wildcard *.py $(addprefix tests/,study.py claims.py pages.py crest.py status.py knobs.py))
too_complex  = awk '/\(/ { gsub(/[()]/, "", $$NF); if ($$NF > 12) { print; found = 1 } } END { exit found }'

fuzz: | $$(tools)  ## damaged files by the ten thousand, and kill -9: hours
	$(PYTHON) tests/fuzz.py files --count 10000
	$(PYTHON) tests/fuzz.py kills --count 20

lowest:  ## the test suite with the lowest versions of the packages
	@$(MAKE) test VENV=.venv-lowest PYTHON=.venv-lowest/bin/python PACKAGES="$(LOWEST)"

bench: | $$(venv)  ## training speed against the usual PyTorch loop
	$(PYTHON) tests/bench.py

# ----------------------------------------------------------------------------------------------------- steps

# The fields of a result's path, read back out of $@. Lazy, so each recipe sees its own.
field    = $(subst /, ,$(patsubst $(RUNS)/%,%,$@))
protocol = $(word 1,$(field))
network  = --dataset $(word 2,$(field)) --model $(word 3,$(field))
seed     = --seed $(patsubst seed%,%,$(word 4,$(field)))
set      = $(word 5,$(field))
order    = $(firstword $(subst -, ,$(set)))
ratio    = $(set:$(order)-%=%)
pruning  = $(subst -, ,$(patsubst p%,%,$(word 6,$(field))))
method   = $(word 2,$(pruning))

# The departures of the protocol, and $(call depart,DEPARTURE,AS RELEASED,BY THE TEXT) of them.
departs  = $(subst +, ,$(protocol))
depart   = $(if $(filter $(1) released,$(departs)),$(2),$(3))
events   = $(if $(filter toneva,$(departs)),toneva,$(call depart,flipped,flipped,forgotten))
scoring  = --events $(events) --positions $(call depart,shuffled,shuffled,fixed) \
           --batchnorm $(call depart,frozen,frozen,train)
ties     = --ties $(call depart,indexed,index,random)
mask     = --mask $(call depart,regrown,release,hold)

# The flags of a step that trains. The control that stays untrained trains for no epoch, and is fine-tuned like others.
count    = $(if $(filter finetuned%,$(@F)),$(TUNE_EPOCHS),$(EPOCHS))
epochs   = --epochs $(if $(filter untrained/dense.pt,$(set)/$(@F)),0,$(count))
train    = $(strip $(seed) $(epochs) $(FLAGS))
run      = --data $(DATA) --threads $(THREADS)
python   = $(strip $(RUN) $(PYTHON))

# What forget.py writes, and which of it an order goes by.
arrays   = $(foreach kind,scores correct errors,--$(kind) $(RUNS)/$*/$(kind:scores=forget).npy)
scored   = $(if $(filter el2n-% ccs-%,$(*F)),errors,forget)

# What train.py trains on: a coreset, long-RATIO one pass after the other for as many steps as the baseline takes;
# without a coreset, all data, matched-RATIO for as many steps as a coreset takes.
subset   = $(if $(filter untrained matched-% crest-% crestfresh-%,$(*F)),,$(RUNS)/$*/subset.npy)
longer   = $(if $(filter long-%,$(set)),--share $(shell LC_ALL=C awk 'BEGIN { print 1 / $(ratio) }') )
samples  = $(if $(filter matched-%,$(set)),--share $(ratio) ,$(if $(subset),--subset $(subset) $(longer)))

# CREST chooses again while it trains: when its check fails, or, crestfresh, at every check.
renewed  = $(if $(filter crestfresh-%,$(set)),--renew always )
trainer  = $(if $(filter crest-% crestfresh-%,$(set)),tests/crest.py $(network) \
                --share $(ratio) $(renewed),train.py $(network) $(samples))

# Pruning trains nothing, so of FLAGS it takes those of the device.
of_device := $(if $(FLAGS),$(shell \
                 printf '%s\n' $(call shell_quoted,$(FLAGS)) | grep -oE -- '--(device|precision)[ =]+[^ ]+'))
testing  = $(strip $(of_device) $(run))

# The pruning method, and the checkpoint that gives the initial weights where it takes them.
prune    = --ratio $(firstword $(pruning))$(method-$(method))
method-live     = $() --scope live
method-global   = $() --scope global
method-random   = $() --criterion random $(seed)
method-channels = $() --structure channels
method-rewound  = $() --start $(strip $(initial))
method-reinitialised = $(method-rewound)
initial  = $(if $(filter %-rewound,$*),$(RUNS)/$(dir $(*D))untrained/dense.pt) \
           $(if $(filter %-reinitialised,$*),$(RUNS)/$(subst /seed,/seed100,$(dir $(*D)))untrained/dense.pt)

# $(call needs,FILES): what a step waits for. A file that is there needs nothing; what is missing needs its inputs,
# whatever their age (so they are words of $|, and come first), the environment, and the plan.
needs = $(if $(wildcard $@),,$(1) $(venv) begin)

.PRECIOUS: $(addprefix $(RUNS)/%/,forget.npy correct.npy errors.npy full/dense.pt subset.npy dense.pt)
.PRECIOUS: $(addprefix $(RUNS)/%/,pruned.pt finetuned.pt) $(addprefix $(RUNS)/%-5x/,pruned.pt finetuned.pt)

$(RUNS)/%/forget.npy $(RUNS)/%/correct.npy $(RUNS)/%/errors.npy $(RUNS)/%/full/dense.pt: | $$(needs)
	$(python) forget.py $(network) $(train) $(scoring) $(run) $(arrays) --out $(RUNS)/$*/full/dense.pt

$(RUNS)/%/subset.npy: | $$(call needs,$(RUNS)/$$(*D)/$$(scored).npy)
	$(PYTHON) select.py --scores $(firstword $|) --order $(order:long=random) --ratio $(ratio) $(ties) $(seed) --out $@

$(RUNS)/%/dense.pt: | $$(call needs,$$(subset))
	$(python) $(trainer)$(train) $(run) --out $@

$(RUNS)/%/pruned.pt: | $$(call needs,$(RUNS)/$$(*D)/dense.pt $$(initial))
	$(python) prune.py --in $(firstword $|) $(prune) $(testing) --out $@

$(RUNS)/%/finetuned.pt: | $$(call needs,$(RUNS)/$$*/pruned.pt)
	$(python) finetune.py --in $(firstword $|) $(mask) $(train) $(run) --out $@
	$(run_done)

# Round i of 5 prunes at 1 - (1 - R)^(i / 5). The files of the last round have no number.
before   = $(word $(1),$(firstword $|) $(foreach k,1 2 3 4,$(@D)/finetuned-$k.pt))
after    = $(@D)/$(2)$(patsubst -5,,-$(1)).pt
so_far   = $(shell LC_ALL=C awk 'BEGIN { print 1 - (1 - $(firstword $(pruning))) ^ ($(1) / 5) }')
fifth    = $(strip $(seed) --epochs $(shell expr $(TUNE_EPOCHS) / 5) $(FLAGS))
define round
$(python) prune.py --in $(before) --ratio $(so_far) $(testing) --out $(call after,$(1),pruned)
$(python) finetune.py --in $(call after,$(1),pruned) $(mask) $(fifth) $(run) --out $(call after,$(1),finetuned)

endef
$(RUNS)/%-5x/pruned.pt $(RUNS)/%-5x/finetuned.pt: | $$(call needs,$(RUNS)/$$(*D)/dense.pt)
	$(foreach i,1 2 3 4 5,$(call round,$i))
	$(run_done)

# ----------------------------------------------------------------------------------------------- environment

# -I keeps this folder off Python's path, where its own `import select` would find select.py.
$(VENV)/ready: requirements.txt
	@echo 'Fetching torch, torchvision and numpy into $(VENV): about 5 GB, a few minutes'
	python3 -I -m venv --clear $(VENV)
	$(VENV)/bin/python -m pip install --quiet $(PACKAGES)
	touch $@

$(VENV)/tools: $(VENV)/ready
	$(VENV)/bin/python -m pip install --quiet pytest pytest-xdist scipy matplotlib torch-pruning ruff radon
	touch $@
