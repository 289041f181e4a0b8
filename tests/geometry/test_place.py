"""The place of a picture, as other libraries read it from the same file."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from support.heads import rigid, write_series
from tfs_rt.cases.contents import read_content
from tfs_rt.formats.picture import FileOptions, Picture
from tfs_rt.formats.registry import read_picture
from tfs_rt.formats.volume import Grid, Matrix, Volume
from tfs_rt.geometry.place import dicom_place, grid_in_space, grid_of_plane, nifti_frame, volume_of

KEEP = FileOptions(keep_values=True)


def read(path: Path) -> Picture:
    return read_picture(read_content(path)[0], path, KEEP)


@pytest.fixture
def oblique() -> Matrix:
    """An oblique grid of 1.5 x 2 x 4 mm."""
    return rigid(25, (-30.0, 12.5, 40.0), np.zeros(3)) @ np.diag([1.5, 2.0, 4.0, 1.0])


def test_a_series_lies_where_simpleitk_reads_it(tmp_path: Path, oblique: Matrix, rng: np.random.Generator) -> None:
    sitk = pytest.importorskip("SimpleITK")
    volume = Volume(rng.integers(0, 4000, (4, 6, 7)).astype(np.float32), oblique)
    folder = write_series(tmp_path / "t1", volume, 1)
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    theirs = reader.Execute()
    picture = read(folder)
    grid = grid_in_space(picture)
    assert grid is not None
    values = volume_of(picture, grid).values
    for index in ((0, 0, 0), (6, 5, 3), (2, 4, 1)):
        place = theirs.TransformIndexToPhysicalPoint(index)
        np.testing.assert_allclose((grid.to_world @ [*index, 1])[:3], place, atol=1e-6)
        assert values[index[::-1]] == theirs[index]


def test_a_single_slice_has_the_normal_as_its_axis(tmp_path: Path, oblique: Matrix) -> None:
    folder = write_series(tmp_path / "t1", Volume(np.eye(8, dtype=np.float32)[None], oblique), 1)
    grid = grid_in_space(read(folder))
    assert grid is not None
    np.testing.assert_allclose(grid.to_world, oblique, atol=1e-6)


@pytest.mark.parametrize("unit", ["mm", "meter"])
def test_a_nifti_volume_lies_where_nibabel_reads_it(tmp_path: Path, unit: str, rng: np.random.Generator) -> None:
    # Stored as (superior, left, posterior) nearly, with a shear of the header's own.
    affine = np.array([[0, -2.0, 0.1, 50], [0.05, 0, -1.5, 20], [3.0, 0.1, 0, -10], [0, 0, 0, 1]])
    scale = 1000.0 if unit == "meter" else 1.0
    stored = rng.permutation(4 * 5 * 6).reshape(4, 5, 6).astype(np.float32)
    image = nib.Nifti1Image(stored, affine / np.array([[scale], [scale], [scale], [1]]))
    image.header.set_xyzt_units(unit)
    nib.save(image, tmp_path / "t1.nii")
    picture = read(tmp_path / "t1.nii")
    grid = grid_in_space(picture)
    assert grid is not None
    values = volume_of(picture, grid).values
    for index in ((0, 0, 0), (3, 4, 5), (1, 2, 3)):
        (found,) = np.argwhere(values == stored[index])[:, ::-1]
        right, front, up = (affine @ [*index, 1])[:3]
        np.testing.assert_allclose((grid.to_world @ [*found, 1])[:3], [-right, -front, up], atol=1e-4)


def test_an_image_without_a_place_lies_in_its_own_plane(tmp_path: Path) -> None:
    nib.save(nib.Nifti1Image(np.ones((4, 6, 1), np.float32).cumsum(0), None), tmp_path / "flat.nii")
    picture = read(tmp_path / "flat.nii")
    assert grid_in_space(picture) is None
    grid = grid_of_plane(picture, "flat.nii")
    np.testing.assert_allclose(grid.corners.mean(axis=0), 0, atol=1e-9)


def test_the_place_of_a_grid_leads_back_to_the_grid(oblique: Matrix) -> None:
    grid = Grid((3, 4, 5), oblique)
    place = dicom_place(grid, "1.2.3")
    pixels = np.zeros((4, 5, 3), np.uint8)
    dicom = Picture((pixels,) * 3, {"format": "dicom"}, frame=place)
    nifti = Picture((pixels,) * 3, {"format": "nifti"}, frame=nifti_frame(grid))
    for picture in (dicom, nifti):
        found = grid_in_space(picture)
        assert found is not None
        np.testing.assert_allclose(found.to_world, grid.to_world, atol=1e-9)
