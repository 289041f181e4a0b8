"""A NIfTI file's bytes to its header and its voxels as stored.

The header says how many bytes the file has: as many, and no more, are read. A gzip stream is read to its end, where
its CRC and its length are checked. nibabel's own loader does neither.
"""

from __future__ import annotations

import gzip
import io
import math
from pathlib import Path
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
GZIP_MAGIC = b"\x1f\x8b"
MAGIC = {348: (344, b"n+1\0"), 540: (4, b"n+2\0\r\n\x1a\n")}  # by the header's size: position and bytes of the magic
AGAIN = "write the file again"


class Stored(NamedTuple):
    """A volume as it lies in its file."""

    header: Nifti1Header  # Nifti2Header is derived from it
    voxels: NDArray[Any]  # (X, Y, Z), or (X, Y, Z, 3) for RGB24, read-only


def read_stored(data: bytes, path: Path) -> Stored:
    """The header and the one volume of a single-file NIfTI-1 or -2; InputError, or any other error if it is damaged."""
    # Check that the file is compressed just when its name says so.
    if not data:
        raise InputError(path, "is empty", AGAIN)
    compressed = path.name.lower().endswith(".gz")
    if compressed != data.startswith(GZIP_MAGIC):
        reason = "is not compressed, as its name says" if compressed else "is compressed, but its name does not say so"
        raise InputError(path, reason, "give it the ending that it has, .nii or .nii.gz")
    # Read the header, and from it the size of the volume.
    with gzip.GzipFile(fileobj=io.BytesIO(data)) if compressed else io.BytesIO(data) as file:
        header = _header(file.read(540), path)
        shape = _shape(header, path)
        offset = int(header["vox_offset"])
        voxel = _voxel(header, path)
        size = offset + math.prod(shape) * voxel.itemsize
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
    return Stored(header, flat.reshape(*shape[::-1], *voxel.shape).transpose(2, 1, 0, *range(3, 3 + voxel.ndim)))


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


def _shape(header: Nifti1Header, path: Path) -> tuple[int, int, int]:
    """The three dimensions of the one volume, which has one slice if it has two."""
    rank, *dimensions = header["dim"].tolist()
    if not 1 <= rank <= 7 or min(dimensions[:rank]) < 1:
        raise InputError(path, "damaged NIfTI (no such dimensions)", AGAIN)
    if rank < 2:
        raise InputError(path, "holds a line of voxels, not an image", "give a volume or a slice")
    if (count := math.prod(dimensions[3:rank])) > 1:
        raise InputError(path, f"holds {count} volumes or components", "extract the one volume to be fused")
    width, height, depth = [*dimensions[:rank], 1][:3]
    if width * height * depth > MAX_VOXELS:
        raise InputError(path, f"{width}x{height}x{depth} voxels are more than 2**28", "crop it, or split it")
    return width, height, depth


def _voxel(header: Nifti1Header, path: Path) -> np.dtype[Any]:
    code = int(header["datatype"])
    if code == RGB24:
        return np.dtype(("u1", (3,)))
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
