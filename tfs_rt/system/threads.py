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
LIBRARIES = (
    *("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"),
    "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS",
)


def processor_count() -> int:
    """Processors that this process may use: those it is bound to, or fewer by the CPU quota of its control groups."""
    bound = _affinity()
    quota = cpu_quota()
    return bound if quota == inf else max(1, min(bound, ceil(quota)))


def thread_count(threads: int | None = None) -> int:
    """Threads to compute with: the argument, or TFS_RT_THREADS, or one for each processor."""
    return threads or _from_environment() or processor_count()


def library_threads(threads: int | None = None) -> int:
    """Threads for a library; 0 lets it choose, where nothing limits this process."""
    requested = threads or _from_environment()
    if requested:
        return requested
    count = processor_count()
    return count if count < (os.cpu_count() or 1) else 0


def limit_libraries(threads: int | None = None) -> None:
    """Limit the threads of numerical libraries, unless the user has done so. Call it before they are loaded."""
    count = library_threads(threads)
    for name in LIBRARIES if count else ():
        os.environ.setdefault(name, str(count))


def try_threads(threads: int | None = None) -> None:
    """Start as many threads as numerical libraries will, and end them. Call it before they are loaded.

    LimitReached if so many cannot be started: OpenBLAS would raise SIGINT, as if the user had interrupted the command.
    """
    # The threads wait until all have been started.
    end = Event()
    try:
        for _ in range(thread_count(threads)):
            Thread(target=end.wait, daemon=True).start()
    except RuntimeError as error:
        raise limit_fault(error) or error from None
    finally:
        end.set()


def _affinity() -> int:
    """Processors that this process is bound to; all of them where the system does not tell."""
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
