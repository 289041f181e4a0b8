"""Biases that the noise level adds in each block of the network: a row for each step of a table, computed once.

The row is SR3's embedding of the noise level (sinusoids, two linear layers), passed through each block's linear layer.
An FP16 engine takes it as an input: the numbers stay in float32, and the loop has no small matrix products.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from tfs_rt.images import Array
from tfs_rt.models.onnx.weights import Weights
from tfs_rt.sampling.schedule import Float64
from tfs_rt.spec import Architecture


@np.errstate(over="ignore", invalid="ignore")  # huge weights may overflow: NaN and infinity are found in the image
def bias_rows(arch: Architecture, weights: Weights, biases: Sequence[str], noise_level: Float64) -> Array:
    """(steps,) noise levels -> (steps, n) float32: the biases of each module of `biases`, one after the other.

    For a preconditioned network (`sigma_data`) two more columns follow: eps = row[-2] x_t - row[-1] output.
    Raises KeyError if a weight is missing.
    """
    weights = {name: weights[name].astype(np.float64) for name in _names(biases)}
    half = arch.inner_channel // 2
    angle = noise_level[:, None] * np.exp(-math.log(1e4) * np.arange(half) / half)
    embedding = np.concatenate([np.sin(angle), np.cos(angle)], axis=1)
    hidden = _linear(weights, "noise_level_mlp.1", embedding)
    embedding = _linear(weights, "noise_level_mlp.3", hidden / (1 + np.exp(-hidden)))  # SiLU
    columns = [_linear(weights, f"{name}.noise_func.0", embedding) for name in biases]
    if arch.sigma_data:
        variance = arch.sigma_data**2 * noise_level**2 + (1 - noise_level**2)  # of x_t
        columns += [(np.sqrt(1 - noise_level**2) / variance)[:, None], (noise_level / np.sqrt(variance))[:, None]]
    return np.concatenate(columns, axis=1).astype(np.float32)


def _names(biases: Sequence[str]) -> list[str]:
    layers = ["noise_level_mlp.1", "noise_level_mlp.3", *(f"{name}.noise_func.0" for name in biases)]
    return [f"{layer}.{part}" for layer in layers for part in ("weight", "bias")]


def _linear(weights: Weights, name: str, x: Float64) -> Float64:
    return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]
