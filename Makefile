# Everything that needs the environment makes it first, in .venv.
.DEFAULT_GOAL := help
.PHONY: help repro paper add ablations test check lab bench fetch strip clean

PYTHON ?= python3
VENV := .venv
BIN := $(CURDIR)/$(VENV)/bin
# DVC starts `python`, and pip's tools start each other: all from this environment.
export PATH := $(BIN):$(PATH)
# The versions that the committed results were made with; `make CONSTRAINTS= ...` takes the newest.
CONSTRAINTS := constraints.txt
# NAME as one word for the shell, whatever it holds.
QUOTED = '$(subst ','\'',$(NAME))'
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check \
	$(addprefix --constraint ,$(CONSTRAINTS))

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

repro: fetch ## Run the study and compare its results with the committed ones
	$(BIN)/dvc repro
	$(BIN)/python -m paragon verify

paper: fetch ## Run the study with five seeds and every rival (half a day)
	$(BIN)/python -m paragon fetch ml-100k-paper
	$(MAKE) add NAME=ml-100k-paper

add: fetch ## Add a dataset or backbone and run its studies: make add NAME=lightgcn
	$(BIN)/python -m paragon add $(QUOTED)
	$(BIN)/dvc repro $$($(BIN)/python -m paragon studies $(QUOTED))
	$(BIN)/python -m paragon compare

ablations: fetch ## Run the ablations that are missing (hours)
	$(BIN)/dvc repro ablations/dvc.yaml

test: $(VENV)/.test fetch ## Run every test
	$(BIN)/python -m pytest --numprocesses logical --maxprocesses 8 --dist loadfile

check: $(VENV)/.test ## Check style and types, in under a minute
	$(BIN)/ruff check . && $(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/nbstripout --verify notebooks/*.ipynb

lab: $(VENV)/.run ## Open JupyterLab on the notebooks
	$(BIN)/jupyter lab --notebook-dir=notebooks

bench: $(VENV)/.run ## Measure times on this machine
	$(BIN)/python benchmarks/run.py
	$(BIN)/python benchmarks/collection.py

fetch: $(VENV)/.run ## Fetch the data that the study starts from
	$(BIN)/python -m paragon fetch

strip: $(VENV)/.test ## Clear the outputs of the source notebooks
	$(BIN)/nbstripout notebooks/*.ipynb

clean: ## Remove what the stages made; keep data, results and the environment
	rm -rf artifacts .pytest_cache .ruff_cache

$(VENV)/.run: pyproject.toml $(CONSTRAINTS)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, this is " + sys.version.split()[0] + ": make PYTHON=/path/to/python3")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) -e .
	touch $@

$(VENV)/.test: pyproject.toml $(VENV)/.run
	$(PIP) -e '.[test]'
	touch $@
