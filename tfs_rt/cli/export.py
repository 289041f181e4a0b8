"""`tfs-rt export`."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from tfs_rt.cli.build import CapabilityOption, Engine, build_for, check_engine
from tfs_rt.cli.console import Talk
from tfs_rt.cli.extras import workshop
from tfs_rt.cli.fuse import Sampler
from tfs_rt.cli.options import check_scale_value
from tfs_rt.errors import UsageError


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
    precision: Annotated[
        str, typer.Option(help="fp32, or fp32,fp16: also the graph that TensorRT's FP16 engines are built from.")
    ] = "fp32",
    engine: Annotated[
        Engine | None, typer.Option(help="Then build a TensorRT engine of it, as `tfs-rt build` does.")
    ] = None,
    compute_capability: CapabilityOption = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a bundle at OUTPUT.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the fidelity certificate on stdout.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Errors only.")] = False,
) -> None:
    """Export a checkpoint to a verified bundle: ONNX, manifest, fidelity certificate. Below the bar there is none."""
    from tfs_rt.models.bundle import load_bundle

    check_scale_value(scale)
    if engine:
        check_engine(engine, compute_capability)
    elif compute_capability:
        raise UsageError("--compute-capability", "is of an engine, and none is asked for", "add --engine tensorrt-rtx")
    if set(precision.split(",")) not in ({"fp32"}, {"fp32", "fp16"}):
        raise UsageError("--precision", f"{precision!r} is not known", "write fp32 or fp32,fp16")
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
        half="fp16" in precision or engine is not None,
        overwrite=overwrite,
    )
    manifest = exporter.export_bundle(request, talk.say)
    _say_fidelity(talk, manifest.fidelity)
    if half := manifest.fidelity.get("fp16"):
        talk.say("in half precision:")
        _say_fidelity(talk, half)
        largest = half["largest_activation"]
        if largest["value"] > half["bars"]["largest_activation"]:
            talk.warn(f"{largest['layer']} reaches {largest['value']:.3g}, and half precision ends at 65504")
    talk.say(f"wrote {output}")
    if engine:
        build_for(load_bundle(output), talk, engine, compute_capability)
    if as_json:
        typer.echo(json.dumps(manifest.fidelity))


def _say_fidelity(talk: Talk, fidelity: dict[str, Any]) -> None:
    step = fidelity["step"]
    talk.say(f"one step: relative error {max(step['relative_l2']):.2g} at worst of {len(step['sigma'])} noise levels")
    for loop in fidelity["loop"]:
        talk.say(f"{loop['steps']}-step image: {loop['psnr']} dB, at most {loop['max_levels']} grey levels apart")
