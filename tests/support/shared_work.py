"""Work that each command does anew, done once for all commands that the tests call in one process.

* A sandboxed child takes 0.3 seconds of processor time to start. A child that has ended its work is kept, for the next
  run of the same command, environment and limit.
* A shipped model takes 0.2 seconds to be checked, loaded and tried out.
* Typer's command takes 0.06 seconds to be made of all functions' signatures.

Every test shares one more: three images take 10 milliseconds to be tried at all shifts and turns, and most cases of the
tests are the same three images.
"""

from __future__ import annotations

import hashlib
import os
import sys
import threading
from collections.abc import Callable, Sequence
from functools import cache
from importlib.util import find_spec

import pytest
import typer
from typer.main import get_command

from support.paths import ROOT
from tfs_rt.backends.host import HostEngine
from tfs_rt.cases.registration import Displacement, displacements
from tfs_rt.cli import app
from tfs_rt.images import RGB
from tfs_rt.models.bundle import Bundle, load_bundle
from tfs_rt.sandbox import parent
from tfs_rt.sandbox.process import Child, StartingChild, child_environment

Key = tuple[object, ...]


class SharedChild(Child):
    """A child that waits for the next run when it is closed without need to kill it."""

    key: Key
    served = 0  # requests of earlier runs

    def close(self, *, kill: bool = False) -> None:
        """Keep the child if it can serve on; else end it."""
        self.served += self.calls
        main = threading.main_thread()
        if kill or self._starter is not main or self.connection.has_ended() or self.served > parent.CALLS:
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


def share_work(patch: pytest.MonkeyPatch) -> None:
    """Let the commands that a test calls share children, models and Typer's command."""
    patch.setattr(parent, "StartingChild", SharedStart)
    patch.setattr("typer.main.get_command", typer_command)
    if find_spec("llvmlite"):
        real_load()
        patch.setattr("tfs_rt.backends.winograd.backend.load", load)


def share_command() -> None:
    """Make Typer's command now, for this process and those that it forks."""
    pytest.MonkeyPatch().setattr("typer.main.get_command", typer_command)
    typer_command(app)


@cache
def real_load() -> Callable[[Bundle, int | None], HostEngine]:
    """The loader itself. First called before it is replaced."""
    from tfs_rt.backends.winograd import backend  # imports llvmlite

    return backend.load


def load(bundle: Bundle, threads: int | None = None) -> HostEngine:
    """`tfs_rt.backends.winograd.backend.load`, once for a shipped model."""
    if threads is None and bundle.path.parent == ROOT / "engines":
        return shipped_engine(bundle.path.name, os.environ.get("TFS_RT_THREADS"))
    return real_load()(bundle, threads)


@cache
def shipped_engine(name: str, threads: str | None) -> HostEngine:
    """A shipped model; `threads` is the variable that the loader reads."""
    del threads
    return real_load()(load_bundle(f"tfs-rt/{name}"), None)


@cache
def typer_command(app: typer.Typer) -> object:
    """The command of an application."""
    return get_command(app)


def share_registration(patch: pytest.MonkeyPatch) -> None:
    """Measure the registration of the same images once."""
    patch.setattr("tfs_rt.cases.guards.displacements", shared_displacements)


def shared_displacements(images: Sequence[RGB]) -> list[Displacement]:
    """`tfs_rt.cases.registration.displacements`, once for the same images."""
    key = tuple((image.shape, hashlib.sha256(image.tobytes()).digest()) for image in images)
    if key not in measured:
        measured[key] = displacements(images)
    return measured[key]


measured: dict[tuple[tuple[tuple[int, ...], bytes], ...], list[Displacement]] = {}
