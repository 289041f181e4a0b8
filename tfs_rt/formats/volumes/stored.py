"""Voxels of another format as those of a NIfTI file, so that windows, places and results are the same."""

from __future__ import annotations

import gzip
import io
import math
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from nibabel.nifti1 import Nifti1Header
from numpy.typing import NDArray

from tfs_rt.errors import InputError
from tfs_rt.formats.nifti.file import AGAIN, DEFLATE_RATIO, MAX_BYTES, MAX_VOXELS, RGB24, Stored

SCANNER = 1  # NIfTI's code of an orientation in the scanner's coordinates
MILLIMETRES = 2  # NIfTI's code of a unit
MOST_DIMENSIONS = 7  # in a message
TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])  # from DICOM's world (LPS) to NIfTI's


def stored_volume(voxels: NDArray[Any], to_world: NDArray[np.float64] | None, sizes: tuple[float, ...]) -> Stored:
    """Voxels (X, Y, Z), or (X, Y, Z, 3) of colours, as NIfTI stores them.

    `to_world` is (4, 4), from voxels to mm in RAS; without one only the voxels' `sizes` in mm are known.
    """
    header = Nifti1Header()
    header["xyzt_units"] = MILLIMETRES
    header["pixdim"][1:4] = sizes
    if to_world is not None:
        header.set_sform(to_world, SCANNER)
    if voxels.ndim == 4:
        header["datatype"] = RGB24
    return Stored(header, voxels)


def check_shape(shape: tuple[int, ...], voxel: np.dtype[Any], path: Path) -> int:
    """The bytes of a volume of three dimensions; InputError if it has others, or is larger than the limits."""
    if len(shape) != 3 or min(shape) < 1:
        words = "x".join(map(str, shape[:MOST_DIMENSIONS]))
        raise InputError(path, f"holds {words} values, not one volume", "extract the one volume to be fused")
    count = math.prod(shape)
    size = count * voxel.itemsize
    if count > MAX_VOXELS or size > MAX_BYTES:
        raise InputError(path, f"{'x'.join(map(str, shape))} voxels are more than 2**28, or 1 GiB", "crop it")
    return size


def voxels_of(content: bytes, shape: tuple[int, ...], voxel: np.dtype[Any]) -> NDArray[Any]:
    """(X, Y, Z), or with the parts of a voxel last, of bytes in which x runs fastest but for those parts."""
    flat = np.frombuffer(content, voxel.base)
    return flat.reshape(*shape[::-1], *voxel.shape).transpose(2, 1, 0, *range(3, 3 + voxel.ndim))


def gunzip(data: bytes, size: int, path: Path, *, more: int = 0) -> bytes:
    """A gzip stream's content of `size` bytes, and up to `more` and one; its checksum was checked if it has less."""
    _check_ratio(data, size, path)
    with gzip.GzipFile(fileobj=io.BytesIO(data)) as file:
        return file.read(size + more + 1)


def inflate(data: bytes, size: int, path: Path) -> bytes:
    """The content of a whole zlib stream, up to one byte more than `size`; zlib.error or EOFError if it is damaged."""
    _check_ratio(data, size, path)
    inflater = zlib.decompressobj()
    content = inflater.decompress(data, size + 1)
    if len(content) <= size and not inflater.eof:
        raise EOFError("the compressed data end too early")
    if inflater.unused_data:
        raise EOFError("more data follow the compressed ones")
    return content


def check_length(content: bytes, size: int, path: Path) -> None:
    """InputError unless the voxels take just so many bytes."""
    if len(content) != size:
        extent = "truncated" if len(content) < size else "with more bytes than its header says"
        raise InputError(path, f"damaged file, or {extent}", AGAIN)


def _check_ratio(data: bytes, size: int, path: Path) -> None:
    """Refuse what no compression could hold, before memory is taken for it."""
    if size > len(data) * DEFLATE_RATIO:
        raise InputError(path, "damaged or truncated file", AGAIN)
