# `make help` lists the targets. Variables:
#   PYTHON    the interpreter that makes .venv (default: the first of python3.13 ... python3 that is 3.11 or newer)
#   PIP_ARGS  passed to every pip install, for example "--find-links FOLDER" to take a CPU build of torch from there

PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3; do \
	$$p -c 'import ensurepip, sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && echo $$p && break; done)
PIP_ARGS ?=
BIN := .venv/bin
INSTALL := $(BIN)/python -m pip install -q --disable-pip-version-check $(PIP_ARGS) -c constraints.txt
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest
CHECK_TESTS := tests/test_docs.py tests/test_api_surface.py
BENCHMARKS := $(filter-out benchmarks/render.py benchmarks/_%, $(wildcard benchmarks/*.py))

.DEFAULT_GOAL := help
.PHONY: help demo test check docs bench nightly clean

help: ## this list
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 10

demo: .venv/.installed ## install, then simulate, train, evaluate and predict: results in demo/
	$(BIN)/isocenter demo --out demo

test: .venv/.installed-test ## the test suite, doctests included
	$(PYTEST) -n 2 -m "not slow" $(addprefix --ignore=, $(CHECK_TESTS))

check: .venv/.installed-dev ## format, lint, types, floors, docs and their code blocks, public names
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports
	$(BIN)/mypy
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	$(PYTEST) -m "not slow" $(CHECK_TESTS)

docs: .venv/.installed-dev ## the documentation, built into site/
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

bench: .venv/.installed-test ## every benchmark, then the page made from their results
	@set -e; for script in $(BENCHMARKS); do echo "== $$script"; $(BIN)/python $$script; done
	$(BIN)/python benchmarks/render.py

nightly: .venv/.installed-peers ## the slow tests, and those with real data or peers
	$(PYTEST) -m "slow or real or peers" --timeout 3600

clean: ## remove what the targets made, .venv included
	rm -rf .venv demo site .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find src tests benchmarks docs -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer with venv is needed (Debian: apt install python3-venv); or say make PYTHON=..."; exit 1; }
	$(PYTHON) -m venv .venv

# torch goes first, by its exact version, so that no other package's request can pull a different build.
.venv/.installed: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing Isocenter into .venv; the first time takes a few minutes."
	@$(INSTALL) torch==$$(sed -n 's/^torch==//p' constraints.txt)
	@$(INSTALL) -e .
	@touch $@

.venv/.installed-test: .venv/.installed
	@$(INSTALL) -e '.[test]'
	@touch $@

.venv/.installed-peers: .venv/.installed-test
	@$(INSTALL) -e '.[peers]'
	@touch $@

.venv/.installed-dev: .venv/.installed-test
	@$(INSTALL) -e '.[dev]'
	@touch $@
