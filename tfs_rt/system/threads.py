"""Number of threads to compute with."""

from __future__ import annotations

import os
from math import ceil, inf
from threading import Event, Thread

from tfs_rt.errors import UsageError
from tfs_rt.system.cgroups import cpu_quota
from tfs_rt.system.resource_limits import limit_fault

VARIABLE = "TFS_RT_THREADS"
MOST = 1024
LIBRARIES = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")


def processor_count() -> int:
    """Processors that this process may use: those it is bound to, or fewer by the CPU quota of its control groups."""
    quota = cpu_quota()
    bound = _bound()
    return bound if quota == inf else max(1, min(bound, ceil(quota)))


def thread_count(threads: int | None = None) -> int:
    """Threads to compute with: as many as asked for, by TFS_RT_THREADS or by the argument, or one a processor."""
    return threads or _from_environment() or processor_count()


def library_threads(threads: int | None = None) -> int:
    """Threads for a library that can choose their number itself, which 0 leaves to it: nothing limits them."""
    asked = threads or _from_environment()
    if asked:
        return asked
    count = processor_count()
    return count if count < (os.cpu_count() or 1) else 0


def limit_libraries(threads: int | None = None) -> None:
    """Before numerical libraries are loaded: limit their threads, unless the user has done so."""
    count = library_threads(threads)
    for name in LIBRARIES if count else ():
        os.environ.setdefault(name, str(count))


def try_threads(threads: int | None = None) -> None:
    """Before numerical libraries are loaded: start as many threads as they will, and end them.

    LimitReached if so many cannot be started: OpenBLAS would raise SIGINT, as if the user had interrupted the command.
    """
    end = Event()
    try:
        for _ in range(thread_count(threads)):
            Thread(target=end.wait, daemon=True).start()
    except RuntimeError as error:
        raise limit_fault(error) or error from None
    finally:
        end.set()


def _bound() -> int:
    """Processors that this process is bound to; all of them where the system does not say."""
    if hasattr(os, "sched_getaffinity"):
        try:
            return len(os.sched_getaffinity(0))
        except OSError:  # a sandbox denies the call
            pass
    return os.cpu_count() or 1


def _from_environment() -> int:
    """The number in TFS_RT_THREADS; 0 if it is not set."""
    text = os.environ.get(VARIABLE, "").strip()
    if not text:
        return 0
    if not (text.isascii() and text.isdecimal() and 1 <= int(text) <= MOST):
        raise UsageError(VARIABLE, f"{text!r} is not a number of threads", f"set it to 1 to {MOST}, or unset it")
    return int(text)
