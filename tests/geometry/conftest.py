"""A small head in two modalities, at a known displacement."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage
from scipy.spatial.transform import Rotation

from tfs_rt.formats.volume import Matrix, Volume

SIZE = 32
SPACING = 3.0  # mm


class Head:
    """Blobs in an ellipsoid. `scan` samples it anywhere, with another brightness of each tissue."""

    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        z, y, x = np.indices((SIZE, SIZE, SIZE)) - (SIZE - 1) / 2
        inside = (x / 10) ** 2 + (y / 12) ** 2 + (z / 9) ** 2 < 1
        blobs = ndimage.gaussian_filter(rng.normal(size=inside.shape), 1.7)
        self.tissue = np.where(inside, 1 + 0.35 * blobs / blobs.std(), 0).clip(0)
        self.to_world = np.diag([SPACING, SPACING, SPACING, 1.0])
        self.to_world[:3, 3] = [-40.0, -55.0, -30.0]
        self.points = np.argwhere(inside)[::7, ::-1] * SPACING + self.to_world[:3, 3]

    def scan(self, moved: Matrix, *, inverted: bool) -> Volume:
        """The head at `moved` on its own grid; inverted, bright tissue is dark."""
        values = np.where(self.tissue > 0, 2.5 - self.tissue, 0) if inverted else self.tissue
        flip = np.eye(4)[[2, 1, 0, 3]]
        index = flip @ np.linalg.inv(self.to_world) @ np.linalg.inv(moved) @ self.to_world @ flip
        return Volume(ndimage.affine_transform(values, index, order=1).astype(np.float32), self.to_world)


def rigid(degrees: float, shift: tuple[float, float, float], about: Matrix) -> Matrix:
    """A turn about an oblique axis through a point, and a shift in mm."""
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_rotvec(np.deg2rad(degrees) * np.array([0.48, 0.6, 0.64])).as_matrix()
    matrix[:3, 3] = about - matrix[:3, :3] @ about + shift
    return matrix


@pytest.fixture(scope="session")
def head() -> Head:
    return Head(3)


@pytest.fixture(scope="session")
def moved(head: Head) -> Matrix:
    return rigid(6, (4.0, -3.0, 2.0), head.points.mean(axis=0))
