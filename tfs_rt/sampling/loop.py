"""The reverse loop, for every engine and every sampler. `backends/gpu/loop.py` runs the same tables in CUDA graphs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tfs_rt.images import LUMA, Array
from tfs_rt.sampling.engine import Engine
from tfs_rt.sampling.tables import StepRow, StepTable


def sample(
    engine: Engine[Any],
    condition: Array,
    table: StepTable,
    noise: Callable[[int], Array],
    *,
    on_step: Callable[[int], None] | None = None,
) -> Array:
    """Run a whole table: condition (B, 3 n, H, W) in [-1, 1] -> x_0 (B, 3, H, W) in [-1, 1].

    `noise(i)` returns standard normal (B, 3, H, W): draw 0 starts the chain, draw i belongs to step i.
    H and W must be multiples of the architecture's stride.
    """
    # Start from noise, or between a guess at x_0 and noise.
    start = (table.start_x0 * warm_start(condition) + table.start_z * noise(0)).astype(np.float32, copy=False)
    x_t = engine.to_device(start)
    x_0 = None
    device_condition = engine.to_device(condition)

    # Take the table's steps, from noisy to clean.
    rows = [StepRow(*columns) for columns in table.rows.tolist()]
    for i, row in enumerate(rows, start=1):
        z = engine.to_device(noise(i)) if row.c_z else None
        x_t, x_0 = engine.step(x_t, x_0, device_condition, row, z)
        if on_step is not None:
            on_step(i)
    return engine.to_host(x_t)


def warm_start(condition: Array) -> Array:
    """A guess at the fused image: the functional image, raised to the brightest of the inputs' luminances.

    condition (B, 3 n, H, W) -> (B, 3, H, W), both in [-1, 1]. A truncated chain must start with about the right mean,
    or the network takes every slice for mid-grey: at sigma = 20 the mean of a mostly black image lies nine standard
    errors from that of bare noise.
    """
    functional = condition[:, -3:]
    images = condition.reshape(condition.shape[0], -1, 3, *condition.shape[2:])
    luma = np.einsum("c,bnchw->bnhw", LUMA, images)
    missing_light = luma.max(axis=1) - luma[:, -1]
    return (functional + missing_light[:, None]).clip(-1, 1)
