"""The fidelity gate: an exported network must equal the PyTorch reference, or the export fails.

(a) One step at eight noise levels over all that the model was trained on, in one batch of different images.
(b) Whole loops with the same noise, of the default recipe and of eight steps, at another size.
The inputs are synthetic: smooth random blobs with edges, with the range and the flat regions of slices.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

import numpy as np

from tfs_rt.backends.ort_cpu import OrtCpuEngine
from tfs_rt.errors import ModelError
from tfs_rt.images import Array, from_model
from tfs_rt.sampling.engine import Engine
from tfs_rt.sampling.loop import sample, warm_start
from tfs_rt.sampling.noise import gaussian
from tfs_rt.sampling.schedule import alpha_bar_at
from tfs_rt.sampling.tables import step_table
from tfs_rt.spec import ModelSpec, Recipe
from tfs_rt_reference.engine import TorchEngine

LEVELS = 8
FEW_STEPS = 8
MOST_STEPS = 50  # a longer recipe is compared with this many steps
# Bar of each weights' type. Measured: 1e-6 and 3e-4. A wrong constant or half-precision sums give 1e-3 and more.
STEP_RELATIVE_L2 = {"float32": 1e-4, "float16": 1e-3}
LOOP_WITHIN_ONE = 0.999  # share of pixels within one grey level
LOOP_PSNR = 50.0  # dB
REMEDY = "the checkpoint may have diverged; if it works in PyTorch, report it"


def certify(
    exported: OrtCpuEngine, reference: TorchEngine, recipe: Recipe, *, weights: Literal["float32", "float16"]
) -> dict[str, Any]:
    """The certificate for a manifest; ModelError below the bar. The reference keeps float32 weights."""
    # Compare one step with the reference.
    step = _step(exported, reference)
    bar = STEP_RELATIVE_L2[weights]
    if not all(value <= bar for value in step["relative_l2"]):  # a NaN fails too
        worst = np.max(step["relative_l2"])
        raise ModelError("fidelity gate", f"one step differs by {worst:.2g} (bar {bar:g})", REMEDY)
    # Compare whole loops with the reference.
    loops = compare_loops(exported, reference, recipe)
    for loop in loops:
        if not (loop["within_one_level"] >= LOOP_WITHIN_ONE and loop["psnr"] >= LOOP_PSNR):
            within = f"{loop['within_one_level']:.2%} of pixels within one grey level, bar {LOOP_WITHIN_ONE:.1%}"
            reason = f"the {loop['steps']}-step image differs ({loop['psnr']} dB, bar {LOOP_PSNR:g}; {within})"
            raise ModelError("fidelity gate", reason, REMEDY)
    # Write the certificate.
    bars = {"step_relative_l2": bar, "within_one_level": LOOP_WITHIN_ONE, "loop_psnr": LOOP_PSNR}
    return {"reference": "PyTorch, float32, CPU", "weights": weights, "bars": bars, "step": step, "loop": loops}


def synthetic_condition(spec: ModelSpec, *, height: int, width: int) -> Array:
    """A synthetic condition (1, 3 n, H, W) in [-1, 1]; H and W are rounded up to the network's stride."""
    stride = spec.architecture.stride
    shape = (spec.architecture.condition_channels, -(-height // stride) * stride, -(-width // stride) * stride)
    spectrum = np.fft.rfft2(gaussian(0, 0, shape))
    fy = np.fft.fftfreq(shape[1])[:, None]
    fx = np.fft.rfftfreq(shape[2])
    smooth = np.fft.irfft2(spectrum * np.exp(-np.square(np.hypot(fy, fx) * 20)), s=shape[1:])
    smooth /= smooth.std()
    return np.where(smooth > 0, np.tanh(smooth), -1.0).astype(np.float32)[None]


def synthetic_steps(spec: ModelSpec) -> tuple[Array, Array, Array, list[float]]:
    """A step at each of eight noise levels: conditions, x_t, noise levels (8, 1), and their sigmas."""
    # Make the condition and the noise levels.
    condition = synthetic_condition(spec, height=160, width=64)
    sigmas = np.geomspace(*spec.sigma_range, LEVELS)
    level = np.sqrt(alpha_bar_at(sigmas)).astype(np.float32)[:, None]
    # Make each image of the batch differ from its neighbours, or a graph that mixes them would pass.
    conditions = np.concatenate([np.roll(condition, 16 * i, axis=3) for i in range(LEVELS)])
    # Add noise of each level to a first estimate.
    x_0 = warm_start(conditions)
    a = level[:, :, None, None]
    x_t = (a * x_0 + np.sqrt(1 - a**2) * gaussian(0, 1, x_0.shape)).astype(np.float32)
    return conditions, x_t, level, [float(f"{s:.4g}") for s in sigmas]


def relative_l2(ours: Array, theirs: Array) -> list[float]:
    """The error's norm over the reference's, for each image, to three digits."""
    axes = (1, 2, 3)
    a = ours.astype(np.float64)
    b = theirs.astype(np.float64)
    relative = np.sqrt(np.square(a - b).sum(axes) / np.square(b).sum(axes))
    return [float(f"{value:.3g}") for value in relative]


def _step(exported: OrtCpuEngine, reference: TorchEngine) -> dict[str, Any]:
    conditions, x_t, level, sigmas = synthetic_steps(exported.spec)
    batch = {"condition": conditions, "x_t": x_t, "noise_level": level}
    # One call for the whole batch: `predict` runs image by image, and would hide a graph that mixes them.
    ours = np.asarray(exported.session.run(["prediction"], batch)[0])
    theirs = reference.predict(conditions, x_t, level)
    largest = float(f"{np.abs(ours - theirs).max():.3g}")
    return {"sigma": sigmas, "relative_l2": relative_l2(ours, theirs), "max_abs": largest}


def compare_loops(exported: Engine[Any], reference: Engine[Any], recipe: Recipe) -> list[dict[str, Any]]:
    """Compare whole loops with the reference: by the default recipe, and in eight steps."""
    condition = synthetic_condition(exported.spec, height=96, width=128)
    counts = sorted({min(recipe.steps, MOST_STEPS), FEW_STEPS})
    return [_loop(exported, reference, condition, dataclasses.replace(recipe, steps=steps)) for steps in counts]


def _loop(exported: Engine[Any], reference: Engine[Any], condition: Array, recipe: Recipe) -> dict[str, Any]:
    # Run both loops with the same noise.
    table = step_table(exported.spec, recipe)
    shape = (1, exported.spec.architecture.out_channel, *condition.shape[2:])
    ours, theirs = (
        sample(engine, condition, table, lambda draw: gaussian(1, draw, shape)) for engine in (exported, reference)
    )
    # Compare the images in grey levels, and by their mean squared error.
    grey = from_model(ours[0]).astype(np.int64) - from_model(theirs[0])
    mse = float(np.mean(np.square(ours.astype(np.float64) - theirs)))
    return {
        "sampler": recipe.sampler,
        "steps": recipe.steps,
        "psnr": round(10 * np.log10(4 / max(mse, 1e-20)), 1),
        "within_one_level": float(np.mean(np.abs(grey) <= 1)),
        "max_levels": int(np.abs(grey).max()),
    }
