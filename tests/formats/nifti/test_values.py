"""Values written as NIfTI, as nibabel reads them."""

from __future__ import annotations

import gzip

import nibabel as nib
import numpy as np
import pytest

from tfs_rt.formats.nifti.values import encode_values
from tfs_rt.formats.volume import Grid

TO_WORLD = np.array([[0, 0, 3.0, 9], [2.0, 0, 0, -4], [0, -1.5, 0, 7], [0, 0, 0, 1]])
GRID = Grid((2, 3, 4), TO_WORLD)


@pytest.mark.parametrize("kind", [np.float32, np.uint8])
def test_values_their_place_and_their_window_are_read_back(kind: type, rng: np.random.Generator) -> None:
    values = rng.integers(0, 200, (2, 3, 4)).astype(kind)
    data = encode_values(values, GRID, (5.0, 150.0), in_space=True)
    image = nib.Nifti1Image.from_bytes(gzip.decompress(data))
    assert image.get_data_dtype() == kind
    np.testing.assert_array_equal(image.get_fdata(), values.transpose(2, 1, 0))
    np.testing.assert_allclose(image.header.get_best_affine(), np.diag([-1, -1, 1, 1]) @ TO_WORLD)
    assert (float(image.header["cal_min"]), float(image.header["cal_max"])) == (5, 150)
    np.testing.assert_allclose(image.header.get_zooms(), [2, 1.5, 3])


def test_colours_are_read_back_and_no_orientation_is_made_up(rng: np.random.Generator) -> None:
    values = rng.integers(0, 255, (2, 3, 4, 3)).astype(np.uint8)
    image = nib.Nifti1Image.from_bytes(gzip.decompress(encode_values(values, GRID, None, in_space=False)))
    colours = np.asarray(image.dataobj)
    assert [colours[1, 2, 0][name] for name in "RGB"] == values[0, 2, 1].tolist()
    assert (int(image.header["sform_code"]), int(image.header["qform_code"])) == (0, 0)
