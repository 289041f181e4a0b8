"""Patient, study and place of a DICOM file.

A result takes over the patient and the study; the sidecar gets neither.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from pydicom import Dataset, config
from pydicom.datadict import dictionary_VR
from pydicom.multival import MultiValue
from pydicom.valuerep import validate_value

from tfs_rt.formats.dicom.mosaic import is_mosaic
from tfs_rt.formats.dicom.planes import Plane, functional_group, spacing_of
from tfs_rt.formats.dicom.stack import Stack
from tfs_rt.formats.picture import NEAR
from tfs_rt.system.files import fold_name

COPIED = (
    *("PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate", "PatientSex"),
    *("PatientAge", "PatientIdentityRemoved", "DeidentificationMethod", "LongitudinalTemporalInformationModified"),
    *("StudyInstanceUID", "StudyDate", "StudyTime", "StudyID", "StudyDescription", "ContentDate", "ContentTime"),
    *("AccessionNumber", "ReferringPhysicianName", "PatientOrientation", "PositionReferenceIndicator"),
    *("BodyPartExamined", "Laterality", "BurnedInAnnotation"),
    *("LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod"),
)
TURNED = 0.03  # the most by which rounding moves a direction
# In mm: so near, positions are one place where no pixel spacing says how far a voxel reaches.
UNSPACED = 0.1
OLD_DATE = re.compile(r"(\d{4})\.(\d\d)\.(\d\d)")  # as ACR-NEMA wrote it


@dataclass(frozen=True, slots=True)
class Source:
    """Attributes that a result takes over from one of its sources."""

    # By slice, in the order of `planes`: SOP class UID and SOP instance UID, empty if they are unknown.
    instances: tuple[tuple[str, str], ...]
    rows: int
    columns: int
    planes: tuple[Plane | None, ...]  # by slice
    frame_numbers: tuple[int, ...] = ()  # by slice: its frame, from 1; none if each slice is a file of its own
    frame_of_reference: str = ""  # UID
    spacing: tuple[float, ...] = ()  # between rows and between columns, in mm
    thickness: float | None = None  # of a slice, in mm
    lossy: bool = False
    attributes: dict[str, tuple[str, ...]] = field(
        default_factory=dict
    )  # by keyword; values that are not valid are left out
    deidentified_by: tuple[tuple[str, str, str], ...] = ()  # codes: value, scheme, meaning
    # Its image was resampled: a slice of the result comes of several of `instances`, which has a length of its own.
    resampled: bool = False


def source_of(dataset: Dataset, stack: Stack, lossy: bool, path: Path) -> Source:
    """The attributes that a result takes over from a file whose frames lie in `stack`."""
    count = len(stack.planes)
    instance = (_text(dataset, "SOPClassUID"), _text(dataset, "SOPInstanceUID"))
    return Source(
        instances=(instance,) * count,
        rows=int(dataset.Rows),
        columns=int(dataset.Columns),
        planes=stack.planes,
        frame_numbers=tuple(index + 1 for index in stack.order) if count > 1 and not is_mosaic(dataset) else (),
        frame_of_reference=_text(dataset, "FrameOfReferenceUID"),
        spacing=spacing_of(dataset, 0, path),
        thickness=_thickness(dataset),
        lossy=lossy,
        attributes={keyword: values for keyword in COPIED if (values := texts(dataset, keyword))},
        deidentified_by=tuple(_codes(dataset, "DeidentificationMethodCodeSequence")),
    )


def subject_of(dataset: Dataset, source: Source, stack: Stack) -> dict[str, Any]:
    """Attributes that must agree in the files of a case: the patient, and the place.

    Values against the standard count too: an id of 65 characters tells patients apart as well as one of 64.
    """
    subject: dict[str, Any] = identity_of(dataset)
    subject["frame of reference"] = _raw(dataset, "FrameOfReferenceUID")
    subject |= _place(source, stack)
    if not stack.directions:
        subject["patient orientation"] = _letters(dataset)
    return {key: value for key, value in subject.items() if value}


def identity_of(dataset: Dataset) -> dict[str, Any]:
    """The attributes that tell patients apart."""
    return {
        "patient": _raw(dataset, "PatientID"),
        "issuer of the patient's id": _raw(dataset, "IssuerOfPatientID"),
        "patient's birth date": OLD_DATE.sub(r"\1\2\3", _raw(dataset, "PatientBirthDate")),
        "patient's name": _plain_name(_raw(dataset, "PatientName")),
    }


def _place(source: Source, stack: Stack) -> dict[str, Any]:
    """The place of the frames, as far as the file gives it."""
    planes = [plane for plane in source.planes if plane]
    spacings = [distance for plane in planes for distance in plane[2]] or list(source.spacing)
    near = NEAR * min(spacings) if spacings else UNSPACED
    place: dict[str, Any] = {}
    if planes and all(plane[2] for plane in planes):
        size = (source.rows, source.columns)
        place["grid"] = {"size": size, "corners": [_corners(plane, size) for plane in planes], "within": near}
    if stack.directions:
        place["image orientation"] = {"size": (6,), "corners": list(stack.directions), "within": TURNED}
    if stack.position:
        key = "image position" if planes or len(source.planes) == 1 else "position of the first slice"
        positions = [list(plane[0]) for plane in planes] or [list(stack.position)]
        place[key] = {"size": (len(positions),), "corners": positions, "within": near}
    return place


def _letters(dataset: Dataset) -> str:
    """The main anatomical directions of rows and columns, as in "L P"."""
    return " ".join(text[:1].upper() for text in texts(dataset, "PatientOrientation"))


def _plain_name(name: str) -> str:
    """Family and given name in their first spelling, folded so that two exports of one name are equal."""
    first = next(filter(None, (group.strip(" ^") for group in name.split("="))), "")
    return "^".join(" ".join(fold_name(part).split()) for part in first.split("^")[:2]).strip("^ ")


def _corners(plane: Plane, size: tuple[int, int]) -> list[list[float]]:
    """The outer corners of a frame, in mm (PS3.3 C.7.6.2.1.1)."""
    position, across, spacing = (np.array(part) for part in plane)
    right = across[:3] * spacing[1]
    down = across[3:] * spacing[0]
    places = [(row - 0.5, column - 0.5) for row in (0, size[0]) for column in (0, size[1])]
    return [(position + down * row + right * column).tolist() for row, column in places]


def uids(dataset: Dataset) -> dict[str, str]:
    """The identifiers that a sidecar may hold."""
    keywords = {
        "sop_class_uid": "SOPClassUID",
        "sop_instance_uid": "SOPInstanceUID",
        "series_instance_uid": "SeriesInstanceUID",
        "study_instance_uid": "StudyInstanceUID",
        "frame_of_reference_uid": "FrameOfReferenceUID",
    }
    return {name: value for name, keyword in keywords.items() if (value := _text(dataset, keyword))}


def texts(dataset: Dataset, keyword: str) -> tuple[str, ...]:
    """The values of an attribute as text; none if one of them is against the standard."""
    value = dataset.get(keyword)
    values = value if isinstance(value, MultiValue | list) else [value]
    found = tuple("" if v is None else OLD_DATE.sub(r"\1\2\3", str(v).strip(" \0")) for v in values)
    try:
        for text in found:
            validate_value(dictionary_VR(keyword), text, config.RAISE)
    except ValueError:
        return ()
    return found if any(found) else ()


def _raw(dataset: Dataset, keyword: str) -> str:
    """An attribute as text, valid or not."""
    value = dataset.get(keyword)
    return "" if value is None else str(value).strip(" \0")


def _thickness(dataset: Dataset) -> float | None:
    """The thickness of the first slice in mm, None without a valid one."""
    thickness = float(_text(functional_group(dataset, 0, "PixelMeasuresSequence"), "SliceThickness") or 0)
    return thickness if 0 < thickness < float("inf") else None


def _text(dataset: Dataset, keyword: str) -> str:
    return (texts(dataset, keyword) or ("",))[0]


def _codes(dataset: Dataset, keyword: str) -> list[tuple[str, str, str]]:
    parts = ("CodeValue", "CodingSchemeDesignator", "CodeMeaning")
    found = [tuple(_text(item, part) for part in parts) for item in dataset.get(keyword) or []]
    return [(value, scheme, meaning) for value, scheme, meaning in found if value and scheme and meaning]
