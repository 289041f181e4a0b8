"""Messages of a command on stderr: progress, warnings, failed cases."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import rich.console
from rich.markup import escape

from tfs_rt.batch.question import is_question
from tfs_rt.errors import TfsRtError, printable


def _stderr() -> rich.console.Console:
    return rich.console.Console(stderr=True, highlight=False, emoji=False, soft_wrap=True)


@dataclass(frozen=True, slots=True)
class Console:
    """Writes one line for each message, and shows progress bars. If quiet, it writes failures only."""

    quiet: bool = False
    verbose: bool = False
    stderr: rich.console.Console = field(default_factory=_stderr)
    asked: set[str] = field(default_factory=set)  # questions about the run

    def info(self, text: str) -> None:
        """A message."""
        if not self.quiet:
            self.stderr.print(escape(printable(text)))

    def warning(self, text: str) -> None:
        """A warning."""
        if not self.quiet:
            self.stderr.print(f"[yellow]warning[/] {escape(printable(text, 600))}")

    def failure(self, case_id: str, error: TfsRtError) -> None:
        """A failed case."""
        self._failure(case_id, error.subject, error.reason, error.remedy)

    def _failure(self, case_id: str, subject: str, reason: str, remedy: str) -> None:
        case_id = printable(case_id, 60)
        about = "" if subject == case_id else f" {subject}:"
        self.stderr.print(f"[red]failed[/] {escape(f'{case_id}:{about} {reason}: {remedy}')}")

    def result(self, result: dict[str, Any]) -> None:
        """A case's entry in the report: its failure, or its warnings and, if verbose, its size and time."""
        case_id = escape(printable(result["id"], 60))
        if result["status"] == "failed":
            self._failure(result["id"], **result["error"])
            return
        if self.verbose and not self.quiet:
            size = f"{result['width']}x{result['height']}"
            time = "already" if result["status"] == "kept" else f"{result['seconds']:.2f} s"
            self.stderr.print(f"done {case_id} {size} {time}")
        if not self.quiet:
            for warning in result["warnings"]:
                self._warning_of_case(case_id, warning)

    def aligned(self, row: dict[str, Any]) -> None:
        """A case of `tfs-rt align`: its failure, or its warnings and, if verbose, where it was written."""
        if row["status"] == "failed":
            self._failure(row["id"], **row["error"])
            return
        case_id = escape(printable(row["id"], 60))
        if self.verbose and not self.quiet:
            already = " already" if row["status"] == "kept" else ""
            self.stderr.print(f"done {case_id}{already}: {escape(printable(row['folder']))}")
        if not self.quiet:
            for warning in row["warnings"]:
                self._warning_of_case(case_id, warning)

    def _warning_of_case(self, case_id: str, warning: str) -> None:
        """A case's warning; a question about the whole run is asked once."""
        if not is_question(warning):
            self.stderr.print(f"[yellow]warning[/] {case_id}: {escape(warning)}")
        elif warning not in self.asked:
            self.asked.add(warning)
            self.warning(warning)

    def relay(self, line: str) -> None:
        """A message of one of our worker processes."""
        self.stderr.print(escape(printable(line, 1000)))

    @contextmanager
    def status(self, doing: str) -> Generator[Callable[[str], None]]:
        """Show a spinner on a terminal, nothing elsewhere. Yields the function that shows the current step."""
        if self.quiet or not self.stderr.is_terminal:
            yield lambda step: None
            return
        with self.stderr.status(doing) as spinner:
            yield lambda step: spinner.update(f"{doing}: {escape(step.lower())}")

    @contextmanager
    def progress(self, doing: str, total: int, units: str) -> Generator[Callable[[float], None]]:
        """Show a bar on a terminal, nothing elsewhere. Yields the function that advances it by some units."""
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (TextColumn(doing), BarColumn(), MofNCompleteColumn(), TextColumn(units), TimeRemainingColumn())
        hidden = self.quiet or not self.stderr.is_terminal
        with Progress(*columns, console=self.stderr, disable=hidden, transient=True) as bar:
            task = bar.add_task(doing, total=total)
            yield lambda done: bar.advance(task, done)
