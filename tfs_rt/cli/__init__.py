"""The command line: `tfs-rt`. Results go to stdout, messages and progress to stderr.

A lost stream does not end a command: see `tfs_rt.cli.streams`.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Annotated

import typer

from tfs_rt.cli import (
    align,
    bench,
    build,
    cache,
    distill,
    doctor,
    examples,
    export,
    fuse,
    inspect,
    prepare,
    status,
    streams,
    train,
    tune,
    verify,
)
from tfs_rt.cli import eval as evaluation
from tfs_rt.cli.help import (
    FLAG,
    FUSE_COMMANDS,
    GENERAL,
    MACHINE_COMMANDS,
    MEASURE_COMMANDS,
    MODEL_COMMANDS,
    Command,
    Group,
)
from tfs_rt.cli.help import examples as example_text
from tfs_rt.errors import EnvironmentFault, TfsRtError, UsageError, first_line, printable
from tfs_rt.system import signals
from tfs_rt.system.resource_limits import limit_fault, memory_fault

ALL_CASES_TRIED = (0, 3, 4)  # exit codes of a command that has printed its results

Version = Annotated[
    bool,
    typer.Option("--version", metavar=FLAG, is_eager=True, help="Print the version.", rich_help_panel=GENERAL),
]
app = typer.Typer(
    cls=Group,
    help="Fuse three registered low-resolution medical images into one high-resolution image. Research use only.",
    epilog=example_text(
        (
            "Fuse the examples",
            "tfs-rt examples -o examples && tfs-rt fuse examples -o results --sheet",
        ),
        ("Show which backends run on this machine", "tfs-rt doctor"),
    ),
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)


def _add_command(function: Callable[..., None], panel: str, epilog: str, name: str | None = None) -> None:
    app.command(name, cls=Command, rich_help_panel=panel, epilog=epilog)(function)


_add_command(fuse.fuse, FUSE_COMMANDS, fuse.EXAMPLES)
_add_command(align.align, FUSE_COMMANDS, align.EXAMPLES)
_add_command(status.status, FUSE_COMMANDS, status.EXAMPLES)
_add_command(verify.verify, FUSE_COMMANDS, verify.EXAMPLES)
_add_command(examples.examples, FUSE_COMMANDS, examples.EXAMPLES)
_add_command(inspect.inspect, MODEL_COMMANDS, inspect.EXAMPLES)
_add_command(prepare.prepare, MODEL_COMMANDS, prepare.EXAMPLES)
_add_command(train.train, MODEL_COMMANDS, train.EXAMPLES)
_add_command(distill.distill, MODEL_COMMANDS, distill.EXAMPLES)
_add_command(export.export, MODEL_COMMANDS, export.EXAMPLES)
_add_command(tune.tune, MODEL_COMMANDS, tune.EXAMPLES)
_add_command(evaluation.evaluate, MEASURE_COMMANDS, evaluation.EXAMPLES, name="eval")
app.add_typer(bench.app, name="bench", rich_help_panel=MEASURE_COMMANDS)
_add_command(doctor.doctor, MACHINE_COMMANDS, doctor.EXAMPLES)
_add_command(build.build, MACHINE_COMMANDS, build.EXAMPLES)
app.add_typer(cache.app, name="cache", rich_help_panel=MACHINE_COMMANDS)


@app.callback(invoke_without_command=True)
def top(context: typer.Context, *, version: Version = False) -> None:
    """Options before the command. Without a command, print the help."""
    if version:
        from tfs_rt import __version__

        typer.echo(__version__)
        raise typer.Exit
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


def main() -> None:
    """Run the command, and turn every fault into one line and its exit code."""
    streams.install()
    with signals.raise_as_exceptions():
        try:
            _check_arguments(sys.argv[1:])
            app()
        except BaseException as error:
            code = _report_end(error)
            if code in ALL_CASES_TRIED and (lost := streams.stdout_fault(to_the_end="--json" in sys.argv)):
                code = _report_end(lost)
            raise SystemExit(code) from None


def _check_arguments(arguments: Sequence[str]) -> None:
    """UsageError for an empty output, which as a path would be the current folder."""
    pairs = pairwise(arguments)
    if "--output=" in arguments or any(name in ("-o", "--output") and not value for name, value in pairs):
        reason = "is followed by an empty argument"
        raise UsageError("--output", reason, "fill it in: the variable it came from is empty")


def _report_end(error: BaseException) -> int:
    """Report a fault or a signal in one line. Returns the exit code of whatever ended the command."""
    # A signal comes first, even if a library turned it into another error.
    if signals.received:
        signum = signals.received[0]
        _report({signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}[signal.Signals(signum)])
        return 128 + signum
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else int(error.code is not None)
    if isinstance(error, MemoryError):
        error = memory_fault()
    fault = error if isinstance(error, TfsRtError) else limit_fault(error) or _lost_folder(error)
    if fault:
        _report(str(fault))
        return fault.exit_code
    _report(f"internal error: {type(error).__name__}: {first_line(error)}: please report it")
    return 70


def _lost_folder(error: BaseException) -> EnvironmentFault | None:
    """The fault of a current folder that was removed; None for any other error."""
    if not isinstance(error, FileNotFoundError):
        return None
    try:
        Path.cwd()
    except FileNotFoundError:
        return EnvironmentFault("the current folder", "was removed", "change to another folder")
    return None


def _report(text: str) -> None:
    typer.echo(f"tfs-rt: {printable(text, 1000)}", err=True)
