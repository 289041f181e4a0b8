"""Quality of a per-pixel error estimate: by order (correlation, sparsification) and by size (bins).

Sparsification (Ilg et al., ECCV 2018): the RMS error of what is left when the pixels that the predictor calls worst are
taken away, as a share of the RMS error of all. The oracle takes away the largest errors first; a predictor that knows
nothing leaves 1 throughout. AUSE is the mean, over the shares taken away, of the predictor's curve less the oracle's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from tfs_rt.images import RGB
from tfs_rt_bench.measures.metrics import LUMINANCE

Field = NDArray[np.floating]
REMOVED = (0.1, 0.2, 0.5)  # shares of the pixels, as tables show them
BINS = 10
CURVE = tuple(np.arange(20) / 20)  # as AUSE sums them


class Bin(NamedTuple):
    """Pixels of about one spread."""

    pixels: int
    spread: float  # RMS, levels
    error: float


def pixel_error(result: RGB, truth: RGB) -> Field:
    """(H, W): the root mean square difference of R, G and B, in levels."""
    return np.sqrt(((result.astype(np.float64) - truth) ** 2).mean(axis=2))


def edges(image: RGB) -> Field:
    """(H, W): the gradient's magnitude, central differences of luminance: what needs no samples at all."""
    return np.hypot(*np.gradient(image @ LUMINANCE))


def rms(values: Field) -> float:
    """The root mean square."""
    return float(np.sqrt(np.mean(np.square(values, dtype=np.float64))))


def pearson(a: Field, b: Field) -> float | None:
    """The correlation of two lists of numbers; None where one is constant."""
    return None if np.ptp(a) == 0 or np.ptp(b) == 0 else float(np.corrcoef(a, b)[0, 1])


def spearman(a: Field, b: Field) -> float | None:
    """The correlation of ranks, equal values sharing theirs; None where one is constant."""
    return pearson(rankdata(a), rankdata(b))


def left(error: Field, predictor: Field, removed: Sequence[float] = REMOVED) -> list[float]:
    """Sparsification: for each share taken away, the RMS error of the rest over that of all.

    Equal values go in an order drawn with seed 0: by place, black borders would decide.
    """
    shuffled = np.random.default_rng(0).permutation(error.size)
    order = np.lexsort((shuffled, predictor))
    summed = np.cumsum(error[order].astype(np.float64) ** 2)
    kept = np.maximum(np.rint((1 - np.asarray(removed)) * error.size).astype(np.intp), 1)
    return (np.sqrt(summed[kept - 1] / kept) / (rms(error) or 1)).tolist()


def ause(error: Field, predictor: Field) -> float:
    """The area under the sparsification error; 0 is the oracle's."""
    return float(np.mean(left(error, predictor, CURVE)) - np.mean(left(error, error, CURVE)))


def bins(spread: Field, error: Field) -> list[Bin]:
    """At most BINS bins of about as many pixels each, by spread; equal spreads share one, so there may be fewer."""
    cuts = np.unique(np.quantile(spread, np.arange(1, BINS) / BINS))
    which = np.searchsorted(cuts, spread, side="right")
    members = [which == number for number in np.unique(which)]
    return [Bin(int(m.sum()), rms(spread[m]), rms(error[m])) for m in members]
