"""`tfs-rt eval`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from tfs_rt.cli.console import Talk
from tfs_rt.cli.extras import workshop
from tfs_rt.errors import UsageError


def evaluate(
    folders: Annotated[
        list[Path],
        typer.Argument(
            metavar="RESULTS... GROUND_TRUTH",
            help="Folders of <case>.png: one for each method, and last the ground truth.",
            show_default=False,
        ),
    ],
    *,
    sources: Annotated[
        list[Path] | None,
        typer.Option(help="The cases' three images, as for fuse: adds fusion metrics. May be given again."),
    ] = None,
    lpips_weights: Annotated[
        list[Path] | None,
        typer.Option(help="AlexNet's weights and LPIPS's heads (.pth), in one file or two. (default: LPIPS is n/a)"),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder for eval.json, eval.csv and table1.md.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON on stdout, not a table.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="The table only: no progress.")] = False,
) -> None:
    """Score folders of results, of any method, against ground truth.

    The paper's measures, the same inside the head, colour bias and, with --sources, fusion metrics: each with its
    definition, a confidence interval over cases, and paired differences to the first folder.
    Exit codes: 0 all cases scored, 2 usage, 3 some left out, 4 none scored, 5 weights refused, 6 environment.
    """
    if len(folders) < 2:
        raise UsageError("RESULTS... GROUND_TRUTH", "only one folder is given", "give results and then ground truth")
    from tfs_rt.output.results import prepare_output

    talk = Talk(quiet=quiet)
    evaluation, report = (workshop(f"tfs_rt_bench.evaluation.{name}", extras="metrics") for name in ("score", "report"))
    lpips = None
    if lpips_weights:
        lpips = workshop("tfs_rt_bench.measures.lpips", extras="metrics,export").load_lpips(lpips_weights)
    if output:
        prepare_output(output)
    *results, truth = folders
    request = evaluation.Request(tuple(results), truth, tuple(sources or ()), lpips)
    with talk.progress("scoring", len(evaluation.image_files(truth)), "cases") as advance:
        found = evaluation.evaluate(request, advance)
    for error in found.problems:
        talk.warn(str(error))
    if output:
        report.write(found, output)
        talk.say(f"wrote {output / 'eval.json'}, eval.csv and table1.md")
    if as_json:
        typer.echo(json.dumps(report.to_json(found)))
    else:
        report.print_table(found)
    raise typer.Exit(3 if found.problems else 0)
