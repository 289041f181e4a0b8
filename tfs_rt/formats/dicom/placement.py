"""The place of a result's slices in space, from the place of a source's slices of another size in pixels.

The outer corners of a slice stay where they are. If its n columns become n', then with r = n / n' the distance between
columns becomes r times as large, and the centre of the first column moves by (r - 1) / 2 old columns; rows likewise.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

Numbers = tuple[float, ...]


class Slice(NamedTuple):
    """The place of one slice, in mm of the patient's coordinates (PS3.3 C.7.6.2)."""

    position: Numbers  # of the centre of the first pixel: (x, y, z)
    directions: Numbers  # along a row and along a column: two unit vectors
    spacing: Numbers  # between rows, and between columns
    location: float  # along the normal of the first slice


class Placement(NamedTuple):
    """The places of all slices of a result, in order."""

    slices: tuple[Slice, ...]
    between: float | None  # distance of two neighbours along the normal in mm; None for a single slice
    thickness: float | None  # of a slice in mm; None if it is unknown
    frame_of_reference: str  # UID; empty if it is unknown


def is_placed(frame: dict[str, Any] | None) -> bool:
    """True if a `Picture.frame` of DICOM gives the whole place of every slice, with distinct places."""
    planes = frame["planes"] if frame else ()
    return all(plane and plane[2] for plane in planes) and len({plane[0] for plane in planes}) == len(planes) > 0


def placement_of(frames: Sequence[dict[str, Any]], rows: int, columns: int) -> Placement | None:
    """The places of result slices of `rows` x `columns` pixels, by the first of some frames that gives them.

    None if no frame does.
    """
    frame = next((frame for frame in frames if is_placed(frame)), None)
    if not frame:
        return None
    # Place each slice, and measure how far apart they lie.
    normal = np.cross(frame["planes"][0][1][:3], frame["planes"][0][1][3:])
    scale = (frame["rows"] / rows, frame["columns"] / columns)
    slices = tuple(_resized(plane, scale, normal) for plane in frame["planes"])
    steps = np.diff([one.location for one in slices])
    # A source without a frame of reference of its own lies in that of the others: they have one grid.
    reference = next((uid for one in (frame, *frames) if (uid := one["frame_of_reference"])), "")
    return Placement(slices, float(np.abs(steps).mean()) if len(steps) else None, frame["thickness"], reference)


def _resized(plane: tuple[Numbers, Numbers, Numbers], scale: tuple[float, float], normal: np.ndarray) -> Slice:
    """A slice whose pixels are `scale` times as far apart (rows, columns), in the same outer corners."""
    position, directions, spacing = plane
    row_step, column_step = (distance * factor for distance, factor in zip(spacing, scale, strict=True))
    along_row, along_column = np.array(directions[:3]), np.array(directions[3:])
    first = np.array(position) + along_row * (column_step - spacing[1]) / 2 + along_column * (row_step - spacing[0]) / 2
    # Minus zero is written as zero.
    location = float(first @ normal) + 0.0
    return Slice(tuple((first + 0.0).tolist()), directions, (row_step, column_step), location)
