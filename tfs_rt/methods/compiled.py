"""Functions that numba compiles, kept on disk between runs where a folder for that can be written."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from numba import njit

NOTICE = "compiled anew in each run, for nothing can be kept (set NUMBA_CACHE_DIR to a folder that can be written)"
uncached: set[str] = set()  # names of functions for which numba found no place


def compiled(*, error_model: Literal["python", "numpy"] = "python") -> Callable[[Callable[..., Any]], Any]:
    """Compile a function by numba, to run without Python's lock; cached if numba finds a place for it."""

    def decorate(function: Callable[..., Any]) -> Any:
        try:
            return njit(cache=True, nogil=True, error_model=error_model)(function)
        except RuntimeError as error:
            if "cannot cache" not in str(error):
                raise
        uncached.add(function.__name__)
        return njit(nogil=True, error_model=error_model)(function)

    return decorate


def cache_notice() -> str:
    """The notice for the user if compiled code cannot be cached; empty otherwise."""
    return NOTICE if uncached else ""
