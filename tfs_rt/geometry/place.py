"""The place of a picture as a volume, and the place of a result on a grid in the terms of its format."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from tfs_rt.errors import InputError
from tfs_rt.formats.dicom.placement import is_placed
from tfs_rt.formats.picture import Picture
from tfs_rt.formats.registry import place_format
from tfs_rt.formats.volume import LPS_RAS, Grid, Matrix, Volume
from tfs_rt.geometry.grid import image_without_spacing

FLAT = 1.0  # mm: thickness of a single slice that does not say its own
PLACE = ("rows", "columns", "planes", "spacing", "thickness", "frame_of_reference")  # fields of a DICOM frame
OF_PLACE = ("PatientOrientation", "PositionReferenceIndicator")  # attributes that describe a place


def volume_of(picture: Picture, grid: Grid) -> Volume:
    """The values behind a picture's levels on its grid, or its levels where it has none."""
    if picture.measured:
        return Volume(picture.measured.values, grid.to_world)
    return Volume(np.stack(picture.slices), grid.to_world)


def grid_in_space(picture: Picture) -> Grid | None:
    """The place of a picture in the patient, in mm (LPS); None if its file does not say it."""
    frame = picture.frame
    if frame is None:
        return None
    is_dicom = place_format(picture.facts["format"]) == "dicom"
    to_world = _of_planes(frame) if is_dicom else _of_nifti(frame)
    return None if to_world is None else Grid(_shape(picture), to_world)


def grid_of_plane(picture: Picture, name: str) -> Grid:
    """The grid of a single image without a place: its own plane, centred on the origin.

    InputError for a volume, named by `name`.
    """
    depth, height, width = _shape(picture)
    if depth > 1:
        reason = "is a volume that does not say where it lies in space"
        raise InputError(name, reason, "export it with its place, or as NIfTI with an orientation")
    grid = image_without_spacing(height, width)
    spacing = _pixel_spacing(picture)
    if spacing is None:
        return grid
    # Put pixels of their own size about the same centre.
    row_step, column_step = spacing
    to_world = np.diag([column_step, row_step, FLAT, 1.0])
    to_world[:2, 3] = [-column_step * (width - 1) / 2, -row_step * (height - 1) / 2]
    return Grid(grid.shape, to_world)


def has_pixel_spacing(picture: Picture) -> bool:
    """True if a picture without a place says how large its pixels are."""
    return _pixel_spacing(picture) is not None


def dicom_place(grid: Grid, frame_of_reference: str) -> dict[str, Any]:
    """The fields of a DICOM frame that say where its slices lie, for a grid whose axes are perpendicular."""
    depth, rows, columns = grid.shape
    directions = tuple(grid.directions[:, :2].T.ravel().tolist())
    column_step, row_step, step = grid.spacing.tolist()
    positions = [grid.to_world[:3, 3] + grid.to_world[:3, 2] * index for index in range(depth)]
    return {
        "rows": rows,
        "columns": columns,
        "planes": tuple((tuple(place.tolist()), directions, (row_step, column_step)) for place in positions),
        "spacing": (row_step, column_step),
        "thickness": step,
        "frame_of_reference": frame_of_reference,
    }


def moved_dicom_frame(own: dict[str, Any], place: dict[str, Any], attributes: dict[str, Any]) -> dict[str, Any]:
    """A source's DICOM frame after it was resampled to the place of another, whose attributes are `attributes`.

    Patient, study and references stay its own. What describes a place is the other's.
    """
    kept = {keyword: values for keyword, values in own["attributes"].items() if keyword not in OF_PLACE}
    kept |= {keyword: attributes[keyword] for keyword in OF_PLACE if keyword in attributes}
    return own | place | {"frame_numbers": (), "resampled": True, "attributes": kept}


def nifti_frame(grid: Grid) -> dict[str, Any]:
    """The frame of a NIfTI volume whose stored axes are those of the grid: columns, rows, slices."""
    from tfs_rt.formats.nifti.space import UNTURNED, Frame
    from tfs_rt.formats.nifti.values import ALIGNED, MM

    depth, height, width = grid.shape
    none = {"quatern_b": 0.0, "quatern_c": 0.0, "quatern_d": 0.0}
    frame = Frame(
        version=1,
        shape=(width, height, depth),
        to_view=UNTURNED.tolist(),
        sform=(LPS_RAS @ grid.to_world).tolist(),
        qform=None,
        pixdim=[1.0, *grid.spacing.tolist()],
        copied={"sform_code": ALIGNED, "qform_code": 0, "xyzt_units": MM, **none},
    )
    return dataclasses.asdict(frame)


def _shape(picture: Picture) -> tuple[int, int, int]:
    height, width = picture.slices[0].shape[:2]
    return len(picture.slices), height, width


def _of_planes(frame: dict[str, Any]) -> Matrix | None:
    """(4, 4) from voxels to mm, by the planes of DICOM; its reader has checked that they are parallel and even."""
    if not is_placed(frame):
        return None
    planes = frame["planes"]
    position, directions, (row_step, column_step) = planes[0]
    across, down = np.reshape(directions, (2, 3))
    step = np.cross(across, down) * (frame["thickness"] or FLAT)
    if len(planes) > 1:
        step = (np.array(planes[-1][0]) - position) / (len(planes) - 1)
    to_world = np.eye(4)
    to_world[:3] = np.column_stack([across * column_step, down * row_step, step, position])
    return to_world


def _of_nifti(frame: dict[str, Any]) -> Matrix | None:
    """(4, 4) from the voxels of the slices that are shown to mm, by a NIfTI header."""
    from nibabel.orientations import inv_ornt_aff

    from tfs_rt.formats.nifti.space import MILLIMETRES, Frame

    stored = Frame(**frame)
    if stored.affine is None:
        return None
    unit = MILLIMETRES.get(stored.copied["xyzt_units"] & 7, 1)
    to_mm = np.diag([unit, unit, unit, 1.0])
    return LPS_RAS @ to_mm @ stored.affine @ inv_ornt_aff(stored.to_view, stored.shape)


def _pixel_spacing(picture: Picture) -> tuple[float, float] | None:
    """mm between the rows and between the columns of an image without a place; None if it does not say."""
    frame = picture.frame or {}
    # The axes of NIfTI without a place are taken as stored: columns, then rows.
    spacing = frame["pixdim"][2:0:-1] if "pixdim" in frame else frame.get("spacing")
    return (spacing[0], spacing[1]) if spacing and min(spacing) > 0 else None
