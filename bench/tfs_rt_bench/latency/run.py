"""`tfs-rt bench`: every row in a process of its own, all asked in turn, round after round.

    reference images (PyTorch, float32) -> for each row: cold start, all cases once (fidelity) -> rounds of timed jobs

So all rows are measured in the same minutes, and whatever slows the machine down slows all of them.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any

from tfs_rt.errors import TfsRtError
from tfs_rt.models.bundle import load_bundle
from tfs_rt_bench.latency.cases import Cases
from tfs_rt_bench.latency.machine import load_warning, machine, measured_limits, step_gflop
from tfs_rt_bench.latency.plan import REFERENCE, Request, planned
from tfs_rt_bench.latency.record import SCHEMA, Bench
from tfs_rt_bench.latency.rows import Asked, Measuring, References, finished, pictures
from tfs_rt_bench.latency.worker import Task
from tfs_rt_bench.latency.workers import Worker

IDLE = 0.02  # of a processor: what a waiting worker may take
Advance = Callable[[float], None]


Start = Callable[[str], Asked]


def _nothing(_: float) -> None:
    """Nobody watches."""


def run(
    request: Request, cases: Cases, *, command: str, gpu: str = "", start: Start = Worker, advance: Advance = _nothing
) -> Bench:
    """Measure all rows; TfsRtError if none of the runtime's own can be run."""
    # Plan the rows.
    bundle = load_bundle(request.model)
    bundle.read("fp32")  # held to its SHA-256 here, once, for the peers
    rows = [Measuring(plan) for plan in planned(request, bundle)]
    # Measure the machine's limits, and make the reference images.
    slow = load_warning()
    limits = measured_limits()
    references = _references(request, rows, cases, start)
    # Start a process for each row.
    try:
        for row in rows:
            _open(row, cases, start)
            advance(1)
        _stop_without_any(rows)
        # Let the rows take turns, once to warm up and then for the figures.
        for number in range(request.rounds + 1):
            for row in rows:
                _take_turn(row, cases, keep=number > 0)
                advance(1)
        # End the processes.
        for row in rows:
            row.attempt(partial(_close, row))
    finally:
        for row in rows:
            row.end()
    # Measure the limits again, and keep the higher ones.
    again = measured_limits()
    limits = max(limits[0], again[0]), max(limits[1], again[1])
    # Collect all figures.
    gflop = step_gflop(bundle.manifest.model.architecture, cases.size)
    versions = {name: version for row in rows for name, version in row.facts.get("versions", {}).items()}
    return Bench(
        schema=SCHEMA,
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        model=bundle.manifest.name,
        scale=bundle.manifest.model.scale,
        size=cases.size,
        step_gflop=gflop,
        command=command,
        machine=machine(gpu, versions, limits),
        rows=tuple(finished(row, references, cases, gflop) for row in rows),
        pictures=tuple(pictures(rows, references, cases)),
        warnings=tuple(filter(None, [slow, *map(_idle_warning, rows)])),
    )


def _references(request: Request, rows: Sequence[Measuring], cases: Cases, start: Start) -> References:
    """The images of PyTorch in float32, by recipe; a recipe that the reference itself is run by needs no others."""
    found: References = {}
    for recipe in dict.fromkeys(row.plan.task.recipe for row in rows if row.plan.whole and not row.plan.once):
        worker = start(REFERENCE)
        try:
            task = Task(model=request.model, backend=REFERENCE, peer=False, recipe=recipe)
            worker.ask("load", dataclasses.asdict(task))
            found[recipe] = [_fused(worker, cases, i, 1)["images"][0] for i in range(len(cases.ids))]
        finally:
            worker.close()
    return found


def _open(row: Measuring, cases: Cases, start: Start) -> None:
    """Start a row's worker, to the first image, and on to those of all cases."""

    def first_images(worker: Asked) -> None:
        worker.ask("load", dataclasses.asdict(row.plan.task))
        if row.plan.once or not row.plan.whole:
            return
        _fused(worker, cases, 0, 1)
        row.cold_start = time.perf_counter() - worker.spawned
        for i in range(0, len(cases.ids), row.plan.batch):
            row.images += _fused(worker, cases, i, row.plan.batch)["images"]
        del row.images[len(cases.ids) :]  # the last batch was filled up with the first cases

    try:
        row.worker = start(row.plan.label)
    except TfsRtError as error:
        row.error = error
    row.attempt(first_images)


def _take_turn(row: Measuring, cases: Cases, *, keep: bool) -> None:
    """One job of a row; all of its cases, one by one, if it is run once."""

    def act(worker: Asked) -> None:
        if row.plan.once and row.jobs:
            return
        for i in range(len(cases.ids) if row.plan.once else 1):
            job = _fused(worker, cases, i, row.plan.batch)
            images = job.pop("images")
            if keep or row.plan.once:
                row.jobs.append(job)
            if row.plan.once:
                row.images += images

    row.attempt(act)


def _close(row: Measuring, worker: Asked) -> None:
    row.idle_wall = worker.idle_wall
    row.facts = worker.ask("facts")


def _fused(worker: Asked, cases: Cases, first: int, count: int) -> dict[str, Any]:
    images, ids = cases.batch(first, count)
    return worker.ask("job", images, ids, cases.size)


def _stop_without_any(rows: Sequence[Measuring]) -> None:
    """There is nothing to compare if none of the runtime's own rows runs; or none at all, where no other was asked."""
    wanted = [row for row in rows if not row.plan.task.peer] or rows
    errors = [row.error for row in wanted if row.error]
    if len(errors) == len(wanted):
        raise errors[0]


def _idle_warning(row: Measuring) -> str:
    share = row.facts.get("idle", 0.0) / max(row.idle_wall, 1.0)
    if share <= IDLE:
        return ""
    return f"{row.plan.label}: took {share:.0%} of a processor while others had their turn"
