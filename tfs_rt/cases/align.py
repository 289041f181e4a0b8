"""Put the three images of a case onto one grid: by rigid registration, or by their headers alone."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np

from tfs_rt.cases.case import Case
from tfs_rt.cases.compatibility import PERSON
from tfs_rt.errors import InputError
from tfs_rt.facts import Facts
from tfs_rt.formats.picture import Measured, Picture, grey, to_levels
from tfs_rt.formats.registry import place_format
from tfs_rt.formats.volume import Grid, Matrix, Volume
from tfs_rt.geometry.grid import isotropic_grid
from tfs_rt.geometry.itk import simpleitk
from tfs_rt.geometry.place import PLACE as DICOM_PLACE
from tfs_rt.geometry.place import (
    dicom_place,
    grid_in_space,
    grid_of_plane,
    has_pixel_spacing,
    moved_dicom_frame,
    nifti_frame,
    volume_of,
)
from tfs_rt.geometry.register import register
from tfs_rt.geometry.resample import resample
from tfs_rt.spec import SLOTS

REFERENCE = "m1"  # slot whose image the others are registered to where a spacing is asked for
DIGITS = 6  # of numbers in facts
BY_HEADERS = "--no-register"
NEAR = 0.05  # a share of a voxel: corners that are nearer are one place
ONE_KIND = "give all three with their place in space, or none"


@dataclass(frozen=True, slots=True, kw_only=True)
class AlignOptions:
    """How the images of a case are put onto one grid."""

    onto: str = REFERENCE  # slot whose grid it is
    spacing: float | None = None  # mm: instead, the extent of m1 in cubic voxels of this size
    register: bool = True  # else the headers alone say how the images lie to each other
    strict: bool = False  # refuse a registration that is not to be trusted

    @property
    def target(self) -> str:
        """The slot of the image that stays where it is."""
        return REFERENCE if self.spacing is not None else self.onto

    @property
    def words(self) -> str:
        """The grid, as `--onto` names it."""
        return self.onto if self.spacing is None else f"{self.spacing:g} mm"

    def recipe(self) -> Facts:
        """The decisions that can change pixels, with the version of the library that resamples."""
        onto = self.onto if self.spacing is None else self.spacing
        return {"onto": onto, "register": self.register, "simpleitk": simpleitk().Version_VersionString()}


@dataclass(frozen=True, slots=True)
class Aligned:
    """Three pictures on one grid."""

    pictures: dict[str, Picture]  # by slot
    facts: dict[str, Facts]  # by slot, for the sidecar: transform, figures, verdict
    transforms: dict[str, Matrix]  # by slot: (4, 4) from the grid's world to the image's own, mm (LPS)
    grid: Grid
    in_space: bool  # False for images that do not say where they lie
    format: str  # of a result at the target's place


def align(case: Case, pictures: dict[str, Picture], options: AlignOptions) -> Aligned:
    """Three pictures, which may lie anywhere, on one grid.

    InputError if they cannot be aligned, or with `strict` if a registration is not to be trusted; EnvironmentFault if
    SimpleITK is not installed.
    """
    # Find out where the images lie.
    grids, in_space = _grids(case, pictures, options)
    volumes = {slot: volume_of(pictures[slot], grids[slot]) for slot in SLOTS}
    grid = grids[options.target]
    if options.spacing is not None:
        grid = isotropic_grid(grid, options.spacing)
    # Find the transforms, and resample.
    facts: dict[str, Facts] = {}
    transforms: dict[str, Matrix] = {}
    moved: dict[str, Picture] = {}
    for slot in SLOTS:
        transforms[slot], facts[slot] = _transform(case, slot, volumes, options)
        resampled = resample(volumes[slot], grid, transforms[slot])
        if not resampled.inside.any():
            reason = f"does not overlap the grid of {options.target} at all"
            raise InputError(case.files[slot], reason, "check that it shows the same head, or align it by registration")
        facts[slot] = _grid_facts(grid, options) | facts[slot] | {"coverage": round(resampled.coverage, 4)}
        moved[slot] = _picture(pictures[slot], volumes[slot], resampled.volume, grid if in_space else None)
    # Give all the place of the target. What has not moved keeps its own, with the references of its slices.
    target = pictures[options.target]
    kind = place_format(target.facts["format"])
    frames = _frames(pictures, target, None if options.spacing is None else grid)
    for slot, picture in pictures.items():
        is_unmoved = moved[slot].slices is picture.slices and place_format(picture.facts["format"]) == kind
        moved[slot] = dataclasses.replace(moved[slot], frame=picture.frame if is_unmoved else frames[slot])
    return Aligned(moved, facts, transforms, grid, in_space, kind)


def doubts(facts: Facts) -> str:
    """What speaks against trusting an input's alignment, by its facts for the sidecar; empty if nothing does."""
    return "; ".join(facts.get("alignment", {}).get("reasons", []))


def _grids(case: Case, pictures: dict[str, Picture], options: AlignOptions) -> tuple[dict[str, Grid], bool]:
    """The grid of each picture, and if they lie in space: three single images may lie in their own planes instead."""
    found = {slot: grid_in_space(pictures[slot]) for slot in SLOTS}
    placed = {slot: grid for slot, grid in found.items() if grid is not None}
    if len(placed) == len(SLOTS):
        return placed, True
    unplaced = [slot for slot in SLOTS if slot not in placed]
    first = case.files[unplaced[0]]
    if placed:
        other = case.files[next(iter(placed))].name
        raise InputError(first, f"does not say where it lies in space, unlike {other}", ONE_KIND)
    if not options.register:
        reason = "does not say where it lies in space, so that its header cannot align it"
        raise InputError(first, reason, f"leave out {BY_HEADERS}")
    if options.spacing is not None:
        reason = "does not say where it lies in space, so that it has no extent in mm"
        raise InputError(first, reason, "choose the grid of one of the images: --onto m1, m2 or functional")
    if len({has_pixel_spacing(picture) for picture in pictures.values()}) > 1:
        reason = "only some of the three images say how large their pixels are"
        raise InputError(f"case {case.id}", reason, "give all three with their pixel spacing, or none")
    return {slot: grid_of_plane(pictures[slot], str(case.files[slot])) for slot in SLOTS}, False


def _transform(case: Case, slot: str, volumes: dict[str, Volume], options: AlignOptions) -> tuple[Matrix, Facts]:
    """The transform from the target's world to that of the image in `slot`, and facts about it."""
    if slot == options.target or not options.register:
        return np.eye(4), {"by": "target" if slot == options.target else "headers"}
    try:
        found = register(volumes[options.target], volumes[slot])
    except InputError as error:
        raise InputError(case.files[slot], f"cannot be registered ({error.reason})", error.remedy) from error
    if found.reasons and options.strict:
        reason = f"its registration to {options.target} is not to be trusted: {'; '.join(found.reasons)}"
        raise InputError(case.files[slot], reason, "check that they show one head, or leave out --strict and look")
    figures = dataclasses.asdict(found.figures)
    del figures["seconds"]  # so that equal runs give equal sidecars
    return found.transform, {
        "by": "registration",
        "angles_rad_and_shift_mm": list(found.parameters),
        "centre_mm": list(found.centre),
        "figures": {name: _rounded(value) for name, value in figures.items()},
        "trusted": found.trusted,
        "reasons": list(found.reasons),
    }


def _grid_facts(grid: Grid, options: AlignOptions) -> Facts:
    depth, height, width = grid.shape
    spacing = [round(float(distance), DIGITS) for distance in grid.spacing]
    return {"onto": options.words, "grid": [width, height, depth], "spacing_mm": spacing}


def _rounded(value: Any) -> Any:
    return round(value, DIGITS) if isinstance(value, float) else value


def _picture(picture: Picture, source: Volume, moved: Volume, place: Grid | None) -> Picture:
    """A picture of resampled values in the original window, or of resampled colours. Its frame is the old one."""
    subject = {key: value for key, value in picture.subject.items() if key in PERSON}
    if place is not None:
        within = NEAR * float(place.spacing.min())
        subject["grid"] = {"size": place.shape, "corners": place.corners.tolist(), "within": within}
    if moved.values is source.values:
        return dataclasses.replace(picture, subject=subject)
    if picture.measured is None:
        return dataclasses.replace(picture, slices=tuple(moved.values), subject=subject)
    window = picture.measured.window
    slices = tuple(grey(levels) for levels in to_levels(moved.values, window))
    return dataclasses.replace(picture, slices=slices, subject=subject, measured=Measured(moved.values, window))


def _frames(pictures: dict[str, Picture], target: Picture, grid: Grid | None) -> dict[str, dict[str, Any] | None]:
    """By slot: the frame of a result at the place of the target, or on `grid`, in the target's format."""
    kind = place_format(target.facts["format"])
    if target.frame is None:
        return dict.fromkeys(SLOTS)
    if kind == "nifti":
        return dict.fromkeys(SLOTS, target.frame if grid is None else nifti_frame(grid))
    if grid is None:
        place = {name: target.frame[name] for name in DICOM_PLACE}
    else:
        place = dicom_place(grid, target.frame["frame_of_reference"])
    frames: dict[str, dict[str, Any] | None] = {}
    for slot, picture in pictures.items():
        own = picture.frame if place_format(picture.facts["format"]) == kind else None
        frames[slot] = moved_dicom_frame(own, place, target.frame["attributes"]) if own else None
    return frames
