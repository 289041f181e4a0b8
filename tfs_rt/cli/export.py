"""`tfs-rt export`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, get_args

import typer

from tfs_rt.backends.trt.flavour import Flavour
from tfs_rt.cli.build import ENGINES, Capability, build_for, check_engine
from tfs_rt.cli.console import Console
from tfs_rt.cli.extras import import_extra
from tfs_rt.cli.help import ENGINE, FLAG, INPUT, MODEL, OUTPUT, default, examples
from tfs_rt.cli.options import AsJson, Quiet, check_scale
from tfs_rt.cli.parsers import listed, one_of, whole_number
from tfs_rt.errors import UsageError
from tfs_rt.sampling.registry import SAMPLERS
from tfs_rt.spec import Prediction

PREDICTIONS = get_args(Prediction)
WEIGHTS = ("float32", "float16")
PRECISIONS = ({"fp32"}, {"fp32", "fp16"})
HALF_MAXIMUM = 65504  # the largest number in half precision
EXAMPLES = examples(
    ("A model of tfs-rt train", "tfs-rt export run/model.safetensors -o my_x4 --steps 1 --weights float16"),
    ("A published checkpoint", "tfs-rt export I800000_gen.pth -o my_x2 --scale 2 --config config.json"),
)

Checkpoint = Annotated[
    Path,
    typer.Argument(
        metavar="CHECKPOINT", help="A TFS-Diff or SR3 checkpoint: .pth or .safetensors.", show_default=False
    ),
]
CheckpointScale = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        help="Enlargement of width and height: 2, 4 or 8." + default("the checkpoint's"),
        rich_help_panel=INPUT,
    ),
]
OptionFile = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="The published program's option file (JSON).", rich_help_panel=INPUT),
]
NormGroups = Annotated[
    int | None,
    typer.Option(
        parser=whole_number(1),
        metavar="N",
        help="Groups of its group normalisation, if the checkpoint and the option file do not say.",
        rich_help_panel=INPUT,
    ),
]
PredictionName = Annotated[
    str | None,
    typer.Option(
        parser=one_of(PREDICTIONS),
        metavar="NAME",
        help=f"Quantity that the network predicts: {listed(PREDICTIONS)}." + default("the checkpoint's, or eps"),
        rich_help_panel=INPUT,
    ),
]
Sampler = Annotated[
    str,
    typer.Option(
        parser=one_of(SAMPLERS),
        metavar="NAME",
        help=f"The bundle's default sampler: {listed(SAMPLERS)}.",
        rich_help_panel=MODEL,
    ),
]
Steps = Annotated[
    int | None,
    typer.Option(
        parser=whole_number(1, 100_000),
        metavar="N",
        help="The bundle's default number of steps.",
        rich_help_panel=MODEL,
    ),
]
Weights = Annotated[
    str,
    typer.Option(
        parser=one_of(WEIGHTS),
        metavar="TYPE",
        help=f"Type of the stored weights: {listed(WEIGHTS)}. Computation is in float32.",
        rich_help_panel=MODEL,
    ),
]
Precision = Annotated[
    str,
    typer.Option(
        metavar="LIST",
        help="fp32, or fp32,fp16 to add the graph for TensorRT engines.",
        rich_help_panel=MODEL,
    ),
]
BundleFolder = Annotated[
    Path, typer.Option("--output", "-o", metavar="BUNDLE", help="Folder for the bundle.", rich_help_panel=OUTPUT)
]
Overwrite = Annotated[
    bool,
    typer.Option("--overwrite", metavar=FLAG, help="Replace the bundle in this folder.", rich_help_panel=OUTPUT),
]
Engine = Annotated[
    Flavour | None,
    typer.Option(
        parser=one_of(ENGINES),
        metavar="NAME",
        help=f"Also build an engine, as tfs-rt build does: {listed(ENGINES)}.",
        rich_help_panel=ENGINE,
    ),
]


def export(  # noqa: PLR0913 - one parameter for each option
    checkpoint: Checkpoint,
    *,
    scale: CheckpointScale = None,
    config: OptionFile = None,
    norm_groups: NormGroups = None,
    prediction: PredictionName = None,
    sampler: Sampler = "ddim",
    steps: Steps = None,
    weights: Weights = "float32",
    precision: Precision = "fp32",
    output: BundleFolder,
    overwrite: Overwrite = False,
    engine: Engine = None,
    compute_capability: Capability = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Export a checkpoint to a bundle: an ONNX graph, a manifest and a certificate of its fidelity.

    The bundle is compared with PyTorch first, and written only if the difference is small enough.

    Exit codes: 0 done, 2 wrong usage, 5 checkpoint refused, 6 environment.
    """
    from tfs_rt.models.bundle import load_bundle

    # Check the options before the checkpoint is read.
    check_scale(scale)
    if engine:
        check_engine(engine, compute_capability)
    elif compute_capability:
        raise UsageError("--compute-capability", "is for an engine, and none is asked for", "add --engine tensorrt-rtx")
    if set(precision.split(",")) not in PRECISIONS:
        raise UsageError("--precision", f"{precision!r} is not known", "write fp32 or fp32,fp16")

    # Export.
    console = Console(quiet=quiet)
    exporter = import_extra("tfs_rt_export.exporter", extras="cpu,export")
    request = exporter.Request(
        checkpoint=checkpoint,
        output=output,
        config=config,
        norm_groups=norm_groups,
        scale=scale,
        prediction=prediction,
        sampler=sampler,
        steps=steps,
        weights=weights,
        half="fp16" in precision or engine is not None,
        overwrite=overwrite,
    )
    manifest = exporter.export_bundle(request, console.info)
    _report_fidelity(console, manifest.fidelity)
    console.info(f"wrote {output}")
    if engine:
        build_for(load_bundle(output), console, engine, compute_capability)
    if as_json:
        typer.echo(json.dumps(manifest.fidelity))


def _report_fidelity(console: Console, fidelity: dict[str, Any]) -> None:
    """Report the errors of the graph, and of the half-precision graph if there is one."""
    _report_errors(console, fidelity)
    half = fidelity.get("fp16")
    if not half:
        return
    console.info("in half precision:")
    _report_errors(console, half)
    largest = half["largest_activation"]
    if largest["value"] > half["bars"]["largest_activation"]:
        reason = f"{largest['layer']} reaches {largest['value']:.3g}, and half precision ends at {HALF_MAXIMUM}"
        console.warning(reason)


def _report_errors(console: Console, fidelity: dict[str, Any]) -> None:
    step = fidelity["step"]
    levels = len(step["sigma"])
    console.info(f"one step: relative error {max(step['relative_l2']):.2g} at worst of {levels} noise levels")
    for loop in fidelity["loop"]:
        console.info(f"{loop['steps']}-step image: {loop['psnr']} dB, at most {loop['max_levels']} grey levels apart")
