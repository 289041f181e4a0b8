"""The slices of a DICOM file that gives the place of its first slice alone, as nuclear medicine does.

That place stands in the Detector Information Sequence, or else in the file's own attributes. The slices lie Spacing
Between Slices apart along the normal, against it if that number is negative, and Slice Vector numbers them
(PS3.3 C.8.4.11, C.8.4.15). Other files number their frames by Slice Location Vector or In-Stack Position Number.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from pydicom import Dataset, uid

from tfs_rt.errors import InputError
from tfs_rt.formats.dicom.numbers import number, numbers, unreadable
from tfs_rt.formats.dicom.planes import PER_FRAME, Numbers, Plane, directions_of, functional_group, spacing_of

NEAR_PLACE = 0.01  # mm, and for directions: detectors that differ by less differ by rounding
STACK = "give one stack of parallel slices without gaps"
VECTORS = (
    *("EnergyWindowVector", "DetectorVector", "PhaseVector", "RotationVector", "RRIntervalVector"),
    *("TimeSlotVector", "AngularViewVector", "TimeSliceVector"),
)  # by which frames of nuclear medicine differ, besides Slice Vector


class First(NamedTuple):
    """The place of the first slice, as far as the file says it."""

    position: Numbers
    directions: Numbers


def first_place(dataset: Dataset, path: Path) -> First:
    """The place of the first slice by the detectors, or else by the file; InputError if detectors say two places."""
    own = First(
        numbers(functional_group(dataset, 0, "PlanePositionSequence"), "ImagePositionPatient", path, 3),
        directions_of(functional_group(dataset, 0, "PlaneOrientationSequence"), path),
    )
    places: list[First] = []
    for detector in dataset.get("DetectorInformationSequence") or []:
        position = numbers(detector, "ImagePositionPatient", path, 3)
        directions = directions_of(detector, path)
        if position or directions:
            places.append(First(position or own.position, directions or own.directions))
    for place in places:
        if not all(_is_near(one, other) for one, other in zip(place, places[0], strict=True)):
            raise InputError(path, "its detectors give different places for one volume", STACK)
    return places[0] if places else own


def planes_of_slices(dataset: Dataset, frames: int, path: Path) -> list[Plane | None]:
    """The place of each frame by that of the first slice; none if the file does not say how far apart they lie."""
    if is_nuclear(dataset):
        _check_vectors(dataset, frames, path)
    first = first_place(dataset, path)
    offsets = _offsets(dataset, frames, path)
    if not (first.position and first.directions and offsets):
        return [None] * frames
    normal = np.cross(first.directions[:3], first.directions[3:])
    spacing = spacing_of(dataset, 0, path)
    positions = [np.array(first.position) + offset * normal for offset in offsets]
    return [(tuple(position.tolist()), first.directions, spacing) for position in positions]


def slice_numbers(dataset: Dataset, frames: int, path: Path) -> tuple[Numbers, str]:
    """Numbers by which frames without places are ordered, and the element that holds them; none if there are none."""
    if is_nuclear(dataset):
        spacing = number(dataset, "SpacingBetweenSlices", path) or 1
        vector = numbers(dataset, "SliceVector", path, frames)
        if vector or spacing < 0:
            return tuple(spacing * slice_number for slice_number in vector or range(1, frames + 1)), "Slice Vector"
    found = numbers(dataset, "SliceLocationVector", path, frames), "Slice Location Vector"
    if len(set(found[0])) <= 1:
        groups = [functional_group(dataset, index, "FrameContentSequence") for index in range(frames)]
        values = [number(group, "InStackPositionNumber", path) for group in groups]
        in_stack = tuple(value for value in values if value is not None)
        found = in_stack if len(in_stack) == frames else (), "In-Stack Position Number"
    return found if len(set(found[0])) > 1 else ((), "")


def is_nuclear(dataset: Dataset) -> bool:
    """True for nuclear medicine, whose frames need not be slices."""
    named = dataset.get("Modality") == "NM" or dataset.get("SOPClassUID") == uid.NuclearMedicineImageStorage
    numbered = dataset.get("DetectorInformationSequence") or dataset.get("SliceVector") is not None
    return bool(named or numbered) and PER_FRAME not in dataset


def _is_near(one: Numbers, other: Numbers) -> bool:
    return len(one) == len(other) and np.allclose(one, other, rtol=0, atol=NEAR_PLACE)


def _check_vectors(dataset: Dataset, frames: int, path: Path) -> None:
    """InputError for frames that are not slices: projections, phases, time points, energy windows."""
    for keyword in VECTORS if frames > 1 else ():
        values = numbers(dataset, keyword, path)
        if len(set(values)) > 1:
            reason = f"its {frames} frames are not only slices: {keyword} has {len(set(values))} values"
            raise InputError(path, reason, "give the reconstructed slices of one phase, time and energy window")


def _offsets(dataset: Dataset, frames: int, path: Path) -> list[float]:
    """The distance of each frame from the first slice along the normal, none if the file does not say it."""
    if frames == 1:
        return [0.0]
    spacing = number(functional_group(dataset, 0, "PixelMeasuresSequence"), "SpacingBetweenSlices", path)
    if spacing == 0 and is_nuclear(dataset):
        raise unreadable(dataset, "SpacingBetweenSlices", path, "not a distance")
    vector = numbers(dataset, "SliceVector", path, frames)
    numbered = () if is_nuclear(dataset) else slice_numbers(dataset, frames, path)[0]
    if not spacing or list(numbered) != sorted(numbered):
        return []
    return [spacing * (slice_number - 1) for slice_number in vector or range(1, frames + 1)]
