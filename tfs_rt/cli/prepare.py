"""`tfs-rt prepare`."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Annotated, Any

import typer

from tfs_rt.cli import reading_options as reading_option
from tfs_rt.cli.console import Console
from tfs_rt.cli.extras import import_extra
from tfs_rt.cli.help import INPUT, MANY_CASES, OUTPUT, SPLIT, default, examples
from tfs_rt.cli.options import SCALES, AsJson, Quiet
from tfs_rt.cli.parsers import comma_list, fraction, whole_number
from tfs_rt.cli.reading import parse_reading
from tfs_rt.errors import TfsRtError, UsageError
from tfs_rt.system.threads import limit_libraries, thread_count, try_threads

EXAMPLES = examples(
    (
        "Ids such as p1_s3: the patient is before the underscore",
        "tfs-rt prepare groups -o set --patient '([^_]+)_.*'",
    ),
    ("Patients and split from the columns of a CSV file", "tfs-rt prepare groups.csv -o set --scales 4"),
)

Cases = Annotated[
    list[Path],
    typer.Argument(
        metavar="CASES",
        help="Cases of full resolution: folders of cases, nnU-Net folders, or CSV files (id,m1,m2,functional; also"
        " patient and split).",
        show_default=False,
    ),
]
Patient = Annotated[
    str | None,
    typer.Option(
        metavar="PATTERN",
        help="Regular expression whose first group is the patient in a case's id. Without it: a CSV file's column.",
        rich_help_panel=INPUT,
    ),
]
SetFolder = Annotated[
    Path,
    typer.Option(
        "--output",
        "-o",
        metavar="SET",
        help="Folder for the training set. One that was interrupted is finished.",
        rich_help_panel=OUTPUT,
    ),
]
Scales = Annotated[
    str, typer.Option(metavar="LIST", help="Scales of the low-resolution inputs.", rich_help_panel=OUTPUT)
]
Validation = Annotated[
    float,
    typer.Option(
        parser=fraction,
        metavar="X",
        help="Share of the cases for validation, if the CSV file has no column split.",
        rich_help_panel=SPLIT,
    ),
]
Test = Annotated[
    float,
    typer.Option(
        parser=fraction, metavar="X", help="Share of the cases for the test, likewise.", rich_help_panel=SPLIT
    ),
]
Workers = Annotated[
    int | None,
    typer.Option(
        parser=whole_number(1),
        metavar="N",
        help="Cases prepared at a time." + default("TFS_RT_THREADS, or one for each processor"),
        rich_help_panel=MANY_CASES,
    ),
]


def prepare(  # noqa: PLR0913 - one parameter for each option
    cases: Cases,
    *,
    patient: Patient = None,
    window: reading_option.Windows = None,
    colormap: reading_option.Colormap = None,
    nan: reading_option.Nan = None,
    series: reading_option.SeriesOption = None,
    same_frame: reading_option.SameFrame = False,
    allow_lossy: reading_option.AllowLossy = False,
    output: SetFolder,
    scales: Scales = "2,4,8",
    val: Validation = 0.1,
    test: Test = 0.2,
    workers: Workers = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Make a training set: low-resolution inputs, ground truth by BitonicX, and a split by patient.

    Each slice of a volume is a case of the set, named CASE-slice001 and so on, of the volume's patient and split.
    Run the same command again to finish a set that was interrupted.

    Exit codes: 0 all cases prepared, 2 wrong usage, 3 some cases failed, 4 no case found or all failed, 6 environment.
    """
    # Limit threads before numerical libraries are loaded.
    limit_libraries()
    try_threads()
    from tfs_rt.cases.discover import discover
    from tfs_rt.cases.remedies import only_options

    # Check the options.
    console = Console(quiet=quiet)
    reading = parse_reading(
        window or [],
        colormap,
        allow_lossy=allow_lossy,
        nan=nan,
        series=series or [],
        same_frame=same_frame,
        offered=reading_option.OFFERED,
    )
    _check_patient(patient)
    if val + test >= 1:
        raise UsageError("--val --test", f"{val} and {test} leave nothing to train on", "choose smaller shares")
    # Prepare the set.
    preparation = import_extra("tfs_rt_reference.data.prepare", extras="fusion")
    if notice := import_extra("tfs_rt.methods.compiled", extras="fusion").cache_notice():
        console.info(f"BitonicX is {notice}")
    with only_options(reading.offered):
        found = discover(cases, any_pair=True)
    request = preparation.Request(
        output=output,
        cases=found,
        reading=reading,
        scales=_parse_scales(scales),
        patient=patient,
        val=val,
        test=test,
        workers=workers or thread_count(),
    )
    prepared = _prepare_set(preparation, request, console)
    # Report the outcome.
    if as_json:
        typer.echo(json.dumps(json.loads((output / "manifest.json").read_text(encoding="utf-8"))))
    raise typer.Exit((3 if prepared.records else 4) if prepared.failed else 0)


def _prepare_set(preparation: Any, request: Any, console: Console) -> Any:
    """Prepare all cases, with a progress bar and a line for each failure."""
    with console.progress("preparing", len(request.cases), "cases") as advance:

        def on_outcome(case: str, outcome: list[dict[str, Any]] | TfsRtError) -> None:
            if isinstance(outcome, TfsRtError):
                console.failure(case, outcome)
            advance(1)

        prepared = preparation.prepare(request, on_outcome)
    for split, (count, patients) in prepared.splits().items():
        console.info(f"{split}: {count} cases of {patients} patients")
    done = len(request.cases) - len(prepared.failed)
    slices = f", as {len(prepared.records)} slices" if len(prepared.records) != done else ""
    console.info(f"{done} of {len(request.cases)} cases prepared in {request.output}{slices}")
    return prepared


def _parse_scales(text: str) -> tuple[int, ...]:
    parts = comma_list(text)
    if not all(part in map(str, SCALES) for part in parts):
        raise UsageError("--scales", f"{text!r} is not a list of scales", "write 2,4,8 or fewer of them")
    return tuple(sorted(set(map(int, parts))))


def _check_patient(pattern: str | None) -> None:
    """UsageError for a pattern without a group."""
    if pattern is None:
        return
    try:
        groups = re.compile(pattern).groups
    except re.error as error:
        reason = f"{pattern!r} is not a regular expression ({error})"
        raise UsageError("--patient", reason, "check its quotes and parentheses") from error
    if groups < 1:
        raise UsageError("--patient", f"{pattern!r} has no group", "put the patient in parentheses: '([^_]+)_.*'")
