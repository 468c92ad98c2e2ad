# `make parity` and `make test` are all that a fresh machine with Python 3.11 needs.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: help parity test bench lint format clean

help:
	@echo "make parity   run the laws and print who agrees (the main job)"
	@echo "make test     run all tests"
	@echo "make bench    time every layer, optimizer and model on both backends and in plain torch"
	@echo "make lint     ruff and mypy --strict"
	@echo "make format   let ruff write the code's layout"
	@echo "make clean    remove the virtual environment and what tools left behind"
	@echo "PYTHON=python3.12 make ...   chooses another Python (3.11 or newer)"

parity: $(READY)
	$(BIN)/twingrad parity

test: $(READY)
	$(BIN)/python -m pytest -n auto

bench: $(READY)
	$(BIN)/twingrad bench

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) build dist .hypothesis .pytest_cache .mypy_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11))" || \
		{ echo "twingrad needs Python 3.11 or newer; try PYTHON=python3.11 make $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[all,peers,dev]'
	@touch $(READY)
