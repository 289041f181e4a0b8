"""DICOM files that tests make."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pydicom.data
import pytest
from pydicom import Dataset, dcmwrite, uid
from pydicom.dataset import FileMetaDataset

from tfs_rt.errors import InputError
from tfs_rt.formats.dicom.read import read
from tfs_rt.formats.picture import FileOptions

PATH = Path("somewhere/scan.dcm")
WHEEL = Path(pydicom.data.__file__).parent
LOSSY = FileOptions(allow_lossy=True)
RAMP = np.arange(64, dtype=np.uint16).reshape(8, 8) * 64  # 0 to 4032

# What a result says of its making.
TEXT = {
    "Software": "tfs-rt 1.2.3",
    "tfs-rt:case": "case07",
    "tfs-rt:made-by": "tfs-rt/x4",
    "tfs-rt:recipe-sha256": "ab" * 32,
    "tfs-rt:inputs-sha256": " ".join(["cd" * 32] * 3),
    "tfs-rt:seed": "0",
    "Disclaimer": "image made by fusion; research use only; not a medical device",
}


def make_dicom(pixels: np.ndarray, syntax: str = uid.ExplicitVRLittleEndian, /, **attributes: Any) -> bytes:
    """A DICOM file of (H, W) or (N, H, W) grey pixels, or with `SamplesPerPixel=3` of (H, W, 3)."""
    colour = attributes.get("SamplesPerPixel") == 3
    shape = pixels.shape[:-1] if colour else pixels.shape
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = uid.MRImageStorage, "1.2.3"
    dataset.Rows, dataset.Columns = shape[-2:]
    if len(shape) == 3:
        dataset.NumberOfFrames = shape[0]
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = pixels.itemsize * 8
    dataset.HighBit = dataset.BitsStored - 1
    dataset.PixelRepresentation = int(pixels.dtype.kind == "i")
    if pixels.dtype.kind == "f":
        dataset.FloatPixelData = pixels.astype("<f4").tobytes()
    else:
        dataset.add_new("PixelData", "OW", pixels.tobytes() + b"\0" * (pixels.nbytes % 2))
    for keyword, value in attributes.items():
        setattr(dataset, keyword, value)
    return encode(dataset, syntax)


def encode(dataset: Dataset, syntax: str) -> bytes:
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = uid.UID(syntax)
    buffer = io.BytesIO()
    dcmwrite(buffer, dataset, enforce_file_format=True)
    return buffer.getvalue()


def item(**attributes: Any) -> Dataset:
    found = Dataset()
    for keyword, value in attributes.items():
        setattr(found, keyword, value)
    return found


def stored_file(name: str) -> bytes:
    return (WHEEL / "test_files" / name).read_bytes()


def levels(data: bytes, rules: FileOptions = LOSSY) -> np.ndarray:
    """(N, H, W) levels of a file that is grey."""
    slices = np.stack(read(data, PATH, rules).slices)
    assert (slices[..., :1] == slices).all()
    return slices[..., 0]


def assert_refused(data: bytes, words: str, rules: FileOptions = LOSSY) -> InputError:
    with pytest.raises(InputError, match=words) as caught:
        read(data, PATH, rules)
    assert caught.value.subject == str(PATH)
    assert caught.value.remedy
    return caught.value


def linear(values: np.ndarray, centre: float, width: float) -> np.ndarray:
    """PS3.3 C.11.2.1.2.1, as it stands there, from 0 to 255."""
    between = ((values - (centre - 0.5)) / (width - 1) + 0.5) * 255
    inside = np.where(values > centre - 0.5 + (width - 1) / 2, 255, between)
    return np.rint(np.where(values <= centre - 0.5 - (width - 1) / 2, 0, inside)).astype(np.uint8)
