"""The values behind a picture's levels, as `keep_values` asks for them."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from pydicom.data import get_testdata_file

from tfs_rt.formats.answers import checked_picture
from tfs_rt.formats.picture import FileOptions, Picture, to_levels
from tfs_rt.formats.registry import read_picture
from tfs_rt.formats.sandboxed import SandboxedReader

KEEP = FileOptions(keep_values=True, nan_is_background=True)


@pytest.fixture
def volume_file(tmp_path: Path) -> Path:
    """A volume of 3 by 4 by 5 voxels from -100 to 490, with one NaN at its first voxel."""
    values = np.arange(60, dtype=np.float32).reshape(3, 4, 5) * 10 - 100
    values[0, 0, 0] = np.nan
    nib.save(nib.Nifti1Image(values, np.diag([2.0, 2.0, 3.0, 1.0])), tmp_path / "pet.nii")
    return tmp_path / "pet.nii"


def shows_its_values(picture: Picture) -> bool:
    """True if the window makes levels of the values that are those of the slices."""
    measured = picture.measured
    assert measured
    shown = to_levels(measured.values, measured.window)
    return all(np.array_equal(level, image[..., 0]) for level, image in zip(shown, picture.slices, strict=True))


def test_values_of_a_volume_are_those_of_the_file_in_the_order_of_its_slices(volume_file: Path) -> None:
    picture = read_picture(volume_file.read_bytes(), volume_file, KEEP)
    measured = picture.measured
    assert measured
    # The view turns the first two axes round: row 0 is the front, column 0 the right.
    stored = nib.Nifti1Image.from_filename(volume_file).get_fdata().astype(np.float32)
    turned = np.stack([stored[::-1, ::-1, k].T for k in range(5)])
    known = np.isfinite(turned)
    assert np.array_equal(measured.values[known], turned[known])
    # What is missing has the value of black.
    assert measured.values[~known].tolist() == pytest.approx([measured.window[0]])
    assert shows_its_values(picture)


def test_values_of_a_dicom_file_are_in_hounsfield_units() -> None:
    path = Path(str(get_testdata_file("CT_small.dcm")))
    picture = read_picture(path.read_bytes(), path, FileOptions(keep_values=True, window=(-100.0, 300.0)))
    assert picture.measured
    assert picture.measured.window == (-100, 300)
    assert picture.measured.values.shape == (1, 128, 128)
    assert shows_its_values(picture)
    assert read_picture(path.read_bytes(), path, FileOptions()).measured is None


def test_values_pass_the_sandbox_and_lies_about_them_do_not(volume_file: Path) -> None:
    with SandboxedReader() as reader:
        picture = reader.read(volume_file.read_bytes(), volume_file, KEEP)
    assert shows_its_values(picture)
    measured = picture.measured
    assert measured
    parts = (picture.slices, picture.facts, picture.subject, picture.frame)
    values, window = measured.values, measured.window
    for lie in (
        (values[:1], window),
        (values.astype(np.float64), window),
        (np.full_like(values, np.inf), window),
        (values, (1.0, 0.0)),
        (values, [0.0, 1.0]),
        (values, (0.0, float("nan"))),
        values,
        None,
    ):
        with pytest.raises(ValueError, match="value"):
            checked_picture((*parts, lie), "nifti")
