"""Results of a run's cases, as lines of a file without a name: of each, memory holds some bytes only."""

from __future__ import annotations

import json
import tempfile
import weakref
from array import array
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

IN_MEMORY = 2**18  # bytes of lines; more of them go to the disk
Result = dict[str, Any]


class CaseResults:
    """An append-only sequence of results, each with an `id` and a `status`; read back one at a time."""

    def __init__(self, folder: Path) -> None:
        # The folder need not exist yet: no file is made before there is much to hold.
        self._lines = tempfile.SpooledTemporaryFile(IN_MEMORY, dir=str(folder))  # noqa: SIM115 - closed with this object
        weakref.finalize(self, self._lines.close)
        self._starts = array("Q")
        self._ids: list[str] = []  # the cases' own strings, as a rule
        self.counts: Counter[str] = Counter()  # by status
        self._end = 0

    def __len__(self) -> int:
        return len(self._ids)

    def __iter__(self) -> Iterator[Result]:
        return (self[number] for number in range(len(self)))

    def __getitem__(self, number: int) -> Result:
        self._lines.seek(self._starts[number])
        return json.loads(self._lines.readline())

    def append(self, result: Result) -> None:
        """Add a result."""
        line = json.dumps(result).encode() + b"\n"
        self._lines.seek(self._end)
        self._lines.write(line)
        self._starts.append(self._end)
        self._end += len(line)
        self._ids.append(result["id"])
        self.counts[result["status"]] += 1

    def remove(self, ids: Collection[str]) -> None:
        """Take away the results of some cases; rare, so that it may read them all."""
        kept = [result["id"] not in ids for result in self]
        for result in self:
            if result["id"] in ids:
                self.counts[result["status"]] -= 1
        self._starts = array("Q", (start for start, keep in zip(self._starts, kept, strict=True) if keep))
        self._ids = [case_id for case_id, keep in zip(self._ids, kept, strict=True) if keep]

    def truncate(self, length: int) -> None:
        """Take away all results but the first `length`."""
        for number in range(length, len(self)):
            self.counts[self[number]["status"]] -= 1
        del self._starts[length:]
        del self._ids[length:]

    def ids(self) -> set[str]:
        """The cases of which there is a result."""
        return set(self._ids)

    def in_order(self, order: Mapping[str, int] | None = None) -> Iterator[Result]:
        """The results by their cases' place in an order, or by id."""
        ids = self._ids
        places = sorted(range(len(ids)), key=ids.__getitem__ if order is None else lambda number: order[ids[number]])
        return (self[number] for number in places)
