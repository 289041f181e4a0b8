"""Siemens mosaics: the slices of a volume as tiles of one image, row by row.

The position in the file is that of a slice of the mosaic's size around the same centre, so that the first tile's is
half the difference of the sizes further on. The CSA header says how many tiles there are, and to which side of the
first slice the others lie. (nibabel's documentation, "Siemens mosaic format")
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from pydicom import Dataset

from tfs_rt.errors import InputError
from tfs_rt.formats.dicom.csa import read_csa
from tfs_rt.formats.dicom.layout import layout_of
from tfs_rt.formats.dicom.multiframe import frame_groups, is_lossy, multiframe, native_frames
from tfs_rt.formats.dicom.numbers import number
from tfs_rt.formats.dicom.planes import Numbers, Plane
from tfs_rt.formats.dicom.slices import planes_of_slices

MOSAIC = "MOSAIC"  # in Image Type
CSA_CREATOR = "SIEMENS CSA HEADER"
MR_CREATOR = "SIEMENS MR HEADER"
CONVERT = "convert it with dcm2niix, and give the NIfTI volume"
PARALLEL = 1e-3  # the most by which two normals may differ


def is_mosaic(dataset: Dataset) -> bool:
    """True for a Siemens mosaic, and for a dataset that was made of one."""
    kinds = dataset.get("ImageType") or ()
    return MOSAIC in ([kinds] if isinstance(kinds, str) else list(kinds))


def without_mosaic(dataset: Dataset, path: Path) -> Dataset:
    """A multi-frame dataset of a mosaic's tiles, or any other dataset as it is.

    InputError if a mosaic cannot be taken apart.
    """
    if not is_mosaic(dataset):
        return dataset
    # Read the number of tiles and the normal.
    layout = layout_of(dataset, path)
    count, normal = _header(dataset, path)
    across = math.isqrt(count - 1) + 1
    if layout.frames != 1 or layout.samples != 1 or layout.rows % across or layout.columns % across:
        reason = f"is a mosaic of {count} tiles, which do not fit its {layout.columns}x{layout.rows} pixels"
        raise InputError(path, reason, CONVERT)
    # Cut the tiles out.
    native = native_frames(dataset, layout, path)
    size = (layout.rows // across, layout.columns // across)
    values = np.frombuffer(native.content, f"V{native.bits // 8}")
    tiles = values.reshape(across, size[0], across, size[1]).swapaxes(1, 2).reshape(-1, *size)
    frames = native._replace(content=tiles[:count].tobytes())
    # Place them.
    planes = _planes(dataset, normal, count, (layout.rows, layout.columns), path)
    groups = [frame_groups(plane, PixelMeasuresSequence=dataset) for plane in planes]
    return multiframe(dataset, frames, size, groups, is_lossy(dataset))


def _header(dataset: Dataset, path: Path) -> tuple[int, Numbers]:
    """The number of tiles and the direction of the slices, by the CSA header."""
    csa: dict[str, list[str]] = {}
    try:
        csa = read_csa(dataset.private_block(0x29, CSA_CREATOR)[0x10].value)
        normal = tuple(float(text) for text in csa["SliceNormalVector"])
        count = int(csa["NumberOfImagesInMosaic"][0])
    except (KeyError, ValueError, IndexError, TypeError) as error:
        raise InputError(
            path, "is a Siemens mosaic without a CSA header that says how to take it apart", CONVERT
        ) from error
    if count < 1 or len(normal) != 3 or count != _private_count(dataset, count):
        raise InputError(path, "is a Siemens mosaic whose headers contradict each other", CONVERT)
    return count, normal


def _private_count(dataset: Dataset, default: int) -> int:
    """The number of tiles by the MR header (0019,xx0A)."""
    try:
        return int(dataset.private_block(0x19, MR_CREATOR)[0x0A].value)
    except KeyError:
        return default


def _planes(dataset: Dataset, normal: Numbers, count: int, mosaic: tuple[int, int], path: Path) -> list[Plane]:
    """The places of the tiles of a mosaic of a size (rows, columns)."""
    # The place of the mosaic as if it were one slice.
    (plane,) = planes_of_slices(dataset, 1, path)
    step = number(dataset, "SpacingBetweenSlices", path) or 0.0
    if plane is None or not plane[2] or (step <= 0 and count > 1):
        raise InputError(path, "is a Siemens mosaic without a place, or without a distance of its slices", CONVERT)
    position, directions, spacing = (np.array(part) for part in plane)
    # The direction from slice to slice is the normal of the plane, with the sign of the header's.
    upright = np.cross(directions[:3], directions[3:])
    sign = np.sign(upright @ normal)
    if not np.abs(upright - sign * np.array(normal)).max() <= PARALLEL:  # NaN does not pass
        raise InputError(path, "is a Siemens mosaic whose slices do not lie along their normal", CONVERT)
    # The first tile's corner.
    across = math.isqrt(count - 1) + 1
    rows, columns = ((side - side / across) / 2 for side in mosaic)
    first = position + columns * spacing[1] * directions[:3] + rows * spacing[0] * directions[3:]
    corners = [first + index * step * sign * upright for index in range(count)]
    return [(tuple(corner.tolist()), plane[1], plane[2]) for corner in corners]
