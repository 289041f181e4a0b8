"""Run a function on foreign bytes in a sandboxed child process, which may fail without harm to this one.

The child has limits on time, memory and rights. It serves many calls, and is replaced if it dies, hangs or has served
enough. Only plain data pass between the processes (`tfs_rt.sandbox.messages`): what the child answers is checked and
never unpickled.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

from tfs_rt.errors import EnvironmentFault, InputError, ModelError, TfsRtError, first_line, printable
from tfs_rt.sandbox.messages import pack
from tfs_rt.sandbox.parts import Parts
from tfs_rt.sandbox.process import START, Child, Message, StartingChild
from tfs_rt.system.resource_limits import limits_in_force

NONSENSE = "made the process that reads it answer nonsense"
CALLS = 200  # requests that a child serves: what a library leaks goes with it
ERRORS = {kind.__name__: kind for kind in (InputError, ModelError, EnvironmentFault)}
BROKEN = ("late", "ended", "nonsense")  # answers after which a child is not trusted any more
TIMED_OUT = {getattr(signal, name, None) for name in ("SIGALRM", "SIGXCPU")}  # a child ends itself by these


class Sandbox:
    """A function of a module, called in a child process: plain arguments, plain result, one caller at a time.

    The first call starts the child. `start` does so earlier, so that the child's imports overlap with the caller's.
    """

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
        self.seconds = seconds
        self.cpu_seconds = cpu_seconds
        self.memory = memory
        self.error = error
        self.remedy = remedy
        self.command = [sys.executable, "-P", "-c", START, function.__module__, function.__qualname__, str(memory)]
        self.child: StartingChild | Child | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> None:
        """Begin to start the child, if there is none, and return at once."""
        if self.child is None:
            self.child = StartingChild(self.command, self.memory)

    def __call__(
        self, subject: str | Path, *arguments: Any, check: Callable[[Any], Any] = lambda result: result
    ) -> Any:
        """Call the function in the child, and return its result as `check` returns it.

        Errors name the file as `subject`. `check` raises ValueError for a result that is not a valid one.
        """
        request = pack([self.seconds, self.cpu_seconds, *arguments])
        try:
            child, answer = self._ask(request, check)
            if answer[0] in BROKEN and child.may_have_broken_before():
                # Ask a new child: the file may not be to blame.
                self.close(kill=True)
                child, answer = self._ask(request, check)
            return self._result(subject, child, answer)
        except TfsRtError:
            raise
        except BaseException:
            # A signal in the middle: the child's next answer belongs to no request.
            self.close(kill=True)
            raise

    def parts(self) -> Parts:
        """The parts of the sandbox that hold the child, which is started if there is none."""
        return self._ready_child().parts

    def close(self, *, kill: bool = False) -> None:
        """End the child, at once if it may be busy; the next call starts another."""
        child = self.child
        self.child = None
        if child:
            child.close(kill=kill)

    def _ready_child(self) -> Child:
        """A child that waits for a request; a new one if the last was killed since."""
        if self.child and self.child.connection.has_ended():
            self.close()
        self.start()
        if isinstance(self.child, StartingChild):
            self.child = self.child.wait()
        assert self.child
        return self.child

    def _ask(self, request: list[Any], check: Callable[[Any], Any]) -> tuple[Child, Message]:
        """The child and its answer, of which a result has been checked."""
        if isinstance(self.child, Child) and self.child.calls >= CALLS:
            self.close()
        child = self._ready_child()
        answer = child.ask(request, self.seconds, self.memory)
        match answer:
            case ["result", result]:
                try:
                    return child, ["result", check(result)]
                except ValueError as error:
                    return child, ["nonsense", first_line(error)]
        return child, answer

    def _result(self, subject: str | Path, child: Child, answer: Message) -> Any:
        """The result in an answer, or the error that it means."""
        match answer:
            # The child goes on.
            case ["result", result]:
                return result
            case ["error", str(kind), str(reason), str(remedy)] if kind in ERRORS:
                raise ERRORS[kind](subject, reason, printable(remedy))
            case ["refused", str(message)]:
                reason = f"asks for what the sandbox does not permit ({printable(message, 200)})"
                raise self.error(subject, reason, "report this case, with what tfs-rt doctor says")
            case ["unexpected", str(message)]:
                raise self.error(subject, f"cannot be read ({message})", self.remedy)
            # The child is replaced.
            case ["memory"]:
                reason, remedy = self._memory_fault(child)
            case ["late"] | ["ended"]:
                reason = self._ending(child, answer)
                remedy = self.remedy
            case _:
                reason = f"{NONSENSE} ({printable(str(answer[1:]), 200)})"
                remedy = self.remedy
        self.close(kill=True)  # the next child begins with all of its memory
        raise self.error(subject, reason, remedy)

    def _memory_fault(self, child: Child) -> tuple[str, str]:
        """(reason, remedy) if the child had too little memory."""
        reason = f"needs more than {child.memory / 2**30:.3g} GiB of memory to be read"
        if child.memory == self.memory:
            return reason, self.remedy
        return f"{reason}, and this process was given no more ({limits_in_force()})", "raise that limit"

    def _ending(self, child: Child, answer: Message) -> str:
        """The reason why a child ended in the middle of a call."""
        status = child.connection.exit_status(1)  # its pipe is closed, so that it is about to end
        if answer == ["late"] or (status and -status in TIMED_OUT):
            return f"was not read within {self.seconds:g} seconds ({self.cpu_seconds:g} of a processor)"
        if status is None:
            return NONSENSE
        if status == -signal.SIGKILL:
            return "was being read when the system killed the process that reads it, as it does where memory runs out"
        name = signal.Signals(-status).name if status < 0 else f"exit status {status}"
        return f"ended the process that reads it ({name})"
