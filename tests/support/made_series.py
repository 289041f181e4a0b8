"""Volumes in DICOM with a place in space, and what is known of a place without the code under test."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import uid

from support.made_dicom import item, make_dicom

SLOT_NAMES = {"m1": "mr-t1", "m2": "mr-t2", "functional": "pet"}  # of files, by slot
SLICES = 3
ROWS = 8
COLUMNS = 10
SPACING = (2.1, 1.7)  # mm between rows, and between columns
STEP = 3.3  # mm between slices
THICKNESS = 3.0  # mm
FIRST = np.array([-80.123, -95.5, 33.25])  # centre of the first pixel
TURN = math.radians(17)
ACROSS = np.array([math.cos(TURN), math.sin(TURN), 0.0])  # along a row
NORMAL = np.array([-0.28 * math.sin(TURN), 0.28 * math.cos(TURN), 0.96])
DOWN = np.cross(NORMAL, ACROSS)  # along a column
REFERENCE = "1.2.826.99"
PERSON: dict[str, Any] = {
    "PatientName": "Made^Up",
    "PatientID": "P-1",
    "PatientBirthDate": "19800101",
    "PatientSex": "F",
    "StudyInstanceUID": "1.2.826.7",
    "StudyDate": "20200101",
    "StudyTime": "101010",
    "BodyPartExamined": "BRAIN",
}


def enhanced(slot: str, *, slices: int = SLICES, **changes: Any) -> bytes:
    """An enhanced object of an oblique volume; its frames lie in the file from the last to the first."""
    number = list(SLOT_NAMES).index(slot) + 1
    z, y, x = np.mgrid[0:slices, 0:ROWS, 0:COLUMNS]
    disc = np.hypot(y - ROWS / 2, x - COLUMNS / 2) < ROWS * 0.4
    values = (disc * (40 + 50 * number + 5 * x * number + 20 * z)).astype(np.uint8)
    positions = [(FIRST + STEP * index * NORMAL).round(9).tolist() for index in range(slices)]
    groups = [item(PlanePositionSequence=[item(ImagePositionPatient=position)]) for position in positions]
    shared = item(
        PlaneOrientationSequence=[item(ImageOrientationPatient=[*ACROSS.round(12), *DOWN.round(12)])],
        PixelMeasuresSequence=[item(PixelSpacing=list(SPACING), SliceThickness=THICKNESS)],
    )
    attributes = {
        **PERSON,
        "SOPClassUID": uid.EnhancedPETImageStorage if slot == "functional" else uid.EnhancedMRImageStorage,
        "SOPInstanceUID": f"1.2.826.{number}",
        "Modality": "PT" if slot == "functional" else "MR",
        "FrameOfReferenceUID": REFERENCE,
        "PerFrameFunctionalGroupsSequence": groups[::-1],
        "SharedFunctionalGroupsSequence": [shared],
        **changes,
    }
    return make_dicom(values[::-1].copy(), **attributes)


def write_volume_case(folder: Path, **changes: Any) -> Path:
    """A case folder of three such files."""
    folder.mkdir(parents=True, exist_ok=True)
    for slot, name in SLOT_NAMES.items():
        (folder / f"{name}.dcm").write_bytes(enhanced(slot, **changes))
    return folder


def source_corners(slices: int = SLICES) -> NDArray[np.float64]:
    """The outer corners of each slice of the volume, (slices, 4, 3) in mm: rows before columns."""
    ends = [(row - 0.5, column - 0.5) for row in (0, ROWS) for column in (0, COLUMNS)]
    flat = [FIRST + DOWN * SPACING[0] * row + ACROSS * SPACING[1] * column for row, column in ends]
    return np.array([[corner + STEP * index * NORMAL for corner in flat] for index in range(slices)])


def corners(to_world: NDArray[np.float64], rows: int, columns: int, slices: int) -> NDArray[np.float64]:
    """The same of a grid whose (column, row, slice) indices a matrix (4, 4) takes to mm."""
    ends = [(row - 0.5, column - 0.5) for row in (0, rows) for column in (0, columns)]
    return np.array([[(to_world @ [column, row, index, 1])[:3] for row, column in ends] for index in range(slices)])
