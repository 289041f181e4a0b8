"""The rows of a report, one for each case. They lie in a nameless file, so that memory stays flat over many cases."""

from __future__ import annotations

import json
import tempfile
import weakref
from array import array
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from tfs_rt.batch.common_finding import CommonFinding, common_finding
from tfs_rt.errors import TfsRtError
from tfs_rt.facts import Facts
from tfs_rt.output.sidecar import Result

IN_MEMORY = 2**18  # bytes of rows; more of them go to the disk


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseRow:
    """The outcome of a case: a row of the report."""

    id: str
    status: Literal["done", "kept", "failed"]  # kept: fused by an earlier run
    result: Result | None = None  # None for a case that failed
    warnings: list[str] = field(default_factory=list)  # sentences for the user
    seconds: float = 0.0  # time of fusing
    error: TfsRtError | None = None  # None for a case that is fused
    guards: list[str] = field(default_factory=list)  # with a finding

    def as_facts(self) -> Facts:
        """The row as JSON."""
        facts: Facts = {"id": self.id, "status": self.status}
        if self.error:
            facts["error"] = {
                "subject": self.error.subject,
                "reason": self.error.reason,
                "remedy": self.error.remedy,
            }
        if self.result:
            facts |= self.result.as_facts()
            facts["warnings"] = self.warnings
            facts["seconds"] = self.seconds
        if self.guards:
            facts["guards"] = self.guards
        return facts


class CaseResults:
    """Rows, each a JSON object with an `id` and a `status`; appended to, and read back one at a time."""

    def __init__(self, folder: Path) -> None:
        # The folder need not exist yet: no file is made before there is much to hold.
        self._lines = tempfile.SpooledTemporaryFile(IN_MEMORY, dir=str(folder))  # noqa: SIM115 - closed with this object
        weakref.finalize(self, self._lines.close)
        self._starts = array("Q")  # byte at which each row begins
        self._ids: list[str] = []
        self._end = 0  # byte
        self.counts: Counter[str] = Counter()  # by status
        self.guards: Counter[str] = Counter()  # cases by guard with a finding
        self.unchecked = 0  # cases that failed before the guards could see them

    def __len__(self) -> int:
        return len(self._ids)

    def __iter__(self) -> Iterator[Facts]:
        return (self[number] for number in range(len(self)))

    def __getitem__(self, number: int) -> Facts:
        self._lines.seek(self._starts[number])
        return json.loads(self._lines.readline())

    def append(self, row: Facts) -> None:
        """Add a row."""
        line = json.dumps(row).encode() + b"\n"
        self._lines.seek(self._end)
        self._lines.write(line)
        self._starts.append(self._end)
        self._end += len(line)
        self._ids.append(row["id"])
        self._count(row, 1)

    def remove(self, ids: Collection[str]) -> None:
        """Remove the rows of some cases. This reads all rows, and is rare."""
        starts = array("Q")
        kept_ids: list[str] = []
        for number, row in enumerate(self):
            if row["id"] in ids:
                self._count(row, -1)
            else:
                starts.append(self._starts[number])
                kept_ids.append(self._ids[number])
        self._starts = starts
        self._ids = kept_ids

    def truncate(self, length: int) -> None:
        """Remove all rows but the first `length`."""
        for number in range(length, len(self)):
            self._count(self[number], -1)
        del self._starts[length:]
        del self._ids[length:]

    def _count(self, row: Facts, change: int) -> None:
        """Count a row that is added (1) or removed (-1)."""
        guards = row.get("guards", [])
        self.counts[row["status"]] += change
        self.unchecked += change * (row["status"] == "failed" and not guards)
        for guard in guards:
            self.guards[guard] += change

    def common_finding(self) -> CommonFinding | None:
        """The finding that most cases share; None if there is none."""
        return common_finding(self.guards, len(self) - self.unchecked)

    def ids(self) -> set[str]:
        """The cases that have a row."""
        return set(self._ids)

    def in_order(self, order: Mapping[str, int] | None = None) -> Iterator[Facts]:
        """The rows by their cases' place in an order, or by id."""
        numbers = range(len(self._ids))
        if order is None:
            by_place = sorted(numbers, key=self._ids.__getitem__)
        else:
            by_place = sorted(numbers, key=lambda number: order[self._ids[number]])
        return (self[number] for number in by_place)
