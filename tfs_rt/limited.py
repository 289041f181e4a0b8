"""Foreign bytes are parsed in a child process that is limited in time and memory and may end without harm.

The child is started by a call or before it, serves many, and is started anew if it dies, hangs or has served enough.
Both ways only plain data pass (`tfs_rt.plain`): what a child says is checked and never unpickled.
"""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Self

import numpy as np

from tfs_rt.errors import (
    EnvironmentFault,
    InputError,
    ModelError,
    NothingFound,
    TfsRtError,
    UsageError,
    first_line,
    printable,
)
from tfs_rt.formats.picture import MAX_PIXELS, Picture, Rules
from tfs_rt.plain import pack, receive, send
from tfs_rt.reader import read_picture

START = "import sys; sys.path[:] = sys.argv[4:]; from tfs_rt.child import serve; serve(*sys.argv[1:4])"
START_SECONDS = 120  # for the child's imports
NONSENSE = "made the process that reads it answer nonsense"
CALLS = 200  # that a child serves: what a library leaks goes with it
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")  # each maps much
ERRORS = {kind.__name__: kind for kind in (UsageError, InputError, NothingFound, ModelError, EnvironmentFault)}
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
        self.held: list[str] | None = None  # which limits the child could set, once it is ready
        self._process: subprocess.Popen[bytes] | None = None
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
        try:
            self._process = subprocess.Popen(
                self.command + [entry for entry in sys.path if isinstance(entry, str)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env={**os.environ, **ONE_THREAD},
                bufsize=0,
                start_new_session=True,  # the terminal's signals are the parent's
            )
        except OSError as error:
            raise _not_started(first_line(error)) from error

    def __call__(self, subject: str | Path, *arguments: Any) -> Any:
        """The function's result for these arguments, or its error; `subject` names the file in the child's faults."""
        request = pack([self.seconds, self.cpu_seconds, *arguments])
        try:
            process = self._ready()
            with self._within(process, self.seconds):
                answer = self._exchange(process, request)
            return self._result(subject, process, ["ended"] if self._late else answer)
        except TfsRtError:
            raise
        except BaseException:  # a signal in the middle: what the child says next answers no question
            self.close(kill=True)
            raise

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

    def _ready(self) -> subprocess.Popen[bytes]:
        """A child that waits for a question: anew, if the last one has served enough or was killed since."""
        if self._process and (self._served >= CALLS or self._process.poll() is not None):
            self.close()
        self.start()
        assert self._process
        self._served += 1
        if self.held is None:
            with self._within(self._process, START_SECONDS):
                answer = self._exchange(self._process, [])
            match answer:
                case ["ready", list(held)]:
                    self.held = held
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
            return ["nonsense"]

    def _result(self, subject: str | Path, process: subprocess.Popen[bytes], answer: Any) -> Any:
        match answer:
            case ["result", result]:
                return result
            case ["error", str(kind), str(about), str(reason), str(remedy)] if kind in ERRORS:
                raise ERRORS[kind](about, reason, printable(remedy))
            case ["unexpected", str(said)]:
                raise self.error(subject, f"cannot be read ({said})", self.remedy)
            case ["memory"]:
                self.close(kill=True)  # another begins with all of it
                reason = f"needs more than {self.memory / 2**30:.3g} GiB of memory to be read"
                raise self.error(subject, reason, self.remedy)
            case ["ended"]:
                reason = self._end_of(process)
            case _:
                reason = NONSENSE
        self.close(kill=True)
        raise self.error(subject, reason, self.remedy)

    def _end_of(self, process: subprocess.Popen[bytes]) -> str:
        """Why a child ended in the middle of a call."""
        with suppress(subprocess.TimeoutExpired):  # its pipe is closed, so that it is about to end
            process.wait(1)
        status = process.returncode
        if self._late or (status and -status in TIMED_OUT):
            return f"was not read within {self.seconds:g} seconds ({self.cpu_seconds:g} of a processor)"
        if status is None:
            return NONSENSE
        name = signal.Signals(-status).name if status < 0 else f"exit status {status}"
        return f"ended the process that reads it ({name})"

    @contextmanager
    def _within(self, process: subprocess.Popen[bytes], seconds: float) -> Iterator[None]:
        """End the child if the block takes longer: reading from its pipe then ends, too."""
        self._late = False

        def expire() -> None:
            self._late = True
            _kill(process)

        timer = threading.Timer(seconds, expire)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
            timer.join()  # from here on the process may be waited for, and its number be another's


class Reader:
    """`tfs_rt.reader.read_picture` in a limited child process."""

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
        answer = self.limited(path, data, str(path), dataclasses.asdict(rules))
        try:
            picture = Picture(*answer)
            _check(picture)
        except (TypeError, ValueError) as error:
            self.close()
            raise InputError(path, NONSENSE, self.limited.remedy) from error
        return picture

    def close(self) -> None:
        """End the child; the next call starts another."""
        self.limited.close()


def read_plainly(data: bytes, path: str, rules: dict[str, Any]) -> tuple[Any, ...]:
    """A picture's parts, in the child."""
    picture = read_picture(data, Path(path), Rules(**rules))
    return picture.slices, picture.facts, picture.subject, picture.frame


def _check(picture: Picture) -> None:
    """ValueError unless a picture is what its class says: the child that made it may have been taken over."""
    slices, shapes = picture.slices, {getattr(image, "shape", ()) for image in picture.slices}
    if not isinstance(slices, tuple) or any(getattr(image, "dtype", None) != np.uint8 for image in slices):
        raise ValueError("no tuple of uint8 arrays")
    if len(shapes) != 1 or [len(shape) == 3 and shape[2] == 3 for shape in shapes] != [True]:
        raise ValueError(f"slices of {shapes}")
    if not 0 < slices[0].size <= 3 * MAX_PIXELS:
        raise ValueError("an empty slice, or a huge one")
    if not isinstance(picture.facts, dict) or not isinstance(picture.subject, dict):
        raise ValueError("no facts")


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Kill the child and what it may have started."""
    with suppress(OSError):  # it has just ended
        os.killpg(process.pid, signal.SIGKILL) if os.name == "posix" else process.kill()


def _not_started(said: str) -> EnvironmentFault:
    reason = f"the process that reads files does not start ({printable(said)})"
    return EnvironmentFault("tfs-rt", reason, "check the limits on memory and processes (ulimit -a), or reinstall")
