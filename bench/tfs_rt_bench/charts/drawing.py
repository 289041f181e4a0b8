"""Elements of SVG charts: text, lines, and markers of different shapes."""

from __future__ import annotations

import math
from typing import Literal

from tfs_rt.errors import printable
from tfs_rt_bench.charts.markup import tag, text

# Sizes of text, in the chart's own units.
SIZE = 12.0
SMALL = 11.0
Anchor = Literal["start", "middle", "end"]


def picture(*content: str, width: float, height: float, title: str, description: str) -> str:
    """An SVG that a screen reader can tell."""
    told = tag("title", text(title)) + tag("desc", text(description, 4000))
    return tag("svg", told, *content, viewBox=f"0 0 {width:g} {height:g}", role="img", aria_label=printable(title))


def write(
    x: float, y: float, words: str, *, size: float = SIZE, anchor: Anchor = "start", class_: str = "ink", full: str = ""
) -> str:
    """One line of text, its middle at height y; `full` is what it was shortened from."""
    told = tag("title", text(full)) if full and full != words else ""
    where = {"x": x, "y": y + 0.35 * size, "font_size": size, "text_anchor": anchor}
    return tag("text", told + text(words), class_=class_, **where)


def line(x1: float, y1: float, x2: float, y2: float, class_: str) -> str:
    """A straight line."""
    return tag("line", x1=x1, y1=y1, x2=x2, y2=y2, class_=class_)


def path(points: list[tuple[float, float]], class_: str, *, closed: bool = False) -> str:
    """Straight lines through points."""
    steps = " ".join(f"{x:.2f},{y:.2f}" for x, y in points)
    return tag("path", d=f"M{steps}{'Z' if closed else ''}", class_=class_)


def marker(shape: int, x: float, y: float, radius: float, class_: str) -> str:
    """One of eight shapes of about one area."""
    return path([(x + radius * u, y + radius * v) for u, v in SHAPES[shape % len(SHAPES)]], class_, closed=True)


def _star(points: int, inner: float, turn: float, size: float = 1.0) -> list[tuple[float, float]]:
    """Corners at `size` and at `inner` in turn, the first at `turn` of a whole turn from the top, clockwise."""
    corners = [(2 * math.pi * (k / (2 * points) + turn), inner if k % 2 else 1.0) for k in range(2 * points)]
    return [(size * r * math.sin(a), -size * r * math.cos(a)) for a, r in corners]


SHAPES = (
    _star(16, 1.0, 0, 1.0),  # a circle
    _star(2, 0.7, 0, 1.3),  # a diamond
    _star(3, 0.5, 0, 1.3),  # a triangle
    _star(2, 1.0, 1 / 8, 1.2),  # a square
    _star(5, 0.42, 0, 1.45),  # a star
    _star(3, 0.5, 1 / 2, 1.3),  # a triangle upside down
    [(u / 2.4, v / 2.4) for u, v in  # a plus sign
     ((-1, -3), (1, -3), (1, -1), (3, -1), (3, 1), (1, 1), (1, 3), (-1, 3), (-1, 1), (-3, 1), (-3, -1), (-1, -1))],
    _star(4, 0.45, 1 / 8, 1.4),  # a cross
)  # fmt: skip
