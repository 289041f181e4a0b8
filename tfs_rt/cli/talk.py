"""What a command says on stderr while it works."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.markup import escape

from tfs_rt.errors import printable


@dataclass(frozen=True, slots=True)
class Talk:
    """Progress bar, one line per failure and warning; nothing but errors when quiet."""

    quiet: bool = False
    verbose: bool = False
    console: Console = field(default_factory=lambda: Console(stderr=True, highlight=False, soft_wrap=True))

    def say(self, text: str) -> None:
        """A line for the user."""
        if not self.quiet:
            self.console.print(escape(printable(text)))

    def result(self, result: dict[str, Any]) -> None:
        """What became of a case."""
        case_id = escape(printable(result["id"], 60))
        if result["status"] == "failed":
            self.console.print(f"[red]failed[/] {escape(_line(result['id'], result['error']))}")
            return
        if self.verbose and not self.quiet:
            size = f"{result['width']}x{result['height']}"
            self.console.print(f"done {case_id} {size} {result['seconds']:.2f} s")
        if not self.quiet:
            for warning in result["warnings"]:
                self.console.print(f"[yellow]warning[/] {case_id}: {escape(warning)}")

    @contextmanager
    def progress(self, total: int) -> Iterator[Callable[[int], None]]:
        """A bar on a terminal, nothing elsewhere; yields the function that moves it on by a number of steps."""
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (TextColumn("fusing"), BarColumn(), MofNCompleteColumn(), TextColumn("steps"), TimeRemainingColumn())
        hidden = self.quiet or not self.console.is_terminal
        with Progress(*columns, console=self.console, disable=hidden, transient=True) as bar:
            task = bar.add_task("fusing", total=total)
            yield lambda steps: bar.advance(task, steps)


def _line(case_id: str, error: dict[str, str]) -> str:
    case_id = printable(case_id, 60)
    subject = "" if error["subject"] == case_id else f" {error['subject']}:"
    return f"{case_id}:{subject} {error['reason']}: {error['remedy']}"
