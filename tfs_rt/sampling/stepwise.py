"""Batches of images through an engine, one reverse step at a time."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from tfs_rt.images import RGB, Array, from_model, to_condition
from tfs_rt.sampling.engine import Engine, ImageBatch
from tfs_rt.sampling.loop import sample
from tfs_rt.sampling.noise import gaussian, noise_key
from tfs_rt.sampling.tables import StepTable


class Stepwise:
    """The loop of an engine. It computes a batch when the batch's images are asked for."""

    def __init__(self, engine: Engine[Any]) -> None:
        self.engine = engine
        self.facts = engine.facts
        self.largest_batch = sys.maxsize

    def begin(self, table: StepTable, batch: ImageBatch) -> Callable[[], list[RGB]]:
        """Return a function that does `fuse_batch`."""
        return partial(fuse_batch, self.engine, table, batch)


def fuse_batch(engine: Engine[Any], table: StepTable, batch: ImageBatch) -> list[RGB]:
    """Fuse a batch: for each case (H, W, 3) uint8; FloatingPointError if the network returns NaN or infinity."""
    height, width = batch.size
    architecture = engine.spec.architecture

    # Pad the condition to a multiple of the stride.
    padding = ((0, 0), (0, -height % architecture.stride), (0, -width % architecture.stride))
    conditions = [np.pad(to_condition(images, batch.size), padding, mode="reflect") for images in batch.cases]
    condition = np.stack(conditions)

    # Noise is keyed by case, so that a result does not depend on its batch.
    shape = (architecture.out_channel, *condition.shape[2:])
    keys = [noise_key(batch.seed, case_id) for case_id in batch.ids]

    def noise(draw: int) -> Array:
        return np.stack([gaussian(key, draw, shape) for key in keys])

    # Numbers that are not finite are reported below, not by NumPy's warnings.
    with np.errstate(over="ignore", invalid="ignore"):
        x_0 = sample(engine, condition, table, noise, on_step=batch.on_step)
    if not np.isfinite(x_0).all():
        raise FloatingPointError("the network returned NaN or infinity")
    return [from_model(image[:, :height, :width]) for image in x_0]
