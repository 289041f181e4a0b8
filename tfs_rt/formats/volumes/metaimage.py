"""Read a volume in MetaImage, with its header and its voxels in one file, `.mha` (itk.org/Wiki/MetaIO/Documentation).

Accepted: three dimensions of one value a voxel, or of three 8-bit colours; voxels as they are, or compressed by zlib.
Places are in DICOM's coordinates (LPS). Fields that are not known here are notes of the writing program.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tfs_rt.errors import InputError
from tfs_rt.formats.conversions import BY_SIMPLEITK, remedy
from tfs_rt.formats.nifti.file import AGAIN, Stored
from tfs_rt.formats.nifti.read import read_volume
from tfs_rt.formats.picture import FileOptions, Picture
from tfs_rt.formats.volumes.stored import TO_RAS, check_length, check_shape, inflate, stored_volume, voxels_of

START = re.compile(rb"(ObjectType|NDims)\s*=")
END = re.compile(rb"^ElementDataFile[ \t]*=[ \t]*([^\r\n]*)\r?\n", re.MULTILINE)  # the last line of the header
MAX_HEADER = 2**20  # bytes
KINDS = {
    "MET_CHAR": "i1",
    "MET_UCHAR": "u1",
    "MET_SHORT": "i2",
    "MET_USHORT": "u2",
    "MET_INT": "i4",
    "MET_UINT": "u4",
    "MET_LONG_LONG": "i8",
    "MET_ULONG_LONG": "u8",
    "MET_FLOAT": "f4",
    "MET_DOUBLE": "f8",
}
# Names of one field.
DIRECTIONS = ("TransformMatrix", "Rotation", "Orientation")
ORIGINS = ("Offset", "Position", "Origin")
SIZES = ("ElementSpacing", "ElementSize")
BIG_ENDIAN = ("BinaryDataByteOrderMSB", "ElementByteOrderMSB")
# What these fields must be, if they are there: otherwise the voxels mean something else.
REQUIRED = {
    "ObjectType": ("Image",),
    "HeaderSize": ("0",),
    "ElementToIntensityFunctionSlope": ("1", "1.0"),
    "ElementToIntensityFunctionOffset": ("0", "0.0"),
}
TRUE = ("true", "1", "t", "yes")
FALSE = ("false", "0", "f", "no")
Fields = dict[str, str]


def read(data: bytes, path: Path, options: FileOptions) -> Picture:
    """The slices of a file's bytes; InputError names `path`, the reason and the remedy."""
    return read_volume("MetaImage", read_stored, data, path, options)


def read_stored(data: bytes, path: Path) -> Stored:
    """The one volume of a file; InputError, or any other error if it is damaged."""
    # Read the header.
    end = END.search(data, 0, MAX_HEADER)
    if not START.match(data) or end is None:
        raise InputError(path, "is not a MetaImage file", "convert it, or give it the ending of its own format")
    if end[1].strip().lower() != b"local":
        raise InputError(path, "is a header whose voxels are in another file", remedy(BY_SIMPLEITK, path))
    fields = _fields(data[: end.start()], path)
    # Find the kind and number of its values.
    voxel = _voxel(fields, path)
    shape = tuple(map(int, fields["DimSize"].split()))
    if len(shape) != int(fields["NDims"]):
        raise InputError(path, "damaged MetaImage (DimSize and NDims disagree)", AGAIN)
    size = check_shape(shape, voxel, path)
    # Read the voxels.
    content = data[end.end() :]
    if _is_true(fields, "CompressedData"):
        if "CompressedDataSize" in fields:
            check_length(content, int(fields["CompressedDataSize"]), path)
        content = inflate(content, size, path)
    check_length(content, size, path)
    return stored_volume(voxels_of(content, shape, voxel), *_place(fields))


def _fields(header: bytes, path: Path) -> Fields:
    """The header's fields; InputError for one that changes what the voxels mean."""
    fields: Fields = {}
    for line in header.decode("latin-1").splitlines():
        name, separator, value = line.partition("=")
        name = name.strip()
        if not separator or name in fields:
            raise InputError(path, f"damaged MetaImage (the line {line[:60]!r})", AGAIN)
        fields[name] = value.strip()
    if not _is_true(fields, "BinaryData"):
        raise InputError(path, "holds its values as text", remedy(BY_SIMPLEITK, path))
    for name, accepted in REQUIRED.items():
        if name in fields and fields[name] not in accepted:
            reason = f"has {name} = {fields[name]}, which is not read"
            raise InputError(path, reason, "save it as NIfTI, by what wrote it")
    return fields


def _voxel(fields: Fields, path: Path) -> np.dtype[Any]:
    """The kind of a voxel, of three parts for colours; InputError if it is not read."""
    kind = KINDS.get(fields["ElementType"].removesuffix("_ARRAY"))
    channels = int(fields.get("ElementNumberOfChannels", "1"))
    if kind is None or channels != 1:
        if (kind, channels) == ("u1", 3):
            return np.dtype((np.uint8, 3))
        reason = f"holds {channels} values of {fields['ElementType']} a voxel"
        raise InputError(path, reason, "convert it to one float, short or 8-bit value a voxel, or to 8-bit RGB")
    return np.dtype((">" if _is_true(fields, *BIG_ENDIAN) else "<") + kind)


def _is_true(fields: Fields, *names: str) -> bool:
    """The truth of the first of these fields that is there; False without one. ValueError if it is no truth."""
    value = next((fields[name] for name in names if name in fields), "False").lower()
    if value not in (*TRUE, *FALSE):
        raise ValueError(f"{names[0]} = {value}")
    return value in TRUE


def _numbers(fields: Fields, names: tuple[str, ...], count: int) -> list[float] | None:
    """The numbers of the first of these fields that is there; ValueError unless they are so many."""
    text = next((fields[name] for name in names if name in fields), None)
    if text is None:
        return None
    numbers = [float(number) for number in text.split()]
    if len(numbers) != count:
        raise ValueError(f"{names[0]} = {text}")
    return numbers


def _place(fields: Fields) -> tuple[NDArray[np.float64] | None, tuple[float, ...]]:
    """The matrix from voxels to RAS, None without directions, and the voxels' sizes."""
    sizes = tuple(_numbers(fields, SIZES, 3) or (1.0, 1.0, 1.0))
    if min(sizes) <= 0:
        raise ValueError(f"{SIZES[0]} = {sizes}")
    directions = _numbers(fields, DIRECTIONS, 9)
    if directions is None:
        return None, sizes
    matrix = np.eye(4)
    matrix[:3, :3] = np.reshape(directions, (3, 3)).T * sizes
    matrix[:3, 3] = _numbers(fields, ORIGINS, 3) or (0.0, 0.0, 0.0)
    return TO_RAS @ matrix, sizes
