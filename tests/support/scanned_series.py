"""DICOM series that tests make: small, in memory, with one fault at a time."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from pydicom import Dataset, dcmread, uid

from support.made_dicom import make_dicom

AXIAL = [1, 0, 0, 0, 1, 0]
OBLIQUE = [0.8, 0, 0.6, 0, 1, 0]  # its normal is (-0.6, 0, 0.8)
STEP = 4.0  # mm
COUNT = 5
ROOT = "1.2.826.0.1.3680043.8.498"
PIXELS = np.arange(64, dtype=np.uint16).reshape(8, 8)


def series(count: int = COUNT, across: Sequence[float] = AXIAL, /, **changes: Any) -> dict[str, bytes]:
    """The files of a series by name; slice n has 100 n more than `pixels`. Names and numbers run against positions.

    A change is an attribute, or the function that gives it by the slice's number; `pixels` replaces those of slice 0.
    """
    pixels = changes.pop("pixels", PIXELS)
    normal = np.cross(across[:3], across[3:])
    files: dict[str, bytes] = {}
    for n in range(count):
        attributes: dict[str, Any] = {
            "SOPClassUID": uid.MRImageStorage,
            "SOPInstanceUID": f"{ROOT}.1.{n}",
            "StudyInstanceUID": f"{ROOT}.2",
            "SeriesInstanceUID": f"{ROOT}.3",
            "SeriesNumber": 3,
            "FrameOfReferenceUID": f"{ROOT}.4",
            "Modality": "MR",
            "PatientID": "X1",
            "PatientName": "Phantom^Head",
            "InstanceNumber": count - n,
            "ImagePositionPatient": (np.array([-10.0, -20.0, 5.0]) + n * STEP * normal).round(6).tolist(),
            "ImageOrientationPatient": across,
            "PixelSpacing": [2, 1.5],
        }
        attributes |= {key: value(n) if callable(value) else value for key, value in changes.items()}
        files[f"IM{count - n:04}"] = make_dicom(pixels + np.uint16(100 * n), **attributes)
    return files


def changed(files: dict[str, bytes], name: str, **changes: Any) -> dict[str, bytes]:
    """The files, one of them with other attributes; None removes one."""
    dataset = dcmread(io.BytesIO(files[name]))
    for keyword, value in changes.items():
        if value is None:
            delattr(dataset, keyword)
        else:
            setattr(dataset, keyword, value)
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return {**files, name: buffer.getvalue()}


def datasets(files: dict[str, bytes]) -> list[Dataset]:
    """The datasets of the files, as another library takes them."""
    return [dcmread(io.BytesIO(data)) for data in files.values()]
