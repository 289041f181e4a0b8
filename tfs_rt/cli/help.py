"""The layout of `--help`: options in panels, examples below them."""

from __future__ import annotations

from typing import Any

import typer
from rich.markup import escape
from typer.core import TyperCommand, TyperGroup

# Panels, in the order in which `tfs-rt fuse --help` shows them.
INPUT = "Input"
ALIGN = "Align"
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


class _Layout:
    """Joins the wrapped lines of a docstring, shows --help in the general panel, and prints the examples as they are.

    Typer has an epilog for text below the panels, but some of its versions join the epilog's lines.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self.examples: str = options.pop("epilog", None) or ""
        options["help"] = _join_lines(options.get("help"))
        super().__init__(*arguments, **options)

    def get_help_option(self, ctx: Any) -> Any:
        """The --help option."""
        option = super().get_help_option(ctx)  # pyrefly: ignore[missing-attribute] - Typer's class has it
        if option is not None:
            option.rich_help_panel = GENERAL
            option.metavar = FLAG
        return option

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Print the help, then the examples."""
        super().format_help(ctx, formatter)  # pyrefly: ignore[missing-attribute]
        typer.echo(self.examples)


class Command(_Layout, TyperCommand):
    """A command with this layout of help."""


class Group(_Layout, TyperGroup):
    """A group of commands with this layout of help."""


def examples(*pairs: tuple[str, str]) -> str:
    """The text below the panels: each pair is a sentence and the command that does it."""
    lines = ["", " Examples", ""]
    for sentence, command in pairs:
        lines.append(f" {sentence}:")
        lines.append(f"   {command}")
    return "\n".join(lines)


def default(value: str) -> str:
    """The default of an option whose parameter is None unless it is given, as Typer shows other defaults."""
    return f" [dim]{escape(f'[default: {value}]')}[/]"


def _join_lines(text: str | None) -> str | None:
    """Join the lines of each paragraph, so that the terminal's width wraps them."""
    if text is None:
        return None
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in text.split("\n\n"))
