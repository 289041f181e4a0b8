"""Target grids."""

from __future__ import annotations

import numpy as np
import pytest

from tfs_rt.errors import UsageError
from tfs_rt.formats.volume import Grid, Matrix, transform_points
from tfs_rt.geometry.grid import centre, image_without_spacing, isotropic_grid


def faces(grid: Grid) -> Matrix:
    """The outer corners of a grid: half a voxel beyond the centres, in its own axes in mm."""
    depth, height, width = grid.shape
    ends = np.array([[-0.5, -0.5, -0.5], [width - 0.5, height - 0.5, depth - 0.5]])
    return transform_points(grid.to_world, ends) @ grid.directions


def test_an_isotropic_grid_covers_the_same_box(moved: Matrix) -> None:
    grid = Grid((10, 20, 30), moved @ np.diag([1.0, 1.0, 3.0, 1.0]))
    found = isotropic_grid(grid, 1.0)
    assert found.shape == (30, 20, 30)
    np.testing.assert_allclose(found.spacing, 1)
    np.testing.assert_allclose(faces(found), faces(grid), atol=1e-9)


def test_an_extent_that_is_not_whole_voxels_gets_one_more_about_the_same_centre() -> None:
    grid = Grid((5, 5, 5), np.diag([1.0, 1.0, 1.0, 1.0]))
    found = isotropic_grid(grid, 2.0)
    assert found.shape == (3, 3, 3)
    np.testing.assert_allclose(centre(found), centre(grid))


def test_one_slice_stays_one_slice() -> None:
    grid = Grid((1, 8, 8), np.diag([1.0, 1.0, 5.0, 1.0]))
    found = isotropic_grid(grid, 2.0)
    assert found.shape == (1, 4, 4)
    np.testing.assert_allclose(found.spacing, [2, 2, 5])


@pytest.mark.parametrize("spacing", [0.0, -1.0, float("nan"), float("inf"), 0.001])
def test_a_spacing_that_makes_no_grid_is_refused(spacing: float) -> None:
    with pytest.raises(UsageError, match="spacing"):
        isotropic_grid(Grid((100, 100, 100), np.eye(4)), spacing)


def test_images_without_a_spacing_lie_on_each_other() -> None:
    small = image_without_spacing(64, 64)
    large = image_without_spacing(256, 256)
    np.testing.assert_allclose(faces(small), faces(large))
    np.testing.assert_allclose(large.spacing, 1)
