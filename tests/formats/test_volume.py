"""Volumes and grids, checked against equations written out and nibabel."""

from __future__ import annotations

import numpy as np
import pytest
from nibabel.affines import apply_affine, voxel_sizes

from tfs_rt.formats.volume import Grid, Volume, transform_points

OBLIQUE = np.array([[0.8, -1.2, 0.0, 10.0], [0.6, 1.6, 0.0, -20.0], [0.0, 0.0, 3.0, 5.0], [0.0, 0.0, 0.0, 1.0]])


def test_spacing_directions_and_corners_follow_from_the_matrix() -> None:
    volume = Volume(np.zeros((4, 5, 6), np.float32), OBLIQUE)
    np.testing.assert_allclose(volume.spacing, voxel_sizes(OBLIQUE))
    np.testing.assert_allclose(volume.directions, [[0.8, -0.6, 0], [0.6, 0.8, 0], [0, 0, 1]])
    corners = {tuple(np.round(c, 9)) for c in volume.corners}
    wanted = {tuple(np.round(apply_affine(OBLIQUE, (x, y, z)), 9)) for x in (0, 5) for y in (0, 4) for z in (0, 3)}
    assert corners == wanted


def test_points_move_as_nibabel_moves_them(rng: np.random.Generator) -> None:
    points = rng.normal(size=(7, 3))
    np.testing.assert_allclose(transform_points(OBLIQUE, points), apply_affine(OBLIQUE, points))


@pytest.mark.parametrize(
    ("values", "matrix"),
    [
        (np.zeros((2, 2, 2)), np.eye(4)),
        (np.zeros((2, 2, 2, 3), np.float32), np.eye(4)),
        (np.zeros((2, 2), np.float32), np.eye(4)),
        (np.zeros((2, 2, 2), np.float32), np.eye(3)),
        (np.zeros((2, 2, 2), np.float32), np.full((4, 4), np.nan)),
        (np.zeros((0, 2, 2), np.float32), np.eye(4)),
    ],
)
def test_what_is_not_a_volume_is_refused(values: np.ndarray, matrix: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"cannot hold|to_world|at least one"):
        Volume(values, matrix)


def test_a_colour_volume_has_the_grid_of_its_voxels() -> None:
    volume = Volume(np.zeros((1, 5, 6, 3), np.uint8), np.eye(4))
    assert volume.is_colour
    assert volume.grid.shape == Grid((1, 5, 6), np.eye(4)).shape
