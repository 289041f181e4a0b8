"""The command line: `tfs-rt`. Results go to stdout, talk and progress to stderr."""

from __future__ import annotations

import signal
import sys
from types import FrameType

import typer

from tfs_rt.cli import export, fuse, inspect
from tfs_rt.errors import TfsRtError

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


def main() -> None:
    """Run, and turn every fault into one line and its exit code."""
    signal.signal(signal.SIGTERM, _terminated)
    try:
        app()
    except TfsRtError as error:
        typer.echo(f"tfs-rt: {error}", err=True)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        typer.echo("tfs-rt: interrupted", err=True)
        sys.exit(130)
    except Exception as error:
        typer.echo(f"tfs-rt: internal error: {type(error).__name__}: {error}: please report it", err=True)
        raise SystemExit(70) from error


def _terminated(signum: int, frame: FrameType | None) -> None:
    sys.exit(143)
