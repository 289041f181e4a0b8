"""How far each of three images lies off the other two, by normalised mutual information (NMI).

    NMI(a, b) = (H(a) + H(b)) / H(a, b)      Studholme, Hill and Hawkes, Pattern Recognition 32 (1999) 71-86

The entropies H are those of 16 grey levels, on a grid of 64 pixels on the longer side. An image is displaced if it
agrees better with the other two when it is shifted: its gain is how much larger the two NMI are together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tfs_rt.images import RGB

Levels = NDArray[np.uint8]
Float64 = NDArray[np.float64]

SIDE = 64  # of the grid, in cells: 4 pixels each at 256
LEVELS = 16
REACH = 6  # cells: how far is searched in each direction
TURNS = (-8, -4, 4, 8)  # degrees
CENTRE = (REACH, REACH)


@dataclass(frozen=True, slots=True)
class Displacement:
    """Where an image agrees best with the other two."""

    shift: float  # share of the longer side by which it seems to lie off
    shift_gain: float  # how much NMI the best shift adds
    turn_gain: float  # how much the best of TURNS adds, negative if none does


def displacements(images: Sequence[RGB]) -> list[Displacement]:
    """For each of the images (H, W, 3) uint8, of one size, what moving it alone would better."""
    grids = [_grid(image) for image in images]
    levels = [_levels(grid) for grid in grids]
    maps = {(i, j): _map(levels[i], levels[j]) for i, j in combinations(range(len(levels)), 2)}
    return [_displacement(k, grids, levels, maps) for k in range(len(levels))]


def nmi(a: Levels, b: Levels) -> float:
    """Of two images of LEVELS levels and one shape."""
    return float(_nmi(a, [b])[0])


def _displacement(
    k: int, grids: Sequence[Image.Image], levels: Sequence[Levels], maps: dict[tuple[int, int], Float64]
) -> Displacement:
    total = np.zeros((2 * REACH + 1, 2 * REACH + 1))
    for (i, j), shifted in maps.items():
        if k in (i, j):
            total += shifted if k == j else shifted[::-1, ::-1]
    turned = [_levels(grids[k].rotate(turn, Image.Resampling.NEAREST)) for turn in TURNS]
    turns = np.sum([_nmi(level, turned) for i, level in enumerate(levels) if i != k], axis=0)
    best = np.unravel_index(total.argmax(), total.shape)
    shift = float(np.hypot(*(_peak(total, int(best[0]), int(best[1])) - CENTRE))) / SIDE
    return Displacement(shift, float(total.max() - total[CENTRE]), float(turns.max() - total[CENTRE]))


def brightest(image: RGB) -> NDArray[np.uint8]:
    """(H, W): the largest of R, G and B, which tells more of pseudo-colour than the luminance does."""
    return np.maximum(
        np.maximum(image[..., 0], image[..., 1]), image[..., 2]
    )  # image.max(axis=2) takes ten times longer


def _grid(image: RGB) -> Image.Image:
    height, width = image.shape[:2]
    scale = SIDE / max(height, width)
    size = max(round(width * scale), 1), max(round(height * scale), 1)
    return Image.fromarray(brightest(image)).resize(size, Image.Resampling.BICUBIC)


def _levels(grid: Image.Image) -> Levels:
    return np.asarray(grid) // np.uint8(256 // LEVELS)


def _map(a: Levels, b: Levels) -> Float64:
    """NMI for every shift of b within REACH; what comes in from outside repeats the border."""
    (height, width), padded = b.shape, np.pad(b, REACH, mode="edge")
    corners = [(y, x) for y in range(2 * REACH, -1, -1) for x in range(2 * REACH, -1, -1)]  # the first moves b back
    shifted = [padded[y : y + height, x : x + width] for y, x in corners]
    return _nmi(a, shifted).reshape(2 * REACH + 1, 2 * REACH + 1)


def _peak(total: Float64, y: int, x: int) -> Float64:
    """A maximum's place, between cells by a parabola through its neighbours in each direction."""
    return np.array([y + _vertex(total[y - 1 : y + 2, x]), x + _vertex(total[y, x - 1 : x + 2])])


def _vertex(values: Float64) -> float:
    if len(values) < 3:  # at the border of what was searched
        return 0.0
    curvature = values[0] - 2 * values[1] + values[2]
    return float((values[0] - values[2]) / (2 * curvature)) if curvature < 0 else 0.0


def _nmi(a: Levels, others: Sequence[Levels]) -> Float64:
    """NMI of one image with each of n others: (n,)."""
    rows = a * np.uint8(LEVELS)
    joint = np.stack([np.bincount((rows + other).ravel(), minlength=LEVELS * LEVELS) for other in others])
    square = joint.reshape(-1, LEVELS, LEVELS)
    counts = np.arange(a.size + 1, dtype=np.float64)
    c_log_c = counts * np.log(np.maximum(counts, 1))

    def entropy(counts: NDArray[np.intp]) -> Float64:
        return (c_log_c[-1] - c_log_c[counts].sum(axis=1)) / a.size

    own, common = entropy(square.sum(axis=1)) + entropy(square.sum(axis=2)), entropy(joint)
    return np.divide(own, common, out=np.ones_like(own), where=common > 0)  # constants tell nothing of each other
