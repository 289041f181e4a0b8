"""Signals that ask a command to end: raised as an exception, and remembered in case a library swallows it."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

received: list[int] = []
holds: list[None] = []


class Signalled(BaseException):
    """A signal came; this passes every handler of faults, and what is cleaned up is."""


@contextmanager
def raising() -> Iterator[None]:
    """SIGINT and SIGTERM raise Signalled within this block."""
    received.clear()
    before = {signum: signal.signal(signum, _receive) for signum in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        received.clear()
        for signum, handler in before.items():
            signal.signal(signum, handler)


@contextmanager
def held() -> Iterator[None]:
    """Within this block a signal is only remembered, for a library that cannot pass exceptions on; its end raises."""
    holds.append(None)
    try:
        yield
    finally:
        holds.pop()
    check()


def check() -> None:
    """Raise Signalled if a signal came and was swallowed: call it before what cannot be taken back."""
    if received:
        raise Signalled


def _receive(signum: int, frame: FrameType | None) -> None:
    received.append(signum)
    if not holds:
        raise Signalled
