"""A case in pictures: reference and truth, then each way's image beside its difference."""

from __future__ import annotations

import re

from tfs_rt.errors import printable
from tfs_rt_bench.charts.digits import counted
from tfs_rt_bench.charts.markup import tag, text
from tfs_rt_bench.latency.record import Bench, Pictures, Row
from tfs_rt_bench.latency.row_facts import level

BASE64 = re.compile(r"[A-Za-z0-9+/]+={0,2}")


def strips(bench: Bench) -> list[str]:
    """One strip for each case."""
    rows = {row.label: row for row in bench.rows}
    return [_strip(pictures, rows, bench.size) for pictures in bench.pictures]


def _strip(pictures: Pictures, rows: dict[str, Row], size: tuple[int, int]) -> str:
    given = {"reference": pictures.reference, "ground truth": pictures.truth}
    known = [_figure(data, caption, pictures.case, size) for caption, data in given.items() if data]
    pairs = [tag("div", tag("p", tag("b", "PyTorch, float32")), *known, class_="pair")]
    pairs += [_pair(pictures, label, image, rows.get(label), size) for label, image in pictures.images.items()]
    return tag("h3", text(pictures.case)) + tag("div", *pairs, class_="case")


def _pair(pictures: Pictures, label: str, image: str, row: Row | None, size: tuple[int, int]) -> str:
    about = f"{pictures.case}, {label}"
    heading = tag("p", tag("b", text(label)), _quality(row))
    shown = _figure(image, "result", about, size)
    difference = _figure(pictures.differences.get(label, ""), f"difference, {pictures.gain} times", about, size)
    return tag("div", heading, shown, difference, class_="pair")


def _quality(row: Row | None) -> str:
    if row is None or row.fidelity is None:
        return ""
    return tag("small", f"{level(row, 'fidelity')} over {counted(row.fidelity.cases, 'case')}")


def _figure(data: str, caption: str, about: str, size: tuple[int, int]) -> str:
    """A picture; invalid base64 is not shown."""
    height, width = size
    if not BASE64.fullmatch(data):
        return tag("figure", tag("figcaption", f"{text(caption)}: no picture"))
    alternative = printable(f"{caption}; {about}")
    image = tag("img", src=f"data:image/png;base64,{data}", alt=alternative, width=width, height=height)
    return tag("figure", image, tag("figcaption", text(caption)))
