"""Progress of the last run in an output folder, alone or in shards, as its journals tell."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tfs_rt.batch.journal import Event, read_events, read_lines
from tfs_rt.batch.lock import current_job, is_locked, removable_lock, shards_of, state_folder
from tfs_rt.batch.report import COMPLETE, COUNTS, NOT_BEGUN, STATUSES
from tfs_rt.batch.shards import Shard
from tfs_rt.errors import NothingFound

RECENT = 20  # cases from whose pace the remaining time is estimated
# States of a run, beside those in which it ended.
RUNNING = "running"
BROKEN_OFF = "broken off"
REMEDY = "give the --output of tfs-rt fuse"


def status(output: Path) -> dict[str, Any]:
    """The last run's counts, how it ended or which process works on it, and an estimate of the time left.

    The shards of the last job count as one run. Raises NothingFound for a folder where no run was begun.
    """
    runs: dict[Shard | None, dict[str, Any]] = {}
    for shard in (None, *shards_of(output)):
        if run := _run_status(output, shard):
            runs[shard] = run
    if not runs:
        raise NothingFound(output, "holds no run", REMEDY)
    last = max(runs, key=lambda shard: runs[shard]["begun"])
    if last is None:
        return {key: value for key, value in runs[None].items() if key != "job"}
    job = current_job(output)
    shards = {shard: run for shard, run in runs.items() if shard and run["job"] == job}
    return _merged(shards or {last: runs[last]})


@dataclass(slots=True)
class _LastRun:
    """The run that began last, as its journal tells; of each case, only the last event."""

    begin: Event
    ended: str | None = None
    cases: dict[str, str] = field(default_factory=dict)  # done, kept or failed, by case id
    errors: dict[str, str] = field(default_factory=dict)  # by case id
    recent: deque[float] = field(default_factory=lambda: deque(maxlen=RECENT))  # seconds of the cases fused last

    def add(self, event: Event) -> None:
        """Add an event after the beginning."""
        kind = event["event"]
        if kind == "end":
            self.ended = self.ended or event["ended"]
            return
        self.cases[event["case"]] = kind
        if kind == "done":
            self.recent.append(event["seconds"])
        elif kind == "failed":
            self.errors[event["case"]] = event["error"]

    def seconds_left(self, left: int) -> float | None:
        """Estimate of the seconds for so many cases, at the recent pace; None before the first case."""
        return round(left * sum(self.recent) / len(self.recent), 1) if self.recent else None


def _run_status(output: Path, shard: Shard | None) -> dict[str, Any] | None:
    """The status of a run over all cases or of a shard; None if none was begun."""
    # Find the last run in the journal.
    state = state_folder(output, shard)
    try:
        run = _last_run(state)
    except OSError as error:
        raise NothingFound(output, f"holds no run that can be read ({error.strerror})", REMEDY) from error
    if not run:
        return None
    # Count its cases.
    is_running = run.ended is None and is_locked(output, shard)
    counts = Counter(run.cases.values())
    left = run.begin["cases"] - len(run.cases)
    facts: dict[str, Any] = {
        "state": RUNNING if is_running else run.ended or BROKEN_OFF,
        "cases": run.begin["cases"],
        **{key: counts[key] for key in STATUSES},
        "left": left,
        "begun": run.begin["time"],
        "job": run.begin.get("job"),
    }
    # Add where it runs, and when it may end.
    if is_running:
        facts["process"] = run.begin["pid"]
        facts["host"] = run.begin["host"]
        facts["seconds_left"] = run.seconds_left(left)
        if lock := removable_lock(state):
            facts["lock"] = str(lock)
    return {**facts, "errors": run.errors}


def _last_run(state: Path) -> _LastRun | None:
    """The last run in a state folder; None if none was begun, OSError if the journal cannot be read."""
    run: _LastRun | None = None
    for event in read_events(state):
        if event["event"] == "begin":
            run = _LastRun(event)
        elif run:
            run.add(event)
    return run


class Progress:
    """The number of cases that some shards have finished in their last runs. Only new lines are read."""

    def __init__(self, output: Path, shards: Sequence[Shard]) -> None:
        self._states = [state_folder(output, shard) for shard in shards]
        self._read = [0] * len(shards)  # bytes of each journal
        self._finished = [0] * len(shards)

    @property
    def finished(self) -> int:
        """The number of cases that all shards have finished."""
        return sum(self._finished)

    def update(self) -> int:
        """Read the new lines, as far as the journals can be read."""
        for number, state in enumerate(self._states):
            with suppress(OSError):
                for event, end in read_lines(state, self._read[number]):
                    self._read[number] = end
                    if event["event"] == "begin":
                        self._finished[number] = 0
                    elif "case" in event:
                        self._finished[number] += 1
        return self.finished


def _merged(shards: Mapping[Shard, dict[str, Any]]) -> dict[str, Any]:
    """The status of shards as that of one run; each shard's own state is listed under `shards`."""
    # Merge the states, and add up the counts.
    runs = list(shards.values())
    count = next(iter(shards)).count
    state = _merged_state({run["state"] for run in runs})
    facts: dict[str, Any] = {"state": state}
    for key in (*COUNTS, "left"):
        facts[key] = sum(run[key] for run in runs)
    # The first shard begins the run, and the slowest ends it.
    facts["begun"] = min(run["begun"] for run in runs)
    if state == RUNNING:
        estimates = [run["seconds_left"] for run in runs if run.get("seconds_left") is not None]
        facts["seconds_left"] = max(estimates, default=None)
    # Collect the errors, and list each shard's state.
    errors: dict[str, str] = {}
    for run in runs:
        errors |= run["errors"]
    facts["errors"] = errors
    facts["shards"] = {
        str(shard): shards[shard]["state"] if shard in shards else NOT_BEGUN for shard in Shard.all(count)
    }
    return facts


def _merged_state(states: set[str]) -> str:
    """Running if any shard is, complete if all are, and else how the others ended."""
    if RUNNING in states:
        return RUNNING
    return next((state for state in sorted(states) if state != COMPLETE), COMPLETE)
