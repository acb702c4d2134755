# Everything happens in .venv; nothing outside the checkout is touched.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin

.PHONY: audit test test-all test-exhaustive test-mutants lint docs catalogues clean

audit: $(VENV)/.installed  ## audit the shipped example: audits/…/report.html, report.pdf, audit.json
	$(BIN)/auditor run audit.toml

test: lint  ## lint, then the tests that are short enough to be run before every commit
	$(BIN)/python -m pytest -n auto --dist worksteal

test-all: lint  ## lint, then every test but the exhaustive ones
	$(BIN)/python -m pytest -n auto --dist worksteal -m "not exhaustive"

test-mutants: $(VENV)/.installed-dev  ## whether `make test` would notice each fault of tests/mutants
	$(BIN)/python tests/mutants/run.py

test-exhaustive: $(VENV)/.installed-dev  ## 2,000 damaged runs and results, and a kill at every file operation
	$(BIN)/python -m pytest -n auto --dist worksteal -m exhaustive

lint: $(VENV)/.installed-dev  ## ruff, mypy and the import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: $(VENV)/.installed-dev  ## the documentation: build/site/index.html
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet

catalogues: $(VENV)/.installed-dev  ## every text of the report into the catalogues of other languages
	$(BIN)/python docs/catalogues.py

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' \
	  || { echo "auditor needs Python 3.11 to 3.13; say: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable .
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	mkdir -p $(VENV)/packages && ln -sfn ../../plugins $(VENV)/packages/auditor_plugins  # for mypy
	touch $@

clean:  ## remove the virtual environment and what tools left behind
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
