"""The child process of a sandbox, seen from its parent: start it, ask it within a time limit, end it.

A child is a `StartingChild` while it imports its modules, and a `Child` once its rights are restricted.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from _thread import start_new_thread
from collections.abc import Generator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from tfs_rt.errors import EnvironmentFault, LimitReached, first_line, printable
from tfs_rt.sandbox.messages import receive, send
from tfs_rt.sandbox.parts import Parts, known_parts
from tfs_rt.system.resource_limits import limit_fault, limits_in_force, memory_fault

START = "import sys; sys.path[:] = sys.argv[4:]; from tfs_rt.sandbox.child import serve; serve(*sys.argv[1:4])"
START_SECONDS = 120  # for the child's imports
LEAST_MEMORY = 2**28  # bytes that a child must have, to read an ordinary file
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")  # each maps much
# Variables that Python and its libraries need to start. All others stay with the parent.
VARIABLES = {
    *("LANG", "PYTHONHOME", "PYTHONPLATLIBDIR", "PYTHONUTF8", "PYTHONPYCACHEPREFIX", "PYTHONDONTWRITEBYTECODE"),
    *("LD_LIBRARY_PATH", "LD_PRELOAD", "DYLD_LIBRARY_PATH", "DYLD_FALLBACK_LIBRARY_PATH"),
    *(("SYSTEMROOT", "PATH") if os.name == "nt" else ()),
}
PREFIXES = ("LC_", "OMP_", "KMP_", "MKL_", "OPENBLAS_", "NPY_")  # a mathematical library needs these on a processor
Message = list[Any]  # a word, then its arguments


class Connection:
    """A child process and the pipes to it. The child is started at once."""

    def __init__(self, command: list[str]) -> None:
        try:
            self.process = subprocess.Popen(
                command + [entry for entry in sys.path if isinstance(entry, str)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=child_environment(os.environ),
                bufsize=0,
                start_new_session=True,  # the terminal's signals go to the parent alone
            )
        except OSError as error:
            raise start_fault(first_line(error), limit_fault(error)) from error

    def exchange(self, request: list[Any], seconds: float, memory: int) -> Message:
        """Send a packed request and return the child's answer, which may hold `memory` bytes of arrays.

        Instead of an answer: ["late"] after `seconds`, ["ended"] if the pipe ends, ["nonsense", reason] if it is not
        a message.
        """
        with kill_after(self.process, seconds) as expired:
            answer = self._exchange(request, memory)
        return ["late"] if expired.is_set() else answer

    def has_ended(self) -> bool:
        """True if the child has ended."""
        return self.process.poll() is not None

    def exit_status(self, patience: float) -> int | None:
        """Exit status of the child, or minus the signal that ended it. None if it runs on for `patience` seconds."""
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(patience)
        return self.process.returncode

    def close(self, patience: float) -> None:
        """Close the pipes, on which an idle child ends, and kill a child that runs on for `patience` seconds."""
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe
            pipe.close()
        if self.exit_status(patience) is None:
            kill(self.process)
        self.process.wait()

    def _exchange(self, request: list[Any], memory: int) -> Message:
        assert self.process.stdin
        assert self.process.stdout
        try:
            send(self.process.stdin.fileno(), request)
            answer = receive(self.process.stdout.fileno(), memory)
        except MemoryError:
            raise
        except (OSError, EOFError):
            return ["ended"]
        except Exception:  # a child that was taken over can write anything
            return ["nonsense", "not a message"]
        match answer:
            case [str(), *_] if isinstance(answer, list):
                return answer
        return ["nonsense", "not a message"]


class Child:
    """A child process that waits for requests."""

    def __init__(self, connection: Connection, starter: threading.Thread, parts: Parts, memory: int) -> None:
        self.connection = connection
        self.parts = parts
        self.memory = memory  # bytes that it may take
        self.calls = 0  # requests so far
        self._starter = starter

    def ask(self, request: list[Any], seconds: float, memory: int) -> Message:
        """The answer to a packed request: see `Connection.exchange`."""
        self.calls += 1
        return self.connection.exchange(request, seconds, memory)

    def may_have_broken_before(self) -> bool:
        """True if the last request need not be what broke the child.

        An earlier request may have done so, and the system ends a child with the thread that started it.
        """
        return self.calls > 1 or not self._starter.is_alive()

    def close(self, *, kill: bool = False) -> None:
        """End the child, at once if it may be busy."""
        self.connection.close(0 if kill else 1)


class StartingChild:
    """A child process that imports its modules and gives up its rights; `wait` returns it when it is ready."""

    def __init__(self, command: list[str], memory: int) -> None:
        self.connection = Connection(command)
        self.memory = memory
        self._starter = threading.current_thread()

    def wait(self) -> Child:
        """The child when it is ready. EnvironmentFault, after it was ended, if it does not get ready."""
        try:
            return self._wait()
        except BaseException:
            self.close()
            raise

    def close(self, *, kill: bool = True) -> None:
        """End the child at once: it does not read its pipe yet."""
        self.connection.close(0)

    def _wait(self) -> Child:
        answer = self.connection.exchange([], START_SECONDS, self.memory)
        match answer:
            case ["ready", list(held), int(memory)] if memory >= min(LEAST_MEMORY, self.memory):
                return Child(self.connection, self._starter, known_parts(held), memory)
            case ["ready", _, memory]:
                raise start_fault(f"{memory} bytes of memory are left to it", memory_fault())
            case ["late"]:
                raise start_fault("ended")
        raise start_fault(": ".join(map(str, answer)))


@contextmanager
def kill_after(process: subprocess.Popen[bytes], seconds: float) -> Generator[threading.Event]:
    """Kill the child if the block takes longer, and set the event: reading from the child's pipe then ends, too."""
    expired = threading.Event()
    finished = threading.Event()
    # The lock decides which comes first: the end of the time, or the end of the block.
    turn = threading.Lock()

    def watch() -> None:
        if finished.wait(seconds):
            return
        with turn:
            if not finished.is_set():
                expired.set()
                kill(process)

    # Start the thread that watches the time.
    try:
        # A Thread object would wait for ever for one that has no memory to begin.
        start_new_thread(watch, ())
    except RuntimeError as error:
        raise start_fault(first_line(error), limit_fault(error)) from error
    # Run the block.
    try:
        yield expired
    finally:
        with turn:
            # After this the process may be waited for, and its number may become another's.
            finished.set()


def kill(process: subprocess.Popen[bytes]) -> None:
    """Kill the child and all that it may have started."""
    with suppress(OSError):  # it has just ended
        if os.name == "posix":
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()


def child_environment(own: Mapping[str, str]) -> dict[str, str]:
    """A child's environment: no address of an agent, no key, no setting that a library would follow."""
    kept = {name: value for name, value in own.items() if name in VARIABLES or name.startswith(PREFIXES)}
    return {**kept, **ONE_THREAD}


def start_fault(message: str, limit: LimitReached | None = None) -> EnvironmentFault:
    """The fault of a child that does not start: a limit if its message names one, else a broken installation."""
    reason = f"the process that reads files does not start ({printable(message, 200)})"
    limit = limit or limit_fault(RuntimeError(message))
    if limit:
        return LimitReached("tfs-rt", f"{reason}: {limit.reason}", limit.remedy)
    limits = limits_in_force() if message == "ended" else ""
    if limits:
        return LimitReached("tfs-rt", reason, f"raise the limits here ({limits})")
    return EnvironmentFault("tfs-rt", reason, "install tfs-rt again")
