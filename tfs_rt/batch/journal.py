"""The journal of an output folder: one line for each event of a run.

    OUTPUT/.tfs-rt/journal.jsonl                   in order; a torn last line shows that the run was killed
    OUTPUT/.tfs-rt/shards/2-of-8/journal.jsonl     of a shard

The journal is for information. Which cases are done is decided by the sidecars alone.
"""

from __future__ import annotations

import errno
import json
import os
import platform
import stat
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tfs_rt.errors import EnvironmentFault
from tfs_rt.output.folder import JOURNAL
from tfs_rt.system.files import AT_ONCE, BINARY, open_regular, write_all
from tfs_rt.system.os_errors import write_fault

# Bytes at the end of a journal, in which its last whole line lies.
TAIL = 2**16
LARGEST = 2**30  # bytes of a journal that is read
LONGEST_LINE = 2**20  # bytes: a line names a case, however long its id
NUMBER_LIMIT = 2**53  # whole numbers below it are exact in JSON
NUMBER = (int, float)
# Entries of each event, beside its number `n`.
EVENTS: dict[str, dict[str, Any]] = {
    "begin": {"cases": int, "pid": int, "host": str, "time": str},
    "done": {"case": str, "seconds": NUMBER},
    "kept": {"case": str, "seconds": NUMBER},
    "failed": {"case": str, "error": str},
    "end": {"ended": str},
}
Event = dict[str, Any]


class Journal:
    """A run's events, appended to those of earlier runs in the same folder."""

    def __init__(self, state: Path) -> None:
        self.path = state / JOURNAL
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | BINARY | AT_ONCE | getattr(os, "O_NOFOLLOW", 0)
        self.descriptor = os.open(self.path, flags, 0o666)
        status = os.fstat(self.descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1:
            os.close(self.descriptor)
            raise OSError(errno.EINVAL, "the journal must be a regular file without other links", str(self.path))
        # Go on with the number after that of the last whole line.
        os.lseek(self.descriptor, max(0, status.st_size - TAIL), os.SEEK_SET)
        events, self.is_torn = parse_journal(os.read(self.descriptor, TAIL))
        self.next = events[-1]["n"] + 1 if events else 1

    def write(self, event: str, **facts: Any) -> None:
        """Append an event; after a torn line, on a line of its own."""
        created = datetime.now(UTC).isoformat(timespec="seconds")
        line = json.dumps({"n": self.next, "event": event, "time": created, **facts}) + "\n"
        if self.is_torn:
            line = "\n" + line
        try:
            write_all(self.descriptor, line.encode())
        except OSError as error:
            raise write_fault(self.path, error) from error
        self.check_place()
        self.next += 1
        self.is_torn = False

    def begin(self, cases: int, job: str = "") -> None:
        """Append the beginning of a run: its process, its number of cases, and the job that it is a part of."""
        self.write("begin", cases=cases, pid=os.getpid(), host=platform.node(), job=job)

    def check_place(self) -> None:
        """EnvironmentFault if the journal is not in its folder any more: the output folder was moved or replaced.

        Results that follow would go into another folder.
        """
        try:
            if os.path.samestat(self.path.lstat(), os.fstat(self.descriptor)):
                return
        except (FileNotFoundError, NotADirectoryError):
            pass
        except OSError as error:
            raise write_fault(self.path, error) from error
        reason = "was moved, replaced or removed during the run"
        remedy = "put it back and run the command again: finished cases are kept"
        raise EnvironmentFault(self.path.parent, reason, remedy)

    def close(self) -> None:
        """Close the file."""
        os.close(self.descriptor)


def lock_holder(state: Path) -> str:
    """The process that holds a state folder's lock, as its journal says."""
    begin = _unfinished_begin(state)
    return f"process {begin['pid']} on {begin['host']}" if begin else "another run"


def is_of_this_machine(state: Path) -> bool:
    """True if the unfinished run of a state folder is known to be on this machine."""
    begin = _unfinished_begin(state)
    return begin is not None and begin["host"] == platform.node()


def _unfinished_begin(state: Path) -> Event | None:
    """The `begin` event of a run that has not ended; None if the last run has, or the journal cannot be read."""
    last: Event | None = None
    with suppress(OSError):
        for event in read_events(state):
            if event["event"] in ("begin", "end"):
                last = event
    return last if last and last["event"] == "begin" else None


def read_events(state: Path) -> Iterator[Event]:
    """The valid lines of a state folder's journal, one at a time; OSError if it cannot be read."""
    return (event for event, _ in read_lines(state))


def read_lines(state: Path, start: int = 0) -> Iterator[tuple[Event, int]]:
    """The events from a byte on, each with the byte at which the next line begins; none without a journal."""
    try:
        file = open_regular(state / JOURNAL)
    except FileNotFoundError:
        return
    with file:
        if os.fstat(file.fileno()).st_size > LARGEST:
            raise OSError(errno.EFBIG, "too large", str(state / JOURNAL))
        file.seek(start)
        while line := file.readline(LONGEST_LINE):
            start += len(line)
            if event := _parse_event(line.decode(errors="replace")):
                yield event, start


def parse_journal(data: bytes) -> tuple[list[Event], bool]:
    """The valid events of a journal, and True if its last line is torn."""
    events = [_parse_event(line) for line in data.decode(errors="replace").split("\n")]
    is_torn = bool(data) and not data.endswith(b"\n")
    return [event for event in events if event], is_torn


def _parse_event(line: str) -> Event | None:
    """The event of a line; None if the line is torn or not valid."""
    try:
        event = json.loads(line)
        entries = {"n": int, **EVENTS[event["event"]]}
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    for key, kind in entries.items():
        value = event.get(key)
        if not isinstance(value, kind):
            return None
        if isinstance(value, NUMBER) and not 0 <= value < NUMBER_LIMIT:
            return None
    return event
