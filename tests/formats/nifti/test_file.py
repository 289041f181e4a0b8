"""Three 8-bit values a voxel are a colour where the header says so, and never where they may be times."""

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from tfs_rt.errors import InputError
from tfs_rt.formats.nifti.read import read
from tfs_rt.formats.picture import FileOptions

PATH = Path("somewhere/pet.nii")
COLOURS = np.random.default_rng(7).integers(0, 256, (5, 6, 4, 3), dtype=np.uint8)


def file(voxels: np.ndarray, intent: int = 0, **fields: Any) -> bytes:
    image = nib.Nifti1Image(voxels, np.diag([-1.0, -1.0, 2.0, 1.0]))  # axes as they are viewed: no turn
    image.header["intent_code"] = intent
    for name, value in fields.items():
        image.header[name] = value
    return image.to_bytes()


def slices(data: bytes) -> np.ndarray:
    """(X, Y, Z, 3), in the order of the file."""
    return np.stack(read(data, PATH, FileOptions()).slices).transpose(2, 1, 0, 3)


@pytest.mark.parametrize(
    ("voxels", "intent"),
    [(COLOURS, 2003), (COLOURS[:, :, :, None], 0), (COLOURS[:, :, :, None], 1007), (COLOURS[:, :, :, None], 2003)],
)
def test_colours_that_the_header_calls_so_are_taken_as_they_are(voxels: np.ndarray, intent: int) -> None:
    np.testing.assert_array_equal(slices(file(voxels, intent)), COLOURS)


def test_an_alpha_channel_must_be_opaque() -> None:
    rgba = np.zeros(COLOURS.shape[:3], [(name, "u1") for name in "RGBA"])
    for part, name in enumerate("RGB"):
        rgba[name] = COLOURS[..., part]
    rgba["A"] = 255
    np.testing.assert_array_equal(slices(file(rgba)), COLOURS)
    rgba["A"][0, 0, 0] = 254
    with pytest.raises(InputError, match="transparent voxels"):
        read(file(rgba), PATH, FileOptions())


def test_what_may_be_three_times_is_refused_with_the_command_that_says_it_is_colour() -> None:
    with pytest.raises(InputError, match="does not say if they are times or red, green and blue") as caught:
        read(file(COLOURS), PATH, FileOptions())
    assert "i.header.set_intent(2003)" in caught.value.remedy
    image = nib.Nifti1Image.from_bytes(file(COLOURS))
    image.header.set_intent(2003)
    np.testing.assert_array_equal(slices(image.to_bytes()), COLOURS)


def test_a_dimension_beyond_those_that_count_says_nothing() -> None:
    data = file(COLOURS, dim=[4, *COLOURS.shape, 3, 1, 1])
    with pytest.raises(InputError, match="does not say if they are times"):
        read(data, PATH, FileOptions())


@pytest.mark.parametrize(
    ("voxels", "intent", "fields"),
    [
        (COLOURS.astype(np.int16), 2003, {}),
        (COLOURS[:, :, :, None], 1006, {}),  # a displacement
        (COLOURS[:, :, :, :2], 2003, {}),
        (np.concatenate([COLOURS, COLOURS], axis=3), 2003, {}),
        (COLOURS, 2003, {"scl_slope": 2.0, "scl_inter": 0.0}),
    ],
)
def test_other_components_are_no_colours(voxels: np.ndarray, intent: int, fields: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="holds . volumes"):
        read(file(voxels, intent, **fields), PATH, FileOptions())
