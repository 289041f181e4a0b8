"""`tfs-rt verify`."""

from __future__ import annotations

import dataclasses
import json

import typer

from tfs_rt.cli.console import Console
from tfs_rt.cli.help import examples
from tfs_rt.cli.options import AsJson, Quiet, ResultFolder
from tfs_rt.errors import InputError

EXAMPLES = examples(
    ("Check all results of a run", "tfs-rt verify results"),
    ("The same for a program, with a line for each result", "tfs-rt verify results --json -q"),
)


def verify(output: ResultFolder, *, as_json: AsJson = False, quiet: Quiet = False) -> None:
    """Check by their hashes that results, sidecars and inputs are unchanged since they were fused.

    Exit codes: 0 all results are unchanged, 3 some are not, 4 there are no results.
    """
    from tfs_rt.batch import verify as verification

    console = Console(quiet=quiet)
    checked = list(verification.verify(output))
    for result in checked:
        if result.verdict == "bad":
            console.failure(result.case, InputError(result.file, result.reason, result.remedy))
        elif result.inputs != "as they were":
            console.warning(f"{result.case}: the inputs are {result.inputs}; the result is as it was written")
    bad = sum(result.verdict == "bad" for result in checked)
    console.info(f"{len(checked) - bad} of {len(checked)} results are as they were written")
    if as_json:
        typer.echo(json.dumps([dataclasses.asdict(result) for result in checked]))
    raise typer.Exit(3 if bad else 0)
