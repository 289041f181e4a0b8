"""Means over cases with a bootstrap's confidence interval; what cannot be averaged is counted, not averaged."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 10_000
CHUNK = 100
LEVEL = 0.95


@dataclass(frozen=True, slots=True)
class Summary:
    """A measure over cases: the mean of its finite values, how many they are, and what was left out."""

    mean: float | None
    low: float | None  # None with fewer than two values
    high: float | None
    cases: int
    infinite: int
    undefined: int


def summarise(values: Sequence[float | None]) -> Summary:
    """The mean and its percentile bootstrap interval at 95 %, over cases drawn with replacement (seed 0)."""
    finite = np.array([value for value in values if value is not None and math.isfinite(value)])
    undefined = sum(value is None for value in values)
    mean = float(finite.mean()) if finite.size else None
    low, high = interval(finite) if finite.size > 1 else (None, None)
    return Summary(mean, low, high, finite.size, len(values) - finite.size - undefined, undefined)


@dataclass(frozen=True, slots=True)
class Comparison:
    """A measure's difference to the first method, case by case."""

    difference: Summary  # infinite: where one of the two is
    larger: int  # cases in which this method's value is larger
    smaller: int
    cases: int  # in which both are defined


def compare(values: Sequence[float | None], first: Sequence[float | None]) -> Comparison:
    """Paired differences `values` - `first`; those that are not finite are counted, not averaged."""
    pairs = [(a, b) for a, b in zip(values, first, strict=True) if a is not None and b is not None]
    differences: list[float | None] = [a - b if math.isfinite(a) and math.isfinite(b) else math.inf for a, b in pairs]
    differences += [None] * (len(values) - len(pairs))
    larger = sum(a > b for a, b in pairs)
    smaller = sum(a < b for a, b in pairs)
    return Comparison(summarise(differences), larger, smaller, len(pairs))


def interval(values: NDArray[np.float64]) -> tuple[float, float]:
    """The percentile bootstrap's interval of the mean of two or more values."""
    rng = np.random.default_rng(0)
    n = values.size
    means = [values[rng.integers(n, size=(CHUNK, n))].mean(axis=1) for _ in range(RESAMPLES // CHUNK)]
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)
