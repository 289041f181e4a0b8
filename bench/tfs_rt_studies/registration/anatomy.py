"""One head in four modalities, from the MNI152 template and its tissue maps.

T1 is the template. The others are computed from the shares of grey matter, white matter and fluid: T2 by a bent scale
of brightness, PET by uptake, CT by Hounsfield units, with a made-up skull and scalp about the brain.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from tfs_rt.formats.volume import Matrix, Volume, transform_points

TEMPLATE = "mni_icbm152_{}_tal_nlin_sym_09a_converted.nii.gz"  # in nilearn's datasets/data
TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
PAD = 25  # voxels about the template, for the skull
EVERY = 997  # one brain voxel in so many is a point at which errors are measured
Values = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Anatomy:
    """A head that can be scanned."""

    t1: Volume  # the fixed image, 1 mm
    maps: dict[str, Values]  # by modality, padded; 1 mm
    to_world: Matrix  # (4, 4) of the maps
    points: Matrix  # (N, 3): places in the brain, mm

    @property
    def centre(self) -> Matrix:
        """(3,): the middle of the brain."""
        return self.points.mean(axis=0)


def read_anatomy(folder: Path) -> Anatomy:
    """The head of the template in `folder`."""
    # Read the template and its tissue maps.
    shares = {}
    for name in ("t1", "gm", "wm"):
        image = nibabel.Nifti1Image.from_filename(folder / TEMPLATE.format(name))
        shares[name] = np.asarray(image.dataobj, dtype=np.float32).transpose(2, 1, 0) / 255
    own = TO_LPS @ image.affine
    brain = ndimage.binary_fill_holes(shares["t1"] > 0.02)
    # Make room about it.
    to_world = own.copy()
    to_world[:3, 3] -= own[:3, :3] @ np.full(3, PAD)
    mask = np.pad(brain, PAD)
    grey = np.pad(shares["gm"], PAD)
    white = np.pad(shares["wm"], PAD)
    fluid = (mask - grey - white).clip(0, 1)
    # Give each tissue its value.
    uptake = 10 * grey**1.2 + 3.5 * white + 0.4 * fluid
    maps = {
        "t2": (1000 * (0.62 * grey + 0.42 * white + fluid) ** 1.1).astype(np.float32),
        "pet": ndimage.gaussian_filter(uptake, 6 / 2.3548).astype(np.float32),
        "ct": hounsfield(mask, 37 * grey + 30 * white + 8 * fluid),
    }
    points = np.argwhere(brain)[::EVERY, ::-1].astype(np.float64)
    return Anatomy(Volume(800 * shares["t1"], own), maps, to_world, transform_points(own, points))


def hounsfield(brain: NDArray[np.bool_], tissue: NDArray[np.floating]) -> Values:
    """HU of the tissue in the brain, 6 mm of bone and 5 mm of scalp about it, and air."""
    distance = np.asarray(ndimage.distance_transform_edt(~brain))
    values = np.select([brain, distance <= 2.5, distance < 8.5, distance < 13.5], [tissue, 8, 900, -10], -1000)
    return ndimage.gaussian_filter(values.astype(np.float32), 0.5)
