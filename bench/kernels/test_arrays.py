"""The kernels between a condition and an image, for a result of 256x256 at x4; each against its formula."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from tfs_rt.images import RGB, Array, from_model, to_condition
from tfs_rt.models.bundle import load_bundle
from tfs_rt.sampling.engine import reverse_step
from tfs_rt.sampling.loop import warm_start
from tfs_rt.sampling.noise import gaussian, noise_key
from tfs_rt.sampling.schedule import sigma_range
from tfs_rt.sampling.tables import StepRow, step_table
from tfs_rt.spec import Recipe

SIDE = 256
MASK = 2**64 - 1
LEVEL = 1 / 127.5  # a grey level, in the network's units
Holds = Callable[[Any, Any, float], None]


def bicubic(side: int, scale: int) -> np.ndarray:
    """Keys' cubic with a = -0.5, edges renormalised: (side * scale, side)."""
    centre = (np.arange(side * scale)[:, None] + 0.5) / scale
    d = np.abs(np.arange(side) + 0.5 - centre)
    near = (1.5 * d - 2.5) * d * d + 1
    far = -0.5 * (((d - 5) * d + 8) * d - 4)
    weights = np.where(d < 1, near, np.where(d < 2, far, 0))
    return weights / weights.sum(axis=1, keepdims=True)


def philox(counter: list[int], key: list[int]) -> list[int]:
    """Philox4x64-10 in Python's integers (Salmon et al. 2011)."""
    c = counter
    k = key
    for _ in range(10):
        left = c[0] * 0xD2E7470EE14C6C93
        right = c[2] * 0xCA5A826395121157
        c = [(right >> 64) ^ c[1] ^ k[0], right & MASK, (left >> 64) ^ c[3] ^ k[1], left & MASK]
        k = [(k[0] + 0x9E3779B97F4A7C15) & MASK, (k[1] + 0xBB67AE8584CAA73B) & MASK]
    return c


def few_steps() -> tuple[Recipe, np.ndarray]:
    """Four steps of DDIM from sigma 80 to 2, and x_prev's coefficients by way of eps."""
    recipe = Recipe(sampler="ddim", steps=4, eta=0.0, spacing="log-snr", sigma_max=80.0, sigma_min=2.0)
    s = np.append(80.0 * (2.0 / 80.0) ** (np.arange(4) / 3), 0.0)
    signal = 1 / np.sqrt(1 + s * s)  # x_t = signal (x_0 + s eps), and so eps = (x_t / signal - x_0) / s
    ratio = s[1:] / s[:-1]
    return recipe, np.stack([signal[1:] * (1 - ratio), signal[1:] / signal[:-1] * ratio, np.zeros(4)], axis=1)


def all_steps() -> tuple[Recipe, np.ndarray]:
    """The ancestral chain over all 4,000, and the posterior's coefficients (Ho et al. 2020, eqs. 6 and 7)."""
    recipe = Recipe(sampler="ddpm", steps=4000, eta=0.0, spacing="t", sigma_max=1.0, sigma_min=1.0)
    beta = np.linspace(1e-6, 1e-2, 4000)
    known = np.cumprod(1 - beta)
    before = np.append(1.0, known[:-1])
    c_x0 = np.sqrt(before) * beta / (1 - known)
    c_xt = np.sqrt(1 - beta) * (1 - before) / (1 - known)
    c_z = np.sqrt(beta * (1 - before) / (1 - known))
    return recipe, np.stack([c_x0, c_xt, c_z], axis=1)[::-1]


@pytest.mark.parametrize("case", [few_steps, all_steps], ids=["ddim-4", "ddpm-4000"])
def test_step_table(case: Callable[[], tuple[Recipe, np.ndarray]], benchmark: BenchmarkFixture, holds: Holds) -> None:
    recipe, expected = case()
    shipped = load_bundle("tfs-rt/x4").manifest.model
    spec = dataclasses.replace(shipped, sigma_range=sigma_range(shipped.schedule))
    table = benchmark(step_table, spec, recipe)
    holds(table.rows[:, 3:6], expected, 1e-6)  # 1 - alpha_bar has six digits of its sixteen at t = 1


def test_condition(images: list[RGB], benchmark: BenchmarkFixture, holds: Holds) -> None:
    got = benchmark(to_condition, images, (SIDE, SIDE))
    weights = bicubic(64, 4)
    across = [np.einsum("xj,hjc->hxc", weights, image.astype(float)) for image in images]
    levels = [np.einsum("yi,iwc->cyw", weights, np.floor(image.clip(0, 255) + 0.5)) for image in across]
    expected = np.concatenate(levels).clip(0, 255) / 127.5 - 1
    holds(got, expected, 1.01 * LEVEL)  # Pillow's weights are fixed-point numbers, and it rounds to a level


def test_noise(benchmark: BenchmarkFixture, holds: Holds) -> None:
    key = noise_key(0, "case")
    draw = 3
    got = benchmark(gaussian, key, draw, (3, SIDE, SIDE)).ravel()
    chosen = np.random.default_rng(0).choice(got.size // 8, 200, replace=False)
    expected = []
    for block in map(int, chosen):
        for word in philox([block + 1, draw, 0, 0], [key & MASK, key >> 64]):
            radius = math.sqrt(-2 * math.log(((word & 0xFFFFFFFF) + 0.5) / 2**32))
            angle = ((word >> 32) + 0.5) / 2**32 * 2 * math.pi
            expected += [radius * math.cos(angle), radius * math.sin(angle)]
    holds(got.reshape(-1, 8)[chosen].ravel(), expected, 5e-7)  # float32 of numbers up to 6.7


def test_update(rng: np.random.Generator, benchmark: BenchmarkFixture, holds: Holds) -> None:
    """A step with all its terms, in the place of the network's answer an array."""
    prediction, x_t, before, z = rng.standard_normal((4, 1, 3, SIDE, SIDE), dtype=np.float32)
    row = StepRow(0.5, 0.8, -0.6, 0.7, 0.3, 0.2, -0.1)
    x_prev, _ = benchmark(reverse_step, prediction, x_t, before, row, z)
    x_0 = np.minimum(np.maximum(0.8 * x_t.astype(float) - 0.6 * prediction, -1), 1)
    holds(x_prev, 0.7 * x_0 + 0.3 * x_t.astype(float) + 0.2 * z - 0.1 * before, 2e-6)


def test_warm_start(images: list[RGB], benchmark: BenchmarkFixture, holds: Holds) -> None:
    condition: Array = to_condition(images, (SIDE, SIDE))[None]
    got = benchmark(warm_start, condition)
    exact = condition[0].astype(float).reshape(3, 3, SIDE, SIDE)
    light = 0.299 * exact[:, 0] + 0.587 * exact[:, 1] + 0.114 * exact[:, 2]
    lift = np.maximum(np.maximum(light[0], light[1]), light[2]) - light[2]
    holds(got[0], np.minimum(np.maximum(exact[2] + lift, -1), 1), 1e-6)


def test_levels(rng: np.random.Generator, benchmark: BenchmarkFixture, holds: Holds) -> None:
    x = rng.uniform(-1.2, 1.2, (3, SIDE, SIDE)).astype(np.float32)
    got = benchmark(from_model, x)
    holds(got, np.moveaxis((x.astype(float) + 1) * 127.5, 0, 2).clip(0, 255), 0.5001)  # rounded
