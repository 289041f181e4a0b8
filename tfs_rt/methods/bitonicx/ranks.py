"""Rank filters over masked windows: each pixel only sees the pixels of its window that resemble it.

The mask of a pixel p holds every q of its square window with |s(q) - s(p)| <= limit. It hardly changes from a pixel to
its neighbour. The kernel therefore keeps the mask's ranks in bins, adds and removes only the pixels that changed, and
moves a pivot to the wanted rank: the running median of Huang, Yang and Tang (IEEE TASSP 27, 1979), with a mask.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tfs_rt.methods.compiled import compiled

Field = NDArray[np.float64]
SHIFT = 5  # 32 ranks a bin


def rank_in_mask(values: Field, guide: Field, *, half: int, limit: float, centile: float) -> Field:
    """The r-th smallest (from 0) of `values` over each pixel's mask of n pixels, r = floor(centile (n - 1) + 1/2).

    `values` and `guide` are (H, W); the mask is made by `guide` in a window of `half` pixels to every side, cut at the
    image's border. Where r would be 0 although n > 3, it is 1.
    """
    assert np.isfinite(guide).all()
    flat = values.ravel()
    order = np.argsort(flat, kind="stable")
    ranks = np.empty(flat.size, np.int64)
    ranks[order] = np.arange(flat.size)
    chosen = _select(ranks.reshape(values.shape), np.ascontiguousarray(guide), half, limit, centile)
    return flat[order][chosen]


@compiled()
def _select(ranks, guide, half, limit, centile):
    height, width = ranks.shape
    chosen = np.empty((height, width), np.int64)
    # Begin with an empty mask.
    bins = (ranks.size >> SHIFT) + 1
    inside = np.zeros(bins << SHIFT, np.uint8)  # 1 for each rank in the mask
    count = np.zeros(bins, np.int64)  # ranks of the mask in each bin
    # The bin of the last wanted rank; `below` ranks of the mask lie in the bins before it.
    pivot = 0
    for row in range(height):
        top = max(row - half, 0)
        bottom = min(row + half + 1, height)
        n = 0  # ranks in the mask
        below = 0
        for column in range(width):
            # Bring the mask from the last pixel to this one.
            change, change_below = _update(ranks, guide, row, column, half, limit, (inside, count, pivot))
            n += change
            below += change_below

            # Move the pivot to the bin of the wanted rank.
            wanted = int(centile * (n - 1) + 0.5)
            if wanted == 0 and n > 3:
                wanted = 1
            while below > wanted:
                pivot -= 1
                below -= count[pivot]
            while below + count[pivot] <= wanted:
                below += count[pivot]
                pivot += 1
            chosen[row, column] = _nth(inside, pivot << SHIFT, wanted - below)

        # Empty the mask at the end of the row.
        _remove_all(ranks[top:bottom, max(width - 1 - half, 0) :], inside, count)
    return chosen


@compiled()
def _update(ranks, guide, row, column, half, limit, mask):  # noqa: C901
    """Bring the mask from the last pixel to this one; the changes of its size and of the number below the pivot.

    `mask` is (inside, count, pivot). In the first column the mask is empty before.
    """
    inside, count, pivot = mask
    height, width = guide.shape
    level = guide[row, column]
    before = guide[row, max(column - 1, 0)]
    left = max(column - half, 0)
    right = min(column + half + 1, width)
    known = min(column + half, width) if column else 0  # columns before this were in the last window
    n = 0
    below = 0
    for y in range(max(row - half, 0), min(row + half + 1, height)):
        # Remove the column that left the window.
        if column > half and abs(guide[y, left - 1] - before) <= limit:
            below += _move(ranks[y, left - 1], -1, inside, count, pivot)
            n -= 1
        # Add the columns that entered it: one, or all of the first window.
        for x in range(known, right):
            if abs(guide[y, x] - level) <= limit:
                below += _move(ranks[y, x], 1, inside, count, pivot)
                n += 1
        # Find out if the columns that stayed have changed. Mostly nothing has: this loop becomes SIMD.
        kept = guide[y, left:known]
        changes = 0
        for i in range(kept.size):
            changes += (abs(kept[i] - level) <= limit) ^ (abs(kept[i] - before) <= limit)
        if changes == 0:
            continue
        # Add or remove those that have.
        for i in range(kept.size):
            step = int(abs(kept[i] - level) <= limit) - int(abs(kept[i] - before) <= limit)
            if step:
                below += _move(ranks[y, left + i], step, inside, count, pivot)
                n += step
    return n, below


@compiled()
def _move(rank, step, inside, count, pivot):
    """Add a rank to the mask (step 1) or remove it (-1); the change of the number below the pivot."""
    inside[rank] = step > 0
    count[rank >> SHIFT] += step
    return step if (rank >> SHIFT) < pivot else 0


@compiled()
def _remove_all(ranks, inside, count):
    """Remove ranks (h, w) from the mask."""
    height, width = ranks.shape
    for y in range(height):
        for x in range(width):
            inside[ranks[y, x]] = 0
            count[ranks[y, x] >> SHIFT] = 0


@compiled()
def _nth(inside, start, n):
    """The n-th rank (from 0) in the mask, counted from `start` on."""
    rank = start
    while True:
        if inside[rank]:
            if n == 0:
                return rank
            n -= 1
        rank += 1
