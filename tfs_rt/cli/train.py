"""`tfs-rt train`."""

from __future__ import annotations

import json
import os
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from tfs_rt.cli.console import Console
from tfs_rt.cli.extras import import_extra
from tfs_rt.cli.help import FLAG, OUTPUT, TRAINING, default, examples
from tfs_rt.cli.options import Quiet
from tfs_rt.cli.parsers import listed, one_of
from tfs_rt.cli.train_options import Config, Device, Resume, Settings, Workers
from tfs_rt.errors import UsageError

EXTRAS = "train"
PRESETS = ("compact", "paper")
DEFAULT_PRESET = "compact"
EXAMPLES = examples(
    ("A compact model for x4, on a CPU", "tfs-rt train set -o run --scale 4"),
    ("Continue after an interruption", "tfs-rt train set -o run --resume"),
    ("Show the paper's configuration", "tfs-rt train --preset paper --print-config"),
)

Sets = Annotated[
    list[Path] | None,
    typer.Argument(
        metavar="SETS", help="Sets of tfs-rt prepare; cases are drawn from each equally often.", show_default=False
    ),
]
RunFolder = Annotated[
    Path | None,
    typer.Option(
        "--output", "-o", metavar="RUN", help="Folder for the run.", show_default=False, rich_help_panel=OUTPUT
    ),
]
Scale = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        help="Enlargement of width and height: 2, 4 or 8." + default("the preset's"),
        rich_help_panel=TRAINING,
    ),
]
Preset = Annotated[
    str | None,
    typer.Option(
        parser=one_of(PRESETS),
        metavar="NAME",
        help=f"Configuration to start from: {listed(PRESETS)}. compact is small enough for a CPU."
        + default(DEFAULT_PRESET),
        rich_help_panel=TRAINING,
    ),
]
Init = Annotated[
    Path | None,
    typer.Option(
        metavar="MODEL", help="Start from the weights of this checkpoint or bundle.", rich_help_panel=TRAINING
    ),
]
PrintConfig = Annotated[
    bool,
    typer.Option(
        "--print-config",
        metavar=FLAG,
        help="Print the configuration as a TOML file, and stop.",
        rich_help_panel=OUTPUT,
    ),
]


def train(  # noqa: PLR0913 - one parameter for each option
    sets: Sets = None,
    *,
    scale: Scale = None,
    preset: Preset = None,
    config: Config = None,
    settings: Settings = None,
    init: Init = None,
    device: Device = "cpu",
    workers: Workers = 1,
    output: RunFolder = None,
    resume: Resume = False,
    print_config: PrintConfig = False,
    quiet: Quiet = False,
) -> None:
    """Train a TFS-Diff model. tfs-rt export makes a bundle of RUN/model.safetensors.

    Prints one line of JSON for each validation.

    Exit codes: 0 done, 2 wrong usage, 3 a set is refused, 5 a checkpoint is refused, 6 environment.
    """
    configs = import_extra("tfs_rt_reference.training.config", extras=EXTRAS)
    run = import_extra("tfs_rt_reference.training.run", extras=EXTRAS)
    if resume and (init or preset):
        reason = "a run that is resumed has its weights and its configuration"
        raise UsageError("--resume", reason, "leave --init and --preset out")
    if output is None and (resume or not print_config):
        raise UsageError("--output", "the run's folder is not named", "name one")

    # The configuration: of the run or the preset, changed by the options.
    base = configs.as_layer(run.configuration(output)) if resume else configs.PRESETS[preset or DEFAULT_PRESET]
    final = change_config([base], config, settings, scale)
    if print_config:
        typer.echo(configs.to_toml(final), nl=False)
        return
    if not sets:
        raise UsageError("SETS", "no set is named", "name one that tfs-rt prepare has made")
    request = run.Request(
        sets=sets, output=output, config=final, resume=resume, init=init, device=device, workers=workers
    )
    run_training(request, quiet=quiet)


def change_config(
    layers: list[dict[str, Any]], file: Path | None, settings: list[str] | None, scale: int | None
) -> Any:
    """The configuration of these layers, changed by a file, then by single keys."""
    configs = import_extra("tfs_rt_reference.training.config", extras=EXTRAS)
    layers = list(layers)
    sources = []
    if file:
        layers.append(configs.read_file(file))
        sources.append(str(file))
    if settings:
        layers += [configs.setting(setting) for setting in settings]
        sources.append("--set")
    if scale is not None:
        layers.append({"scale": scale})
    return configs.make_config(*layers, source=" with ".join(sources) or "configuration")


def run_training(request: Any, *, quiet: bool) -> None:
    """Train, and print a line for each validation. Under torchrun only the first process prints."""
    run = import_extra("tfs_rt_reference.training.run", extras=EXTRAS)
    console = Console(quiet=quiet or os.environ.get("RANK", "0") != "0")
    watch = run.Watch(line=partial(_print_line, quiet=quiet), progress=console.progress)
    state = run.train(request, watch)

    # Only the first process has a log.
    if state.log:
        best = min(state.log, key=lambda line: line["val_loss"])
        model = request.output / "model.safetensors"
        console.info(f"best at iteration {best['iteration']}, {best['psnr']} dB: {model}")


def _print_line(line: dict[str, Any], *, quiet: bool) -> None:
    if not quiet:
        typer.echo(json.dumps(line))
