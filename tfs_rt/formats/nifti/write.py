"""Write fused slices as a NIfTI volume at the place of their source."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from nibabel.nifti1 import Nifti1Header
from nibabel.nifti2 import Nifti2Header
from nibabel.orientations import apply_orientation, ornt_transform

from tfs_rt.formats.levels import SHOWS
from tfs_rt.formats.nifti.file import RGB24
from tfs_rt.formats.nifti.space import UNTURNED, Frame
from tfs_rt.images import RGB

LARGEST_NIFTI1 = 2**15 - 1  # voxels along an axis
LEVEL = 6  # of gzip; fixed, so that equal inputs give equal bytes


def encode(slices: Sequence[RGB], frames: dict[str, Any], text: dict[str, str]) -> bytes:
    """A `.nii.gz` of RGB24 voxels in the axes and the place of slot m1's volume, from its fused slices in order.

    The edges of the volume stay where they were. If an axis grows from n to n' voxels, then with r = n / n' new voxel
    i' has its centre at old index r i' + (r - 1) / 2.
    """
    # Turn the slices back to the axes of the source.
    frame = Frame(**frames["m1"])
    view = np.stack(slices).transpose(2, 1, 0, 3)  # (columns, rows, slices, RGB)
    volume = apply_orientation(view, ornt_transform(UNTURNED, frame.to_view))
    # Name the recipe in the header: it identifies the result if the sidecar is lost.
    header = _header(frame, volume.shape[:3])
    kind = "spread recipe" if SHOWS in text else "recipe"
    header["descrip"] = f"tfs-rt {kind}:{text['tfs-rt:recipe-sha256'][:16]}"
    no_extensions = bytes(4)
    content = header.binaryblock + no_extensions + volume.transpose(2, 1, 0, 3).tobytes()
    return zlib.compress(content, LEVEL, wbits=31)  # gzip, without a time or a name


def _header(frame: Frame, shape: tuple[int, ...]) -> Nifti1Header:
    """The header of a volume of this shape that fills the place of `frame`."""
    is_version_2 = frame.version == 2 or max(shape) > LARGEST_NIFTI1
    header = (Nifti2Header if is_version_2 else Nifti1Header)(endianness="<")
    header.set_data_shape(shape)
    header["datatype"] = RGB24
    header["bitpix"] = 24
    header["vox_offset"] = header.single_vox_offset
    for name, value in frame.copied.items():
        header[name] = value
    # Scale the voxels, and move their centres so that the volume's edges stay.
    ratio = np.array(frame.shape) / shape
    header["pixdim"][:4] = frame.pixdim * np.array([1, *ratio])
    finer = np.diag([*ratio, 1])
    finer[:3, 3] = (ratio - 1) / 2
    if frame.sform is not None:
        header["srow_x"], header["srow_y"], header["srow_z"] = (np.array(frame.sform) @ finer)[:3]
    if frame.qform is not None:
        header["qoffset_x"], header["qoffset_y"], header["qoffset_z"] = (np.array(frame.qform) @ finer)[:3, 3]
    return header
