# `make` lists the targets. Python 3.10 or newer: make setup PYTHON=python3.12
#
# torch comes first, in the first of these builds that the configured package index offers. On Linux
# the second one brings CUDA libraries of several gigabytes. Before the first `make setup`, or after
# deleting .venv,
# - without a GPU: set PIP_EXTRA_INDEX_URL to PyTorch's index of CPU wheels; pytorch.org shows it
#   under "Get started". Then the first build is found.
# - with a GPU: `make setup TORCH=torch==2.13.0`; or, for another CUDA or ROCm build, make .venv
#   (`python3 -m venv .venv`) and install that build of the same version into it: it is left alone.
TORCH_VERSION := $(shell sed -n 's/^torch==//p' constraints.txt)
TORCH ?= torch==$(TORCH_VERSION)+cpu torch==$(TORCH_VERSION)

PYTHON ?= python3
# `.ci/matrix` makes other environments, with other extras.
VENV ?= .venv
INSTALL ?= --editable .[dev]
VENV_PYTHON := $(VENV)/bin/python
PIP_INSTALL := $(VENV_PYTHON) -m pip install -qq --constraint constraints.txt
INSTALLED := $(VENV)/.installed
TOOLS := .venv-tools/.installed

# Of the mutants of a module, and which: `make mutation SHARE=0.25 SEED=1`.
SHARE ?= 1
SEED ?= 0

export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup demo test lint format matrix mutation audit sbom hashes clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' Makefile

setup: $(INSTALLED) ## make .venv with GradShield and the tools to develop it

$(VENV_PYTHON):
	@command -v $(PYTHON) >/dev/null || { echo "No command '$(PYTHON)'; name a Python 3.10 or newer, as in: make setup PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 10) or sys.exit("GradShield needs Python 3.10 or newer, but $(PYTHON) is %d.%d; name another, as in: make setup PYTHON=python3.12" % sys.version_info[:2])'
	@$(PYTHON) -m venv --clear $(VENV)

# A torch of the right version is left alone whatever its build. Only the last failure is shown.
$(INSTALLED): pyproject.toml constraints.txt | $(VENV_PYTHON)
	@$(VENV_PYTHON) -c 'from importlib.metadata import version; raise SystemExit(version("torch").split("+")[0] != "$(TORCH_VERSION)")' 2>/dev/null || { \
	    for build in $(TORCH); do \
	        echo "Installing $$build, if it is to be had"; \
	        problem=$$($(PIP_INSTALL) "$$build" 2>&1) && exit 0; \
	    done; \
	    echo "$$problem" >&2; exit 1; }
	@echo "Installing GradShield and its other dependencies"
	@$(PIP_INSTALL) $(foreach package,$(INSTALL),'$(package)')
	@touch $@

demo: $(INSTALLED) ## filter the demo data with the built-in model, compare with the true labels
	.venv/bin/gradshield filter examples/mixed_chat.jsonl --out runs/demo
	$(VENV_PYTHON) examples/evaluate_demo.py runs/demo examples/mixed_chat.labels.csv

# One process a core, whole files each, in the order of their names: the longest tests come first.
# The share of coverage counts branches too, so that of lines is higher.
test: $(INSTALLED) ## run all tests, with branch coverage
	@$(VENV_PYTHON) -m pytest --no-header -n auto --dist loadfile --no-loadscope-reorder --durations=20 --cov=gradshield --cov-branch --cov-report=term --cov-fail-under=90

lint: $(INSTALLED) ## check style, layout and types
	@$(VENV_PYTHON) -m ruff check --quiet --output-format concise .
	@$(VENV_PYTHON) -m ruff format --check --quiet --output-format concise .
	@$(VENV_PYTHON) -m mypy

format: $(INSTALLED) ## mend what ruff can mend
	@$(VENV_PYTHON) -m ruff check --quiet --fix-only .
	@$(VENV_PYTHON) -m ruff format .

matrix: ## test each extra in an environment that has it and no other
	@.ci/matrix

# mutmut stands beside the packages of .venv, and without its GradShield: the mutants take its place.
mutation: $(INSTALLED) $(TOOLS) ## test the tests of scoring/ and threshold/ by mutants (hours)
	@PYTHONPATH=$$($(VENV_PYTHON) -c 'import sysconfig; print(sysconfig.get_path("purelib"))') OMP_NUM_THREADS=1 .venv-tools/bin/python .ci/mutation.py --share $(SHARE) --seed $(SEED)

$(TOOLS): tools.txt
	@$(PYTHON) -m venv --clear .venv-tools
	@.venv-tools/bin/python -m pip install -qq --requirement tools.txt
	@touch $@

audit: $(TOOLS) ## look the pinned packages up in the databases of known vulnerabilities
	@.venv-tools/bin/pip-audit --strict --disable-pip --no-deps --requirement constraints-hashes.txt

sbom: $(INSTALLED) $(TOOLS) ## write dist/sbom.cdx.json, what .venv is made of (CycloneDX)
	@mkdir -p dist
	@.venv-tools/bin/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible --of JSON --output-file dist/sbom.cdx.json $(VENV_PYTHON)
	@echo "dist/sbom.cdx.json"

hashes: $(TOOLS) ## renew constraints-hashes.txt after a change of constraints.txt
	@.venv-tools/bin/uv pip compile constraints.txt --quiet --no-deps --generate-hashes --universal --python-version 3.10 --no-annotate --no-header --output-file constraints-hashes.txt

clean: ## remove caches and build products; .venv, .venv-tools and runs/ stay
	@rm -rf build dist mutants .venv-matrix .coverage .hypothesis .mypy_cache .pytest_cache .ruff_cache
	@find src tests examples -type d -name __pycache__ -prune -exec rm -rf {} +
