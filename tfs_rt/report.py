"""What became of every case of a run."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tfs_rt.claim import beginning, shards_of, state_of
from tfs_rt.files import read_regular
from tfs_rt.names import REPORT
from tfs_rt.results import write_json
from tfs_rt.shards import Job, Shard

COUNTS = ("cases", "done", "kept", "failed")
LIMIT = 2**30  # bytes of a report


@dataclass(slots=True)
class Report:
    """What became of every case."""

    found: int
    results: list[dict[str, Any]] = field(default_factory=list)
    ended: str = "interrupted"  # until the last case is through

    @property
    def done(self) -> int:
        """Number of cases fused, now or by the run that was gone on with."""
        return sum(result["status"] != "failed" for result in self.results)

    @property
    def kept(self) -> int:
        """Number of cases that were fused already."""
        return sum(result["status"] == "kept" for result in self.results)

    @property
    def exit_code(self) -> int:
        """0 all done, 3 some failed, 4 none succeeded."""
        if self.done == self.found:
            return 0
        return 3 if self.done else 4

    def summary(self, ids: Sequence[str], seconds: float) -> dict[str, Any]:
        """`report.json`'s facts of the cases, in the order of their ids."""
        through = {result["id"] for result in self.results}
        order = {case_id: number for number, case_id in enumerate(ids)}
        failed = len(self.results) - self.done
        counts = {"cases": self.found, "done": self.done, "kept": self.kept, "failed": failed}
        results = sorted(self.results, key=lambda result: order[result["id"]])
        not_run = [case_id for case_id in ids if case_id not in through]
        return {**counts, "ended": self.ended, "seconds": seconds, "results": results, "not_run": not_run}


def write_report(folder: Path, job: Job | None, facts: dict[str, Any]) -> None:
    """Write `report.json`: a run's own, or that of all shards of a job as far as they are."""
    if job is None:
        write_json(folder / REPORT, facts)
        return
    write_json(state_of(folder, job.shard) / REPORT, facts | {"job": job.sha256, "token": job.token})
    with beginning(folder):
        write_json(folder / REPORT, _together(folder, job))


def read_report(folder: Path, shards: Sequence[Shard], token: str, cases: int) -> Report:
    """What became of so many cases of some shards, by those of their reports that have this token."""
    found = [facts for shard in shards if (facts := _read(state_of(folder, shard) / REPORT))]
    results = [result for facts in found if facts["token"] == token for result in facts["results"]]
    return Report(cases, sorted(results, key=lambda result: result["id"]))


def _together(folder: Path, job: Job) -> dict[str, Any]:
    count = job.shard.count
    read = {shard: _read(state_of(folder, shard) / REPORT) for shard in shards_of(folder) if shard.count == count}
    found = {shard: facts for shard, facts in read.items() if facts and facts["job"] == job.sha256}
    first, *_ = reports = list(found.values())
    states = {str(shard): found[shard]["ended"] if shard in found else "not begun" for shard in Shard.all(count)}
    results = sorted((result for facts in reports for result in facts["results"]), key=lambda result: result["id"])
    return {key: value for key, value in first.items() if key not in ("job", "token")} | {
        **{key: sum(facts[key] for facts in reports) for key in COUNTS},
        "ended": "complete" if set(states.values()) == {"complete"} else "interrupted",
        "seconds": max(facts["seconds"] for facts in reports),
        "results": results,
        "not_run": sorted(case_id for facts in reports for case_id in facts["not_run"]),
        "shards": states,
    }


def _read(path: Path) -> dict[str, Any] | None:
    """A shard's report, as it was written; None if it is damaged or not there."""
    try:
        facts = json.loads(read_regular(path, LIMIT))
        numbers = all(isinstance(facts[key], int | float) for key in (*COUNTS, "seconds"))
        texts = all(isinstance(facts[key], str) for key in ("ended", "job", "token"))
        ids = [*facts["not_run"], *(result["id"] for result in facts["results"])]
        known = all(result["status"] in ("done", "kept", "failed") for result in facts["results"])
        return facts if numbers and texts and known and all(isinstance(one, str) for one in ids) else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
