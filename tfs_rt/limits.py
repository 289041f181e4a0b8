"""What a child process gives up before it parses foreign bytes: memory, time, files to write, programs, the network.

The limits on resources are POSIX's. Beyond them, where the system permits (Linux): a network of its own, without
devices (unshare), and Landlock, by which nothing may be written, made, removed or executed (kernel 5.13 or newer).
"""

from __future__ import annotations

import ctypes
import math
import os
import resource
import signal
import struct
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

FILES = 64
GRACE = 1  # seconds after which a child ends itself, if its parent has not ended it
NEW_USER, NEW_NETWORK = 0x10000000, 0x40000000  # of unshare(2)
NO_NEW_PRIVILEGES = 38  # of prctl(2)
CREATE_RULESET, RESTRICT_SELF = 444, 446  # Landlock's system calls, the same on all of Linux's machines but Alpha
READ = 1 << 2 | 1 << 3  # of Landlock's rights on files: to read files and folders
RIGHTS = {1: 13, 2: 14, 3: 15, 4: 15, 5: 16}  # how many rights on files an ABI knows; later ones know no more
CONNECT, APART = 0b11, 0b11  # Landlock's rights on TCP (ABI 4), and its scopes: abstract sockets and signals (ABI 6)


def give_up(memory: int) -> list[str]:
    """Give up what the system permits, for good, keeping `memory` bytes beyond what is mapped; returns what held."""
    _lower(resource.RLIMIT_CORE, 0)
    _lower(resource.RLIMIT_FSIZE, 0)
    _lower(resource.RLIMIT_NOFILE, FILES)
    held = ["no network"] if _leave_network() else []
    if _lock_files():
        held.append("no files")
    if _lower(resource.RLIMIT_AS, _mapped() + memory):  # last: what is above maps memory
        held.append("memory")
    return held


@contextmanager
def within(seconds: float, cpu_seconds: float) -> Iterator[None]:
    """End this process unless the block takes less than so many seconds, of the clock and of processors."""
    signal.setitimer(signal.ITIMER_REAL, seconds + GRACE)
    usage, (_, hard) = resource.getrusage(resource.RUSAGE_SELF), resource.getrlimit(resource.RLIMIT_CPU)
    soft = math.ceil(usage.ru_utime + usage.ru_stime + cpu_seconds + GRACE)
    resource.setrlimit(resource.RLIMIT_CPU, (soft if hard == resource.RLIM_INFINITY else min(soft, hard), hard))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _lower(kind: int, value: int) -> bool:
    _, hard = resource.getrlimit(kind)
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    with suppress(ValueError, OSError):  # a system that has no such limit, or maps more than it from the start
        resource.setrlimit(kind, (value, value))
        return True
    return False


def _mapped() -> int:
    """Bytes of address space in use."""
    with suppress(OSError):
        return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * resource.getpagesize()
    return 0


def _leave_network() -> bool:
    if sys.platform != "linux":
        return False
    libc = ctypes.CDLL(None)
    return libc.unshare(NEW_NETWORK) == 0 or libc.unshare(NEW_USER | NEW_NETWORK) == 0  # root's way, and anyone's


def _lock_files() -> bool:
    if sys.platform != "linux":
        return False
    libc = ctypes.CDLL(None)
    version = libc.syscall(CREATE_RULESET, None, ctypes.c_size_t(0), 1)
    if version < 1:
        return False
    on_files = (1 << RIGHTS.get(version, 16)) - 1 & ~READ
    asked = struct.pack("=QQQ", on_files, CONNECT if version >= 4 else 0, APART if version >= 6 else 0)
    size = 24 if version >= 6 else 16 if version >= 4 else 8  # what an ABI takes
    ruleset = libc.syscall(CREATE_RULESET, asked, ctypes.c_size_t(size), 0)
    if ruleset < 0:
        return False
    locked = libc.prctl(NO_NEW_PRIVILEGES, 1, 0, 0, 0) == 0 and libc.syscall(RESTRICT_SELF, ruleset, 0) == 0
    os.close(ruleset)
    return locked
