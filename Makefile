# Every cell of the paper's tables is a file, and every file is a target of its own:
#
#   runs/PROTOCOL/DATASET/MODEL/seedK/
#       forget.npy  correct.npy  full/dense.pt     forget.py
#       ORDER-RATIO/subset.npy                     select.py
#       ORDER-RATIO/dense.pt                       train.py
#       {full,ORDER-RATIO}/pRATIO/pruned.pt        prune.py
#       {full,ORDER-RATIO}/pRATIO/finetuned.pt     finetune.py
#
# ORDER is low, high or random, or one of two controls that know no scores and have no subset.npy: matched-RATIO trains
# on all data for as many steps as a coreset of that ratio, and none (without -RATIO) keeps the initial weights.

# ------------------------------------------------------------------------------------------------- the knobs

PROTOCOL     = paper
DATASET      = MNIST
MODEL        = fcnet
DATA_RATIOS  = 0.1 0.2 0.3
PRUNE_RATIOS = 0.4 0.6 0.8
ORDERS       = low high
SEEDS        = 0
EPOCHS       = 10
DATA         = data
FORMAT       = text

# More flags for every step that trains, such as FLAGS="--lr 3e-4". The path of a result does not tell them,
# so give such results a folder of their own: RUNS=runs/lr3e-4. Another EPOCHS than 10 has one already.
FLAGS        =
RUNS         = runs$(if $(filter-out 10,$(EPOCHS)),/epochs$(EPOCHS))

# The project's own environment; make PYTHON=python3 ... uses the caller's interpreter and installs nothing.
VENV         = .venv
PYTHON       = $(VENV)/bin/python

# One job a core, or one on a machine with a GPU; -j on the command line overrides it. Each process has one thread, so
# that the number of jobs moves no bit of a result.
CORES       := $(shell nproc)
THREADS      = 1
ifeq ($(MAKELEVEL),0)
MAKEFLAGS   += -j$(if $(wildcard /dev/nvidia[0-9]*),1,$(CORES))
endif

# PROTOCOL is `paper`, `released`, or some of the departures of the authors' program from the paper's text, joined by +
# in this order: frozen, frozen+regrown, ... `released` departs in all of them, `paper` in none.
space       := $() $()
DEPARTURES   = shuffled flipped frozen indexed regrown
PROTOCOLS    = paper $(DEPARTURES) released

# --------------------------------------------------------------------------------------------------- targets

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.SECONDEXPANSION:

seeds  = $(foreach s,$(SEEDS),$(RUNS)/$(PROTOCOL)/$(DATASET)/$(MODEL)/seed$s)
sets   = full $(filter none,$(ORDERS)) $(foreach o,$(filter-out none,$(ORDERS)),$(foreach d,$(DATA_RATIOS),$o-$d))
cells  = $(foreach s,$(seeds),$(foreach c,$(sets),$(foreach p,$(PRUNE_RATIOS),$s/$c/p$p/finetuned.pt)))
dense  = $(foreach s,$(seeds),$(foreach c,$(sets),$s/$c/dense.pt))
scores = $(seeds:%=%/forget.npy)
subset = $(foreach s,$(seeds),$(foreach c,$(filter-out full none matched-%,$(sets)),$s/$c/subset.npy))
ablate = $(foreach PROTOCOL,$(PROTOCOLS),$(cells))
report = $(PYTHON) report.py table --format $(FORMAT)
drawn  = $(RUNS)/$(PROTOCOL)/$(DATASET)/$(MODEL)
own    = $(filter $(VENV)/bin/python,$(PYTHON))
venv   = $(own:%/bin/python=%/ready)
pytest = $(own:%/bin/python=%/pytest)
plots  = $(own:%/bin/python=%/matplotlib)
knobs  = PROTOCOL PROTOCOLS DATASET MODEL DATA_RATIOS PRUNE_RATIOS ORDERS SEEDS EPOCHS DATA FLAGS RUNS FORMAT PYTHON THREADS
grids  = grid-fcnet-mnist grid-lenet-mnist grid-resnet18-cifar10 grid-resnet18-cifar100 grid-resnet50-cifar10

.PHONY: help
help:  ## this list
	@sed -n 's/^\([^ .:]*\): .*## /\1\t/p' Makefile | sed 's/^$$(grids)/grid-NAME/' | expand -t 12
	@echo 'grid-NAME, all: $(grids)'
	@echo 'A file is a target too: make $(RUNS)/paper/CIFAR100/resnet18/seed0/low-0.1/p0.4/finetuned.pt'
	@echo 'Knobs and their values: $(foreach k,$(knobs),$k="$($k)")'

.PHONY: smoke
smoke:  ## the whole method on 5,000 embedded digits in a minute: FCNet, no download
	@$(MAKE) --no-print-directory table DATA=tests/data RUNS=runs/smoke DATA_RATIOS="0.1 0.3" PRUNE_RATIOS=0.8

.PHONY: test
test: $$(pytest)  ## the test suite (with your own PYTHON it needs pytest, pytest-xdist, scipy and matplotlib)
	$(PYTHON) -m pytest -q -rs -n 2 --dist loadfile tests

.PHONY: bench
bench: | $$(venv)  ## training speed against the usual PyTorch loop, and what make table1 takes
	$(PYTHON) tests/bench.py

.PHONY: table1
table1 table1-%: DATASET = CIFAR100
table1 table1-%: MODEL = resnet18
table1-%: DATA_RATIOS = $(word 1,$(subst -, ,$*))
table1-%: PRUNE_RATIOS = $(word 2,$(subst -, ,$*))
table1: $$(cells)  ## the paper's Table 1: ResNet18 on CIFAR-100
	@$(report) $^
table1-%: $$(cells)  ## a row of it: make table1-0.1-0.4
	@$(report) $^

.PHONY: table
table: $$(cells)  ## any table: set the knobs below
	@$(report) $^

.PHONY: $(grids)
grid-%: DATA_RATIOS = 0.1 0.2 0.3 0.4 0.5
grid-%: PRUNE_RATIOS = 0 0.2 0.4 0.6 0.8
grid-%: MODEL = $(word 1,$(subst -, ,$*))
grid-%: DATASET = $(subst mnist,MNIST,$(subst cifar,CIFAR,$(word 2,$(subst -, ,$*))))
$(grids): grid-%: $$(cells)  ## the paper's 5 x 5 grid of one experiment
	@$(report) $^

.PHONY: figures
figures: $$(cells) $$(scores) | $$(plots)  ## figures 1 and 2, heatmap and scores of the table, into its folder
	$(PYTHON) report.py figure1 $(cells) --out $(drawn)/figure1.svg
	$(PYTHON) report.py figure2 $(cells) --out $(drawn)/figure2.svg
	$(PYTHON) report.py heatmap $(cells) --out $(drawn)/heatmap.svg
	$(PYTHON) report.py scores $(scores) --out $(drawn)/scores.svg

.PHONY: ablation
ablation: DATA_RATIOS = 0.1
ablation: PRUNE_RATIOS = 0.8
ablation: $$(ablate)  ## each departure of the authors' program alone, at one data ratio and one prune ratio
	@$(PYTHON) report.py ablation --format $(FORMAT) $^

.PHONY: verify
verify: $$(cells)  ## recompute what the files of the table claim
	@$(PYTHON) report.py verify --data $(DATA) --threads $(THREADS) $(scores) $(subset) $(dense) $(cells:finetuned.pt=pruned.pt) $^

# ----------------------------------------------------------------------------------------------------- steps

# The fields of a result's path, read back out of $@. Lazy, so each recipe sees its own.
field    = $(subst /, ,$(@:$(RUNS)/%=%))
protocol = $(word 1,$(field))
network  = --dataset $(word 2,$(field)) --model $(word 3,$(field))
seed     = --seed $(patsubst seed%,%,$(word 4,$(field)))
order    = --order $(firstword $(subst -, ,$(set))) --ratio $(lastword $(subst -, ,$(set)))
prune    = --ratio $(patsubst p%,%,$(word 6,$(field)))
set      = $(word 5,$(field))
epochs   = --epochs $(if $(filter none/dense.pt,$(set)/$(@F)),0,$(EPOCHS))
train    = $(strip $(seed) $(epochs) $(FLAGS))
samples  = $(if $(filter matched-%,$(set)),--share $(set:matched-%=%) ,$(if $<,--subset $< ))
chosen   = $(if $(filter none matched-%,$(*F)),,$(RUNS)/$*/subset.npy)
run      = --data $(DATA) --threads $(THREADS)
valid    = paper released $(subst $(space),+,$(filter $(subst +, ,$(protocol)),$(DEPARTURES)))
unknown  = $(error no protocol $(protocol): it is paper, released, or some of $(DEPARTURES), in this order, joined by +)
departs  = $(if $(filter $(valid),$(protocol)),$(subst +, ,$(protocol)),$(unknown))
depart   = $(if $(filter $(1) released,$(departs)),$(2),$(3))
setting  = --events $(call depart,flipped,flipped,forgotten) --positions $(call depart,shuffled,shuffled,fixed) \
           --batchnorm $(call depart,frozen,frozen,train)
ties     = --ties $(call depart,indexed,index,lot)
mask     = --mask $(call depart,regrown,release,hold)

.PRECIOUS: $(RUNS)/%/forget.npy $(RUNS)/%/correct.npy $(RUNS)/%/full/dense.pt $(RUNS)/%/subset.npy $(RUNS)/%/dense.pt
.PRECIOUS: $(RUNS)/%/pruned.pt $(RUNS)/%/finetuned.pt

$(RUNS)/%/forget.npy $(RUNS)/%/correct.npy $(RUNS)/%/full/dense.pt: | $$(venv)
	$(PYTHON) forget.py $(network) $(train) $(setting) $(run) --scores $(RUNS)/$*/forget.npy --correct $(RUNS)/$*/correct.npy --out $(RUNS)/$*/full/dense.pt

$(RUNS)/%/subset.npy: $(RUNS)/$$(*D)/forget.npy | $$(venv)
	$(PYTHON) select.py --scores $< $(order) $(ties) $(seed) --out $@

$(RUNS)/%/dense.pt: $$(chosen) | $$(venv)
	$(PYTHON) train.py $(network) $(samples)$(train) $(run) --out $@

$(RUNS)/%/pruned.pt: $(RUNS)/$$(*D)/dense.pt | $$(venv)
	$(PYTHON) prune.py --in $< $(prune) $(run) --out $@

$(RUNS)/%/finetuned.pt: $(RUNS)/%/pruned.pt | $$(venv)
	$(PYTHON) finetune.py --in $< $(mask) $(train) $(run) --out $@

# ----------------------------------------------------------------------------------------------- environment

$(VENV)/ready: requirements.txt
	python3 -m venv --clear $(VENV)
	$(VENV)/bin/pip install --quiet --requirement requirements.txt
	touch $@

$(VENV)/pytest: $(VENV)/matplotlib
	$(VENV)/bin/pip install --quiet pytest pytest-xdist scipy
	touch $@

$(VENV)/matplotlib: $(VENV)/ready
	$(VENV)/bin/pip install --quiet matplotlib
	touch $@
