"""Relations between the rows of a bench: groups, cost of a case, and the Pareto front."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Literal, NamedTuple, TypeVar

from tfs_rt.sampling.registry import SAMPLERS
from tfs_rt.spec import Recipe
from tfs_rt_bench.charts.digits import NA, counted, decimal
from tfs_rt_bench.latency.record import Row, Times

Quality = Literal["fidelity", "accuracy"]
K = TypeVar("K")
V = TypeVar("V")

PEERS = {
    "torch-eager": "PyTorch eager",
    "torch-compile": "torch.compile",
    "onnxruntime": "ONNX Runtime",
    "openvino": "OpenVINO",
}
# In dB: the value that a bench writes for equal images, and for those that differ in a few pixels by a level.
CAP = 99.0


class Way(NamedTuple):
    """Key of rows with the same network computation, for any sampler."""

    backend: str
    precision: str
    peer: bool

    @property
    def name(self) -> str:
        """As a reader calls it; peers by their own names."""
        name = PEERS.get(self.backend, self.backend) if self.peer else self.backend
        return name if name.endswith(self.precision) else f"{name} {self.precision}"


def way(row: Row) -> Way:
    """The way of a row."""
    return Way(row.backend, row.precision, row.peer)


def sampling(recipe: Recipe) -> str:
    """A sampler without its steps."""
    shows_eta = SAMPLERS[recipe.sampler].takes_eta and recipe.eta
    return f"{recipe.sampler}, eta {recipe.eta:g}" if shows_eta else recipe.sampler


def in_words(recipe: Recipe) -> str:
    """The whole recipe."""
    spaced = f"sigma {recipe.sigma_max:g} to {recipe.sigma_min:g}" if recipe.spacing == "log-snr" else "spaced in t"
    return f"{sampling(recipe)}, {counted(recipe.steps, 'step')}, {spaced}"


def positive(value: float | None) -> bool:
    """True if a logarithmic axis can show the figure."""
    return value is not None and math.isfinite(value) and value > 0


def minimum(times: Times | None) -> float | None:
    """The least of several runs, if there were any."""
    return times.minimum if times is not None and positive(times.minimum) else None


def per_case(row: Row) -> float | None:
    """Seconds for one case: the least time of a batch over its size."""
    least = minimum(row.job)
    return None if least is None else least / row.batch


def psnr(row: Row, quality: Quality) -> float | None:
    """A row's PSNR in dB against the reference or against ground truth, if it was measured."""
    found = row.fidelity if quality == "fidelity" else row.accuracy
    return found.psnr if found is not None and math.isfinite(found.psnr) else None


def level(row: Row, quality: Quality, places: int = 1) -> str:
    """That PSNR in words; images are equal only if no pixel differs."""
    found = psnr(row, quality)
    if found is None:
        return NA
    if quality == "fidelity" and row.fidelity is not None and row.fidelity.max_levels == 0:
        return "equal"
    return f"{CAP:g} dB or more" if found >= CAP else decimal(found, places, "dB")


def single(rows: Sequence[Row]) -> list[Row]:
    """Rows of the smallest batch that gave figures: what one waits for."""
    timed = [row for row in rows if per_case(row) is not None]
    least = min((row.batch for row in timed), default=1)
    return [row for row in timed if row.batch == least]


def front(points: Sequence[tuple[float, float]]) -> list[int]:
    """The Pareto front of (cost, quality), from the cheapest on."""
    kept: list[int] = []
    for index in sorted(range(len(points)), key=lambda i: (points[i][0], -points[i][1])):
        if not kept or points[index][1] > points[kept[-1]][1] or points[index] == points[kept[-1]]:
            kept.append(index)
    return kept


def grouped(values: Iterable[V], key: Callable[[V], K]) -> dict[K, list[V]]:
    """Values by key, both in the order of their first appearance."""
    groups: dict[K, list[V]] = {}
    for value in values:
        groups.setdefault(key(value), []).append(value)
    return groups
