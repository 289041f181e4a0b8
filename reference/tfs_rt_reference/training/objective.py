"""What is minimised: lambda_1 (squared error of the prediction) + lambda_2 (1 - SSIM of x_0).

Paper, eqs. 1 to 4. For an eps network the squared error is eq. 1's; that of x_0 would be the same times sigma^2, 5e8 at
the paper's t = T. SSIM is taken of the x_0 that follows from the prediction, clipped to [-1, 1] as sampling clips it.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from tfs_rt.spec import Prediction
from tfs_rt_reference.diffusion import q_sample
from tfs_rt_reference.losses import ssim
from tfs_rt_reference.training.config import Config
from tfs_rt_reference.training.material import Batch

Network = Callable[[Tensor, Tensor, Tensor], Tensor]


def target(prediction: Prediction, batch: Batch) -> Tensor:
    """What the network should say: eps, x_0, or v = sqrt(alpha_bar) eps - sqrt(1 - alpha_bar) x_0."""
    if prediction == "eps":
        return batch.eps
    if prediction == "x0":
        return batch.x_0
    signal = batch.noise_level[:, :, None, None]
    return signal * batch.eps - (1 - signal.square()).sqrt() * batch.x_0


def recovered(prediction: Prediction, said: Tensor, x_t: Tensor, noise_level: Tensor) -> Tensor:
    """x_0 of what the network said, clipped to [-1, 1]."""
    signal = noise_level[:, :, None, None]
    noise = (1 - signal.square()).sqrt()
    if prediction == "eps":
        said = (x_t - noise * said) / signal
    elif prediction == "v":
        said = signal * x_t - noise * said
    return said.clamp(-1, 1)


def loss(network: Network, batch: Batch, config: Config) -> Tensor:
    """The loss of a batch."""
    x_t = q_sample(batch.x_0, batch.noise_level, batch.eps)
    device = batch.x_0.device.type
    with torch.autocast(device, torch.bfloat16, enabled=config.precision == "bf16"):
        said = network(batch.condition, x_t, batch.noise_level).float()
    total = config.lambda_1 * F.mse_loss(said, target(config.prediction, batch))
    if config.lambda_2:
        x_0 = recovered(config.prediction, said, x_t, batch.noise_level)
        total = total + config.lambda_2 * (1 - ssim(x_0, batch.x_0))
    return total
