"""DICOM files that tests make."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from pydicom import Dataset, dcmwrite, uid
from pydicom.dataset import FileMetaDataset


def made(pixels: np.ndarray, syntax: str = uid.ExplicitVRLittleEndian, /, **attributes: Any) -> bytes:
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
    return written(dataset, syntax)


def written(dataset: Dataset, syntax: str) -> bytes:
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
