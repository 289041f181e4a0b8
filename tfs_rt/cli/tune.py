"""`tfs-rt tune`."""

from __future__ import annotations

import json
import math
import shlex
from pathlib import Path
from typing import Annotated, Any

import typer

from tfs_rt.cli.console import Talk
from tfs_rt.cli.extras import workshop
from tfs_rt.cli.inspect import tier_line
from tfs_rt.errors import UsageError

MODULES = ("cases", "tune", "page")


def tune(  # noqa: PLR0913 - one parameter an option
    bundles: Annotated[
        list[str], typer.Argument(metavar="BUNDLE", help="Bundles' folders or shipped names.", show_default=False)
    ],
    *,
    data: Annotated[Path, typer.Option(help="A set made by tfs-rt prepare, or cases as for fuse.", show_default=False)],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the report.", show_default=False)],
    ground_truth: Annotated[Path | None, typer.Option(help="Of cases that are no set: a folder of <case>.png.")] = None,
    split: Annotated[str | None, typer.Option(help="Of a set: the cases that choose. (default: val)")] = None,
    budget: Annotated[
        str | None, typer.Option(help="Seconds for an image, as in 0.2,1,4. (those of 1, 4 and 16 network calls)")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Noise is keyed by seed and case id.")] = 0,
    write: Annotated[bool, typer.Option("--write", help="Write the tiers into the bundles' manifests.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report on stdout.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Errors only.")] = False,
) -> None:
    """Find the best recipes of models, on validation cases, and choose the tiers of tfs-rt fuse --quality.

    best: the highest PSNR at any cost within the largest budget. fast: the cheapest that loses at most 0.1 dB and 0.005
    of SSIM to it. balanced: the one nearest the ground truth in sharpness (average gradient) of those that lose at most
    0.5 dB and 0.01 of SSIM. Without --write no bundle is changed. OUTPUT: tuning.md, tuning.json, a chart for each
    model. Exit codes: 0 done, 2 usage, 3 a case refused, 4 no cases, 5 model refused, 6 environment.
    """
    talk, seconds = Talk(quiet=quiet), _budgets(budget)
    from tfs_rt.output.results import prepare_output

    cases, tuning, page = (workshop(f"tfs_rt_bench.tuning.{name}", extras="cpu,metrics") for name in MODULES)
    source = cases.Source(data, ground_truth, split)
    tuning.check_bundles(bundles, write=write)
    prepare_output(output)
    found = []
    for bundle in bundles:
        talk.say(f"tuning {bundle}")
        found.append(tuning.tune(tuning.Request(bundle, source, seconds, seed), talk.say))
        for name, tier in found[-1].tiers.items():
            talk.say(f"{name}: {tier_line(tier)}")
    page.write_report(found, output, _command(bundles, {"--split": split, "--budget": budget}, seed, write=write))
    talk.say(f"wrote {output / 'tuning.md'}, tuning.json and a chart for each model")
    for tuned in found if write else ():
        new = tuning.write_tiers(tuned)
        talk.say(f"{tuned.bundle.path / 'model.json'}: {'has these tiers now' if new else 'has these tiers already'}")
    if as_json:
        typer.echo(json.dumps([page.to_json(tuned) for tuned in found]))


def _budgets(text: str | None) -> tuple[float, ...]:
    """Seconds of --budget; none for the default."""
    if text is None:
        return ()
    try:
        found = tuple(float(part) for part in text.split(","))
    except ValueError:
        found = (math.nan,)
    if not all(0 < seconds < 1e6 for seconds in found):
        raise UsageError("--budget", f"{text!r} is no time", "write seconds for an image, as in 0.2,1,4")
    return found


def _command(bundles: list[str], options: dict[str, Any], seed: int, *, write: bool) -> str:
    """The command as a page may show it: without this machine's paths."""
    names = [name if name.startswith("tfs-rt/") else Path(name).name for name in bundles]
    given = [word for option, value in options.items() if value is not None for word in (option, value)]
    more = [*given, *(["--seed", str(seed)] if seed else []), *(["--write"] if write else [])]
    return shlex.join(["tfs-rt", "tune", *names, "--data", "SET", "-o", "REPORT", *more])
