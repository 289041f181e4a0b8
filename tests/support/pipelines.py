"""Pipelines whose network is a formula."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime  # noqa: F401 - a pipeline's provenance has its version

from support.bundles import write_bundle
from support.helpers import FEW, NumpyEngine, model_spec
from tfs_rt.images import Array
from tfs_rt.methods.diffusion import Pipeline
from tfs_rt.models.bundle import load_bundle
from tfs_rt.sampling.stepwise import Stepwise
from tfs_rt.sampling.tables import step_table
from tfs_rt.spec import Recipe

ANCESTRAL = dataclasses.replace(FEW, eta=1.0)


def pipeline(tmp_path: Path, predict: Callable[[Array, Array, Array], Array], recipe: Recipe = ANCESTRAL) -> Pipeline:
    spec = model_spec(prediction="x0")
    engine = NumpyEngine(spec, predict)
    bundle, table = load_bundle(write_bundle(tmp_path / "b")), step_table(spec, recipe)
    return Pipeline(bundle, "ort-cpu", Stepwise(engine), recipe, table)


def blend(condition: Array, x_t: Array, noise_level: Array) -> Array:
    """A network of sorts: leans on every input, so that a change in any of them shows."""
    return np.tanh(0.5 * condition[:, 6:] + 0.3 * condition[:, :3] + 0.1 * condition[:, 3:6] + 0.2 * x_t)
