"""Read a volume in NRRD, with its header and its voxels in one file (teem.sourceforge.net/nrrd/format.html).

Accepted: three dimensions, or a first one of three 8-bit colours; voxels as they are, or compressed by gzip. A field
that is not known here is an error: it could change what the voxels mean. Pairs of a key and a value change nothing.
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
from tfs_rt.formats.volumes.stored import TO_RAS, check_length, check_shape, gunzip, stored_volume, voxels_of

MAGIC = re.compile(rb"NRRD000[1-5]\r?\n")
END = re.compile(rb"\r?\n\r?\n")  # of the header: an empty line
MAX_HEADER = 2**20  # bytes
INTEGERS = {
    "i1": ("signed char", "int8", "int8_t"),
    "u1": ("uchar", "unsigned char", "uint8", "uint8_t"),
    "i2": ("short", "short int", "signed short", "signed short int", "int16", "int16_t"),
    "u2": ("ushort", "unsigned short", "unsigned short int", "uint16", "uint16_t"),
    "i4": ("int", "signed int", "int32", "int32_t"),
    "u4": ("uint", "unsigned int", "uint32", "uint32_t"),
    "i8": ("longlong", "long long", "long long int", "signed long long", "signed long long int", "int64", "int64_t"),
    "u8": ("ulonglong", "unsigned long long", "unsigned long long int", "uint64", "uint64_t"),
}
KINDS = {word: code for code, words in INTEGERS.items() for word in words} | {"float": "f4", "double": "f8"}
BYTE_ORDERS = {"little": "<", "big": ">"}
# To RAS, by the name of the space.
SPACES = {
    **dict.fromkeys(("right-anterior-superior", "ras"), np.eye(4)),
    **dict.fromkeys(("left-anterior-superior", "las"), np.diag([-1.0, 1.0, 1.0, 1.0])),
    **dict.fromkeys(("left-posterior-superior", "lps"), TO_RAS),
}
COLOURS = ("rgb-color", "3-color", "vector")  # kinds of a first dimension of three 8-bit values
USED = ("type", "dimension", "sizes", "encoding", "endian", "space", "space directions", "space origin", "spacings")
IGNORED = (
    *("content", "number", "min", "max", "kinds", "labels", "units", "centerings", "centers", "thicknesses"),
    *("sample units", "sampleunits", "space units", "space dimension", "measurement frame", "axis mins", "axis maxs"),
    *("axismins", "axismaxs"),
)  # they change neither the voxels nor their places
Fields = dict[str, str]


def read(data: bytes, path: Path, options: FileOptions) -> Picture:
    """The slices of a file's bytes; InputError names `path`, the reason and the remedy."""
    return read_volume("NRRD", read_stored, data, path, options)


def read_stored(data: bytes, path: Path) -> Stored:
    """The one volume of a file; InputError, or any other error if it is damaged."""
    # Read the header.
    end = END.search(data, 0, MAX_HEADER)
    if not MAGIC.match(data):
        raise InputError(path, "is not a NRRD file", "convert it, or give it the ending of its own format")
    fields = _fields(data[: end.start()] if end else data[:MAX_HEADER], path)
    if end is None:
        raise InputError(path, "damaged NRRD (its header has no end)", AGAIN)
    # Find the kind and number of its values.
    voxel = _voxel(fields, path)
    shape = tuple(map(int, fields["sizes"].split()))
    if len(shape) != int(fields["dimension"]):
        raise InputError(path, "damaged NRRD (as many sizes as dimensions are missing)", AGAIN)
    is_colour = _is_colour(fields, shape, voxel)
    if is_colour:
        voxel = np.dtype((np.uint8, 3))
        shape = shape[1:]
    size = check_shape(shape, voxel, path)
    # Read the voxels.
    content = data[end.end() :]
    encoding = fields["encoding"].lower()
    if encoding in ("gzip", "gz"):
        content = gunzip(content, size, path)
    elif encoding != "raw":
        raise InputError(path, f"is encoded as {encoding}, which is not read", remedy(BY_SIMPLEITK, path))
    check_length(content, size, path)
    return stored_volume(voxels_of(content, shape, voxel), *_place(fields, 1 if is_colour else 0, path))


def _fields(header: bytes, path: Path) -> Fields:
    """The header's fields by their names in small letters; InputError for one that is not known."""
    fields: Fields = {}
    for line in header.decode("latin-1").splitlines()[1:]:
        if line.startswith("#") or ":=" in line:
            continue
        name, separator, value = line.partition(": ")
        name = name.strip().lower()
        if name in ("data file", "datafile"):
            raise InputError(path, "is a header whose voxels are in another file", remedy(BY_SIMPLEITK, path))
        if not separator or name in fields:
            raise InputError(path, f"damaged NRRD (the line {line[:60]!r})", AGAIN)
        if name not in (*USED, *IGNORED):
            raise InputError(path, f"has the field {name!r}, which is not read", "save it as NIfTI, by what wrote it")
        fields[name] = value.strip()
    return fields


def _voxel(fields: Fields, path: Path) -> np.dtype[Any]:
    """The kind of the values; InputError if it is not read."""
    kind = KINDS.get(fields["type"].lower())
    if kind is None:
        raise InputError(path, f"holds values of type {fields['type']}", "convert it to float, short or uchar")
    order = BYTE_ORDERS[fields["endian"].lower()] if kind[1] != "1" else "<"
    return np.dtype(order + kind)


def _is_colour(fields: Fields, shape: tuple[int, ...], voxel: np.dtype[Any]) -> bool:
    """True if the first dimension holds three 8-bit colours."""
    kinds = fields.get("kinds", "").lower().split()
    return len(shape) == 4 and shape[0] == 3 and voxel == np.uint8 and bool(kinds) and kinds[0] in COLOURS


def _place(fields: Fields, first: int, path: Path) -> tuple[NDArray[np.float64] | None, tuple[float, ...]]:
    """The matrix from voxels to RAS, None without one, and the voxels' sizes; `first` is the first axis in space."""
    # Without directions only sizes are known.
    if "space directions" not in fields:
        spacings = fields.get("spacings", "").split()[first:] or ["1"] * 3
        return None, tuple(1.0 if size.lower() == "nan" else float(size) for size in spacings)
    # The directions of the axes, in mm for one voxel.
    space = fields.get("space", "").lower()
    if space not in SPACES:
        reason = f"lies in the space {space or 'without a name'!r}, of which left and right are not known"
        raise InputError(path, reason, "save it in left-posterior-superior")
    if set(re.findall(r'"([^"]*)"', fields.get("space units", ""))) - {"mm"}:
        raise InputError(path, f"has the units {fields['space units']}", "save it in mm")
    vectors = re.findall(r"none|\([^()]*\)", fields["space directions"].lower())[first:]
    matrix = np.eye(4)
    matrix[:3, :3] = np.transpose([_vector(vector) for vector in vectors])
    if "space origin" in fields:
        matrix[:3, 3] = _vector(fields["space origin"])
    return SPACES[space] @ matrix, tuple(np.linalg.norm(matrix[:3, :3], axis=0).tolist())


def _vector(text: str) -> list[float]:
    """Three numbers, as in (1,0,0)."""
    numbers = [float(number) for number in text.strip().removeprefix("(").removesuffix(")").split(",")]
    if len(numbers) != 3:
        raise ValueError(f"{text} is not a vector")
    return numbers
