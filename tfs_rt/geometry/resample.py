"""Resampling of a volume onto a grid: linear interpolation, smoothed first where the grid is coarser.

A transform is a matrix (4, 4) from the target's world to the source's, both in mm (LPS). That is ITK's direction: each
target voxel asks where its value lies.

Smoothing: a scanner's voxel is taken for a Gaussian of a voxel's full width at half maximum. Along each axis of the
source, the Gaussian that is missing has the width sqrt(t^2 - s^2), where s is the source's spacing and t the width of a
target voxel along that axis (Cardoso et al., Scale Factor Point Spread Function Matching, MICCAI 2015).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tfs_rt.formats.volume import Grid, Matrix, Volume
from tfs_rt.geometry.itk import simpleitk

FWHM = 2 * np.sqrt(2 * np.log(2))  # full width at half maximum of a Gaussian, in standard deviations
SAME = 1e-6  # voxels: a grid that differs by less is the source's own
LEAST_SIGMA = 0.1  # voxels: a narrower Gaussian changes nothing worth the time
KERNEL_ERROR = 0.001  # area that is cut off the Gaussian
WIDEST_KERNEL = 257  # voxels


@dataclass(frozen=True, slots=True)
class Resampled:
    """A volume on its target grid, and the part of the grid that the source covers."""

    volume: Volume
    inside: NDArray[np.bool_]  # (Z, Y, X): the voxels within the source's field of view

    @property
    def coverage(self) -> float:
        """The share of the target inside the source's field of view, in [0, 1]."""
        return float(self.inside.mean())


def resample(source: Volume, target: Grid, transform: Matrix, background: float | None = None) -> Resampled:
    """`source` on the grid `target`, through `transform` (4, 4) from the target's world to the source's.

    Values are interpolated linearly, colours by channel and rounded. Outside the source's field of view, which reaches
    half a voxel beyond the centres, stands `background`: without one, the least value of the source, or black.
    EnvironmentFault if SimpleITK is not installed.
    """
    # Work in voxels: from the target's indices to the source's.
    indices = np.linalg.inv(source.to_world) @ transform @ target.to_world
    if target.shape == source.shape and np.abs(indices - np.eye(4)).max() < SAME:
        return Resampled(Volume(source.values, target.to_world), np.ones(target.shape, dtype=bool))
    if background is None:
        background = 0.0 if source.is_colour else float(np.nanmin(source.values))
    sitk = simpleitk()
    image = sitk.GetImageFromArray(source.values.astype(np.float32, copy=False), isVector=source.is_colour)
    # Smooth what the target cannot hold.
    sigma = missing_blur(indices)
    if (sigma > 0).any():
        variance = (sigma**2).tolist()
        image = sitk.DiscreteGaussian(image, variance, WIDEST_KERNEL, KERNEL_ERROR, False)
    # Interpolate, and ask in the same way which voxels have a source.
    moved = _resample_indices(image, target, indices, sitk.sitkLinear, background)
    ones = sitk.Image(image.GetSize(), sitk.sitkUInt8) + 1
    inside = _resample_indices(ones, target, indices, sitk.sitkNearestNeighbor, 0).astype(bool)
    values = np.rint(moved).clip(0, 255).astype(np.uint8) if source.is_colour else moved
    return Resampled(Volume(values, target.to_world), inside)


def missing_blur(indices: Matrix) -> Matrix:
    """(3,): standard deviation in source voxels of the smoothing before sampling at `indices` (4, 4).

    A target voxel's width along an axis of the source is the root of the sum of squares of its edges along it.
    """
    width = np.linalg.norm(indices[:3, :3], axis=1)
    sigma = np.sqrt(np.maximum(width**2 - 1, 0)) / FWHM
    return np.where(sigma < LEAST_SIGMA, 0.0, sigma)


def _resample_indices(image: Any, target: Grid, indices: Matrix, method: int, background: float) -> NDArray[Any]:
    sitk = simpleitk()
    affine = sitk.AffineTransform(3)
    affine.SetMatrix(indices[:3, :3].ravel().tolist())
    affine.SetTranslation(indices[:3, 3].tolist())
    moved = sitk.Resample(image, target.shape[::-1], affine, method, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), (), background)
    return sitk.GetArrayFromImage(moved)
