"""The window of a DICOM image: stored values become levels by modality transform, window, inversion (PS3.4 annex N.2).

The first of these windows counts: the user's, the file's own lookup table or window, for CT the head window, the 0.5th
to the 99.5th percentile. 8 bits without any transform are levels already. Padding is black, and counts in no window.

The user's window comes from `--window`: `cli.reading` parses it into `ReadingOptions`, `cases.load` takes its slot's
window into `FileOptions`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from tfs_rt.errors import InputError
from tfs_rt.formats import hounsfield
from tfs_rt.formats.dicom.modality import Values, modalities_of
from tfs_rt.formats.dicom.padding import padding_of
from tfs_rt.formats.dicom.voi import HUGE, Levels, Pixels, Voi, Window, own_windows, span_words
from tfs_rt.formats.levels import AS_STORED
from tfs_rt.formats.missing import fill_missing
from tfs_rt.formats.picture import FileOptions, Measured

PERCENTILES = (0.5, 99.5)
UNNAMED = ("", "OT", "SC")  # modalities that say nothing: "other", secondary capture
Origin = Literal["user", "file", "head", "data", ""]  # of a window; empty if the values are levels already


@dataclass(frozen=True, slots=True)
class Grey:
    """The frames as levels, and the rule that made them."""

    frames: list[Levels]  # each (H, W)
    words: str
    window_from: Origin
    # Width in HU of a CT's window if a brain is one grey in it; else 0.
    wide: float = 0.0
    facts: dict[str, Any] = field(default_factory=dict)  # about missing values
    measured: Measured | None = None


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
    modality = str(dataset.get("Modality") or "")
    named = (options.modality or "").upper() if modality in UNNAMED else modality
    pixels = Pixels(dataset, path, stored, padding_of(dataset, stored, path), modalities, named)
    windows, origin = _choose_windows(pixels, options)
    # Apply the window, then the inversion, then black padding.
    frames: list[Levels] = []
    kept = _linear_window(windows, origin, inverted) if options.keep_values else None
    measured: list[NDArray[np.float32]] = []
    for index, (window, modality, frame) in enumerate(zip(windows, modalities, stored, strict=True)):
        values = modality.values(frame)
        levels = window.levels(values)
        if inverted:
            levels = 255 - levels
        levels[pixels.padding[index]] = 0
        filled.blacken(levels, index)
        frames.append(levels)
        if kept:
            # Padding and missing values become the value of black.
            shown = np.where(pixels.padding[index], kept[0], values).astype(np.float32)
            filled.blacken(shown, index, kept[0])
            measured.append(shown)
    words = _describe(windows, origin, inverted, bool(pixels.padding.any())) + filled.words
    wide = _wide_window(windows, pixels) if origin == "file" else 0.0
    return Grey(frames, words, origin, wide, filled.facts, Measured(np.stack(measured), kept) if kept else None)


def _linear_window(windows: list[Voi], origin: Origin, inverted: bool) -> tuple[float, float] | None:
    """The one window that makes all frames levels; None if there are several, or it is not a linear rise."""
    first = windows[0]
    is_one = not inverted and origin and len(set(windows)) == 1
    if not is_one or not isinstance(first, Window) or first.sigmoid or first.low == first.high:
        return None
    return first.low, first.high


def _choose_windows(pixels: Pixels, options: FileOptions) -> tuple[list[Voi], Origin]:
    """The window of each frame."""
    count = len(pixels.stored)
    # The user's.
    if options.window:
        return [Window(*options.window, f"window {span_words(*options.window, pixels.unit)}, given")] * count, "user"
    # The file's own.
    own = own_windows(pixels)
    if own:
        return own, "file"
    # Levels as stored.
    bits = int(pixels.dataset.get("BitsStored") or 0)
    if _is_levels(pixels, bits):
        high = 2**bits - 1
        return [Window(0, high, AS_STORED if bits == 8 else f"levels 0 to {high}")] * count, ""
    # The head window.
    values = np.concatenate(list(pixels.image_values()))
    if _is_in_hounsfield(values, pixels, options):
        return [Window(*hounsfield.HEAD_WINDOW, hounsfield.WORDS)] * count, "head"
    # The percentiles.
    window = _window_of_data(values, pixels.unit)
    if pixels.is_ct:
        hounsfield.check_narrow((window.low, window.high), pixels.path)
    return [window] * count, "data"


def _is_in_hounsfield(values: Values, pixels: Pixels, options: FileOptions) -> bool:
    """True for CT whose values are in HU: as its unit says, if some are negative, or because some are air.

    A file that does not name its modality may be CT by values that only CT has.
    """
    if pixels.is_ct:
        is_in_unit = pixels.unit == "HU" and values.size and float(values.min()) < 0
        return bool(is_in_unit) or hounsfield.has_air(values)
    return options.may_be_ct and not pixels.named and hounsfield.is_hounsfield(values)


def _is_levels(pixels: Pixels, bits: int) -> bool:
    """True for unsigned whole numbers of at most 8 bits without a modality transform."""
    if not 0 < bits <= 8 or pixels.dataset.get("PixelRepresentation") != 0 or "PixelData" not in pixels.dataset:
        return False
    return all(modality.is_identity for modality in pixels.modalities)


def _window_of_data(values: Values, unit: str) -> Window:
    """From the 0.5th to the 99.5th percentile of the values of all frames."""
    low, high = map(float, np.percentile(values, PERCENTILES)) if values.size else (0.0, 0.0)
    share = f"the {PERCENTILES[0]}th to the {PERCENTILES[1]}th percentile of its pixels"
    return Window(low, high, f"window {span_words(low, high, unit)}, {share}: the file has none")


def _wide_window(windows: list[Voi], pixels: Pixels) -> float:
    """Width of the widest window of CT in HU if a brain is one grey in it; else 0."""
    if pixels.unit != "HU" or not pixels.is_ct:
        return 0.0
    return max(
        (hounsfield.wide((window.low, window.high)) for window in windows if isinstance(window, Window)), default=0.0
    )


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
