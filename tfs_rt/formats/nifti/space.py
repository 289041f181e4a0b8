"""The place of a NIfTI volume: which way its axes run, and where it lies in the patient.

A volume is viewed with its indices (column, row, slice) running as VIEWS say for the plane of its slices. Without an
orientation in the header nobody knows left from right: then the first stored axis runs along the columns and the second
along the rows, and the facts say so.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from nibabel.nifti1 import Nifti1Header
from nibabel.nifti2 import Nifti2Header
from nibabel.orientations import aff2axcodes, axcodes2ornt, inv_ornt_aff, io_orientation, ornt_transform
from numpy.typing import NDArray

from tfs_rt.errors import InputError
from tfs_rt.formats.nifti.file import AGAIN
from tfs_rt.formats.picture import NEAR
from tfs_rt.spec import PLANES

# Nibabel's notation of an orientation: for each axis, where it goes and whether it is flipped.
UNTURNED = axcodes2ornt("RAS")
# Where columns, rows and slices go to: the patient's right, or the face, is at the left. All are right-handed systems.
VIEWS = {"axial": axcodes2ornt("LPS"), "coronal": axcodes2ornt("LIP"), "sagittal": axcodes2ornt("PIR")}
SIMILAR = 0.9  # pixels of at least this share of others' area are as small
DECIMALS = 4  # of that share: rounded headers of one grid choose the same plane
# A share of the smallest voxel: farther apart, a sform and a qform are two places.
FAR = 0.5
MILLIMETRES = {1: 1e3, 3: 1e-3}  # by the header's unit of length, where that is not mm
COPIED = ("sform_code", "qform_code", "quatern_b", "quatern_c", "quatern_d", "xyzt_units")  # no scale changes them
FORMS = {
    "sform_code": ("srow_x", "srow_y", "srow_z"),
    "qform_code": ("quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z"),
}  # the fields of a place, by the code that says whether they count


@dataclass(frozen=True, slots=True)
class Frame:
    """The place of a stored volume: what a result takes over from its file."""

    version: int  # of NIfTI
    shape: tuple[int, ...]  # (X, Y, Z) as stored
    # (3, 2): from the stored axes to columns, rows and slices, in nibabel's notation.
    to_view: list[list[float]]
    # (4, 4): from stored voxels to space, where its code is not 0.
    sform: list[list[float]] | None
    qform: list[list[float]] | None
    pixdim: list[float]  # qfac and three voxel sizes
    copied: dict[str, Any]  # fields of the header

    @property
    def affine(self) -> NDArray[np.float64] | None:
        """(4, 4) from stored voxels to space (RAS); None where the header has no orientation."""
        chosen = self.qform if self.sform is None else self.sform
        return None if chosen is None else np.array(chosen)


def frame_of(
    header: Nifti1Header, shape: tuple[int, ...], path: Path, plane: str | None = None
) -> tuple[Frame, str | None]:
    """The place that a header gives to its volume, and the plane of its slices; None for slices as stored.

    Without `plane`, it is the one of finest resolution. InputError names the field that cannot be read.
    """
    # Check and repair the fields.
    header["pixdim"][0] = -1 if header["pixdim"][0] < 0 else 1  # qfac, as the standard reads it
    if not all(0 <= int(header[name]) <= 5 for name in FORMS):
        raise InputError(path, "damaged NIfTI (an unknown code of orientation)", AGAIN)
    _check_fields(header, path)
    _repair_sizes(header)
    # Find the anatomical axes; both forms must name the same.
    sform = header.get_sform(coded=True)[0]
    qform = header.get_qform(coded=True)[0]
    turns = [
        _orientation(affine, name, path) for name, affine in (("sform", sform), ("qform", qform)) if affine is not None
    ]
    if len(turns) == 2 and (turns[0] != turns[1]).any():
        reason = "its sform and its qform name its axes differently"
        raise InputError(path, reason, "set the code of the wrong one to 0")
    # Choose the plane.
    if turns:
        sides = np.linalg.norm(header.get_best_affine()[:3, :3], axis=0)
        plane = plane or _finest_plane(turns[0], shape, sides)
    elif plane:
        reason = f"has no orientation in its header, so that nobody knows its {plane} slices"
        raise InputError(path, reason, "leave out --plane")
    frame = Frame(
        version=2 if isinstance(header, Nifti2Header) else 1,
        shape=shape,
        to_view=(ornt_transform(turns[0], VIEWS[plane]) if plane else UNTURNED).tolist(),
        sform=None if sform is None else sform.tolist(),
        qform=None if qform is None else qform.tolist(),
        pixdim=header["pixdim"][:4].tolist(),
        copied={name: header[name].item() for name in COPIED},
    )
    return frame, plane


def place_facts(frame: Frame) -> dict[str, Any]:
    """Shape and orientation for the sidecar."""
    affine = frame.affine
    sizes = frame.pixdim[1:] if affine is None else np.linalg.norm(affine[:3, :3], axis=0)
    unit = MILLIMETRES.get(frame.copied["xyzt_units"] & 7, 1)
    unknown = "no orientation in the header: axes taken as stored, the first along columns, the second along rows"
    facts: dict[str, Any] = {
        "shape": list(frame.shape),
        "voxel_mm": [round(float(size) * unit, 6) for size in sizes],
        "axes": unknown if affine is None else f"{''.join(map(str, aff2axcodes(affine)))} as stored",
        "sform_code": frame.copied["sform_code"],
        "qform_code": frame.copied["qform_code"],
    }
    distance = _distance_of_forms(frame)
    if distance > FAR * min(abs(size) for size in sizes):
        facts["forms_apart_mm"] = round(distance * unit, 3)
    return facts


def subject_of(frame: Frame, shape: tuple[int, ...]) -> dict[str, Any]:
    """Shape and place of the turned volume, which are equal for equal volumes however their files store them."""
    if frame.affine is None:
        return {"orientation": "none"}  # not to be laid over a volume that was turned
    affine = frame.affine @ inv_ornt_aff(frame.to_view, frame.shape)
    smallest_side = float(np.linalg.norm(affine[:3, :3], axis=0).min())
    grid = {"size": shape[:3], "corners": _corners(affine, shape[:3]).tolist(), "within": NEAR * smallest_side}
    return {"orientation": "in the header", "grid": grid}


def _check_fields(header: Nifti1Header, path: Path) -> None:
    """InputError names the field that should say where the volume lies, and cannot be read."""
    sizes = [float(size) for size in header["pixdim"][1:4]]
    if header["qform_code"] and not header["sform_code"] and not all(0 <= size < math.inf for size in sizes):
        raise _unreadable("pixdim", sizes, "not 3 lengths", path)
    for code, names in FORMS.items():
        for name in names if header[code] else ():
            values = [float(value) for value in np.atleast_1d(header[name])]
            if not np.isfinite(values).all():
                raise _unreadable(name, values, "not finite", path)


def _repair_sizes(header: Nifti1Header) -> None:
    """Replace voxel sizes that are not lengths: by those of the sform, or without one by their absolute value or 0."""
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


def _finest_plane(orientation: NDArray[Any], shape: tuple[int, ...], sides: NDArray[np.float64]) -> str:
    """The plane of the smallest pixels, for stored axes of these sizes and voxel sides; axial if others are as small.

    Coronal and sagittal tie in volumes of thin axial slices, and in those whose axial pixels alone were made larger.
    A single slice stays as it is.
    """
    if 1 in shape:
        return PLANES[0]
    side_to_side, front_to_back, bottom_to_top = sides[np.argsort(orientation[:, 0])].tolist()
    areas = {
        "axial": side_to_side * front_to_back,
        "coronal": side_to_side * bottom_to_top,
        "sagittal": front_to_back * bottom_to_top,
    }
    finest, second, _ = sorted(areas, key=areas.__getitem__)
    is_alone = round(areas[finest] / areas[second], DECIMALS) < SIMILAR
    return finest if is_alone else PLANES[0]


def _corners(affine: NDArray[Any], shape: tuple[int, ...]) -> NDArray[np.float64]:
    """(8, 3): where the outer corners of a volume lie."""
    places = [[*(np.array(corner) * shape - 0.5), 1] for corner in product((0, 1), repeat=3)]
    return (np.array(places) @ np.asarray(affine, np.float64).T)[:, :3]


def _distance_of_forms(frame: Frame) -> float:
    """The largest distance between a corner by the sform and by the qform, in the header's unit; 0 without both."""
    if frame.sform is None or frame.qform is None:
        return 0.0
    by_sform = _corners(np.array(frame.sform), frame.shape)
    by_qform = _corners(np.array(frame.qform), frame.shape)
    return float(np.linalg.norm(by_sform - by_qform, axis=1).max())
