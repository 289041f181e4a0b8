"""The command line: `tfs-rt`. Results go to stdout, talk and progress to stderr."""

from __future__ import annotations

import signal
import sys
from types import FrameType

import typer

from tfs_rt.cli import export, fuse, inspect
from tfs_rt.errors import TfsRtError, first_line, printable

app = typer.Typer(
    help="Fuse three registered low-resolution medical images into one high-resolution image. Research use only.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command()(fuse.fuse)
app.command()(export.export)
app.command()(inspect.inspect)


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


class Signalled(BaseException):
    """A signal asked the run to end; it passes every handler of faults, and what is cleaned up is."""

    def __init__(self, signum: int) -> None:
        self.exit_code = 128 + signum
        self.word = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}[signal.Signals(signum)]


def main() -> None:
    """Run, and turn every fault into one line and its exit code."""
    before = {signum: signal.signal(signum, _raise) for signum in (signal.SIGINT, signal.SIGTERM)}
    try:
        app()
    except TfsRtError as error:
        _say(str(error))
        sys.exit(error.exit_code)
    except Signalled as error:
        _say(error.word)
        sys.exit(error.exit_code)
    except Exception as error:
        _say(f"internal error: {type(error).__name__}: {first_line(error)}: please report it")
        raise SystemExit(70) from error
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)


def _raise(signum: int, frame: FrameType | None) -> None:
    raise Signalled(signum)


def _say(text: str) -> None:
    typer.echo(f"tfs-rt: {printable(text, 1000)}", err=True)
