"""How far the last run in an output folder is, alone or in shards, by its journals."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tfs_rt.batch.journal import Event, read_events, read_lines
from tfs_rt.batch.lock import current_job, is_claimed, removable_lock, shards_of, state_of
from tfs_rt.batch.shards import Shard
from tfs_rt.errors import NothingFound

RECENT = 20  # cases whose pace tells how long the rest will take
RUNNING, BROKEN, COMPLETE = "running", "broken off", "complete"
COUNTS = ("cases", "done", "kept", "failed", "left")
REMEDY = "give the --output of tfs-rt fuse"


def status(folder: Path) -> dict[str, Any]:
    """Counts, how the last run ended or who works on it, and about how long it will take.

    Of shards, those of the last job together. Raises NothingFound for a folder where no run was begun.
    """
    found = {shard: one for shard in (None, *shards_of(folder)) if (one := _status(folder, shard))}
    if not found:
        raise NothingFound(folder, "holds no run", REMEDY)
    last = max(found, key=lambda shard: found[shard]["begun"])
    if last is None:
        return {key: value for key, value in found[None].items() if key != "job"}
    job = current_job(folder)
    return _together({shard: one for shard, one in found.items() if shard and one["job"] == job} or {last: found[last]})


@dataclass(slots=True)
class _LastRun:
    """The run that began last, as far as its journal says; of each case, the last event alone."""

    begun: Event
    ended: str | None = None
    through: dict[str, str] = field(default_factory=dict)  # by case: done, kept or failed
    errors: dict[str, str] = field(default_factory=dict)
    recent: deque[float] = field(default_factory=lambda: deque(maxlen=RECENT))  # seconds

    def add(self, event: Event) -> None:
        """Note an event that followed."""
        kind = event["event"]
        if kind == "end":
            self.ended = self.ended or event["ended"]
            return
        self.through[event["case"]] = kind
        if kind == "done":
            self.recent.append(event["seconds"])
        elif kind == "failed":
            self.errors[event["case"]] = event["error"]

    def seconds_left(self, left: int) -> float | None:
        """At the pace of the cases that were fused last."""
        return round(left * sum(self.recent) / len(self.recent), 1) if self.recent else None


def _status(folder: Path, shard: Shard | None) -> dict[str, Any] | None:
    run: _LastRun | None = None
    try:
        for event in read_events(state_of(folder, shard)):
            if event["event"] == "begin":
                run = _LastRun(event)
            elif run:
                run.add(event)
    except OSError as error:
        raise NothingFound(folder, f"holds no run that can be read ({error.strerror})", REMEDY) from error
    if not run:
        return None
    begun = run.begun
    state = RUNNING if run.ended is None and is_claimed(folder, shard) else run.ended or BROKEN
    counts = Counter(run.through.values())
    left = begun["cases"] - len(run.through)
    found = {"state": state, "cases": begun["cases"], **{kind: counts[kind] for kind in ("done", "kept", "failed")}}
    found |= {"left": left, "begun": begun["time"], "job": begun.get("job")}
    if state == RUNNING:
        found |= {"process": begun["pid"], "host": begun["host"], "seconds_left": run.seconds_left(left)}
        if lock := removable_lock(state_of(folder, shard)):
            found["lock"] = str(lock)
    return found | {"errors": run.errors}


class Progress:
    """The number of cases that some shards are through with, in their last runs; only new lines are read."""

    def __init__(self, folder: Path, shards: Sequence[Shard]) -> None:
        self._states = [state_of(folder, shard) for shard in shards]
        self._read = [0] * len(shards)  # bytes
        self._through = [0] * len(shards)

    @property
    def through(self) -> int:
        """The number of cases that all shards are through with."""
        return sum(self._through)

    def update(self) -> int:
        """Read on, as far as the journals can be read."""
        for number, state in enumerate(self._states):
            with suppress(OSError):
                for event, end in read_lines(state, self._read[number]):
                    self._read[number] = end
                    self._through[number] = (
                        0 if event["event"] == "begin" else self._through[number] + ("case" in event)
                    )
        return self.through


def _together(shards: dict[Shard, dict[str, Any]]) -> dict[str, Any]:
    """The status of shards as that of one run; what each is by itself stands under `shards`."""
    states = {one["state"] for one in shards.values()}
    total = next(iter(shards)).count
    first = RUNNING if RUNNING in states else next((s for s in sorted(states) if s != COMPLETE), COMPLETE)
    found: dict[str, Any] = {"state": first, **{key: sum(one[key] for one in shards.values()) for key in COUNTS}}
    found["begun"] = min(one["begun"] for one in shards.values())
    left = [one["seconds_left"] for one in shards.values() if one.get("seconds_left") is not None]
    if first == RUNNING:
        found["seconds_left"] = max(left, default=None)
    found["errors"] = {case: error for one in shards.values() for case, error in one["errors"].items()}
    states = {str(shard): shards[shard]["state"] if shard in shards else "not begun" for shard in Shard.all(total)}
    return found | {"shards": states}
