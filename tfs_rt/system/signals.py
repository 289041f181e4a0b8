"""Signals that ask a command to end: raised as an exception, and remembered in case a library swallows it."""

from __future__ import annotations

import signal
from collections.abc import Generator
from contextlib import contextmanager
from types import FrameType

received: list[int] = []
delays: list[None] = []  # one entry for each `delay` block that is open


class Signalled(BaseException):
    """A signal was received. It passes every `except Exception`, but `finally` blocks still clean up."""


@contextmanager
def raise_as_exceptions() -> Generator[None]:
    """Within this block SIGINT and SIGTERM raise Signalled."""
    received.clear()
    before = {signum: signal.signal(signum, _receive) for signum in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        received.clear()
        for signum, handler in before.items():
            signal.signal(signum, handler)


@contextmanager
def delay() -> Generator[None]:
    """Delay Signalled to the end of this block, for a library that cannot pass exceptions on."""
    delays.append(None)
    try:
        yield
    finally:
        delays.pop()
    check()


def check() -> None:
    """Raise Signalled if a signal was received and swallowed: call this before steps that cannot be undone."""
    if received:
        raise Signalled


def _receive(signum: int, frame: FrameType | None) -> None:
    received.append(signum)
    if not delays:
        raise Signalled
