"""Volumes are sliced in the plane of finest resolution or the one that is named, and results lie where they lay."""

from __future__ import annotations

import gzip
import itertools
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from tfs_rt.errors import InputError
from tfs_rt.formats.nifti.read import read
from tfs_rt.formats.nifti.write import encode
from tfs_rt.formats.picture import FileOptions, Picture
from tfs_rt.spec import PLANES

SHAPE = (5, 6, 4)
PHANTOM = np.arange(5 * 6 * 4, dtype=np.uint8).reshape(SHAPE)  # every voxel differs; axes run to right, front, top
TEXT: dict[str, str] = {"tfs-rt:recipe-sha256": "0" * 64}
# Voxel sizes in mm to the right, front and top, with the plane that is finest.
SIZES = {
    (1.0, 1.0, 1.0): "axial",
    (0.5, 0.5, 5.0): "axial",
    (0.9, 5.0, 0.9): "coronal",
    (5.0, 0.9, 0.9): "sagittal",
    (1.0, 1.0, 0.95): "axial",
    (0.9, 1.0, 0.9): "axial",
    (0.89, 1.0, 0.89): "coronal",
    (4.0, 4.0, 1.0): "axial",  # coronal and sagittal are equally fine
    (1.2, 1.0, 1.0): "sagittal",
}


def picture(data: np.ndarray, affine: np.ndarray, plane: str | None = None) -> Picture:
    return read(nib.Nifti1Image(data, affine).to_bytes(), Path("t1.nii"), FileOptions(plane=plane))


def view(plane: str) -> np.ndarray:
    """The phantom's slices (slice, row, column) by a written-out rule: superior on top, right or face at the left."""
    right, front, top = (size - 1 for size in SHAPE)
    rules: Any = {
        "axial": ((4, 6, 5), lambda k, row, column: (right - column, front - row, k)),
        "coronal": ((6, 4, 5), lambda k, row, column: (right - column, front - k, top - row)),
        "sagittal": ((5, 4, 6), lambda k, row, column: (k, front - column, top - row)),
    }
    shape, place = rules[plane]
    slices = np.zeros(shape, np.uint8)
    for index in np.ndindex(*shape):
        slices[index] = PHANTOM[place(*index)]
    return slices


def stored(order: tuple[int, ...], signs: tuple[int, ...], sizes: tuple[float, ...]) -> tuple[np.ndarray, np.ndarray]:
    """The phantom with its axes permuted and flipped, and the affine that says so."""
    turn = np.zeros((4, 4))
    turn[3, 3] = 1
    for new, (old, sign) in enumerate(zip(order, signs, strict=True)):
        turn[old, new] = sign
        turn[old, 3] = (SHAPE[old] - 1) * (sign < 0)
    steps = tuple(slice(None, None, sign) for sign in signs)
    return PHANTOM.transpose(order)[steps], np.diag([*sizes, 1.0]) @ turn


@pytest.mark.parametrize("plane", PLANES)
def test_slices_of_every_plane_are_seen_as_by_a_radiologist_and_return_to_their_place(plane: str) -> None:
    across = {"axial": 2, "coronal": 1, "sagittal": 0}[plane]  # the phantom's axis that is not enlarged
    for order, signs in itertools.product(itertools.permutations(range(3)), itertools.product((1, -1), repeat=3)):
        data, affine = stored(order, signs, (0.9, 1.1, 2.5))
        found = picture(data, affine, plane)
        np.testing.assert_array_equal(np.array(found.slices)[..., 0], view(plane))
        assert found.facts.get("plane", "axial") == plane
        # Enlarge by repetition: each voxel becomes 2 x 2 voxels of half its size, about its own centre.
        larger = [np.kron(image, np.ones((2, 2, 1), np.uint8)) for image in found.slices]
        content = gzip.decompress(encode(larger, {"m1": found.frame}, TEXT))
        result: Any = nib.Nifti1Image.from_bytes(content)
        repeats = [1 if axis == across else 2 for axis in order]
        expected = data
        for axis, count in enumerate(repeats):
            expected = expected.repeat(count, axis=axis)
        np.testing.assert_array_equal(np.asarray(result.dataobj)["G"], expected)
        fine = (np.array([[0, 0, 0], np.array(expected.shape) - 1]) + 0.5) / repeats - 0.5
        for corner, place in zip(([0, 0, 0], np.array(expected.shape) - 1), fine, strict=True):
            np.testing.assert_allclose(result.affine @ [*corner, 1], affine @ [*place, 1], atol=1e-4)


@pytest.mark.parametrize(("sizes", "plane"), SIZES.items())
def test_the_finest_plane_is_chosen_however_the_axes_are_stored(sizes: tuple[float, ...], plane: str) -> None:
    tilt = np.eye(4)
    tilt[:2, :2] = [[np.cos(0.2), -np.sin(0.2)], [np.sin(0.2), np.cos(0.2)]]
    for order in itertools.permutations(range(3)):
        data, affine = stored(order, (1, -1, 1), sizes)
        for turned in (affine, tilt @ affine):
            np.testing.assert_array_equal(np.array(picture(data, turned).slices)[..., 0], view(plane))
    assert "plane" not in picture(PHANTOM, np.diag([*sizes, 1]), "axial").facts


def test_a_result_is_sliced_in_the_plane_of_its_inputs() -> None:
    found = picture(PHANTOM, np.diag([0.9, 5, 0.9, 1]))
    content = gzip.decompress(encode(found.slices, {"m1": found.frame}, TEXT))
    np.testing.assert_array_equal(read(content, Path("k.nii"), FileOptions()).slices, found.slices)


def test_a_single_slice_and_axes_without_names_stay_as_stored() -> None:
    fine_through = np.diag([2.0, 2.0, 0.1, 1.0])
    assert len(picture(PHANTOM[..., :1], fine_through).slices) == 1
    coronal = np.diag([1.0, 9.0, 1.0, 1.0])
    with pytest.raises(InputError, match="its axial slices are 5x1 pixels") as caught:
        picture(PHANTOM[:, :1], coronal)
    assert "by --plane" in caught.value.remedy
    assert picture(PHANTOM[:, :1], coronal, "coronal").slices[0].shape == (4, 5, 3)

    def nameless(plane: str | None) -> Picture:
        image = nib.Nifti1Image(PHANTOM, None)
        image.header["pixdim"][1:4] = 0.9, 5, 0.9
        return read(image.to_bytes(), Path("t1.nii"), FileOptions(plane=plane))

    np.testing.assert_array_equal(np.array(nameless(None).slices)[..., 0], PHANTOM.transpose(2, 1, 0))
    with pytest.raises(InputError, match="no orientation in its header, so that nobody knows its coronal slices"):
        nameless("coronal")
