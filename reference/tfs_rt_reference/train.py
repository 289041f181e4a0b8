"""Train a compact TFS-Diff on the CPU: `python -m tfs_rt_reference.train DATA -o CHECKPOINT --scale 4`.

The network predicts x_0 from x_t = sqrt(alpha_bar) x_0 + sqrt(1 - alpha_bar) z at noise-to-signal ratios drawn from the
range that few-step sampling visits, half of them at its start, under L_PSF (paper, section 2.3). Why x_0 and not eps:
with the paper's schedule one step of an eps network multiplies its error by sigma, 22,800 at the start.
"""

from __future__ import annotations

import argparse
import copy
import itertools
import json
import math
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tfs_rt.images import Array, from_model, to_condition
from tfs_rt.sampler import warm_start
from tfs_rt.spec import Architecture, ModelSpec, Schedule
from tfs_rt_reference.checkpoint import save_checkpoint
from tfs_rt_reference.data import Group, crops, low_resolution, read_groups
from tfs_rt_reference.diffusion import q_sample
from tfs_rt_reference.losses import psf_loss
from tfs_rt_reference.network import UNet

COMPACT = Architecture(
    in_channel=12,
    out_channel=3,
    inner_channel=64,
    norm_groups=16,
    channel_multiplier=(1, 2),
    attention_levels=(),
    res_blocks=2,
    gate="all",
    patch_size=4,
    condition_skip=True,
)
PAPER_SCHEDULE = Schedule(schedule="linear", n_timestep=4000, linear_start=1e-6, linear_end=1e-2)
SIGMA_MAX, SIGMA_MIN = 80.0, 2.0  # below, x_t says more of x_0 than a network with a folded stem can pass on
DROPOUT = 0.1
EMA_DECAY = 0.998
WARMUP = 100  # iterations


def draw_alpha_bar(batch: int) -> Tensor:
    """(B, 1): log-uniform sigma in [SIGMA_MIN, SIGMA_MAX], every second one at SIGMA_MAX."""
    u = torch.rand(batch, 1)
    u[::2] = 1.0
    log_sigma = math.log(SIGMA_MIN) + u * math.log(SIGMA_MAX / SIGMA_MIN)
    return 1 / (1 + log_sigma.exp().square())


def one_step_psnr(network: UNet, groups: list[Group], scale: int) -> float:
    """Mean PSNR in dB over whole images of the first x_0 prediction, started as the runtime starts it."""
    noise_level = torch.full((1, 1), (1 + SIGMA_MAX**2) ** -0.5)
    generator = torch.Generator().manual_seed(0)
    values = []
    for group in groups:
        size = (group.truth.shape[0], group.truth.shape[1])
        condition = to_condition([low_resolution(i, scale) for i in group.sources], size)[None]
        start = torch.from_numpy(warm_start(condition))
        x_t = q_sample(start, noise_level, torch.randn(start.shape, generator=generator))
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
            x_0 = network(torch.from_numpy(condition), x_t, noise_level)
        error = from_model(x_0[0].float().numpy()).astype(np.float64) - group.truth
        values.append(10 * math.log10(255**2 / np.mean(error**2)))
    return float(np.mean(values))


def new_network() -> UNet:
    """A network that begins by answering with the functional image."""
    network = UNet(COMPACT, dropout=DROPOUT).to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    torch.nn.init.zeros_(network.final_conv.block[3].weight)
    torch.nn.init.zeros_(network.condition_skip.weight)
    network.condition_skip.weight.data[:, 6:, 0, 0] = torch.eye(3)
    return network


def step_loss(network: UNet, pairs: list[tuple[Array, Array]]) -> Tensor:
    """L_PSF of the predictions for a batch of (condition, x_0), at noise levels drawn anew."""
    condition = torch.from_numpy(np.stack([c for c, _ in pairs])).to(memory_format=torch.channels_last)
    x_0 = torch.from_numpy(np.stack([t for _, t in pairs]))
    noise_level = draw_alpha_bar(len(pairs)).sqrt()
    x_t = q_sample(x_0, noise_level, torch.randn_like(x_0))
    with torch.autocast("cpu", torch.bfloat16):
        prediction = network(condition, x_t, noise_level)
    return psf_loss(prediction.float(), x_0, lambda_1=1.0, lambda_2=0.05)


@torch.no_grad()
def update_average(average: UNet, network: UNet, decay: float) -> None:
    """Exponential moving average of the weights."""
    for mean, value in zip(average.parameters(), network.parameters(), strict=True):
        mean.lerp_(value, 1 - decay)


def train(data: Path, output: Path, *, scale: int, iterations: int, batch: int, crop: int, rate: float) -> None:
    """Train on the split `train`, watch the split `val`, and write the averaged weights to `output`."""
    torch.manual_seed(0)
    network = new_network()
    average = copy.deepcopy(network).eval()
    optimiser = torch.optim.AdamW(network.parameters(), lr=rate, weight_decay=1e-4)
    rates = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda i: min((i + 1) / WARMUP, 0.5 + 0.5 * math.cos(math.pi * i / iterations))
    )
    stream = crops(read_groups(data, "train"), scale=scale, size=crop, margin=16, rng=np.random.default_rng(0))
    validation = read_groups(data, "val")
    spec = ModelSpec(
        architecture=COMPACT,
        prediction="x0",
        schedule=PAPER_SCHEDULE,
        scale=scale,
        trained_size=256,
        sigma_range=(SIGMA_MIN, SIGMA_MAX),
    )
    start, losses = time.monotonic(), []
    for i in range(1, iterations + 1):
        loss = step_loss(network, list(itertools.islice(stream, batch)))
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        rates.step()
        update_average(average, network, min(EMA_DECAY, i / (i + 10)))
        losses.append(loss.item())
        if i % 100 == 0 or i == iterations:
            seconds, mean = round(time.monotonic() - start), round(float(np.mean(losses[-100:])), 5)
            psnr = round(one_step_psnr(average, validation, scale), 3)
            print(json.dumps({"iteration": i, "seconds": seconds, "loss": mean, "val_psnr": psnr}), flush=True)
            save_checkpoint(output, average, spec)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--scale", type=int, default=4)
    parser.add_argument("--iterations", type=int, default=5000)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--crop", type=int, default=128)
    parser.add_argument("--rate", type=float, default=1e-3)
    arguments = vars(parser.parse_args())
    train(arguments.pop("data"), arguments.pop("output"), **arguments)


if __name__ == "__main__":
    main()
