"""Checkpoints that tests write."""

from __future__ import annotations

import torch

from support.helpers import PAPER_SCHEDULE
from tfs_rt.sampling.schedule import alphas_cumprod, betas
from tfs_rt_reference.network import UNet


def published_form(network: UNet, prefix: str = "denoise_fn.") -> dict[str, torch.Tensor]:
    buffers = {"betas": betas(PAPER_SCHEDULE), "alphas_cumprod": alphas_cumprod(PAPER_SCHEDULE)}
    state = {f"{prefix}{name}": tensor for name, tensor in network.state_dict().items()}
    return state | {name: torch.from_numpy(values).float() for name, values in buffers.items()}
