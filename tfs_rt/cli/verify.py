"""`tfs-rt verify`."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Annotated

import typer

from tfs_rt.cli.console import Talk
from tfs_rt.errors import InputError


def verify(
    output: Annotated[Path, typer.Argument(help="The --output of tfs-rt fuse.", show_default=False)],
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Errors only.")] = False,
) -> None:
    """Hash every result and its inputs again: whether images and sidecars are as they were written.

    Exit codes: 0 all are, 3 some are not, 4 there are none.
    """
    from tfs_rt.batch import verify as verification

    talk, checked = Talk(quiet=quiet), list(verification.verify(output))
    for result in checked:
        if result.verdict == "bad":
            talk.failure(result.case, InputError(result.file, result.reason, result.remedy))
        elif result.inputs != "as they were":
            talk.warn(f"{result.case}: the inputs are {result.inputs}; the result is as it was written")
    bad = sum(result.verdict == "bad" for result in checked)
    talk.say(f"{len(checked) - bad} of {len(checked)} results are as they were written")
    if as_json:
        typer.echo(json.dumps([dataclasses.asdict(result) for result in checked]))
    raise typer.Exit(3 if bad else 0)
