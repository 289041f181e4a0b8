"""Target grids: the extent of a volume at another spacing, and a place for an image that has none."""

from __future__ import annotations

import numpy as np

from tfs_rt.errors import UsageError
from tfs_rt.formats.volume import Grid, Matrix, transform_points

FIELD_OF_VIEW = 256.0  # mm: the width of an image without a spacing; 256 pixels are then 1 mm wide
MOST_VOXELS = 2**29  # of a target: 2 GiB of float32, 812 voxels a side
# A share of a voxel: an extent that is longer than whole voxels by less than this gets no further voxel.
ROUNDING = 1e-3


def isotropic_grid(grid: Grid, spacing: float) -> Grid:
    """The extent of `grid`, from the outer faces of its voxels, at one spacing in mm along all axes.

    The axes keep their directions and the centre stays. A grid of one slice keeps its slice with its thickness:
    it has no extent to divide. UsageError if the spacing is not positive or gives more than MOST_VOXELS.
    """
    remedy = "give a spacing in mm near that of the images, such as 1"
    if not (np.isfinite(spacing) and spacing > 0):
        raise UsageError(f"a spacing of {spacing:g} mm", "is not a positive number", remedy)
    # Count the voxels: at least as long as the extent, and equally longer at both ends.
    lengths = np.array(grid.shape[::-1]) * grid.spacing
    count = np.maximum(np.ceil(lengths / spacing - ROUNDING), 1)
    new_spacing = np.full(3, float(spacing))
    if grid.shape[0] == 1:
        count[2] = 1
        new_spacing[2] = grid.spacing[2]
    if count.prod() > MOST_VOXELS:
        sizes = " x ".join(f"{n:.0f}" for n in count)
        raise UsageError(f"a spacing of {spacing:g} mm", f"makes a grid of {sizes} voxels", remedy)
    # Put the centre of the new grid on that of the old one.
    to_world = np.eye(4)
    to_world[:3, :3] = grid.directions * new_spacing
    to_world[:3, 3] = centre(grid) - to_world[:3, :3] @ ((count - 1) / 2)
    width, height, depth = (int(n) for n in count)
    return Grid((depth, height, width), to_world)


def image_without_spacing(height: int, width: int) -> Grid:
    """The grid of an image that has no place: square pixels, FIELD_OF_VIEW mm wide, centred on the origin.

    Images of one field of view come to lie on each other by this, whatever their numbers of pixels.
    """
    pixel = FIELD_OF_VIEW / width
    to_world = np.diag([pixel, pixel, 1.0, 1.0])
    to_world[:2, 3] = [-pixel * (width - 1) / 2, -pixel * (height - 1) / 2]
    return Grid((1, height, width), to_world)


def centre(grid: Grid) -> Matrix:
    """(3,): the centre of a grid in mm."""
    depth, height, width = grid.shape
    middle = np.array([[(width - 1) / 2, (height - 1) / 2, (depth - 1) / 2]])
    return transform_points(grid.to_world, middle)[0]
