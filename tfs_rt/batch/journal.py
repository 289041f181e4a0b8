"""What happened in an output folder, line by line.

    OUTPUT/.tfs-rt/journal.jsonl                   one line an event, in order; a torn last line is the mark of a kill
    OUTPUT/.tfs-rt/shards/2-of-8/journal.jsonl     likewise, of a shard

The journal informs; what counts as done is said by the sidecars alone.
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
from tfs_rt.system.files import AT_ONCE, BINARY, open_regular, write_all
from tfs_rt.system.os_errors import write_fault

JOURNAL = "journal.jsonl"
TAIL = 2**16  # bytes, in which the last whole line is found
LIMIT = 2**30
LONGEST = 2**20  # bytes of a line, which names a case, however long its id
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

    def __init__(self, state: Path) -> None:
        self.path = path = state / JOURNAL
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
            raise write_fault(self.path, error) from error
        self.check_place()
        self.next, self.torn = self.next + 1, False

    def begin(self, cases: int, job: str = "") -> None:
        """Note who works here on how many cases, and of which job they are a part."""
        self.write("begin", cases=cases, pid=os.getpid(), host=platform.node(), job=job)

    def check_place(self) -> None:
        """EnvironmentFault if the journal is not in its folder any more: the output folder was exchanged for another.

        Results that follow would go into that other folder.
        """
        try:
            if os.path.samestat(self.path.lstat(), os.fstat(self.descriptor)):
                return
        except (FileNotFoundError, NotADirectoryError):
            pass
        except OSError as error:
            raise write_fault(self.path, error) from error
        reason = "was moved, replaced or removed during the run"
        remedy = "put it back and run the command again: what is done is kept"
        raise EnvironmentFault(self.path.parent, reason, remedy)

    def close(self) -> None:
        """No line more."""
        os.close(self.descriptor)


def holder(state: Path) -> str:
    """Who began the run that goes on in a state folder, as its journal says."""
    begun = _begun(state)
    return f"process {begun['pid']} on {begun['host']}" if begun else "another run"


def is_of_this_machine(state: Path) -> bool:
    """True if the running run of a state folder is known to be on this machine."""
    begun = _begun(state)
    return begun is not None and begun["host"] == platform.node()


def _begun(state: Path) -> Event | None:
    """The beginning of the run that goes on, as the journal says; None if it does not say."""
    last: Event | None = None
    with suppress(OSError):
        for event in read_events(state):
            if event["event"] in ("begin", "end"):
                last = event
    return last if last and last["event"] == "begin" else None


def read_events(state: Path) -> Iterator[Event]:
    """The whole lines of a state folder's journal, one at a time; OSError if it cannot be read."""
    return (event for event, _ in read_lines(state))


def read_lines(state: Path, start: int = 0) -> Iterator[tuple[Event, int]]:
    """As `read_events` from a byte on, each with the byte at which the next line begins; none without a journal."""
    try:
        file = open_regular(state / JOURNAL)
    except FileNotFoundError:
        return
    with file:
        if os.fstat(file.fileno()).st_size > LIMIT:
            raise OSError(errno.EFBIG, "too large", str(state / JOURNAL))
        file.seek(start)
        while line := file.readline(LONGEST):
            start += len(line)
            if event := _event(line.decode(errors="replace")):
                yield event, start


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
