"""Pillow's bicubic resampling as integer tables, one for each axis, for `kernels/resample.cu`.

Each output element is a weighted sum of neighbours (Pillow's Resample.c: `precompute_coeffs`, `normalize_coeffs_8bpc`):

    w(x) = 3/2 |x|^3 - 5/2 x^2 + 1              for |x| < 1            (Keys 1981, a = -1/2)
           -(|x|^3 - 5 x^2 + 8 |x| - 4) / 2     for 1 <= |x| < 2

with x in units of the coarser of the two grids, cut at the image's edge, made to sum to 1 and rounded to 22 bits.
The order of operations is Pillow's, since a weight one unit off can change a pixel. So can the order of the axes, with
rounding to 8 bits in between: x, then y; but from Pillow 13 y, then x where (h - H) > 2 max(w - W, 0), which no
enlargement meets.
"""

from __future__ import annotations

import numpy as np
import PIL
from numpy.typing import NDArray

PRECISION_BITS = 22  # 32 bits less 8 of the pixel and 2 of headroom
Int32 = NDArray[np.int32]


def tables(n_in: int, n_out: int) -> tuple[Int32, Int32, Int32]:
    """(first, taps, weights) of shapes (n_out,), (n_out,) and (n_out, most taps); an identity where n_in == n_out."""
    scale = n_in / n_out
    coarser = max(scale, 1.0)
    support = 2 * coarser
    center = (np.arange(n_out) + 0.5) * scale
    first = np.maximum((center - support + 0.5).astype(np.int32), 0)
    taps = np.minimum((center + support + 0.5).astype(np.int32), n_in) - first
    tap = np.arange(taps.max())
    weights = bicubic((tap + first[:, None] - center[:, None] + 0.5) * (1 / coarser))
    weights[tap >= taps[:, None]] = 0
    weights /= weights.cumsum(axis=1)[:, -1:]  # summed from left to right, as in C
    fixed = weights * (1 << PRECISION_BITS)
    return first, taps, np.trunc(fixed + np.copysign(0.5, fixed)).astype(np.int32)


def rows_first(size: tuple[int, int], target: tuple[int, int]) -> bool:
    """True where Pillow resamples along y before x: from version 13, if the height shrinks far more than the width."""
    h, w = size
    height, width = target
    return int(PIL.__version__.split(".")[0]) >= 13 and h - height > 2 * max(w - width, 0)


def bicubic(x: NDArray[np.floating]) -> NDArray[np.floating]:
    """Keys' kernel with a = -1/2."""
    x = np.abs(x)
    near = (1.5 * x - 2.5) * x * x + 1
    far = (((x - 5) * x + 8) * x - 4) * -0.5
    return np.where(x < 1, near, np.where(x < 2, far, 0.0))
