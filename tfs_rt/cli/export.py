"""`tfs-rt export`."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from tfs_rt.cli.fuse import Sampler, check_scale_value
from tfs_rt.cli.lazy import workshop
from tfs_rt.cli.talk import Talk


class Prediction(StrEnum):
    """What a network predicts."""

    eps = "eps"
    x0 = "x0"
    v = "v"


class Weights(StrEnum):
    """How a bundle stores its weights."""

    float32 = "float32"
    float16 = "float16"


def export(  # noqa: PLR0913 - one parameter an option
    checkpoint: Annotated[Path, typer.Argument(help="A TFS-Diff or SR3 checkpoint: .pth or .safetensors.")],
    *,
    output: Annotated[Path, typer.Option("--output", "-o", help="The bundle's folder.")],
    scale: Annotated[int | None, typer.Option(help="2, 4 or 8. (default: what the checkpoint says)")] = None,
    config: Annotated[Path | None, typer.Option(help="The published program's option file (JSON).")] = None,
    norm_groups: Annotated[
        int | None, typer.Option(min=1, help="Groups of its normalisation, where nothing tells.")
    ] = None,
    prediction: Annotated[
        Prediction | None, typer.Option(help="What it predicts (default: what it says, or eps).")
    ] = None,
    sampler: Annotated[Sampler, typer.Option(help="The bundle's default sampler.")] = Sampler.ddim,
    steps: Annotated[int | None, typer.Option(min=1, max=100_000, help="The bundle's default steps.")] = None,
    weights: Annotated[Weights, typer.Option(help="As they are stored; sums are float32.")] = Weights.float32,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a bundle at OUTPUT.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the fidelity certificate on stdout.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Errors only.")] = False,
) -> None:
    """Export a checkpoint to a verified bundle: ONNX, manifest, fidelity certificate. Below the bar there is none."""
    check_scale_value(scale)
    talk = Talk(quiet=quiet)
    exporter = workshop("tfs_rt_export.exporter", extras="cpu,export")
    request = exporter.Request(
        checkpoint=checkpoint,
        output=output,
        config=config,
        norm_groups=norm_groups,
        scale=scale,
        prediction=prediction.value if prediction else None,
        sampler=sampler.value,
        steps=steps,
        weights=weights.value,
        overwrite=overwrite,
    )
    manifest = exporter.export_bundle(request, talk.say)
    step, loops = manifest.fidelity["step"], manifest.fidelity["loop"]
    talk.say(f"one step: relative error {max(step['relative_l2']):.2g} at worst of {len(step['sigma'])} noise levels")
    for loop in loops:
        talk.say(f"{loop['steps']}-step image: {loop['psnr']} dB, at most {loop['max_levels']} grey levels apart")
    talk.say(f"wrote {output}")
    if as_json:
        typer.echo(json.dumps(manifest.fidelity))
