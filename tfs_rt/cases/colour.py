"""Colour in the images of a case: it belongs in the functional slot alone, and is put on a functional image without.

An image is judged by what it shows clearly, brighter than FAINT, or if that is next to nothing, by all that is not
black. Of a functional picture of the training data at least
97 % of that has colour; of a grey one with a coloured letter, arrow or colour bar only a small part.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tfs_rt.cases.case import Case
from tfs_rt.cases.colormaps import pseudo_colour
from tfs_rt.cases.modalities import modality_of
from tfs_rt.errors import InputError
from tfs_rt.formats.picture import Picture
from tfs_rt.formats.registry import WITH_GEOMETRY
from tfs_rt.images import RGB

FAINT = 64  # level: an image without a brighter one is too dark to tell colour from grey
BLACK = 8  # level: no brighter, a pixel shows nothing
LITTLE = 0.1  # share of what is not black: an image that shows less than that clearly is dim
SPREAD = 16  # levels between channels: what a lossy format may leave of grey
COLOURED = 0.5  # share of what an image shows clearly: from here on it is a colour image
MARKED = 0.25  # share up to which it is a grey image with marks in colour
ANATOMICAL = 0.001  # share of the area that may have colour in an anatomical image
LUMA = (0.299, 0.587, 0.114)
Facts = dict[str, Any]  # of a picture, for the sidecar


def check_anatomical(case: Case, slot: str, picture: Picture) -> Facts:
    """Facts on colour in an anatomical image, for the sidecar; InputError for more of it than a small mark."""
    _, _, marks = _counts(picture.slices)
    pixels = max(int(_coloured(image).sum()) for image in picture.slices) / picture.slices[0][..., 0].size
    if pixels > ANATOMICAL:
        reason = f"is in colour, but {slot} is an anatomical image"
        raise InputError(case.files[slot], reason, "swap the slots, or save it as grey")
    return {"coloured_pixels": marks} if marks else {}


def colour_functional(case: Case, picture: Picture, facts: Facts, colormap: str | None) -> tuple[Picture, Facts]:
    """The functional picture in colour, and its facts; InputError where a map is missing or cannot be applied."""
    path = case.files["functional"]
    coloured, shown, marks = _counts(picture.slices)
    is_grey = coloured <= MARKED * shown if shown else not marks
    if not is_grey:
        if colormap:
            reason = f"has colours already (in {coloured / max(shown, 1):.0%} of what it shows)"
            raise InputError(path, reason, "leave out --colormap, or save it as grey")
        more = {"colour_share": round(coloured / shown, 4)} if shown and coloured < COLOURED * shown else {}
        return picture, {**facts, **more}
    own = _own_colormap(path, facts)
    if chosen := (colormap, "user") if colormap else own:
        name, origin = chosen
        slices = tuple(_put_colour(image, name) for image in picture.slices)
        more = {"coloured_pixels": marks} if marks else {}
        return replace(picture, slices=slices), {**facts, "colormap": name, "colormap_from": origin, **more}
    if marks or any(image.max() > FAINT and image.std() > 0 for image in picture.slices):
        but = f" but for {marks} pixels (a mark, a colour bar)" if marks else ""
        reason = f"has no colour{but}, but the functional image is expected in pseudo-colour"
        raise InputError(path, reason, "swap the slots, or give it a colour map: --colormap")
    return picture, facts


def _own_colormap(path: Path, facts: Facts) -> tuple[str, str] | None:
    """For formats of measured values the training images' colours, and whence; of any other the user must decide."""
    if facts["format"] not in WITH_GEOMETRY:
        return None
    named, modality = modality_of(path), facts.get("modality")
    if named == "spect" or modality == "NM":
        return "atlas-spect", "modality"
    return "atlas-pet", "modality" if named == "pet" or modality == "PT" else "default"


def _put_colour(image: RGB, name: str) -> RGB:
    """A grey image in the colours of a map by its luminance; what has colour of its own keeps it."""
    levels = np.rint(image @ np.array(LUMA)).astype(np.uint8)
    mapped = pseudo_colour(np.repeat(levels[..., None], 3, axis=2), name)
    return np.where(_coloured(image)[..., None], image, mapped)


def _counts(slices: Sequence[RGB]) -> tuple[int, int, int]:
    """The numbers of pixels that are shown and have colour, that are shown, and that have colour."""
    brightest = [image.max(axis=2) for image in slices]
    masks = [_coloured(image) for image in slices]
    marks = sum(int(mask.sum()) for mask in masks)

    def shown(level: int) -> tuple[int, int]:
        pairs = [(bright > level, mask) for bright, mask in zip(brightest, masks, strict=True)]
        return sum(int((bright & mask).sum()) for bright, mask in pairs), sum(int(bright.sum()) for bright, _ in pairs)

    clear, not_black = shown(FAINT), shown(BLACK)
    return *(clear if clear[1] >= LITTLE * not_black[1] else not_black), marks


def _coloured(image: RGB) -> NDArray[np.bool_]:
    """A mask (H, W) of the pixels whose channels differ by more than SPREAD."""
    return image.max(axis=2).astype(np.int16) - image.min(axis=2) > SPREAD
