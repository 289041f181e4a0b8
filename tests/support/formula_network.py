"""A network that is a formula, for the loop on the fake GPU."""

from __future__ import annotations

import numpy as np

from tfs_rt.images import Array
from tfs_rt.sampling.schedule import Float64


def bias_rows(noise_level: Float64) -> Array:
    return np.stack([noise_level, 0.2 + noise_level**2, np.full_like(noise_level, np.nan)], axis=1).astype(np.float32)


def predict(condition: Array, x_t: Array, noise_level: Array) -> Array:
    bias = bias_rows(noise_level[:1, 0].astype(np.float64))[0]
    half, third, tenth = map(np.float32, (0.5, 0.3, 0.1))
    mixed = half * condition[:, 6:] + third * condition[:, :3] + tenth * condition[:, 3:6]
    return mixed + bias[1] * x_t + tenth * bias[0]
