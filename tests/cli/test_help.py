"""`--help` of every command: whole names at 80 columns, panels, and examples that the program accepts."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

import pytest
from rich.text import Text
from typer.main import get_command
from typer.testing import CliRunner

from tfs_rt.backends.registry import BACKENDS
from tfs_rt.cases.colormaps import STOPS
from tfs_rt.cli import app
from tfs_rt.cli.reading_options import COLORMAPS
from tfs_rt.formats.registry import NAMES as FORMAT_ENDINGS
from tfs_rt.methods.registry import METHODS
from tfs_rt.sampling.registry import SAMPLERS

PROGRAM: Any = get_command(app)
PANEL = re.compile(r"╭─ (.+?) ─*╮")
MANY = 8  # options: more of them need panels beside the general one


def find_commands(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """All commands and groups, with their names."""
    yield path, command
    for name, child in getattr(command, "commands", {}).items():
        yield from find_commands(child, (*path, name))


COMMANDS = dict(find_commands(PROGRAM))
every_command = pytest.mark.parametrize("path", COMMANDS, ids=lambda path: " ".join(path) or "tfs-rt")


def help_text(path: tuple[str, ...], columns: int = 80) -> str:
    return rendered_help(path, columns)


@cache
def rendered_help(path: tuple[str, ...], columns: int) -> str:
    outcome = CliRunner().invoke(app, [*path, "--help"], env={"COLUMNS": str(columns)})
    assert outcome.exit_code == 0, outcome.output
    return outcome.output


def examples_of(path: tuple[str, ...]) -> list[str]:
    return [line.strip() for line in COMMANDS[path].examples.splitlines() if line.startswith("  ")]


@every_command
@pytest.mark.parametrize("columns", [80, 120])
def test_names_are_whole_and_lines_fit_the_terminal(path: tuple[str, ...], columns: int) -> None:
    text = help_text(path, columns)
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= columns
    for parameter in COMMANDS[path].params:
        names = [parameter.metavar] if parameter.param_type_name == "argument" else parameter.opts
        for name in [*names, *parameter.secondary_opts]:
            assert re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", text), name


@every_command
def test_options_stand_in_panels(path: tuple[str, ...]) -> None:
    panels = PANEL.findall(help_text(path))
    assert "General" in panels
    assert "Options" not in panels
    options = [parameter for parameter in COMMANDS[path].params if parameter.param_type_name == "option"]
    assert len(options) <= MANY or len(panels) >= 4, panels


def test_the_options_of_fuse_stand_in_the_panels_of_its_concerns() -> None:
    panels = PANEL.findall(help_text(("fuse",)))
    assert panels == ["Arguments", "Input", "Align", "Model and recipe", "Output", "Many cases", "Trust", "General"]


@every_command
def test_every_parameter_has_a_sentence_of_help(path: tuple[str, ...]) -> None:
    for parameter in COMMANDS[path].params:
        text = Text.from_markup(parameter.help).plain
        assert re.fullmatch(r".*\.( \[default: .*\])?", text), (parameter.name, text)
        assert not re.match(r"(What|Whose|Whether|Which|How|Where|Of) ", text), (parameter.name, text)


@every_command
def test_there_are_two_examples_that_fit_the_terminal(path: tuple[str, ...]) -> None:
    examples = examples_of(path)
    assert len(examples) >= 2
    text = help_text(path)
    for example in examples:
        assert re.search(rf"^   {re.escape(example)} *$", text, re.MULTILINE), example


@every_command
def test_the_program_accepts_its_examples(path: tuple[str, ...]) -> None:
    for example in examples_of(path):
        for line in example.split(" && "):
            program, *arguments = shlex.split(line)
            assert program == "tfs-rt"
            parse(PROGRAM, arguments)
    assert any(" ".join(["tfs-rt", *path]) in example for example in examples_of(path))


def parse(command: Any, arguments: Sequence[str]) -> None:
    """Parse a command line as the program does, and run nothing; an unknown name or a wrong value raises."""
    context = command.make_context("tfs-rt", list(arguments))
    rest = [*context._protected_args, *context.args]
    if rest:
        _, child, arguments = command.resolve_command(context, rest)
        parse(child, arguments)


def test_the_parser_of_the_examples_refuses_an_unknown_option() -> None:
    for line in ("fuse in -o out --no-such-option", "fuse in -o out --backend none", "bench compare a"):
        with pytest.raises(Exception, match=r"(?i)no such option|not known|missing"):
            parse(PROGRAM, line.split())


def test_the_program_alone_prints_its_help_and_succeeds() -> None:
    alone = CliRunner().invoke(app, [], env={"COLUMNS": "80"})
    assert alone.exit_code == 0
    assert alone.output.strip() == help_text(()).strip()


@pytest.mark.parametrize("names", [BACKENDS, METHODS, SAMPLERS, FORMAT_ENDINGS])
def test_choices_of_fuse_are_those_of_the_registries(names: dict[str, object]) -> None:
    text = " ".join(re.sub("│", " ", help_text(("fuse",), columns=200)).split())
    for name in names:
        assert re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", text), name


def test_colour_maps_are_those_that_exist() -> None:
    assert set(COLORMAPS) == STOPS.keys()
