"""Functions that tests of the sandbox call in its child, which imports them by name."""

from __future__ import annotations

import os
import resource
import signal
import socket
import subprocess
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from tfs_rt.errors import EnvironmentFault, InputError, ModelError


def misbehave(how: str, *arguments: Any) -> Any:
    return globals()[f"_{how}"](*arguments)


def _echo(value: Any) -> Any:
    return value


def _pid() -> int:
    return os.getpid()


def _crash() -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def _crash_later() -> None:
    globals()["_echo"] = lambda value: os.kill(os.getpid(), signal.SIGSEGV)


def _answer_no_more() -> None:
    globals()["_echo"] = lambda value: _nonsense(b"nonsense")


def _leave() -> None:
    os._exit(3)


def _hang(pid_file: str = "") -> None:
    time.sleep(600)


def _spin() -> None:
    while True:
        pass


def _stop() -> None:
    os.kill(os.getpid(), signal.SIGSTOP)


def _devour() -> int:
    return len([np.empty(2**28, dtype=np.uint8) for _ in range(64)])


def _fail(kind: str) -> None:
    kinds: dict[str, Exception] = {
        "input": InputError("a.png", "is damaged", "write it again"),
        "model": ModelError("a.pth", "is none", "give one"),
        "environment": EnvironmentFault("a.dcm", "pydicom is not installed", "pip install it"),
        "unknown": ZeroDivisionError("first line\nsecond line"),
    }
    raise kinds[kind]


def _chatter() -> str:
    print("printed")  # noqa: T201
    os.write(1, b"written")
    return "said"


def _nonsense(answer: bytes) -> None:
    """Answer in the child's stead, as one that was taken over may."""
    for descriptor in range(3, 10):
        with suppress(OSError):
            os.write(descriptor, answer)
    time.sleep(600)


def _unplain() -> object:
    return object()


def _write(path: str) -> str:
    try:
        Path(path).write_text("harm", encoding="ascii")
    except OSError as error:
        return type(error).__name__
    return "written"


def _remove(path: str) -> str:
    try:
        Path(path).unlink()
    except OSError as error:
        return type(error).__name__
    return "removed"


def _execute() -> str:
    try:
        subprocess.run(["/bin/true"], check=True)
    except OSError as error:
        return type(error).__name__
    return "executed"


def _connect(port: int) -> str:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=2).close()
    except OSError as error:
        return type(error).__name__
    return "connected"


def _open_many() -> int:
    descriptors = []
    with suppress(OSError):
        while True:
            descriptors.append(os.open(os.devnull, os.O_RDONLY))
    for descriptor in descriptors:
        os.close(descriptor)
    return len(descriptors)


def _is_ignored(signum: int) -> bool:
    return signal.getsignal(signum) is signal.SIG_IGN


def signs() -> tuple[str, int, int, int]:
    """In the child: its network, its filter, its capabilities and its address space, as the kernel tells them."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    space, _ = resource.getrlimit(resource.RLIMIT_AS)
    return str(Path("/proc/self/ns/net").readlink()), int(status["Seccomp"]), int(status["CapEff"], 16), space


def fork() -> None:
    os.fork()


def thread() -> None:
    threading.Thread(target=int).start()


def wrapped() -> None:
    try:
        Path("/tmp/tfs-rt").mkdir()
    except OSError as error:
        raise InputError("a.png", "is damaged", "write it again") from error


def names() -> list[str]:
    return sorted(os.environ)


def refuse_to_end() -> None:
    """Without the timer and the signals that would end it."""
    signal.setitimer(signal.ITIMER_REAL, 0)
    for signum in (signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE, signal.SIGXCPU):
        signal.signal(signum, signal.SIG_IGN)
    while True:
        time.sleep(1)


def nap(seconds: float) -> str:
    time.sleep(seconds)
    return "rested"
