PYTHON  ?= python3
VENV    := .venv
BIN     := $(VENV)/bin
MINIMUM := .venv-minimum
SAMPLE  := 20
SEED    := 0

.DEFAULT_GOAL := help
.PHONY: help install demo test slow check minimum coverage dist torture mutants bench results pictures docs \
	site docs-serve clean

help:  ## List the targets.
	@sed -n 's/^\([a-z-]*\):.*##/\1	/p' $(MAKEFILE_LIST) | expand -t 12

install: $(VENV)/installed  ## Install mlpcli into .venv.

$(VENV)/installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --editable .
	touch $@

$(VENV)/test-installed: pyproject.toml $(VENV)/installed
	$(BIN)/pip install --quiet --editable '.[test]'
	touch $@

$(VENV)/dist-installed: pyproject.toml $(VENV)/installed
	$(BIN)/pip install --quiet --editable '.[dist]'
	touch $@

$(MINIMUM)/installed: pyproject.toml .ci/minimum.py $(VENV)/test-installed
	$(PYTHON) -m venv --clear $(MINIMUM)
	$(BIN)/python .ci/minimum.py > $(MINIMUM)/requirements.txt
	$(MINIMUM)/bin/pip install --quiet --requirement $(MINIMUM)/requirements.txt --editable .
	touch $@

$(VENV)/plot-installed: pyproject.toml $(VENV)/installed
	$(BIN)/pip install --quiet --editable '.[plot]'
	touch $@

demo: install  ## Train, evaluate and gradient-check on the embedded data set.
	$(BIN)/mlpcli gradcheck smoke
	$(BIN)/mlpcli train smoke --min-val-accuracy 0.6
	$(BIN)/mlpcli eval "$$(ls -td runs/smoke-* | head -1)"

test: check  ## Run all checks, and all tests but the slow ones.
	$(BIN)/pytest -m 'not slow'

slow: $(VENV)/test-installed  ## Run the slow tests, for minutes.
	$(BIN)/pytest -m slow

check: $(VENV)/test-installed  ## Lint, check formatting, types, imports and spelling.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/codespell

# The examples of --help call every command. Old packages warn about what was deprecated since: only
# here is a warning no error.
minimum: $(MINIMUM)/installed  ## Run tests with the lowest versions that are promised.
	$(MINIMUM)/bin/pytest -W default tests/test_examples.py
	$(MINIMUM)/bin/pytest -W default -m 'not slow' --ignore tests/cli --ignore tests/config

# What is measured is too slow for the faults that have a time limit.
coverage: $(VENV)/test-installed  ## Run tests, and fail if they reach too few lines and branches.
	$(BIN)/pytest --ignore tests/faults --cov --cov-report=term-missing:skip-covered

dist: $(VENV)/dist-installed  ## Build, check, install and try what a release has: REPOSITORY=owner/name.
	.ci/dist $(REPOSITORY)

torture: $(VENV)/test-installed  ## Try every fault and attack, for minutes, and print a table.
	PYTHONPATH=tests $(BIN)/python -m faults

mutants: $(VENV)/test-installed  ## Change the source in many places: do the tests notice? SEED=n SAMPLE=n
	PYTHONPATH=tests $(BIN)/python -m mutants --sample $(SAMPLE) --seed $(SEED)

bench: install  ## Time one training step beside its limit and its peers.
	$(BIN)/python benchmarks/step.py

results: $(VENV)/plot-installed  ## Train every configuration on CIFAR-10, for the tables.
	$(BIN)/python benchmarks/results.py

pictures: $(VENV)/test-installed  ## Train on CIFAR-10, and make the pictures of the docs.
	PYTHONPATH=tests $(BIN)/python benchmarks/pictures.py

docs: $(VENV)/test-installed  ## Write what the pages take from the code and the measurements.
	$(BIN)/python tests/documentation.py

site: $(VENV)/test-installed  ## Build the site made of docs/ in site/.
	$(BIN)/mkdocs build --strict --config-file .mkdocs.yml

docs-serve: $(VENV)/test-installed  ## Show the site made of docs/ in a browser.
	$(BIN)/mkdocs serve --config-file .mkdocs.yml

clean:  ## Remove what the targets made, but not the runs.
	rm -rf $(VENV) $(MINIMUM) build dist site *.egg-info .coverage* .hypothesis .*_cache
