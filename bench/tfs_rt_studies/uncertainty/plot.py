"""The binned calibration as a picture: RMS error against RMS spread, both on logarithmic axes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from tfs_rt.images import RGB
from tfs_rt_studies.uncertainty.error_prediction import Bin

# In pixels.
PANEL = 380
LEFT = 48
TOP = 30
BOTTOM = 40
RIGHT = 14
# Levels, on both axes; what is beyond lies on the border.
LOW = 0.125
HIGH = 64.0
TICKS = (0.125, 0.5, 2, 8, 32)
INK = (30, 30, 30)
GREY = (130, 130, 130)
PALE = (225, 225, 225)
COLOURS = ((31, 90, 180), (200, 80, 20))


@dataclass(frozen=True, slots=True)
class Curve:
    """The bins of one recipe on one split."""

    name: str
    held_out: bool  # until the end, which is drawn filled
    bins: Sequence[Bin]


def plot(panels: dict[str, Sequence[Curve]], exchangeable: float) -> RGB:
    """One panel for each model; the dashed line is error = `exchangeable` x spread."""
    sheet = Image.new("RGB", (PANEL * len(panels), PANEL), "white")
    pen = ImageDraw.Draw(sheet)
    for number, (title, curves) in enumerate(panels.items()):
        _draw(pen, number * PANEL, title, curves, exchangeable)
    return np.asarray(sheet)


def _draw(pen: ImageDraw.ImageDraw, left: int, title: str, curves: Sequence[Curve], exchangeable: float) -> None:
    # Draw the axes.
    font = ImageFont.load_default(12)
    _axes(pen, left, title)
    # Draw the dashed line of samples that could be exchanged with the truth.
    ends = [LOW * (HIGH / LOW) ** (k / 60) for k in range(60)]
    for a, b in zip(ends[::2], ends[1::2], strict=True):
        if b * exchangeable <= HIGH:
            pen.line([_place(left, a, a * exchangeable), _place(left, b, b * exchangeable)], fill=GREY, width=1)
    # Draw each curve.
    names = list(dict.fromkeys(curve.name for curve in curves))
    for row, curve in enumerate(curves):
        colour = COLOURS[names.index(curve.name)]
        points = [_place(left, b.spread, b.error) for b in curve.bins]
        pen.line(points, fill=colour, width=1)
        # Draw the points and the legend.
        x = left + PANEL - RIGHT - 176
        y = PANEL - BOTTOM - 14 - 16 * (len(curves) - row - 1)
        for u, v in [*points, (x, y)]:
            pen.ellipse([u - 3, v - 3, u + 3, v + 3], fill=colour if curve.held_out else "white", outline=colour)
        pen.text((x + 10, y), f"{curve.name}, {'test' if curve.held_out else 'val'}", fill=INK, font=font, anchor="lm")


def _axes(pen: ImageDraw.ImageDraw, left: int, title: str) -> None:
    font = ImageFont.load_default(12)
    for value in TICKS:
        (x, _) = _place(left, value, LOW)
        (_, y) = _place(left, LOW, value)
        pen.line([(x, TOP), (x, PANEL - BOTTOM)], fill=PALE)
        pen.line([(left + LEFT, y), (left + PANEL - RIGHT, y)], fill=PALE)
        pen.text((x, PANEL - BOTTOM + 4), f"{value:g}", fill=INK, font=font, anchor="ma")
        pen.text((left + LEFT - 4, y), f"{value:g}", fill=INK, font=font, anchor="rm")
    pen.rectangle([left + LEFT, TOP, left + PANEL - RIGHT, PANEL - BOTTOM], outline=GREY)
    pen.text((left + LEFT, 8), f"{title}: RMS error over RMS spread, levels", fill=INK, font=font)
    pen.text((left + (LEFT + PANEL) / 2, PANEL - 16), "RMS spread of a bin", fill=INK, font=font, anchor="ma")


def _place(left: int, spread: float, error: float) -> tuple[float, float]:
    """The pixel (x, y) of a point in the panel that begins at `left`."""
    x = left + LEFT + _share_of_axis(spread) * (PANEL - LEFT - RIGHT)
    y = PANEL - BOTTOM - _share_of_axis(error) * (PANEL - BOTTOM - TOP)
    return x, y


def _share_of_axis(value: float) -> float:
    """A number of levels as a share of an axis's length."""
    return np.log(min(max(value, LOW), HIGH) / LOW) / np.log(HIGH / LOW)
