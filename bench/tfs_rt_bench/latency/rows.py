"""From what workers answered to the rows of a bench."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np

from tfs_rt.errors import TfsRtError
from tfs_rt.images import RGB
from tfs_rt.spec import Recipe
from tfs_rt_bench.latency import quality
from tfs_rt_bench.latency.cases import Cases
from tfs_rt_bench.latency.plan import Planned, name_of
from tfs_rt_bench.latency.record import Pictures, Row, Times
from tfs_rt_bench.latency.worker import precision_of

SHOWN = 3  # cases in pictures, where there is one recipe
References = dict[Recipe, list[RGB]]  # the reference's images of all cases, by recipe


class Asked(Protocol):
    """A worker's task."""

    spawned: float
    idle_wall: float

    def ask(self, word: str, *arguments: Any) -> Any:
        """Its answer; TfsRtError if it has none."""
        ...

    def close(self) -> None:
        """End it."""
        ...


@dataclass
class Measuring:
    """A row under way."""

    plan: Planned
    worker: Asked | None = None  # none any more after a fault
    error: TfsRtError | None = None
    cold_start: float | None = None
    images: list[RGB] = field(default_factory=list)  # of all cases
    jobs: list[dict[str, Any]] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
    idle_wall: float = 0.0

    def attempt(self, act: Callable[[Asked], None]) -> None:
        """Ask the worker, unless it is no more; a fault ends it, and the row."""
        if self.worker is None:
            return
        try:
            act(self.worker)
        except TfsRtError as error:
            self.error = error
            self.end()

    def end(self) -> None:
        """End the worker."""
        if self.worker:
            self.worker.close()
        self.worker = None


def finished(row: Measuring, references: References, cases: Cases, gflop: float) -> Row:
    """The finished row of a worker."""
    # A row with a fault has no figures.
    plan = row.plan
    recipe = row.plan.task.recipe
    planned = Row(
        label=plan.label,
        backend=plan.task.backend,
        peer=plan.task.peer,
        precision=precision_of(plan.task.backend),
        batch=plan.batch,
        recipe=recipe,
        extrapolated=plan.extrapolated,
    )
    if row.error or not row.jobs:
        return replace(planned, fault=str(row.error or "no job was run"))
    # Compute the figures from all jobs.
    step = times([call for job in row.jobs for call in job["calls"]])
    shares = [1 - network_seconds(job, plan) / job_seconds(job, plan) for job in row.jobs]
    return replace(
        planned,
        precision=row.facts["precision"],
        job=times([job_seconds(job, plan) for job in row.jobs]),
        step=step,
        overhead=float(np.median(shares)),
        loop=float(np.median(loops)) if (loops := [job["loop"] for job in row.jobs if "loop" in job]) else None,
        cold_start=row.cold_start,
        peak_memory=row.facts["memory"],
        busy=sum(job["busy"] for job in row.jobs) / sum(job["seconds"] for job in row.jobs),
        gflops=gflop / step.minimum,
        fidelity=quality.fidelity(row.images, references.get(recipe, row.images)) if plan.whole else None,
        accuracy=quality.accuracy(row.images, cases.truths) if plan.whole else None,
    )


def times(seconds: Sequence[float]) -> Times:
    """Minimum, median and 95th percentile (linear between the two nearest)."""
    least, median, p95 = np.percentile(seconds, [0, 50, 95])
    return Times(minimum=float(least), median=float(median), p95=float(p95), runs=len(seconds))


def job_seconds(job: dict[str, Any], plan: Planned) -> float:
    """A job's time; of one that was cut short, with the missing steps at the mean of those that were run."""
    missing = _missing(plan)
    return job["seconds"] + (missing * float(np.mean(job["steps"])) if missing else 0.0)


def network_seconds(job: dict[str, Any], plan: Planned) -> float:
    """Share of that time inside the network; missing calls count as the mean of all but the first."""
    missing = _missing(plan)
    return job["network"] + (missing * float(np.mean(job["calls"][1:])) if missing else 0.0)


def _missing(plan: Planned) -> int:
    """Steps that are extrapolated; one call each."""
    return plan.task.recipe.steps - plan.task.part if plan.task.part else 0


def pictures(rows: Sequence[Measuring], references: References, cases: Cases) -> Iterator[Pictures]:
    """The first cases in every recipe: the reference, and what the rows of the smallest batch made of it."""
    for recipe, expected in references.items():
        # Choose the rows of the smallest batch that have whole images.
        shown = [
            row for row in rows if row.jobs and not row.error and row.plan.whole and row.plan.task.recipe == recipe
        ]
        least = min((row.plan.batch for row in shown), default=0)
        for i, case in enumerate(cases.ids[: SHOWN if len(references) == 1 else 1]):
            # Compare each row's image with the reference.
            truth = cases.truths[i]
            made = {row.plan.label: row.images[i] for row in shown if row.plan.batch == least}
            yield Pictures(
                case=case if len(references) == 1 else f"{case}, {name_of(recipe)}",
                reference=quality.png(expected[i]),
                truth="" if truth is None else quality.png(truth),
                images={label: quality.png(image) for label, image in made.items()},
                differences={
                    label: quality.png(quality.difference(image, expected[i])) for label, image in made.items()
                },
                gain=quality.GAIN,
            )
