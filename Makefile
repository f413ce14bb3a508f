# The targets people remember; `make` alone lists them. Another interpreter: `make setup PYTHON=python3.12`.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory --no-builtin-rules

PYTHON ?= python3
BIN := .venv/bin
PY := $(BIN)/python
STAMP := .venv/.installed
PIP_INSTALL := $(PY) -m pip install -qq --disable-pip-version-check
DATA ?= data
BENCH ?=
# Processes that run tests side by side; many of them wait for servers of their own.
JOBS ?= 3
# Rings whose every branch is tested: all that coverage measures (pyproject.toml).
GATED := sidecar/core/*,sidecar/service/*,sidecar/state/*

# The suite starts hundreds of processes; without its bytecode each would compile every module anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help setup demo test serve bench bench-day format lock clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-9s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

setup: $(STAMP) ## make .venv with the pinned dependencies and the project; nothing when up to date

# The environment is made anew when a pin changes, so that it never holds more than the lock says. Only published wheels
# are taken, each checked against its hash; the project itself is then built by the pinned backend, without the network.
$(STAMP): pyproject.toml requirements/build.lock requirements/dev.lock
	@$(PYTHON) -c 'import sys; v = sys.version_info; v >= (3, 11) or sys.exit("python 3.11 or newer is needed, found %d.%d; name another: make setup PYTHON=python3.12" % v[:2])'
	@echo "setting up .venv, about a minute"
	@$(PYTHON) -m venv --clear .venv
	@$(PIP_INSTALL) --require-hashes --only-binary :all: -r requirements/build.lock -r requirements/dev.lock
	@$(PIP_INSTALL) --no-index --no-deps --no-build-isolation --editable .
	@touch $@

demo: setup ## start a real server in a temporary folder and walk through the main job
	@$(PY) scripts/demo.py

test: setup ## check form, types, imports and policies, then run every test
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/sidecar check --strict
	$(BIN)/sidecar fmt --check
	$(BIN)/sidecar test --coverage-min 100
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest --numprocesses $(JOBS) --dist worksteal $(PYTEST_FLAGS)
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report --include='$(GATED)' --fail-under=100

serve: setup ## serve on 127.0.0.1:8181 with policies/ and schemas/, keeping its data in data/
	@exec $(BIN)/sidecar serve --host 127.0.0.1 --port 8181 --policies policies --schemas schemas --data-dir $(DATA)

bench: setup ## measure this project beside others and by itself, 15 minutes; BENCH=--quick takes 2, see bench/README.md
	@$(PY) -m bench all $(BENCH)

bench-day: setup ## a day of several tenants in a minute, against a server of its own
	@$(PY) -m bench day

format: setup ## format the code and apply the safe fixes
	$(BIN)/ruff check --fix-only --quiet
	$(BIN)/ruff format

lock: ## resolve the newest allowed versions into requirements/*.lock
	PYTHON=$(PYTHON) scripts/lock

clean: ## remove what can be made again; data/ stays
	rm -rf .venv build dist *.egg-info .coverage .coverage.* htmlcov .hypothesis .mypy_cache .pytest_cache .ruff_cache .import_linter_cache bench/.peers
	find sidecar tests bench scripts -type d -name __pycache__ -prune -exec rm -rf {} + 2>/dev/null || true
