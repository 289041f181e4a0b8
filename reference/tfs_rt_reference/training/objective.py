"""The loss: lambda_1 (squared error of the prediction) + lambda_2 (1 - SSIM of x_0) + lambda_3 (sharpness).

Paper, eqs. 1 to 4; the last term is ours, and off in the paper's preset. It asks that the average gradient of each
block of 8x8 pixels be the truth's, at noise levels that only later steps visit: one step then stays the mean of what
the inputs leave open, and some more steps make an image as sharp as the truth.
For an eps network the squared error is eq. 1's; that of x_0 would be the same times sigma^2, 5e8 at the paper's t = T.
For a preconditioned network it is that of the layers' raw output (Karras et al. 2022, eq. 8): about that of x_0 at high
noise, and that of sigma_data eps at low noise. SSIM compares the x_0 that follows from the prediction, clipped to
[-1, 1] as sampling clips it.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from tfs_rt.spec import Prediction
from tfs_rt_reference.diffusion import q_sample
from tfs_rt_reference.training.config import Config
from tfs_rt_reference.training.losses import ssim
from tfs_rt_reference.training.material import Batch

Network = Callable[[Tensor, Tensor, Tensor], Tensor]


def target(prediction: Prediction, batch: Batch) -> Tensor:
    """The network's target: eps, x_0, or v = sqrt(alpha_bar) eps - sqrt(1 - alpha_bar) x_0."""
    if prediction == "eps":
        return batch.eps
    if prediction == "x0":
        return batch.x_0
    signal = batch.noise_level[:, :, None, None]
    return signal * batch.eps - (1 - signal.square()).sqrt() * batch.x_0


def recover_x_0(prediction: Prediction, output: Tensor, x_t: Tensor, noise_level: Tensor) -> Tensor:
    """x_0 of the network's output, clipped to [-1, 1]."""
    signal = noise_level[:, :, None, None]
    noise = (1 - signal.square()).sqrt()
    if prediction == "eps":
        output = (x_t - noise * output) / signal
    elif prediction == "v":
        output = signal * x_t - noise * output
    return output.clamp(-1, 1)


def squared_error(output: Tensor, batch: Batch, config: Config) -> Tensor:
    """The mean squared error of the output. For x_0, pixels beyond the limit where the truth is clipped do not count.

    A fused luminance leaves the range of 8 bits at about one sample in ten. There the truth was clipped when it was
    written, and sampling clips the output.
    """
    error = output - target(config.prediction, batch)
    if sigma_data := config.architecture.sigma_data:
        square = batch.noise_level[:, :, None, None].square()
        error = error * (sigma_data**2 + (1 - square) / square).sqrt()
    if config.prediction == "x0":
        beyond = ((batch.x_0 >= 1) & (output > 1)) | ((batch.x_0 <= -1) & (output < -1))
        error = error.masked_fill(beyond, 0)
    return error.square().mean()


def loss(network: Network, batch: Batch, config: Config) -> Tensor:
    """The loss of a batch."""
    # Add noise, and predict.
    x_t = q_sample(batch.x_0, batch.noise_level, batch.eps)
    device = batch.x_0.device.type
    with torch.autocast(device, torch.bfloat16, enabled=config.precision == "bf16"):
        output = network(batch.condition, x_t, batch.noise_level).float()
    # Add up the terms whose weight is not 0.
    total = config.lambda_1 * squared_error(output, batch, config)
    if not config.lambda_2 and not config.lambda_3:
        return total
    x_0 = recover_x_0(config.prediction, output, x_t, batch.noise_level)
    if config.lambda_2:
        total = total + config.lambda_2 * (1 - ssim(x_0, batch.x_0))
    if config.lambda_3:
        fine = batch.noise_level > 1 / math.sqrt(1 + config.sharp_below**2)
        total = (
            total + config.lambda_3 * ((sharpness(x_0) - sharpness(batch.x_0)).abs() * fine[:, :, None, None]).mean()
        )
    return total


def sharpness(x_0: Tensor) -> Tensor:
    """The average gradient of each block of 8x8 pixels: (B, 3, H, W) -> (B, 3, H // 8, W // 8)."""
    along = x_0[..., :-1, 1:] - x_0[..., :-1, :-1]
    down = x_0[..., 1:, :-1] - x_0[..., :-1, :-1]
    gradient = ((along.square() + down.square()) / 2 + 1e-6).sqrt()
    return F.avg_pool2d(F.pad(gradient, (0, 1, 0, 1)), 8)
