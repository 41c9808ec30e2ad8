# A machine with Python 3.11 or newer and make is enough: each target first makes what it needs in
# $(VENV), once. Another interpreter: make test PYTHON=python3.12. Another place: make test VENV=...

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# Bytecode is kept: every process of a test that starts dfl anew would compile it.
unexport PYTHONDONTWRITEBYTECODE
PIP := $(BIN)/python -m pip install --quiet --constraint constraints.txt

DEMO ?= compare tsm-sl bi-dfcl grounded --data coupon --members 3 --set data.hidden_confounding=1
BENCH ?= benchmarks/results/$(shell date -u +%Y-%m-%dT%H-%M-%SZ).json

.PHONY: help demo test faults check bench bench-solvers docs linkcheck pictures

help:
	@echo "make demo    train TSM-SL, Bi-DFCL and Grounded on a simulator, compare them with the oracle"
	@echo "make test    run the tests, on two processes"
	@echo "make faults  every fault of tests/faults: kills, full disks, damage, wild files (half an hour)"
	@echo "make check   formatter, linter and type checker"
	@echo "make docs    the pages of docs/ and of the docstrings as a site, in build/docs"
	@echo "make pictures  draw the pictures that pages show anew, in docs/images; needs Chromium"
	@echo "make linkcheck  ask every address that a page names, over the network"
	@echo "make bench   run the benchmarks, keep the figures in benchmarks/results"
	@echo "make bench-solvers   time the solvers, write the tables and the plot of docs/solvers.md"

# One thread: the tensors are small here, and on a busy machine threads that wait for each other made
# both several times slower.
demo test faults bench-solvers pictures: export OMP_NUM_THREADS ?= 1

demo: $(VENV)/.dfl-run
	$(BIN)/dfl $(DEMO)

test: $(VENV)/.dfl-test
	$(BIN)/python -m pytest -rs --durations=20 --numprocesses 2 --dist worksteal

faults: $(VENV)/.dfl-test
	$(BIN)/python -m pytest tests/faults -m faults

check: $(VENV)/.dfl-dev
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy

docs: $(VENV)/.dfl-docs
	$(BIN)/python -m sphinx --quiet --fail-on-warning --keep-going -b html docs build/docs
	@echo "build/docs/index.html"

SHOWN := calibration grounded price_and_spend segments value_band

pictures: docs $(VENV)/.dfl-test
	$(BIN)/python -m benchmarks.pictures
	for name in $(SHOWN); do \
	  cp docs/pictures/images/sphx_glr_plot_$${name}_001.png docs/images/$$name.png; \
	done

# By hand, not in CI: other people's servers are not ours to fail on. Links between pages are a test.
linkcheck: $(VENV)/.dfl-docs
	$(BIN)/python -m sphinx --quiet -D plot_gallery=0 -b linkcheck docs build/linkcheck

bench: $(VENV)/.dfl-test
	mkdir -p $(dir $(BENCH))
	$(BIN)/python -m pytest benchmarks --override-ini addopts=--import-mode=importlib \
	  --benchmark-only --benchmark-json=$(BENCH)

bench-solvers: $(VENV)/.dfl-test
	$(BIN)/python -m pytest benchmarks/test_solvers.py --override-ini addopts=--import-mode=importlib \
	  --benchmark-only --benchmark-json=benchmarks/results/solvers.json
	$(BIN)/python benchmarks/solver_table.py benchmarks/results/solvers.json docs/solvers.md

# Stamps: the second call finds them and installs nothing.

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and \
	  "dfl needs Python 3.11 or newer; name one: make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)

# torch goes first, alone, at the version of constraints.txt: a CPU build is taken where your package
# source offers that version as one. The newest torch may bring gigabytes of CUDA with it.
$(VENV)/.dfl-run: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) torch
	$(PIP) --editable .
	@touch $@

$(VENV)/.dfl-test: $(VENV)/.dfl-run
	$(PIP) --editable '.[test]'
	@touch $@

$(VENV)/.dfl-docs: $(VENV)/.dfl-run
	$(PIP) --editable '.[docs]'
	@touch $@

$(VENV)/.dfl-dev: $(VENV)/.dfl-run
	$(PIP) --editable '.[dev]'
	@touch $@
