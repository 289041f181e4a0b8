"""Validation on whole images, sampled as the runtime samples them: PSNR, SSIM, the bias of each colour, and L_PSF."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from skimage.metrics import structural_similarity

from tfs_rt.images import Array, from_model, to_condition
from tfs_rt.noise import gaussian, noise_key
from tfs_rt.sampler import sample
from tfs_rt.spec import ModelSpec, Recipe
from tfs_rt.table import step_table
from tfs_rt_reference.data import Group, low_resolution
from tfs_rt_reference.engine import TorchEngine
from tfs_rt_reference.network import UNet
from tfs_rt_reference.training.config import Config

FEW = 8  # steps of an eps network, whose first x_0 is no image


def validate(network: UNet, config: Config, trained_size: int, groups: Sequence[Group]) -> dict[str, float]:
    """Means over groups of PSNR in dB, SSIM, and the largest of the three colours' mean differences in grey levels.

    `val_loss` is L_PSF of those images, by which the best weights of a run are told.
    """
    spec = config.spec(trained_size)
    engine, table = TorchEngine(spec, network), step_table(spec, recipe(spec))
    rows = []
    for group in groups:
        size = (group.truth.shape[0], group.truth.shape[1])
        pad = ((0, 0), *((0, -side % spec.architecture.stride) for side in size))
        condition = to_condition([low_resolution(image, spec.scale) for image in group.sources], size)
        condition = np.pad(condition, pad, mode="reflect")[None]
        key = noise_key(0, group.id)

        def noise(draw: int, key=key, shape=(3, *condition.shape[2:])) -> Array:
            return gaussian(key, draw, shape)[None]

        result = from_model(sample(engine, condition, table, noise)[0, :, : size[0], : size[1]])
        error = result.astype(np.float64) - group.truth
        mse = max(float(np.mean(error**2)), 1e-9)
        ssim = float(structural_similarity(result, group.truth, channel_axis=-1))  # pyright: ignore[reportArgumentType]
        psf = config.lambda_1 * mse / 127.5**2 + config.lambda_2 * (1 - ssim)
        rows.append([10 * np.log10(255**2 / mse), ssim, psf, *error.mean(axis=(0, 1))])
    psnr, ssim, psf, *bias = np.mean(rows, axis=0).tolist()
    return {
        "psnr": round(psnr, 3),
        "ssim": round(ssim, 4),
        "bias": round(max(bias, key=abs), 2),
        "val_loss": round(psf, 6),
    }


def recipe(spec: ModelSpec) -> Recipe:
    """One step from the highest noise; for an eps network, a few from where its error is not yet blown up."""
    low, high = spec.sigma_range
    steps, high = (FEW, min(high, 20.0)) if spec.prediction == "eps" else (1, min(high, 80.0))
    low = min(max(low, 0.02), high) if steps > 1 else high
    return Recipe(sampler="ddim", steps=steps, eta=0.0, spacing="log-snr", sigma_max=high, sigma_min=low)
