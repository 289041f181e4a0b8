"""Pictures for the page that shows an alignment: slices side by side, and edges drawn over them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from tfs_rt.formats.volume import Grid
from tfs_rt.images import RGB

TILES = 9
COLUMNS = 3
WIDTH = 630  # pixels of a mosaic
MOST_ASPECT = 3.0  # of a tile's sides
FOREGROUND = 16  # level: brighter is not background
LEAST_SHARE = 0.02  # of the area, in a slice that is shown
SMOOTH = 1.2  # pixels: standard deviation before edges are looked for
STRONGEST = 92  # percentile: steeper pixels can be edges
LEAST_STEP = 3.0  # levels a pixel


def shown_slices(target: Sequence[RGB]) -> list[int]:
    """The indices of about TILES slices, evenly spread over those in which the target shows something."""
    filled = [index for index, image in enumerate(target) if (image.max(axis=2) > FOREGROUND).mean() > LEAST_SHARE]
    indices = filled or list(range(len(target)))
    places = np.linspace(0, len(indices) - 1, min(TILES, len(indices)))
    return [indices[round(place)] for place in places]


def mosaic(slices: Sequence[RGB], indices: Sequence[int], grid: Grid) -> RGB:
    """Some slices side by side, their pixels as wide and high as in the patient."""
    columns = min(COLUMNS, len(indices))
    width = WIDTH // columns
    height = _tile_height(width, grid)
    rows = -(-len(indices) // columns)
    sheet = Image.new("RGB", (width * columns, height * rows))
    for place, index in enumerate(indices):
        tile = Image.fromarray(slices[index]).resize((width, height), Image.Resampling.BICUBIC)
        sheet.paste(tile, (place % columns * width, place // columns * height))
    return np.asarray(sheet)


def with_edges(background: RGB, layers: Sequence[tuple[RGB, tuple[int, int, int]]]) -> RGB:
    """A mosaic, darkened, with the edges of others of its size drawn over it, each in its colour."""
    drawn = (background * 0.75).astype(np.uint8)
    for image, colour in layers:
        drawn[edges(image)] = colour
    return drawn


def edges(image: RGB) -> NDArray[np.bool_]:
    """A mask (H, W) of the steepest pixels, thinned to lines: no neighbour uphill or downhill is steeper."""
    grey = Image.fromarray(image.max(axis=2)).filter(ImageFilter.GaussianBlur(SMOOTH))
    down, across = np.gradient(np.asarray(grey, dtype=np.float32))
    steepness = np.hypot(down, across)
    # Compare with the neighbours along the main direction of the slope.
    padded = np.pad(steepness, 1)
    is_across = np.abs(across) >= np.abs(down)
    one = np.where(is_across, padded[1:-1, :-2], padded[:-2, 1:-1])
    other = np.where(is_across, padded[1:-1, 2:], padded[2:, 1:-1])
    bound = max(LEAST_STEP, float(np.percentile(steepness, STRONGEST)))
    return (steepness >= bound) & (steepness >= one) & (steepness >= other)


def _tile_height(width: int, grid: Grid) -> int:
    _, rows, columns = grid.shape
    aspect = float(rows * grid.spacing[1] / (columns * grid.spacing[0]))
    return round(width * min(max(aspect, 1 / MOST_ASPECT), MOST_ASPECT))
