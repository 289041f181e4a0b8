"""The diffusion process in the paper's and SR3's own terms, in PyTorch: what the runtime is measured against.

q(x_t | x_0) = N(sqrt(alpha_bar_t) x_0, (1 - alpha_bar_t) I). Training samples from it by `q_sample`. `ancestral_chain`
is its reverse, Ho et al. 2020, algorithm 2, with x_0 clipped in each step. It is the oracle of the tests of
`tfs_rt.sampling.tables`, and written step by step on purpose.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from tfs_rt.sampling.schedule import alphas_cumprod, betas
from tfs_rt.spec import ModelSpec

Network = Callable[[Tensor, Tensor, Tensor], Tensor]


def q_sample(x_0: Tensor, noise_level: Tensor, eps: Tensor) -> Tensor:
    """x_t of x_0 (B, 3, H, W) at noise_level (B, 1) = sqrt(alpha_bar)."""
    level = noise_level[:, :, None, None]
    return level * x_0 + (1 - level.square()).sqrt() * eps


@torch.inference_mode()
def ancestral_chain(network: Network, spec: ModelSpec, condition: Tensor, x_T: Tensor, noise: Tensor) -> Tensor:
    """All T steps of DDPM for an eps network: x_T (B, 3, H, W), noise (T - 1, B, 3, H, W) in drawing order."""
    beta = betas(spec.schedule)
    alpha_bar = alphas_cumprod(spec.schedule)
    alpha_bar_prev = np.append(1.0, alpha_bar[:-1])
    x_t = x_T
    for i, t in enumerate(reversed(range(spec.schedule.n_timestep))):
        noise_level = torch.full((x_t.shape[0], 1), float(np.sqrt(alpha_bar[t])))
        eps = network(condition, x_t, noise_level)
        x_0 = (x_t - float(np.sqrt(1 - alpha_bar[t])) * eps) / float(np.sqrt(alpha_bar[t]))
        x_0 = x_0.clamp(-1, 1)
        mean = float(beta[t] * np.sqrt(alpha_bar_prev[t]) / (1 - alpha_bar[t])) * x_0
        mean = mean + float((1 - alpha_bar_prev[t]) * np.sqrt(1 - beta[t]) / (1 - alpha_bar[t])) * x_t
        variance = beta[t] * (1 - alpha_bar_prev[t]) / (1 - alpha_bar[t])
        x_t = mean + float(np.sqrt(variance)) * noise[i] if t > 0 else mean
    return x_t
