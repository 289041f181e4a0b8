"""Registration at known displacements, and where it must not be trusted."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from tfs_rt.errors import InputError
from tfs_rt.formats.volume import Matrix, Volume, transform_points
from tfs_rt.geometry.register import Registration, displacement, register, turn


@pytest.fixture(scope="module")
def fixed(head) -> Volume:
    return head.scan(np.eye(4), inverted=False)


@pytest.fixture(scope="module")
def moving(head, moved: Matrix) -> Volume:
    return head.scan(moved, inverted=True)


@pytest.fixture(scope="module")
def registered(fixed: Volume, moving: Volume) -> Registration:
    return register(fixed, moving)


def test_a_known_displacement_is_found_and_trusted(registered: Registration, head, moved: Matrix) -> None:
    found = transform_points(registered.transform, head.points)
    errors = np.linalg.norm(found - transform_points(moved, head.points), axis=1)
    assert errors.max() < 0.9  # mm, of voxels of 3 mm
    assert registered.trusted, registered.reasons
    assert registered.figures.turn_degrees == pytest.approx(6, abs=0.5)


def test_registered_again_with_other_threads_it_is_the_same_bytes(
    registered: Registration, fixed: Volume, moving: Volume
) -> None:
    threads = pytest.importorskip("SimpleITK").ProcessObject
    before = threads.GetGlobalDefaultNumberOfThreads()
    threads.SetGlobalDefaultNumberOfThreads(7)
    again = register(fixed, moving)
    assert threads.GetGlobalDefaultNumberOfThreads() == 7
    threads.SetGlobalDefaultNumberOfThreads(before)
    assert again.transform.tobytes() == registered.transform.tobytes()
    assert again.parameters == registered.parameters
    assert all(number == round(number, 6) for number in registered.parameters)


def test_the_parameters_are_those_of_itk(registered: Registration, head) -> None:
    sitk = pytest.importorskip("SimpleITK")
    angles = registered.parameters[:3]
    itk = sitk.Euler3DTransform(registered.centre, *angles, registered.parameters[3:])
    for point in head.points[::50]:
        wanted = transform_points(registered.transform, point[None])[0]
        np.testing.assert_allclose(itk.TransformPoint(point.tolist()), wanted, atol=1e-6)


def test_a_slab_of_three_slices_is_registered(head) -> None:
    """The bound of overlap keeps it from a tilt, in which a sliver of common ground says anything."""
    slabs = []
    for scan in (head.scan(np.eye(4), inverted=False), head.scan(np.eye(4), inverted=True)):
        middle = scan.shape[0] // 2
        # Every fourth slice: thick slices far apart.
        to_world = scan.to_world @ np.diag([1.0, 1.0, 4.0, 1.0])
        to_world[:3, 3] = transform_points(scan.to_world, np.array([[0.0, 0.0, middle - 4]]))[0]
        slabs.append(Volume(np.ascontiguousarray(scan.values[middle - 4 : middle + 5 : 4]), to_world))
    shift = np.array([6.0, -5.0, 2.0])
    moved = slabs[1].to_world.copy()
    moved[:3, 3] += shift
    found = register(slabs[0], Volume(slabs[1].values, moved))
    points = slabs[0].corners
    errors = np.linalg.norm(transform_points(found.transform, points) - (points + shift), axis=1)
    assert errors.max() < 3  # mm, a voxel in the plane
    assert found.figures.overlap > 0.6


def test_noise_is_not_trusted(fixed: Volume, rng: np.random.Generator) -> None:
    noise = Volume(rng.normal(size=fixed.shape).astype(np.float32), fixed.to_world)
    assert not register(fixed, noise).trusted


def test_half_a_head_is_not_trusted(fixed: Volume, moving: Volume) -> None:
    half = Volume(np.ascontiguousarray(moving.values[:16]), moving.to_world)
    found = register(fixed, half)
    assert any("share" in reason for reason in found.reasons), found


def test_single_images_are_registered_in_their_plane(fixed: Volume) -> None:
    # The same slice, turned and shifted in a plane that lies obliquely in space.
    plane = np.array([[0, 0, 1.0, 9], [3, 0, 0, -4], [0, -3, 0, 7], [0, 0, 0, 1]])
    angle = np.deg2rad(8)
    motion = np.eye(4)
    motion[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    motion[:2, 3] = [1.5, -1.0]
    middle = np.eye(4)
    middle[:2, 3] = 15.5
    motion = middle @ motion @ np.linalg.inv(middle)  # in pixels, about the middle
    one = Volume(fixed.values[16:17], plane)
    other = Volume(_moved_image(one.values[0], motion)[None], plane)
    found = register(one, other)
    wanted = plane @ motion @ np.linalg.inv(plane)
    points = transform_points(plane, np.argwhere(one.values[0] > 0)[:, ::-1] @ np.eye(2, 3))
    assert displacement(found.transform, wanted, points) < 1.0
    assert found.trusted, found.reasons


def _moved_image(values: np.ndarray, motion: Matrix) -> np.ndarray:
    flip = np.eye(3)[[1, 0, 2]]
    inverse = np.linalg.inv(motion[np.ix_([0, 1, 3], [0, 1, 3])])
    return ndimage.affine_transform(values, flip @ inverse @ flip, order=1).astype(np.float32)


def test_what_cannot_be_registered_is_refused(fixed: Volume) -> None:
    with pytest.raises(InputError, match="a single image and the other a volume"):
        register(fixed, Volume(fixed.values[:1], fixed.to_world))
    with pytest.raises(InputError, match="one value throughout"):
        register(fixed, Volume(np.ones_like(fixed.values), fixed.to_world))


def test_the_angle_of_a_turn(moved: Matrix) -> None:
    assert turn(moved) == pytest.approx(6)
    assert turn(np.eye(4)) == 0
