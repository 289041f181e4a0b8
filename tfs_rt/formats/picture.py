"""What a file holds once it is decoded, whatever its format, and the rule by which values become levels."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tfs_rt.images import RGB

MAX_PIXELS = 4096 * 4096  # of one slice
NEAR = 0.05  # of the smallest voxel: so near, corners are one place; more than float32 and rounded decimals move them


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What the user decided of values that are no 8-bit levels as they stand."""

    window: tuple[float, float] | None = None  # what becomes black and white, in the file's own units (HU, SUV ...)
    allow_lossy: bool = False  # read JPEG, in which no damage can be seen
    modality: str | None = None  # what the file is called by, as in ct.nii.gz
    may_be_ct: bool = False  # its slot may hold CT, so that values can tell CT where no name does


@dataclass(frozen=True, slots=True)
class Picture:
    """A decoded file: one slice, or those of a volume or of a multi-frame image, in order."""

    slices: tuple[RGB, ...]  # each (H, W, 3) uint8, of one size
    facts: dict[str, Any]  # JSON, for the sidecar: the format, and by which rule its values became levels
    subject: dict[str, Any] = field(
        default_factory=dict
    )  # must agree in the files of a case (a grid nearly); never written down
    frame: dict[str, Any] | None = None  # plain data: what a result in this format takes over from the file


def to_levels(values: NDArray[Any], window: tuple[float, float]) -> NDArray[np.uint8]:
    """Any real array to levels: `low` and below become 0, `high` and above 255, linear between, rounded to even."""
    low, high = window
    return np.rint((values.astype(np.float64) - low).clip(0, high - low) * (255 / (high - low))).astype(np.uint8)


def grey(levels: NDArray[np.uint8]) -> RGB:
    """(H, W) levels as an image of three equal channels."""
    return np.repeat(levels[..., None], 3, axis=-1)
