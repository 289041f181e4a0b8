"""`tfs-rt status`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from tfs_rt.errors import printable


def status(
    output: Annotated[Path, typer.Argument(help="The --output of tfs-rt fuse.", show_default=False)],
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Print how far a run is or was, also while it goes on: counts, pace, and the cases that failed.

    Exit codes: 0 there is a run, 4 there is none.
    """
    from tfs_rt.batch import progress

    found = progress.status(output)
    if as_json:
        typer.echo(json.dumps(found))
        return
    already = f" ({found['kept']} of them by an earlier run)" if found["kept"] else ""
    done = f"{found['done'] + found['kept']} of {found['cases']} done{already}"
    typer.echo(f"{printable(found['state'], 60)}: {done}, {found['failed']} failed, {found['left']} left")
    if found["state"] == progress.RUNNING:
        left = found["seconds_left"]
        pace = "" if left is None else f", about {left / 60:.0f} minutes to go"
        who = f"process {found['process']} on {found['host']}" if "process" in found else "in shards"
        typer.echo(f"{printable(who)}, since {printable(found['begun'])}{pace}")
    if "lock" in found:
        typer.echo(f"if that run has ended, remove its lock: {printable(found['lock'], 600)}")
    for shard, state in found.get("shards", {}).items():
        typer.echo(f"shard {shard}: {printable(state, 60)}")
    for case, error in found["errors"].items():
        typer.echo(f"failed {printable(case, 60)}: {printable(error, 600)}")
