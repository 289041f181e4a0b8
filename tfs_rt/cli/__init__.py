"""The command line: `tfs-rt`. Results go to stdout, talk and progress to stderr."""

from __future__ import annotations

import signal

import typer

from tfs_rt import signals
from tfs_rt.cli import bench, build, cache, distill, doctor, export, fuse, inspect, prepare, status, train, tune, verify
from tfs_rt.cli import eval as evaluation
from tfs_rt.errors import TfsRtError, first_line, printable

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
    with signals.raising():
        try:
            app()
        except BaseException as error:
            raise SystemExit(_ended(error)) from None


def _ended(error: BaseException) -> int | str | None:
    """The exit code of what ended the command, said in one line if it was a fault or a signal."""
    if signals.received:  # whatever else came of it
        signum = signals.received[0]
        _say({signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}[signal.Signals(signum)])
        return 128 + signum
    if isinstance(error, SystemExit):
        return error.code
    if isinstance(error, TfsRtError):
        _say(str(error))
        return error.exit_code
    _say(f"internal error: {type(error).__name__}: {first_line(error)}: please report it")
    return 70


def _say(text: str) -> None:
    typer.echo(f"tfs-rt: {printable(text, 1000)}", err=True)
