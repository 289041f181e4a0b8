"""Quality against time: a point for each way and recipe, and the front of those that no other beats."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from tfs_rt_bench.charts.axes import Linear, Log
from tfs_rt_bench.charts.digits import counted, seconds
from tfs_rt_bench.charts.drawing import SMALL, line, marker, path, picture, write
from tfs_rt_bench.charts.label_layout import Box, around, place
from tfs_rt_bench.charts.markup import tag, text, text_width
from tfs_rt_bench.latency.record import Row
from tfs_rt_bench.latency.row_facts import (
    CAP,
    Quality,
    Way,
    front,
    grouped,
    level,
    per_case,
    psnr,
    sampling,
    single,
    way,
)

Line = tuple[Way, str]  # what computes, and by which sampler: one line of the chart
AGAINST = {"fidelity": "the float32 PyTorch reference", "accuracy": "ground truth"}
PLACES = 2  # of a dB: what differs by less is as good
LANE = 14.0
RADIUS = 5.0
LEFT = 46.0
TOP = 32.0
BOTTOM = 44.0
RIGHT = 22.0


@dataclass(frozen=True, slots=True)
class Point:
    """A row, in what is drawn of it."""

    row: Row
    cost: float  # seconds a case
    psnr: float  # dB
    level: str  # the same in words
    line: Line

    @property
    def name(self) -> str:
        """Backend and number of steps."""
        return f"{line_name(self.line)}, {counted(self.row.recipe.steps, 'step')}"

    @property
    def figures(self) -> str:
        """Its cost and its quality, in words."""
        extrapolated = ", extrapolated" if self.row.extrapolated else ""
        return f"{seconds(self.cost)} a case{extrapolated}, {self.level}"


@dataclass(frozen=True, slots=True)
class Scales:
    """Both axes; what is at the cap has no place on the scale of dB, so each line has a lane for it above."""

    x: Log
    y: Linear | None  # None if all is at the cap
    lanes: tuple[Line, ...]
    bounds: Box

    def place(self, point: Point) -> tuple[float, float]:
        """Position of a point."""
        if point.psnr >= CAP:
            return self.x(point.cost), TOP + LANE * (self.lanes.index(point.line) + 0.5)
        assert self.y is not None, "the scale covers every point"
        return self.x(point.cost), self.y(point.psnr)


def line_name(line: Line) -> str:
    """A line as the legend calls it."""
    of, sampler = line
    return f"{of.name}, {sampler}{' (peer)' if of.peer else ''}"


def points(rows: Sequence[Row], quality: Quality) -> list[Point]:
    """Rows to draw: those of the smallest batch that have both figures."""
    found = [(row, per_case(row), psnr(row, quality)) for row in single(rows)]
    return [
        Point(row, cost, gain, level(row, quality, PLACES), (way(row), sampling(row.recipe)))
        for row, cost, gain in found
        if cost is not None and gain is not None
    ]


def unbeaten(found: Sequence[Point]) -> list[Point]:
    """The front, from the fastest on."""
    return [found[index] for index in front([(point.cost, round(point.psnr, PLACES)) for point in found])]


def shapes(found: Sequence[Point]) -> dict[Line, int]:
    """A shape for each line; ours and peers count apart, since one kind is filled and the other hollow."""
    lines = list(grouped(found, lambda point: point.line))
    return {of: sum(other[0].peer == of[0].peer for other in lines[:at]) for at, of in enumerate(lines)}


def pareto(rows: Sequence[Row], quality: Quality, width: float) -> str:
    """The chart; empty without points."""
    # Find the points, and those that none beats.
    found = points(rows, quality)
    if not found:
        return ""
    scales = _scales(found, width)
    best = unbeaten(found)
    # Draw the layers from back to front.
    title = f"PSNR to {AGAINST[quality]} against seconds a case"
    told = "; ".join(f"{point.name}: {point.figures}" for point in best)
    drawn = (_axes(scales, quality), _front(best, scales), _lines(found, scales), _markers(found, scales))
    return picture(
        *drawn,
        _labels(found, best, scales),
        width=width,
        height=scales.bounds.bottom + BOTTOM,
        title=title,
        description=f"{len(found)} points; none is both faster and better than one of these: {told}",
    )


def _scales(found: Sequence[Point], width: float) -> Scales:
    lanes = tuple(grouped((point for point in found if point.psnr >= CAP), lambda point: point.line))
    levels = [point.psnr for point in found if point.psnr < CAP]
    top = TOP + LANE * len(lanes)
    bottom = top + (min(300.0, 0.85 * width) if levels else 0)
    bounds = Box(LEFT, TOP, width - RIGHT, bottom)
    costs = [point.cost for point in found]
    x = Log(min(costs) / 1.35, max(costs) * 1.35, LEFT, width - RIGHT)
    if not levels:
        return Scales(x, None, lanes, bounds)
    margin = max(1.0, 0.1 * (max(levels) - min(levels)))
    return Scales(x, Linear(min(levels) - margin, max(levels) + margin, bottom, top), lanes, bounds)


def _axes(scales: Scales, quality: Quality) -> str:
    # Draw the grid with its numbers.
    box = scales.bounds
    parts = [write(2, 8, f"PSNR to {AGAINST[quality]}, dB", size=SMALL, class_="soft")]
    for value in scales.x.ticks(5 if box.right < 400 else 9):
        parts.append(line(scales.x(value), box.top, scales.x(value), box.bottom, "grid"))
        parts.append(write(scales.x(value), box.bottom + 13, f"{value:,g}", size=SMALL, anchor="middle"))
    for value in scales.y.ticks() if scales.y else ():
        y = scales.y(value) if scales.y else 0
        parts.append(line(box.left, y, box.right, y, "grid"))
        parts.append(write(box.left - 6, y, f"{value:g}", size=SMALL, anchor="end"))
    # Draw the lanes of points above the cap.
    if scales.lanes:
        floor = TOP + LANE * len(scales.lanes)
        parts.append(write(box.left - 6, (TOP + floor) / 2, f"{CAP:g}+", size=SMALL, anchor="end"))
        parts.append(line(box.left, floor, box.right, floor, "axis dashed") if scales.y else "")
    # Draw the axis of time.
    parts.append(line(box.left, box.bottom, box.right, box.bottom, "axis"))
    parts.append(write(box.right, box.bottom + 32, "seconds a case", size=SMALL, anchor="end", class_="soft"))
    return "".join(parts)


def _front(best: Sequence[Point], scales: Scales) -> str:
    """Stairs: what is the best for so many seconds."""
    corners = [scales.place(point) for point in best]
    stairs = [corners[0]]
    for (_, before), (x, y) in pairwise(corners):
        stairs += [(x, before), (x, y)]
    stairs.append((scales.bounds.right, corners[-1][1]))
    return path(stairs, "front")


def _lines(found: Sequence[Point], scales: Scales) -> str:
    """The points of one line, joined from few steps to many."""
    parts = []
    for (of, _), of_line in grouped(found, lambda point: point.line).items():
        ordered = sorted(of_line, key=lambda point: (point.row.recipe.steps, point.cost))
        if len(ordered) > 1:
            parts.append(path([scales.place(point) for point in ordered], "join peer" if of.peer else "join ours"))
    return "".join(parts)


def _markers(found: Sequence[Point], scales: Scales) -> str:
    shape = shapes(found)
    return "".join(
        tag(
            "g",
            tag("title", text(f"{point.row.label}: {point.figures}", 400)),
            marker(shape[point.line], *scales.place(point), RADIUS, kind(point)),
        )
        for point in found
    )


def kind(point: Point) -> str:
    """The marker's class: ours filled, peers hollow, what was extrapolated dashed."""
    return f"mark {'peer' if point.line[0].peer else 'ours'}{' guess' if point.row.extrapolated else ''}"


def _labels(found: Sequence[Point], best: Sequence[Point], scales: Scales) -> str:
    """Names on the front, numbers of steps elsewhere, wherever there is room."""
    bounds = Box(scales.bounds.left, scales.bounds.top - 13, scales.bounds.right, scales.bounds.bottom)
    taken = [around(*scales.place(point), RADIUS + 1) for point in found]
    parts = []
    for point in [*best, *(other for other in found if other not in best)]:
        named = point in best
        words = point.name if named else f"{point.row.recipe.steps:,}"
        size = (text_width(words, SMALL, bold=named), 13.0)
        box = place(scales.place(point), size, taken, bounds=bounds, far=70 if named else 7)
        if box:
            taken.append(box)
            parts.append(_label(scales.place(point), box, words, named=named))
    return "".join(parts)


def _label(at: tuple[float, float], box: Box, words: str, *, named: bool) -> str:
    x = min(max(at[0], box.left), box.right)
    y = min(max(at[1], box.top), box.bottom)
    leader = line(*at, x, y, "leader") if abs(x - at[0]) + abs(y - at[1]) > 16 else ""
    middle = (box.top + box.bottom) / 2
    return leader + write(box.left, middle, words, size=SMALL, class_="halo strong" if named else "halo soft")
