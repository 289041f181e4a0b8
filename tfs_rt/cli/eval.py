"""`tfs-rt eval`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from tfs_rt.cli import reading_options as reading_option
from tfs_rt.cli.console import Console
from tfs_rt.cli.extras import import_extra
from tfs_rt.cli.help import INPUT, OUTPUT, examples
from tfs_rt.cli.options import AsJson, Quiet
from tfs_rt.cli.reading import parse_reading
from tfs_rt.errors import UsageError

EXTRAS = "metrics"
EXAMPLES = examples(
    ("Compare two methods with the ground truth", "tfs-rt eval ours two-stage truth"),
    ("With fusion metrics, into a folder", "tfs-rt eval ours truth --sources set/test/x1 -o report"),
)

Folders = Annotated[
    list[Path],
    typer.Argument(
        metavar="RESULTS... GROUND_TRUTH",
        help="Folders of images or volumes named by case, as tfs-rt fuse and prepare write them: one for each method,"
        " and the ground truth last.",
        show_default=False,
    ),
]
Sources = Annotated[
    list[Path] | None,
    typer.Option(
        metavar="CASES",
        help="The cases' three images, as for tfs-rt fuse: adds fusion metrics. May be repeated.",
        rich_help_panel=INPUT,
    ),
]
LpipsWeights = Annotated[
    list[Path] | None,
    typer.Option(
        metavar="FILE",
        help="Weights of AlexNet and of LPIPS (.pth), in one file or two: adds LPIPS. May be repeated.",
        rich_help_panel=INPUT,
    ),
]
ReportFolder = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        metavar="REPORT",
        help="Folder for eval.json, eval.csv and table1.md.",
        rich_help_panel=OUTPUT,
    ),
]


def evaluate(  # noqa: PLR0913 - one parameter for each option
    folders: Folders,
    *,
    sources: Sources = None,
    window: reading_option.Windows = None,
    colormap: reading_option.Colormap = None,
    nan: reading_option.Nan = None,
    series: reading_option.SeriesOption = None,
    same_frame: reading_option.SameFrame = False,
    allow_lossy: reading_option.AllowLossy = False,
    lpips_weights: LpipsWeights = None,
    output: ReportFolder = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Score results of any method against ground truth.

    The table has the paper's measures, also within the head alone, the colour bias and, with --sources, fusion metrics.
    Each has a confidence interval over cases, and paired differences to the first folder. Each slice of a volume is a
    case. Options on windows, colours, NaN and series are for --sources.

    Exit codes: 0 all cases scored, 2 wrong usage, 3 some left out, 4 none scored, 5 weights refused, 6 environment.
    """
    if len(folders) < 2:
        raise UsageError("RESULTS... GROUND_TRUTH", "only one folder is given", "give results and then ground truth")
    from tfs_rt.output.results import prepare_output

    reading = parse_reading(
        window or [],
        colormap,
        allow_lossy=allow_lossy,
        nan=nan,
        series=series or [],
        same_frame=same_frame,
        offered=reading_option.OFFERED,
    )
    if not sources:
        _check_unused(
            {"--window": window, "--colormap": colormap, "--nan": nan, "--series": series, "--same-frame": same_frame}
        )
    console = Console(quiet=quiet)
    scoring = import_extra("tfs_rt_bench.evaluation.score", extras=EXTRAS)
    report = import_extra("tfs_rt_bench.evaluation.report", extras=EXTRAS)
    lpips = _load_lpips(lpips_weights)
    if output:
        prepare_output(output)

    # Score.
    *results, truth = folders
    request = scoring.Request(tuple(results), truth, tuple(sources or ()), lpips, reading)
    with console.progress("scoring", len(scoring.image_files(truth)), "cases") as advance:
        scores = scoring.evaluate(request, advance)

    # Report.
    for warning in scores.warnings:
        console.warning(warning)
    for error in scores.problems:
        console.warning(str(error))
    if output:
        report.write(scores, output)
        console.info(f"wrote {output / 'eval.json'}, eval.csv and table1.md")
    if as_json:
        typer.echo(json.dumps(report.to_json(scores)))
    else:
        report.print_table(scores)
    raise typer.Exit(3 if scores.problems else 0)


def _check_unused(given: dict[str, object]) -> None:
    """UsageError for an option on the sources where none are given."""
    for option, value in given.items():
        if value:
            raise UsageError(option, "is for the sources, and none are given", "give --sources, or leave it out")


def _load_lpips(weights: list[Path] | None) -> Any:
    """The measure LPIPS from its weights; None without them."""
    if not weights:
        return None
    return import_extra("tfs_rt_bench.measures.lpips", extras="metrics,export").load_lpips(weights)
