"""Colour in the images of a case: only the functional image may have colour, and a grey one is put in pseudo-colour.

An image is judged by the pixels that it shows clearly, those brighter than FAINT. If there are nearly none, it is
judged by all pixels that are not black. In the functional images of the training data at least 97 % of these have
colour; in a grey image with a coloured letter, arrow or colour bar only a small part.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tfs_rt.cases.case import Case
from tfs_rt.cases.colormaps import pseudo_colour
from tfs_rt.cases.modalities import modality_of
from tfs_rt.errors import InputError
from tfs_rt.facts import Facts
from tfs_rt.formats.picture import Picture
from tfs_rt.formats.registry import WITH_GEOMETRY
from tfs_rt.images import LUMA_WEIGHTS, RGB

# A level: an image without a brighter one is too dark to tell colour from grey.
FAINT = 64
BLACK = 8  # level: a pixel that is not brighter shows nothing
# Share of the pixels that are not black: an image that shows less than that clearly is dim.
DIM = 0.1
GREY_SPREAD = 16  # levels between the channels of a grey pixel in a lossy format
# Share of the pixels shown that have colour: from here on it is a colour image.
COLOURED = 0.5
# Share of the pixels shown that have colour: up to here it is a grey image with marks in colour.
MARKED = 0.25
ANATOMICAL = 0.001  # share of the area that may have colour in an anatomical image


class Counts(NamedTuple):
    """Numbers of pixels in all slices of a picture."""

    shown_in_colour: int
    shown: int
    coloured: int  # shown or not


class ColormapChoice(NamedTuple):
    """A colour map, and the reason for it."""

    name: str
    chosen_by: str  # user, modality or default


def check_anatomical(case: Case, slot: str, picture: Picture) -> Facts:
    """Metadata on colour in an anatomical image, for the sidecar; InputError for more of it than a small mark."""
    area = picture.slices[0][..., 0].size
    most = max(int(_is_coloured(image).sum()) for image in picture.slices)
    if most / area > ANATOMICAL:
        reason = f"is in colour, but {slot} is an anatomical image"
        raise InputError(case.files[slot], reason, "swap the slots, or save it as grey")
    coloured = _count(picture.slices).coloured
    return {"coloured_pixels": coloured} if coloured else {}


def colour_functional(case: Case, picture: Picture, facts: Facts, colormap: str | None) -> tuple[Picture, Facts]:
    """The functional picture in colour, and its metadata.

    InputError if a colour map is needed and none is given, or one is given for an image that has colours.
    """
    path = case.files["functional"]
    counts = _count(picture.slices)

    # A colour image stays as it is.
    if not _is_grey(counts):
        if colormap:
            share = counts.shown_in_colour / max(counts.shown, 1)
            reason = f"has colours already (in {share:.0%} of what it shows)"
            raise InputError(path, reason, "leave out --colormap, or save it as grey")
        if counts.shown and counts.shown_in_colour < COLOURED * counts.shown:
            facts = {**facts, "colour_share": round(counts.shown_in_colour / counts.shown, 4)}
        return picture, facts

    # A grey image is put in the colours that the user chose, or in those that its format and modality suggest.
    by_name = case.modalities.get("functional") or modality_of(path)
    choice = ColormapChoice(colormap, "user") if colormap else _default_colormap(by_name, facts)
    if choice:
        slices = tuple(_put_in_colour(image, choice.name) for image in picture.slices)
        marks = {"coloured_pixels": counts.coloured} if counts.coloured else {}
        facts = {**facts, "colormap": choice.name, "colormap_from": choice.chosen_by, **marks}
        return replace(picture, slices=slices), facts

    # A grey image without a colour map is accepted only if it shows nothing.
    if counts.coloured or any(image.max() > FAINT and image.std() > 0 for image in picture.slices):
        but = f" but for {counts.coloured} pixels (a mark, a colour bar)" if counts.coloured else ""
        reason = f"has no colour{but}, but the functional image is expected in pseudo-colour"
        raise InputError(path, reason, "swap the slots, or give it a colour map: --colormap")
    return picture, facts


def has_colour(picture: Picture) -> bool:
    """True for a picture in colour; False for a grey one, even with marks in colour."""
    return not _is_grey(_count(picture.slices))


def _is_grey(counts: Counts) -> bool:
    return counts.shown_in_colour <= MARKED * counts.shown if counts.shown else not counts.coloured


def _default_colormap(by_name: str | None, facts: Facts) -> ColormapChoice | None:
    """The training images' colours for formats of measured values; None for others, where the user must choose."""
    if facts["format"] not in WITH_GEOMETRY:
        return None
    by_header = facts.get("modality")
    if by_name == "spect" or by_header == "NM":
        return ColormapChoice("atlas-spect", "modality")
    is_pet = by_name == "pet" or by_header == "PT"
    return ColormapChoice("atlas-pet", "modality" if is_pet else "default")


def _put_in_colour(image: RGB, name: str) -> RGB:
    """A grey image in the colours of a map by its luminance; pixels with colour keep theirs."""
    weights = np.array(LUMA_WEIGHTS)  # float64: float32 would round 308 nearly grey colours to another level
    levels = np.rint(image @ weights).astype(np.uint8)
    mapped = pseudo_colour(np.repeat(levels[..., None], 3, axis=2), name)
    return np.where(_is_coloured(image)[..., None], image, mapped)


def _count(slices: Sequence[RGB]) -> Counts:
    """Count the pixels that are shown and those that have colour."""
    clear = 0
    clear_in_colour = 0
    not_black = 0
    not_black_in_colour = 0
    coloured = 0
    # Add up the counts of all slices.
    for image in slices:
        brightest = image.max(axis=2)
        mask = _is_coloured(image)
        clear += int((brightest > FAINT).sum())
        clear_in_colour += int((mask & (brightest > FAINT)).sum())
        not_black += int((brightest > BLACK).sum())
        not_black_in_colour += int((mask & (brightest > BLACK)).sum())
        coloured += int(mask.sum())
    # Count only clear pixels, unless most are dim.
    if clear >= DIM * not_black:
        return Counts(clear_in_colour, clear, coloured)
    return Counts(not_black_in_colour, not_black, coloured)


def _is_coloured(image: RGB) -> NDArray[np.bool_]:
    """A mask (H, W) of the pixels whose channels differ by more than GREY_SPREAD."""
    return image.max(axis=2).astype(np.int16) - image.min(axis=2) > GREY_SPREAD
