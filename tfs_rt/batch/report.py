"""The report of a run: `report.json`, and what shards tell each other for it.

    OUTPUT/report.json                           of all cases
    OUTPUT/.tfs-rt/shards/2-of-8/report.jsonl    of a shard: one line of facts, then a line for each result

Reports are written and read one result at a time, for there may be very many.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

from tfs_rt.batch.case_results import CaseResults, Result
from tfs_rt.batch.lock import beginning, shards_of, state_of
from tfs_rt.batch.shards import Job, Shard
from tfs_rt.facts import Facts
from tfs_rt.output.folder import REPORT
from tfs_rt.system.files import open_regular, write_file

COUNTS = ("cases", "done", "kept", "failed")
SHARD_REPORT = "report.jsonl"
LONGEST = 2**28  # bytes of a line: a shard's facts name each case that it has not run
PIECE = 2**16  # bytes that are written at once


@dataclass(slots=True)
class Report:
    """What became of every case."""

    found: int
    folder: Path  # where results lie that are too many for memory
    results: CaseResults = field(init=False)
    ended: str = "interrupted"  # until the last case is through

    def __post_init__(self) -> None:
        self.results = CaseResults(self.folder)

    @property
    def done(self) -> int:
        """Number of cases fused, now or by the run that was gone on with."""
        return len(self.results) - self.results.counts["failed"]

    @property
    def kept(self) -> int:
        """Number of cases that were fused already."""
        return self.results.counts["kept"]

    @property
    def exit_code(self) -> int:
        """0 all done, 3 some failed, 4 none succeeded."""
        if self.done == self.found:
            return 0
        return 3 if self.done else 4

    def summary(self, ids: Sequence[str], seconds: float) -> Facts:
        """`report.json`'s facts of the cases but their results, in the order of their ids."""
        through = self.results.ids()
        counts = {"cases": self.found, "done": self.done, "kept": self.kept, "failed": len(self.results) - self.done}
        not_run = [case_id for case_id in ids if case_id not in through]
        return {**counts, "ended": self.ended, "seconds": seconds, "not_run": not_run}


def write_report(folder: Path, job: Job | None, report: Report, facts: Facts, ids: Sequence[str]) -> None:
    """Write `report.json`: a run's own, or that of all shards of a job as far as they are.

    `facts` are those of the summary and of what made the results.
    """
    if job is None:
        order = {case_id: number for number, case_id in enumerate(ids)}
        write_file(folder / REPORT, _as_json(facts, report.results.in_order(order)))
        return
    head = facts | {"job": job.sha256, "token": job.token}
    write_file(state_of(folder, job.shard) / SHARD_REPORT, _as_lines(head, report.results))
    with beginning(folder):
        together = CaseResults(state_of(folder, job.shard))
        facts = _together(folder, job, together)
        write_file(folder / REPORT, _as_json(facts, together.in_order()))


def read_report(folder: Path, shards: Sequence[Shard], token: str, cases: int) -> Report:
    """What became of so many cases of some shards, by those of their reports that have this token."""
    report = Report(cases, state_of(folder))
    for shard in shards:
        before = len(report.results)
        head = _read(state_of(folder, shard) / SHARD_REPORT, report.results)
        if head and head["token"] != token:
            report.results.truncate(before)
    return report


def _together(folder: Path, job: Job, results: CaseResults) -> Facts:
    """The facts of all shards of a job, whose results are added."""
    count = job.shard.count
    found: dict[Shard, Facts] = {}
    for shard in shards_of(folder):
        before = len(results)
        if shard.count == count and (head := _read(state_of(folder, shard) / SHARD_REPORT, results)):
            if head["job"] == job.sha256:
                found[shard] = head
            else:
                results.truncate(before)
    first, *_ = heads = list(found.values())
    states = {str(shard): found[shard]["ended"] if shard in found else "not begun" for shard in Shard.all(count)}
    return {key: value for key, value in first.items() if key not in ("job", "token")} | {
        **{key: sum(head[key] for head in heads) for key in COUNTS},
        "ended": "complete" if set(states.values()) == {"complete"} else "interrupted",
        "seconds": max(head["seconds"] for head in heads),
        "not_run": sorted(case_id for head in heads for case_id in head["not_run"]),
        "shards": states,
    }


def _read(path: Path, results: CaseResults) -> Facts | None:
    """A shard's facts, as they were written, and its results added; None, and none, if it is damaged or not there."""
    before = len(results)
    try:
        with open_regular(path) as file:
            head = json.loads(file.readline(LONGEST))
            numbers = all(isinstance(head[key], int | float) for key in (*COUNTS, "seconds"))
            texts = all(isinstance(head[key], str) for key in ("ended", "job", "token"))
            if not (numbers and texts and all(isinstance(case_id, str) for case_id in head["not_run"])):
                return None
            while line := file.readline(LONGEST):
                results.append(_checked(json.loads(line)))
        return head
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        results.truncate(before)
        return None


def _checked(result: Any) -> Result:
    """ValueError, or another, unless this is a result."""
    if not isinstance(result["id"], str) or result["status"] not in COUNTS[1:]:
        raise ValueError("not a result")
    return result


def _as_json(facts: Facts, results: Iterable[Result]) -> Iterator[bytes]:
    """The pieces of one JSON object, laid out as all files of ours: the facts, and the results before `not_run`."""
    names = list(facts)
    place = names.index("not_run")
    head, tail = ({name: facts[name] for name in part} for part in (names[:place], names[place:]))
    return _pieces(_json_texts(head, results, tail))


def _json_texts(head: Facts, results: Iterable[Result], tail: Facts) -> Iterator[str]:
    yield json.dumps(head, indent=1).removesuffix("\n}")
    yield ',\n "results": ['
    between = "\n  "
    for result in results:
        yield between + json.dumps(result, indent=1).replace("\n", "\n  ")
        between = ",\n  "
    yield "]" if between == "\n  " else "\n ]"
    yield "," + json.dumps(tail, indent=1).removeprefix("{") + "\n"


def _as_lines(head: Facts, results: Iterable[Result]) -> Iterator[bytes]:
    """The pieces of a shard's report."""
    return _pieces(json.dumps(facts) + "\n" for facts in chain([head], results))


def _pieces(texts: Iterable[str]) -> Iterator[bytes]:
    """Texts as pieces that are worth a write each."""
    piece = bytearray()
    for text in texts:
        piece += text.encode()
        if len(piece) >= PIECE:
            yield bytes(piece)
            piece.clear()
    if piece:
        yield bytes(piece)
