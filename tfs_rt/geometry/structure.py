"""Measures of a registered pair that do not come from the search: overlap, and information inside the foreground."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tfs_rt.formats.volume import Matrix, transform_points
from tfs_rt.geometry.pyramid import Pyramid

BINS = 16
FEWEST_POINTS = 100
# Percentiles of the foreground along each axis: its box leaves out stray voxels.
BOX = (1.0, 99.0)


def overlap(fixed: Pyramid, moving: Pyramid, matrix: Matrix) -> float:
    """The share of each image's foreground within the box about the other's; the smaller of the two, in [0, 1]."""
    forth = _share_in_box(moving, transform_points(matrix, fixed.points))
    back = _share_in_box(fixed, transform_points(np.linalg.inv(matrix), moving.points))
    return min(forth, back)


def _share_in_box(image: Pyramid, points: Matrix) -> float:
    """Measured along the image's own axes, in voxels of its coarse level."""
    to_index = np.linalg.inv(image.coarse.to_world)
    own = transform_points(to_index, image.points)
    low, high = np.percentile(own, BOX, axis=0)
    indices = transform_points(to_index, points)
    return float(((indices >= low - 1) & (indices <= high + 1)).all(axis=1).mean())


def structure(fixed: Pyramid, moving: Pyramid, matrix: Matrix) -> float:
    """Mutual information in nat where both images have foreground; 0 if that is hardly anywhere.

    The outline of the head plays no part in it, so noise in a head's outline has none. The bias of a histogram of N
    pairs, (bins - 1)^2 / 2N, is subtracted.
    """
    a = _nearest(fixed, fixed.points)
    b = _nearest(moving, transform_points(matrix, fixed.points))
    both = b > moving.threshold  # NaN, outside, is not
    if both.sum() < FEWEST_POINTS:
        return 0.0
    counts = np.zeros((BINS, BINS))
    np.add.at(counts, (_equal_bins(a[both]), _equal_bins(b[both])), 1)
    joint = counts / counts.sum()
    independent = joint.sum(axis=1, keepdims=True) * joint.sum(axis=0, keepdims=True)
    filled = joint > 0
    information = float((joint[filled] * np.log(joint[filled] / independent[filled])).sum())
    return information - (BINS - 1) ** 2 / (2 * int(both.sum()))


def _nearest(image: Pyramid, points: Matrix) -> NDArray[np.float32]:
    """(N,): the coarse voxels nearest to points; NaN outside."""
    indices = np.rint(transform_points(np.linalg.inv(image.coarse.to_world), points)).astype(int)
    x, y, z = indices.T
    depth, height, width = image.coarse.shape
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height) & (z >= 0) & (z < depth)
    values = np.full(len(points), np.nan, dtype=np.float32)
    values[inside] = image.coarse.values[z[inside], y[inside], x[inside]]
    return values


def _equal_bins(values: NDArray[np.float32]) -> NDArray[np.intp]:
    """(N,): the bin of each value; bins hold about equally many."""
    edges = np.quantile(values, np.linspace(0, 1, BINS + 1)[1:-1])
    return np.searchsorted(edges, values)
