"""The window by which a NIfTI volume's values become levels."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from nibabel.nifti1 import Nifti1Header
from numpy.typing import NDArray

from tfs_rt.formats import hounsfield
from tfs_rt.formats.levels import window_words
from tfs_rt.formats.picture import Rules

PERCENTILES = (0.5, 99.5)
ROUNDING = 1e-5  # of a window's width: what float32, in which the header holds it, may add or take
Span = tuple[float, float]


class Choice(NamedTuple):
    """A window in scaled values, of no width if the volume is constant."""

    window: Span
    origin: str
    words: str


def window_of(
    volume: NDArray[Any], header: Nifti1Header, scale: tuple[float, float], rules: Rules, path: Path
) -> Choice:
    """The user's window, the header's, the head window for CT, or the percentiles, in this order.

    A header's window counts if it says more than the data do: not where it only repeats their extremes or those of
    their type, and for CT only if it leaves something out.
    """
    if rules.window is not None:
        return Choice(rules.window, "user", window_words(rules.window))
    is_ct = rules.modality == "ct"
    values = hounsfield.sample(volume, *scale)
    is_head = (is_ct or rules.modality is None) and hounsfield.is_hounsfield(values, is_ct=is_ct)
    extremes = _scaled([volume.min(), volume.max()], scale)
    if (shown := _header_window(header)) and not _repeats(shown, extremes, volume.dtype, scale, is_ct=is_ct or is_head):
        return Choice(shown, "file", window_words(shown, "cal_min to cal_max of the header"))
    if is_head:
        return Choice(hounsfield.HEAD_WINDOW, hounsfield.ORIGIN, hounsfield.WORDS)
    window = _scaled(np.percentile(volume, PERCENTILES), scale)
    if is_ct:
        hounsfield.check_narrow(window, path)
    if window[0] < window[1]:
        return Choice(window, "data", window_words(window, "the 0.5th to the 99.5th percentile of its voxels"))
    words = window_words(extremes, "the least to the greatest of its voxels: its percentiles are one value")
    if extremes[0] < extremes[1]:
        return Choice(extremes, "data", words)
    return Choice(extremes, "data", f"all voxels are {extremes[0]:.6g}: all black")


def _header_window(header: Nifti1Header) -> Span | None:
    shown = float(header["cal_min"]), float(header["cal_max"])
    return shown if np.isfinite(shown).all() and shown[0] < shown[1] else None


def _repeats(shown: Span, extremes: Span, dtype: np.dtype[Any], scale: tuple[float, float], *, is_ct: bool) -> bool:
    """True if a header's window is the extremes of the data or of their type; for CT, also if it leaves nothing out."""
    near = ROUNDING * max(abs(shown[0]), abs(shown[1]))
    if is_ct and shown[0] <= extremes[0] + near and shown[1] >= extremes[1] - near:
        return True
    ends = [extremes]
    if dtype.kind in "iu":
        ends.append(_scaled([np.iinfo(dtype).min, np.iinfo(dtype).max], scale))
    return all(min(abs(end[side] - shown[side]) for end in ends) <= near for side in (0, 1))


def _scaled(values: Any, scale: tuple[float, float]) -> Span:
    """Two stored values, scaled and in order: the slope may be negative."""
    low, high = sorted(float(value) * scale[0] + scale[1] for value in values)
    return low, high
