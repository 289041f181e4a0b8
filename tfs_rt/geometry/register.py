"""Rigid registration of two images of one head by mutual information, and a verdict on it.

Similarity cannot prove a registration right (Rohlfing, IEEE TMI 2012). So the verdict rests on consistency: the search
goes from several starts, and both ways. In addition, the images must overlap, they must tell something about each
other where both show tissue, and a head does not turn further than TURN between two scans.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from tfs_rt.errors import InputError
from tfs_rt.formats.volume import Matrix, Volume, transform_points
from tfs_rt.geometry.optimise import Pose, refine, search
from tfs_rt.geometry.pyramid import Pyramid, pyramid
from tfs_rt.geometry.structure import overlap, structure
from tfs_rt.geometry.verdict import DISAGREEMENT, OVERLAP, Figures, reasons

DIGITS = 6  # decimals of angles in rad and of mm: with more, results could differ between machines
ASIDE = np.deg2rad(35)  # the further starts are turned by it, each way about each axis
# A single start the other way ends astray now and then, in sound pairs too.
BACKWARD_STARTS = 4
OTHER = 10.0  # mm: starts that lie nearer to each other are one


@dataclass(frozen=True, slots=True)
class Registration:
    """A rigid transform with its figures and a verdict."""

    transform: Matrix  # (4, 4): from the fixed image's world to the moving one's, mm (LPS)
    # Angles about x, y and z in rad, then the shift in mm: those of ITK's Euler3DTransform. Of two single images they
    # are in the plane of the images, with the origin at their centres.
    parameters: tuple[float, ...]
    centre: tuple[float, ...]  # of the turn
    figures: Figures
    reasons: tuple[str, ...]  # against trusting it, in words; empty if it is trusted

    @property
    def trusted(self) -> bool:
        """True if nothing speaks against the transform."""
        return not self.reasons


def register(fixed: Volume, moving: Volume) -> Registration:
    """The rigid transform of most mutual information, the same bytes every time: one thread, a fixed seed, rounded.

    Two volumes, or two single images. Of colours the brightest channel counts. InputError for a volume with an image,
    or if one of the two is constant; EnvironmentFault if SimpleITK is not installed.
    """
    return register_pyramids(pyramid(fixed), pyramid(moving))


def register_pyramids(fixed: Pyramid, moving: Pyramid) -> Registration:
    """`register` for images that are prepared."""
    began = time.process_time()
    _check(fixed, moving)
    # Search from all starts, then backward from the best, and refine it.
    tried = [(start, search(fixed, moving, start)) for start in starts(fixed, moving)]
    found = [(start, optimum) for start, optimum in tried if optimum]
    if not found:
        raise InputError("registration", "the images do not overlap at any start", "check that they show one head")
    # A sliver of overlap may be full of chance information: a pose with overlap comes before one without.
    first, best = max(found, key=lambda pair: (_overlaps(fixed, moving, pair[1].pose), pair[1].information))
    backward = [search(moving, fixed, start) for start in starts(moving, fixed)[:BACKWARD_STARTS]]
    back = max(filter(None, backward), key=lambda optimum: optimum.information, default=None)
    refined = refine(fixed, moving, best.pose) or best
    # Compare the starts.
    points = fixed.points
    apart = [displacement(best.pose.matrix(), optimum.pose.matrix(), points) for _, optimum in found]
    is_other = [displacement(first.matrix(), start.matrix(), points) > OTHER for start, _ in found]
    # Measure the pose that is used, rounded.
    pose = refined.pose.rounded(DIGITS)
    matrix = pose.matrix()
    figures = Figures(
        information=refined.information,
        backward_mm=displacement(matrix, np.linalg.inv(back.pose.matrix()), points) if back else None,
        second_start_mm=min((mm for mm, other in zip(apart, is_other, strict=True) if other), default=None),
        agreeing_starts=sum(mm <= DISAGREEMENT for mm in apart),
        starts=len(tried),
        overlap=overlap(fixed, moving, matrix),
        structure=structure(fixed, moving, matrix),
        turn_degrees=turn(matrix),
        shift_mm=float(np.linalg.norm(pose.shift)),
        iterations=refined.iterations,
        seconds=time.process_time() - began,
    )
    world = np.round(moving.frame @ matrix @ np.linalg.inv(fixed.frame), 9)
    numbers = (*pose.angles.tolist(), *pose.shift.tolist())
    return Registration(world, numbers, tuple(pose.centre.tolist()), figures, reasons(figures))


def starts(fixed: Pyramid, moving: Pyramid) -> list[Pose]:
    """Where the search begins: centre on centre, foreground on foreground, and the latter turned about each axis."""
    still = np.zeros(3)
    mass = fixed.mass()
    shift = moving.mass() - mass
    found = [Pose(still, moving.centre() - fixed.centre(), fixed.centre()), Pose(still, shift, mass)]
    for axis in (2,) if fixed.dimensions == 2 else (0, 1, 2):
        found += [Pose(side * np.eye(3)[axis], shift, mass) for side in (-ASIDE, ASIDE)]
    return found


def displacement(first: Matrix, second: Matrix, points: Matrix) -> float:
    """The largest distance in mm between the places to which two transforms (4, 4) take points (N, 3)."""
    return float(np.linalg.norm(transform_points(first, points) - transform_points(second, points), axis=1).max())


def turn(matrix: Matrix) -> float:
    """The angle of a rotation in degrees, in [0, 180]."""
    cosine = (np.trace(matrix[:3, :3]) - 1) / 2
    return float(np.degrees(np.arccos(np.clip(cosine, -1, 1))))


def _overlaps(fixed: Pyramid, moving: Pyramid, pose: Pose) -> bool:
    return overlap(fixed, moving, pose.matrix()) >= OVERLAP


def _check(fixed: Pyramid, moving: Pyramid) -> None:
    if fixed.dimensions != moving.dimensions:
        raise InputError("registration", "one is a single image and the other a volume", "give images of one kind")
    if fixed.is_constant or moving.is_constant:
        raise InputError("registration", "one of the images has one value throughout", "check that it is not empty")
