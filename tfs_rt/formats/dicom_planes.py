"""The places of a DICOM file's frames, and the order of the frames along their normal.

A frame's place stands in its functional group (enhanced objects), in the file's own attributes (one frame), or in the
Detector Information Sequence (nuclear medicine). There the slices lie Spacing Between Slices apart along the normal,
against it if that number is negative, and Slice Vector numbers them (PS3.3 C.8.4.11, C.8.4.15).

Frames that have places of their own must be one stack: parallel, evenly spaced, on one line, none twice.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from tfs_rt.errors import InputError
from tfs_rt.formats.dicom_numbers import number, numbers, unreadable

SHARED = "SharedFunctionalGroupsSequence"
PER_FRAME = "PerFrameFunctionalGroupsSequence"
SKEWED = 1e-2  # the most by which row and column may fail to be perpendicular unit vectors
PARALLEL = 1e-3  # the most by which two directions of a stack may differ
UNEVEN = 0.1  # of the usual distance between two frames: a larger difference is a gap, or off the line
ONE_PLACE = 1e-3  # mm
STACK = "give one stack of parallel slices without gaps"
VECTORS = (
    *("EnergyWindowVector", "DetectorVector", "PhaseVector", "RotationVector", "RRIntervalVector"),
    *("TimeSlotVector", "AngularViewVector", "TimeSliceVector"),
)  # by which frames of nuclear medicine differ, besides Slice Vector
Plane = tuple[tuple[float, ...], tuple[float, ...], tuple[float, ...]]  # position, orientation, spacing
Vector = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Stack:
    """The frames of a file in the order of their places."""

    order: tuple[int, ...]  # the stored frame at each place
    planes: tuple[Plane | None, ...]  # in that order

    @property
    def is_reordered(self) -> bool:
        """True if the frames are in another order than in the file."""
        return list(self.order) != sorted(self.order)


def stack_of(dataset: Dataset, frames: int, path: Path) -> Stack:
    """The places of a file's frames; InputError names an unreadable attribute, or the frames that are not a stack."""
    if _is_nuclear(dataset):
        planes = _nuclear_planes(dataset, frames, path)
    else:
        planes = [_plane(dataset, index, path) for index in range(frames)]
    stored = tuple(range(frames))
    if frames == 1 or not any(planes) or not (_is_nuclear(dataset) or _has_positions(dataset)):
        return Stack(stored, tuple(planes))
    unplaced = [index + 1 for index, plane in enumerate(planes) if plane is None]
    if unplaced:
        raise InputError(path, f"frame {unplaced[0]} does not say where it lies, others do", STACK)
    order = _order([plane for plane in planes if plane], path)
    return Stack(order, tuple(planes[index] for index in order))


def functional_group(dataset: Dataset, index: int, keyword: str) -> Dataset:
    """The item that holds an attribute of a frame: its own group, the shared one, or else the file itself."""
    per_frame = dataset.get(PER_FRAME) or []
    for item in [*per_frame[index : index + 1], *(dataset.get(SHARED) or [])[:1]]:
        if group := item.get(keyword):
            return group[0]
    return dataset


def spacing_of(dataset: Dataset, index: int, path: Path) -> tuple[float, ...]:
    """The distances between rows and between columns of a frame in mm, () if the file has none."""
    group = functional_group(dataset, index, "PixelMeasuresSequence")
    spacing = numbers(group, "PixelSpacing", path, 2)
    if any(distance <= 0 for distance in spacing):
        raise unreadable(group, "PixelSpacing", path, "not 2 positive numbers")
    return spacing


def _has_positions(dataset: Dataset) -> bool:
    """True if a functional group says where a frame lies: the file's own attributes cannot place several."""
    groups = [*(dataset.get(PER_FRAME) or []), *(dataset.get(SHARED) or [])]
    return any(group.get("PlanePositionSequence") for group in groups)


def _plane(dataset: Dataset, index: int, path: Path) -> Plane | None:
    """The place of a frame; None if the file does not say all of it."""
    position = numbers(functional_group(dataset, index, "PlanePositionSequence"), "ImagePositionPatient", path, 3)
    across = _directions(functional_group(dataset, index, "PlaneOrientationSequence"), path)
    spacing = spacing_of(dataset, index, path)
    return (position, across, spacing) if position and across and spacing else None


def _directions(dataset: Dataset, path: Path) -> tuple[float, ...]:
    """The directions of row and column; InputError if they are not perpendicular unit vectors."""
    across = numbers(dataset, "ImageOrientationPatient", path, 6)
    if across:
        axes = np.reshape(across, (2, 3))
        if np.abs(axes @ axes.T - np.eye(2)).max() > SKEWED:
            raise unreadable(dataset, "ImageOrientationPatient", path, "not 2 perpendicular directions")
    return across


def _is_nuclear(dataset: Dataset) -> bool:
    return bool(dataset.get("DetectorInformationSequence")) and PER_FRAME not in dataset


def _nuclear_planes(dataset: Dataset, frames: int, path: Path) -> list[Plane | None]:
    """The places of the slices of a reconstructed volume, or of the one frame, of nuclear medicine."""
    _check_vectors(dataset, frames, path)
    spacing = spacing_of(dataset, 0, path)
    steps = _slice_offsets(dataset, frames, path)
    first = _detector_place(dataset, path)
    if not (first and spacing and steps):
        return [None] * frames
    position, across = first
    normal = np.cross(across[:3], across[3:])
    return [(tuple((position + step * normal).tolist()), across, spacing) for step in steps]


def _check_vectors(dataset: Dataset, frames: int, path: Path) -> None:
    """InputError for frames that are not slices: projections, phases, time points, energy windows."""
    for keyword in VECTORS if frames > 1 else ():
        values = numbers(dataset, keyword, path)
        if len(set(values)) > 1:
            reason = f"its {frames} frames are not only slices: {keyword} has {len(set(values))} values"
            raise InputError(path, reason, "give the reconstructed slices of one phase, time and energy window")


def _slice_offsets(dataset: Dataset, frames: int, path: Path) -> list[float]:
    """The distance of each frame from the first slice along the normal, none if the file does not say it."""
    if frames == 1:
        return [0.0]
    spacing = number(dataset, "SpacingBetweenSlices", path)
    if spacing == 0:
        raise unreadable(dataset, "SpacingBetweenSlices", path, "not a distance")
    vector = numbers(dataset, "SliceVector", path, frames) or tuple(range(1, frames + 1))
    return [] if spacing is None else [spacing * (slice_number - 1) for slice_number in vector]


def _detector_place(dataset: Dataset, path: Path) -> tuple[Vector, tuple[float, ...]] | None:
    """The position and the directions of the first slice; InputError if two detectors say two places."""
    places = []
    for detector in [*dataset.DetectorInformationSequence, dataset]:
        position = numbers(detector, "ImagePositionPatient", path, 3)
        across = _directions(detector, path)
        if position and across:
            places.append((position, across))
    if len(set(places)) > 1:
        raise InputError(path, f"its detectors give {len(set(places))} places for one volume", STACK)
    return (np.array(places[0][0]), places[0][1]) if places else None


def _order(planes: list[Plane], path: Path) -> tuple[int, ...]:
    """The frames by their place along the normal of the first; InputError names two that are not neighbours in a stack.

    Frames are counted from 1, as stored.
    """
    for index, plane in enumerate(planes):
        for part, name in ((1, "is turned against"), (2, "has another pixel spacing than")):
            if np.abs(np.subtract(plane[part], planes[0][part])).max() > PARALLEL:
                raise InputError(path, f"frame {index + 1} {name} frame 1", STACK)
    positions = np.array([plane[0] for plane in planes])
    normal = np.cross(planes[0][1][:3], planes[0][1][3:])
    order = np.argsort(positions @ normal, kind="stable")
    steps = np.diff(positions[order], axis=0)
    along = steps @ normal
    usual = np.median(along)
    for index, (step, distance) in enumerate(zip(steps, along, strict=True)):
        one, other = order[index] + 1, order[index + 1] + 1
        if distance <= ONE_PLACE:
            reason = f"frames {one} and {other} lie at one place: time points, echoes or phases"
            raise InputError(path, reason, "extract the one volume to be fused")
        if abs(distance - usual) > UNEVEN * usual:
            reason = f"frames {one} and {other} lie {distance:.4g} mm apart, others {usual:.4g} mm"
            raise InputError(path, reason, STACK)
        if np.abs(step - np.median(steps, axis=0)).max() > UNEVEN * usual:
            raise InputError(path, f"frames {one} and {other} do not lie on the line of the others", STACK)
    return tuple(order.tolist())
