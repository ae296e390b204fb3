# Everything that needs the environment makes it first, in .venv.
.DEFAULT_GOAL := help
.PHONY: help repository repro docs paper add ablations test test-fast test-all mutants check lab lab-reset claims-quick small demo bench audit fetch strip clean

PYTHON ?= python3
# Of the command line alone: some systems have a NAME in the environment, that of the computer.
NAME :=
VENV := .venv
BIN := $(CURDIR)/$(VENV)/bin
# DVC starts `python`, and pip's tools start each other: all from this environment.
export PATH := $(BIN):$(PATH)
# Each process would compile the packages anew where bytecode is not kept.
export PYTHONDONTWRITEBYTECODE =
# The versions that the committed results were made with; `make CONSTRAINTS= ...` takes the newest.
CONSTRAINTS := constraints.txt
# NAME as one word for the shell, whatever it holds: make reads nothing into it either, here or for
# the environment of commands.
QUOTED = '$(subst ','\'',$(value NAME))'
unexport NAME
# What is imported is compiled then, once: most of what is installed never is.
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile \
	$(addprefix --constraint ,$(CONSTRAINTS))

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# Studies at a time.  Each computes with one thread, so that three keep two cores busy.
JOBS ?= 3
# A study, stage by stage: `dvc repro evaluation@STUDY` would lock `data` for all others.
STAGES := $(addsuffix @STUDY,backbones adapters generator rivals evaluation)
# A killed DVC can leave files half-written: paragon_study/running/runner.py.
define run_studies
	$(BIN)/python -m paragon recover
	last=$$($(BIN)/python -m paragon studies $(if $(value NAME),$(QUOTED))) && \
	  $(BIN)/dvc repro data && \
	  echo "$$last" | sed 's/evaluation@//' | xargs -I STUDY -P $(JOBS) \
	  $(BIN)/dvc --wait-for-lock repro --single-item $(STAGES)
endef
repro: repository fetch ## Run all studies of params.yaml, or some: NAME=gru4rec, and compare
	$(run_studies)
	$(if $(value NAME),,$(BIN)/dvc repro)
	$(BIN)/python -m paragon verify

paper: ## Run the study with five seeds and every rival (half a day)
	$(MAKE) add NAME=ml-100k-paper

add: repository fetch ## Add a study, dataset or backbone and run it: make add NAME=lightgcn
	$(BIN)/python -m paragon add $(QUOTED)
	$(run_studies)
	$(BIN)/python -m paragon compare

ablations: repository fetch ## Run the ablations that are missing (hours), then their notebook
	$(BIN)/dvc repro backbones@ml-100k-sasrec
	$(BIN)/python -m paragon trial factorial
	$(BIN)/python -m paragon trial law
	$(BIN)/python -m paragon trial tuning
	$(BIN)/python -m paragon run 07_ablations --study ml-100k

# Said before anything is installed: DVC needs a repository, and so does the comparison.
repository:
	@git rev-parse --quiet --verify HEAD > /dev/null 2>&1 || { echo "error: git is missing, or this \
	folder (the zip of a release?) is no repository; with git: git init && git add . && \
	git commit -m release" >&2; exit 1; }

# The workers use all cores; more threads would only wait for each other.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses logical --maxprocesses 8 \
	--dist loadfile --no-loadscope-reorder --max-worker-restart 1
test: $(VENV)/.test fetch ## Run the tests
	$(PYTEST)

test-fast: $(VENV)/.test ## Run those that start no program and train for less than a second
	$(PYTEST) -m "not slow"

test-all: $(VENV)/.thorough ## The same with 1,000 examples a property and 25 kills (25 minutes)
	PARAGON_THOROUGH=1 PARAGON_KILLS=25 $(MAKE) test

# In a copy.  mutmut leaves decorated functions alone, so the decorator of two of them goes there.
# It tries the tests that ran a function, so every test makes what it needs itself.
mutants: $(VENV)/.thorough ## Change the science in 3,800 ways, count what tests notice (an hour)
	rm -rf build/mutants && mkdir -p build/mutants
	cp -r paragon tests params.yaml pyproject.toml build/mutants
	find build/mutants/tests -name '*.py' -exec \
	  sed -i -E 's/fixture\(scope="(session|module)"\)/fixture()/' {} +
	sed -i '/^@torch.no_grad()$$/d' build/mutants/paragon/generator/diffusion.py \
	  build/mutants/paragon/objectives/table.py
	cd build/mutants && OMP_NUM_THREADS=1 $(BIN)/mutmut run && $(BIN)/mutmut results
	cd build/mutants && $(BIN)/python -m tests.mutants

check: $(VENV)/.test ## Check style and types, in under a minute
	$(BIN)/ruff check . && $(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/nbstripout --verify notebooks/*.ipynb

# make lab FULL=1 for all data; OPTIONS="--allow-root --ip=0.0.0.0" and the like go to JupyterLab.
lab: fetch ## Open JupyterLab on a copy of the notebooks, in small
	$(BIN)/python -m paragon lab $(if $(FULL),--full) $(OPTIONS)

small: fetch ## Run the whole study in small, in lab/, and print what it measured (minutes)
	$(BIN)/python -m paragon small

lab-reset: ## Remove that copy and all that was changed in it
	rm -rf lab lab.part

claims-quick: fetch ## Lists of trained parameters, measured again; then every claim (a minute)
	$(BIN)/python -m paragon demo --check
	$(BIN)/python -m paragon claims

demo: fetch ## Open a page on which one drags the weights; nothing is trained
	$(BIN)/python -m paragon demo

docs: $(VENV)/.docs ## Make pages of docs, notebooks and package, with a search: build/docs
	$(BIN)/python -m sphinx -q -W --keep-going -b html -c docs . build/docs
	@echo "open build/docs/docs/index.html"

# RecTools needs older versions of NumPy and pandas: an environment of its own.  A thread that waits
# by spinning takes the core from the other library: one adapter then takes as long to tune as sixty.
bench: export OMP_WAIT_POLICY = PASSIVE
bench: export OPENBLAS_THREAD_TIMEOUT = 4
bench: $(VENV)/.run ## Measure times on this machine, beside the best that it could do
	$(BIN)/python benchmarks/run.py
	test -x build/rectools/bin/python || { $(PYTHON) -m venv build/rectools && \
	  build/rectools/bin/pip install --quiet --disable-pip-version-check \
	  'rectools[torch]==0.19.0' "$$(grep ^torch $(CURDIR)/constraints.txt)"; }
	$(BIN)/python benchmarks/speed.py --peer build/rectools/bin/python

# The auditors stay out of the environment that they look at.  Three packages with other licences
# are no part of the library: docs/trust.md, Security.
audit: $(VENV)/.test ## Look for known vulnerabilities and for licences that are not permissive
	test -x build/audit/bin/pip-audit || { $(PYTHON) -m venv build/audit && \
	  build/audit/bin/pip install --quiet --disable-pip-version-check pip-audit pip-licenses; }
	build/audit/bin/pip-licenses --python $(BIN)/python --partial-match \
	  --allow-only "MIT;BSD;Apache;ISC;MPL;Mozilla;EPL;PSF;Python Software;Zope;CC0" \
	  --ignore-packages grandalf moocore pygit2 > build/audit/licences.txt
	sed -E 's/>=([^,]+),.*/==\1/' constraints.txt > build/audit/pinned.txt
	build/audit/bin/pip-audit --strict --no-deps --disable-pip --requirement build/audit/pinned.txt

fetch: $(VENV)/.run ## Fetch the data that the study starts from
	$(BIN)/python -m paragon fetch

strip: $(VENV)/.test ## Clear the outputs of the source notebooks
	$(BIN)/nbstripout notebooks/*.ipynb

clean: ## Remove what the stages made; keep data, results and the environment
	rm -rf artifacts .pytest_cache .ruff_cache

$(VENV)/.run: pyproject.toml $(CONSTRAINTS)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, this is " + sys.version.split()[0] + ": make PYTHON=/path/to/python3")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) -e '.[study,serve,scale]'
	touch $@

$(VENV)/.test: pyproject.toml $(VENV)/.run
	$(PIP) -e '.[study,serve,test,scale,cluster]'
	touch $@

$(VENV)/.thorough: pyproject.toml $(VENV)/.test
	$(PIP) -e '.[study,serve,test,scale,cluster,thorough]'
	touch $@

$(VENV)/.docs: pyproject.toml $(VENV)/.run
	$(PIP) -e '.[docs]'
	touch $@
