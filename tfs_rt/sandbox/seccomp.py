"""A seccomp filter: the system calls that a process may make while it parses foreign bytes.

The list is what Python, NumPy and the decoders were seen to use, and calls of their kind: memory, reading, time, its
own limits and signals. Any other call fails with ENOSYS, as on a kernel without it, so that a library takes another way
or raises an error. Nothing kills the process. x32 calls and those of another machine are not on the list.

The filter is classic BPF (Linux, Documentation/userspace-api/seccomp_filter.rst), one short block per call.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
import sys
from typing import NamedTuple

# BPF instructions: load a word at an offset, two jumps, return a verdict.
LOAD = 0x20
EQUAL = 0x15
ANY_BIT = 0x45
RETURN = 0x06
ALLOW = 0x7FFF0000
ERRNO = 0x00050000
# Offsets in struct seccomp_data.
NUMBER = 0
MACHINE = 4
ARGUMENTS = 16
# Operation and flag of seccomp(2).
SET_FILTER = 1
ALL_THREADS = 1
NO_NEW_PRIVILEGES = 38  # of prctl(2)


class Machine(NamedTuple):
    """A kind of processor."""

    audit: int  # its AUDIT_ARCH
    seccomp: int  # number of seccomp(2)
    column: int  # in CALLS


MACHINES = {"x86_64": Machine(0xC000003E, 317, 0), "aarch64": Machine(0xC00000B7, 277, 1)}
CALLS: dict[str, tuple[int | None, int | None]] = {
    # Memory.
    "brk": (12, 214),
    "madvise": (28, 233),
    "mmap": (9, 222),
    "mprotect": (10, 226),
    "mremap": (25, 216),
    "munmap": (11, 215),
    # Files that are open, or are opened to be read.
    "close": (3, 57),
    "dup": (32, 23),
    "dup2": (33, None),
    "dup3": (292, 24),
    "fadvise64": (221, 223),
    "fcntl": (72, 25),
    "fstat": (5, 80),
    "fstatfs": (138, 44),
    "getdents64": (217, 61),
    "ioctl": (16, 29),
    "lseek": (8, 62),
    "open": (2, None),
    "openat": (257, 56),
    "poll": (7, None),
    "ppoll": (271, 73),
    "pread64": (17, 67),
    "preadv": (295, 69),
    "pselect6": (270, 72),
    "read": (0, 63),
    "readv": (19, 65),
    "select": (23, None),
    "write": (1, 64),
    "writev": (20, 66),
    # Names of files.
    "access": (21, None),
    "faccessat": (269, 48),
    "faccessat2": (439, 439),
    "getcwd": (79, 17),
    "lstat": (6, None),
    "newfstatat": (262, 79),
    "readlink": (89, None),
    "readlinkat": (267, 78),
    "stat": (4, None),
    "statfs": (137, 43),
    "statx": (332, 291),
    # Time.
    "clock_getres": (229, 114),
    "clock_gettime": (228, 113),
    "clock_nanosleep": (230, 115),
    "getitimer": (36, 102),
    "gettimeofday": (96, 169),
    "nanosleep": (35, 101),
    "setitimer": (38, 103),
    "time": (201, None),
    "times": (100, 153),
    # The process itself.
    "exit": (60, 93),
    "exit_group": (231, 94),
    "futex": (202, 98),
    "getcpu": (309, 168),
    "getegid": (108, 177),
    "geteuid": (107, 175),
    "getgid": (104, 176),
    "getgroups": (115, 158),
    "getpid": (39, 172),
    "getppid": (110, 173),
    "getrandom": (318, 278),
    "getrlimit": (97, 163),
    "getrusage": (98, 165),
    "gettid": (186, 178),
    "getuid": (102, 174),
    "kill": (62, 129),
    "prlimit64": (302, 261),
    "restart_syscall": (219, 128),
    "rt_sigaction": (13, 134),
    "rt_sigprocmask": (14, 135),
    "rt_sigreturn": (15, 139),
    "sched_getaffinity": (204, 123),
    "sched_yield": (24, 124),
    "sigaltstack": (131, 132),
    "sysinfo": (99, 179),
    "tgkill": (234, 131),
    "uname": (63, 160),
}  # by name: the numbers on x86_64 and on aarch64


class Condition(NamedTuple):
    """Rule for the values that an argument of a system call may have."""

    argument: int
    values: tuple[int, ...] = ()  # one of these
    forbidden: int = 0  # or, without values, any that has none of these bits
    refusal: int = errno.EPERM


WRITING = 0o1 | 0o2 | 0o100 | 0o1000 | 0o20000000  # O_WRONLY, O_RDWR, O_CREAT, O_TRUNC, O_TMPFILE


def conditions(pid: int) -> dict[str, Condition]:
    """The conditions on calls of a process; a call without one may have any arguments."""
    return {
        "open": Condition(1, forbidden=WRITING, refusal=errno.EACCES),
        "openat": Condition(2, forbidden=WRITING, refusal=errno.EACCES),
        "fcntl": Condition(1, (0, 1, 2, 3, 1030)),  # F_DUPFD, F_GETFD, F_SETFD, F_GETFL, F_DUPFD_CLOEXEC
        "ioctl": Condition(1, (0x5401, 0x5450, 0x5451)),  # TCGETS (isatty), FIONCLEX, FIOCLEX
        "kill": Condition(0, (pid,)),
        "tgkill": Condition(0, (pid,)),
        "prlimit64": Condition(0, (0,)),  # its own, which no longer go up
    }


def program(machine: Machine, pid: int) -> bytes:
    """The filter for a process, as an array of struct sock_filter."""
    by_name = conditions(pid)
    code = [(LOAD, 0, 0, MACHINE), (EQUAL, 1, 0, machine.audit), (RETURN, 0, 0, ERRNO | errno.ENOSYS)]
    code.append((LOAD, 0, 0, NUMBER))
    for name, numbers in CALLS.items():
        number = numbers[machine.column]
        if number is not None:
            block = _block(by_name[name]) if name in by_name else [(RETURN, 0, 0, ALLOW)]
            code += [(EQUAL, 0, len(block), number), *block]
    code.append((RETURN, 0, 0, ERRNO | errno.ENOSYS))
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in code)


def restrict_calls() -> bool:
    """Put the filter on all threads of this process, for good; False without seccomp or a list for this machine."""
    machine = MACHINES.get(os.uname().machine) if sys.platform == "linux" and sys.maxsize > 2**32 else None
    if machine is None:
        return False
    code = program(machine, os.getpid())
    header = _Program(len(code) // 8, code)
    libc = ctypes.CDLL(None)
    if libc.prctl(NO_NEW_PRIVILEGES, 1, 0, 0, 0) != 0:
        return False
    return libc.syscall(machine.seccomp, SET_FILTER, ALL_THREADS, ctypes.byref(header)) == 0


def _block(condition: Condition) -> list[tuple[int, int, int, int]]:
    """Allow or refuse a call by the lower half of an argument: to the kernel all of these are 32-bit integers."""
    block = [(LOAD, 0, 0, ARGUMENTS + 8 * condition.argument)]
    for value in condition.values:
        block += [(EQUAL, 0, 1, value), (RETURN, 0, 0, ALLOW)]
    if not condition.values:
        block += [(ANY_BIT, 1, 0, condition.forbidden), (RETURN, 0, 0, ALLOW)]
    return [*block, (RETURN, 0, 0, ERRNO | condition.refusal)]


class _Program(ctypes.Structure):
    """struct sock_fprog."""

    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))
