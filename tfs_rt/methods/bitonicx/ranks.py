"""Rank filters over a window of which each pixel sees only the part that resembles it.

The mask of a pixel p holds every q of its square window with |s(q) - s(p)| <= limit. It barely changes from a pixel to
its neighbour, so the kernel keeps what is inside in bins by rank, updates only what came or went, and lets the wanted
rank wander: the running median of Huang, Yang and Tang (IEEE TASSP 27, 1979) with a mask.
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
def _select(ranks, guide, half, limit, centile):  # noqa: C901
    height, width = ranks.shape
    chosen = np.empty((height, width), np.int64)
    bins = (ranks.size >> SHIFT) + 1
    inside, count = np.zeros(bins << SHIFT, np.uint8), np.zeros(bins, np.int64)
    pivot = 0  # the bin in which the wanted rank was last; `below` of those inside lie in the bins before it
    for row in range(height):
        top, bottom = max(row - half, 0), min(row + half + 1, height)
        n, below = 0, 0
        for column in range(width):
            level, before = guide[row, column], guide[row, max(column - 1, 0)]
            left, right = max(column - half, 0), min(column + half + 1, width)
            known = min(column + half, width) if column else 0  # up to here the window has been before
            for y in range(top, bottom):
                if column > half and abs(guide[y, left - 1] - before) <= limit:
                    below += _move(ranks[y, left - 1], -1, inside, count, pivot)
                    n -= 1
                for x in range(known, right):
                    if abs(guide[y, x] - level) <= limit:
                        below += _move(ranks[y, x], 1, inside, count, pivot)
                        n += 1
                kept, changes = guide[y, left:known], 0
                for i in range(kept.size):  # a loop that becomes SIMD: most often nothing has changed
                    changes += (abs(kept[i] - level) <= limit) ^ (abs(kept[i] - before) <= limit)
                if changes:
                    for i in range(kept.size):
                        step = int(abs(kept[i] - level) <= limit) - int(abs(kept[i] - before) <= limit)
                        if step:
                            below += _move(ranks[y, left + i], step, inside, count, pivot)
                            n += step
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
        for y in range(top, bottom):
            for x in range(max(width - 1 - half, 0), width):
                inside[ranks[y, x]] = 0
                count[ranks[y, x] >> SHIFT] = 0
    return chosen


@compiled()
def _move(rank, step, inside, count, pivot):
    """Put a rank in (step 1) or take it out (-1); by how much that changes what lies below the pivot."""
    inside[rank] = step > 0
    count[rank >> SHIFT] += step
    return step if (rank >> SHIFT) < pivot else 0


@compiled()
def _nth(inside, start, n):
    """The n-th (from 0) that is inside, from `start` on."""
    rank = start
    while True:
        if inside[rank]:
            if n == 0:
                return rank
            n -= 1
        rank += 1
