"""Horizontal bars: how long a step takes, and how many cases a second come out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from tfs_rt_bench.charts.axes import Linear
from tfs_rt_bench.charts.digits import percent, ratio, seconds, significant
from tfs_rt_bench.charts.drawing import SIZE, SMALL, line, picture, write
from tfs_rt_bench.charts.markup import fitted, tag, text, text_width
from tfs_rt_bench.latency.record import Machine, Row
from tfs_rt_bench.latency.row_facts import Way, grouped, in_words, minimum, per_case, way

BAR = 14.0
GAP = 10.0
TOP = 30.0
BOTTOM = 34.0
COLUMN = 210.0  # of labels, where a chart is wide enough for one
WIDE = 500.0


class Bar(NamedTuple):
    """A bar, its tick, and what stands before and behind it."""

    label: str
    value: float
    tick: float | None  # the median, where the bar is the minimum
    note: str
    peer: bool


class Group(NamedTuple):
    """Bars under one heading; "" for none."""

    heading: str
    bars: Sequence[Bar]


class Mark(NamedTuple):
    """A line across all bars, and its name."""

    value: float
    label: str


def latency(rows: Sequence[Row], step_gflop: float, machine: Machine, width: float) -> str:
    """A bar for each way's fastest step, the fastest first, and the time that the GEMM peak would need; "" for none."""
    fastest = {of: min(those, key=_step) for of, those in grouped(filter(_timed, rows), way).items()}
    if not fastest:
        return ""
    bars = [
        _latency_bar(of, row, machine.gemm_gflops) for of, row in sorted(fastest.items(), key=lambda i: _step(i[1]))
    ]
    mark = None
    if step_gflop > 0 and machine.gemm_gflops > 0:
        floor = step_gflop / machine.gemm_gflops
        mark = Mark(floor, f"GEMM peak: {seconds(floor)}")
    return chart(
        [Group("", bars)], width=width, title="Seconds a step, the fastest first", unit="seconds a step", mark=mark
    )


def throughput(rows: Sequence[Row], width: float) -> str:
    """Cases a second by batch, for each way that ran several batches; "" for none."""
    groups = [_throughput_group(of, batches(those)) for of, those in grouped(rows, way).items() if batches(those)]
    groups.sort(key=lambda group: -max(bar.value for bar in group.bars))
    return chart(groups, width=width, title="Cases a second by batch", unit="cases a second") if groups else ""


def batches(rows: Sequence[Row]) -> list[Row]:
    """The rows of that recipe that ran in the most batches (of those, the fewest steps), by batch; [] below two."""
    run = [row for row in rows if per_case(row) is not None and not row.extrapolated]
    recipes = grouped(run, lambda row: row.recipe)
    best = max(recipes.values(), key=lambda those: (len(those), -those[0].recipe.steps), default=[])
    return sorted(best, key=lambda row: row.batch) if len(best) > 1 else []


def chart(groups: Sequence[Group], *, width: float, title: str, unit: str, mark: Mark | None = None) -> str:
    """The bars of all groups on one axis that begins at zero."""
    # Compute the scale from the longest bar and the widest note.
    bars = [bar for group in groups for bar in group.bars]
    left = COLUMN if width >= WIDE else 2.0
    notes = max(text_width(bar.note, SMALL) for bar in bars) + 10
    most = max(max(bar.value, bar.tick or 0) for bar in bars)
    x = Linear(0, max(most, mark.value / 0.98 if mark else 0), left, width - notes)
    # Draw each group: its heading, then its bars.
    parts = []
    y = TOP
    for group in groups:
        if group.heading:
            parts.append(
                write(2, y + 8, fitted(group.heading, SIZE, (width - 4) / 1.13), class_="strong", full=group.heading)
            )
            y += 22
        for bar in group.bars:
            drawn, y = _bar(bar, x, y, width)
            parts.append(drawn)
    # Draw the axis and the mark, and describe the chart in words.
    frame = _axis(x, y, unit) + (_mark(mark, x, y, width) if mark else "")
    told = "; ".join(f"{group.heading} {bar.label}: {bar.note}".strip() for group in groups for bar in group.bars)
    return picture(frame, *parts, width=width, height=y + BOTTOM, title=title, description=told)


def _timed(row: Row) -> bool:
    return minimum(row.step) is not None


def _step(row: Row) -> float:
    least = minimum(row.step)
    assert least is not None, "only timed rows are drawn"
    return least


def _latency_bar(of: Way, row: Row, peak: float) -> Bar:
    assert row.step is not None, "only timed rows are drawn"
    share = f" · {percent(row.gflops / peak)} of peak" if row.gflops and peak > 0 else ""
    name = f"{of.name}{' (peer)' if of.peer else ''}"
    return Bar(name, _step(row), row.step.median, f"{seconds(_step(row))}{share}", of.peer)


def _throughput_group(of: Way, rows: Sequence[Row]) -> Group:
    rates = [1 / (per_case(row) or 1) for row in rows]
    bars = [
        Bar(f"batch {row.batch}", rate, None, f"{significant(rate)} cases/s · {ratio(rate / rates[0])}", of.peer)
        for row, rate in zip(rows, rates, strict=True)
    ]
    return Group(f"{of.name}{' (peer)' if of.peer else ''}: {in_words(rows[0].recipe)}", bars)


def _bar(bar: Bar, x: Linear, y: float, width: float) -> tuple[str, float]:
    """The bar, and where the next one begins: the label stands beside it, or above it where that is too narrow."""
    parts = []
    if width >= WIDE:
        label = fitted(bar.label, SIZE, COLUMN - 12)
        parts.append(write(COLUMN - 8, y + BAR / 2, label, anchor="end", full=bar.label))
    else:
        parts.append(write(2, y + 6, fitted(bar.label, SIZE, width - 4), class_="halo ink", full=bar.label))
        y += 16
    end = max(x(bar.value), x(bar.tick or 0))
    size = {"x": x.start, "y": y, "width": x(bar.value) - x.start, "height": BAR}
    parts.append(tag("rect", tag("title", text(f"{bar.label}: {bar.note}")), class_=_kind(bar), **size))
    if bar.tick is not None:
        parts.append(line(x(bar.value), y + BAR / 2, x(bar.tick), y + BAR / 2, "tick"))
        parts.append(line(x(bar.tick), y + 2, x(bar.tick), y + BAR - 2, "tick"))
    parts.append(write(end + 6, y + BAR / 2, bar.note, size=SMALL, class_="halo ink"))
    return "".join(parts), y + BAR + GAP


def _kind(bar: Bar) -> str:
    return "bar peer" if bar.peer else "bar ours"


def _axis(x: Linear, y: float, unit: str) -> str:
    parts = [line(x.start, TOP - 6, x.start, y, "axis")]
    for value in x.ticks(4):
        parts.append(line(x(value), TOP - 6, x(value), y, "grid"))
        parts.append(write(x(value), y + 9, f"{value:g}", size=SMALL, anchor="middle" if value else "start"))
    return "".join(parts) + write(x.start, y + 25, unit, size=SMALL, class_="soft")


def _mark(mark: Mark, x: Linear, y: float, width: float) -> str:
    room = x(mark.value) + text_width(mark.label, SMALL, bold=True) + 4 < width
    label = write(x(mark.value), 12, mark.label, size=SMALL, anchor="start" if room else "end", class_="halo strong")
    return line(x(mark.value), 20, x(mark.value), y, "roof") + label
