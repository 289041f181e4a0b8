"""Whose an output folder is while a run writes to it, and what happened there, line by line.

    OUTPUT/.tfs-rt/lock             held while a run goes on; the system frees it if that is killed
    OUTPUT/.tfs-rt/journal.jsonl    one line an event, in order; a torn last line is the mark of a kill

The journal informs; what counts as done is said by the sidecars alone.
"""

from __future__ import annotations

import errno
import json
import os
import platform
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from tfs_rt.cases import STATE
from tfs_rt.errors import EnvironmentFault, NothingFound
from tfs_rt.files import AT_ONCE, BINARY, read_regular, write_all

LOCK, JOURNAL = "lock", "journal.jsonl"
TAIL = 2**16  # bytes, in which the last whole line is found
LIMIT = 2**30
PATIENCE = 1.0  # seconds: longer than `status` holds the lock to see whether it is held
RECENT = 20  # cases whose pace tells how long the rest will take
RUNNING, BROKEN = "running", "broken off"
NUMBER = (int, float)
SHAPES: dict[str, dict[str, Any]] = {
    "begin": {"cases": int, "pid": int, "host": str, "time": str},
    "done": {"case": str, "seconds": NUMBER},
    "kept": {"case": str, "seconds": NUMBER},
    "failed": {"case": str, "error": str},
    "end": {"ended": str},
}
Event = dict[str, Any]


class Journal:
    """Events of a run, appended to those of earlier ones in the same folder."""

    def __init__(self, path: Path) -> None:
        self.path = path
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | BINARY | AT_ONCE | getattr(os, "O_NOFOLLOW", 0)
        self.descriptor = os.open(path, flags, 0o666)
        status = os.fstat(self.descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1:
            os.close(self.descriptor)
            raise OSError(errno.EINVAL, "the journal is no file of its own", str(path))
        os.lseek(self.descriptor, max(0, status.st_size - TAIL), os.SEEK_SET)
        events, self.torn = parsed(os.read(self.descriptor, TAIL))
        self.next = events[-1]["n"] + 1 if events else 1

    def write(self, event: str, **facts: Any) -> None:
        """Append a line; after a torn one, on a line of its own."""
        created = datetime.now(UTC).isoformat(timespec="seconds")
        line = json.dumps({"n": self.next, "event": event, "time": created, **facts}) + "\n"
        try:
            write_all(self.descriptor, ("\n" * self.torn + line).encode())
        except OSError as error:
            remedy = "free space or choose another --output"
            raise EnvironmentFault(self.path, f"cannot be written ({error.strerror})", remedy) from error
        self.next, self.torn = self.next + 1, False

    def begin(self, cases: int) -> None:
        """Note who works here on how many cases."""
        self.write("begin", cases=cases, pid=os.getpid(), host=platform.node())


@contextmanager
def claimed(folder: Path) -> Iterator[Journal]:
    """The folder's journal, while no other run may write to the folder; EnvironmentFault names who does."""
    state = folder / STATE
    if state.is_symlink():
        raise EnvironmentFault(state, "is a link", "remove it, or choose another --output")
    lock = FileLock(state / LOCK, timeout=PATIENCE)
    try:
        state.mkdir(parents=True, exist_ok=True)
        lock.acquire()
        journal = Journal(state / JOURNAL)
    except Timeout as error:
        reason = f"is written to by {holder(folder)}"
        raise EnvironmentFault(folder, reason, "wait, or choose another --output") from error
    except (OSError, NotImplementedError) as error:
        reason = f"cannot be claimed ({getattr(error, 'strerror', None) or error})"
        raise EnvironmentFault(state, reason, "choose another --output") from error
    try:
        yield journal
    finally:
        os.close(journal.descriptor)
        lock.release()


def is_claimed(folder: Path) -> bool:
    """Whether a run goes on in a folder, as far as we may look."""
    lock = folder / STATE / LOCK
    try:
        if not lock.is_file():
            return False
        with FileLock(lock, timeout=PATIENCE / 5):
            return False
    except Timeout:
        return True
    except OSError:
        return False


def holder(folder: Path) -> str:
    """Who began the run that goes on in a folder, as its journal says."""
    try:
        events = read_events(folder)
    except OSError:
        events = []
    last = next((event for event in reversed(events) if event["event"] in ("begin", "end")), {"event": "end"})
    return "another run" if last["event"] == "end" else f"process {last['pid']} on {last['host']}"


def status(folder: Path) -> dict[str, Any]:
    """How far the last run in a folder is: counts, how it ended or who works on it, and about how long it will take.

    Raises NothingFound for a folder where none was begun.
    """
    try:
        events = read_events(folder)
    except OSError as error:
        reason = f"holds no run that can be read ({error.strerror})"
        raise NothingFound(folder, reason, "give the --output of tfs-rt fuse") from error
    start = next((i for i in reversed(range(len(events))) if events[i]["event"] == "begin"), None)
    if start is None:
        raise NothingFound(folder, "holds no run", "give the --output of tfs-rt fuse")
    begun, later = events[start], events[start + 1 :]
    ended = next((event["ended"] for event in later if event["event"] == "end"), None)
    state = RUNNING if ended is None and is_claimed(folder) else ended or BROKEN
    counts = {kind: sum(event["event"] == kind for event in later) for kind in ("done", "kept", "failed")}
    left = begun["cases"] - sum(counts.values())
    found = {"state": state, "cases": begun["cases"], **counts, "left": left, "begun": begun["time"]}
    if state == RUNNING:
        found |= {"process": begun["pid"], "host": begun["host"], "seconds_left": _seconds_left(later, left)}
    return found | {"errors": {event["case"]: event["error"] for event in later if event["event"] == "failed"}}


def _seconds_left(events: list[Event], left: int) -> float | None:
    done = [event["seconds"] for event in events if event["event"] == "done"][-RECENT:]
    return round(left * sum(done) / len(done), 1) if done else None


def journal_path(folder: Path) -> Path:
    """Where a folder's journal lies."""
    return folder / STATE / JOURNAL


def read_events(folder: Path) -> list[Event]:
    """The whole lines of a folder's journal; none if there is no journal, OSError if it cannot be read."""
    try:
        return parsed(read_regular(journal_path(folder), LIMIT))[0]
    except FileNotFoundError:
        return []


def parsed(data: bytes) -> tuple[list[Event], bool]:
    """The whole lines of a journal, and whether its last line is torn."""
    lines = data.decode(errors="replace").split("\n")
    return [event for line in lines if (event := _event(line))], bool(data) and not data.endswith(b"\n")


def _event(line: str) -> Event | None:
    try:
        event = json.loads(line)
        shape = {"n": int, **SHAPES[event["event"]]}
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    whole = all(isinstance(event.get(key), kind) for key, kind in shape.items())
    numbers = [event[key] for key in shape if isinstance(event.get(key), NUMBER)]
    return event if whole and all(0 <= number < 2**53 for number in numbers) else None
