"""`tfs-rt status`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import typer

from tfs_rt.cli.help import examples
from tfs_rt.cli.options import AsJson, ResultFolder
from tfs_rt.errors import printable

EXAMPLES = examples(
    ("Progress of a run, also from another terminal", "tfs-rt status results"),
    ("The same for a program", "tfs-rt status results --json"),
)


def status(output: ResultFolder, *, as_json: AsJson = False) -> None:
    """Show the progress of a run, or how it ended: counts, speed and the cases that failed.

    Exit codes: 0 there is a run in OUTPUT, 4 there is none.
    """
    from tfs_rt.batch import progress

    found = progress.status(output)
    if as_json:
        typer.echo(json.dumps(found))
        return
    for line in _lines(found, running=found["state"] == progress.RUNNING):
        typer.echo(line)


def _lines(found: dict[str, Any], *, running: bool) -> Iterator[str]:
    """The status as text."""
    # Counts.
    already = f" ({found['kept']} of them by an earlier run)" if found["kept"] else ""
    done = f"{found['done'] + found['kept']} of {found['cases']} done{already}"
    yield f"{printable(found['state'], 60)}: {done}, {found['failed']} failed, {found['left']} left"

    # The process, and the time that it still needs.
    if running:
        left = found["seconds_left"]
        time = "" if left is None else f", about {left / 60:.0f} minutes to go"
        runner = f"process {found['process']} on {found['host']}" if "process" in found else "in shards"
        yield f"{printable(runner)}, since {printable(found['begun'])}{time}"
    if "lock" in found:
        yield f"if that run has ended, remove its lock: {printable(found['lock'], 600)}"

    # Shards and failed cases, one line each.
    for shard, state in found.get("shards", {}).items():
        yield f"shard {shard}: {printable(state, 60)}"
    for case, error in found["errors"].items():
        yield f"failed {printable(case, 60)}: {printable(error, 600)}"
