"""The order of frames along their normal, and their places in that order: of a DICOM file, or of a series of files.

Frames that have places of their own must be one stack: parallel, evenly spaced, on a line along the normal, none twice.
Frames without places are ordered by their numbers, if they have any.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from tfs_rt.errors import InputError
from tfs_rt.formats.dicom.planes import Numbers, Plane, has_positions, plane_of
from tfs_rt.formats.dicom.slices import STACK, first_place, planes_of_slices, slice_numbers

PARALLEL = 1e-3  # the most by which two directions of a stack may differ
# A share of the usual distance between two frames: a larger difference is a gap, or off the line.
UNEVEN = 0.1
ONE_PLACE = 1e-3  # mm
# Tangent of the angle between a stack and its normal: rounded directions make it up to 0.005, and a gantry is tilted by
# half a degree or more.
TILTED = 0.008
ONE_VOLUME = "extract the one volume to be fused"
Vector = NDArray[np.float64]  # (3,), mm
Problem = tuple[str, str]  # a fault, and its remedy
UNTILTED = "correct the tilt first, as dcm2niix does, and give the NIfTI volumes"


@dataclass(frozen=True, slots=True)
class Stack:
    """The frames of a file in the order of their places."""

    order: tuple[int, ...]  # the stored frame at each place
    planes: tuple[Plane | None, ...]  # in that order
    position: Numbers  # of the first slice, () if unknown
    directions: Numbers  # along rows and columns, () if unknown
    order_from: str = ""  # the element that gave the order; empty without one

    @property
    def is_reordered(self) -> bool:
        """True if the frames are in another order than in the file."""
        return list(self.order) != sorted(self.order)


def stack_of(dataset: Dataset, names: Sequence[str], path: Path) -> Stack:
    """The places of frames, which messages call by `names`, one for each.

    InputError names an unreadable attribute, or the frames that are not a stack.
    """
    frames = len(names)
    planes = planes_of(dataset, frames, path)
    if any(planes):
        unplaced = [name for name, plane in zip(names, planes, strict=True) if plane is None]
        if unplaced:
            raise InputError(path, f"{unplaced[0]} does not say where it lies, others do", STACK)
        return _stack_by_position([plane for plane in planes if plane], names, path)
    numbers, element = slice_numbers(dataset, frames, path) if frames > 1 else ((), "")
    order = _order_by_number(numbers, element, names, path) if numbers else tuple(range(frames))
    return Stack(order, (None,) * frames, *first_place(dataset, path), element)


def planes_of(dataset: Dataset, frames: int, path: Path) -> list[Plane | None]:
    """The place of each frame of a file, None for those that it does not place."""
    planes: list[Plane | None] = []
    if frames > 1 and has_positions(dataset):
        planes = [plane_of(dataset, index, path) for index in range(frames)]
    return planes if any(planes) else planes_of_slices(dataset, frames, path)


def frame_names(count: int) -> tuple[str, ...]:
    """Names of a file's frames for messages: numbers from 1, as stored."""
    return tuple(f"frame {index + 1}" for index in range(count))


def _stack_by_position(planes: list[Plane], names: Sequence[str], path: Path) -> Stack:
    order = _order_by_position(planes, names, path) if len(planes) > 1 else (0,)
    position, directions, _ = planes[order[0]]
    return Stack(order, tuple(planes[index] for index in order), position, directions, "position")


def _order_by_number(numbers: Numbers, element: str, names: Sequence[str], path: Path) -> tuple[int, ...]:
    """The frames by their numbers; InputError names two that have the same one."""
    first: dict[float, int] = {}
    for index, number in enumerate(numbers):
        if number in first:
            pair = f"{names[first[number]]} and {names[index]}"
            raise InputError(path, f"{pair} have the same {element}: time points, echoes or phases", ONE_VOLUME)
        first[number] = index
    return tuple(first[number] for number in sorted(first))


def _is_parallel(one: Numbers, other: Numbers) -> bool:
    return len(one) == len(other) and np.allclose(one, other, rtol=0, atol=PARALLEL)


def _order_by_position(planes: list[Plane], names: Sequence[str], path: Path) -> tuple[int, ...]:
    """The frames by their place along the normal of the first.

    InputError names two that are not neighbours in a stack.
    """
    # All frames are parallel, with one pixel spacing.
    for index, plane in enumerate(planes):
        for part, name in ((1, "is turned against"), (2, "has another pixel spacing than")):
            if not _is_parallel(plane[part], planes[0][part]):
                raise InputError(path, f"{names[index]} {name} {names[0]}", STACK)
    # Sort them along the normal.
    positions = np.array([plane[0] for plane in planes])
    normal = np.cross(planes[0][1][:3], planes[0][1][3:])
    order = np.argsort(positions @ normal, kind="stable")
    # Neighbours are at different places, evenly spaced, on one line.
    steps = np.diff(positions[order], axis=0)
    usual_step = np.median(steps, axis=0)
    for check in (_doubled, _uneven, _tilted):
        for (one, other), step in zip(pairwise(order), steps, strict=True):
            if problem := check(step, usual_step, normal):
                raise InputError(path, f"{names[one]} and {names[other]} {problem[0]}", problem[1])
    return tuple(order.tolist())


def _doubled(step: Vector, _usual_step: Vector, normal: Vector) -> Problem | None:
    """The fault, and its remedy, of two neighbours (3,) mm apart that lie at one place along the normal."""
    return ("lie at one place: time points, echoes or phases", ONE_VOLUME) if step @ normal <= ONE_PLACE else None


def _uneven(step: Vector, usual_step: Vector, normal: Vector) -> Problem | None:
    """The fault of two neighbours that are not spaced as most are, or lie off their line."""
    distance = step @ normal
    usual = usual_step @ normal
    if abs(distance - usual) > UNEVEN * usual:
        return f"lie {distance:.4g} mm apart, others {usual:.4g} mm", STACK
    if np.abs(step - usual_step).max() > UNEVEN * usual:
        return "do not lie on the line of the others", STACK
    return None


def _tilted(_step: Vector, usual_step: Vector, normal: Vector) -> Problem | None:
    """The fault of all neighbours in a sheared stack: the line through them is not along the normal."""
    along = usual_step @ normal
    sideways = float(np.linalg.norm(usual_step - along * normal))
    if sideways <= TILTED * along:
        return None
    degrees = np.degrees(np.arctan2(sideways, along))
    reason = f"are shifted by {sideways:.3g} mm against each other, as all are: a gantry tilt of {degrees:.1f} degrees"
    return reason, UNTILTED
