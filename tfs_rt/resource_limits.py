"""Limits of this process on threads, processes, open files and memory, and the fault of a limit that is reached."""

from __future__ import annotations

import errno
import sys
from collections.abc import Iterator
from math import inf

from tfs_rt.cgroups import process_limit
from tfs_rt.errors import EnvironmentFault, LimitReached

REFUSALS = ("can't start new thread", "pthread_create", "Resource temporarily unavailable")  # Python, libraries, libc
FEWER_THREADS = (
    "raise the limit on processes and threads (ulimit -u, or pids.max of the container), "
    "or use fewer threads: TFS_RT_THREADS=1"
)
FREE_MEMORY = "free memory, or raise its limit (ulimit -v, or that of the container)"
REMEDIES = {
    errno.EMFILE: "raise the limit on open files (ulimit -n)",
    errno.ENFILE: "close programs: the machine has too many open files",
    errno.ENOMEM: FREE_MEMORY,
}


def limit_fault(error: BaseException) -> LimitReached | None:
    """The fault of an error that says that a limit is reached; None for any other error.

    A MemoryError is one only where a limit on memory is set: without, one case may be too large for any machine.
    """
    if isinstance(error, MemoryError):
        limits = ", ".join(memory_limits())
        return LimitReached("memory", f"no more can be had ({limits})", "raise that limit") if limits else None
    if any(words in str(error) for words in REFUSALS):
        limits = limits_in_force() or "no limit of this process shows"
        return LimitReached("threads", f"no more threads or processes can be started ({limits})", FEWER_THREADS)
    if isinstance(error, OSError) and (remedy := REMEDIES.get(error.errno or 0)):
        return LimitReached("this machine", f"has reached a limit ({error.strerror or error})", remedy)
    return None


def memory_fault(error: MemoryError) -> EnvironmentFault:
    """The fault for a command that has run out of memory."""
    remedy = "end other programs, or use a machine with more memory"
    return limit_fault(error) or EnvironmentFault("memory", "this machine has no more", remedy)


def limits_in_force() -> str:
    """The limits on processes and memory, in words; empty if there are none."""
    return ", ".join([*_process_limits(), *memory_limits()])


def memory_limits() -> Iterator[str]:
    """The limits on memory, in words."""
    for option, name in (("-v", "RLIMIT_AS"), ("-d", "RLIMIT_DATA")):
        if (number := _soft_limit(name)) is not None:
            yield f"ulimit {option} is {number // 1024} kB"


def _process_limits() -> Iterator[str]:
    if (number := _soft_limit("RLIMIT_NPROC")) is not None:
        yield f"ulimit -u is {number}"
    group = process_limit()
    if group != inf:
        yield f"pids.max of its control group is {group}"


def _soft_limit(name: str) -> int | None:
    """The limit of a kind; None where there is none, as on Windows."""
    if sys.platform == "win32":
        return None
    import resource

    number, _ = resource.getrlimit(getattr(resource, name))
    return None if number == resource.RLIM_INFINITY else number
