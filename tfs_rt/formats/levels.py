"""Words for the sidecar, the same for all formats: how a file's values became levels."""

from __future__ import annotations

AS_STORED = "8-bit levels as stored"
# Key in the text of an image that is not a result, but shows a property of one.
SHOWS = "tfs-rt:shows"
# Of 255 that a window must show of a volume, for anything to be seen; one slice may be dark by right.
LEAST_LEVELS = 8


def window_words(window: tuple[float, float], source: str = "given") -> str:
    """A window for the sidecar: "window 0 to 4095, given"."""
    low, high = window
    return f"window {low:.6g} to {high:.6g}, {source}"
