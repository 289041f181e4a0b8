"""Scans of a head at a known displacement, and pairs that no registration can be right for."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial.transform import Rotation

from tfs_rt.formats.volume import Matrix, Volume
from tfs_rt_studies.registration.anatomy import Anatomy, Values

FIELD_OF_VIEW = (220.0, 230.0, 180.0)  # mm along x, y, z
MOST_TURN = 10.0  # degrees
MOST_SHIFT = 12.0  # mm
HOPELESS = ("another head, turned by 60 degrees", "noise", "noise in the head's outline", "half a volume", "half blank")


@dataclass(frozen=True, slots=True)
class Protocol:
    """The scanning protocol of a modality."""

    spacing: tuple[float, float, float]  # mm
    noise: float  # in the unit of the values
    air: float = 0.0


PROTOCOLS = {
    "t2": Protocol((1.0, 1.0, 3.0), 25.0),
    "pet": Protocol((2.0, 2.0, 2.0), 0.35),
    "ct": Protocol((0.9, 0.9, 2.5), 6.0, -1000.0),
}


def displacement(rng: Generator, anatomy: Anatomy, degrees: float | None = None) -> Matrix:
    """(4, 4): from the fixed world to the moving one: a turn about the brain's middle, and a shift."""
    angle = rng.uniform(0, MOST_TURN) if degrees is None else degrees
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_rotvec(np.deg2rad(angle) * _direction(rng)).as_matrix()
    shift = rng.uniform(0, MOST_SHIFT) * _direction(rng)
    matrix[:3, 3] = anatomy.centre - matrix[:3, :3] @ anatomy.centre + shift
    return matrix


def scan(anatomy: Anatomy, kind: str, moved: Matrix, rng: Generator, deformation: Values | None = None) -> Volume:
    """The head, displaced by `moved`, as a scanner sees it: thick slices, noise, and for T2 a bias field.

    `deformation` (3, Z, Y, X) displaces the places of the maps, in voxels: another head.
    """
    protocol = PROTOCOLS[kind]
    # Lay the field of view about the head, off its middle by up to 5 mm.
    spacing = np.array(protocol.spacing)
    count = np.round(np.array(FIELD_OF_VIEW) / spacing).astype(int)
    to_world = np.diag([*spacing, 1.0])
    to_world[:3, 3] = anatomy.centre + rng.uniform(-5, 5, 3) - spacing * (count - 1) / 2
    # Average what lies within the thickness of a slice.
    source = anatomy.maps[kind] if deformation is None else _deformed(anatomy.maps[kind], deformation)
    to_index = np.linalg.inv(anatomy.to_world) @ np.linalg.inv(moved) @ to_world
    flip = np.eye(4)[[2, 1, 0, 3]]  # from (x, y, z) to the order of an array's axes
    layers = round(protocol.spacing[2])
    values = np.zeros(tuple(count[::-1]), np.float32)
    for layer in range(layers):
        within = np.eye(4)
        within[2, 3] = (layer - (layers - 1) / 2) / layers
        matrix = flip @ to_index @ within @ flip
        values += (
            ndimage.affine_transform(source, matrix, output_shape=values.shape, order=1, cval=protocol.air) / layers
        )
    return Volume(_noisy(values, kind, protocol, rng), to_world)


def hopeless(anatomy: Anatomy, fault: str, kind: str, rng: Generator) -> Volume:
    """A scan with one of the faults of HOPELESS."""
    if fault == HOPELESS[0]:
        size = rng.uniform(3, 8)  # mm
        return scan(anatomy, kind, displacement(rng, anatomy, 60.0), rng, _smooth_field(rng, anatomy, size))
    scanned = scan(anatomy, kind, displacement(rng, anatomy), rng)
    values = scanned.values.copy()
    middle = [slice(None)] * 3
    axis = int(rng.integers(3))
    half = values.shape[axis] // 2
    if fault == "noise":
        values = rng.normal(0, 100, values.shape)
    elif fault == "noise in the head's outline":
        head = values > np.percentile(values, 60)
        values = np.where(head, rng.normal(300, 100, values.shape), 0)
    elif fault == "half a volume":
        middle[axis] = slice(0, half)
        values = values[tuple(middle)]
    else:
        middle[axis] = slice(half, None)
        values[tuple(middle)] = values.min()
    return Volume(np.ascontiguousarray(values, dtype=np.float32), scanned.to_world)


def _direction(rng: Generator) -> Matrix:
    vector = rng.normal(size=3)
    return vector / np.linalg.norm(vector)


def _smooth_field(rng: Generator, anatomy: Anatomy, size: float) -> Values:
    """(3, Z, Y, X): displacements of `size` mm (root mean square), smooth over about 30 mm."""
    shape = anatomy.maps["t2"].shape
    coarse = ndimage.gaussian_filter(rng.normal(size=(3, *(n // 8 + 1 for n in shape))), (0, 2, 2, 2))
    field = np.stack([ndimage.zoom(c, [n / m for n, m in zip(shape, c.shape, strict=True)], order=1) for c in coarse])
    return (size * field / field.std()).astype(np.float32)


def _deformed(values: Values, field: Values) -> Values:
    places = np.indices(values.shape, dtype=np.float32) + field
    return ndimage.map_coordinates(values, places, order=1, mode="nearest")


def _noisy(values: Values, kind: str, protocol: Protocol, rng: Generator) -> NDArray[np.float32]:
    noise = rng.normal(0, protocol.noise, values.shape)
    if kind == "t2":
        # A bias field, and the noise of a magnitude.
        ramps = [np.linspace(-0.15, 0.15, n) * rng.uniform(-1, 1) for n in values.shape]
        bias = 1 + ramps[0][:, None, None] + ramps[1][:, None] + ramps[2]
        return np.hypot(values * bias + noise, rng.normal(0, protocol.noise, values.shape)).astype(np.float32)
    if kind == "pet":
        # Noise of the scanner's resolution, more where there is more uptake.
        smooth = ndimage.gaussian_filter(noise, 1.27)
        return (values + smooth * (protocol.noise / smooth.std()) * np.sqrt(values.clip(0.1) / 3)).astype(np.float32)
    return np.rint(values + noise).clip(-1024, 3000).astype(np.float32)
