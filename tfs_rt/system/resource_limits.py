"""Limits of this process on threads, processes, open files and memory, and the fault for a limit that is reached."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from math import inf

try:
    import resource
except ImportError:  # Windows has none
    resource = None

from tfs_rt.errors import LimitReached
from tfs_rt.system.cgroups import process_limit

# Messages of Python, libraries and libc if no thread can be started.
NO_THREAD = ("can't start new thread", "pthread_create", "Resource temporarily unavailable")
# Messages of the loader of libraries, libc and C++ if address space runs out.
NO_MEMORY = ("failed to map segment", "cannot enable executable stack", "annot allocate memory", "bad_alloc")
FEWER_THREADS = (
    "raise the limit on processes and threads (ulimit -u, or pids.max of the container), "
    "or use fewer threads: TFS_RT_THREADS=1"
)
MORE_MEMORY = "free memory, or raise the limit on it (ulimit -v, or that of the container)"
REMEDIES = {
    errno.EMFILE: "raise the limit on open files (ulimit -n)",
    errno.ENFILE: "close programs: the machine has too many open files",
}


def limit_fault(error: BaseException) -> LimitReached | None:
    """The fault for an error whose message names a limit; None for any other error.

    A MemoryError is not one: a single case may need more memory than there is.
    """
    text = str(error)
    if any(words in text for words in NO_MEMORY):
        return memory_fault()
    if any(words in text for words in NO_THREAD):
        limits = limits_in_force() or "this process has no such limit"
        return LimitReached("threads", f"no more threads or processes can be started ({limits})", FEWER_THREADS)
    if isinstance(error, OSError) and (remedy := REMEDIES.get(error.errno or 0)):
        return LimitReached("this machine", f"has reached a limit ({error.strerror or error})", remedy)
    return None


def memory_fault() -> LimitReached:
    """The fault for a command that has run out of memory."""
    limits = ", ".join(memory_limits()) or "this process has no such limit"
    return LimitReached("memory", f"no more memory is available ({limits})", MORE_MEMORY)


def limits_in_force() -> str:
    """The limits on processes and memory, for a message; empty if there are none."""
    return ", ".join([*_process_limits(), *memory_limits()])


def memory_limits() -> Iterator[str]:
    """The limits on memory, each for a message."""
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
    if resource is None:
        return None
    number, _ = resource.getrlimit(getattr(resource, name))
    return None if number == resource.RLIM_INFINITY else number
