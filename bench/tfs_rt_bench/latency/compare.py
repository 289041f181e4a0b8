"""Two benches side by side: rows by their labels, times as ratios, quality as differences.

What differs beside the rows is said: two machines' times have no ratio that means anything of the code.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tfs_rt.errors import UsageError
from tfs_rt_bench.latency.record import Bench, Row
from tfs_rt_bench.latency.row_facts import in_words, positive


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """A row in both."""

    label: str
    a: float  # seconds, the jobs' minima
    b: float
    minimum: float  # B over A: below 1, B is faster
    median: float
    fidelity: float | None  # dB, B minus A
    accuracy: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """The comparison of two benches."""

    pairs: tuple[Pair, ...]
    only_a: tuple[str, ...]  # labels
    only_b: tuple[str, ...]
    notes: tuple[str, ...]  # why the ratios may mean something else than the code


def compare(a: Bench, b: Bench) -> Comparison:
    """B against A; UsageError if they are of another model or size, or have no row in common."""
    # Check that both benches measure the same job.
    for what, one, other in (
        ("model", a.model, b.model),
        ("scale", a.scale, b.scale),
        ("size", a.size, b.size),
        ("network", f"{a.step_gflop:.6g} GFLOP", f"{b.step_gflop:.6g} GFLOP"),
    ):
        if one != other:
            reason = f"they are not of one {what}: {one} and {other}"
            raise UsageError("bench compare", reason, "give two benches of the same model and size")
    # Pair the rows by their labels.
    rows_a, rows_b = ({row.label: row for row in bench.rows if _timed(row)} for bench in (a, b))
    both = [(row, rows_b[label]) for label, row in rows_a.items() if label in rows_b]
    if not both:
        raise UsageError("bench compare", "they have no row in common", "give benches of the same rows")
    return Comparison(
        pairs=tuple(_pair(*rows) for rows in both),
        only_a=tuple(label for label in rows_a if label not in rows_b),
        only_b=tuple(label for label in rows_b if label not in rows_a),
        notes=(*_notes(a, b), *_unlike(both)),
    )


def _timed(row: Row) -> bool:
    """True if both rows have a time."""
    return row.job is not None and positive(row.job.minimum) and positive(row.job.median)


def _pair(a: Row, b: Row) -> Pair:
    assert a.job
    assert b.job
    return Pair(
        label=a.label,
        a=a.job.minimum,
        b=b.job.minimum,
        minimum=b.job.minimum / a.job.minimum,
        median=b.job.median / a.job.median,
        fidelity=b.fidelity.psnr - a.fidelity.psnr if a.fidelity and b.fidelity else None,
        accuracy=b.accuracy.psnr - a.accuracy.psnr if a.accuracy and b.accuracy else None,
    )


def _notes(a: Bench, b: Bench) -> Iterator[str]:
    one = a.machine
    other = b.machine
    for what in ("processor", "cores", "gpu", "system"):
        if getattr(one, what) != getattr(other, what):
            yield f"NOT ONE MACHINE: {what} {getattr(one, what)!r} in A, {getattr(other, what)!r} in B"
    if abs(other.gemm_gflops - one.gemm_gflops) > 0.1 * one.gemm_gflops:
        rates = f"{one.gemm_gflops:.0f} GFLOP/s in A, {other.gemm_gflops:.0f} in B"
        yield f"NOT IN ONE STATE: the matrix product gave {rates}"
    if one.commit != other.commit:
        yield f"commit {one.commit or 'unknown'} in A, {other.commit or 'unknown'} in B"
    for which, bench in (("A", a), ("B", b)):
        yield from (f"of {which}: {warning}" for warning in bench.warnings)
    for name in sorted(one.versions.keys() & other.versions.keys()):
        if one.versions[name] != other.versions[name]:
            yield f"{name} {one.versions[name]} in A, {other.versions[name]} in B"


def _unlike(both: Sequence[tuple[Row, Row]]) -> Iterator[str]:
    """Rows of one label that are not the same work."""
    for a, b in both:
        for what, one, other in (
            ("recipe", in_words(a.recipe), in_words(b.recipe)),
            ("precision", a.precision, b.precision),
            ("part", a.extrapolated or "the whole job", b.extrapolated or "the whole job"),
            ("cases for fidelity", a.fidelity and a.fidelity.cases, b.fidelity and b.fidelity.cases),
            ("cases for accuracy", a.accuracy and a.accuracy.cases, b.accuracy and b.accuracy.cases),
        ):
            if one != other and None not in (one, other):
                yield f"NOT THE SAME WORK, {a.label}: {what} {one} in A, {other} in B"
