"""The filter of system calls, run by the definition of classic BPF: it holds on any machine."""

from __future__ import annotations

import errno
import os
import re
import struct
from pathlib import Path

import pytest

from tfs_rt.errors import (
    LimitReached,  # noqa: F401 - likewise
)
from tfs_rt.sandbox.seccomp import CALLS, MACHINES, program


def verdict(code: bytes, audit: int, number: int, *arguments: int) -> int:
    """The kernel's answer to a call, by the definition of classic BPF: 0, or an errno."""
    data = struct.pack("=IIQ6Q", number, audit, 0, *(arguments + (0,) * 6)[:6])
    accumulator = 0
    at = 0
    while True:
        kind, yes, no, value = struct.unpack_from("=HBBI", code, 8 * at)
        at += 1
        if kind == 0x20:
            (accumulator,) = struct.unpack_from("=I", data, value)
        elif kind == 0x15:
            at += yes if accumulator == value else no
        elif kind == 0x45:
            at += yes if accumulator & value else no
        else:
            assert kind == 0x06
            return 0 if value == 0x7FFF0000 else value ^ 0x00050000


@pytest.mark.parametrize("name", MACHINES)
def test_the_filter_allows_the_list_and_nothing_else(name: str) -> None:
    machine = MACHINES[name]
    pid = 4321
    code = program(machine, pid)
    assert len(code) // 8 < 4096  # the kernel's most
    listed = {numbers[machine.column]: call for call, numbers in CALLS.items()}
    conditional = {"open", "openat", "fcntl", "ioctl", "kill", "tgkill", "prlimit64"}
    for number in range(600):
        allowed = verdict(code, machine.audit, number, 9999, 9999, 9999) == 0
        assert allowed is (listed.get(number) not in conditional and number in listed), listed.get(number)
        assert verdict(code, machine.audit, 0x40000000 | number) == errno.ENOSYS  # x32
        assert verdict(code, 0x40000003, number) == errno.ENOSYS  # i386


@pytest.mark.parametrize("name", MACHINES)
def test_the_filter_looks_at_arguments(name: str) -> None:
    machine = MACHINES[name]
    pid = 4321
    code = program(machine, pid)

    def asked(call: str, *arguments: int) -> int:
        number = CALLS[call][machine.column]
        assert number is not None
        return verdict(code, machine.audit, number, *arguments)

    assert asked("openat", 0, 0, os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECTORY | os.O_NONBLOCK) == 0
    for flags in (os.O_WRONLY, os.O_RDWR, 3, os.O_CREAT, os.O_TRUNC, 0o20000000):
        assert asked("openat", 0, 0, flags | os.O_CLOEXEC) == errno.EACCES
    assert [asked("kill", one, 9) for one in (pid, pid + 1, 0, 2**32 - 1, 1)] == [0, *[errno.EPERM] * 4]
    assert [asked("tgkill", one, one, 9) for one in (pid, pid + 1)] == [0, errno.EPERM]
    assert [asked("prlimit64", one, 7) for one in (0, pid, 1)] == [0, errno.EPERM, errno.EPERM]
    assert [asked("fcntl", 0, one) for one in (1, 8, 10, 4, 1024)] == [0, *[errno.EPERM] * 4]  # F_SETOWN, F_SETSIG ...
    assert [asked("ioctl", 0, one) for one in (0x5401, 0x5412, 0x8901)] == [0, errno.EPERM, errno.EPERM]


@pytest.mark.parametrize(
    ("name", "header"),
    [("x86_64", "x86_64-linux-gnu/asm/unistd_64.h"), ("aarch64", "asm-generic/unistd.h")],
)
def test_calls_have_the_numbers_of_the_kernels_headers(name: str, header: str) -> None:
    path = Path("/usr/include", header)
    if not path.exists():
        pytest.skip(f"{path} is not installed (linux-libc-dev)")
    found = dict(re.findall(r"#define __NR(?:3264)?_(\w+)\s+(\d+)", path.read_text()))
    alias = {"newfstatat": "fstatat", "fadvise64": "fadvise64"}
    ours = {call: numbers[MACHINES[name].column] for call, numbers in CALLS.items()}
    for call, number in ours.items():
        listed = found.get(call) or found.get(alias.get(call, ""))
        if number is not None:
            assert listed == str(number), call
        elif name == "x86_64":
            assert listed is None, call
