"""Shares of a step's time on a CPU: in ONNX Runtime by kind of node, in our kernels by operation.

python -m tfs_rt_studies.kernels.shares MODEL --size 256
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from time import perf_counter

import numpy as np
import onnxruntime as ort

from tfs_rt.backends.winograd.machine import host_shape
from tfs_rt.backends.winograd.network import Network
from tfs_rt.images import Array
from tfs_rt.models.bundle import Bundle, load_bundle
from tfs_rt.system.threads import processor_count

ROUNDS = 5
KINDS = {"Conv": "convolution", "FusedConv": "convolution", "GroupNormalization": "normalisation"}
KINDS |= {"MatMul": "attention and linear", "Gemm": "attention and linear", "Softmax": "attention and linear"}
KINDS |= {"Reorder": "layout", "ReorderInput": "layout", "ReorderOutput": "layout", "Transpose": "layout"}
KINDS |= {"Concat": "layout", "Resize": "layout", "Reshape": "layout", "DepthToSpace": "layout"}


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("--size", type=int, default=256)
    given = parser.parse_args()
    bundle = load_bundle(given.model)
    inputs = _inputs(bundle, given.size)
    print(_table("ONNX Runtime", _of_runtime(bundle, inputs)))
    print(_table("winograd", _of_kernels(bundle, inputs)))


def _inputs(bundle: Bundle, size: int) -> tuple[Array, Array, Array]:
    rng = np.random.default_rng(0)
    arch = bundle.manifest.model.architecture
    condition = rng.uniform(-1, 1, (1, arch.condition_channels, size, size)).astype(np.float32)
    return condition, rng.standard_normal((1, 3, size, size)).astype(np.float32), np.full((1, 1), 0.3, np.float32)


def _of_runtime(bundle: Bundle, inputs: tuple[Array, Array, Array]) -> dict[str, float]:
    """Seconds by kind of node, by its own profiler; the least of several runs."""
    with tempfile.TemporaryDirectory() as folder:
        options = ort.SessionOptions()
        options.log_severity_level = 4
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(folder) / "profile")
        session = ort.InferenceSession(bundle.read("fp32"), options, providers=["CPUExecutionProvider"])
        for _ in range(ROUNDS + 1):
            session.run(None, dict(zip(("condition", "x_t", "noise_level"), inputs, strict=True)))
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    times: dict[str, list[float]] = defaultdict(list)
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            times[event["name"]].append(event["dur"] / 1e6)
    kinds = {event["name"]: event["args"]["op_name"] for event in events if event["name"] in times}
    return _added((KINDS.get(kinds[name], "elementwise"), min(found)) for name, found in times.items())


def _of_kernels(bundle: Bundle, inputs: tuple[Array, Array, Array]) -> dict[str, float]:
    """Seconds by operation, each run alone; and what lies around them."""
    network = Network(bundle.manifest.model.architecture, bundle.weights(), host_shape(), processor_count())
    network(*inputs)
    (program,) = network.programs.values()
    names = program.program.names
    parts = [program.table[i : i + 1].copy() for i in range(len(names))]
    found = _added(
        (name, _least(lambda part=part: network.thread_pool.run(part, program)))
        for name, part in zip(names, parts, strict=True)
    )
    inside = _least(lambda: network.thread_pool.run(program.table, program))
    return found | {"folding, gate, biases": _least(lambda: network(*inputs)) - inside}


def _least(do: Callable[[], object]) -> float:
    times = []
    for _ in range(ROUNDS):
        start = perf_counter()
        do()
        times.append(perf_counter() - start)
    return min(times)


def _added(found: Iterable[tuple[str, float]]) -> dict[str, float]:
    total: dict[str, float] = defaultdict(float)
    for kind, seconds in found:
        total[kind] += seconds
    return total


def _table(title: str, found: dict[str, float]) -> str:
    whole = sum(found.values())
    rows = sorted(found.items(), key=lambda item: -item[1])
    lines = [f"| {kind} | {1e3 * seconds:.1f} | {seconds / whole:.0%} |" for kind, seconds in rows]
    return "\n".join([f"\n| {title} | ms | share |", "|---|---|---|", *lines, f"| sum | {1e3 * whole:.1f} | |"])


if __name__ == "__main__":
    main()
