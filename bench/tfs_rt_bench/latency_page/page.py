"""A bench as one HTML file that needs nothing else: sentences, charts, table, pictures, definitions.

python -m tfs_rt_bench.latency_page.page bench.json -o bench.html
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from tfs_rt.errors import TfsRtError
from tfs_rt.output.provenance import RESEARCH_USE
from tfs_rt.system.files import write_file
from tfs_rt_bench.charts.digits import counted, with_unit
from tfs_rt_bench.charts.drawing import marker, picture
from tfs_rt_bench.charts.markup import tag, text
from tfs_rt_bench.latency.record import Bench, Machine, Row, read_bench
from tfs_rt_bench.latency.row_facts import Quality, grouped, way
from tfs_rt_bench.latency_page.bar_charts import batches, latency, throughput
from tfs_rt_bench.latency_page.headline import headline
from tfs_rt_bench.latency_page.pareto_chart import Point, kind, line_name, pareto, points, shapes, unbeaten
from tfs_rt_bench.latency_page.prose import DEFINITIONS
from tfs_rt_bench.latency_page.strip import strips
from tfs_rt_bench.latency_page.style import STYLE
from tfs_rt_bench.latency_page.table import table

# One drawing for a desk, one for a hand: scaled text would be too small.
WIDTHS = {"wide": 860.0, "narrow": 340.0}
TITLES: dict[Quality, tuple[str, str]] = {  # and what to say if there is nothing to draw
    "fidelity": ("Fidelity: what backend and precision cost", "n/a: no row has both a time and a fidelity."),
    "accuracy": ("Accuracy: what the recipe gives", "n/a: no ground truth was given."),
}
HOW_TO_READ = "Small numbers are steps, thin lines join one sampler's; the broad line is the front."
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"


def write_report(path: Path, bench: Bench) -> None:
    """Write the HTML file; EnvironmentFault if it cannot be written."""
    write_file(path, page(bench).encode(errors="backslashreplace"))


def page(bench: Bench) -> str:
    """The whole document."""
    head = (
        '<meta charset="utf-8"/>',
        tag("meta", http_equiv="Content-Security-Policy", content=POLICY),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("title", f"{text(bench.model)}: tfs-rt bench"),
        tag("style", STYLE),
    )
    parts = (_opening, _quality, _latency, _figures, _throughput, _pictures, _machine, _definitions)
    footer = tag("footer", f"{RESEARCH_USE.capitalize()}.")
    body = tag("body", tag("main", *(part(bench) for part in parts), footer))
    return f"<!DOCTYPE html>\n{tag('html', tag('head', *head), body, lang='en')}\n"


def _opening(bench: Bench) -> str:
    height, width = bench.size
    first, *others = headline(bench)
    about = f"tfs-rt bench, x{bench.scale}, images of {width}x{height}, {text(bench.date)}"
    rest = tag("ul", *(tag("li", text(sentence, 600)) for sentence in others)) if others else ""
    lead = tag("p", text(first, 600), class_="lead")
    doubts = [_note(f"Warning: {text(warning, 600)}.") for warning in bench.warnings]
    return tag("header", tag("p", about), tag("h1", text(bench.model)), lead, rest, *doubts)


def _section(title: str, *content: str, class_: str = "part") -> str:
    return tag("section", tag("h2", title), *content, class_=class_)


def _note(words: str) -> str:
    return tag("p", words, class_="note")


def _chart(draw: Callable[[float], str]) -> str:
    return tag("div", *(tag("div", draw(width), class_=name) for name, width in WIDTHS.items()), class_="chart")


def _quality(bench: Bench) -> str:
    return _section("Quality against time", _pareto(bench.rows, "fidelity"), _pareto(bench.rows, "accuracy"))


def _pareto(rows: Sequence[Row], quality: Quality) -> str:
    title, missing = TITLES[quality]
    found = points(rows, quality)
    if not found:
        return tag("h3", title) + _note(missing)
    how = f"Batch {found[0].row.batch}, minimum; up and to the left is better. {HOW_TO_READ}"
    best = (tag("li", f"{text(point.name)}: {text(point.figures)}") for point in unbeaten(found))
    parts = (
        _note(how),
        _chart(lambda width: pareto(rows, quality, width)),
        _legend(found),
        _note("On the front, from the fastest on:"),
        tag("ol", *best, class_="best"),
        _left_out(rows, found),
    )
    return tag("h3", title) + "".join(parts)


def _left_out(rows: Sequence[Row], found: Sequence[Point]) -> str:
    """Rows that have a place in the chart and lack a figure for it."""
    drawn = {point.row.label for point in found}
    same = [row for row in rows if row.batch == found[0].row.batch and not row.fault]
    absent = [row.label for row in same if row.label not in drawn]
    return _note(f"Not drawn, for want of a time or a PSNR: {text('; '.join(absent), 600)}.") if absent else ""


def _legend(found: Sequence[Point]) -> str:
    items = []
    for line, shape in shapes(found).items():
        of = [point for point in found if point.line == line]
        sample = min(of, key=lambda point: bool(point.row.extrapolated))
        drawn = marker(shape, 8, 8, 5, kind(sample))
        note = ", † extrapolated" if sample.row.extrapolated else ""
        name = f"{line_name(line)}{note}"
        items.append(tag("li", picture(drawn, width=16, height=16, title=name, description=name), text(name)))
    return tag("ul", *items, class_="legend")


def _latency(bench: Bench) -> str:
    def draw(width: float) -> str:
        return latency(bench.rows, bench.step_gflop, bench.machine, width)

    if not draw(WIDTHS["wide"]):
        return _section("Latency of a step", _note("n/a: no step was timed."))
    work = with_unit(bench.step_gflop, "GFLOP")
    peak = with_unit(bench.machine.gemm_gflops, "GFLOP/s")
    bars = "For each way its fastest step: bars are minima, ticks medians; peers are grey and named so."
    roof = f"Dashed: the roofline, {work} at the measured GEMM peak of {peak} in float32."
    return _section("Latency of a step", _note(f"{bars} {roof}"), _chart(draw))


def _figures(bench: Bench) -> str:
    return _section("Every figure", table(bench), class_="figures")


def _throughput(bench: Bench) -> str:
    if not any(batches(rows) for rows in grouped(bench.rows, way).values()):
        return _section("Throughput by batch", _note("n/a: nothing ran in more than one batch size."))
    how = _note("For each way, the recipe that ran in the most batch sizes; the ratio is to its smallest batch.")
    return _section("Throughput by batch", how, _chart(lambda width: throughput(bench.rows, width)))


def _pictures(bench: Bench) -> str:
    shown = strips(bench)
    how = "Each result beside its absolute difference to the reference, amplified so many times as stated."
    return _section("Pictures", _note(how if shown else "n/a: this run kept no pictures."), *shown)


def _machine(bench: Bench) -> str:
    machine: Machine = bench.machine
    facts = {
        "Processor": f"{machine.processor}, {counted(machine.cores, 'core')}",
        "Memory": with_unit(machine.memory / 1e9, "GB"),
        "GPU": machine.gpu or "none",
        "System": machine.system,
        "GEMM peak, float32": with_unit(machine.gemm_gflops, "GFLOP/s"),
        "Bandwidth": with_unit(machine.bandwidth_gb, "GB/s"),
        "One step": with_unit(bench.step_gflop, "GFLOP"),
        "Versions": ", ".join(f"{name} {version}" for name, version in machine.versions.items()) or "n/a",
        "Commit": machine.commit or "n/a",
        "Date": bench.date,
    }
    pairs = [tag("dt", name) + tag("dd", text(value, 2000)) for name, value in facts.items()]
    pairs.append(tag("dt", "Command") + tag("dd", tag("code", text(bench.command, 4000))))
    return _section("Machine and versions", tag("dl", *pairs))


def _definitions(_: Bench) -> str:
    pairs = (tag("dt", text(term)) + tag("dd", text(meaning, 1000)) for term, meaning in DEFINITIONS)
    return _section("Definitions", tag("dl", *pairs))


def main(arguments: Sequence[str] | None = None) -> int:
    """Make a report anew from its JSON; the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m tfs_rt_bench.latency_page.page", description="HTML from a bench's JSON."
    )
    parser.add_argument("bench", type=Path, help="the JSON that tfs-rt bench wrote")
    parser.add_argument("-o", "--output", type=Path, required=True, help="the HTML file")
    given = parser.parse_args(arguments)
    try:
        write_report(given.output, read_bench(given.bench))
    except TfsRtError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
