# make demo   sets everything up, then runs the whole road on rendered heads, offline, on a CPU
# make test   sets up what is missing, then lint, types and tests
# make setup  only the environment, in $(VENV)

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.ready
JOBS ?= 2
DEMO ?= demo

.PHONY: setup demo test lint types pytest clean
.DEFAULT_GOAL := help

help:
	@sed -n 's/^# //p' Makefile

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt requirements-assets.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "moda needs Python 3.11 or newer; name one with: make setup PYTHON=/path/to/python3"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt torch==2.13.0
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e '.[head,demo,deepspeed,dev]'
	$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps -r requirements-assets.txt
	@touch $@

demo: $(STAMP)
	$(BIN)/moda demo --out $(DEMO)

test: lint types pytest

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP)
	$(BIN)/basedpyright --pythonpath $(BIN)/python

pytest: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -rs --durations=30 -n $(JOBS) --dist loadfile --max-worker-restart=0

clean:
	rm -rf $(VENV) build dist *.egg-info src/*.egg-info
