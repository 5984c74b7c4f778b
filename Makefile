# Everything a fresh machine needs: `make demo` and `make test` make a virtual environment, install into it, and go.
# Variables: PYTHON (3.11 to 3.14), VENV, ENGINE (cpu or gpu), PIP_ARGS (more arguments for pip's install).

PYTHON ?= python3
VENV ?= .venv
PIP_ARGS ?=
ENGINE ?= $(shell nvidia-smi -L >/dev/null 2>&1 && echo gpu || echo cpu)
DEMO_LIMIT ?= 2

BIN := $(VENV)/bin
# Named after what was installed: another engine, or a changed pyproject.toml, installs again.
STAMP := $(VENV)/.installed-$(ENGINE)-$(firstword $(shell cksum pyproject.toml))

.DEFAULT_GOAL := help
.PHONY: help install demo test test-long lint clean

help:  ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1\t\2/p' $(MAKEFILE_LIST) | expand -t 12

install: $(STAMP)  ## the virtual environment with the engine that fits this machine

$(STAMP):
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 15))' || \
	  { echo 'Python 3.11 to 3.14 is needed: make PYTHON=python3.12 ...' >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo 'Installing ReasonFlow with the $(ENGINE) engine into $(VENV): a few minutes.'
	@$(BIN)/python -m pip install -qq --upgrade pip
	@$(BIN)/python -m pip install -qq $(PIP_ARGS) --editable '.[$(ENGINE),eval,search,compile,train,dev]' || { $(ADVICE); exit 1; }
	$(BIN)/reasonflow doctor --fix
	@rm -f $(VENV)/.installed-*
	@touch $@

ADVICE = printf '%s\n' \
  'The installation failed; the lines above say why. If pip found no torch with +cpu in its version: PyPI has no CPU' \
  'build of torch. Name the CPU package index that the installation page of PyTorch gives, and try again:' \
  '  make demo PIP_ARGS="--extra-index-url ADDRESS"' >&2

demo: $(STAMP)  ## every program beside the others on the built-in model: the table of its suite, for a few problems
	@rm -rf runs/demo
	$(BIN)/reasonflow eval --suite embedded --limit $(DEMO_LIMIT) --out runs/demo

test: lint  ## everything but the tests marked long: lint, types, tests with a real engine
	$(BIN)/python -m pytest -m 'not long'

test-long: lint  ## every test
	$(BIN)/python -m pytest

lint: $(STAMP)  ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:  ## remove what the targets made
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
