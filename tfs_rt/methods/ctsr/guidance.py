"""Rolling guidance filter, which removes small structures (Zhang et al., ECCV 2014).

Its bilateral filters use the bilateral grid (Paris and Durand, IJCV 2009; Chen et al., SIGGRAPH 2007), with cells that
are one sigma wide.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import correlate1d, map_coordinates

Field = NDArray[np.float64]
SPACE = 3.0  # sigma in pixels
RANGE = 0.05  # sigma in grey levels of 0..1
ROUNDS = 3
PADDING = 3  # cells


def rolling_guidance(image: Field) -> Field:
    """The structure of `image` (H, W): filtered three times, each time guided by the last result, at first by zeros."""
    guide = np.zeros_like(image)
    for _ in range(ROUNDS):
        guide = cross_bilateral(image, guide)
    return guide


def cross_bilateral(image: Field, guide: Field) -> Field:
    """`image` smoothed where `guide` is smooth, (H, W) each."""
    # Coordinates of each pixel in the grid: row, column, level.
    height, width = image.shape
    rows, columns = np.mgrid[0:height, 0:width] / SPACE
    depth = (guide - guide.min()) / RANGE
    at = np.stack([rows, columns, depth]) + PADDING
    shape = [int(axis.max()) + PADDING + 1 for axis in at]

    # Sum the pixels in each cell, and count them.
    cells = np.ravel_multi_index(tuple(np.floor(at + 0.5).astype(np.int64).reshape(3, -1)), shape)
    values = np.bincount(cells, image.ravel(), np.prod(shape)).reshape(shape)
    weights = np.bincount(cells, minlength=np.prod(shape)).reshape(shape).astype(np.float64)

    # Smooth sums and counts by a Gaussian.
    taps = np.exp(-0.5 * np.array([1.0, 0.0, 1.0]))
    for axis in range(3):
        values = correlate1d(values, taps, axis=axis, mode="constant")
        weights = correlate1d(weights, taps, axis=axis, mode="constant")

    # Read the mean at each pixel's place.
    mean = np.divide(values, weights, out=np.zeros(shape), where=weights != 0)
    return map_coordinates(mean, at, order=1)
