"""The other end of `tfs_rt.sandbox.parent`: a process that answers questions about foreign bytes under limits."""

from __future__ import annotations

import errno
import os
import signal
import sys
from collections.abc import Callable
from contextlib import nullcontext, suppress
from importlib import import_module
from typing import Any

from tfs_rt.errors import TfsRtError, first_line
from tfs_rt.sandbox.messages import pack, receive, send

REFUSALS = (os.strerror(errno.ENOSYS), os.strerror(errno.EPERM), "can't start new thread")  # the filter's, in an error


def serve(module: str, name: str, memory: str) -> None:
    """Call a function for each message of the standard input, until it ends; the limits are set after its imports."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    answers = os.dup(1)
    os.dup2(2, 1)  # what a library prints is no answer
    with suppress(EOFError, OSError):  # the parent has closed its pipes, or is no more
        try:
            function, held, left = getattr(import_module(module), name), [], int(memory)
            within: Callable[..., Any] = _unlimited
            if os.name == "posix":
                limits = import_module("tfs_rt.sandbox.limits")
                held, left = limits.give_up(left)
                within = limits.within
        except Exception as error:
            send(answers, pack(["unexpected", _said(error)]))
            os._exit(1)
        send(answers, pack(["ready", held, left]))
        while True:
            seconds, cpu_seconds, *arguments = receive(0, sys.maxsize)
            with within(seconds, cpu_seconds):
                answer = _answer(function, arguments)
            send(answers, answer)
            del arguments, answer
    os._exit(0)


def _answer(function: Callable[..., Any], arguments: list[Any]) -> list[Any]:
    try:
        return pack(["result", function(*arguments)])
    except MemoryError:
        return pack(["memory"])
    except Exception as error:
        if refusal := _refusal(error):
            return pack(["refused", refusal])
        if isinstance(error, TfsRtError):
            return pack(["error", type(error).__name__, error.reason, error.remedy])
        return pack(["unexpected", _said(error)])


def _refusal(error: BaseException) -> str:
    """The message of an error, or of its cause, if the sandbox refused a system call; empty otherwise."""
    cause: BaseException | None = error
    while cause is not None:
        if any(words in str(cause) for words in REFUSALS):
            return _said(cause)
        cause = cause.__cause__ or cause.__context__
    return ""


def _unlimited(*_: float) -> nullcontext[None]:
    """Windows has no such limits; the parent's on the time holds."""
    return nullcontext()


def _said(error: BaseException) -> str:
    return f"{type(error).__name__}: {first_line(error)}"[:1000]
