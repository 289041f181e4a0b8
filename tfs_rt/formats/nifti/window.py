"""The window by which a NIfTI volume's values become levels."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from nibabel.nifti1 import Nifti1Header
from numpy.typing import NDArray

from tfs_rt.formats import hounsfield
from tfs_rt.formats.idle_window import Span, leaves_nothing_out, repeats_extremes
from tfs_rt.formats.levels import LEAST_LEVELS, window_words
from tfs_rt.formats.picture import FileOptions

PERCENTILES = (0.5, 99.5)
# Share of the voxels that must lie inside a window, and of the window that those of one slice must span.
FEWEST = 1e-3


class Choice(NamedTuple):
    """A window in scaled values, of no width if the volume is constant."""

    window: Span
    origin: str  # "user", "file", "head" or "data"
    words: str
    wide: float = 0.0  # width in HU of the file's own window of CT if a brain is one grey in it; else 0


def choose_window(
    volume: NDArray[Any], header: Nifti1Header, scale: tuple[float, float], options: FileOptions, path: Path
) -> Choice:
    """The user's window, the header's, the head window for CT, or the percentiles, in this order.

    A header's window counts if it says more than the data do: not where it only repeats their extremes or those of
    their type, nor where all but a few are black or white. For CT it counts only if it leaves out more than air.
    """
    # The user's.
    if options.window is not None:
        return Choice(options.window, "user", window_words(options.window))
    # The header's.
    is_ct = options.modality == "ct"
    is_head = _is_head(hounsfield.sample(volume, *scale), options)
    stored = float(volume.min()), float(volume.max())
    shown = _header_window(header)
    if shown and not _is_idle(shown, stored, volume, scale, is_ct=is_ct or is_head):
        wide = hounsfield.wide(shown) if is_head else 0.0
        return Choice(shown, "file", window_words(shown, "cal_min to cal_max of the header"), wide)
    # The head window.
    if is_head:
        return Choice(hounsfield.HEAD_WINDOW, hounsfield.ORIGIN, hounsfield.WORDS)
    # The percentiles; where they are one value, the extremes.
    window = _scaled(np.percentile(volume, PERCENTILES), scale)
    if is_ct:
        hounsfield.check_narrow(window, path)
    if window[0] < window[1]:
        return Choice(window, "data", window_words(window, "the 0.5th to the 99.5th percentile of its voxels"))
    extremes = _scaled(stored, scale)
    if extremes[0] < extremes[1]:
        words = window_words(extremes, "the least to the greatest of its voxels: its percentiles are one value")
        return Choice(extremes, "data", words)
    return Choice(extremes, "data", f"all voxels are {extremes[0]:.6g}: all black")


def _is_head(values: NDArray[np.float64], options: FileOptions) -> bool:
    """True for CT in HU: by its name and some air, or without a name by values that only CT has."""
    if options.modality == "ct":
        return hounsfield.has_air(values)
    return options.may_be_ct and options.modality is None and hounsfield.is_hounsfield(values)


def _header_window(header: Nifti1Header) -> Span | None:
    """cal_min to cal_max; None if they are not a window."""
    shown = float(header["cal_min"]), float(header["cal_max"])
    return shown if np.isfinite(shown).all() and shown[0] < shown[1] else None


def _is_idle(shown: Span, stored: Span, volume: NDArray[Any], scale: tuple[float, float], *, is_ct: bool) -> bool:
    """True if a header's window only repeats extremes, scaled or not, or shows next to nothing of the values."""
    # A window of CT that leaves nothing out.
    extremes = _scaled(stored, scale)
    is_integer = volume.dtype.kind in "iu"
    step = abs(scale[0]) if is_integer else 0.0
    if is_ct and leaves_nothing_out(shown, extremes, step):
        return True
    # A window that repeats the extremes of the data or of their type.
    ends = [extremes, stored]
    if is_integer:
        limits = float(np.iinfo(volume.dtype).min), float(np.iinfo(volume.dtype).max)
        ends += [_scaled(limits, scale), limits]
    if repeats_extremes(shown, ends, step):
        return True
    # A window with hardly any value inside, or whose values span hardly any of it.
    span = min(shown[1], extremes[1]) - max(shown[0], extremes[0])
    low, high = _scaled([(end - scale[1]) / scale[0] for end in shown], (1.0, 0.0))
    inside = float(((volume > low) & (volume < high)).mean())
    least = LEAST_LEVELS / 255 if min(volume.shape) > 1 else FEWEST
    return inside < FEWEST or span < least * (shown[1] - shown[0])


def _scaled(values: Any, scale: tuple[float, float]) -> Span:
    """Two stored values, scaled and in order: the slope may be negative."""
    low, high = sorted(float(value) * scale[0] + scale[1] for value in values)
    return low, high
