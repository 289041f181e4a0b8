"""Resampling, against scipy and equations written out."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from tfs_rt.formats.volume import Grid, Matrix, Volume, transform_points
from tfs_rt.geometry.grid import isotropic_grid
from tfs_rt.geometry.resample import missing_blur, resample


@pytest.fixture
def source(rng: np.random.Generator) -> Volume:
    to_world = np.diag([2.0, 2.0, 3.0, 1.0])
    to_world[:3, 3] = [5, -6, 7]
    return Volume(rng.normal(size=(9, 11, 13)).astype(np.float32), to_world)


def source_indices(source: Volume, target: Grid, transform: Matrix) -> np.ndarray:
    """(Z, Y, X, 3): where each target voxel lies in the source, in (column, row, slice)."""
    places = np.stack(list(np.indices(target.shape)[::-1]), axis=-1).reshape(-1, 3)
    world = transform_points(transform @ target.to_world, places.astype(float))
    return transform_points(np.linalg.inv(source.to_world), world).reshape(*target.shape, 3)


def test_values_are_those_of_scipy_and_the_background_is_outside(source: Volume, moved: Matrix) -> None:
    target = Grid((8, 12, 10), source.to_world @ np.diag([0.9, 0.8, 0.7, 1]))
    found = resample(source, target, moved)
    indices = source_indices(source, target, moved)
    wanted = ndimage.map_coordinates(source.values, indices[..., ::-1].transpose(3, 0, 1, 2), order=1, mode="nearest")
    inside = ((indices >= -0.5) & (indices < np.array(source.shape[::-1]) - 0.5)).all(axis=-1)
    np.testing.assert_array_equal(found.inside, inside)
    assert 0.2 < found.coverage == inside.mean() < 1
    np.testing.assert_allclose(found.volume.values[inside], wanted[inside], atol=1e-5)
    assert (found.volume.values[~inside] == source.values.min()).all()
    assert (resample(source, target, moved, background=-7).volume.values[~inside] == -7).all()


def test_its_own_grid_leaves_the_values(source: Volume) -> None:
    found = resample(source, source.grid, np.eye(4))
    assert found.volume.values is source.values
    assert found.coverage == 1


def test_a_whole_voxel_moves_the_values(source: Volume) -> None:
    shift = np.eye(4)
    shift[0, 3] = 2.0
    found = resample(source, source.grid, shift).volume.values
    np.testing.assert_allclose(found[..., :-1], source.values[..., 1:], atol=1e-6)


def test_colours_are_interpolated_by_channel_and_rounded(rng: np.random.Generator) -> None:
    colours = Volume(rng.integers(0, 256, (1, 6, 7, 3)).astype(np.uint8), np.eye(4))
    half = np.eye(4)
    half[0, 3] = 0.5
    found = resample(colours, colours.grid, half).volume.values
    mean = (colours.values[:, :, :-1].astype(float) + colours.values[:, :, 1:]) / 2
    assert found.dtype == np.uint8
    assert np.abs(found[:, :, :-1] - mean).max() <= 0.5
    far = np.eye(4)
    far[0, 3] = 99
    nothing = resample(colours, colours.grid, far)
    assert nothing.coverage == 0
    assert not nothing.volume.values.any()


def test_a_coarser_grid_does_not_alias() -> None:
    # Stripes one voxel wide would become stripes eight voxels wide if every third voxel were taken.
    x = np.arange(96)
    stripes = np.broadcast_to(np.cos(2 * np.pi * x / 2.7), (3, 12, 96)).astype(np.float32)
    volume = Volume(np.ascontiguousarray(stripes), np.diag([1.0, 1.0, 3.0, 1.0]))
    coarse = resample(volume, isotropic_grid(volume.grid, 3.0), np.eye(4)).volume.values
    assert coarse.shape == (3, 4, 32)
    assert np.abs(stripes[0, 0, ::3]).max() > 0.9
    assert np.abs(coarse[..., 3:-3]).max() < 0.2


def test_only_the_missing_blur_is_added() -> None:
    assert (missing_blur(np.eye(4)) == 0).all()
    assert (missing_blur(np.diag([0.5, 1, 1, 1])) == 0).all()
    # FWHM sqrt(3^2 - 1) voxels.
    np.testing.assert_allclose(missing_blur(np.diag([3.0, 1, 1, 1])), [np.sqrt(8) / 2.354820, 0, 0], rtol=1e-6)
