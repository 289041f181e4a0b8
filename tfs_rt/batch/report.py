"""The report of a run: `report.json`, and the reports of shards that it is merged from.

    OUTPUT/report.json                           of all cases
    OUTPUT/.tfs-rt/shards/2-of-8/report.jsonl    of a shard: a line of facts, then a line for each case

Reports are written and read one row at a time, for there may be very many.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from tfs_rt.batch.case_results import CaseResults
from tfs_rt.batch.lock import shards_of, starting_lock, state_folder
from tfs_rt.batch.shards import Job, Shard
from tfs_rt.facts import Facts
from tfs_rt.output.folder import REPORT, SHARD_REPORT
from tfs_rt.system.files import open_regular, write_file

# How a run or a shard has ended.
COMPLETE = "complete"
INTERRUPTED = "interrupted"
NOT_BEGUN = "not begun"
STATUSES = ("done", "kept", "failed")  # of a case
COUNTS = ("cases", *STATUSES)
LONGEST_LINE = 2**28  # bytes: a shard's facts name each case that it has not run
PIECE = 2**16  # bytes that are written at once


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """All that `report.json` holds, in the order in which it is written."""

    cases: int  # that were to be fused
    done: int  # fused, now or by an earlier run
    kept: int  # of them, by an earlier run
    failed: int
    # "complete", or "interrupted" while the run goes on or if it stopped early.
    ended: str
    seconds: float  # by the clock; of shards, the longest
    results: CaseResults  # a row for each case that is done or failed
    not_run: list[str]  # ids of the others, in the order of the cases
    provenance: Facts  # entries of `tfs_rt.output.provenance.Provenance`
    shards: dict[str, str] = field(default_factory=dict)  # by shard, as "2/8": how it ended; empty without shards

    @property
    def exit_code(self) -> int:
        """0 all done, 3 some failed or most share a finding of the guards, 4 none succeeded."""
        if self.done == self.cases and not self.results.common_finding():
            return 0
        return 3 if self.done else 4

    def head(self) -> Facts:
        """The entries before the rows."""
        common = self.results.common_finding()
        return {
            "cases": self.cases,
            "done": self.done,
            "kept": self.kept,
            "failed": self.failed,
            "ended": self.ended,
            "seconds": self.seconds,
            **({"common_finding": common.as_facts()} if common else {}),
        }

    def tail(self) -> Facts:
        """The entries after the rows."""
        shards = {"shards": self.shards} if self.shards else {}
        return {"not_run": self.not_run, **self.provenance, **shards}


OWN_KEYS = (
    *COUNTS,
    "ended",
    "seconds",
    "common_finding",
    "not_run",
    "job",
    "token",
)  # of a shard's facts; the others are provenance


class ShardReport(NamedTuple):
    """The first line of a shard's report."""

    report: Report
    job: str  # digest of the job that the shard belongs to
    token: str  # of the run that wrote it


def run_report(
    results: CaseResults, case_ids: Sequence[str], *, ended: str, seconds: float, provenance: Facts
) -> Report:
    """The report of a run over these cases, as far as it has come."""
    with_row = results.ids()
    failed = results.counts["failed"]
    return Report(
        cases=len(case_ids),
        done=len(results) - failed,
        kept=results.counts["kept"],
        failed=failed,
        ended=ended,
        seconds=round(seconds, 3),
        results=results,
        not_run=[case_id for case_id in case_ids if case_id not in with_row],
        provenance=provenance,
    )


def write_report(output: Path, job: Job | None, report: Report, case_ids: Sequence[str]) -> None:
    """Write `report.json` with the rows in the order of the cases; a shard also merges the other shards' reports."""
    if job is None:
        order = {case_id: number for number, case_id in enumerate(case_ids)}
        write_file(output / REPORT, _as_json(report, report.results.in_order(order)))
        return
    # Write the shard's own report.
    state = state_folder(output, job.shard)
    write_file(state / SHARD_REPORT, _as_lines(report, job))
    # Merge the reports of all shards, while no other shard does.
    with starting_lock(output):
        shards = [shard for shard in shards_of(output) if shard.count == job.shard.count]
        results = CaseResults(state)
        reports = _read_shards(output, shards, results, job=job.sha256)
        together = _merged(reports, Shard.all(job.shard.count), results)
        write_file(output / REPORT, _as_json(together, results.in_order()))


def read_report(output: Path, shards: Sequence[Shard], token: str, cases: int) -> Report:
    """One report of `cases` cases of some shards, merged from those of their reports that have this token."""
    results = CaseResults(state_folder(output))
    reports = _read_shards(output, shards, results, token=token)
    return dataclasses.replace(_merged(reports, shards, results), cases=cases)


def _read_shards(
    output: Path, shards: Sequence[Shard], results: CaseResults, *, job: str | None = None, token: str | None = None
) -> dict[Shard, Report]:
    """The reports of those shards that belong to a job or have a token; their rows are added to `results`."""
    reports: dict[Shard, Report] = {}
    for shard in shards:
        before = len(results)
        found = _read_shard(state_folder(output, shard) / SHARD_REPORT, results)
        if not found:
            continue
        if job in (None, found.job) and token in (None, found.token):
            reports[shard] = found.report
        else:
            results.truncate(before)
    return reports


def _merged(reports: Mapping[Shard, Report], shards: Sequence[Shard], results: CaseResults) -> Report:
    """One report of several shards, of which some may have none."""
    # Collect each shard's state, and the cases that were not run.
    states = {str(shard): reports[shard].ended if shard in reports else NOT_BEGUN for shard in shards}
    first = next(iter(reports.values()), None)
    not_run: list[str] = []
    for report in reports.values():
        not_run += report.not_run
    # Add up the counts; the slowest shard gives the time.
    return Report(
        cases=sum(report.cases for report in reports.values()),
        done=sum(report.done for report in reports.values()),
        kept=sum(report.kept for report in reports.values()),
        failed=sum(report.failed for report in reports.values()),
        ended=COMPLETE if set(states.values()) == {COMPLETE} else INTERRUPTED,
        seconds=max((report.seconds for report in reports.values()), default=0.0),
        results=results,
        not_run=sorted(not_run),
        provenance=first.provenance if first else {},
        shards=states,
    )


def _read_shard(path: Path, results: CaseResults) -> ShardReport | None:
    """A shard's report, whose rows are added to `results`; None, and no row, if it is damaged or not there."""
    before = len(results)
    try:
        with open_regular(path) as file:
            facts = json.loads(file.readline(LONGEST_LINE))
            report = _parsed(facts, results)
            while line := file.readline(LONGEST_LINE):
                results.append(_checked_row(json.loads(line)))
        return ShardReport(report, _text(facts["job"]), _text(facts["token"]))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        results.truncate(before)
        return None


def _parsed(facts: Any, results: CaseResults) -> Report:
    """A shard's facts, checked. ValueError, KeyError, TypeError or AttributeError if they are not valid."""
    return Report(
        cases=_number(facts["cases"]),
        done=_number(facts["done"]),
        kept=_number(facts["kept"]),
        failed=_number(facts["failed"]),
        ended=_text(facts["ended"]),
        seconds=_number(facts["seconds"]),
        results=results,
        not_run=[_text(case_id) for case_id in facts["not_run"]],
        provenance={key: value for key, value in facts.items() if key not in OWN_KEYS},
    )


def _number(value: Any) -> Any:
    if not isinstance(value, int | float):
        raise ValueError("not a number")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("not text")
    return value


def _checked_row(row: Any) -> Facts:
    if not isinstance(row["id"], str) or row["status"] not in STATUSES:
        raise ValueError("not a case's row")
    if not all(isinstance(guard, str) for guard in row.get("guards", [])):
        raise ValueError("not names of guards")
    return row


def _as_json(report: Report, rows: Iterable[Facts]) -> Iterator[bytes]:
    """`report.json` in pieces: one JSON object, indented as all our files."""
    return _pieces(_json_texts(report, rows))


def _json_texts(report: Report, rows: Iterable[Facts]) -> Iterator[str]:
    yield json.dumps(report.head(), indent=1).removesuffix("\n}")
    yield ',\n "results": ['
    separator = "\n  "
    for row in rows:
        yield separator + json.dumps(row, indent=1).replace("\n", "\n  ")
        separator = ",\n  "
    yield "]" if separator == "\n  " else "\n ]"
    yield "," + json.dumps(report.tail(), indent=1).removeprefix("{") + "\n"


def _as_lines(report: Report, job: Job) -> Iterator[bytes]:
    """A shard's report in pieces: a line of facts, and a line for each row."""
    facts = {**report.head(), **report.tail(), "job": job.sha256, "token": job.token}
    return _pieces(json.dumps(line) + "\n" for line in chain([facts], report.results))


def _pieces(texts: Iterable[str]) -> Iterator[bytes]:
    """Texts joined to pieces that are worth a write each."""
    piece = bytearray()
    for text in texts:
        piece += text.encode()
        if len(piece) >= PIECE:
            yield bytes(piece)
            piece.clear()
    if piece:
        yield bytes(piece)
