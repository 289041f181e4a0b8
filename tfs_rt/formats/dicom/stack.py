"""The order of a DICOM file's frames along their normal, and their places in that order.

Frames that have places of their own must be one stack: parallel, evenly spaced, on one line, none twice. Frames
without places are ordered by their numbers, if they have any.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydicom import Dataset

from tfs_rt.errors import InputError
from tfs_rt.formats.dicom.planes import Numbers, Plane, has_positions, plane_of
from tfs_rt.formats.dicom.slices import STACK, first_place, planes_of_slices, slice_numbers

PARALLEL = 1e-3  # the most by which two directions of a stack may differ
# A share of the usual distance between two frames: a larger difference is a gap, or off the line.
UNEVEN = 0.1
ONE_PLACE = 1e-3  # mm


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


def stack_of(dataset: Dataset, frames: int, path: Path) -> Stack:
    """The places of a file's frames; InputError names an unreadable attribute, or the frames that are not a stack."""
    if frames == 1 or not has_positions(dataset):
        return _stack_of_slices(dataset, frames, path)
    planes = [plane_of(dataset, index, path) for index in range(frames)]
    if not any(planes):
        return _stack_of_slices(dataset, frames, path)
    unplaced = [index + 1 for index, plane in enumerate(planes) if plane is None]
    if unplaced:
        raise InputError(path, f"frame {unplaced[0]} does not say where it lies, others do", STACK)
    return _stack_by_position([plane for plane in planes if plane], path)


def _stack_of_slices(dataset: Dataset, frames: int, path: Path) -> Stack:
    """The stack of a file whose frames have no positions of their own."""
    placed = [plane for plane in planes_of_slices(dataset, frames, path) if plane]
    if placed:
        return _stack_by_position(placed, path)
    numbers, element = slice_numbers(dataset, frames, path) if frames > 1 else ((), "")
    order = _order_by_number(numbers, element, path) if numbers else tuple(range(frames))
    return Stack(order, (None,) * frames, *first_place(dataset, path), element)


def _stack_by_position(planes: list[Plane], path: Path) -> Stack:
    order = _order_by_position(planes, path) if len(planes) > 1 else (0,)
    position, directions, _ = planes[order[0]]
    return Stack(order, tuple(planes[index] for index in order), position, directions, "position")


def _order_by_number(numbers: Numbers, element: str, path: Path) -> tuple[int, ...]:
    """The frames by their numbers; InputError names two that have the same one."""
    first: dict[float, int] = {}
    for index, number in enumerate(numbers):
        if number in first:
            pair = f"frames {first[number] + 1} and {index + 1}"
            reason = f"{pair} have the same {element}: time points, echoes or phases"
            raise InputError(path, reason, "extract the one volume to be fused")
        first[number] = index
    return tuple(first[number] for number in sorted(first))


def _is_parallel(one: Numbers, other: Numbers) -> bool:
    return len(one) == len(other) and bool(np.allclose(one, other, rtol=0, atol=PARALLEL))


def _order_by_position(planes: list[Plane], path: Path) -> tuple[int, ...]:
    """The frames by their place along the normal of the first; InputError names two that are not neighbours in a stack.

    Messages count frames from 1, as stored.
    """
    # All frames are parallel, with one pixel spacing.
    for index, plane in enumerate(planes):
        for part, name in ((1, "is turned against"), (2, "has another pixel spacing than")):
            if not _is_parallel(plane[part], planes[0][part]):
                raise InputError(path, f"frame {index + 1} {name} frame 1", STACK)
    # Sort them along the normal.
    positions = np.array([plane[0] for plane in planes])
    normal = np.cross(planes[0][1][:3], planes[0][1][3:])
    order = np.argsort(positions @ normal, kind="stable")
    steps = np.diff(positions[order], axis=0)
    along = steps @ normal
    usual = np.median(along)
    # Neighbours are evenly spaced, on one line, and at different places.
    for index, (step, distance) in enumerate(zip(steps, along, strict=True)):
        one = order[index] + 1
        other = order[index + 1] + 1
        if distance <= ONE_PLACE:
            reason = f"frames {one} and {other} lie at one place: time points, echoes or phases"
            raise InputError(path, reason, "extract the one volume to be fused")
        if abs(distance - usual) > UNEVEN * usual:
            reason = f"frames {one} and {other} lie {distance:.4g} mm apart, others {usual:.4g} mm"
            raise InputError(path, reason, STACK)
        if np.abs(step - np.median(steps, axis=0)).max() > UNEVEN * usual:
            raise InputError(path, f"frames {one} and {other} do not lie on the line of the others", STACK)
    return tuple(order.tolist())
