"""The windows and lookup tables of a DICOM file's own (VOI), and the pixels that they are for.

LINEAR: from c - w/2 to c + w/2 - 1. LINEAR_EXACT: from c - w/2 to c + w/2. SIGMOID: 1 / (1 + exp(-4 (x - c) / w)).
A VOI table goes before a window if a file has both. (PS3.3 C.7.6.16.2.9, C.11.2)

Windows that only repeat the extremes of the values say nothing, and do not count.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from tfs_rt.errors import InputError
from tfs_rt.formats.dicom.modality import Modality, Values
from tfs_rt.formats.dicom.numbers import number
from tfs_rt.formats.dicom.pixels import stored_bits
from tfs_rt.formats.dicom.planes import by_frame, functional_group
from tfs_rt.formats.dicom.tables import Table, is_little_endian, table_of
from tfs_rt.formats.idle_window import leaves_nothing_out, repeats_extremes
from tfs_rt.formats.levels import LEAST_LEVELS
from tfs_rt.formats.picture import to_levels

BY_OPTION = "give a window as --window m1=LOW:HIGH (or m2, functional), in the file's own units"
REMEDY = f"{BY_OPTION}, or correct the file's own"
# Beyond these magnitudes arithmetic overflows.
HUGE = 1e100
TINY = 1e-100
Levels = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Window:
    """A window: linear between `low` and `high`, a step if they are one value, or a sigmoid around them."""

    low: float
    high: float
    words: str
    sigmoid: bool = False

    def levels(self, values: Values) -> Levels:
        """Values (H, W) as levels from 0 to 255."""
        if self.low == self.high:
            return np.where(values > self.low, 255, 0).astype(np.uint8)
        if self.sigmoid:
            middle = (self.low + self.high) / 2
            width = self.high - self.low
            with np.errstate(over="ignore"):
                return np.rint(255 / (1 + np.exp(-4 * (values - middle) / width))).astype(np.uint8)
        return to_levels(values, (self.low, self.high))


@dataclass(frozen=True, slots=True)
class Lookup:
    """The file's own table of levels."""

    table: Table
    words: str = "a lookup table (VOI LUT)"

    def levels(self, values: Values) -> Levels:
        """Values (H, W) as levels from 0 to 255."""
        return np.rint(self.table.look_up(values) * (255 / (2**self.table.bits - 1))).clip(0, 255).astype(np.uint8)


Voi = Window | Lookup


@dataclass(frozen=True, slots=True)
class Pixels:
    """The stored pixels of a file, and all that decides their window."""

    dataset: Dataset
    path: Path
    stored: NDArray[Any]  # (N, H, W)
    padding: NDArray[np.bool_]  # (N, H, W)
    modalities: list[Modality]  # by frame
    # The modality by the file, or else by its name; empty if neither says one.
    named: str

    @property
    def unit(self) -> str:
        """The unit of the first frame's values."""
        return self.modalities[0].unit

    @property
    def is_ct(self) -> bool:
        """True for CT, by its name or, if it has none, by the unit of its values."""
        return self.named == "CT" or (not self.named and self.unit == "HU")

    def image_values(self) -> Iterator[Values]:
        """Each frame's values in its unit, without padding."""
        for modality, frame, padded in zip(self.modalities, self.stored, self.padding, strict=True):
            yield modality.values(frame)[~padded]


def own_windows(pixels: Pixels) -> list[Voi]:
    """The file's own table or window for each frame; none if it has none, or if they only repeat extremes."""
    count = len(pixels.stored)
    found = by_frame(pixels.dataset, count, lambda index: _own_window(pixels, index))
    own = [window for window in found if window]
    if own and len(own) != count:
        raise InputError(pixels.path, f"has a window for {len(own)} of its {count} frames only", REMEDY)
    # One slice of air in CT is black by right.
    if own and (count > 1 or not (pixels.is_ct or pixels.unit == "HU")):
        _check_visible(own, pixels)
    return [] if own and _are_idle(own, pixels) else own


def centre_and_width(group: Dataset, path: Path) -> tuple[float, float] | None:
    """The centre and the width of the window in an item, None if it lacks one; InputError if one is not a number."""
    try:
        centre = number(group, "WindowCenter", path)
        width = number(group, "WindowWidth", path)
    except InputError as error:
        raise InputError(path, error.reason, f"{error.remedy}, or {BY_OPTION}") from error
    return None if centre is None or width is None else (centre, width)


def _own_window(pixels: Pixels, index: int) -> Voi | None:
    """A frame's own table or window: the first that it has."""
    path = pixels.path
    # A lookup table.
    group = functional_group(pixels.dataset, index, "FrameVOILUTSequence")
    if (sequence := group.get("VOILUTSequence")) and sequence[0].get("LUTData"):
        return Lookup(table_of(sequence[0], "LUTDescriptor", "LUTData", is_little_endian(pixels.dataset)))
    # Centre and width.
    shown = centre_and_width(group, path)
    if shown is None:
        return None
    centre, width = shown
    function = str(group.get("VOILUTFunction") or "LINEAR").strip().upper()
    if function not in ("LINEAR", "LINEAR_EXACT", "SIGMOID"):
        raise InputError(path, f"its own window has the unknown function {function}", REMEDY)
    least_width = 1 if function == "LINEAR" else TINY
    if not abs(centre) < HUGE or not least_width <= width < HUGE:
        raise InputError(path, f"its own window has the width {width:g}", REMEDY)
    # The formula of the function.
    low = centre - width / 2
    high = centre + width / 2
    if function == "LINEAR":
        high = max(low, high - 1)
    sigmoid = function == "SIGMOID"
    kind = "sigmoid window" if sigmoid else "window"
    shown = span_words(low, high, pixels.modalities[index].unit)
    return Window(low, high, f"{kind} {shown} (centre {centre:g}, width {width:g})", sigmoid)


def _check_visible(windows: list[Voi], pixels: Pixels) -> None:
    """InputError for a file's own windows that show all frames as black, white or next to one grey.

    A single slice may be dark by right, as above the head: there only a window without any value inside is refused.
    """
    least = LEAST_LEVELS if len(windows) > 1 else 0
    differs = False
    fault = "has none of its values inside"
    for window, values in zip(windows, pixels.image_values(), strict=True):
        if not isinstance(window, Window) or window.sigmoid or not values.size:
            return
        low, high = float(values.min()), float(values.max())
        if low < window.high and high > window.low:
            shown = min(high, window.high) - max(low, window.low)
            if shown * 255 >= least * (window.high - window.low):
                return
            fault = f"is so wide that it shows less than {least} levels of grey"
        differs = differs or low < high
    if differs:
        raise InputError(pixels.path, f"its own {windows[0].words} {fault}", REMEDY)


def _are_idle(windows: list[Voi], pixels: Pixels) -> bool:
    """True if the window of each frame only repeats extremes: of its frame, of all frames or of the stored bits.

    A window of CT is idle, too, if it leaves out nothing but air and padding.
    """
    # The extremes of each frame, of all, and of the stored bits.
    values = list(pixels.image_values())
    if not all(isinstance(window, Window) and not window.sigmoid for window in windows) or not all(
        map(np.size, values)
    ):
        return False
    frames = [(float(frame.min()), float(frame.max())) for frame in values]
    whole = (min(low for low, _ in frames), max(high for _, high in frames))
    is_ct = pixels.is_ct
    # Compare each frame's window with them.
    for window, modality, frame in zip(windows, pixels.modalities, frames, strict=True):
        assert isinstance(window, Window)
        shown = (window.low, window.high)
        step = abs(modality.slope) if pixels.stored.dtype.kind in "iu" else 0.0
        ends = [frame, whole, *_limits(pixels, modality)]
        if not repeats_extremes(shown, ends, step) and not (is_ct and leaves_nothing_out(shown, whole, step)):
            return False
    return True


def _limits(pixels: Pixels, modality: Modality) -> list[tuple[float, float]]:
    """The least and the greatest value that the stored bits can hold; none for floats."""
    if pixels.stored.dtype.kind not in "iu":
        return []
    bits, signed = stored_bits(pixels.dataset, pixels.stored.dtype)
    stored = np.array([-(2 ** (bits - 1)), 2 ** (bits - 1) - 1] if signed else [0, 2**bits - 1], np.int64)
    low, high = sorted(modality.values(stored).tolist())
    return [(low, high)]


def span_words(low: float, high: float, unit: str) -> str:
    """A window for the sidecar."""
    return f"{low:g} to {high:g} {unit or 'in stored values'}"
