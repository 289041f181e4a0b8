"""Functions compiled by numba. They are cached on disk if numba finds a folder that it can write to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from numba import njit

# Shown if no folder for the cache was found.
NOTICE = "compiled anew in each run, because there is no cache (set NUMBA_CACHE_DIR to a folder that can be written)"

# Names of the functions that are not cached.
uncached: set[str] = set()


def compiled(*, error_model: Literal["python", "numpy"] = "python") -> Callable[[Callable[..., Any]], Any]:
    """Compile a function by numba, to run without Python's global lock; cached on disk if possible."""

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
