PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin

.DEFAULT_GOAL := help
.PHONY: help install demo test check torture bench results pictures docs clean

help:  ## List the targets.
	@sed -n 's/^\([a-z]*\):.*##/\1	/p' $(MAKEFILE_LIST) | expand -t 10

install: $(VENV)/installed  ## Install mlpcli into .venv.

$(VENV)/installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --editable .
	touch $@

$(VENV)/test-installed: pyproject.toml $(VENV)/installed
	$(BIN)/pip install --quiet --editable '.[test]'
	touch $@

$(VENV)/plot-installed: pyproject.toml $(VENV)/installed
	$(BIN)/pip install --quiet --editable '.[plot]'
	touch $@

demo: install  ## Train, evaluate and gradient-check on the embedded data set.
	$(BIN)/mlpcli gradcheck configs/smoke.yaml
	$(BIN)/mlpcli train configs/smoke.yaml --min-val-accuracy 0.6
	$(BIN)/mlpcli eval "$$(ls -td runs/smoke-* | head -1)"

test: check  ## Run all checks and tests.
	$(BIN)/pytest

check: $(VENV)/test-installed  ## Lint, check the formatting, the types and the imports.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

torture: $(VENV)/test-installed  ## Try every fault and attack, for minutes, and print a table.
	PYTHONPATH=tests $(BIN)/python -m faults

bench: install  ## Time one training step beside its limit and its peers.
	$(BIN)/python benchmarks/step.py

results: $(VENV)/plot-installed  ## Train every configuration on CIFAR-10, for the tables.
	$(BIN)/python benchmarks/results.py

pictures: $(VENV)/test-installed  ## Train on CIFAR-10, and make the pictures of the docs.
	PYTHONPATH=tests $(BIN)/python benchmarks/pictures.py

docs: $(VENV)/test-installed  ## Write what the pages take from the code and the measurements.
	$(BIN)/python tests/documentation.py

clean:  ## Remove what the targets made, but not the runs.
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
