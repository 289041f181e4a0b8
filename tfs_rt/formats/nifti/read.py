"""Read a NIfTI volume as slices in one plane, each an image as a radiologist sees it.

A volume is turned by flips and permutations of its axes alone, to the nearest anatomical ones
(`tfs_rt.formats.nifti.space`), and sliced in the plane of finest resolution, or in the one that the user names. Axial
slices go from below upwards, in the radiological view of the pictures that the models were trained on: row 0 is
anterior and column 0 is the patient's right.

Levels: colours as stored; the user's window in scaled values, if there is one; uint8 without scaling as stored; else
the window that `tfs_rt.formats.nifti.window` chooses.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from nibabel.nifti1 import Nifti1Header
from nibabel.orientations import apply_orientation
from numpy.typing import NDArray

from tfs_rt.errors import InputError, first_line
from tfs_rt.formats.levels import AS_STORED
from tfs_rt.formats.missing import fill_missing
from tfs_rt.formats.nifti.file import AGAIN, RGB24, Stored, read_stored
from tfs_rt.formats.nifti.space import frame_of, place_facts, subject_of
from tfs_rt.formats.nifti.window import choose_window
from tfs_rt.formats.picture import MAX_PIXELS, FileOptions, Measured, Picture, grey, to_levels
from tfs_rt.images import RGB
from tfs_rt.spec import PLANES


def read(data: bytes, path: Path, options: FileOptions) -> Picture:
    """The slices of a NIfTI file's bytes; InputError names `path`, the reason and the remedy."""
    return read_volume("NIfTI", read_stored, data, path, options)


def read_volume(
    title: str, read_stored: Callable[[bytes, Path], Stored], data: bytes, path: Path, options: FileOptions
) -> Picture:
    """The slices of a volume in the format of that title, which `read_stored` reads as NIfTI stores it."""
    try:
        if not data:
            raise InputError(path, "is empty", AGAIN)
        with np.errstate(divide="raise", over="raise", invalid="raise"):
            return _to_picture(title, read_stored(data, path), path, options)
    except (InputError, MemoryError):
        raise
    except Exception as error:  # EOFError, zlib.error, HeaderDataError, LinAlgError, FloatingPointError ...
        raise InputError(path, f"damaged {title} ({first_line(error)})", AGAIN) from error


def _to_picture(title: str, stored: Stored, path: Path, options: FileOptions) -> Picture:
    header, voxels = stored
    frame, plane = frame_of(header, voxels.shape[:3], path, options.plane)
    volume = apply_orientation(voxels, frame.to_view)  # (columns, rows, slices), or with a last axis for RGB
    _check_size(volume.shape, plane, path)
    slices, level_facts, measured = _to_slices(volume, header, path, options)
    turned = {"plane": plane} if plane in PLANES[1:] else {}
    facts = {"format": title.lower(), **place_facts(frame), **turned, **level_facts}
    return Picture(slices, facts, subject_of(frame, volume.shape), asdict(frame), measured)


def _check_size(shape: tuple[int, ...], plane: str | None, path: Path) -> None:
    width, height = shape[:2]
    if width * height > MAX_PIXELS:
        raise InputError(path, f"slices of {width}x{height} pixels are more than 4096x4096", "crop or shrink it")
    if 1 in (width, height):
        reason = f"its {plane or 'stored'} slices are {width}x{height} pixels"
        other = "name the plane of its slice by --plane" if plane else "write its orientation into its header"
        raise InputError(path, reason, f"give a volume, or {other}")


def _to_slices(
    volume: NDArray[Any], header: Nifti1Header, path: Path, options: FileOptions
) -> tuple[tuple[RGB, ...], dict[str, Any], Measured | None]:
    """The slices of a turned volume, facts about how its values became levels, and the values if options keep them."""
    planes = _planes(volume)
    # Colour is taken as stored.
    if int(header["datatype"]) == RGB24:
        return tuple(np.ascontiguousarray(plane) for plane in planes), {"levels": AS_STORED}, None
    # So are 8 bits without scaling, unless the user gives a window.
    scale = header.get_slope_inter()
    slope, intercept = (1.0, 0.0) if scale[0] is None else scale
    if options.window is None and volume.dtype == np.uint8 and (slope, intercept) == (1, 0):
        return tuple(map(grey, planes)), {"levels": AS_STORED}, None
    # All other values go through a window.
    filled = fill_missing(volume, path, options)
    choice = choose_window(filled.values, header, (slope, intercept), options, path)
    window = choice.window
    facts = {"levels": choice.words + filled.words, "window_from": choice.origin, **filled.facts}
    if choice.wide:
        facts["wide_window_hu"] = choice.wide
    if window[0] == window[1]:
        return tuple(np.zeros((*plane.shape, 3), np.uint8) for plane in planes), facts, None
    slices: list[RGB] = []
    values: list[NDArray[np.float32]] = []
    for k, plane in enumerate(_planes(filled.values)):
        scaled = plane * np.float64(slope) + intercept
        levels = to_levels(scaled, window)
        filled.blacken(levels.T, (..., k))
        slices.append(grey(levels))
        if options.keep_values:
            # Missing values become the value of black.
            filled.blacken(scaled.T, (..., k), window[0])
            values.append(scaled.astype(np.float32))
    return tuple(slices), facts, Measured(np.stack(values), window) if values else None


def _planes(volume: NDArray[Any]) -> list[NDArray[Any]]:
    """The slices (rows, columns) of a volume (columns, rows, slices)."""
    return [volume[:, :, k].swapaxes(0, 1) for k in range(volume.shape[2])]
