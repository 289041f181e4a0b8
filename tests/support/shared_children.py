"""Sandboxed children that one run after another uses.

The program starts a child for each run, which takes 0.3 seconds of processor time. A test process keeps a child that
has ended its work instead, for the next run of the same command, environment and limit.
"""

from __future__ import annotations

import os
import sys
import threading

import pytest

from tfs_rt.sandbox import parent
from tfs_rt.sandbox.process import Child, StartingChild, child_environment

Key = tuple[object, ...]


class SharedChild(Child):
    """A child that waits for the next run when it is closed without need to kill it."""

    key: Key

    def close(self, *, kill: bool = False) -> None:
        """Keep the child if it can serve on; else end it."""
        main = threading.main_thread()
        if kill or self._starter is not main or self.connection.has_ended() or self.calls > parent.CALLS // 2:
            super().close(kill=kill)
            return
        self.calls = 0
        idle.setdefault(self.key, []).append(self)


class SharedStart(StartingChild):
    """A start that takes a waiting child instead, if there is one."""

    def __init__(self, command: list[str], memory: int) -> None:
        self.key: Key = (*command, memory, *sys.path, *sorted(child_environment(os.environ).items()))
        waiting = idle.get(self.key)
        self.waiting = waiting.pop() if waiting else None
        if self.waiting:
            self.connection = self.waiting.connection
        else:
            super().__init__(command, memory)

    def _wait(self) -> Child:
        if self.waiting:
            return self.waiting
        child = super()._wait()
        shared = SharedChild(child.connection, self._starter, child.parts, child.memory)
        shared.key = self.key
        return shared

    def close(self, *, kill: bool = True) -> None:
        """End the child, or let it wait on if it was waiting."""
        if self.waiting:
            self.waiting.close()
        else:
            super().close(kill=kill)


idle: dict[Key, list[SharedChild]] = {}
os.register_at_fork(after_in_child=idle.clear)  # its pipes belong to the parent


def share_children(patch: pytest.MonkeyPatch) -> None:
    """Let the runs of a test share the children of this process."""
    patch.setattr(parent, "StartingChild", SharedStart)
