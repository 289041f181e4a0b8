"""Write values on a grid as a NIfTI volume: measured values with their window, levels of 8 bits, or colours."""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np
from nibabel.nifti1 import Nifti1Header
from numpy.typing import NDArray

from tfs_rt.formats.nifti.file import RGB24
from tfs_rt.formats.nifti.write import LEVEL
from tfs_rt.formats.volume import LPS_RAS, Grid

ALIGNED = 2  # code of a form: aligned to another file
MM = 2  # code of the unit of length


def encode_values(values: NDArray[Any], grid: Grid, window: tuple[float, float] | None, *, in_space: bool) -> bytes:
    """A `.nii.gz` of (Z, Y, X) float32 or uint8, or (Z, Y, X, 3) uint8 colours, stored as columns, rows, slices.

    `window` becomes cal_min and cal_max, so that a reader shows the same contrast. A volume that does not lie in space
    gets its voxel sizes and no orientation.
    """
    header = Nifti1Header(endianness="<")
    header.set_data_shape(grid.shape[::-1])
    # Describe the voxels.
    if values.ndim == 4:
        header["datatype"] = RGB24
        header["bitpix"] = 24
    else:
        header.set_data_dtype(values.dtype)
    header["vox_offset"] = header.single_vox_offset
    header["scl_slope"] = 1
    if window:
        header["cal_min"], header["cal_max"] = window
    # Describe their place.
    header["pixdim"][:4] = [1.0, *grid.spacing]
    header["xyzt_units"] = MM
    if in_space:
        header["sform_code"] = ALIGNED
        header["srow_x"], header["srow_y"], header["srow_z"] = (LPS_RAS @ grid.to_world)[:3]
    header["descrip"] = "tfs-rt align"
    no_extensions = bytes(4)
    content = header.binaryblock + no_extensions + np.ascontiguousarray(values).tobytes()
    return zlib.compress(content, LEVEL, wbits=31)  # gzip, without a time or a name
