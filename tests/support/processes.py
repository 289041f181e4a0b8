"""Processes that tests start as another user, and whether a process runs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from support.paths import TESTS

PATHS = os.pathsep.join([str(TESTS), *filter(None, sys.path)])

NOBODY = 65534


def as_user(uid: int, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-P", *arguments]
    environment = {**os.environ, "PYTHONPATH": PATHS}
    return subprocess.run(command, user=uid, env=environment, capture_output=True, text=True, check=False, timeout=60)


def skip_unless_it_runs(uid: int) -> None:
    try:
        runs = uid == os.getuid() or as_user(uid, "-c", "import support.sandbox_children").returncode == 0
    except PermissionError:
        runs = False
    if not runs:
        pytest.skip("another user cannot run this Python, or read these sources")


def is_running(pid: int) -> bool:
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def alone(code: str, *arguments: str) -> str:
    """Output of a process that gave up one part of its rights; skips where it could not."""
    prefix = "import os, socket, sys; from tfs_rt.sandbox import limits, seccomp\n"
    ended = as_user(os.getuid(), "-c", prefix + code, *arguments)
    assert ended.returncode == 0, ended.stderr
    if ended.stdout == "lacks\n":
        pytest.skip("this kernel lacks that part, or does not permit it")
    return ended.stdout


def landlock() -> int:
    """The ABI of this kernel's Landlock; below 1 without it."""
    return int(alone("import ctypes; print(ctypes.CDLL(None).syscall(444, None, ctypes.c_size_t(0), 1))"))
