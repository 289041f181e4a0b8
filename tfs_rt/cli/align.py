"""`tfs-rt align`."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any

import typer

from tfs_rt.cli import align_options as align_option
from tfs_rt.cli import fuse_options as option
from tfs_rt.cli import reading_options as reading_option
from tfs_rt.cli.console import Console
from tfs_rt.cli.help import examples
from tfs_rt.cli.options import AsJson, Quiet, Verbose
from tfs_rt.cli.reading import find_cases, parse_case, parse_reading
from tfs_rt.system.threads import limit_libraries, try_threads

if TYPE_CHECKING:
    from tfs_rt.formats.sandboxed import SandboxedReader

OFFERED = (
    *(name for name in reading_option.OFFERED if name != "--colormap"),
    *("--onto", "--no-register", "--strict", "--output", "--bids", "--id", "--m1", "--m2", "--functional"),
)  # options that remedies may name
EXAMPLES = examples(
    ("Align three DICOM series, each a folder, and look at the page", "tfs-rt align patient -o aligned"),
    ("Onto 1 mm voxels, by the headers alone", "tfs-rt align patient -o aligned --onto 1 --no-register"),
    ("Fuse what was aligned", "tfs-rt fuse aligned -o results"),
)


def align(  # noqa: PLR0913 - one parameter for each option
    cases: option.Cases = None,
    *,
    m1: option.M1 = None,
    m2: option.M2 = None,
    functional: option.Functional = None,
    case_id: option.CaseId = None,
    bids: option.Bids = None,
    window: reading_option.Windows = None,
    nan: reading_option.Nan = None,
    series: reading_option.SeriesOption = None,
    same_frame: reading_option.SameFrame = False,
    allow_lossy: reading_option.AllowLossy = False,
    onto: align_option.Onto = None,
    no_register: align_option.NoRegister = False,
    output: option.Output,
    strict: option.Strict = False,
    require_sandbox: option.RequireSandbox = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Put the three images of each case onto one grid, by rigid registration or by their headers.

    Writes the aligned images into OUTPUT/CASE as NIfTI, with their transforms (ITK), figures (alignment.json) and a
    page to look at (quality.html). tfs-rt fuse OUTPUT then fuses them. Cases that are complete are kept.

    Exit codes: 0 all cases aligned, 2 wrong usage, 3 some cases failed, 4 no case found or all failed, 6 environment.
    """
    # Limit threads before numerical libraries are loaded.
    limit_libraries()
    try_threads()
    from tfs_rt.batch.align import AlignRun, exit_code
    from tfs_rt.formats.sandboxed import SandboxedReader

    # Check the options.
    console = Console(quiet=quiet, verbose=verbose)
    options = align_option.parse_align(onto, no_register=no_register, same_frame=same_frame, strict=strict)
    reading = parse_reading(
        window or [],
        None,
        allow_lossy=allow_lossy,
        nan=nan,
        series=series or (),
        same_frame=same_frame,
        offered=OFFERED,
    )
    reading = dataclasses.replace(reading, align=options)
    single = parse_case(m1, m2, functional, case_id)
    found = find_cases(cases or [], single, output, any_pair=True, bids=bids or [])
    # Align.
    with SandboxedReader() as reader:
        _report_sandbox(reader, console, required=require_sandbox)
        with console.progress("aligning", len(found), "cases") as advance:

            def on_result(row: dict[str, Any]) -> None:
                console.aligned(row)
                advance(1)

            rows = AlignRun(output, found, reading, options, reader).run(on_result)
    # Report the outcome.
    kept = sum(row["status"] == "kept" for row in rows)
    done = kept + sum(row["status"] == "done" for row in rows)
    console.info(f"{done} of {len(rows)} cases aligned into {output}{f', {kept} of them already' if kept else ''}")
    if as_json:
        counts = {"cases": len(rows), "done": done, "kept": kept, "failed": len(rows) - done}
        typer.echo(json.dumps({**counts, "results": rows}))
    raise typer.Exit(exit_code(rows))


def _report_sandbox(reader: SandboxedReader, console: Console, *, required: bool) -> None:
    """Warn of parts of the sandbox that are missing here; EnvironmentFault if all are required."""
    sandbox = reader.sandbox_parts()
    if required:
        sandbox.check_complete()
    if sandbox.warning:
        console.warning(sandbox.warning)
