"""The noise schedule: beta_t -> alpha_bar_t, and back from a noise-to-signal ratio.

alpha_bar_t = prod_{s<=t} (1 - beta_s);   noise level = sqrt(alpha_bar);   sigma = sqrt((1 - alpha_bar) / alpha_bar).
Ho et al., "Denoising Diffusion Probabilistic Models", 2020, eq. 4. The network of SR3 (Saharia et al., 2021) is
conditioned on the noise level instead of t, so that any real level is a valid input.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from tfs_rt.spec import Schedule

Float64 = NDArray[np.float64]


def betas(schedule: Schedule) -> Float64:
    """(T,) in (0, 1), float64."""
    start = schedule.linear_start
    end = schedule.linear_end
    count = schedule.n_timestep
    if schedule.schedule == "linear":
        return np.linspace(start, end, count, dtype=np.float64)
    if schedule.schedule == "quad":
        root = np.linspace(start**0.5, end**0.5, count, dtype=np.float64)
        return root * root

    # Cosine: Nichol & Dhariwal 2021, eq. 17, with their offset 0.008 and cap 0.999.
    angle = (np.arange(count + 1, dtype=np.float64) / count + 0.008) / 1.008 * math.pi / 2
    alpha_bar = np.cos(angle) ** 2
    return np.minimum(1 - alpha_bar[1:] / alpha_bar[:-1], 0.999)


def alphas_cumprod(schedule: Schedule) -> Float64:
    """alpha_bar_t for t = 1..T: (T,), decreasing, float64."""
    return np.cumprod(1.0 - betas(schedule), dtype=np.float64)


def sigma(alpha_bar: Float64) -> Float64:
    """Noise-to-signal ratio sqrt((1 - alpha_bar) / alpha_bar)."""
    return np.sqrt((1.0 - alpha_bar) / alpha_bar)


def sigma_range(schedule: Schedule) -> tuple[float, float]:
    """The lowest and highest sigma of a schedule, at t = 1 and t = T, to six digits."""
    lowest, highest = sigma(alphas_cumprod(schedule))[[0, -1]]
    return float(f"{lowest:.6g}"), float(f"{highest:.6g}")


def alpha_bar_at(sigma: Float64) -> Float64:
    """The alpha_bar whose noise-to-signal ratio is `sigma`."""
    return 1.0 / (1.0 + np.square(sigma))
