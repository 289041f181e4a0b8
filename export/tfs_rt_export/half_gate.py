"""The fidelity gate of the half-precision graph, against the PyTorch reference in float32.

No GPU is needed: the arithmetic is emulated (`tfs_rt_export.emulation`), and ONNX Runtime proves that the graph is the
network that was emulated. The maximum over an image is not a useful measure here: single clipped pixels flip.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime as ort
import torch

from tfs_rt.errors import ModelError
from tfs_rt.images import Array
from tfs_rt.models.bundle import Bundle
from tfs_rt.spec import Recipe
from tfs_rt_export.emulation import HalfEngine, activation_ranges
from tfs_rt_export.gate import compare_loops, relative_l2, synthetic_steps
from tfs_rt_export.half import HalfStep
from tfs_rt_reference.engine import TorchEngine

STEP_RELATIVE_L2 = 5e-3  # measured: 0.4e-3 (the shipped models) to 2e-3; a bfloat16 somewhere gives 1e-2
LOOP_PSNR = 40.0  # dB; the shipped models reach more than 60, untrained networks 45
# Half precision ends at 65,504: beyond an eighth of it an unusual image may overflow.
LARGEST = 8e3
REMEDY = "leave fp16 out of --precision"


def certify_half(bundle: Bundle, half: HalfStep, reference: TorchEngine, recipe: Recipe) -> dict[str, Any]:
    """The half graph's certificate for a manifest; ModelError below the bar."""
    # Run one step in emulated half precision, and record the largest activations.
    engine = HalfEngine(reference.spec, half, bundle.weights())
    conditions, x_t, level, sigmas = synthetic_steps(reference.spec)
    levels = [float(value) for value in level[:, 0]]
    with activation_ranges(half) as ranges:
        emulated = _emulate(engine, conditions, x_t, levels)
    # Compare it with the reference, and the graph with the emulation.
    step = relative_l2(emulated, reference.predict(conditions, x_t, level))
    graph = relative_l2(_run_graph(bundle, engine, conditions, x_t, levels), emulated)
    for subject, errors in (("one step in half precision", step), ("the half graph", graph)):
        if not all(value <= STEP_RELATIVE_L2 for value in errors):
            reason = f"{subject} differs by {np.max(errors):.2g} (bar {STEP_RELATIVE_L2:g})"
            raise ModelError("fidelity gate", reason, REMEDY)
    # Compare whole loops with the reference.
    loops = compare_loops(engine, reference, recipe)
    for loop in loops:
        if not loop["psnr"] >= LOOP_PSNR:
            reason = f"the {loop['steps']}-step image in half precision differs ({loop['psnr']} dB, bar {LOOP_PSNR:g})"
            raise ModelError("fidelity gate", reason, REMEDY)
    # Write the certificate, with the largest activation of all.
    layer = max(ranges, key=lambda name: ranges[name])
    return {
        "reference": "PyTorch, float32, CPU; half precision emulated: stored in half, summed in float32",
        "bars": {"step_relative_l2": STEP_RELATIVE_L2, "loop_psnr": LOOP_PSNR, "largest_activation": LARGEST},
        "step": {"sigma": sigmas, "relative_l2": step, "graph_relative_l2": graph},
        "loop": loops,
        "largest_activation": {"layer": layer.removeprefix("network."), "value": ranges[layer]},
    }


def _emulate(engine: HalfEngine, conditions: Array, x_t: Array, levels: list[float]) -> Array:
    calls = zip(torch.from_numpy(conditions).split(1), torch.from_numpy(x_t).split(1), levels, strict=True)
    return np.concatenate([engine.predict(*call).numpy() for call in calls])


def _run_graph(bundle: Bundle, engine: HalfEngine, conditions: Array, x_t: Array, levels: list[float]) -> Array:
    options = ort.SessionOptions()
    options.log_severity_level = 4
    session = ort.InferenceSession(bundle.half_graph(), options, providers=["CPUExecutionProvider"])
    x = np.concatenate([conditions, x_t], axis=1)
    calls = [{"x": x[i : i + 1], "bias": engine.bias(level)} for i, level in enumerate(levels)]
    return np.concatenate([np.asarray(session.run(["prediction"], call)[0]) for call in calls])
