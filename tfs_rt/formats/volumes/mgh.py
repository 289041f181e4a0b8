"""Read a volume in FreeSurfer's format: `.mgh`, or `.mgz` where it is compressed.

By surfer.nmr.mgh.harvard.edu/fswiki/FsTutorial/MghFormat. Numbers are big-endian. The place is that of the volume's
middle, with the directions of its axes, in RAS.
"""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tfs_rt.errors import InputError
from tfs_rt.formats.nifti.file import AGAIN, GZIP_MAGIC, Stored
from tfs_rt.formats.nifti.read import read_volume
from tfs_rt.formats.picture import FileOptions, Picture
from tfs_rt.formats.volumes.stored import check_shape, gunzip, stored_volume, voxels_of

HEADER = 284  # bytes
FIELDS = struct.Struct(">7ih15f")  # version, sizes, frames, type, degrees of freedom, place
VERSION = 1
KINDS = {0: ">u1", 1: ">i4", 3: ">f4", 4: ">i2", 10: ">u2"}  # by the header's type
MAX_FOOTER = 2**24  # bytes after the voxels, which are skipped


def read(data: bytes, path: Path, options: FileOptions) -> Picture:
    """The slices of a file's bytes; InputError names `path`, the reason and the remedy."""
    return read_volume("MGH", read_stored, data, path, options)


def read_stored(data: bytes, path: Path) -> Stored:
    """The one volume of a file; InputError, or any other error if it is damaged."""
    # Check that the file is compressed just when its name says so.
    compressed = path.name.lower().endswith("z")
    if compressed != data.startswith(GZIP_MAGIC):
        reason = "is not compressed, as its name says" if compressed else "is compressed, but its name does not say so"
        raise InputError(path, reason, "give it the ending that it has, .mgh or .mgz")
    # Read the header.
    head = gunzip(data, HEADER, path) if compressed else data
    version, *shape, frames, kind, _, has_place = FIELDS.unpack_from(head)[:8]
    if version != VERSION or kind not in KINDS:
        raise InputError(path, "is not an MGH file of a known kind", "mri_convert IN OUT.nii.gz makes it NIfTI")
    if frames != 1:
        reason = f"holds {frames} volumes"
        raise InputError(path, reason, f"extract the one to be fused: mri_convert --frame 0 {path.name} OUT.mgz")
    voxel = np.dtype(KINDS[kind])
    size = HEADER + check_shape(tuple(shape), voxel, path)
    # Read the voxels, and to the end of what follows them, where gzip checks its CRC.
    content = gunzip(data, size, path, more=MAX_FOOTER) if compressed else data
    if not size <= len(content) <= size + MAX_FOOTER:
        raise InputError(path, "damaged or truncated MGH file", AGAIN)
    sizes, to_world = _place(head, tuple(shape))
    voxels = voxels_of(content[HEADER:size], tuple(shape), voxel)
    return stored_volume(voxels, to_world if has_place == 1 else None, sizes)


def _place(head: bytes, shape: tuple[int, ...]) -> tuple[tuple[float, ...], NDArray[np.float64]]:
    """The voxels' sizes, and the matrix from voxels to RAS."""
    numbers = FIELDS.unpack_from(head)[8:]
    sizes = numbers[:3]
    to_world = np.eye(4)
    to_world[:3, :3] = np.reshape(numbers[3:12], (3, 3)).T * sizes
    to_world[:3, 3] = numbers[12:] - to_world[:3, :3] @ (np.array(shape) / 2)
    return sizes, to_world
