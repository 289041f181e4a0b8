"""Placement of a chart's labels: beside their point, inside the chart, without overlap; or left out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

DIRECTIONS = (
    (1, 0),
    (-1, 0),
    (0, -1),
    (0, 1),
    (1, -1),
    (1, 1),
    (-1, -1),
    (-1, 1),
)  # right, left, above, below, corners


class Box(NamedTuple):
    """A rectangle, y downwards."""

    left: float
    top: float
    right: float
    bottom: float

    def meets(self, other: Box) -> bool:
        """True if two boxes overlap by more than a border."""
        across = self.left < other.right and other.left < self.right
        return across and self.top < other.bottom and other.top < self.bottom

    def within(self, other: Box) -> bool:
        """True if the box lies inside the other."""
        across = other.left <= self.left and self.right <= other.right
        return across and other.top <= self.top and self.bottom <= other.bottom


def around(x: float, y: float, half: float) -> Box:
    """A square about a point."""
    return Box(x - half, y - half, x + half, y + half)


def place(
    point: tuple[float, float], size: tuple[float, float], taken: Sequence[Box], *, bounds: Box, far: int
) -> Box | None:
    """The nearest free place for a label of (width, height), at most `far` units off its point, if there is one."""
    (x, y) = point
    (width, height) = size
    for gap in range(7, far + 1, 7):
        for across, down in DIRECTIONS:
            left = x + gap if across > 0 else x - gap - width if across < 0 else x - width / 2
            top = y + gap if down > 0 else y - gap - height if down < 0 else y - height / 2
            box = Box(left, top, left + width, top + height)
            if box.within(bounds) and not any(box.meets(other) for other in taken):
                return box
    return None
