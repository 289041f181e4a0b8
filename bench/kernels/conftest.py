"""Fixtures of the kernel benchmarks. `make bench` runs them; `make check` does not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import PIL
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from tfs_rt import __version__
from tfs_rt.formats.picture import FileOptions
from tfs_rt.formats.registry import read_picture
from tfs_rt.images import RGB
from tfs_rt.system.threads import processor_count
from tfs_rt_bench.latency.machine import load_warning, processor_name

CASE = Path(__file__).resolve().parents[2] / "examples" / "mni-z060"
Holds = Callable[[Any, Any, float], None]


def pytest_benchmark_update_machine_info(config: pytest.Config, machine_info: dict[str, Any]) -> None:
    """The conditions of the timings: device, versions, and other load on the machine."""
    machine_info["device"] = f"{processor_name()}, {processor_count()} processors"
    machine_info["versions"] = {"tfs-rt": __version__, "numpy": np.__version__, "pillow": PIL.__version__}
    machine_info["busy"] = load_warning()


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture
def holds(benchmark: BenchmarkFixture) -> Holds:
    """Keep with the times how far a result lies from another formulation's, and fail beyond what is allowed."""

    def check(got: Any, expected: Any, within: float) -> None:
        error = float(np.abs(np.asarray(got, np.float64) - np.asarray(expected, np.float64)).max())
        benchmark.extra_info["error"] = error
        assert error <= within

    return check


@pytest.fixture(scope="session")
def images() -> list[RGB]:
    """An example's m1, m2 and functional image, of 64x64 pixels."""
    names = ("mr-t1", "mr-t2", "pet")
    return [read_picture((path := CASE / f"{n}.png").read_bytes(), path, FileOptions()).slices[0] for n in names]
