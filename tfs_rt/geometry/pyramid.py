"""A volume made ready for registration: grey, clipped, at two resolutions, with its foreground.

A single image is registered in its own plane: its coordinates are mm along its rows and columns, from its centre.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from tfs_rt.formats.volume import Matrix, Volume, transform_points
from tfs_rt.geometry.grid import centre, isotropic_grid
from tfs_rt.geometry.itk import simpleitk
from tfs_rt.geometry.resample import resample

COARSE_SPACING = 4.0  # mm
FINE_SPACING = 2.0
TAILS = (0.5, 99.5)  # percentiles: few bins of the histogram are to go to a few extreme values
MARGIN = 3  # coarse voxels: what surrounds the foreground counts too, since it shows the outline
MOST_POINTS = 5000


@dataclass(frozen=True, slots=True)
class Pyramid:
    """What registration needs of one volume."""

    coarse: Volume
    fine: Volume
    frame: Matrix  # (4, 4): from the coordinates of registration to the world
    threshold: float  # above it is foreground (Otsu's)
    points: Matrix  # (N, 3): some of the foreground, in the coordinates of registration
    mask: Any  # ITK image: the foreground with its margin

    @property
    def dimensions(self) -> int:
        """2 for a single image, 3 for a volume."""
        return 2 if self.fine.shape[0] == 1 else 3

    @property
    def is_constant(self) -> bool:
        """True if there is nothing to register."""
        return len(self.points) == 0

    def centre(self) -> Matrix:
        """(3,): the centre of the field of view."""
        return centre(self.coarse.grid)

    def mass(self) -> Matrix:
        """(3,): the centre of the foreground."""
        return self.points.mean(axis=0)


def pyramid(volume: Volume) -> Pyramid:
    """Both levels and the foreground of a volume; EnvironmentFault if SimpleITK is not installed."""
    frame = np.eye(4) if volume.shape[0] > 1 else plane_frame(volume)
    local = Volume(grey_values(volume), np.linalg.inv(frame) @ volume.to_world)
    # The coarse level is made of the fine one: that is quicker than of the volume.
    fine = resample(local, isotropic_grid(local.grid, FINE_SPACING), np.eye(4)).volume
    coarse = resample(fine, isotropic_grid(local.grid, COARSE_SPACING), np.eye(4)).volume
    # Find the foreground.
    sitk = simpleitk()
    image = itk_image(coarse)
    otsu = sitk.OtsuThresholdImageFilter()
    otsu.SetInsideValue(0)
    otsu.SetOutsideValue(1)
    foreground = otsu.Execute(image)
    indices = np.argwhere(coarse.values > otsu.GetThreshold())[:, ::-1].astype(np.float64)
    step = len(indices) // MOST_POINTS + 1
    points = transform_points(coarse.to_world, indices[::step])
    mask = sitk.BinaryDilate(foreground, [MARGIN] * image.GetDimension())
    return Pyramid(coarse, fine, frame, otsu.GetThreshold(), points, mask)


def grey_values(volume: Volume) -> Any:
    """(Z, Y, X) float32 for registration: of a colour its brightest channel, without extremes and NaN."""
    values = volume.values.max(axis=3).astype(np.float32) if volume.is_colour else volume.values
    finite = values[np.isfinite(values)]
    if finite.size == 0:
        return np.zeros(volume.shape, dtype=np.float32)
    low, high = np.percentile(finite[:: finite.size // 2**20 + 1], TAILS)
    if low == high:  # hardly anything but background
        low, high = finite.min(), finite.max()
    return np.nan_to_num(values, nan=float(low)).clip(low, high).astype(np.float32)


def plane_frame(volume: Volume) -> Matrix:
    """(4, 4): from mm along an image's rows and columns, from its centre, to the world."""
    frame = np.eye(4)
    frame[:3, :3] = volume.directions
    frame[:3, 3] = centre(volume.grid)
    return frame


def itk_image(volume: Volume) -> Any:
    """A grey volume as an ITK image with its place; of a single image, which lies in its own plane, a 2-D one."""
    sitk = simpleitk()
    dimensions = 2 if volume.shape[0] == 1 else 3
    image = sitk.GetImageFromArray(volume.values[0] if dimensions == 2 else volume.values)
    image.SetOrigin(volume.to_world[:dimensions, 3].tolist())
    image.SetSpacing(volume.spacing[:dimensions].tolist())
    image.SetDirection(volume.directions[:dimensions, :dimensions].ravel().tolist())
    return image
