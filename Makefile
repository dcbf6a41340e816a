# Python 3.11 or 3.12; scripts/setup.py finds one of them by itself.
PYTHON ?= python3
BIN := .venv/bin
# How many processes run tests at once; each has servers of its own.
JOBS ?= 2
# The unit tests that take no time.
QUICK := 'not heavy and not slow and not hrn and not cuda and not triton'
PACKAGES := face3d cli capacity storage db migrations tasks gpu_workers assets web bench compose

.PHONY: help env demo up quick test test-slow coverage hrn test-hrn test-gpu test-kernels check types bench lock clean

help:  ## Say what there is
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/'

env:  ## Make .venv and the model data; instant when nothing changed
	@$(PYTHON) scripts/setup.py

demo: env  ## A real portrait becomes a head: start the stack, send it, download the asset, stop
	@$(BIN)/face3d demo

up: env  ## Keep the local stack until Ctrl-C
	@$(BIN)/face3d up

quick: env  ## Before each commit, in less than a minute: lint, format and the unit tests that take no time
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	@$(BIN)/python -m pytest tests/unit -n $(JOBS) --dist loadgroup -q -m $(QUICK)

test: env  ## All tests but the slow ones, in JOBS processes (2)
	@$(BIN)/python -m pytest -n $(JOBS) --dist loadgroup

test-slow: env  ## The tests that wait on purpose: frozen processes, long races
	@$(BIN)/python -m pytest -m slow

coverage: env  ## Which share of the delivered lines the quick unit tests run
	@$(BIN)/python -m pytest tests/unit $(if $(JOBS),-n $(JOBS)) -q -m $(QUICK) --cov --cov-report=
	@$(BIN)/coverage report --format=total | sed 's/.*/the quick unit tests run & % of the lines/'

test-gpu: env  ## Every CUDA graph and kernel against its reference; fails where there is no NVIDIA GPU
	@$(BIN)/python -m pytest tests/cuda -m cuda -W default -o timeout=200 -rP --durations=10

test-kernels: env  ## The Triton kernels on the CPU, by Triton's interpreter (a download of 200 MB, once)
	@$(BIN)/python scripts/test_kernels.py

hrn:  ## Make .venv-hrn, the environment of engine hrn (weights: face3d models fetch hrn)
	@$(PYTHON) scripts/hrn.py env

test-hrn: env  ## The tests of engine hrn, in .venv-hrn, on a synthetic model; skipped where they passed on this code
	@$(PYTHON) scripts/hrn.py test

check: env types  ## Format, lint, types, words, licences
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python scripts/check_words.py
	$(BIN)/python scripts/check_licences.py

types:  ## Types alone, in the environment that is there
	$(BIN)/mypy $(PACKAGES)

bench: env  ## How fast the pipeline is on this machine
	@$(BIN)/face3d bench pipeline

lock:  ## Write requirements.lock from .venv
	@$(BIN)/python scripts/write_lock.py

clean:  ## Remove the environment, caches and outputs; the stack's data stays
	rm -rf .venv .venv-hrn .venv-triton .mypy_cache .ruff_cache .pytest_cache .coverage out node_modules face3d.egg-info
