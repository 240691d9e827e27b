# atomflow: `make demo` runs the main study, `make test` the tests; both set up what they need.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
DEV := MDAnalysisTests build distributed freud-analysis hatchling hypothesis kinisi moltemplate mypy parmed parsl physical-validation pytest pytest-xdist ruff selenium \
  solvation-analysis tidynamics types-PyYAML

.PHONY: demo test lint types clean

demo: .venv/base.stamp
	$(BIN)/atomflow run cation-anchor --out runs/cation-anchor

# The cluster's tests stand apart: there is one Slurm at a time.
test: .venv/dev.stamp
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "not long" --ignore tests/cluster
	$(BIN)/python -m pytest -m "not long" tests/cluster

lint: .venv/dev.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/dev.stamp
	$(BIN)/mypy

clean:
	@echo "removing .venv and caches; studies in runs/ stay"
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis

.venv/base.stamp: pyproject.toml constraints.txt
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	  || { echo "atomflow needs Python 3.11 or newer; set PYTHON=/path/to/python3.11" >&2; exit 1; }
	"$(PYTHON)" -m venv .venv
	$(PIP) install --quiet --constraint constraints.txt --editable '.[all]'
	@touch $@

.venv/dev.stamp: .venv/base.stamp
	$(PIP) install --quiet --constraint constraints.txt $(foreach package,$(DEV),'$(package)')
	@touch $@
