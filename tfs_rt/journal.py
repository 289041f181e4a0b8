"""Whose an output folder is while a run writes to it, and what happened there, line by line.

    OUTPUT/.tfs-rt/lock             held while a run goes on; the system frees it if that is killed
    OUTPUT/.tfs-rt/journal.jsonl    one line an event, in order; a torn last line is the mark of a kill

The journal informs; what counts as done is said by the sidecars alone.
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from tfs_rt.errors import EnvironmentFault

STATE, LOCK, JOURNAL = ".tfs-rt", "lock", "journal.jsonl"
Event = dict[str, Any]


class Journal:
    """Events of a run, appended to those of earlier ones in the same folder."""

    def __init__(self, path: Path) -> None:
        self.path = path
        events, self.torn = read_events(path)
        self.next = events[-1]["n"] + 1 if events else 1
        self.descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)

    def write(self, event: str, **facts: Any) -> None:
        """Append a line; after a torn one, on a line of its own."""
        created = datetime.now(UTC).isoformat(timespec="seconds")
        line = json.dumps({"n": self.next, "event": event, "time": created, **facts}) + "\n"
        try:
            os.write(self.descriptor, ("\n" * self.torn + line).encode())
        except OSError as error:
            remedy = "free space or choose another --output"
            raise EnvironmentFault(self.path, f"cannot be written ({error.strerror})", remedy) from error
        self.next, self.torn = self.next + 1, False


def journal_path(folder: Path) -> Path:
    """Where a folder's journal lies."""
    return folder / STATE / JOURNAL


def read_events(path: Path) -> tuple[list[Event], bool]:
    """The whole lines of a journal, and whether its last line is torn."""
    try:
        text = path.read_bytes().decode(errors="replace")
    except FileNotFoundError:
        return [], False
    return [event for line in text.splitlines() if (event := _event(line))], bool(text) and not text.endswith("\n")


def _event(line: str) -> Event | None:
    try:
        event = json.loads(line)
        return event if isinstance(event["n"], int) and isinstance(event["event"], str) else None
    except (ValueError, KeyError, TypeError):
        return None


@contextmanager
def claimed(folder: Path) -> Iterator[Journal]:
    """The folder's journal, while no other run may write to the folder; EnvironmentFault names who does."""
    state = folder / STATE
    if state.is_symlink():
        raise EnvironmentFault(state, "is a link", "remove it, or choose another --output")
    lock = FileLock(state / LOCK, timeout=0)
    try:
        state.mkdir(exist_ok=True)
        lock.acquire()
        journal = Journal(state / JOURNAL)
    except Timeout as error:
        raise EnvironmentFault(
            folder, f"is written to by {holder(folder)}", "wait, or choose another --output"
        ) from error
    except (OSError, NotImplementedError) as error:
        reason = f"cannot be locked ({getattr(error, 'strerror', None) or error})"
        raise EnvironmentFault(state, reason, "choose another --output, on a local disk") from error
    try:
        yield journal
    finally:
        os.close(journal.descriptor)
        lock.release()


def is_claimed(folder: Path) -> bool:
    """Whether a run goes on in a folder."""
    if not (folder / STATE / LOCK).exists():
        return False
    try:
        with FileLock(folder / STATE / LOCK, timeout=0):
            return False
    except Timeout:
        return True


def holder(folder: Path) -> str:
    """Who began the last run in a folder, as its journal says."""
    events, _ = read_events(journal_path(folder))
    begun = next((event for event in reversed(events) if event["event"] == "begin"), {})
    return f"process {begun.get('pid', '(unknown)')} on {begun.get('host', 'this machine')}"


def begin(journal: Journal, cases: int) -> None:
    """Note who works here on how many cases."""
    journal.write("begin", cases=cases, pid=os.getpid(), host=platform.node())
