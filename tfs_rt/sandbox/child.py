"""The child process of a sandbox: it calls one function for each request, under limits (`tfs_rt.sandbox.parent`)."""

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

# Words of an error by which the filter of system calls is recognised.
REFUSALS = (os.strerror(errno.ENOSYS), os.strerror(errno.EPERM), "can't start new thread")


def serve(module: str, name: str, memory: str) -> None:
    """Import a function, give up rights, then call the function for each message of the standard input."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Keep the pipe for answers: what a library prints goes nowhere.
    answers = os.dup(1)
    os.dup2(2, 1)
    with suppress(EOFError, OSError):  # the parent has closed its pipes, or has ended
        # Import first: the restrictions below would forbid some of what imports do.
        try:
            function = getattr(import_module(module), name)
            held, left, time_limit = _restrict(int(memory))
        except Exception as error:
            send(answers, pack(["unexpected", _describe(error)]))
            os._exit(1)
        send(answers, pack(["ready", held, left]))
        # Serve requests until the pipe ends.
        while True:
            seconds, cpu_seconds, *arguments = receive(0, sys.maxsize)
            with time_limit(seconds, cpu_seconds):
                answer = _answer(function, arguments)
            send(answers, answer)
            del arguments, answer
    os._exit(0)


def _restrict(memory: int) -> tuple[list[str], int, Callable[..., Any]]:
    """Give up rights: the parts of the sandbox that hold, the memory left, and the limit on the time of a call.

    Windows has no such limits; there the parent's limit on the time holds.
    """
    if os.name != "posix":
        return [], memory, lambda *_: nullcontext()
    limits = import_module("tfs_rt.sandbox.limits")
    held, left = limits.restrict_process(memory)
    return held, left, limits.time_limit


def _answer(function: Callable[..., Any], arguments: list[Any]) -> list[Any]:
    try:
        return pack(["result", function(*arguments)])
    except MemoryError:
        return pack(["memory"])
    except Exception as error:
        refusal = _refusal(error)
        if refusal:
            return pack(["refused", refusal])
        if isinstance(error, TfsRtError):
            return pack(["error", type(error).__name__, error.reason, error.remedy])
        return pack(["unexpected", _describe(error)])


def _refusal(error: BaseException) -> str:
    """The message of an error, or of its cause, if the sandbox refused a system call; empty otherwise."""
    cause: BaseException | None = error
    while cause is not None:
        if any(words in str(cause) for words in REFUSALS):
            return _describe(cause)
        cause = cause.__cause__ or cause.__context__
    return ""


def _describe(error: BaseException) -> str:
    return f"{type(error).__name__}: {first_line(error)}"[:1000]
