# `make check` is the one gate; CI runs exactly that.
BIN ?= .venv/bin

.PHONY: check lint types layers test wheel bench

check: lint types layers test

lint:
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types:
	$(BIN)/pyright --pythonpath $(BIN)/python

layers:
	$(BIN)/lint-imports

# Two processes, a test file to each at a time: what shares a fixture stays together.
test:
	$(BIN)/python -m pytest -n 2 --dist loadfile --durations 10

# The runtime's kernels, timed; a line is appended to bench/baselines.
bench:
	mkdir -p build
	$(BIN)/python -m pytest bench/kernels --benchmark-only --benchmark-json build/kernels.json --benchmark-columns=min,median,rounds -q
	$(BIN)/python -m tfs_rt_studies.kernels.history build/kernels.json

wheel:
	$(BIN)/python -m build --wheel --no-isolation
