"""A NIfTI file's bytes to its header and its voxels as stored.

The header says how many bytes the file has: as many, and no more, are read. A gzip stream is read to its end, where
its CRC and its length are checked. nibabel's own loader does neither.
"""

from __future__ import annotations

import gzip
import io
import math
from pathlib import Path
from shlex import quote
from typing import Any, NamedTuple

import numpy as np
from nibabel.nifti1 import Nifti1Header
from nibabel.nifti2 import Nifti2Header
from numpy.typing import NDArray

from tfs_rt.errors import InputError

MAX_BYTES = 2**30
MAX_EXTENSIONS = 2**24  # bytes of header extensions, which are skipped
MAX_VOXELS = 2**28
DEFLATE_RATIO = 1032  # no deflate stream is denser
SCALARS = {
    2: "u1",
    256: "i1",
    4: "i2",
    512: "u2",
    8: "i4",
    768: "u4",
    1024: "i8",
    1280: "u8",
    16: "f4",
    64: "f8",
}  # by NIfTI's datatype
RGB24 = 128
RGBA32 = 2304
UINT8 = 2
COLOURS = {RGB24: np.dtype(("u1", (3,))), RGBA32: np.dtype(("u1", (4,)))}  # by NIfTI's datatype
OPAQUE = 255
# Intent codes.
NO_INTENT = 0
VECTOR = 1007
RGB_VECTOR = 2003
GZIP_MAGIC = b"\x1f\x8b"
MAGIC = {348: (344, b"n+1\0"), 540: (4, b"n+2\0\r\n\x1a\n")}  # by the header's size: position and bytes of the magic
AGAIN = "write the file again"
COLOUR_REMEDY = (
    "extract one time, or, for colours, say so: "
    'python -c "import sys, nibabel as n; i = n.load(sys.argv[1]); i.header.set_intent(2003); n.save(i, sys.argv[2])"'
    " {file} OUT.nii.gz"
)


class Stored(NamedTuple):
    """A volume as it lies in its file."""

    header: Nifti1Header  # Nifti2Header is derived from it
    voxels: NDArray[Any]  # (X, Y, Z), or (X, Y, Z, 3) for RGB24, read-only


def read_stored(data: bytes, path: Path) -> Stored:
    """The header and the one volume of a single-file NIfTI-1 or -2; InputError, or any other error if it is damaged."""
    # Check that the file is compressed just when its name says so.
    compressed = path.name.lower().endswith(".gz")
    if compressed != data.startswith(GZIP_MAGIC):
        reason = "is not compressed, as its name says" if compressed else "is compressed, but its name does not say so"
        raise InputError(path, reason, "give it the ending that it has, .nii or .nii.gz")
    # Read the header, and from it the size of the volume.
    with gzip.GzipFile(fileobj=io.BytesIO(data)) if compressed else io.BytesIO(data) as file:
        header = _header(file.read(540), path)
        parts = 3 if _has_colour_dimension(header) else 1
        shape = _shape(header, parts, path)
        offset = int(header["vox_offset"])
        voxel = _voxel(header, path)
        size = offset + math.prod(shape) * voxel.itemsize * parts
        _check_size(header, offset, size, path)
        # Check the size before any of the volume is read.
        if size > len(data) * (DEFLATE_RATIO if compressed else 1):
            raise InputError(path, "damaged or truncated NIfTI", AGAIN)
        file.seek(0)
        content = file.read(size + 1)  # past the end, where gzip checks its CRC
    # Check that the file ends where the volume ends.
    if len(content) != size:
        extent = "truncated NIfTI" if len(content) < size else "NIfTI with more bytes than its header says"
        raise InputError(path, f"damaged, or {extent}", AGAIN)
    # Order the axes as (x, y, z), with those of a voxel's parts last.
    flat = np.frombuffer(content, voxel.base, offset=offset)
    if parts > 1:
        header["datatype"] = RGB24
        return Stored(header, flat.reshape(parts, *shape[::-1]).transpose(3, 2, 1, 0))
    voxels = flat.reshape(*shape[::-1], *voxel.shape).transpose(2, 1, 0, *range(3, 3 + voxel.ndim))
    return Stored(header, _without_alpha(voxels, header, path))


def _header(head: bytes, path: Path) -> Nifti1Header:
    """The header at the start of a file, of either version and either byte order."""
    for endianness in "<>":
        size = int.from_bytes(head[:4], "little" if endianness == "<" else "big")
        at, magic = MAGIC.get(size, (0, b"?"))
        if head[at : at + len(magic)] == magic:
            header_class = Nifti2Header if size == 540 else Nifti1Header
            return header_class(head[:size], endianness=endianness, check=False)
    if head[344:348] == b"ni1\0" or head[4:8] == b"ni2\0":
        raise InputError(path, "is a header whose voxels are in another file", "save it as a single .nii file")
    raise InputError(
        path, "is not a NIfTI file", "convert it to .nii or .nii.gz, or give it the ending of its own format"
    )


def _has_colour_dimension(header: Nifti1Header) -> bool:
    """True for 8-bit values whose header says that three of them are a colour.

    Its intent code says so, or their place in the fifth dimension, that of vectors. The fourth is that of time.
    """
    rank, *dimensions = header["dim"].tolist()
    intent = int(header["intent_code"])
    is_vector = rank >= 5 and dimensions[4] == 3 and intent in (NO_INTENT, VECTOR)
    return _may_be_colours(header) and (intent == RGB_VECTOR or is_vector)


def _may_be_colours(header: Nifti1Header) -> bool:
    """True for three 8-bit values without scaling beyond the third dimension."""
    rank, *dimensions = header["dim"].tolist()
    is_plain = int(header["datatype"]) == UINT8 and header.get_slope_inter() in ((None, None), (1, 0))
    return is_plain and 4 <= rank <= 7 and math.prod(dimensions[3:rank]) == 3


def _without_alpha(voxels: NDArray[Any], header: Nifti1Header, path: Path) -> NDArray[Any]:
    """Voxels without an alpha channel, if they have one; InputError unless it is opaque."""
    if int(header["datatype"]) != RGBA32:
        return voxels
    if (voxels[..., 3] != OPAQUE).any():
        raise InputError(path, "has transparent voxels", "flatten it onto a background of your choice, as RGB24")
    header["datatype"] = RGB24
    return voxels[..., :3]


def _shape(header: Nifti1Header, parts: int, path: Path) -> tuple[int, int, int]:
    """The three dimensions of the one volume of so many parts, which has one slice if it has two."""
    rank, *dimensions = header["dim"].tolist()
    if not 1 <= rank <= 7 or min(dimensions[:rank]) < 1:
        raise InputError(path, "damaged NIfTI (no such dimensions)", AGAIN)
    if rank < 2:
        raise InputError(path, "holds a line of voxels, not an image", "give a volume or a slice")
    count = math.prod(dimensions[3:rank])
    if count != parts and _may_be_colours(header):
        reason = "holds 3 volumes of 8 bits, and its header does not say if they are times or red, green and blue"
        raise InputError(path, reason, COLOUR_REMEDY.format(file=quote(path.name)))
    if count != parts:
        remedy = "extract the one volume to be fused" + ("" if count > 4 else ", or store colours as RGB24 (8 bits)")
        raise InputError(path, f"holds {count} volumes or components", remedy)
    width, height, depth = [*dimensions[:rank], 1][:3]
    if width * height * depth > MAX_VOXELS:
        raise InputError(path, f"{width}x{height}x{depth} voxels are more than 2**28", "crop it, or split it")
    return width, height, depth


def _voxel(header: Nifti1Header, path: Path) -> np.dtype[Any]:
    code = int(header["datatype"])
    if code in COLOURS:
        return COLOURS[code]
    if code not in SCALARS:
        raise InputError(
            path, f"holds {header.get_value_label('datatype')} values", "convert it to float32, int16, uint8 or RGB24"
        )
    return np.dtype(header.endianness + SCALARS[code])


def _check_size(header: Nifti1Header, offset: int, size: int, path: Path) -> None:
    first = header.single_vox_offset
    if offset != float(header["vox_offset"]) or not first <= offset <= first + MAX_EXTENSIONS:
        raise InputError(path, "damaged NIfTI (no such place of its voxels)", AGAIN)
    if size > MAX_BYTES:
        raise InputError(path, f"{size} bytes of voxels are more than 2**30", "crop it, or save it with fewer bits")
