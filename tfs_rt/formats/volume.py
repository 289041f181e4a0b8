"""A volume with its place in the patient: values on a grid, and the matrix from voxels to millimetres."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Signs between DICOM's coordinates (to the left, to the back) and those of NIfTI (to the right, to the front).
LPS_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
Matrix = NDArray[np.floating]  # float64; numpy's types call an inverse any floating


@dataclass(frozen=True)
class Grid:
    """Places of voxels: their number, and the matrix from (column, row, slice) to mm.

    World coordinates are DICOM's: x grows to the patient's left, y to the back, z to the head (LPS).
    """

    shape: tuple[int, int, int]  # (Z, Y, X), the order of an array's axes
    to_world: Matrix  # (4, 4); the centre of the first voxel is column 3

    def __post_init__(self) -> None:
        if self.to_world.shape != (4, 4) or not np.isfinite(self.to_world).all():
            raise ValueError("to_world is a matrix of 4 by 4 finite numbers")
        if min(self.shape) < 1:
            raise ValueError(f"a grid has at least one voxel along each axis, not {self.shape}")

    @cached_property
    def spacing(self) -> Matrix:
        """(3,): mm between neighbouring columns, rows and slices."""
        return np.linalg.norm(self.to_world[:3, :3], axis=0)

    @cached_property
    def directions(self) -> Matrix:
        """(3, 3): the unit vectors along a row, along a column and through the slices, as columns."""
        return self.to_world[:3, :3] / self.spacing

    @cached_property
    def corners(self) -> Matrix:
        """(8, 3): the centres of the corner voxels in mm."""
        depth, height, width = self.shape
        indices = product((0, width - 1), (0, height - 1), (0, depth - 1))
        return transform_points(self.to_world, np.array(list(indices), dtype=np.float64))


@dataclass(frozen=True)
class Volume:
    """Values with their grid. A single image is a volume of one slice."""

    # (Z, Y, X) float32 in the file's own units, or (Z, Y, X, 3) uint8 colours.
    values: NDArray[Any]
    to_world: Matrix  # (4, 4), as in Grid

    def __post_init__(self) -> None:
        grey = self.values.ndim == 3 and self.values.dtype == np.float32
        colour = self.values.ndim == 4 and self.values.shape[3] == 3 and self.values.dtype == np.uint8
        if not grey and not colour:
            raise ValueError(f"a volume cannot hold {self.values.dtype} of shape {self.values.shape}")
        _ = self.grid  # checks the matrix

    @property
    def is_colour(self) -> bool:
        """True if the values are RGB colours."""
        return self.values.ndim == 4

    @cached_property
    def grid(self) -> Grid:
        """The places of its voxels."""
        depth, height, width = self.values.shape[:3]
        return Grid((depth, height, width), self.to_world)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(Z, Y, X)."""
        return self.grid.shape

    @property
    def spacing(self) -> Matrix:
        """(3,): mm between neighbouring columns, rows and slices."""
        return self.grid.spacing

    @property
    def directions(self) -> Matrix:
        """(3, 3): the unit vectors of the grid's axes, as columns."""
        return self.grid.directions

    @property
    def corners(self) -> Matrix:
        """(8, 3): the centres of the corner voxels in mm."""
        return self.grid.corners


def transform_points(matrix: Matrix, points: Matrix) -> Matrix:
    """Points (N, 3) moved by an affine matrix (4, 4)."""
    return points @ matrix[:3, :3].T + matrix[:3, 3]
