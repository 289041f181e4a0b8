"""Every figure of every row, with its unit, as an HTML table that becomes a list of cards where it has no room."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from tfs_rt_bench.charts.digits import NA, counted, decimal, megabytes, percent, seconds, with_unit
from tfs_rt_bench.charts.markup import tag, text
from tfs_rt_bench.latency.record import Accuracy, Bench, Fidelity, Machine, Row, Times
from tfs_rt_bench.latency.row_facts import in_words, level, minimum, per_case

Lines = tuple[str, ...]  # the figure, then what stands below it in small print


class Column(NamedTuple):
    """A column: its head, and a row's lines in it."""

    head: str
    lines: Callable[[Row, Machine], Lines]


def table(bench: Bench) -> str:
    """All rows, in the order in which they ran."""
    heads = [tag("th", text(column.head), scope="col") for column in (Column("Way", _job), *COLUMNS)]
    rows = [_row(row, bench.machine) for row in bench.rows]
    caption = tag("caption", "All rows; minimum first, n/a where nothing was measured.")
    return tag("table", caption, tag("thead", tag("tr", *heads)), tag("tbody", *rows))


def _row(row: Row, machine: Machine) -> str:
    if row.fault:
        words = tag("strong", "No figures") + f": {text(row.fault, 600)}"
        return tag("tr", _way(row), tag("td", words, colspan=len(COLUMNS), class_="fault"), class_="failed")
    cells = (_cell(column.head, column.lines(row, machine)) for column in COLUMNS)
    return tag("tr", _way(row), *cells, class_="peer" if row.peer else "ours")


def _way(row: Row) -> str:
    kind = "peer" if row.peer else "this runtime"
    parts = [tag("b", text(row.label)), f"{text(row.backend)} · {text(row.precision)} · {kind}", in_words(row.recipe)]
    if row.extrapolated:
        parts.append(f"† extrapolated: {text(row.extrapolated)}")
    small = (tag("small", part) for part in parts[1:])
    return tag("th", parts[0], *small, scope="row")


def _cell(head: str, lines: Lines) -> str:
    small = (tag("small", text(words)) for words in lines[1:])
    return tag("td", tag("span", text(lines[0])), *small, data_head=head)


def _times(times: Times | None, mark: str = "") -> Lines:
    if times is None:
        return (NA,)
    spread = (f"median {seconds(times.median)}", f"p95 {seconds(times.p95)}")
    return (f"{seconds(times.minimum)}{mark}", *spread, counted(times.runs, "run"))


def _job(row: Row, _: Machine) -> Lines:
    return _times(row.job, "†" if row.extrapolated else "")


def _per_case(row: Row, _: Machine) -> Lines:
    cost = per_case(row)
    if cost is None:
        return (NA,)
    return (f"{seconds(cost)}{'†' if row.extrapolated else ''}", with_unit(1 / cost, "cases/s"))


def _compute(row: Row, machine: Machine) -> Lines:
    if row.gflops is None or minimum(row.step) is None:
        return (NA,)
    peak = machine.gemm_gflops
    share = (f"{percent(row.gflops / peak)} of peak",) if peak > 0 else ()
    return (with_unit(row.gflops, "GFLOP/s"), *share)


def _fidelity(row: Row, _: Machine) -> Lines:
    found = row.fidelity
    if found is None:
        return (NA,)
    return (level(row, "fidelity", 2), f"SSIM {decimal(found.ssim, 4)}", counted(found.cases, "case"))


def _difference(found: Fidelity | None) -> Lines:
    if found is None:
        return (NA,)
    biases = (f"{name} {round(value, 2) + 0.0:+.2f}" for name, value in zip("RGB", found.bias, strict=True))
    return (counted(found.max_levels, "level"), *biases)


def _accuracy(found: Accuracy | None) -> Lines:
    if found is None:
        return (NA,)
    return (decimal(found.psnr, 2, "dB"), f"SSIM {decimal(found.ssim, 4)}", counted(found.cases, "case"))


COLUMNS = (
    Column("Batch", lambda row, _: (f"{row.batch}",)),
    Column("Job", _job),
    Column("Per case", _per_case),
    Column("Step", lambda row, _: _times(row.step)),
    Column("Compute", _compute),
    Column("Overhead", lambda row, _: (percent(row.overhead),)),
    Column("Loop", lambda row, _: (percent(row.loop),)),
    Column("Cores busy", lambda row, _: (NA if row.busy is None else decimal(row.busy, 2),)),
    Column("Cold start", lambda row, _: (seconds(row.cold_start),)),
    Column("Peak memory", lambda row, _: (megabytes(row.peak_memory),)),
    Column("Fidelity", _fidelity),
    Column("Largest difference, bias", lambda row, _: _difference(row.fidelity)),
    Column("Accuracy", lambda row, _: _accuracy(row.accuracy)),
)
