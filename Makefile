# `make check` is the one gate; CI runs exactly that.
BIN ?= .venv/bin

.PHONY: check lint types layers test wheel

check: lint types layers test

lint:
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types:
	$(BIN)/pyright --pythonpath $(BIN)/python

layers:
	$(BIN)/lint-imports

test:
	$(BIN)/python -m pytest

wheel:
	$(BIN)/python -m build --wheel --no-isolation
