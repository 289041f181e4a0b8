"""Rights that a child process gives up before it parses foreign bytes.

On POSIX: memory, time, files to write. On Linux, where the system permits: its capabilities, the network (a namespace
without devices), files (Landlock, kernel 5.13 or newer: nothing may be written, made, removed or executed), all but a
list of system calls (`tfs_rt.sandbox.seccomp`), and its life beyond its parent's.
"""

from __future__ import annotations

import ctypes
import math
import os
import resource
import signal
import struct
import sys
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

from tfs_rt.sandbox.parts import LANDLOCK, MEMORY, NETWORK, SECCOMP
from tfs_rt.sandbox.seccomp import NO_NEW_PRIVILEGES, restrict_calls

FILES = 64
# Seconds after which a child ends itself, if its parent has not ended it.
GRACE = 1
# Flags of unshare(2).
NEW_USER = 0x10000000
NEW_NETWORK = 0x40000000
PARENT_DEATH_SIGNAL = 1  # of prctl(2)
# For capset(2): root keeps its right to read files.
CAPABILITY_VERSION = 0x20080522
READ_ANY_FILE = 1 << 2
# Landlock's system calls: the same numbers on every architecture but Alpha.
CREATE_RULESET = 444
RESTRICT_SELF = 446
READ = 1 << 2 | 1 << 3  # of Landlock's rights on files: to read files and folders
# Number of rights on files that an ABI knows; later ones know no more.
RIGHTS = {1: 13, 2: 14, 3: 15, 4: 15, 5: 16}
# Landlock's rights on TCP (ABI 4), and its scopes: abstract sockets and signals (ABI 6).
CONNECT = 0b11
APART = 0b11


def restrict_process(memory: int) -> tuple[list[str], int]:
    """Give up all rights that the system lets it, for good: the parts of the sandbox that hold, and the memory left.

    That is `memory` bytes beyond what is mapped, or less where this process was given less.
    """
    # Files, network, capabilities and the parent's death.
    for kind, value in ((resource.RLIMIT_CORE, 0), (resource.RLIMIT_FSIZE, 0), (resource.RLIMIT_NOFILE, FILES)):
        _lower(kind, value)
    held = [NETWORK] if leave_network() else []
    drop_capabilities()
    die_with_parent()
    if restrict_files():
        held.append(LANDLOCK)
    _lower(resource.RLIMIT_NPROC, 0)
    # Memory comes after the steps above, which map some.
    mapped = _mapped_bytes()
    limit = _lower(resource.RLIMIT_AS, mapped + memory)
    if limit is not None:
        held.append(MEMORY)
    # System calls come last: the filter would forbid the steps above.
    if restrict_calls():
        held.append(SECCOMP)
    return held, memory if limit is None else limit - mapped


@contextmanager
def time_limit(seconds: float, cpu_seconds: float) -> Generator[None]:
    """End this process if the block takes longer than so many seconds, of the clock or of processors."""
    signal.setitimer(signal.ITIMER_REAL, seconds + GRACE)
    usage = resource.getrusage(resource.RUSAGE_SELF)
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    soft = math.ceil(usage.ru_utime + usage.ru_stime + cpu_seconds + GRACE)
    resource.setrlimit(resource.RLIMIT_CPU, (soft if hard == resource.RLIM_INFINITY else min(soft, hard), hard))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def leave_network() -> bool:
    """Move this process to a network namespace without devices; False where that is not permitted.

    A new user namespace would take away the right to read any file, so a process that has this right makes none.
    """
    if sys.platform != "linux":
        return False
    libc = ctypes.CDLL(None)
    if libc.unshare(NEW_NETWORK) == 0:
        return True
    return not _is_capable() and libc.unshare(NEW_USER | NEW_NETWORK) == 0


def drop_capabilities() -> None:
    """Give up root's rights, and those that a new namespace brings, except for reading any file."""
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None, use_errno=True)
    header = struct.pack("=Ii", CAPABILITY_VERSION, 0)
    kept = READ_ANY_FILE if _is_capable() else 0
    if libc.capset(header, struct.pack("=6I", kept, kept, 0, 0, 0, 0)) != 0:
        raise OSError(ctypes.get_errno(), "capabilities cannot be dropped")


def die_with_parent() -> None:
    """Have this process killed when the thread that started it ends.

    Call it after all changes of rights, which would undo it. A parent that ended before sends no request: its pipe has
    ended too.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PARENT_DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0)


def restrict_files() -> bool:
    """Forbid all use of files but reading, by Landlock; False where that is not possible."""
    if sys.platform != "linux":
        return False
    libc = ctypes.CDLL(None)
    version = libc.syscall(CREATE_RULESET, None, ctypes.c_size_t(0), 1)
    if version < 1:
        return False
    rules = ruleset(version)
    handle = libc.syscall(CREATE_RULESET, rules, ctypes.c_size_t(len(rules)), 0)
    if handle < 0:
        return False
    locked = libc.prctl(NO_NEW_PRIVILEGES, 1, 0, 0, 0) == 0 and libc.syscall(RESTRICT_SELF, handle, 0) == 0
    os.close(handle)
    return locked


def ruleset(version: int) -> bytes:
    """Landlock's struct ruleset_attr of an ABI: every right that it knows is given up, except for reading."""
    on_files = (1 << RIGHTS.get(version, 16)) - 1 & ~READ
    asked = struct.pack("=QQQ", on_files, CONNECT if version >= 4 else 0, APART if version >= 6 else 0)
    return asked[: 24 if version >= 6 else 16 if version >= 4 else 8]


def _is_capable() -> bool:
    """True if this process may read any file, as root may."""
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
            if line.startswith("CapPrm:"):
                return bool(int(line.split()[1], 16) & READ_ANY_FILE)
    return False


def _lower(kind: int, value: int) -> int | None:
    """Lower a limit and return it; None where the system has no such limit."""
    wanted = min([value, *(limit for limit in resource.getrlimit(kind) if limit != resource.RLIM_INFINITY)])
    with suppress(ValueError, OSError):
        # A system may have no such limit, or map more than it from the start.
        resource.setrlimit(kind, (wanted, wanted))
        return wanted
    return None


def _mapped_bytes() -> int:
    """Bytes of address space in use."""
    with suppress(OSError):
        return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * resource.getpagesize()
    return 0
