"""Winograd's minimal filtering of 3x3 convolutions, F(4x4, 3x3), by Cook and Toom's construction.

A 4x4 patch of outputs is A^T [(G g G^T) * (B^T d B)] A for the 6x6 patch d of inputs: 36 products instead of 144.
Lavin and Gray, Fast algorithms for convolutional neural networks, CVPR 2016, section 4.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np

from tfs_rt.sampling.schedule import Float64

# Numbers of outputs of a tile and of the filter, in one direction.
M = 4
TAPS = 3
N = M + TAPS - 1  # inputs of a tile
POINTS = (0, 1, -1, 2, -2)  # where polynomials are evaluated; the sixth is infinity


def outputs() -> Float64:
    """A^T, (4, 6): from products to outputs."""
    return np.array([[p**j for p in POINTS] + [j == M - 1] for j in range(M)], dtype=np.float64)


def filters() -> Float64:
    """G, (6, 3): a filter's three taps at the points."""
    scale = [prod(p - q for q in POINTS if q != p) for p in POINTS]
    rows = [[p**j / s for j in range(TAPS)] for p, s in zip(POINTS, scale, strict=True)]
    return np.array([*rows, [0, 0, 1]], dtype=np.float64)


def inputs() -> Float64:
    """B^T, (6, 6): from six inputs to their values; each row is the polynomial that vanishes at the other points."""
    rows = [_polynomial([q for q in POINTS if q != p]) for p in POINTS]
    return np.array([*rows, _polynomial(POINTS)], dtype=np.float64)


def _polynomial(roots: Sequence[int]) -> Float64:
    """Coefficients of prod (x - root), lowest first, filled up with zeros."""
    coefficients = np.poly(roots)[::-1]
    return np.pad(coefficients, (0, N - len(coefficients))).astype(np.float64)
