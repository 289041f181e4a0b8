"""Sizes as they are written on the command line."""

from __future__ import annotations

import re


def height_and_width(text: str) -> tuple[int, int] | None:
    """(H, W) of `256` or `320x256` (width x height), of up to four digits; None if it is no such thing, or has a 0."""
    match = re.fullmatch(r"(\d{1,4})(?:x(\d{1,4}))?", text)
    width, height = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
    return (height, width) if height and width else None
