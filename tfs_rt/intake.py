"""A case from disk to memory: read, checked against its companions, with what the sidecar will say of it."""

from __future__ import annotations

import hashlib
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tfs_rt.cases import Case, Found, RefusedCase
from tfs_rt.errors import InputError
from tfs_rt.images import RGB
from tfs_rt.reader import MAX_PIXELS, read_image
from tfs_rt.spec import SLOTS

MAX_BYTES = 2**28  # more than 4096 x 4096 pixels ever need
FAINT = 64  # level: an image without a brighter one is too dark to tell colour from grey
COLOUR_SPREAD, COLOUR_SHARE = 16, 0.001  # levels between channels, and the share of pixels that makes an image coloured


@dataclass(frozen=True, slots=True)
class Loaded:
    """A case in memory."""

    case: Case
    images: tuple[RGB, ...]
    inputs: dict[str, dict[str, Any]]  # by slot, for the sidecar
    size: tuple[int, int]  # (H, W) of the result


def load_case(case: Found, scale: int, target_size: tuple[int, int] | None) -> Loaded:
    """Read and check the three images of a case; InputError says what is wrong with which file."""
    if isinstance(case, RefusedCase):
        raise case.error
    images, inputs = [], {}
    for slot in SLOTS:
        path = case.files[slot]
        image, sha256 = read_file(path)
        height, width = image.shape[:2]
        images.append(image)
        inputs[slot] = {"file": str(path), "sha256": sha256, "width": width, "height": height}
    _check_sizes(case, images)
    _check_colours(case, images)
    height, width = images[0].shape[:2]
    size = target_size or (height * scale, width * scale)
    if size[0] * size[1] > MAX_PIXELS:
        reason = f"its result would have {size[1]}x{size[0]} pixels, more than 4096x4096"
        raise InputError(f"case {case.id}", reason, "crop it, or give --target-size")
    return Loaded(case, tuple(images), inputs, size)


def read_file(path: Path) -> tuple[RGB, str]:
    """An image (H, W, 3) uint8 and its file's SHA-256; InputError says what is wrong with the file."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode) or status.st_size > MAX_BYTES:
            raise InputError(path, "is no file of an image's size", "check the path")
        data = path.read_bytes()
    except (OSError, ValueError) as error:
        reason = f"cannot be read ({getattr(error, 'strerror', None) or error})"
        raise InputError(path, reason, "check the path") from error
    return read_image(data, path), hashlib.sha256(data).hexdigest()


def _check_sizes(case: Case, images: list[RGB]) -> None:
    if len({image.shape for image in images}) > 1:
        pairs = zip(SLOTS, images, strict=True)
        sizes = ", ".join(f"{case.files[s].name} {i.shape[1]}x{i.shape[0]}" for s, i in pairs)
        raise InputError(f"case {case.id}", f"expected 3 images of one size, got {sizes}", "resample them first")


def _check_colours(case: Case, images: list[RGB]) -> None:
    """Colour belongs in the functional slot alone: anything else is a swap, or an image the models never saw."""
    *anatomical, functional = zip(SLOTS, images, strict=True)
    for slot, image in anatomical:
        if _coloured(image):
            reason = f"is in colour, but {slot} is an anatomical image"
            raise InputError(case.files[slot], reason, "swap the slots, or save it as grey")
    if functional[1].max() > FAINT and functional[1].std() > 0 and not _coloured(functional[1], share=0):
        reason = "has no colour, but the functional image is expected in pseudo-colour"
        raise InputError(case.files["functional"], reason, "swap the slots, or apply its colour map first")


def _coloured(image: RGB, share: float = COLOUR_SHARE) -> bool:
    spread = image.max(axis=2).astype(np.int16) - image.min(axis=2)
    return bool((spread > COLOUR_SPREAD).mean() > share)
