"""The layout of `--help`: options in panels, examples below them."""

from __future__ import annotations

from typing import Any

from rich.markup import escape
from typer.core import TyperCommand, TyperGroup

# Panels, in the order in which `tfs-rt fuse --help` shows them.
INPUT = "Input"
MODEL = "Model and recipe"
OUTPUT = "Output"
MANY_CASES = "Many cases"
TRUST = "Trust"
SPLIT = "Split"
TRAINING = "Training"
TEACHER = "Teacher"
SEARCH = "Search"
ENGINE = "TensorRT engine"
MEASURING = "Measuring"
GENERAL = "General"

# Panels of commands in `tfs-rt --help`.
FUSE_COMMANDS = "Fuse images"
MODEL_COMMANDS = "Train and export models"
MEASURE_COMMANDS = "Measure"
MACHINE_COMMANDS = "This machine"

FLAG = ""  # metavar of an option without a value
WIDTH = 76  # columns of an example, so that it fits a terminal of 80


class Command(TyperCommand):
    """A command whose docstring may be wrapped, and whose --help is in the panel of general options."""

    def __init__(self, *arguments: Any, help: str | None = None, **options: Any) -> None:
        super().__init__(*arguments, help=_join_lines(help), **options)

    def get_help_option(self, ctx: Any) -> Any:
        """The --help option."""
        return _in_general_panel(super().get_help_option(ctx))


class Group(TyperGroup):
    """The same for a group of commands."""

    def __init__(self, *arguments: Any, help: str | None = None, **options: Any) -> None:
        super().__init__(*arguments, help=_join_lines(help), **options)

    def get_help_option(self, ctx: Any) -> Any:
        """The --help option."""
        return _in_general_panel(super().get_help_option(ctx))


def examples(*pairs: tuple[str, str]) -> str:
    """The text below the panels: each pair is a sentence and the command that does it."""
    lines = ["[bold]Examples[/]", ""]
    for sentence, command in pairs:
        lines.append(escape(f"{sentence}:"))
        lines.append(escape(f"  {command}"))
    return "\n".join(lines)


def default(value: str) -> str:
    """The default of an option whose parameter is None unless it is given, as Typer shows other defaults."""
    return f" [dim]{escape(f'[default: {value}]')}[/]"


def _join_lines(text: str | None) -> str | None:
    """Join the lines of each paragraph, so that the terminal's width wraps them."""
    if text is None:
        return None
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in text.split("\n\n"))


def _in_general_panel(option: Any) -> Any:
    if option is not None:
        option.rich_help_panel = GENERAL
        option.metavar = FLAG
    return option
