"""Validation on whole images, sampled as the runtime samples them: PSNR, SSIM, the bias of each colour, and L_PSF."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from skimage.metrics import structural_similarity

from tfs_rt.sampling.engine import ImageBatch
from tfs_rt.sampling.stepwise import fuse_batch
from tfs_rt.sampling.tables import step_table
from tfs_rt_reference.data.groups import Group
from tfs_rt_reference.engine import TorchEngine
from tfs_rt_reference.network import UNet
from tfs_rt_reference.recipe import default_recipe
from tfs_rt_reference.training.config import Config


def validate(network: UNet, config: Config, trained_size: int, groups: Sequence[Group]) -> dict[str, float]:
    """Means over groups of PSNR in dB, SSIM, and the largest of the three colours' mean differences in grey levels.

    `val_loss` is L_PSF of those images; it selects the best weights of a run. One step, except for an eps network: its
    first x_0 does not look like an image.
    """
    # Prepare the sampler: one step, or more for an eps network.
    spec = config.spec(trained_size)
    recipe = default_recipe(spec, steps=None if spec.prediction == "eps" else 1)
    engine = TorchEngine(spec, network)
    table = step_table(spec, recipe)
    # Fuse each group, and measure its error.
    rows = []
    for group in groups:
        batch = ImageBatch([group.degraded(spec.scale)], [group.id], size=group.size)
        result = fuse_batch(engine, table, batch)[0]
        error = result.astype(np.float64) - group.truth
        mse = max(float(np.mean(error**2)), 1e-9)
        ssim = float(structural_similarity(result, group.truth, channel_axis=-1))
        psf = config.lambda_1 * mse / 127.5**2 + config.lambda_2 * (1 - ssim)
        rows.append([10 * np.log10(255**2 / mse), ssim, psf, *error.mean(axis=(0, 1))])
    # Average over the groups.
    means: list[float] = np.mean(rows, axis=0).tolist()
    psnr, ssim, psf, *bias = means
    return {
        "psnr": round(psnr, 3),
        "ssim": round(ssim, 4),
        "bias": round(max(bias, key=abs), 2),
        "val_loss": round(psf, 6),
    }
