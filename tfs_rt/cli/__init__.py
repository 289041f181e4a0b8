"""The command line: `tfs-rt`. Results go to stdout, talk and progress to stderr.

Neither stream ends a command when it is lost: see `tfs_rt.cli.streams`.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import typer

from tfs_rt.cli import (
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
from tfs_rt.errors import EnvironmentFault, TfsRtError, UsageError, first_line, printable
from tfs_rt.system import signals
from tfs_rt.system.resource_limits import limit_fault, memory_fault

THROUGH = (0, 3, 4)  # exit codes of a command that has printed its results

app = typer.Typer(
    help="Fuse three registered low-resolution medical images into one high-resolution image. Research use only.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command()(fuse.fuse)
app.command()(export.export)
app.command()(build.build)
app.command()(doctor.doctor)
app.command()(inspect.inspect)
app.command()(status.status)
app.command()(examples.examples)
app.command()(verify.verify)
app.command("eval")(evaluation.evaluate)
app.command()(prepare.prepare)
app.command()(train.train)
app.command()(distill.distill)
app.command()(tune.tune)
app.add_typer(cache.app, name="cache")
app.add_typer(bench.app, name="bench")


@app.callback(invoke_without_command=True)
def top(
    *,
    version: bool = typer.Option(False, "--version", help="Print the version and exit.", is_eager=True),
) -> None:
    """Options before the command."""
    if version:
        from tfs_rt import __version__

        typer.echo(__version__)
        raise typer.Exit


def main() -> None:
    """Run, and turn every fault into one line and its exit code."""
    streams.install()
    with signals.raising():
        try:
            _check_arguments(sys.argv[1:])
            app()
        except BaseException as error:
            code = _ended(error)
            fault = streams.stdout_fault(to_the_end="--json" in sys.argv) if code in THROUGH else None
            raise SystemExit(_ended(fault) if fault else code) from None


def _check_arguments(arguments: Sequence[str]) -> None:
    """UsageError for an empty output, which as a path would be the current folder."""
    pairs = pairwise(arguments)
    if "--output=" in arguments or any(name in ("-o", "--output") and not value for name, value in pairs):
        raise UsageError(
            "--output", "is followed by an empty argument", "fill it in: the variable it came from is empty"
        )


def _ended(error: BaseException) -> int:
    """The exit code of what ended the command, said in one line if it was a fault or a signal."""
    if signals.received:  # whatever else came of it
        signum = signals.received[0]
        _say({signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}[signal.Signals(signum)])
        return 128 + signum
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else int(error.code is not None)
    if isinstance(error, MemoryError):
        error = memory_fault()
    fault = error if isinstance(error, TfsRtError) else limit_fault(error) or _lost_folder(error)
    if fault:
        _say(str(fault))
        return fault.exit_code
    _say(f"internal error: {type(error).__name__}: {first_line(error)}: please report it")
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


def _say(text: str) -> None:
    typer.echo(f"tfs-rt: {printable(text, 1000)}", err=True)
