"""Windows of a file's own that say nothing about it, and so do not count."""

from __future__ import annotations

from collections.abc import Iterable

from tfs_rt.formats import hounsfield

# A share of a window's width: so near to the extremes, a window only repeats them.
NEAR = 5e-3
Span = tuple[float, float]


def repeats_extremes(shown: Span, ends: Iterable[Span], step: float = 0.0) -> bool:
    """True if each end of a window is that of one of the spans; `step` is the distance between neighbouring values."""
    near = max(NEAR * (shown[1] - shown[0]), step)
    spans = list(ends)
    return all(min(abs(span[side] - shown[side]) for span in spans) <= near for side in (0, 1))


def leaves_nothing_out(shown: Span, extremes: Span, step: float = 0.0) -> bool:
    """True for a window of CT in HU that shows all values but air and padding."""
    near = max(NEAR * (shown[1] - shown[0]), step)
    return shown[0] <= max(extremes[0], hounsfield.AIR) + near and shown[1] >= extremes[1] - near
