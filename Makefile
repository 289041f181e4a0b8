# `make check` is the one gate; CI runs exactly that.
BIN ?= .venv/bin

.PHONY: check lint types layers test slow mutants wheel bench

check:
	$(MAKE) --jobs 2 --output-sync lint types layers
	$(MAKE) test

lint:
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types:
	$(BIN)/pyrefly check --python-interpreter-path $(BIN)/python

layers:
	$(BIN)/lint-imports

# Two processes, a test file to each at a time: what shares a fixture stays together. tests/conftest.py gives the order.
PYTEST = $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder --durations 10

test:
	$(PYTEST)

# The long forms of promises whose short forms `make test` keeps.
slow:
	$(PYTEST) -m slow

# Faults of one line, each put into a copy of the sources, that the tests must notice.
mutants:
	$(BIN)/python tests/mutants.py

# The runtime's kernels, timed; a line is appended to bench/baselines.
bench:
	mkdir -p build
	$(BIN)/python -m pytest bench/kernels --benchmark-only --benchmark-json build/kernels.json --benchmark-columns=min,median,rounds -q
	$(BIN)/python -m tfs_rt_studies.kernels.history build/kernels.json

wheel:
	$(BIN)/python -m build --wheel --no-isolation
