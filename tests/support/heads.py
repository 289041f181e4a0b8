"""A small head in two modalities, at a known displacement, and volumes as files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from scipy import ndimage
from scipy.spatial.transform import Rotation

from support.made_dicom import make_dicom
from tfs_rt.formats.volume import Matrix, Volume, transform_points

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


def write_series(folder: Path, volume: Volume, number: int, **changes: Any) -> Path:
    """A volume of whole numbers as a folder of DICOM slices of one series, numbered against their order."""
    folder.mkdir(parents=True, exist_ok=True)
    down, across = volume.spacing[[1, 0]].tolist()
    for k, values in enumerate(volume.values):
        attributes = {
            "SOPInstanceUID": f"1.2.826.1.{number}.{k + 1}",
            "SeriesInstanceUID": f"1.2.826.1.{number}",
            "StudyInstanceUID": "1.2.826.1",
            "SeriesNumber": number,
            "InstanceNumber": len(volume.values) - k,
            "PatientID": "P-1",
            "Modality": "MR",
            "FrameOfReferenceUID": "1.2.826.2",
            "ImagePositionPatient": transform_points(volume.to_world, np.array([[0.0, 0, k]]))[0].round(9).tolist(),
            "ImageOrientationPatient": volume.directions[:, :2].T.ravel().round(12).tolist(),
            "PixelSpacing": [down, across],
            "SliceThickness": float(volume.spacing[2]),
        }
        (folder / f"{k:03d}.dcm").write_bytes(make_dicom(values.astype(np.uint16), **attributes | changes))
    return folder


def write_nifti(path: Path, volume: Volume) -> Path:
    """A volume as a NIfTI file of float32."""
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ volume.to_world
    nib.save(nib.Nifti1Image(volume.values.transpose(2, 1, 0), affine), path)
    return path


def plane_of_space(shape: tuple[int, int, int], to_world: Matrix) -> Volume:
    """A volume whose values are a linear function of the place: interpolation gives it exactly, on any grid."""
    z, y, x = np.indices(shape)
    places = transform_points(to_world, np.stack([x, y, z], axis=-1).reshape(-1, 3).astype(np.float64))
    return Volume(linear(places).reshape(shape).astype(np.float32), to_world)


def linear(places: Matrix) -> Matrix:
    """That function of places (N, 3) in mm."""
    return 1000 + places @ np.array([5.0, -3.0, 7.0])
