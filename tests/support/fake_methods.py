"""Fusion methods that compute nothing, and fail in a chosen way."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from support.helpers import InProcessReader, write_case
from tfs_rt.batch.report import Report
from tfs_rt.batch.request import Options
from tfs_rt.batch.run import Run
from tfs_rt.cases.discover import discover
from tfs_rt.errors import EnvironmentFault
from tfs_rt.images import RGB
from tfs_rt.sampling.engine import ImageBatch


class FakeMethod:
    """Counts its batches in flight, and fails for a batch of more than `largest_batch` images.

    The result of case `k3` has level 3 throughout.
    """

    scale, steps, trained_size = 4, 1, None

    def __init__(self, largest_batch: int = 1) -> None:
        self.largest_batch = largest_batch
        self.in_flight = 0
        self.most_in_flight = 0
        self.begun = list[tuple[str, int]]()  # ids of each batch, and how many were in flight before it

    def begin(self, batch: ImageBatch) -> Callable[[], list[RGB]]:
        self.begun.append(("+".join(batch.ids), self.in_flight))
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)

        def wait() -> list[RGB]:
            self.in_flight -= 1
            if len(batch.ids) > self.largest_batch:
                raise FloatingPointError("NaN")
            return [np.full((*batch.size, 3), int(name[1:]), np.uint8) for name in batch.ids]

        return wait

    def describe(self, size: tuple[int, int] | None) -> str:
        return "method: fake"

    def self_test(self) -> None:
        assert not self.in_flight

    def provenance(self) -> dict[str, Any]:
        return {"method": "fake", "versions": {}}


class WrongAfter(FakeMethod):
    """Computes wrongly after so many self-tests."""

    def __init__(self, tests: int) -> None:
        super().__init__(largest_batch=2)
        self.tests = tests

    def self_test(self) -> None:
        super().self_test()
        self.tests -= 1
        if self.tests < 0:
            raise EnvironmentFault("backend x", "computes wrongly", "check it")


def write_cases(folder: Path, count: int) -> Path:
    """A folder of the cases k0, k1, ..."""
    for number in range(count):
        write_case(folder / f"k{number}")
    return folder


def fuse_with(method: FakeMethod, source: Path, output: Path, **options: Any) -> Report:
    """Fuse all cases of a folder by a fake method."""
    output.mkdir(exist_ok=True)
    return Run(method, Options(output, **options), discover([source], output=output), InProcessReader()).fuse()
