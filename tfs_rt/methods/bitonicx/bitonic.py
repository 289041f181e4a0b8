"""The bitonic filter as BitonicX calls it: a rank opening and closing over masks, weighted by their residuals.

The program derives its constants from one argument, a threshold t = 3 for data of presumed range 1. Data of that range
never reaches the resulting thresholds on differences of grey levels. They are left out here.
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
    """`image` (H, W) without its small detail."""
    along = directions(image, extent=EXTENT, anisotropy=ANISOTROPY)
    opening, closing = _opening_closing(image, smooth(image[None], along, extent=EXTENT)[0])

    # Residuals of the opening and of the closing; where both are 0, the two weigh the same.
    over, under = smooth(np.stack([image - opening, closing - image]), along, extent=EXTENT)
    w_over = np.abs(over) ** 3
    w_under = np.abs(under) ** 3
    neither = w_over + w_under == 0
    w_over[neither] = 0.5
    w_under[neither] = 0.5
    return (w_over * (closing - under) + w_under * (opening + over)) / (w_over + w_under)


def _opening_closing(image: Field, guide: Field) -> tuple[Field, Field]:
    """The rank opening and closing of `image`; the image itself if it is smaller than the window."""
    if min(image.shape) < 2 * HALF:
        return image, image

    def lower(values: Field) -> Field:
        return rank_in_mask(values, guide, half=HALF, limit=LIMIT, centile=CENTILE)

    low = lower(image)
    high = -lower(-image)
    opening = np.maximum(-lower(-low), low)
    closing = np.minimum(lower(high), high)
    return opening, closing
