"""Three images in, one out: the condition, the noise, the reverse diffusion, and the crop."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tfs_rt.bundle import Bundle, load_bundle
from tfs_rt.engine import Engine, load_engine
from tfs_rt.errors import ModelError
from tfs_rt.images import RGB, Array, from_model, to_condition
from tfs_rt.noise import gaussian, noise_key
from tfs_rt.sampler import sample
from tfs_rt.spec import SLOTS, Recipe
from tfs_rt.table import StepTable, step_table


@dataclass(frozen=True, slots=True)
class Pipeline:
    """A model on a backend with its sampling decided: ready to fuse."""

    bundle: Bundle
    engine: Engine[Any]
    recipe: Recipe
    table: StepTable

    def fuse(
        self,
        cases: Sequence[Sequence[RGB]],
        ids: Sequence[str],
        *,
        size: tuple[int, int],
        seed: int = 0,
        on_step: Callable[[int], None] | None = None,
    ) -> list[RGB]:
        """Fuse a batch: for each case its images in slot order, (h, w, 3) uint8 -> (H, W, 3) uint8 of `size` = (H, W).

        Each case's noise comes from `seed` and its id alone, so that its result does not depend on the batch.
        Raises ValueError if an image is no such array, FloatingPointError if the network returns NaN or infinity.
        """
        _check(cases, ids)
        height, width = size
        stride = self.engine.spec.architecture.stride
        pad = ((0, 0), (0, -height % stride), (0, -width % stride))
        condition = np.stack([np.pad(to_condition(images, size), pad, mode="reflect") for images in cases])
        shape = (self.engine.spec.architecture.out_channel, *condition.shape[2:])
        keys = [noise_key(seed, case_id) for case_id in ids]

        def noise(draw: int) -> Array:
            return np.stack([gaussian(key, draw, shape) for key in keys])

        x_0 = sample(self.engine, condition, self.table, noise, on_step=on_step)
        if not np.isfinite(x_0).all():
            raise FloatingPointError("the network returned NaN or infinity")
        return [from_model(image[:, :height, :width]) for image in x_0]


def _check(cases: Sequence[Sequence[RGB]], ids: Sequence[str]) -> None:
    if len(cases) != len(ids):
        raise ValueError(f"{len(cases)} cases with {len(ids)} ids")
    for case_id, images in zip(ids, cases, strict=True):
        found = [(image.dtype.name, image.shape) for image in images]
        same = len(found) == len(SLOTS) and len(set(found)) == 1
        if not same or found[0][0] != "uint8" or found[0][1][2:] != (3,) or len(found[0][1]) != 3:
            raise ValueError(f"case {case_id}: expected 3 images of one size, uint8 (h, w, 3), got {found}")


def load_pipeline(
    model: str | Path = "tfs-rt/x4", *, backend: str = "ort-cpu", recipe: Callable[[Recipe], Recipe] | None = None
) -> Pipeline:
    """A bundle (path or shipped name) on a backend; `recipe` may change the model's own, as in

    `load_pipeline("tfs-rt/x4", recipe=lambda r: dataclasses.replace(r, steps=20))`.
    """
    bundle = load_bundle(model)
    spec = bundle.manifest.model
    if spec.architecture.condition_channels != 9:
        images = spec.architecture.condition_channels // 3
        raise ModelError(bundle.path, f"takes {images} image, not the three of a fusion", "choose a TFS-Diff model")
    chosen = recipe(bundle.manifest.recipe) if recipe else bundle.manifest.recipe
    table = step_table(spec, chosen)
    return Pipeline(bundle, load_engine(backend, bundle), chosen, table)
