"""A bench, and two benches compared, as tables in a terminal."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from tfs_rt.errors import printable
from tfs_rt_bench.charts.digits import NA
from tfs_rt_bench.latency.compare import Comparison
from tfs_rt_bench.latency.record import Bench, Row

WIDE = 160  # characters, where the output is no terminal: nothing is cut
COLUMNS = (
    "step ms",
    "job ms",
    "median",
    "p95",
    "cases/s",
    "outside",
    "loop",
    "start s",
    "MB",
    "of peak",
    "dB to fp32",
    "dB truth",
)
DEFINITIONS = """\
step: minimum of the network alone, for one image
job: minimum of a whole batch
outside: share of a job outside the network
loop: the same of all steps but the first
start: from a new process to its first image
MB: peak memory of that process
of peak: GFLOP/s over those of the matrix product, float32
dB to fp32: PSNR to PyTorch in float32 with the same noise and recipe
dB truth: PSNR to ground truth"""


def print_bench(bench: Bench) -> None:
    """The rows, on the standard output."""
    # Print the job and the machine.
    machine = bench.machine
    (height, width) = bench.size
    console = _console()
    limits = f"{machine.gemm_gflops:.0f} GFLOP/s, {machine.bandwidth_gb:.0f} GB/s"
    console.print(escape(f"{bench.model}, x{bench.scale}, {width}x{height}, {bench.step_gflop:.4g} GFLOP a step"))
    console.print(escape(f"{machine.processor}, {machine.cores} processors: {limits}"))
    # Print the rows.
    table = Table(box=None, pad_edge=False)
    table.add_column("", overflow="fold")
    for name in COLUMNS:
        table.add_column(name, justify="right", no_wrap=True)
    for row in bench.rows:
        table.add_row(escape(row.label), *_cells(row, bench))
    console.print(table)
    # Print the faults and the definitions.
    faults = [row.fault for row in bench.rows if row.fault]
    parts = [f"{row.label}: {row.extrapolated}, the rest extrapolated" for row in bench.rows if row.extrapolated]
    for note in dict.fromkeys([*faults, *parts]):
        console.print(escape(printable(note, 600)), soft_wrap=True)
    console.print(DEFINITIONS)


def _cells(row: Row, bench: Bench) -> list[str]:
    if not row.job or not row.step:
        return ["fault"]
    return [
        _ms(row.step.minimum),
        _ms(row.job.minimum),
        _ms(row.job.median),
        _ms(row.job.p95),
        f"{row.batch / row.job.minimum:.3g}",
        NA if row.overhead is None else f"{row.overhead:.1%}",
        NA if row.loop is None else f"{row.loop:.1%}",
        NA if row.cold_start is None else f"{row.cold_start:.2f}",
        NA if row.peak_memory is None else f"{row.peak_memory / 1e6:.0f}",
        NA if row.gflops is None else f"{row.gflops / bench.machine.gemm_gflops:.0%}",
        NA if row.fidelity is None else f"{row.fidelity.psnr:.1f}",
        NA if row.accuracy is None else f"{row.accuracy.psnr:.2f}",
    ]


def print_comparison(comparison: Comparison) -> None:
    """Rows side by side, on the standard output."""
    table = Table(box=None, pad_edge=False)
    table.add_column("", overflow="fold")
    for name in ("A ms", "B ms", "B / A", "of medians", "dB to fp32", "dB truth"):
        table.add_column(name, justify="right", no_wrap=True)
    for pair in comparison.pairs:
        times = [_ms(pair.a), _ms(pair.b), f"{pair.minimum:.3f}", f"{pair.median:.3f}"]
        table.add_row(escape(pair.label), *times, _signed(pair.fidelity), _signed(pair.accuracy))
    console = _console()
    console.print(table)
    for name, labels in (("A", comparison.only_a), ("B", comparison.only_b)):
        for label in labels:
            console.print(escape(f"only {name} has figures of {label}"))


def _console() -> Console:
    console = Console(highlight=False, emoji=False)
    return console if console.is_terminal else Console(highlight=False, emoji=False, width=WIDE)


def _ms(seconds: float) -> str:
    return f"{1e3 * seconds:,.0f}" if seconds >= 10 else f"{1e3 * seconds:.4g}"


def _signed(value: float | None) -> str:
    return NA if value is None else f"{value:+.2f}"
