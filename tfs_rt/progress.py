"""How far the last run in an output folder is, alone or in shards, by its journals."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from tfs_rt.claim import current_job, is_claimed, removable_lock, shards_of, state_of
from tfs_rt.errors import NothingFound
from tfs_rt.journal import Event, last_run, read_events
from tfs_rt.shards import Shard

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


def _status(folder: Path, shard: Shard | None) -> dict[str, Any] | None:
    try:
        events = read_events(state_of(folder, shard))
    except OSError as error:
        raise NothingFound(folder, f"holds no run that can be read ({error.strerror})", REMEDY) from error
    if not (last := last_run(events)):
        return None
    begun, *later = last
    ended = next((event["ended"] for event in later if event["event"] == "end"), None)
    state = RUNNING if ended is None and is_claimed(folder, shard) else ended or BROKEN
    through = {event["case"]: event["event"] for event in later if "case" in event}  # by the last that was said of it
    counts = {kind: sum(event == kind for event in through.values()) for kind in ("done", "kept", "failed")}
    left = begun["cases"] - len(through)
    found = {"state": state, "cases": begun["cases"], **counts, "left": left, "begun": begun["time"]}
    found["job"] = begun.get("job")
    if state == RUNNING:
        found |= {"process": begun["pid"], "host": begun["host"], "seconds_left": _seconds_left(later, left)}
        if lock := removable_lock(state_of(folder, shard)):
            found["lock"] = str(lock)
    return found | {"errors": {event["case"]: event["error"] for event in later if event["event"] == "failed"}}


def counted(folder: Path, shards: Sequence[Shard]) -> int:
    """How many cases of some shards are through, in their last runs, as far as their journals can be read."""
    through = 0
    for shard in shards:
        with suppress(OSError):
            through += sum("case" in event for event in last_run(read_events(state_of(folder, shard))))
    return through


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


def _seconds_left(events: list[Event], left: int) -> float | None:
    done = [event["seconds"] for event in events if event["event"] == "done"][-RECENT:]
    return round(left * sum(done) / len(done), 1) if done else None
