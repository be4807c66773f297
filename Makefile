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
# coreset of that ratio; and untrained (without -RATIO) keeps the initial weights.
#
# A prune RATIO may be followed by the pruning method: p0.8-live, p0.8-global, p0.8-random, p0.8-channels; p0.8-rewound
# and p0.8-reinitialised give the mask to the initial weights of this seed and of seed 100K; p0.8-5x prunes and
# fine-tunes in five rounds of a fifth of the epochs.

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
RUNS         = runs$(if $(filter-out 10,$(EPOCHS)),/epochs$(EPOCHS))$(if $(tuned),/tune$(TUNE_EPOCHS))
TUNE_EPOCHS  = $(EPOCHS)
tuned        = $(filter-out $(EPOCHS),$(TUNE_EPOCHS))

# The project's own environment; make PYTHON=python3 ... uses the caller's interpreter and installs nothing.
VENV         = .venv
PYTHON       = $(VENV)/bin/python
PACKAGES     = --requirement requirements.txt
LOWEST       = torch==2.4.0 torchvision==0.19.0 numpy==1.26.4
RESULTS      = tests/results

# RUN comes before every step that trains or evaluates a network: make -j64 table1 RUN="srun -X -n1 -c1 --mem=4G".
RUN          =

# One job a core, or one on a machine with a GPU; -j on the command line overrides it. Each process has one thread, so
# that the number of jobs moves no bit of a result. (nproc takes OMP_NUM_THREADS for the number of cores, if it is set.)
THREADS      = 1
ifeq ($(MAKELEVEL),0)
MAKEFLAGS   += -j$(if $(wildcard /dev/nvidia[0-9]*),1,$(shell env -u OMP_NUM_THREADS nproc))
endif

# PROTOCOL is `paper`, `released`, or some of the departures of the authors' program from the paper's text, joined by +
# in this order: frozen, frozen+regrown, ... `released` departs in all of them, `paper` in none. `toneva`, before them
# all, counts forgetting as Toneva et al. do.
DEPARTURES   = shuffled flipped frozen indexed regrown
PROTOCOLS    = paper $(DEPARTURES) released

orders          = low high random el2n ccs long matched untrained
pruning_methods = live global random channels rewound reinitialised 5x

# -------------------------------------------------------------------------------------------- what is refused

space       := $() $()

# Words as the alternatives of a regular expression.
alternatives = $(subst $(space),|,$(strip $(1)))

# A text as one word of a shell command.
shell_quoted = '$(subst ','\'',$(1))'

# $(call require_one_word,KNOB)
require_one_word = $(if $(filter 1,$(words $($(1)))),,$(error $(1)="$($(1))" must be one word))

# $(call require_some,KNOB)
require_some = $(if $(strip $($(1))),,$(error $(1) is empty))

# $(call words_unlike,WORDS,PATTERN): those words that are not, as a whole, what the extended regular expression says.
words_unlike = $(shell printf '%s\n' $(foreach word,$(1),$(call shell_quoted,$(word))) | grep -vxE '$(2)')

# $(call require_each,KNOB,PATTERN,WHAT): each word of the knob is WHAT the pattern says.
require_each = $(foreach wrong,$(call words_unlike,$($(1)),$(2)),$(error $(1): $(wrong) is not $(3)))

# $(call require_protocol,NAME): departures stand in their order, so that one protocol has one folder.
require_protocol = $(if $(filter $(call protocol_spelt,$(1)),$(1)),,$(error no protocol $(1): $(protocol_rule)))
protocol_spelt   = paper released $(subst $(space),+,$(filter $(subst +, ,$(1)),toneva $(DEPARTURES)))
protocol_rule    = it is paper, released, or some of $(DEPARTURES), in this order, joined by +

# What a path would take for something else is refused before any step runs.
path         = [[:alnum:]_./~+=@:-]+
whole        = 0|[1-9][0-9]*
data_ratio   = 1|0\.[0-9]*[1-9]
prune_ratio  = (0|0\.[0-9]*[1-9])(-($(call alternatives,$(pruning_methods))))?
check_knobs  = $(foreach knob,PROTOCOL EPOCHS TUNE_EPOCHS DATASET MODEL DATA RUNS,$(call require_one_word,$(knob))) \
               $(foreach knob,SEEDS DATA_RATIOS PRUNE_RATIOS,$(call require_some,$(knob))) \
               $(foreach knob,DATA RUNS,$(call require_each,$(knob),$(path),a path of letters and digits and _./~+=@:-)) \
               $(foreach protocol,$(PROTOCOL),$(call require_protocol,$(protocol))) \
               $(foreach knob,SEEDS EPOCHS TUNE_EPOCHS,$(call require_each,$(knob),$(whole),a whole number)) \
               $(call require_each,DATA_RATIOS,$(data_ratio),a ratio above 0 and at most 1 such as 0.1) \
               $(call require_each,PRUNE_RATIOS,$(prune_ratio),a ratio from 0 to below 1 such as 0.8) \
               $(if $(filter none,$(ORDERS)),$(error ORDERS: none is called untrained)) \
               $(call require_each,ORDERS,$(call alternatives,$(orders)),one of $(orders)) \
               $(if $(filter %-5x,$(PRUNE_RATIOS)),$(call require_each,TUNE_EPOCHS,$(fives),a multiple of 5 as -5x needs))
fives        = 5|[1-9].*[05]

# --------------------------------------------------------------------------------------------------- targets

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.SECONDEXPANSION:

# The table that the knobs ask for: the networks of a seed, and their files.
seeds      = $(if $(strip $(check_knobs)),)$(foreach seed,$(SEEDS),$(RUNS)/$(PROTOCOL)/$(DATASET)/$(MODEL)/seed$(seed))
alone      = full $(filter untrained,$(ORDERS))
sized      = $(foreach order,$(filter-out untrained,$(ORDERS)),$(foreach ratio,$(DATA_RATIOS),$(order)-$(ratio)))
networks   = $(foreach seed,$(seeds),$(addprefix $(seed)/,$(alone) $(sized)))
finetuned  = $(foreach network,$(networks),$(foreach ratio,$(PRUNE_RATIOS),$(network)/p$(ratio)/finetuned.pt))
pruned     = $(finetuned:finetuned.pt=pruned.pt)
dense      = $(networks:%=%/dense.pt)
subsets    = $(foreach seed,$(seeds),$(patsubst %,$(seed)/%/subset.npy,$(filter-out matched-%,$(sized))))
scores     = $(seeds:%=%/forget.npy)
errors     = $(if $(filter el2n ccs,$(ORDERS)),$(seeds:%=%/errors.npy))
all_files  = $(scores) $(errors) $(subsets) $(dense) $(pruned) $(finetuned)
folder     = $(RUNS)/$(PROTOCOL)/$(DATASET)/$(MODEL)

# An ablation is the same table once for each protocol.
each_finetuned = $(foreach PROTOCOL,$(PROTOCOLS),$(finetuned))
each_seed      = $(foreach PROTOCOL,$(PROTOCOLS),$(seeds))

# What make itself is asked to do: -n, -j.
short_flags = $(filter-out --%,$(firstword -$(MAKEFLAGS)))
printing    = $(findstring n,$(short_flags))
jobs        = $(or $(patsubst -j%,%,$(firstword $(filter -j%,$(MAKEFLAGS)))),$(number))

# The report of a table: what the paper shows, and what it does not.
asked   = --epochs $(strip $(EPOCHS) $(if $(tuned),--tune-epochs $(tuned)) $(FLAGS))
files   = $(filter %/finetuned.pt,$^)
report  = $(PYTHON) report.py table --format $(FORMAT) --asked=$(call shell_quoted,$(asked)) $(files)
effects = $(PYTHON) tests/study.py effects --format $(FORMAT) $(files)

# How far it is.
shown      = $(finetuned)
places     = $(seeds)
number     = $(words $(sort $(shown)))
unfinished = $(filter-out $(wildcard $(shown)),$(shown))
status     = $(PYTHON) tests/status.py --cells $(number) --jobs $(jobs) $(if $(RUN),--elsewhere) $(run) $(places)

# The project's own Python has to be installed first, the caller's does not.
own_python = $(filter $(VENV)/bin/python,$(PYTHON))
venv       = $(own_python:%/bin/python=%/ready)
tools      = $(own_python:%/bin/python=%/tools)

knobs  = PROTOCOL PROTOCOLS DATASET MODEL DATA_RATIOS PRUNE_RATIOS ORDERS SEEDS EPOCHS TUNE_EPOCHS DATA FLAGS RUNS \
         FORMAT PYTHON RUN
rows   = $(filter table1-%,$(MAKECMDGOALS))
grids  = grid-fcnet-mnist grid-lenet-mnist grid-resnet18-cifar10 grid-resnet18-cifar100 grid-resnet50-cifar10

.PHONY: help smoke test lint lowest fuzz bench table table1 $(rows) $(grids) figures ablation verify status results
help:  ## this list
	@sed -n 's/^\([^ .:]*\): .*## /\1\t/p' Makefile | sed 's/^$$(grids)/grid-NAME/; s/^$$(rows)/table1-D-P/' | expand -t 12
	@echo 'grid-NAME, all: $(grids)'
	@echo 'A file is a target too: make $(RUNS)/paper/CIFAR100/resnet18/seed0/low-0.1/p0.4/finetuned.pt'
	@echo 'Knobs and their values: $(foreach k,$(knobs),$k="$($k)")'

smoke: | $$(venv)  ## the whole method on 5,000 embedded digits in a minute: FCNet, no download
	@$(MAKE) --no-print-directory table DATA=tests/data RUNS=runs/smoke DATA_RATIOS="0.1 0.3" PRUNE_RATIOS=0.8

table1 table1-%: DATASET = CIFAR100
table1 table1-%: MODEL = resnet18
table1-%: DATA_RATIOS = $(word 1,$(subst -, ,$(*:table1-%=%)))
table1-%: PRUNE_RATIOS = $(word 2,$(subst -, ,$(*:table1-%=%)))
table1: plan-table1 $$(finetuned)  ## the paper's Table 1: ResNet18 on CIFAR-100
$(rows): table1-%: plan-table1-% $$(finetuned)  ## a row of it: make table1-0.1-0.4
table: plan-table $$(finetuned)  ## any table: set the knobs below

grid-%: DATA_RATIOS = 0.1 0.2 0.3 0.4 0.5
grid-%: PRUNE_RATIOS = 0 0.2 0.4 0.6 0.8
grid-%: MODEL = $(word 1,$(subst -, ,$(*:grid-%=%)))
grid-%: DATASET = $(subst mnist,MNIST,$(subst cifar,CIFAR,$(word 2,$(subst -, ,$(*:grid-%=%)))))
$(grids): grid-%: plan-grid-% $$(finetuned)  ## the paper's 5 x 5 grid of one experiment

ablation: DATA_RATIOS = 0.1
ablation: PRUNE_RATIOS = 0.8
ablation: shown = $(each_finetuned)
ablation: places = $(each_seed)
ablation: plan-ablation $$(each_finetuned)  ## each departure of the authors' program alone, at one data and one prune ratio

table1 $(rows) table $(grids) ablation:
	@$(report)
	@$(effects)

figures: $$(finetuned) $$(scores) | $$(tools)  ## figures 1 and 2, cost and scores of the table, into its folder
	$(PYTHON) report.py figure1 $(finetuned) --out $(folder)/figure1.svg
	$(PYTHON) report.py figure2 $(finetuned) --out $(folder)/figure2.svg
	$(PYTHON) report.py tradeoff $(finetuned) --out $(folder)/tradeoff.svg
	$(PYTHON) tests/audit.py scores --data $(DATA) $(scores) --out $(folder)/scores.svg

status: | $$(venv)  ## what of the table is done, what is next, and the hours left; runs no step
	@steps=$$($(MAKE) --no-print-directory -n table) && printf '%s\n' "$$steps" | $(status)
plan-%: | $$(venv)
	@$(if $(printing),,$(if $(unfinished),$(print_plan)))
print_plan = steps=$$($(MAKE) --no-print-directory -n $* 2>&1) && printf '%s\n' "$$steps" | $(status) --plan || :

verify: $$(finetuned)  ## recompute what the files of the table claim
	@$(PYTHON) tests/audit.py verify --data $(DATA) --threads $(THREADS) $(all_files)

made   = $(patsubst %.csv,%,$(wildcard $(RESULTS)/*.csv))
plain  = $(foreach f,$(made),$(if $(findstring -ablation,$f)$(findstring -grid,$f),,$f))
results: $(made:%=%.md) $(foreach k,figure1 figure2 tradeoff,$(plain:%=%-$k.svg))  ## tables, figures of tests/results
$(RESULTS)/%.md: $(RESULTS)/%.csv report.py | $$(venv)
	$(PYTHON) report.py table $< --format markdown --out $@
$(RESULTS)/%-figure1.svg: $(RESULTS)/%.csv report.py | $$(tools)
	$(PYTHON) report.py figure1 $< --out $@
$(RESULTS)/%-figure2.svg: $(RESULTS)/%.csv report.py | $$(tools)
	$(PYTHON) report.py figure2 $< --out $@
$(RESULTS)/%-tradeoff.svg: $(RESULTS)/%.csv report.py | $$(tools)
	$(PYTHON) report.py tradeoff $< --out $@

test: $$(tools)  ## the test suite (with your own PYTHON it needs pytest, pytest-xdist, scipy and matplotlib)
	$(PYTHON) -m pytest -q -rs -n 2 --dist worksteal tests

lint: | $$(tools)  ## what ruff finds in all Python files, and functions too complex to read at once
	$(PYTHON) -m ruff check
	$(PYTHON) -m ruff format --check
	@$(PYTHON) -m radon cc --min C --show-complexity $(read_closely) | $(too_complex)
read_closely = $(wildcard *.py tests/study.py tests/crest.py)
too_complex  = awk '/\(/ { gsub(/[()]/, "", $$NF); if ($$NF > 12) { print; found = 1 } } END { exit found }'

fuzz: | $$(tools)  ## damaged files by the ten thousand, and kill -9 under make: hours
	$(PYTHON) tests/fuzz.py files --count 10000
	$(PYTHON) tests/fuzz.py kills --count 20

lowest:  ## the test suite with the lowest versions of the packages
	@$(MAKE) test VENV=.venv-lowest PYTHON=.venv-lowest/bin/python PACKAGES="$(LOWEST)"

bench: | $$(venv)  ## training speed against the usual PyTorch loop, and what make table1 takes
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
departs  = $(call require_protocol,$(protocol))$(subst +, ,$(protocol))
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
subset   = $(if $(filter untrained matched-%,$(*F)),,$(RUNS)/$*/subset.npy)
longer   = $(if $(filter long-%,$(set)),--share $(shell awk 'BEGIN { print 1 / $(ratio) }') )
samples  = $(if $(filter matched-%,$(set)),--share $(ratio) ,$(if $<,--subset $< $(longer)))

# The pruning method, and the checkpoint that gives the initial weights where it takes them.
prune    = --ratio $(firstword $(pruning))$(if $(method),$(or $(method-$(method)),$(no_method)))
no_method = $(error no pruning method $(method): it is one of $(pruning_methods))
method-live     = $() --scope live
method-global   = $() --scope global
method-random   = $() --criterion random $(seed)
method-channels = $() --structure channels
method-rewound  = $() --start $(word 2,$+)
method-reinitialised = $(method-rewound)
initial  = $(if $(filter %-rewound,$*),$(RUNS)/$(dir $(*D))untrained/dense.pt) \
           $(if $(filter %-reinitialised,$*),$(RUNS)/$(subst /seed,/seed100,$(dir $(*D)))untrained/dense.pt)

.PRECIOUS: $(addprefix $(RUNS)/%/,forget.npy correct.npy errors.npy full/dense.pt subset.npy dense.pt)
.PRECIOUS: $(addprefix $(RUNS)/%/,pruned.pt finetuned.pt)

$(RUNS)/%/forget.npy $(RUNS)/%/correct.npy $(RUNS)/%/errors.npy $(RUNS)/%/full/dense.pt: | $$(venv)
	$(python) forget.py $(network) $(train) $(scoring) $(run) $(arrays) --out $(RUNS)/$*/full/dense.pt

$(RUNS)/%/subset.npy: $(RUNS)/$$(*D)/$$(scored).npy | $$(venv)
	$(PYTHON) select.py --scores $< --order $(order:long=random) --ratio $(ratio) $(ties) $(seed) --out $@

$(RUNS)/%/dense.pt: $$(subset) | $$(venv)
	$(python) train.py $(network) $(samples)$(train) $(run) --out $@

$(RUNS)/%/pruned.pt: $(RUNS)/$$(*D)/dense.pt $$(initial) | $$(venv)
	$(python) prune.py --in $< $(prune) $(run) --out $@

$(RUNS)/%/finetuned.pt: $(RUNS)/%/pruned.pt | $$(venv)
	$(python) finetune.py --in $< $(mask) $(train) $(run) --out $@

# Round i of 5 prunes at 1 - (1 - R)^(i / 5). The files of the last round have no number.
before   = $(word $(1),$< $(foreach k,1 2 3 4,$(@D)/finetuned-$k.pt))
after    = $(@D)/$(2)$(patsubst -5,,-$(1)).pt
so_far   = $(shell awk 'BEGIN { print 1 - (1 - $(firstword $(pruning))) ^ ($(1) / 5) }')
fifth    = $(strip $(seed) --epochs $(shell expr $(TUNE_EPOCHS) / 5) $(FLAGS))
define round
$(python) prune.py --in $(before) --ratio $(so_far) $(run) --out $(call after,$(1),pruned)
$(python) finetune.py --in $(call after,$(1),pruned) $(mask) $(fifth) $(run) --out $(call after,$(1),finetuned)

endef
$(RUNS)/%-5x/pruned.pt $(RUNS)/%-5x/finetuned.pt: $(RUNS)/$$(*D)/dense.pt | $$(venv)
	$(foreach i,1 2 3 4 5,$(call round,$i))

# ----------------------------------------------------------------------------------------------- environment

$(VENV)/ready: requirements.txt
	@echo 'Fetching torch, torchvision and numpy into $(VENV): about 5 GB, a few minutes'
	python3 -m venv --clear $(VENV)
	$(VENV)/bin/python -m pip install --quiet $(PACKAGES)
	touch $@

$(VENV)/tools: $(VENV)/ready
	$(VENV)/bin/python -m pip install --quiet pytest pytest-xdist scipy matplotlib torch-pruning ruff radon
	touch $@
