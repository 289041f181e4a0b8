"""Checkpoint -> bundle: load, trace, pass the fidelity gate, then move the bundle to its output path."""

from __future__ import annotations

import dataclasses
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import onnx
import onnxruntime
import onnxscript
import torch

from tfs_rt import __version__
from tfs_rt.assets import MANIFEST
from tfs_rt.backends.ort_cpu import load
from tfs_rt.errors import EnvironmentFault, ModelError, UsageError
from tfs_rt.methods.diffusion import Pipeline
from tfs_rt.models.bundle import Bundle, load_bundle
from tfs_rt.models.manifest import SCHEMA, BundleFile, Manifest, write_manifest
from tfs_rt.sampling.stepwise import Stepwise
from tfs_rt.sampling.tables import step_table
from tfs_rt.spec import SLOTS, Prediction, Recipe
from tfs_rt.system import signals
from tfs_rt.system.files import file_sha256
from tfs_rt.system.os_errors import write_fault
from tfs_rt_export.gate import certify
from tfs_rt_export.graph import store_half, write_half_graph, write_step_graph
from tfs_rt_export.half import HalfStep
from tfs_rt_export.half_gate import certify_half
from tfs_rt_reference.checkpoints.load import Checkpoint, load_checkpoint
from tfs_rt_reference.engine import TorchEngine
from tfs_rt_reference.recipe import default_recipe

HALF_GRAPH = "step.fp16.onnx"
INTENDED_USE = "Research on image fusion and super-resolution. Not a medical device; not for diagnosis."

Weights = Literal["float32", "float16"]  # as stored; sums are float32 either way


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """An export: the checkpoint, the output folder and options. None: take the value from the checkpoint."""

    checkpoint: Path
    output: Path
    config: Path | None = None
    norm_groups: int | None = None
    scale: int | None = None
    prediction: Prediction | None = None
    sampler: str = "ddim"
    steps: int | None = None
    weights: Weights = "float32"
    half: bool = False  # also write the graph that FP16 engines are built from
    overwrite: bool = False


def export_bundle(request: Request, log: Callable[[str], None]) -> Manifest:
    """Export a checkpoint to a bundle at `request.output`; below the fidelity bar nothing is left there."""
    output = request.output
    _check_output(output, overwrite=request.overwrite)
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".export.", dir=output.parent) as temporary:
            folder = Path(temporary) / "bundle"
            folder.mkdir()
            manifest = _export(request, folder, log)
            signals.check()
            _move_into_place(folder, output)
    except OSError as error:
        raise write_fault(output, error, "choose another --output") from error
    return manifest


def _move_into_place(folder: Path, output: Path) -> None:
    """Rename a finished bundle to its output path. Other files of a replaced bundle (its model card) are kept."""
    if not output.exists():
        folder.rename(output)
        return
    # Keep the other files of the replaced bundle.
    for path in output.iterdir():
        if path.is_file() and path.name != HALF_GRAPH and not (folder / path.name).exists():
            shutil.copy2(path, folder / path.name)
    # A unique name: the remains of a killed export must not block this one.
    replaced = Path(tempfile.mkdtemp(prefix=".replaced.", dir=output.parent))
    # Set the old bundle aside, and bring it back if the new one cannot take its place.
    output.rename(replaced)
    try:
        folder.rename(output)
    except BaseException:
        replaced.rename(output)
        raise
    shutil.rmtree(replaced)


def _export(request: Request, folder: Path, log: Callable[[str], None]) -> Manifest:
    # Read the checkpoint.
    log(f"reading {request.checkpoint}")
    source = load_checkpoint(
        request.checkpoint,
        config=request.config,
        norm_groups=request.norm_groups,
        scale=request.scale,
        prediction=request.prediction,
    )
    recipe = default_recipe(source.spec, sampler=request.sampler, steps=request.steps)
    # Trace the network to ONNX, and write a first manifest.
    log(f"tracing {source.contents.parameters:,} parameters, predicting {source.spec.prediction}")
    write_step_graph(source.network, folder / "step.onnx")
    if request.weights == "float16":
        store_half(folder / "step.onnx")
    manifest = _manifest(request.output.name, source, recipe, folder / "step.onnx")
    write_manifest(folder, manifest)
    # Compare the exported graph with the reference; ModelError below the bar.
    log("fidelity gate: exported graph against the PyTorch reference")
    reference = TorchEngine(source.spec, source.network)
    bundle = load_bundle(folder)
    _check_graph(bundle)
    manifest.fidelity.update(certify(load(bundle), reference, recipe, weights=request.weights))
    manifest = dataclasses.replace(manifest, self_test=_self_test(bundle, reference))
    write_manifest(folder, manifest)
    return _add_half(manifest, folder, reference, log) if request.half else manifest


def _check_graph(bundle: Bundle) -> None:
    """EnvironmentFault if the installed packages write a graph that the runtime does not recognise."""
    try:
        bundle.read("fp32")
    except ModelError as error:
        packages = f"torch {torch.__version__} with onnxscript {onnxscript.__version__}"
        reason = f"write a graph that tfs-rt does not recognise ({error.reason})"
        remedy = "install the versions that tfs-rt/x4 was exported with (tfs-rt inspect tfs-rt/x4)"
        raise EnvironmentFault(packages, reason, remedy) from error


def _self_test(bundle: Bundle, reference: TorchEngine) -> tuple[float, ...]:
    """Block means of the reference's result for the fixed self-test case; empty unless the model fuses three images."""
    spec = bundle.manifest.model
    recipe = bundle.manifest.recipe
    if spec.architecture.condition_channels != 9:
        return ()
    pipeline = Pipeline(bundle, "torch", Stepwise(reference), recipe, step_table(spec, recipe))
    return tuple(round(float(mean), 3) for mean in pipeline.self_test_means())


def _add_half(manifest: Manifest, folder: Path, reference: TorchEngine, log: Callable[[str], None]) -> Manifest:
    # Trace the half-precision graph, and list it in the manifest.
    log("tracing the half-precision graph")
    graph = folder / HALF_GRAPH
    half = HalfStep(reference.network).eval()
    write_half_graph(half, graph)
    files = {**manifest.files, "fp16": _bundle_file(graph)}
    manifest = dataclasses.replace(manifest, files=files, biases=tuple(half.biases))
    write_manifest(folder, manifest)
    # Compare its emulation with the reference.
    log("fidelity gate: half precision, emulated, against the PyTorch reference")
    manifest.fidelity["fp16"] = certify_half(load_bundle(folder), half, reference, manifest.recipe)
    write_manifest(folder, manifest)
    return manifest


def _check_output(output: Path, *, overwrite: bool) -> None:
    if not os.path.lexists(output):
        return
    if not (output / MANIFEST).is_file():
        raise UsageError(output, "exists and is not a model bundle", "choose another --output")
    if not overwrite:
        raise UsageError(output, "already holds a bundle", "choose another --output, or add --overwrite")


def _manifest(name: str, source: Checkpoint, recipe: Recipe, graph: Path) -> Manifest:
    packages = (torch, onnx, onnxscript, onnxruntime)
    return Manifest(
        schema=SCHEMA,
        name=name,
        slots=SLOTS if source.spec.architecture.condition_channels == 9 else ("image",),
        model=source.spec,
        recipe=recipe,
        files={"fp32": _bundle_file(graph)},
        source={"file": source.contents.path.name, "sha256": source.contents.sha256},
        exporter={"tfs-rt": __version__, **{p.__name__: p.__version__ for p in packages}},
        fidelity={},
        quality={},
        licence="that of the checkpoint",
        intended_use=INTENDED_USE,
    )


def _bundle_file(path: Path) -> BundleFile:
    return BundleFile(path=path.name, sha256=file_sha256(path))
