"""Read a NIfTI volume as axial slices, and write a fused one back where it came from.

A volume is turned by flips and permutations of its axes alone, to the nearest anatomical ones, and sliced along the
axis nearest to superior, from below upwards. Each slice is shown in the radiological view of the pictures that the
models were trained on: row 0 is anterior and column 0 is the patient's right, so indices (column, row, slice) run
towards Left, Posterior and Superior. Where the header has no orientation, nobody knows left from right: the first
stored axis runs along the columns and the second down the rows, and the facts say so.

Levels: `Rules.window` in scaled values if it is given; else uint8 without scaling as it is; else what `nifti_levels`
chooses, which the facts say. RGB24 is taken as it is.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from nibabel.nifti1 import Nifti1Header
from nibabel.nifti2 import Nifti2Header
from nibabel.orientations import (
    aff2axcodes,
    apply_orientation,
    axcodes2ornt,
    inv_ornt_aff,
    io_orientation,
    ornt_transform,
)
from numpy.typing import NDArray

from tfs_rt.errors import InputError, first_line
from tfs_rt.formats.levels import AS_STORED, SHOWS
from tfs_rt.formats.nifti.file import AGAIN, RGB24, read_stored
from tfs_rt.formats.nifti.window import window_of
from tfs_rt.formats.picture import MAX_PIXELS, NEAR, Picture, Rules, grey, to_levels
from tfs_rt.images import RGB

UNTURNED = axcodes2ornt("RAS")  # nibabel's notation: for each axis, where it goes and whether it is flipped
VIEW = axcodes2ornt("LPS")  # columns, rows, slices
FAR = 0.5  # of the smallest voxel: farther apart, a sform and a qform are two places
MILLIMETRES = {1: 1e3, 3: 1e-3}  # by the header's unit of length, where that is not mm
COPIED = ("sform_code", "qform_code", "quatern_b", "quatern_c", "quatern_d", "xyzt_units")  # no scale changes them
FORMS = {
    "sform_code": ("srow_x", "srow_y", "srow_z"),
    "qform_code": ("quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z"),
}  # by the code that says whether they count
LARGEST_NIFTI1 = 2**15 - 1  # voxels along an axis
LEVEL = 6  # of gzip: part of what makes the same case the same bytes


@dataclass(frozen=True, slots=True)
class Frame:
    """Where a stored volume lies in space: what a result takes over from it."""

    version: int  # of NIfTI
    shape: tuple[int, ...]  # (X, Y, Z) as stored
    to_view: list[list[float]]  # (3, 2) from the stored axes to columns, rows and slices, in nibabel's notation
    sform: list[list[float]] | None  # (4, 4) from stored voxels to space, where its code is not 0
    qform: list[list[float]] | None
    pixdim: list[float]  # qfac and three voxel sizes
    copied: dict[str, Any]  # fields of the header

    @property
    def affine(self) -> NDArray[np.float64] | None:
        """(4, 4) from stored voxels to space (RAS); None where the header has no orientation."""
        chosen = self.qform if self.sform is None else self.sform
        return None if chosen is None else np.array(chosen)


def read(data: bytes, path: Path, rules: Rules) -> Picture:
    """The axial slices of a NIfTI file's bytes; InputError names `path`, the reason and the remedy."""
    try:
        with np.errstate(divide="raise", over="raise", invalid="raise"):
            return _picture(data, path, rules)
    except (InputError, MemoryError):
        raise
    except Exception as error:  # EOFError, zlib.error, HeaderDataError, LinAlgError, FloatingPointError ...
        raise InputError(path, f"damaged NIfTI ({first_line(error)})", AGAIN) from error


def _picture(data: bytes, path: Path, rules: Rules) -> Picture:
    header, voxels = read_stored(data, path)
    frame = _frame(header, voxels.shape[:3], path)
    volume = apply_orientation(voxels, frame.to_view)
    _check_slices(volume.shape, path)
    slices, levels = _slices(volume, header, path, rules)
    return Picture(slices, {"format": "nifti", **_place(frame), **levels}, _subject(frame, volume.shape), asdict(frame))


def _frame(header: Nifti1Header, shape: tuple[int, ...], path: Path) -> Frame:
    header["pixdim"][0] = -1 if header["pixdim"][0] < 0 else 1  # qfac, as the standard reads it
    if not all(0 <= int(header[name]) <= 5 for name in ("sform_code", "qform_code")):
        raise InputError(path, "damaged NIfTI (an unknown code of orientation)", AGAIN)
    _check_place(header, path)
    _put_sizes(header)
    sform, qform = (form[0] for form in (header.get_sform(coded=True), header.get_qform(coded=True)))
    forms = (("sform", sform), ("qform", qform))
    turns = [_orientation(affine, name, path) for name, affine in forms if affine is not None]
    if len(turns) == 2 and (turns[0] != turns[1]).any():
        reason = "its sform and its qform name its axes differently"
        raise InputError(path, reason, "set the code of the wrong one to 0")
    return Frame(
        version=2 if isinstance(header, Nifti2Header) else 1,
        shape=shape,
        to_view=(ornt_transform(turns[0], VIEW) if turns else UNTURNED).tolist(),
        sform=None if sform is None else sform.tolist(),
        qform=None if qform is None else qform.tolist(),
        pixdim=header["pixdim"][:4].tolist(),
        copied={name: header[name].item() for name in COPIED},
    )


def _check_place(header: Nifti1Header, path: Path) -> None:
    """InputError names the field that should say where the volume lies, and cannot be read."""
    sizes = [float(size) for size in header["pixdim"][1:4]]
    if header["qform_code"] and not header["sform_code"] and not all(0 <= size < math.inf for size in sizes):
        raise _unreadable("pixdim", sizes, "not 3 lengths", path)
    for code, names in FORMS.items():
        for name in names if header[code] else ():
            values = [float(value) for value in np.atleast_1d(header[name])]
            if not np.isfinite(values).all():
                raise _unreadable(name, values, "not finite", path)


def _put_sizes(header: Nifti1Header) -> None:
    """Sizes of voxels that are no lengths become those of the sform, or without one plain lengths, 0 if unknown."""
    sizes = np.array(header["pixdim"][1:4], np.float64)
    if (np.isfinite(sizes) & (sizes >= 0)).all():
        return
    if header["sform_code"]:
        rows = np.array([header[name][:3] for name in FORMS["sform_code"]], np.float64)
        header["pixdim"][1:4] = np.linalg.norm(rows, axis=0)
    else:
        header["pixdim"][1:4] = np.where(np.isfinite(sizes), np.abs(sizes), 0)


def _unreadable(name: str, values: list[float], fault: str, path: Path) -> InputError:
    shown = ", ".join(f"{value:g}" for value in values)
    return InputError(path, f"its {name} is {shown}, {fault}", "correct that field, or write the file again")


def _orientation(affine: NDArray[Any], name: str, path: Path) -> NDArray[Any]:
    """The anatomical axis nearest to each stored one, in nibabel's notation."""
    orientation = io_orientation(affine)
    if np.isnan(orientation).any():
        raise InputError(path, f"damaged NIfTI (the axes of its {name} span no volume)", AGAIN)
    return orientation


def _check_slices(shape: tuple[int, ...], path: Path) -> None:
    width, height = shape[:2]
    if width * height > MAX_PIXELS:
        raise InputError(path, f"slices of {width}x{height} pixels are more than 4096x4096", "crop or shrink it")
    if 1 in (width, height):
        raise InputError(path, f"its axial slices are {width}x{height} pixels", "give a volume or an axial slice")


def _place(frame: Frame) -> dict[str, Any]:
    """What the sidecar says of shape and orientation."""
    affine = frame.affine
    sizes = frame.pixdim[1:] if affine is None else np.linalg.norm(affine[:3, :3], axis=0)
    apart = _apart(frame)
    unit = MILLIMETRES.get(frame.copied["xyzt_units"] & 7, 1)
    unknown = "no orientation in the header: axes taken as stored, the first along columns, the second along rows"
    return {
        "shape": list(frame.shape),
        "voxel_mm": [round(float(size) * unit, 6) for size in sizes],
        "axes": unknown if affine is None else f"{''.join(aff2axcodes(affine))} as stored",
        "sform_code": frame.copied["sform_code"],
        "qform_code": frame.copied["qform_code"],
        **({"forms_apart_mm": round(apart * unit, 3)} if apart > FAR * min(abs(size) for size in sizes) else {}),
    }


def _subject(frame: Frame, shape: tuple[int, ...]) -> dict[str, Any]:
    """Shape and place of the turned volume: equal however the files store it."""
    if frame.affine is None:
        return {"orientation": "none"}  # not to be laid over a volume that was turned
    affine = frame.affine @ inv_ornt_aff(frame.to_view, frame.shape)
    grid = {"size": shape[:3], "corners": _corners(affine, shape[:3]).tolist(), "within": NEAR * _smallest(affine)}
    return {"orientation": "in the header", "grid": grid}


def _corners(affine: NDArray[Any], shape: tuple[int, ...]) -> NDArray[np.float64]:
    """(8, 3): where the outer corners of a volume lie."""
    places = [[*(np.array(corner) * shape - 0.5), 1] for corner in product((0, 1), repeat=3)]
    return (np.array(places) @ np.asarray(affine, np.float64).T)[:, :3]


def _smallest(affine: NDArray[Any]) -> float:
    """The least side of a voxel."""
    return float(np.linalg.norm(np.asarray(affine, np.float64)[:3, :3], axis=0).min())


def _apart(frame: Frame) -> float:
    """How far the sform and the qform lay a corner apart, in the header's unit; 0 where one of them is not set."""
    if frame.sform is None or frame.qform is None:
        return 0.0
    one, other = (_corners(np.array(form), frame.shape) for form in (frame.sform, frame.qform))
    return float(np.linalg.norm(one - other, axis=1).max())


def _slices(
    volume: NDArray[Any], header: Nifti1Header, path: Path, rules: Rules
) -> tuple[tuple[RGB, ...], dict[str, str]]:
    """The slices of a turned volume, and how its values became levels."""
    planes = [volume[:, :, k].swapaxes(0, 1) for k in range(volume.shape[2])]
    if int(header["datatype"]) == RGB24:
        return tuple(np.ascontiguousarray(plane) for plane in planes), {"levels": AS_STORED}
    if volume.dtype.kind == "f" and not np.isfinite(volume).all():
        raise InputError(path, "holds values that are no numbers (NaN or infinite)", "replace them, by 0 for example")
    slope, intercept = (1.0, 0.0) if (scale := header.get_slope_inter())[0] is None else scale
    if rules.window is None and volume.dtype == np.uint8 and (slope, intercept) == (1, 0):
        return tuple(map(grey, planes)), {"levels": AS_STORED}
    window, source, words = window_of(volume, header, (slope, intercept), rules, path)
    if window[0] == window[1]:
        return tuple(np.zeros((*plane.shape, 3), np.uint8) for plane in planes), {
            "levels": words,
            "window_from": source,
        }
    levels = (to_levels(plane * np.float64(slope) + intercept, window) for plane in planes)
    return tuple(map(grey, levels)), {"levels": words, "window_from": source}


def encode(slices: Sequence[RGB], frames: dict[str, Any], text: dict[str, str]) -> bytes:
    """A `.nii.gz` of RGB24 voxels in the axes and the place of slot m1's volume, from its fused slices in order.

    The edges of the volume stay where they were: along an axis of n voxels that has become one of n', voxel i' lies
    at r i' + (r - 1) / 2 of the old ones, r = n / n'.
    """
    frame = Frame(**frames["m1"])
    view = np.stack(slices).transpose(2, 1, 0, 3)  # (columns, rows, slices, RGB)
    volume = apply_orientation(view, ornt_transform(UNTURNED, frame.to_view))
    header = _fused_header(frame, volume.shape[:3])
    kind = "spread recipe" if SHOWS in text else "recipe"  # a result is known by the latter, where its sidecar is lost
    header["descrip"] = f"tfs-rt {kind}:{text['tfs-rt:recipe-sha256'][:16]}"
    content = header.binaryblock + bytes(4) + volume.transpose(2, 1, 0, 3).tobytes()
    return zlib.compress(content, LEVEL, wbits=31)  # gzip, without a time or a name


def _fused_header(frame: Frame, shape: tuple[int, ...]) -> Nifti1Header:
    larger = frame.version == 2 or max(shape) > LARGEST_NIFTI1
    header = (Nifti2Header if larger else Nifti1Header)(endianness="<")
    header.set_data_shape(shape)
    header["datatype"], header["bitpix"], header["vox_offset"] = RGB24, 24, header.single_vox_offset
    for name, value in frame.copied.items():
        header[name] = value
    ratio = np.array(frame.shape) / shape
    header["pixdim"][:4] = frame.pixdim * np.array([1, *ratio])
    finer = np.diag([*ratio, 1])
    finer[:3, 3] = (ratio - 1) / 2
    if frame.sform is not None:
        header["srow_x"], header["srow_y"], header["srow_z"] = (np.array(frame.sform) @ finer)[:3]
    if frame.qform is not None:
        header["qoffset_x"], header["qoffset_y"], header["qoffset_z"] = (np.array(frame.qform) @ finer)[:3, 3]
    return header
