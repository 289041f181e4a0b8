"""`tfs-rt tune`."""

from __future__ import annotations

import json
import math
import shlex
from pathlib import Path
from typing import Annotated, Any

import typer

from tfs_rt.cli.console import Console
from tfs_rt.cli.extras import import_extra
from tfs_rt.cli.help import FLAG, INPUT, OUTPUT, SEARCH, default, examples
from tfs_rt.cli.inspect import tier_line
from tfs_rt.cli.options import AsJson, Quiet
from tfs_rt.cli.parsers import whole_number
from tfs_rt.errors import UsageError

EXTRAS = "cpu,metrics"
EXAMPLES = examples(
    ("Find recipes, and write them into the bundle", "tfs-rt tune my_x4 --data set -o report --write"),
    ("Then use one of them", "tfs-rt fuse cases -o results --model my_x4 --quality best"),
)

Bundles = Annotated[
    list[str], typer.Argument(metavar="BUNDLES", help="Bundles' folders, or shipped models.", show_default=False)
]
Data = Annotated[
    Path,
    typer.Option(
        metavar="DATA",
        help="Validation cases: a set of tfs-rt prepare, or cases as for tfs-rt fuse.",
        show_default=False,
        rich_help_panel=INPUT,
    ),
]
GroundTruth = Annotated[
    Path | None,
    typer.Option(metavar="FOLDER", help="Ground truth of cases that are not a set: CASE.png.", rich_help_panel=INPUT),
]
Split = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="Split of the set." + default("val"), rich_help_panel=INPUT),
]
Budget = Annotated[
    str | None,
    typer.Option(
        metavar="LIST",
        help="Largest seconds for each image, as in 0.2,1,4." + default("those of 1, 4 and 16 network calls"),
        rich_help_panel=SEARCH,
    ),
]
Seed = Annotated[
    int,
    typer.Option(
        parser=whole_number(0),
        metavar="N",
        help="Seed of the noise. Each case's noise also depends on its id.",
        rich_help_panel=SEARCH,
    ),
]
ReportFolder = Annotated[
    Path,
    typer.Option(
        "--output",
        "-o",
        metavar="REPORT",
        help="Folder for tuning.md, tuning.json and a chart for each model.",
        show_default=False,
        rich_help_panel=OUTPUT,
    ),
]
Write = Annotated[
    bool,
    typer.Option(
        "--write", metavar=FLAG, help="Write the recipes into the bundles' manifests.", rich_help_panel=OUTPUT
    ),
]


def tune(  # noqa: PLR0913 - one parameter for each option
    bundles: Bundles,
    *,
    data: Data,
    ground_truth: GroundTruth = None,
    split: Split = None,
    budget: Budget = None,
    seed: Seed = 0,
    output: ReportFolder,
    write: Write = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Find the best recipes of models on validation cases: the tiers of tfs-rt fuse --quality.

    best: the highest PSNR within the largest budget.
    fast: the cheapest that loses at most 0.1 dB of PSNR and 0.005 of SSIM to best.
    balanced: nearest to the ground truth in sharpness (average gradient), with at most 0.5 dB and 0.01 lost.

    Exit codes: 0 done, 2 wrong usage, 3 a case is refused, 4 no cases, 5 model refused, 6 environment.
    """
    from tfs_rt.output.results import prepare_output

    console = Console(quiet=quiet)
    seconds = _parse_budget(budget)
    cases = import_extra("tfs_rt_bench.tuning.cases", extras=EXTRAS)
    tuning = import_extra("tfs_rt_bench.tuning.tune", extras=EXTRAS)
    page = import_extra("tfs_rt_bench.tuning.page", extras=EXTRAS)
    source = cases.Source(data, ground_truth, split)
    tuning.check_bundles(bundles, write=write)
    prepare_output(output)

    # Tune each bundle.
    results = []
    for bundle in bundles:
        console.info(f"tuning {bundle}")
        result = tuning.tune(tuning.Request(bundle, source, seconds, seed), console.info)
        results.append(result)
        for name, tier in result.tiers.items():
            console.info(f"{name}: {tier_line(tier)}")

    # Write the report, and the recipes if asked for.
    command = _public_command(bundles, split, budget, seed, write=write)
    page.write_report(results, output, command)
    console.info(f"wrote {output / 'tuning.md'}, tuning.json and a chart for each model")
    if write:
        _write_recipes(tuning, results, console)
    if as_json:
        typer.echo(json.dumps([page.to_json(result) for result in results]))


def _write_recipes(tuning: Any, results: list[Any], console: Console) -> None:
    for result in results:
        changed = tuning.write_tiers(result)
        state = "has these tiers now" if changed else "has these tiers already"
        console.info(f"{result.bundle.path / 'model.json'}: {state}")


def _parse_budget(text: str | None) -> tuple[float, ...]:
    """The seconds of `--budget`; an empty tuple is the default."""
    if text is None:
        return ()
    try:
        seconds = tuple(float(part) for part in text.split(","))
    except ValueError:
        seconds = (math.nan,)
    if not all(0 < value < 1e6 for value in seconds):
        reason = f"{text!r} is not a list of seconds"
        raise UsageError("--budget", reason, "write seconds for each image, as in 0.2,1,4")
    return seconds


def _public_command(bundles: list[str], split: str | None, budget: str | None, seed: int, *, write: bool) -> str:
    """The command for the report, without paths of this machine."""
    names = [name if name.startswith("tfs-rt/") else Path(name).name for name in bundles]
    words = ["tfs-rt", "tune", *names, "--data", "SET", "-o", "REPORT"]
    if split is not None:
        words += ["--split", split]
    if budget is not None:
        words += ["--budget", budget]
    if seed:
        words += ["--seed", str(seed)]
    if write:
        words.append("--write")
    return shlex.join(words)
