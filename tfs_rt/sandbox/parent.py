"""Foreign bytes are parsed in a child process that is limited in time and memory and may end without harm.

The child is started by a call or before it, serves many, and is started anew if it dies, hangs or has served enough.
Both ways only plain data pass (`tfs_rt.sandbox.messages`): what a child says is checked and never unpickled.
"""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import threading
from _thread import start_new_thread
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Self

from tfs_rt.errors import (
    EnvironmentFault,
    InputError,
    LimitReached,
    ModelError,
    TfsRtError,
    first_line,
    printable,
)
from tfs_rt.formats.answers import checked_picture
from tfs_rt.formats.picture import Picture, Rules
from tfs_rt.formats.registry import format_of, read_picture
from tfs_rt.sandbox.messages import pack, receive, send
from tfs_rt.sandbox.parts import Sandbox, child_environment, sandbox_of
from tfs_rt.system.resource_limits import limit_fault, limits_in_force, memory_fault

START = "import sys; sys.path[:] = sys.argv[4:]; from tfs_rt.sandbox.child import serve; serve(*sys.argv[1:4])"
START_SECONDS = 120  # for the child's imports
NONSENSE = "made the process that reads it answer nonsense"
CALLS = 200  # that a child serves: what a library leaks goes with it
LEAST_MEMORY = 2**28  # bytes that a child must have, to read an ordinary file
ERRORS = {kind.__name__: kind for kind in (InputError, ModelError, EnvironmentFault)}
BROKEN = ("ended", "nonsense")  # answers after which a child is not trusted any more
TIMED_OUT = {getattr(signal, name, None) for name in ("SIGALRM", "SIGXCPU")}  # by which a child ends itself


class Limited:
    """A function of a module, called in a child process: plain arguments, a plain result; one caller at a time."""

    def __init__(
        self,
        function: Callable[..., Any],
        *,
        seconds: float = 30,
        cpu_seconds: float = 30,
        memory: int = 2**31,
        error: type[TfsRtError] = InputError,
        remedy: str = "write the file again",
    ) -> None:
        self.seconds, self.cpu_seconds, self.memory = seconds, cpu_seconds, memory
        self.error, self.remedy = error, remedy
        self.command = [sys.executable, "-P", "-c", START, function.__module__, function.__qualname__, str(memory)]
        self.held: list[str] | None = None  # the parts of the sandbox that hold, once the child is ready
        self._left = memory  # what the child may take of it
        self._process: subprocess.Popen[bytes] | None = None
        self._starter = threading.current_thread()
        self._served = 0
        self._late = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> None:
        """Begin to start the child, if there is none, and return at once."""
        if self._process:
            return
        self.held, self._served = None, 0
        self._starter = threading.current_thread()
        try:
            self._process = subprocess.Popen(
                self.command + [entry for entry in sys.path if isinstance(entry, str)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=child_environment(os.environ),
                bufsize=0,
                start_new_session=True,  # the terminal's signals are the parent's
            )
        except OSError as error:
            raise _not_started(first_line(error), limit_fault(error)) from error

    def __call__(
        self, subject: str | Path, *arguments: Any, check: Callable[[Any], Any] = lambda result: result
    ) -> Any:
        """Call the function in the child, and return its result as `check` returns it.

        `subject` names the file in the child's faults; `check` raises ValueError for a result that is not one.
        """
        request = pack([self.seconds, self.cpu_seconds, *arguments])
        try:
            process, answer = self._ask(request, check)
            if answer[0] in BROKEN and (self._served > 1 or not self._starter.is_alive()):
                self.close(kill=True)  # an earlier file broke it, or it ended with the thread that started it
                process, answer = self._ask(request, check)
            return self._result(subject, process, answer)
        except TfsRtError:
            raise
        except BaseException:  # a signal in the middle: what the child says next answers no question
            self.close(kill=True)
            raise

    def sandbox(self) -> Sandbox:
        """The sandbox of the child, which is started if there is none."""
        self._ready()
        return sandbox_of(self.held)

    def close(self, *, kill: bool = False) -> None:
        """End the child, at once if it may be busy or is still starting; the next call starts another."""
        process, self._process = self._process, None
        if process is None:
            return
        for pipe in (process.stdin, process.stdout):
            assert pipe
            pipe.close()
        with suppress(subprocess.TimeoutExpired):
            process.wait(0 if kill or self.held is None else 1)
        if process.returncode is None:
            _kill(process)
        process.wait()

    def _ask(self, request: list[Any], check: Callable[[Any], Any]) -> tuple[subprocess.Popen[bytes], list[Any]]:
        """The child, and its answer to a request: a list that begins with a word."""
        if self._process and self._served >= CALLS:
            self.close()
        process = self._ready()
        self._served += 1
        with self._within(process, self.seconds):
            answer = self._exchange(process, request)
        if self._late:
            return process, ["ended"]
        match answer:
            case ["result", result]:
                try:
                    return process, ["result", check(result)]
                except ValueError as error:
                    return process, ["nonsense", first_line(error)]
            case [str(), *_]:
                return process, list(answer)
        return process, ["nonsense", "not a message"]

    def _ready(self) -> subprocess.Popen[bytes]:
        """A child that waits for a question: anew, if the last one was killed since."""
        if self._process and self._process.poll() is not None:
            self.close()
        self.start()
        assert self._process
        if self.held is None:
            with self._within(self._process, START_SECONDS):
                answer = self._exchange(self._process, [])
            match answer:
                case ["ready", list(held), int(left)] if left >= min(LEAST_MEMORY, self.memory):
                    self.held, self._left = held, left
                case ["ready", _, left]:
                    self.close(kill=True)
                    raise _not_started(f"{left} bytes of memory are left to it", memory_fault())
                case _:
                    self.close(kill=True)
                    raise _not_started(": ".join(map(str, answer)))
        return self._process

    def _exchange(self, process: subprocess.Popen[bytes], request: list[Any]) -> Any:
        """The child's answer, which has no meaning yet."""
        assert process.stdin
        assert process.stdout
        try:
            send(process.stdin.fileno(), request)
            return receive(process.stdout.fileno(), self.memory)
        except MemoryError:
            raise
        except (OSError, EOFError):
            return ["ended"]
        except Exception:  # it says what is no message
            return ["nonsense", "not a message"]

    def _result(self, subject: str | Path, process: subprocess.Popen[bytes], answer: list[Any]) -> Any:
        match answer:
            case ["result", result]:
                return result
            case ["error", str(kind), str(reason), str(remedy)] if kind in ERRORS:
                raise ERRORS[kind](subject, reason, printable(remedy))
            case ["refused", str(said)]:
                reason = f"asks for what the sandbox does not permit ({printable(said, 200)})"
                raise self.error(subject, reason, "report this case, with what tfs-rt doctor says")
            case ["unexpected", str(said)]:
                raise self.error(subject, f"cannot be read ({said})", self.remedy)
            case ["memory"]:
                reason, remedy = self._out_of_memory()
            case ["ended"]:
                reason, remedy = self._end_of(process), self.remedy
            case _:
                reason, remedy = f"{NONSENSE} ({printable(str(answer[1:]), 200)})", self.remedy
        self.close(kill=True)  # another begins with all of its memory
        raise self.error(subject, reason, remedy)

    def _out_of_memory(self) -> tuple[str, str]:
        """(reason, remedy) where a child had not enough."""
        reason = f"needs more than {self._left / 2**30:.3g} GiB of memory to be read"
        if self._left == self.memory:
            return reason, self.remedy
        return f"{reason}, and this process was given no more ({limits_in_force()})", "raise that limit"

    def _end_of(self, process: subprocess.Popen[bytes]) -> str:
        """Why a child ended in the middle of a call."""
        with suppress(subprocess.TimeoutExpired):  # its pipe is closed, so that it is about to end
            process.wait(1)
        status = process.returncode
        if self._late or (status and -status in TIMED_OUT):
            return f"was not read within {self.seconds:g} seconds ({self.cpu_seconds:g} of a processor)"
        if status is None:
            return NONSENSE
        if status == -signal.SIGKILL:
            return "was being read when the system killed the process that reads it, as it does where memory runs out"
        name = signal.Signals(-status).name if status < 0 else f"exit status {status}"
        return f"ended the process that reads it ({name})"

    @contextmanager
    def _within(self, process: subprocess.Popen[bytes], seconds: float) -> Iterator[None]:
        """End the child if the block takes longer: reading from its pipe then ends, too."""
        self._late = False
        ended = threading.Event()
        turn = threading.Lock()

        def watch() -> None:
            if ended.wait(seconds):
                return
            with turn:
                if not ended.is_set():
                    self._late = True
                    _kill(process)

        try:  # a Thread object would wait for ever for one that has no memory to begin
            start_new_thread(watch, ())
        except RuntimeError as error:
            raise _not_started(first_line(error), limit_fault(error)) from error
        try:
            yield
        finally:
            with turn:  # from here on the process may be waited for, and its number be another's
                ended.set()


class Reader:
    """`tfs_rt.formats.registry.read_picture` in a limited child process."""

    def __init__(self) -> None:
        self.limited = Limited(read_plainly, remedy="write the file again, or take it out")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> None:
        """Begin to start the child, and return at once: its imports then overlap with the caller's."""
        self.limited.start()

    def read(self, data: bytes, path: Path, rules: Rules) -> Picture:
        """The slices of a file from its bytes; InputError too if reading them ends the child."""
        rule = dataclasses.asdict(rules)
        return self.limited(path, data, str(path), rule, check=lambda answer: checked_picture(answer, format_of(path)))

    def sandbox(self) -> Sandbox:
        """The sandbox in which files are read."""
        return self.limited.sandbox()

    def close(self) -> None:
        """End the child; the next call starts another."""
        self.limited.close()


def read_plainly(data: bytes, path: str, rules: dict[str, Any]) -> tuple[Any, ...]:
    """A picture's parts, in the child."""
    picture = read_picture(data, Path(path), Rules(**rules))
    return picture.slices, picture.facts, picture.subject, picture.frame


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Kill the child and what it may have started."""
    with suppress(OSError):  # it has just ended
        os.killpg(process.pid, signal.SIGKILL) if os.name == "posix" else process.kill()


def _not_started(message: str, limit: LimitReached | None = None) -> EnvironmentFault:
    """The fault of a child that does not start: a limit if its message names one, or a broken installation."""
    reason = f"the process that reads files does not start ({printable(message, 200)})"
    limit = limit or limit_fault(RuntimeError(message))
    if limit:
        return LimitReached("tfs-rt", f"{reason}: {limit.reason}", limit.remedy)
    if limits := limits_in_force() if message == "ended" else "":
        return LimitReached("tfs-rt", reason, f"raise the limits here ({limits})")
    return EnvironmentFault("tfs-rt", reason, "install tfs-rt again")
