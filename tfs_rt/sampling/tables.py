"""Samplers as tables: each sampler is a function from noise levels to columns of coefficients, read by one loop.

All samplers share one form of step,

    x_0    = clip(r_xt x_t + r_pred prediction, -1, 1)
    x_prev = c_x0 x_0 + c_xt x_t + c_z z + c_x0_prev x_0'          (x_0' is the previous step's x_0)

computed by `engine.reverse_step` and `kernels/update.cu`, so that eps is recomputed from the clipped x_0 by
construction. Tables are float64; the state is float32.

Add a sampler: write its function here, and its entry in `tfs_rt.sampling.registry`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from tfs_rt.errors import UsageError
from tfs_rt.sampling.registry import SAMPLERS
from tfs_rt.sampling.schedule import Float64, alpha_bar_at, alphas_cumprod, sigma
from tfs_rt.spec import ModelSpec, Prediction, Recipe


class StepRow(NamedTuple):
    """The coefficients of one reverse step."""

    noise_level: float  # sqrt(alpha_bar_t), an input of the network
    r_xt: float
    r_pred: float
    c_x0: float
    c_xt: float
    c_z: float
    c_x0_prev: float


class Update(NamedTuple):
    """A sampler's columns of a table, (steps,) each."""

    c_x0: Float64
    c_xt: Float64
    c_z: Float64
    c_x0_prev: Float64


@dataclass(frozen=True, slots=True)
class StepTable:
    """A whole reverse diffusion. It starts from start_x0 x_init + start_z z, with x_init a guess at x_0."""

    rows: Float64  # (steps, 7), from noisy to clean, columns as in StepRow
    start_x0: float
    start_z: float


def step_table(spec: ModelSpec, recipe: Recipe) -> StepTable:
    """The table of a recipe for a model; UsageError if the sampler is unknown or the recipe leaves the schedule."""
    if recipe.sampler not in SAMPLERS:
        raise UsageError(
            "--sampler", f"{recipe.sampler!r} is not a known sampler", f"choose one of {', '.join(SAMPLERS)}"
        )
    alpha_bar = alpha_bars(spec, recipe)
    update = _update(recipe, alpha_bar)
    rows = np.column_stack([np.sqrt(alpha_bar), *to_x0(spec.prediction, alpha_bar), *update])

    # Spacing t starts at t = T, where nothing of x_0 is left: from bare noise, as in training.
    if recipe.spacing == "t":
        return StepTable(rows, start_x0=0.0, start_z=1.0)
    return StepTable(rows, start_x0=float(np.sqrt(alpha_bar[0])), start_z=float(np.sqrt(1 - alpha_bar[0])))


def _update(recipe: Recipe, alpha_bar: Float64) -> Update:
    """The columns of the recipe's sampler, whose function is in this module."""
    sampler = SAMPLERS[recipe.sampler]
    function: Callable[..., Update] = globals()[sampler.function]
    return function(alpha_bar, recipe.eta) if sampler.takes_eta else function(alpha_bar)


def alpha_bars(spec: ModelSpec, recipe: Recipe) -> Float64:
    """alpha_bar at each network call, from noisy to clean: (steps,)."""
    if recipe.spacing == "t":
        trained = alphas_cumprod(spec.schedule)
        if recipe.steps > len(trained):
            reason = f"{recipe.steps} steps are more than the {len(trained)} that the model was trained with"
            raise UsageError("--steps", reason, f"choose {len(trained)} or fewer")
        alpha_bar = trained[np.rint(np.linspace(len(trained) - 1, 0, recipe.steps)).astype(np.intp)]
    else:
        alpha_bar = alpha_bar_at(np.geomspace(recipe.sigma_max, recipe.sigma_min, recipe.steps))

    # Refuse noise levels that the model was not trained on; the tolerance is for the manifest's rounding.
    lowest, highest = spec.sigma_range
    sigmas = sigma(alpha_bar)
    if sigmas.min() < lowest * (1 - 1e-5) or sigmas.max() > highest * (1 + 1e-5):
        visited = f"{sigmas.max():.4g} to {sigmas.min():.4g}"
        reason = f"sampling from sigma {visited} leaves the range of the model's training"
        raise UsageError("--spacing", reason, f"stay within {highest:.4g} to {lowest:.4g}, as log-snr does by default")
    return alpha_bar


def to_x0(prediction: Prediction, alpha_bar: Float64) -> tuple[Float64, Float64]:
    """(r_xt, r_pred), (steps,) each: the coefficients that give x_0 from x_t and the network's prediction."""
    if prediction == "eps":
        return 1 / np.sqrt(alpha_bar), -np.sqrt(1 / alpha_bar - 1)
    if prediction == "v":  # Salimans & Ho 2022: v = sqrt(alpha_bar) eps - sqrt(1 - alpha_bar) x_0
        return np.sqrt(alpha_bar), -np.sqrt(1 - alpha_bar)
    return np.zeros_like(alpha_bar), np.ones_like(alpha_bar)


def ddim(alpha_bar: Float64, eta: float) -> Update:
    """DDIM, Song et al. 2020, eqs. 12 and 16: eta = 0 is deterministic, eta = 1 ancestral."""
    ab = alpha_bar
    ab_prev = np.append(alpha_bar[1:], 1.0)
    c_z = eta * np.sqrt((1 - ab_prev) / (1 - ab) * np.maximum(1 - ab / ab_prev, 0))
    c_xt = np.sqrt(np.maximum(1 - ab_prev - c_z**2, 0) / (1 - ab))
    c_x0 = np.sqrt(ab_prev) - c_xt * np.sqrt(ab)
    return Update(c_x0, c_xt, c_z, c_x0_prev=np.zeros_like(ab))


def ddpm(alpha_bar: Float64) -> Update:
    """Ho et al.'s ancestral chain, 2020, eqs. 6 and 7: DDIM with eta = 1."""
    return ddim(alpha_bar, eta=1.0)


def dpmpp_2m(alpha_bar: Float64) -> Update:
    """DPM-Solver++(2M), Lu et al. 2022, algorithm 2: data prediction, multistep; first and last step of first order.

    Its steps are in lambda = log(sqrt(alpha_bar) / sqrt(1 - alpha_bar)).
    """
    # At first order it is deterministic DDIM.
    c_x0, c_xt, c_z, c_x0_prev = ddim(alpha_bar, eta=0.0)

    # Second order: extrapolate x_0 from the last two, by the ratio of lambda's growth over their steps.
    h = np.diff(-np.log(sigma(alpha_bar)))
    ratio = h[1:] / (2 * h[:-1])
    c_x0_prev[1:-1] = -c_x0[1:-1] * ratio
    c_x0[1:-1] *= 1 + ratio
    return Update(c_x0, c_xt, c_z, c_x0_prev)
