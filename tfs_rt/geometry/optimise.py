"""One descent: the rigid transform of most mutual information near a start (Mattes et al., IEEE TMI 2003).

Everything that could differ between two runs is fixed: the seed of the samples, one thread, the number of bins.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from tfs_rt.formats.volume import Matrix
from tfs_rt.geometry.itk import one_thread, simpleitk
from tfs_rt.geometry.pyramid import Pyramid, itk_image

BINS = 32
SEED = 20  # not 0, which is ITK's word for the clock
FEWEST_TO_SMOOTH = 4  # voxels along an axis
SAMPLES = 0.1  # share of the mask's voxels; of a single image all are taken


@dataclass(frozen=True, slots=True)
class Pose:
    """A rigid transform in the coordinates of registration: x -> R (x - centre) + centre + shift."""

    angles: Matrix  # (3,) about x, y and z in rad, applied as Rz Rx Ry; of an image only the last
    shift: Matrix  # (3,) mm
    centre: Matrix  # (3,)

    def matrix(self) -> Matrix:
        """(4, 4): from the fixed to the moving coordinates."""
        x, y, z = self.angles
        matrix = np.eye(4)
        matrix[:3, :3] = _turn(2, z) @ _turn(0, x) @ _turn(1, y)
        matrix[:3, 3] = self.centre + self.shift - matrix[:3, :3] @ self.centre
        return matrix

    def rounded(self, digits: int) -> Pose:
        """The pose with numbers of `digits` decimals."""
        return Pose(*(np.round(numbers, digits) for numbers in (self.angles, self.shift, self.centre)))


@dataclass(frozen=True, slots=True)
class Optimum:
    """Where a descent ended."""

    pose: Pose
    information: float  # Mattes mutual information in nat
    iterations: int


def search(fixed: Pyramid, moving: Pyramid, start: Pose) -> Optimum | None:
    """The optimum about `start` at the coarse level, by Powell's line searches; None if the images lie apart there.

    They get through the long valleys of CT against MR, in which a descent along the gradient stops early.
    """
    method = _method(fixed)
    method.SetOptimizerAsPowell(
        numberOfIterations=10, maximumLineIterations=20, stepLength=1.0, stepTolerance=0.02, valueTolerance=1e-4
    )
    return _execute(method, (itk_image(fixed.coarse), itk_image(moving.coarse)), start)


def refine(fixed: Pyramid, moving: Pyramid, start: Pose) -> Optimum | None:
    """The optimum near `start` at the fine level, by gradient descent: a fifth of the time of line searches."""
    method = _method(fixed)
    method.SetOptimizerAsRegularStepGradientDescent(
        learningRate=0.25, minStep=0.005, numberOfIterations=100, relaxationFactor=0.6
    )
    return _execute(method, (itk_image(fixed.fine), itk_image(moving.fine)), start)


def _method(fixed: Pyramid) -> Any:
    """The metric and how it is sampled."""
    sitk = simpleitk()
    method = sitk.ImageRegistrationMethod()
    method.SetNumberOfThreads(1)
    method.SetMetricAsMattesMutualInformation(BINS)
    method.SetMetricFixedMask(fixed.mask)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetOptimizerScalesFromPhysicalShift()
    if fixed.dimensions == 3:
        method.SetMetricSamplingStrategy(method.RANDOM)
        method.SetMetricSamplingPercentage(SAMPLES, SEED)
    return method


def _execute(method: Any, images: tuple[Any, Any], start: Pose) -> Optimum | None:
    transform = _itk_transform(start, images[0].GetDimension())
    method.SetInitialTransform(transform, inPlace=True)
    # ITK smooths images for their gradients, but none with fewer than four slices: those get plain differences.
    if min(min(image.GetSize()) for image in images) < FEWEST_TO_SMOOTH:
        method.MetricUseFixedImageGradientFilterOff()
        method.MetricUseMovingImageGradientFilterOff()
    try:
        with one_thread():
            method.Execute(*images)
    except RuntimeError:  # ITK: too few samples map inside the moving image
        return None
    return Optimum(_pose(transform, start), -method.GetMetricValue(), method.GetOptimizerIteration())


def _itk_transform(pose: Pose, dimensions: int) -> Any:
    sitk = simpleitk()
    if dimensions == 2:
        return sitk.Euler2DTransform(pose.centre[:2].tolist(), float(pose.angles[2]), pose.shift[:2].tolist())
    return sitk.Euler3DTransform(pose.centre.tolist(), *pose.angles.tolist(), pose.shift.tolist())


def _pose(transform: Any, start: Pose) -> Pose:
    numbers = np.array(transform.GetParameters())
    if len(numbers) == 3:
        return Pose(np.array([0.0, 0.0, numbers[0]]), np.array([*numbers[1:], 0.0]), start.centre)
    return Pose(numbers[:3], numbers[3:], start.centre)


def _turn(axis: int, angle: float) -> Matrix:
    """(3, 3): the rotation about one axis."""
    a, b = (axis + 1) % 3, (axis + 2) % 3
    matrix = np.eye(3)
    matrix[a, a] = matrix[b, b] = math.cos(angle)
    matrix[b, a] = math.sin(angle)
    matrix[a, b] = -matrix[b, a]
    return matrix
