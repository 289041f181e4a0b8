"""A decoded picture, the same for all formats, and the rule by which values become levels."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tfs_rt.images import RGB

Content = bytes | dict[str, bytes]  # of a file, or of a folder's files by name
MAX_PIXELS = 4096 * 4096  # of one slice
# A share of the smallest voxel: nearer corners are one place. Float32 and rounded decimals move them by less.
NEAR = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class FileOptions:
    """The choices for reading one file: how its values become levels, and what is accepted."""

    # The values of black and white, in the file's own units (HU, SUV ...).
    window: tuple[float, float] | None = None
    allow_lossy: bool = False  # read JPEG, in which no damage can be seen
    nan_is_background: bool = False  # read NaN as black; else it is refused
    # Also return the values behind the levels, which can be resampled and then shown in the same window.
    keep_values: bool = False
    # Of a folder, the series to read: its number, or the beginning of its UID. None: the only one.
    series: str | None = None
    plane: str | None = None  # of a volume's slices, one of PLANES. None: the one of finest resolution
    modality: str | None = None  # by the file's name, as in ct.nii.gz
    # True if its slot may hold CT, so that values may show it where no name does.
    may_be_ct: bool = False


@dataclass(frozen=True, slots=True)
class Measured:
    """The values behind a grey picture's levels, and the one window that made them levels."""

    values: NDArray[np.float32]  # (slices, H, W), in the file's own units
    window: tuple[float, float]  # the values of black and white


@dataclass(frozen=True, slots=True)
class Picture:
    """A decoded file: one slice, or those of a volume or of a multi-frame image, in order."""

    slices: tuple[RGB, ...]  # each (H, W, 3) uint8, of one size
    # JSON for the sidecar: the format, and by which rule its values became levels.
    facts: dict[str, Any]
    # Patient and place. They must agree in the files of a case (a grid nearly), and are never written down.
    subject: dict[str, Any] = field(default_factory=dict)
    frame: dict[str, Any] | None = None  # plain data that a result in this format takes over
    # With `keep_values`; None for colours, for stored levels, and where no single linear window made the levels.
    measured: Measured | None = None


def to_levels(values: NDArray[Any], window: tuple[float, float]) -> NDArray[np.uint8]:
    """Any real array to levels: `low` and below become 0, `high` and above 255, linear between, rounded to even."""
    low, high = window
    return np.rint((values.astype(np.float64) - low).clip(0, high - low) * (255 / (high - low))).astype(np.uint8)


def grey(levels: NDArray[np.uint8]) -> RGB:
    """(H, W) levels as an image of three equal channels."""
    return np.repeat(levels[..., None], 3, axis=-1)
