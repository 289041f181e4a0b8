"""Displacement of each of three images against the other two, by normalised mutual information (NMI).

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

Levels = NDArray[np.uint8]  # (h, w) of LEVELS grey levels
Float64 = NDArray[np.float64]

SIDE = 64  # of the grid, in cells: 4 pixels each at 256
LEVELS = 16
REACH = 6  # cells that are searched in each direction
SHIFTS = 2 * REACH + 1  # in each direction
TURNS = (-8, -4, 4, 8)  # degrees
CENTRE = (REACH, REACH)  # of a map over shifts: no shift


@dataclass(frozen=True, slots=True)
class Displacement:
    """The shift and the rotation with which an image would agree best with the other two."""

    shift: float  # share of the longer side by which it seems to lie off
    shift_gain: float  # NMI that the best shift adds
    turn_gain: float  # NMI that the best of TURNS adds, negative if all are worse


def displacements(images: Sequence[RGB]) -> list[Displacement]:
    """The displacement of each image (H, W, 3) uint8, all of one size, if it alone were moved."""
    grids = [_grid(image) for image in images]
    levels = [_levels(grid) for grid in grids]
    maps = {(i, j): _shift_map(levels[i], levels[j]) for i, j in combinations(range(len(levels)), 2)}
    return [_displacement(k, grids[k], levels, maps) for k in range(len(levels))]


def brightest(image: RGB) -> NDArray[np.uint8]:
    """(H, W): the largest of R, G and B, which tells more of pseudo-colour than the luminance does."""
    # image.max(axis=2) takes ten times longer.
    return np.maximum(np.maximum(image[..., 0], image[..., 1]), image[..., 2])


def _displacement(
    k: int, grid: Image.Image, levels: Sequence[Levels], maps: dict[tuple[int, int], Float64]
) -> Displacement:
    """The displacement of image k, whose grid is `grid`, from the maps over shifts of all pairs of images."""
    # Add the maps of the pairs with image k. A map moves its second image: the other way round, it is mirrored.
    total = np.zeros((SHIFTS, SHIFTS))
    for (i, j), shift_map in maps.items():
        if k == j:
            total += shift_map
        elif k == i:
            total += shift_map[::-1, ::-1]

    # Try rotations against each of the other images.
    turned = [_levels(grid.rotate(turn, Image.Resampling.NEAREST)) for turn in TURNS]
    others = [level for i, level in enumerate(levels) if i != k]
    turns = np.sum([nmi(other, turned) for other in others], axis=0)

    y, x = np.unravel_index(total.argmax(), total.shape)
    offset = _peak(total, int(y), int(x)) - CENTRE
    return Displacement(
        shift=float(np.hypot(*offset)) / SIDE,
        shift_gain=float(total.max() - total[CENTRE]),
        turn_gain=float(turns.max() - total[CENTRE]),
    )


def _grid(image: RGB) -> Image.Image:
    """The image made small, SIDE cells on its longer side."""
    height, width = image.shape[:2]
    scale = SIDE / max(height, width)
    size = max(round(width * scale), 1), max(round(height * scale), 1)
    return Image.fromarray(brightest(image)).resize(size, Image.Resampling.BICUBIC)


def _levels(grid: Image.Image) -> Levels:
    return np.asarray(grid) // np.uint8(256 // LEVELS)


def _shift_map(a: Levels, b: Levels) -> Float64:
    """NMI for every shift of b within REACH: (SHIFTS, SHIFTS). Cells from outside repeat the border."""
    height, width = b.shape
    padded = np.pad(b, REACH, mode="edge")
    shifted: list[Levels] = []
    for y in range(SHIFTS - 1, -1, -1):  # the first moves b back
        for x in range(SHIFTS - 1, -1, -1):
            shifted.append(padded[y : y + height, x : x + width])  # noqa: PERF401 - two loops read better
    return nmi(a, shifted).reshape(SHIFTS, SHIFTS)


def _peak(total: Float64, y: int, x: int) -> Float64:
    """The place of a maximum, between cells by a parabola through its neighbours in each direction."""
    return np.array([y + _vertex(total[y - 1 : y + 2, x]), x + _vertex(total[y, x - 1 : x + 2])])


def _vertex(values: Float64) -> float:
    """The vertex of a parabola through three values, from the middle one; 0 at the border of the search."""
    if len(values) < 3:
        return 0.0
    curvature = values[0] - 2 * values[1] + values[2]
    return float((values[0] - values[2]) / (2 * curvature)) if curvature < 0 else 0.0


def nmi(a: Levels, others: Sequence[Levels]) -> Float64:
    """NMI of an image with each of n others, all (h, w): (n,)."""
    # Joint histograms, one for each of the others.
    rows = a * np.uint8(LEVELS)
    counts = [np.bincount((rows + other).ravel(), minlength=LEVELS * LEVELS) for other in others]
    joint = np.stack(counts)
    square = joint.reshape(-1, LEVELS, LEVELS)

    # Entropies by a table of c log c for every count c up to the number of cells.
    c = np.arange(a.size + 1, dtype=np.float64)
    c_log_c = c * np.log(np.maximum(c, 1))

    def entropy(histograms: NDArray[np.intp]) -> Float64:
        return (c_log_c[-1] - c_log_c[histograms].sum(axis=1)) / a.size

    separate = entropy(square.sum(axis=1)) + entropy(square.sum(axis=2))
    together = entropy(joint)
    # Two constant images have no entropy and tell nothing of each other: 1.
    return np.divide(separate, together, out=np.ones_like(separate), where=together > 0)
