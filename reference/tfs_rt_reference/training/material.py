"""Training samples: sample j of iteration i is a function of (seed, i, j) and the data alone.

So neither the number of workers or processes nor an interruption changes what a network sees.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from tfs_rt.errors import UsageError
from tfs_rt.images import Array, to_condition, to_model
from tfs_rt.sampling.schedule import alphas_cumprod
from tfs_rt_reference.data.groups import Group, low_resolution
from tfs_rt_reference.training.config import Config

MARGIN = 16  # pixels around a crop, which keep the degradation's border effects out
AHEAD = 2  # batches made while the network works


@dataclass(frozen=True, slots=True)
class Batch:
    """B samples, float32."""

    condition: Tensor  # (B, 9, H, W) in [-1, 1]
    x_0: Tensor  # (B, 3, H, W) in [-1, 1]
    eps: Tensor  # (B, 3, H, W), standard normal
    noise_level: Tensor  # (B, 1), sqrt(alpha_bar)

    def to(self, device: torch.device) -> Batch:
        """The same on a device."""
        tensors = (self.condition, self.x_0, self.eps, self.noise_level)
        condition, *rest = (tensor.to(device, non_blocking=True) for tensor in tensors)
        return Batch(condition.to(memory_format=torch.channels_last), *rest)


class Material:
    """Registered groups, cut, mirrored and degraded; every set of groups is drawn from equally often."""

    def __init__(self, sets: Sequence[Sequence[Group]], config: Config, *, grid: int = 1) -> None:
        self.sets = sets
        self.config = config
        self.grid = grid
        self.levels = np.sqrt(np.append(1.0, alphas_cumprod(config.schedule)))
        smallest = min((min(g.truth.shape[:2]), g.id) for groups in sets for g in groups)
        if smallest[0] < config.crop:
            reason = f"is {smallest[0]} pixels wide or high, less than the crop of {config.crop}"
            raise UsageError(smallest[1], reason, "set a smaller crop")

    def batches(self, first: int, *, rank: int = 0, world: int = 1, workers: int = 1) -> Iterator[Batch]:
        """The batches of iterations `first`, `first` + 1 ... : every `world`-th sample, from `rank` on."""
        own = range(rank, self.config.batch, world)
        with ThreadPoolExecutor(workers) as pool:

            def submit(i: int) -> list:
                return [pool.submit(self.sample, i, j) for j in own]

            pending = [submit(first + i) for i in range(AHEAD)]
            for i in range(first + AHEAD, 2**62):
                ready = pending.pop(0)
                pending.append(submit(i))
                columns = zip(*(future.result() for future in ready), strict=True)
                yield Batch(*(torch.from_numpy(np.stack(column)) for column in columns))

    def sample(self, i: int, j: int) -> tuple[Array, Array, Array, Array]:
        """(condition, x_0, eps, noise level) of sample j in iteration i."""
        rng = np.random.default_rng([self.config.seed, i, j])
        groups = self.sets[int(rng.integers(len(self.sets)))]
        condition, x_0 = crop(
            groups[int(rng.integers(len(groups)))], self.config.scale, self.config.crop, rng, self.grid
        )
        eps = rng.standard_normal(x_0.shape, dtype=np.float32)
        return condition, x_0, eps, np.array([self.noise_level(rng)], dtype=np.float32)

    def noise_level(self, rng: np.random.Generator) -> float:
        """sqrt(alpha_bar): between neighbouring t, t uniform (SR3, section 2.4), or log-uniform in sigma."""
        low, high = self.config.sigmas
        if self.config.at_start and rng.random() < self.config.at_start:
            sigma = high
        elif self.config.sigma_range:
            sigma = np.exp(rng.uniform(np.log(low), np.log(high)))
        else:
            t = rng.integers(1, len(self.levels))
            return rng.uniform(self.levels[t], self.levels[t - 1])
        return float(1 / np.sqrt(1 + sigma**2))


def crop(group: Group, scale: int, size: int, rng: np.random.Generator, grid: int = 1) -> tuple[Array, Array]:
    """Condition (9, size, size) and x_0 (3, size, size), both in [-1, 1].

    The window lies at any pixel of the full-resolution group, which is degraded around it, so that every sub-pixel
    phase of the low-resolution grid is seen; with `grid` = scale, only the phase of the whole image, to which a
    teacher's target belongs. Over the image's border its own edge goes on. Mirrored at random, and nothing else, for
    BitonicX is blind to little else: of a group turned by 90 degrees it gives what lies 33 to 39 dB from the turned
    truth (mirrored: 48 dB or more), of one with m1 and m2 exchanged 25 to 33 dB.
    """
    height, width = group.truth.shape[:2]
    top, left = (int(rng.integers((side - size) // grid + 1)) * grid for side in (height, width))
    images = [_window(image, top, left, size + 2 * MARGIN) for image in (*group.sources, group.truth)]
    down, along = (-1 if rng.integers(2) else 1 for _ in range(2))
    images = [np.ascontiguousarray(image[::down, ::along]) for image in images]
    condition = to_condition([low_resolution(i, scale) for i in images[:-1]], images[-1].shape[:2])
    inner = np.s_[:, MARGIN : MARGIN + size, MARGIN : MARGIN + size]
    return condition[inner], to_model(images[-1])[inner]


def _window(image: np.ndarray, top: int, left: int, side: int) -> np.ndarray:
    """`side` pixels square, MARGIN before (top, left); what lies outside repeats the edge."""
    rows = np.arange(top - MARGIN, top - MARGIN + side).clip(0, image.shape[0] - 1)
    columns = np.arange(left - MARGIN, left - MARGIN + side).clip(0, image.shape[1] - 1)
    return image[np.ix_(rows, columns)]
