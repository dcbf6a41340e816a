# Python 3.11 or 3.12; scripts/setup.py finds one of them by itself.
PYTHON ?= python3
BIN := .venv/bin
ROOMS := face3d cli capacity storage db migrations tasks gpu_workers assets web bench compose

.PHONY: help env demo up test test-slow hrn test-hrn check bench lock clean

help:  ## Say what there is
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/'

env:  ## Make .venv and the model data; instant when nothing changed
	@$(PYTHON) scripts/setup.py

demo: env  ## A real portrait becomes a head: start the stack, send it, download the asset, stop
	@$(BIN)/face3d demo

up: env  ## Keep the local stack until Ctrl-C
	@$(BIN)/face3d up

test: env  ## All tests but the slow ones
	@$(BIN)/python -m pytest

test-slow: env  ## The tests that wait on purpose: frozen processes, long races
	@$(BIN)/python -m pytest -m slow

hrn:  ## Make .venv-hrn, the environment of engine hrn (weights: face3d models fetch hrn)
	@$(PYTHON) scripts/hrn.py env

test-hrn: env  ## The tests of engine hrn, in .venv-hrn, on a made-up model; skipped where they passed on this code
	@$(PYTHON) scripts/hrn.py test

check: env  ## Format, lint, types, licences
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy $(ROOMS)
	$(BIN)/python scripts/check_licences.py

bench: env  ## How fast the pipeline is on this machine
	@$(BIN)/face3d bench pipeline

lock:  ## Write requirements.lock from .venv
	@$(BIN)/python scripts/write_lock.py

clean:  ## Remove the environment, caches and outputs; the stack's data stays
	rm -rf .venv .venv-hrn .mypy_cache .ruff_cache .pytest_cache out node_modules face3d.egg-info
