"""The points of `tfs-rt tune` as a picture: PSNR by network calls, and by sharpness."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tfs_rt_bench.charts.axes import Linear, Log
from tfs_rt_bench.charts.markup import tag, text
from tfs_rt_bench.tuning.choice import best
from tfs_rt_bench.tuning.trials import Point
from tfs_rt_bench.tuning.tune import Tuned

# In pixels.
PANEL = 400
HEIGHT = 280
LEFT = 48
TOP = 24
RIGHT = 16
BOTTOM = 40
SHOWN = 1.0  # dB below the best: the rest lies out of the picture
INK = "#1e1e1e"
GREY = "#9a9a9a"
PALE = "#e4e4e4"
TIER = "#c8501e"
Axis = tuple[str, Callable[[Point], float], Log | Linear]


def chart(tuned: Tuned) -> str:
    """A standalone SVG."""
    points = [point for point in tuned.search.points if point.psnr >= best(tuned.search.points).psnr - SHOWN]
    labels: dict[Point, str] = {}
    for name, point in tuned.chosen.items():
        labels[point] = f"{labels[point]}, {name}" if point in labels else name
    panels = [_panel(points, labels, axis, k * PANEL) for k, axis in enumerate(_axes(points))]
    box = {"width": 2 * PANEL, "height": HEIGHT, "viewBox": f"0 0 {2 * PANEL} {HEIGHT}"}
    ground = tag("rect", width=2 * PANEL, height=HEIGHT, fill="white")
    title = tag("title", text(f"{tuned.bundle.manifest.name}: PSNR by network calls, and by sharpness"))
    return (
        tag("svg", title, ground, *panels, xmlns="http://www.w3.org/2000/svg", font_family="sans-serif", **box) + "\n"
    )


def _axes(points: Sequence[Point]) -> list[Axis]:
    sharp = [point.sharpness for point in points]
    margin = max(0.01, (max(sharp) - min(sharp)) * 0.08)
    most = max(2, *(point.calls for point in points)) if points else 2
    return [
        ("network calls", lambda point: point.calls, Log(0.8, most * 1.25, LEFT, PANEL - RIGHT)),
        (
            "sharpness",
            lambda point: point.sharpness,
            Linear(min(sharp) - margin, max(sharp) + margin, LEFT, PANEL - RIGHT),
        ),
    ]


def _panel(points: Sequence[Point], labels: dict[Point, str], axis: Axis, left: float) -> str:
    # Scale the axis of PSNR to the points.
    name, of, x = axis
    psnr = [point.psnr for point in points]
    margin = max(0.02, (max(psnr) - min(psnr)) * 0.08)
    y = Linear(min(psnr) - margin, max(psnr) + margin, HEIGHT - BOTTOM, TOP)
    # Draw the grid and its numbers.
    lines = [_line(x(value), TOP, x(value), HEIGHT - BOTTOM) for value in x.ticks()]
    lines += [_line(LEFT, y(value), PANEL - RIGHT, y(value)) for value in y.ticks()]
    words = [_write(x(value), HEIGHT - BOTTOM + 14, f"{value:g}", "middle") for value in x.ticks()]
    words += [_write(LEFT - 5, y(value) + 4, f"{value:g}", "end") for value in y.ticks()]
    words += [
        _write((LEFT + PANEL - RIGHT) / 2, HEIGHT - 8, name, "middle"),
        _write(LEFT, TOP - 9, "PSNR, dB", "start"),
    ]
    # Draw the points; those with a label come on top.
    dots = [tag("circle", cx=x(of(p)), cy=y(p.psnr), r=3, fill="none", stroke=GREY) for p in points if p not in labels]
    for point, label in labels.items():
        right = x(of(point)) > (LEFT + PANEL) / 2
        dots.append(tag("circle", cx=x(of(point)), cy=y(point.psnr), r=4.5, fill=TIER))
        dots.append(_write(x(of(point)) + (-8 if right else 8), y(point.psnr) - 6, label, "end" if right else "start"))
    return tag("g", *lines, *words, *dots, transform=f"translate({left:g} 0)")


def _line(x1: float, y1: float, x2: float, y2: float) -> str:
    return tag("line", x1=x1, y1=y1, x2=x2, y2=y2, stroke=PALE)


def _write(x: float, y: float, words: str, anchor: str) -> str:
    return tag("text", text(words), x=x, y=y, font_size=11, text_anchor=anchor, fill=INK)
