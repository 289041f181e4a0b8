"""A Siemens mosaic is the volume that nibabel makes of it, or is refused with the conversion."""

from __future__ import annotations

import io
import struct
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import Dataset, dcmread

from support.made_dicom import make_dicom
from support.scanned_series import AXIAL, OBLIQUE, ROOT
from tfs_rt.errors import InputError
from tfs_rt.formats.answers import checked_picture
from tfs_rt.formats.dicom.read import read
from tfs_rt.formats.dicom.series import read as read_series
from tfs_rt.formats.picture import FileOptions, Picture

PATH = Path("somewhere/mosaic.ima")
COUNT = 5  # tiles, of nine places
SIDE = (6, 4)  # rows and columns of a tile
STEP = 3.5  # mm
PIXELS = np.random.default_rng(3).integers(0, 1000, (3 * SIDE[0], 3 * SIDE[1]), np.uint16)
OPTIONS = FileOptions(window=(0, 1020))


def csa_header(**elements: list[Any]) -> bytes:
    """A CSA header of version 2, by the description in nibabel's documentation."""
    header = b"SV10" + b"\4\3\2\1" + struct.pack("<II", len(elements), 77)
    for name, values in elements.items():
        vr = {int: b"US", float: b"FD", str: b"SH"}[type(values[0])]
        header += struct.pack("<64si4siii", name.encode(), len(values), vr, 3, len(values), 77)
        for value in values:
            text = str(value).encode() + b"\0"
            header += struct.pack("<4i", len(text), len(text), 77, len(text)) + text + bytes(-len(text) % 4)
    return header


def mosaic(across: Sequence[float] = AXIAL, sign: int = 1, header: bytes | None = None, **changes: Any) -> bytes:
    """A mosaic whose slices go along the normal, or against it."""
    normal = sign * np.cross(across[:3], across[3:])
    attributes = {
        "ImageType": ["ORIGINAL", "PRIMARY", "M", "ND", "MOSAIC"],
        "Modality": "MR",
        "Manufacturer": "SIEMENS",
        "SeriesInstanceUID": f"{ROOT}.3",
        "ImagePositionPatient": [-30.0, 10.0, 7.0],
        "ImageOrientationPatient": across,
        "PixelSpacing": [2.0, 1.5],
        "SpacingBetweenSlices": STEP,
        **changes,
    }
    dataset = dcmread(io.BytesIO(make_dicom(PIXELS, **attributes)))
    if header is None:
        header = csa_header(
            AcquisitionMatrixText=["6*4"], NumberOfImagesInMosaic=[COUNT], SliceNormalVector=normal.tolist()
        )
    if header:
        dataset.private_block(0x29, "SIEMENS CSA HEADER", create=True).add_new(
            0x10, "OB", header + b"\0" * (len(header) % 2)
        )
    return to_bytes(dataset)


def to_bytes(dataset: Dataset) -> bytes:
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def picture_of(data: bytes) -> Picture:
    picture = read(data, PATH, OPTIONS)
    return checked_picture((picture.slices, picture.facts, picture.subject, picture.frame), "dicom")


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("across", [AXIAL, OBLIQUE])
def test_the_tiles_of_a_mosaic_lie_where_nibabel_places_them(across: list[float], sign: int) -> None:
    data = mosaic(across, sign)
    found = picture_of(data)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dicomwrappers = pytest.importorskip("nibabel.nicom.dicomwrappers")
        wrapper = dicomwrappers.wrapper_from_data(dcmread(io.BytesIO(data)))
        expected = wrapper.get_unscaled_data()
        affine = wrapper.affine
    assert wrapper.is_mosaic
    # Slices are ordered along the normal: a volume that goes against it is turned round.
    order = range(COUNT)[::sign]
    assert found.frame
    for place, index in enumerate(order):
        np.testing.assert_array_equal(found.slices[place][..., 0], np.rint(expected[..., index] / 4))
        position = found.frame["planes"][place][0]
        np.testing.assert_allclose(position, (affine @ [0, 0, index, 1])[:3], atol=1e-6)
    assert found.frame["frame_numbers"] == ()
    assert found.facts["frames"] == COUNT


def test_a_mosaic_alone_in_a_folder_is_read_as_a_file_and_several_are_refused() -> None:
    alone = read_series({"a": mosaic()}, PATH, OPTIONS)
    np.testing.assert_array_equal(np.stack(alone.slices), np.stack(picture_of(mosaic()).slices))
    with pytest.raises(InputError, match="2 mosaics, each of which is a volume: time points"):
        read_series({"a": mosaic(), "b": mosaic()}, PATH, OPTIONS)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (mosaic(header=b""), "without a CSA header"),
        (mosaic(header=b"\0" * 64), "without a CSA header"),
        (mosaic(header=csa_header(NumberOfImagesInMosaic=[COUNT])), "without a CSA header"),
        (mosaic(header=csa_header(NumberOfImagesInMosaic=["x"], SliceNormalVector=[0, 0, 1])), "without a CSA header"),
        (mosaic(header=csa_header(NumberOfImagesInMosaic=[10], SliceNormalVector=[0, 0, 1])), "mosaic of 10 tiles"),
        (mosaic(header=csa_header(NumberOfImagesInMosaic=[0], SliceNormalVector=[0, 0, 1])), "contradict each other"),
        (mosaic(header=csa_header(NumberOfImagesInMosaic=[COUNT], SliceNormalVector=[0, 1, 0])), "along their normal"),
        (
            mosaic(header=csa_header(NumberOfImagesInMosaic=[COUNT], SliceNormalVector=[0, 0, "nan"])),
            "along their normal",
        ),
        (mosaic(SpacingBetweenSlices=None), "without a place, or without a distance"),
        (mosaic(ImagePositionPatient=None), "without a place, or without a distance"),
    ],
)
def test_a_mosaic_that_cannot_be_taken_apart_is_refused_with_the_conversion(data: bytes, words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        picture_of(data)
    assert "dcm2niix" in caught.value.remedy


def test_two_headers_must_say_the_same_number_of_tiles() -> None:
    dataset = dcmread(io.BytesIO(mosaic()))
    block = dataset.private_block(0x19, "SIEMENS MR HEADER", create=True)
    block.add_new(0x0A, "US", COUNT)
    assert len(picture_of(to_bytes(dataset)).slices) == COUNT
    block[0x0A].value = COUNT + 1
    with pytest.raises(InputError, match="contradict each other"):
        picture_of(to_bytes(dataset))


def test_a_damaged_csa_header_is_refused_wherever_it_ends() -> None:
    header = csa_header(NumberOfImagesInMosaic=[COUNT], SliceNormalVector=[0, 0, 1])
    for length in range(0, len(header) - 20, 7):
        with pytest.raises(InputError):
            picture_of(mosaic(header=header[:length]))
