"""What became of every case of a run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any


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
