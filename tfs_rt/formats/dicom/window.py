"""The window of a DICOM image: stored values become levels by modality transform, window, inversion (PS3.4 annex N.2).

The first of these windows counts: the user's, the file's own lookup table or window, for CT the head window, the 0.5th
to the 99.5th percentile. 8 bits without any transform are levels already. Padding is black, and counts in no window.

The user's window comes from `--window`: `cli.reading` parses it into `ReadingOptions`, `cases.load` takes its slot's
window into `FileOptions`.

LINEAR: from c - w/2 to c + w/2 - 1. LINEAR_EXACT: from c - w/2 to c + w/2. SIGMOID: 1 / (1 + exp(-4 (x - c) / w)).
A VOI table goes before a window if a file has both. (PS3.3 C.7.6.16.2.9, C.11.2)
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from tfs_rt.errors import InputError
from tfs_rt.formats import hounsfield
from tfs_rt.formats.dicom.modality import Modality, Values, modalities_of
from tfs_rt.formats.dicom.numbers import number
from tfs_rt.formats.dicom.padding import padding_of
from tfs_rt.formats.dicom.planes import by_frame, functional_group
from tfs_rt.formats.dicom.tables import Table, is_little_endian, table_of
from tfs_rt.formats.levels import AS_STORED
from tfs_rt.formats.missing import fill_missing
from tfs_rt.formats.picture import FileOptions, to_levels

PERCENTILES = (0.5, 99.5)
REMEDY = "give one as --window m1=LOW:HIGH (or m2, functional), in the file's own units"
# Beyond these magnitudes arithmetic overflows.
HUGE = 1e100
TINY = 1e-100
Levels = NDArray[np.uint8]
Origin = Literal["user", "file", "head", "data", ""]  # of a window; empty if the values are levels already


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
class Grey:
    """The frames as levels, and the rule that made them."""

    frames: list[Levels]  # each (H, W)
    words: str
    window_from: Origin
    # Width in HU of a CT's window if a brain is one grey in it; else 0.
    wide: float = 0.0
    facts: dict[str, Any] = field(default_factory=dict)  # about missing values


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

    def image_values(self) -> Iterator[Values]:
        """Each frame's values in its unit, without padding."""
        for modality, frame, padded in zip(self.modalities, self.stored, self.padding, strict=True):
            yield modality.values(frame)[~padded]


def grey_levels(dataset: Dataset, stored: NDArray[Any], options: FileOptions, inverted: bool, path: Path) -> Grey:
    """The levels of frames (N, H, W) of stored values; InputError if a value or a window is not valid."""
    # Modality transform.
    modalities = modalities_of(dataset, len(stored), path)
    filled = fill_missing(stored, path, options)
    stored = filled.values
    for modality, frame in zip(modalities, stored, strict=True):
        if not (np.abs(modality.values(frame)) < HUGE).all():
            raise InputError(path, "has values too large to compute with", "replace them first")
    # Choose a window for each frame.
    named = str(dataset.get("Modality") or (options.modality or "").upper())
    pixels = Pixels(dataset, path, stored, padding_of(dataset, stored, path), modalities, named)
    windows, origin = _choose_windows(pixels, options)
    # Apply the window, then the inversion, then black padding.
    frames = []
    for index, (window, modality, frame) in enumerate(zip(windows, modalities, stored, strict=True)):
        levels = window.levels(modality.values(frame))
        if inverted:
            levels = 255 - levels
        levels[pixels.padding[index]] = 0
        filled.blacken(levels, index)
        frames.append(levels)
    words = _describe(windows, origin, inverted, bool(pixels.padding.any())) + filled.words
    return Grey(frames, words, origin, _wide_window(windows, pixels) if origin == "file" else 0.0, filled.facts)


def _choose_windows(pixels: Pixels, options: FileOptions) -> tuple[list[Voi], Origin]:
    """The window of each frame."""
    count = len(pixels.stored)
    # The user's.
    if options.window:
        return [Window(*options.window, f"window {_span(*options.window, pixels.unit)}, given")] * count, "user"
    # The file's own.
    own = _own_windows(pixels)
    if own:
        return own, "file"
    # Levels as stored.
    bits = int(pixels.dataset.get("BitsStored") or 0)
    if _is_levels(pixels, bits):
        high = 2**bits - 1
        return [Window(0, high, AS_STORED if bits == 8 else f"levels 0 to {high}")] * count, ""
    # The head window.
    values = np.concatenate(list(pixels.image_values()))
    is_ct = pixels.named == "CT"
    if (pixels.unit == "HU" and pixels.named in ("", "CT")) or (is_ct and hounsfield.has_air(values)):
        return [Window(*hounsfield.HEAD_WINDOW, hounsfield.WORDS)] * count, "head"
    # The percentiles.
    window = _window_of_data(values, pixels.unit)
    if is_ct:
        hounsfield.check_narrow((window.low, window.high), pixels.path)
    return [window] * count, "data"


def _own_windows(pixels: Pixels) -> list[Voi]:
    """The file's own table or window for each frame; none if it has none."""
    count = len(pixels.stored)
    found = by_frame(pixels.dataset, count, lambda index: _own_window(pixels, index))
    own = [window for window in found if window]
    if own and len(own) != count:
        raise InputError(pixels.path, f"has a window for {len(own)} of its {count} frames only", REMEDY)
    if own and pixels.named != "CT" and pixels.unit != "HU":  # a slice of air in CT is black by right
        _check_visible(own, pixels)
    return own


def _own_window(pixels: Pixels, index: int) -> Voi | None:
    """A frame's own table or window: the first that it has."""
    path = pixels.path
    # A lookup table.
    group = functional_group(pixels.dataset, index, "FrameVOILUTSequence")
    if (sequence := group.get("VOILUTSequence")) and sequence[0].get("LUTData"):
        return Lookup(table_of(sequence[0], "LUTDescriptor", "LUTData", is_little_endian(pixels.dataset)))
    # Centre and width.
    try:
        centre = number(group, "WindowCenter", path)
        width = number(group, "WindowWidth", path)
    except InputError as error:
        raise InputError(path, error.reason, f"{error.remedy}, or {REMEDY}") from error
    if centre is None or width is None:
        return None
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
    span = _span(low, high, pixels.modalities[index].unit)
    return Window(low, high, f"{kind} {span} (centre {centre:g}, width {width:g})", sigmoid)


def _check_visible(windows: list[Voi], pixels: Pixels) -> None:
    """InputError for a file's own windows that show different values as one level, black or white, in all frames."""
    differs = False
    for window, values in zip(windows, pixels.image_values(), strict=True):
        if not isinstance(window, Window) or window.sigmoid or not values.size:
            return
        if values.min() < window.high and values.max() > window.low:
            return
        differs = differs or bool(np.ptp(values))
    if differs:
        raise InputError(pixels.path, f"its own {windows[0].words} has none of its values inside", REMEDY)


def _is_levels(pixels: Pixels, bits: int) -> bool:
    """True for unsigned whole numbers of at most 8 bits without a modality transform."""
    if not 0 < bits <= 8 or pixels.dataset.get("PixelRepresentation") != 0 or "PixelData" not in pixels.dataset:
        return False
    return all(modality.is_identity for modality in pixels.modalities)


def _window_of_data(values: Values, unit: str) -> Window:
    """From the 0.5th to the 99.5th percentile of the values of all frames."""
    low, high = map(float, np.percentile(values, PERCENTILES)) if values.size else (0.0, 0.0)
    share = f"the {PERCENTILES[0]}th to the {PERCENTILES[1]}th percentile of its pixels"
    return Window(low, high, f"window {_span(low, high, unit)}, {share}: the file has none")


def _wide_window(windows: list[Voi], pixels: Pixels) -> float:
    """Width of the widest window of CT in HU if a brain is one grey in it; else 0."""
    if pixels.unit != "HU" or pixels.named not in ("", "CT"):
        return 0.0
    widest = max((window.high - window.low for window in windows if isinstance(window, Window)), default=0.0)
    return widest if widest > hounsfield.WIDE else 0.0


def _describe(windows: list[Voi], origin: Origin, inverted: bool, has_padding: bool) -> str:
    """The rule in words, for the sidecar."""
    words = windows[0].words
    if len(set(windows)) > 1:
        words = f"a window for each frame, the first: {words}"
    if origin == "file":
        words = f"{words}, from the file"
    if inverted:
        words = f"{words}, then inverted (MONOCHROME1)"
    if has_padding:
        words = f"{words}; padding is black"
    return words


def _span(low: float, high: float, unit: str) -> str:
    return f"{low:g} to {high:g} {unit or 'in stored values'}"
