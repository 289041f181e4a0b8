"""The errors that a user can meet, each with the exit code of the command."""

from __future__ import annotations

from pathlib import Path


def first_line(error: BaseException) -> str:
    """The first line of an exception's message, or its class if the message is empty."""
    return next(iter(str(error).splitlines()), "") or type(error).__name__


def printable(text: str, limit: int = 300) -> str:
    """`text` on one line, without control characters, shortened to `limit` characters."""
    line = "".join(c if c.isprintable() else repr(c)[1:-1] for c in " ".join(text.split()))
    return line if len(line) <= limit else f"{line[: limit - 3]}..."


class TfsRtError(Exception):
    """A fault in one line: its subject (a file, a case, an option), the reason and the remedy."""

    exit_code = 70

    def __init__(self, subject: str | Path, reason: str, remedy: str) -> None:
        self.subject = printable(str(subject))
        self.reason = printable(reason, 2000)
        self.remedy = remedy
        super().__init__(f"{self.subject}: {self.reason}: {self.remedy}")

    def __reduce__(self) -> tuple[type[TfsRtError], tuple[str, str, str]]:
        return type(self), (self.subject, self.reason, self.remedy)


class UsageError(TfsRtError):
    """The command line asks for something that cannot be done."""

    exit_code = 2


class InputError(TfsRtError):
    """An image or a case is refused; the other cases go on."""

    exit_code = 3


class NothingFound(TfsRtError):
    """No case was found where the user pointed."""

    exit_code = 4


class ModelError(TfsRtError):
    """A checkpoint or a bundle is refused."""

    exit_code = 5


class EnvironmentFault(TfsRtError):
    """Something outside the program is missing or fails: a package, the disk, a device."""

    exit_code = 6


class LimitReached(EnvironmentFault):
    """The system refuses a thread, a process or memory. Every case would fail, and none is the cause."""
