"""The words by which every format says how its values became levels."""

from __future__ import annotations

AS_STORED = "8-bit levels as stored"
SHOWS = "tfs-rt:shows"  # in the text of an image that is not the result itself, but shows something of it


def window_words(window: tuple[float, float], source: str = "given") -> str:
    """A window for the sidecar: "window 0 to 4095, given"."""
    low, high = window
    return f"window {low:.6g} to {high:.6g}, {source}"
