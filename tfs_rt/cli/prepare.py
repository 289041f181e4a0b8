"""`tfs-rt prepare`."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Annotated, Any

import typer

from tfs_rt.cli.console import Talk
from tfs_rt.cli.extras import workshop
from tfs_rt.cli.options import SCALES
from tfs_rt.errors import TfsRtError, UsageError
from tfs_rt.system.threads import limit_libraries, thread_count, try_threads


def prepare(  # noqa: PLR0913 - one parameter an option
    cases: Annotated[
        list[Path],
        typer.Argument(
            help="Full-resolution groups: folders of cases, nnU-Net folders, or CSV files (id,m1,m2,functional and,"
            " if you like, patient and split).",
            show_default=False,
        ),
    ],
    *,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the set; an interrupted one is finished.")],
    patient: Annotated[
        str | None,
        typer.Option(help="A pattern whose first group is the patient in a case's id; instead of a CSV's column."),
    ] = None,
    scales: Annotated[str, typer.Option(help="Which low-resolution inputs.")] = "2,4,8",
    val: Annotated[
        float, typer.Option(min=0, max=1, help="Share of the cases for validation, unless a CSV's column split says.")
    ] = 0.1,
    test: Annotated[float, typer.Option(min=0, max=1, help="Share of the cases for the test, likewise.")] = 0.2,
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="Cases at a time. (TFS_RT_THREADS, or one a processor)"),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the manifest on stdout.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Errors only.")] = False,
) -> None:
    """Make a training set: low-resolution inputs, BitonicX as ground truth, a split by patient, a manifest with hashes.

    Run it again to finish what was interrupted. Exit codes: 0 all done, 2 usage, 3 some cases failed, 4 none succeeded
    or found, 6 environment.
    """
    limit_libraries()
    try_threads()
    from tfs_rt.cases.discover import discover

    talk = Talk(quiet=quiet)
    _check_patient(patient)
    if val + test >= 1:
        raise UsageError("--val --test", f"{val} and {test} leave nothing to train on", "choose smaller shares")
    preparation = workshop("tfs_rt_reference.data.prepare", extras="fusion")
    if notice := workshop("tfs_rt.methods.compiled", extras="fusion").cache_notice():
        talk.say(f"BitonicX is {notice}")
    request = preparation.Request(
        output=output,
        cases=discover(cases, any_pair=True),
        scales=_scales(scales),
        patient=patient,
        val=val,
        test=test,
        workers=workers or thread_count(),
    )
    with talk.progress("preparing", len(request.cases), "cases") as advance:

        def on_outcome(case: str, outcome: dict[str, Any] | TfsRtError) -> None:
            if isinstance(outcome, TfsRtError):
                talk.failure(case, outcome)
            advance(1)

        prepared = preparation.prepare(request, on_outcome)
    for split, (count, patients) in prepared.splits().items():
        talk.say(f"{split}: {count} cases of {patients} patients")
    talk.say(f"{len(prepared.records)} of {len(request.cases)} cases prepared in {output}")
    if as_json:
        typer.echo(json.dumps(json.loads((output / "manifest.json").read_text(encoding="utf-8"))))
    raise typer.Exit((3 if prepared.records else 4) if prepared.failed else 0)


def _scales(text: str) -> tuple[int, ...]:
    parts = [part.strip() for part in text.split(",")]
    if not all(part in map(str, SCALES) for part in parts):
        raise UsageError("--scales", f"{text!r} is no list of scales", "write 2,4,8 or fewer of them")
    return tuple(sorted(set(map(int, parts))))


def _check_patient(pattern: str | None) -> None:
    try:
        groups = re.compile(pattern).groups if pattern is not None else 1
    except re.error as error:
        raise UsageError("--patient", f"{pattern!r} is no regular expression ({error})", "see its quotes") from error
    if groups < 1:
        raise UsageError("--patient", f"{pattern!r} has no group", "put the patient in parentheses: '([^_]+)_.*'")
