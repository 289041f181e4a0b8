"""What a command says on stderr while it works."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.markup import escape

from tfs_rt.errors import TfsRtError, printable


@dataclass(frozen=True, slots=True)
class Talk:
    """Progress bar, one line per failure and warning; nothing but errors when quiet."""

    quiet: bool = False
    verbose: bool = False
    console: Console = field(default_factory=lambda: Console(stderr=True, highlight=False, emoji=False, soft_wrap=True))

    def say(self, text: str) -> None:
        """A line for the user."""
        if not self.quiet:
            self.console.print(escape(printable(text)))

    def warn(self, text: str) -> None:
        """What was left out or may be wrong."""
        if not self.quiet:
            self.console.print(f"[yellow]warning[/] {escape(printable(text, 600))}")

    def failure(self, case_id: str, error: TfsRtError) -> None:
        """A case that failed."""
        self._failed(case_id, error.subject, error.reason, error.remedy)

    def _failed(self, case_id: str, subject: str, reason: str, remedy: str) -> None:
        case_id = printable(case_id, 60)
        about = "" if subject == case_id else f" {subject}:"
        self.console.print(f"[red]failed[/] {escape(f'{case_id}:{about} {reason}: {remedy}')}")

    def result(self, result: dict[str, Any]) -> None:
        """What became of a case."""
        case_id = escape(printable(result["id"], 60))
        if result["status"] == "failed":
            self._failed(result["id"], **result["error"])
            return
        if self.verbose and not self.quiet:
            size = f"{result['width']}x{result['height']}"
            took = "already" if result["status"] == "kept" else f"{result['seconds']:.2f} s"
            self.console.print(f"done {case_id} {size} {took}")
        if not self.quiet:
            for warning in result["warnings"]:
                self.console.print(f"[yellow]warning[/] {case_id}: {escape(warning)}")

    def pass_on(self, line: str) -> None:
        """A line that another process of ours has said."""
        self.console.print(escape(printable(line, 1000)))

    @contextmanager
    def status(self, doing: str) -> Iterator[Callable[[str], None]]:
        """A spinner on a terminal, nothing elsewhere; yields the function that says what is being done now."""
        if self.quiet or not self.console.is_terminal:
            yield lambda now: None
            return
        with self.console.status(doing) as spinner:
            yield lambda now: spinner.update(f"{doing}: {escape(now.lower())}")

    @contextmanager
    def progress(self, doing: str, total: int, units: str) -> Iterator[Callable[[float], None]]:
        """A bar on a terminal, nothing elsewhere; yields the function that moves it on by some units."""
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (TextColumn(doing), BarColumn(), MofNCompleteColumn(), TextColumn(units), TimeRemainingColumn())
        hidden = self.quiet or not self.console.is_terminal
        with Progress(*columns, console=self.console, disable=hidden, transient=True) as bar:
            task = bar.add_task(doing, total=total)
            yield lambda done: bar.advance(task, done)
