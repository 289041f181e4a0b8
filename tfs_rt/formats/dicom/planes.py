"""The attributes by which a DICOM file says where its frames lie: position, directions, pixel spacing.

A frame's place stands in its functional group (enhanced objects), in the file's own attributes (one frame), or follows
from that of the first slice (`tfs_rt.formats.dicom.slices`). Values of zero are placeholders that some exporters write.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
from pydicom import Dataset

from tfs_rt.errors import InputError
from tfs_rt.formats.dicom.numbers import numbers, unreadable

SHARED = "SharedFunctionalGroupsSequence"
PER_FRAME = "PerFrameFunctionalGroupsSequence"
# The most by which rounding makes the directions of rows and columns deviate from perpendicular unit vectors.
SKEWED = 3e-2
EXACT = 1e-4  # a smaller error of a direction is left as it is
T = TypeVar("T")
Numbers = tuple[float, ...]
Plane = tuple[Numbers, Numbers, Numbers]  # position, directions, spacing (none if the file has none)


def functional_group(dataset: Dataset, index: int, keyword: str) -> Dataset:
    """The item that holds an attribute of a frame: its own group, the shared one, or else the file itself."""
    per_frame = dataset.get(PER_FRAME) or []
    for item in [*per_frame[index : index + 1], *(dataset.get(SHARED) or [])[:1]]:
        if group := item.get(keyword):
            return group[0]
    return dataset


def by_frame(dataset: Dataset, count: int, read: Callable[[int], T]) -> list[T]:
    """Read something for each frame, by its index; only once if no frame has attributes of its own."""
    if dataset.get(PER_FRAME):
        return [read(index) for index in range(count)]
    return [read(0)] * count


def spacing_of(dataset: Dataset, index: int, path: Path) -> Numbers:
    """The distances between rows and between columns of a frame in mm, () if the file has none."""
    group = functional_group(dataset, index, "PixelMeasuresSequence")
    spacing = numbers(group, "PixelSpacing", path, 2)
    if not any(spacing):
        return ()
    if any(distance <= 0 for distance in spacing):
        raise unreadable(group, "PixelSpacing", path, "not 2 positive numbers")
    return spacing


def directions_of(dataset: Dataset, path: Path) -> Numbers:
    """The unit vectors along rows and columns, () if there are none; InputError if they are not perpendicular."""
    directions = numbers(dataset, "ImageOrientationPatient", path, 6)
    if not any(directions):
        return ()
    axes = np.reshape(directions, (2, 3))
    lengths = np.linalg.norm(axes, axis=1, keepdims=True)
    if np.abs(lengths - 1).max() > SKEWED:
        raise unreadable(dataset, "ImageOrientationPatient", path, "not 2 directions of length 1")
    if abs(axes[0] @ axes[1]) > SKEWED:
        raise unreadable(dataset, "ImageOrientationPatient", path, "not 2 perpendicular directions")
    return tuple((axes / lengths).ravel().tolist()) if np.abs(lengths - 1).max() > EXACT else directions


def has_positions(dataset: Dataset) -> bool:
    """True if a functional group says where a frame lies: the file's own attributes cannot place several."""
    groups = [*(dataset.get(PER_FRAME) or []), *(dataset.get(SHARED) or [])]
    return any(group.get("PlanePositionSequence") for group in groups)


def plane_of(dataset: Dataset, index: int, path: Path) -> Plane | None:
    """The place of a frame by its functional groups, None if it has no position; InputError if it has no directions."""
    position = numbers(functional_group(dataset, index, "PlanePositionSequence"), "ImagePositionPatient", path, 3)
    directions = directions_of(functional_group(dataset, index, "PlaneOrientationSequence"), path)
    if not position:
        return None
    if not directions:
        reason = f"frame {index + 1} has a position, but no Image Orientation (Patient) (0020,0037)"
        raise InputError(path, reason, "export it with the orientation of its frames, or as NIfTI")
    return position, directions, spacing_of(dataset, index, path)
