"""SimpleITK, imported when it is used: the extra `[register]`."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from tfs_rt.optional import import_optional


def simpleitk() -> Any:
    """The module SimpleITK; EnvironmentFault if it is not installed."""
    return import_optional("SimpleITK", "aligning volumes", "pip install 'tfs-rt[register]'")


@contextmanager
def one_thread() -> Generator[None]:
    """Let ITK's objects that are made in the block have one thread.

    A registration's own number of threads does not reach its metric, whose sums depend on it.
    """
    objects = simpleitk().ProcessObject
    before = objects.GetGlobalDefaultNumberOfThreads()
    objects.SetGlobalDefaultNumberOfThreads(1)
    try:
        yield
    finally:
        objects.SetGlobalDefaultNumberOfThreads(before)
