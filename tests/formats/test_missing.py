"""NaN outside the head is refused, or is background if the user says so: as if it had been stored as 0."""

import io
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import tifffile

from support.cases import load_error, load_folder
from support.helpers import write_case
from support.made_dicom import make_dicom
from tfs_rt.cases.load import ReadingOptions
from tfs_rt.errors import InputError
from tfs_rt.formats.missing import fill_missing
from tfs_rt.formats.picture import FileOptions, Picture
from tfs_rt.formats.registry import read_picture

Y, X = np.mgrid[-11.5:12, -11.5:12]
HEAD = np.hypot(Y, X) < 9  # the same turned or mirrored
VALUES = np.where(HEAD, 400 + 40 * Y, 0).astype(np.float32)  # all above 0 in the head
HOLED = np.where(HEAD, VALUES, np.float32(np.nan))
BACKGROUND = FileOptions(nan_is_background=True)


def nifti(values: np.ndarray) -> bytes:
    return nib.Nifti1Image(np.stack([values] * 3, axis=-1), np.diag([1.0, 1, 3, 1])).to_bytes()


def dicom(values: np.ndarray) -> bytes:
    return make_dicom(values, Modality="PT")


def inverted_dicom(values: np.ndarray) -> bytes:
    return make_dicom(values, PhotometricInterpretation="MONOCHROME1")


def tiff(values: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, values, photometric="minisblack")
    return buffer.getvalue()


def read(data: bytes, name: str, options: FileOptions) -> Picture:
    return read_picture(data, Path(name), options)


@pytest.mark.parametrize(
    ("write", "name", "window"),
    [
        (nifti, "pet.nii", None),
        (nifti, "pet.nii", (100.0, 500.0)),
        (dicom, "pet.dcm", None),
        (tiff, "pet.tif", (0, 700)),
    ],
)
def test_nan_as_background_gives_the_pixels_of_a_stored_zero(write, name, window) -> None:
    plain = read(write(VALUES), name, FileOptions(window=window))
    found = read(write(HOLED), name, FileOptions(window=window, nan_is_background=True))
    np.testing.assert_array_equal(found.slices, plain.slices)
    assert 0 < found.facts["nan_voxels"] == np.isnan(HOLED).sum() * len(found.slices)
    assert found.facts["levels"] == plain.facts["levels"] + "; NaN is black"
    with pytest.raises(InputError, match=r"not numbers \(NaN, 5\d\.\d% of them\): give --nan background if"):
        read(write(HOLED), name, FileOptions(window=window or (0, 1)))


def test_nan_is_black_in_every_window() -> None:
    below = FileOptions(window=(-1000, 700), nan_is_background=True)  # 0 itself is grey here
    for found in (read(nifti(HOLED), "ct.nii", below), read(dicom(HOLED), "ct.dcm", below)):
        shown = np.stack(found.slices)[..., 0]
        assert (shown[:, ~HEAD] == 0).all()
        assert (shown[:, HEAD] > 0).all()
    assert (read(inverted_dicom(HOLED), "k.dcm", BACKGROUND).slices[0][~HEAD] == 0).all()


def test_infinite_values_stay_refused_and_whole_numbers_have_nothing_to_fill() -> None:
    endless = np.where(HEAD, VALUES, np.float32(-np.inf))
    for data, name in ((nifti(endless), "pet.nii"), (dicom(endless), "pet.dcm")):
        with pytest.raises(InputError, match="holds infinite values: replace them"):
            read(data, name, BACKGROUND)
    whole = np.arange(4, dtype=np.int16)
    filled = fill_missing(whole, Path("k"), BACKGROUND)
    assert filled.values is whole
    assert filled.facts == {}


def test_an_image_of_nan_alone_is_black() -> None:
    found = read(nifti(np.full_like(VALUES, np.nan)), "pet.nii", BACKGROUND)
    assert not np.stack(found.slices).any()


def test_the_option_is_an_error_where_no_image_can_hold_nan(tmp_path: Path) -> None:
    error = load_error(write_case(tmp_path / "k"), "in which nothing can be NaN", nan_is_background=True)
    assert error.remedy == "leave out --nan"
    # One image of floats is enough, with or without NaN.
    for name in ("mr-t1", "mr-t2", "pet"):
        (tmp_path / "k" / f"{name}.png").unlink()
        (tmp_path / "k" / f"{name}.nii").write_bytes(nifti(VALUES if name == "pet" else VALUES.astype(np.uint8)))
    (tmp_path / "k" / "mr-t1.nii").write_bytes(nifti((VALUES / 2).astype(np.uint8)))
    loaded = load_folder(tmp_path / "k", nan_is_background=True)
    assert loaded.inputs["functional"]["nan_voxels"] == 0
    assert "nan_voxels" not in loaded.inputs["m1"]


def test_the_recipe_names_the_option_only_if_it_was_given() -> None:
    assert ReadingOptions().recipe() == {"windows": {}, "colormap": None}
    assert ReadingOptions(nan_is_background=True).recipe()["nan"] == "background"
