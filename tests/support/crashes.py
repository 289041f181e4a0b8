"""Runs that are killed at a chosen operation of the file system."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Generator
from typing import Any

from tfs_rt.batch.run import Run

OPERATIONS = ("open", "write", "fsync", "replace", "unlink", "mkdir", "rmdir")  # functions of os that change files
VARYING = ("seconds", "created", "sidecar_sha256", "kept")  # keys that differ between two runs

Operation = tuple[str, tuple, Any]  # name, arguments, result
Act = Callable[[int, str, tuple], None]  # number, name, arguments


@contextlib.contextmanager
def watch_operations(act: Act = lambda *_: None) -> Generator[list[Operation]]:
    """Collect the operations inside the block; `act` is called before each with its number, name and arguments."""
    plain: dict[str, Callable] = {name: getattr(os, name) for name in OPERATIONS}
    seen: list[Operation] = []
    begun = 0

    def wrapped(name: str) -> Callable:
        def call(*arguments: Any, **options: Any) -> Any:
            nonlocal begun
            begun += 1
            act(begun, name, arguments)
            result = plain[name](*arguments, **options)
            seen.append((name, arguments, result))
            return result

        return call

    try:
        for name in OPERATIONS:
            setattr(os, name, wrapped(name))
        yield seen
    finally:
        for name, function in plain.items():
            setattr(os, name, function)


class StopError(BaseException):
    """The process ends here."""


@contextlib.contextmanager
def stop_at(at: int) -> Generator[None]:
    """Stop the block before its `at`-th operation, or in the middle of it if it writes; nothing later has an effect.

    This is a kill without a process of its own: what would clean up after an exception fails as well.
    """

    def act(number: int, name: str, arguments: tuple) -> None:
        if number == at and name == "write":
            half = bytes(arguments[1])[: len(arguments[1]) // 2]
            os.pwrite(arguments[0], half, os.fstat(arguments[0]).st_size)
        if number >= at:
            raise StopError

    with contextlib.suppress(StopError), watch_operations(act):
        yield


def run_and_kill(run: Run, at: int) -> None:
    """Run in a child process that is killed before its `at`-th operation, or in the middle of it if it writes."""

    def act(number: int, name: str, arguments: tuple) -> None:
        if number == at:
            if name == "write":
                half = bytes(arguments[1])[: len(arguments[1]) // 2]
                os.pwrite(arguments[0], half, os.fstat(arguments[0]).st_size)
            os.kill(os.getpid(), signal.SIGKILL)

    child = os.fork()
    if child == 0:
        with watch_operations(act):
            run.fuse()
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status)
