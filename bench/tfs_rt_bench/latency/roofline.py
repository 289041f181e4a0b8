"""The measured limits of this machine: a float32 matrix product, and a copy that exceeds every cache.

`python -m tfs_rt_bench.latency.roofline` prints both as JSON; the bench runs it so, for a thread pool of its own.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from tfs_rt.system.threads import processor_count

SIDES = (2048, 2048, 3072, 3072, 4096)  # of the matrices; which is fastest differs between machines
BYTES = 2**29  # of an array that is copied: more than any last cache


def gemm_gflops() -> float:
    """GFLOP/s of NumPy's float32 matrix product, the best of several."""
    rng = np.random.default_rng(0)
    best = 0.0
    for side in SIDES:
        a, b = (rng.standard_normal((side, side), dtype=np.float32) for _ in range(2))
        best = max(best, 2 * side**3 / _seconds(lambda a=a, b=b: a @ b) / 1e9)
    return best


def bandwidth_gb() -> float:
    """GB/s of a copy by all processors, bytes read and written, the best of several."""
    count = processor_count()
    source = np.ones(BYTES // 4, np.float32)
    target = np.zeros(BYTES // 4, np.float32)
    pairs = list(zip(np.array_split(target, count), np.array_split(source, count), strict=True))
    with ThreadPoolExecutor(count) as pool:
        least = min(_seconds(lambda: list(pool.map(lambda pair: np.copyto(*pair), pairs))) for _ in range(5))
    return 2 * source.nbytes / least / 1e9


def _seconds(act: Callable[[], object]) -> float:
    started = time.perf_counter()
    act()
    return time.perf_counter() - started


if __name__ == "__main__":
    sys.stdout.write(json.dumps([gemm_gflops(), bandwidth_gb()]))
