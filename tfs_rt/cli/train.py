"""`tfs-rt train`."""

from __future__ import annotations

import json
import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from tfs_rt.cli.console import Talk
from tfs_rt.cli.extras import workshop
from tfs_rt.errors import UsageError


class Preset(StrEnum):
    """A configuration to begin from."""

    compact = "compact"
    paper = "paper"


class Device(StrEnum):
    """Where the network is trained."""

    cpu = "cpu"
    cuda = "cuda"


def train(  # noqa: PLR0913 - one parameter an option
    sets: Annotated[
        list[Path] | None,
        typer.Argument(help="Sets made by tfs-rt prepare; each is drawn from equally often.", show_default=False),
    ] = None,
    *,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder for the run.", show_default=False)
    ] = None,
    scale: Annotated[int | None, typer.Option(help="2, 4 or 8.", show_default=False)] = None,
    preset: Annotated[
        Preset | None,
        typer.Option(help="One for a CPU, or the paper's configuration.", show_default="compact"),
    ] = None,
    config: Annotated[Path | None, typer.Option(help="TOML file that changes the preset.")] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change one key, as in --set architecture.gate=none."),
    ] = None,
    init: Annotated[Path | None, typer.Option(help="Begin with the weights of this checkpoint or bundle.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in the output folder.")] = False,
    device: Annotated[Device, typer.Option(help="Under torchrun, one process a GPU.")] = Device.cpu,
    workers: Annotated[int, typer.Option(min=1, help="Threads that make samples.")] = 1,
    print_config: Annotated[
        bool, typer.Option("--print-config", help="Print the configuration as a TOML file and stop.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Errors only.")] = False,
) -> None:
    """Train a TFS-Diff model; OUTPUT/model.safetensors is what tfs-rt export takes.

    A run that was interrupted goes on with --resume, to the same weights. One JSON line per validation on stdout. Exit
    codes: 0 done, 2 usage, 3 a set is refused, 5 a checkpoint is refused, 6 environment.
    """
    configs = workshop("tfs_rt_reference.training.config", extras="train")
    run = workshop("tfs_rt_reference.training.run", extras="train")
    if resume and (init or preset):
        reason = "a run that is resumed has its weights and its configuration"
        raise UsageError("--resume", reason, "leave --init and --preset out")
    if output is None and not (print_config and not resume):
        raise UsageError("--output", "the run's folder is not named", "name one")
    base = run.configuration(output) if resume else configs.PRESETS[(preset or Preset.compact).value]
    chosen = changed([configs.as_layer(base) if resume else base], config, settings, scale)
    if print_config:
        typer.echo(configs.to_toml(chosen), nl=False)
        return
    if not sets:
        raise UsageError("SETS", "no set is named", "name one that tfs-rt prepare has made")
    request = run.Request(
        sets=sets, output=output, config=chosen, resume=resume, init=init, device=device.value, workers=workers
    )
    conduct(request, quiet=quiet)


def changed(layers: list[dict[str, Any]], file: Path | None, settings: list[str] | None, scale: int | None) -> Any:
    """A configuration as the command line changes it: by a file, then key by key."""
    configs = workshop("tfs_rt_reference.training.config", extras="train")
    layers = [*layers, configs.read_file(file)] if file else layers
    layers = [*layers, *map(configs.setting, settings or ())]
    source = " with ".join([str(file)] * bool(file) + ["--set"] * bool(settings)) or "configuration"
    return configs.make_config(*layers, {} if scale is None else {"scale": scale}, source=source)


def conduct(request: Any, *, quiet: bool) -> None:
    """Train, and say what is done; under torchrun the first process alone says it."""
    run = workshop("tfs_rt_reference.training.run", extras="train")
    talk = Talk(quiet=quiet or os.environ.get("RANK", "0") != "0")

    def on_line(line: dict[str, Any]) -> None:
        if not quiet:
            typer.echo(json.dumps(line))

    state = run.train(request, run.Watch(line=on_line, progress=talk.progress))
    if state.log:  # which the first process alone keeps
        best = min(state.log, key=lambda line: line["val_loss"])
        talk.say(f"best at iteration {best['iteration']}, {best['psnr']} dB: {request.output / 'model.safetensors'}")
