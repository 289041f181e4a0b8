"""Schema of a child's answer about a file: a picture, checked part by part before it is used.

The child that decoded the file may have been taken over. It can still lie about its own file; it cannot hand over
anything but the parts below, each of its type and size and in agreement with the slices.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from tfs_rt.formats.picture import MAX_PIXELS, Measured, Picture
from tfs_rt.spec import PLANES

TEXT = 2**14  # characters
LARGEST = 1e300
LARGEST_SINGLE = float(np.finfo(np.float32).max)  # what a NIfTI-1 header can hold
LARGEST_INT = 2**53  # up to which a float is as exact
# Largest numbers of attributes of a source, and of values of one.
TAGS = 64
VALUES = 256
QUATERNION = ("quatern_b", "quatern_c", "quatern_d")  # of a NIfTI header
Check = Callable[[Any], bool]


def checked_picture(answer: Any, name: str | None) -> Picture:
    """The picture in an answer; ValueError names the part that is wrong. `name` is the format by the file's ending."""
    if type(answer) is not tuple or len(answer) not in (4, 5):
        raise ValueError("not a picture")
    slices, facts, subject, frame = answer[:4]
    count, height, width = _size(slices)
    own = facts.get("format") if type(facts) is dict else None
    if type(own) is not str or own not in SCHEMAS or (name and own != name):
        raise ValueError("another format")
    checks = SCHEMAS[own](count, height, width)
    for field, part, check in zip(("facts", "subject", "frame"), answer[1:4], checks, strict=True):
        if not check(part):
            raise ValueError(f"its {field} are not those of a {own} file")
    # The fifth part is there if the values behind the levels were asked for.
    measured = _measured(answer[4], (count, height, width)) if len(answer) == 5 else None
    return Picture(slices, facts, subject, frame, measured)


def _measured(answer: Any, shape: tuple[int, int, int]) -> Measured:
    """The values behind the levels of slices of that shape."""
    if type(answer) is not tuple or len(answer) != 2:
        raise ValueError("not values and a window")
    values, window = answer
    is_window = _many(tuple, _number, 2)(window) and window[0] < window[1]
    if type(values) is not np.ndarray or values.dtype != np.float32 or values.shape != shape or not is_window:
        raise ValueError("not the values of its slices")
    if not np.isfinite(values).all():
        raise ValueError("values that are not finite")
    return Measured(values, window)


def _size(slices: Any) -> tuple[int, int, int]:
    """(number, height, width) of slices of one size."""
    if type(slices) is not tuple or not all(type(image) is np.ndarray for image in slices):
        raise ValueError("not a tuple of arrays")
    shapes = {(image.shape, image.dtype) for image in slices}
    if len(shapes) != 1:
        raise ValueError("not slices of one size")
    ((shape, dtype),) = shapes
    if dtype != np.uint8 or len(shape) != 3 or shape[2] != 3 or not 0 < shape[0] * shape[1] <= MAX_PIXELS:
        raise ValueError(f"slices of {dtype}, {shape}")
    return len(slices), shape[0], shape[1]


# --- Kinds of values


def _text(value: Any) -> bool:
    return type(value) is str and len(value) <= TEXT


def _number(value: Any) -> bool:
    if type(value) is int:
        return abs(value) <= LARGEST_INT
    return type(value) is float and abs(value) <= LARGEST


def _single(value: Any) -> bool:
    return _number(value) and abs(value) <= LARGEST_SINGLE


def _single_or_none(value: Any) -> bool:
    """A float32; also NaN and infinity, which fields that do not count may hold."""
    return type(value) is float and (not math.isfinite(value) or _single(value))


def _whole(least: int, most: int) -> Check:
    return lambda value: type(value) is int and least <= value <= most


def _one_of(*values: Any) -> Check:
    return lambda value: any(_same(value, one) for one in values)


def _same(value: Any, wanted: Any) -> bool:
    """Equality in value and type, for the items of a tuple as well: 1, 1.0, True and an array of one 1 differ."""
    if type(value) is not type(wanted):
        return False
    if type(value) is not tuple:
        return value == wanted
    return len(value) == len(wanted) and all(map(_same, value, wanted))


def _either(*checks: Check) -> Check:
    return lambda value: any(check(value) for check in checks)


def _many(kind: type, check: Check, least: int, most: int | None = None) -> Check:
    """A list or a tuple of so many values; of exactly `least` without `most`."""

    def holds(value: Any) -> bool:
        return type(value) is kind and least <= len(value) <= (most or least) and all(map(check, value))

    return holds


def _record(required: dict[str, Check], optional: dict[str, Check] | None = None) -> Check:
    """A dict with all of the required keys, any of the optional ones, and no others."""
    known = required | (optional or {})

    def holds(value: Any) -> bool:
        if type(value) is not dict or not required.keys() <= value.keys() <= known.keys():
            return False
        return all(known[key](item) for key, item in value.items())

    return holds


def _attributes(value: Any) -> bool:
    """Texts by keyword, as DICOM has them."""
    words = _many(tuple, _text, 1, VALUES)
    if type(value) is not dict or len(value) > TAGS:
        return False
    return all(type(key) is str and key.isidentifier() and len(key) <= TAGS and words(v) for key, v in value.items())


# --- Formats: the facts, subject and frame of an answer with so many slices of a size

Checks = tuple[Check, Check, Check]
WINDOW = {"window_from": _one_of("user", "file", "data", "head"), "nan_voxels": _whole(0, 2**53)}


def _absent(value: Any) -> bool:
    return value is None


def _plain(_count: int, _height: int, _width: int) -> Checks:
    """PNG, TIFF, JPEG, GIF, BMP: formats without a subject and a place."""
    facts = _record({"format": _text, "mode": _text, "levels": _text}, {**WINDOW, "window_from": _one_of("user")})
    return facts, _record({}), _absent


def _dicom(count: int, height: int, width: int) -> Checks:
    # Check the facts about all slices.
    words = ("modality", "transfer_syntax_uid", "photometric_interpretation", "levels")
    uids = ("sop_class_uid", "sop_instance_uid", "series_instance_uid", "study_instance_uid", "frame_of_reference_uid")
    facts = _record(
        {"format": _text, **dict.fromkeys(words, _text), "frames": _one_of(count)},
        {
            **dict.fromkeys((*uids, "lossy"), _text),
            **WINDOW,
            "wide_window_hu": _number,
            "order_from": _text,
            "files": _whole(1, count),
            "scattered_uids": _one_of(count),
            "capture": _one_of(True),
            "frame_order": _permutation(count),
        },
    )
    # Check the patient's data, and where the slices lie in space.
    persons = ("patient", "issuer of the patient's id", "patient's birth date", "patient's name", "frame of reference")
    point = _many(list, _number, 3)
    grid = _grid((height, width), _many(list, _many(list, point, 4), count))
    place = {
        "grid": grid,
        "image orientation": _grid((6,), _many(list, _number, 6)),
        "image position": _grid((count,), _many(list, point, count)),
        "position of the first slice": _grid((1,), _many(list, point, 1)),
        "patient orientation": _text,
    }
    subject = _record({}, {**dict.fromkeys(persons, _text), **place})
    # Check the attributes that a written file copies.
    frame = {
        "instances": _many(tuple, _many(tuple, _text, 2), count),
        "rows": _one_of(height),
        "columns": _one_of(width),
        "planes": _many(tuple, _either(_absent, _plane), count),
        "frame_numbers": _either(_one_of(()), _permutation(count, tuple)),
        "frame_of_reference": _text,
        "spacing": _either(_many(tuple, _number, 0), _many(tuple, _number, 2)),
        "thickness": _either(_absent, _number),
        "lossy": _one_of(True, False),
        "attributes": _attributes,
        "deidentified_by": _many(tuple, _many(tuple, _text, 3), 0, VALUES),
        "resampled": _one_of(False),
    }
    return facts, subject, _record(frame)


def _permutation(count: int, kind: type = list) -> Check:
    """The numbers of all frames, from 1, each once."""
    whole = _many(kind, _whole(1, count), count)
    return lambda value: whole(value) and len(set(value)) == count


def _plane(value: Any) -> bool:
    """Position, orientation and spacing, which may be unknown."""
    if type(value) is not tuple or len(value) != 3:
        return False
    spacing = _either(_many(tuple, _number, 0), _many(tuple, _number, 2))
    checks = (_many(tuple, _number, 3), _many(tuple, _number, 6), spacing)
    return all(check(part) for check, part in zip(checks, value, strict=True))


def _nifti(count: int, height: int, width: int) -> Checks:
    # Check the facts about the volume.
    voxels = count * height * width
    code = _whole(0, 5)
    required = {"format": _text, "axes": _text, "levels": _text, "sform_code": code, "qform_code": code}
    facts = _record(
        {**required, "shape": _shape(list, voxels), "voxel_mm": _many(list, _number, 3)},
        {"forms_apart_mm": _number, "wide_window_hu": _number, "plane": _one_of(*PLANES[1:]), **WINDOW},
    )
    # Check where the volume lies in space.
    grid = _grid((width, height, count), _many(list, _many(list, _number, 3), 8))
    subject = _record({"orientation": _one_of("none", "in the header")}, {"grid": grid})
    # Check the header entries that a written file copies.
    form = _either(_absent, _many(list, _many(list, _single, 4), 4))
    frame = {
        "version": _one_of(1, 2),
        "shape": _shape(tuple, voxels),
        "to_view": _turn,
        "sform": form,
        "qform": form,
        "pixdim": _many(list, _single, 4),
        "copied": _header_fields,
    }
    return facts, subject, _record(frame)


def _turn(value: Any) -> bool:
    """A permutation of three axes, each with its direction: nibabel's notation of an orientation."""
    if not _many(list, _many(list, _one_of(0.0, 1.0, 2.0, -1.0), 2), 3)(value):
        return False
    return {axis for axis, _ in value} == {0.0, 1.0, 2.0} and all(abs(direction) == 1 for _, direction in value)


def _header_fields(value: Any) -> bool:
    """Header fields that a result takes over; the quaternion must be finite where its form counts."""
    code = _whole(0, 5)
    codes = {"sform_code": code, "qform_code": code, "xyzt_units": _whole(0, 255)}
    if not _record(codes | dict.fromkeys(QUATERNION, _single_or_none))(value):
        return False
    return value["qform_code"] == 0 or all(math.isfinite(value[name]) for name in QUATERNION)


def _shape(kind: type, voxels: int) -> Check:
    """Three dimensions of so many voxels."""
    dimensions = _many(kind, _whole(1, voxels), 3)
    return lambda value: dimensions(value) and math.prod(value) == voxels


def _grid(size: tuple[int, ...], corners: Check) -> Check:
    """The place of slices in space."""
    return _record({"size": _one_of(size), "corners": corners, "within": _number})


SCHEMAS: dict[str, Callable[[int, int, int], Checks]] = {
    "dicom": _dicom,
    **dict.fromkeys(("nifti", "mgh", "nrrd", "metaimage"), _nifti),
    **dict.fromkeys(("png", "tiff", "jpeg", "gif", "bmp"), _plain),
}
