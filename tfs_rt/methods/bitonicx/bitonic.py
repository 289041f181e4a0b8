"""The bitonic filter as BitonicX calls it: a rank opening and closing over masks, weighted by what each leaves.

Constants are what the program derives from its one argument, a threshold t = 3 for data of presumed range 1. With them
the thresholds on differences of grey levels are never met by such data, and they are left out here.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from tfs_rt.methods.bitonicx.anisotropic import directions, smooth
from tfs_rt.methods.bitonicx.ranks import rank_in_mask

Field = NDArray[np.float64]
THRESHOLD = 3.0
HALF = 15  # round(2.5 + 2 log2(t / 0.02)), at most 15: windows of 31 x 31
EXTENT = 18  # 1.2 HALF
ANISOTROPY = 0.6
CENTILE = 0.08
_SPREAD = math.sqrt(math.pi) * 15.5 * 1.2 * 0.85
LIMIT = 1.6 * THRESHOLD / (_SPREAD * math.erf(15.5 * 1.2 / 24))  # 0.2356


def bitonic(image: Field) -> Field:
    """The structure of `image` (H, W) without its small detail."""
    along = directions(image, extent=EXTENT, anisotropy=ANISOTROPY)
    opening, closing = _opening_closing(image, smooth(image[None], along, extent=EXTENT)[0])
    over, under = smooth(np.stack([image - opening, closing - image]), along, extent=EXTENT)
    w_over, w_under = np.abs(over) ** 3, np.abs(under) ** 3
    neither = w_over + w_under == 0
    w_over[neither] = w_under[neither] = 0.5
    return (w_over * (closing - under) + w_under * (opening + over)) / (w_over + w_under)


def _opening_closing(image: Field, guide: Field) -> tuple[Field, Field]:
    if min(image.shape) < 2 * HALF:
        return image, image

    def lower(values: Field) -> Field:
        return rank_in_mask(values, guide, half=HALF, limit=LIMIT, centile=CENTILE)

    low, high = lower(image), -lower(-image)
    return np.maximum(-lower(-low), low), np.minimum(lower(high), high)
