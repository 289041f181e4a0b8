"""Tables against the methods' own recurrences, written out step by step in float64."""

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from support.helpers import FEW, NumpyEngine, model_spec
from tfs_rt.errors import UsageError
from tfs_rt.sampling.loop import sample, warm_start
from tfs_rt.sampling.registry import SAMPLERS
from tfs_rt.sampling.schedule import alphas_cumprod, betas, sigma
from tfs_rt.sampling.tables import StepTable, alpha_bars, step_table, to_x0
from tfs_rt.spec import Prediction, Recipe, Schedule

Float64 = NDArray[np.float64]
SHORT = Schedule(schedule="linear", n_timestep=50, linear_start=1e-4, linear_end=0.2)


def network(x: Float64, level: float) -> Float64:
    """Stands for a trained eps network: smooth, bounded, dependent on both inputs."""
    return np.tanh(0.7 * x + level)


def run(table: StepTable, x: Float64, noise: Callable[[int], Float64]) -> Float64:
    """The loop in float64, on the eps network above."""
    x_0_prev = None
    for i, row in enumerate(table.rows, start=1):
        level, r_xt, r_pred, c_x0, c_xt, c_z, c_x0_prev = row
        x_0 = np.clip(r_xt * x + r_pred * network(x, level), -1, 1)
        x = c_x0 * x_0 + c_xt * x + c_z * noise(i)
        if x_0_prev is not None:
            x = x + c_x0_prev * x_0_prev
        x_0_prev = x_0
    return x


def test_ddpm_over_all_steps_is_the_ancestral_chain(rng: np.random.Generator) -> None:
    spec = model_spec(schedule=SHORT)
    recipe = Recipe(sampler="ddpm", steps=50, eta=0.0, spacing="t", sigma_max=1.0, sigma_min=1.0)
    x = rng.standard_normal(64)
    z = rng.standard_normal((51, 64))
    ours = run(step_table(spec, recipe), x, lambda i: z[i])

    beta = betas(SHORT)
    ab = alphas_cumprod(SHORT)
    ab_prev = np.append(1.0, ab[:-1])
    for i, t in enumerate(reversed(range(50)), start=1):  # Ho et al. 2020, eqs. 6 and 7
        eps = network(x, np.sqrt(ab[t]))
        x_0 = np.clip((x - np.sqrt(1 - ab[t]) * eps) / np.sqrt(ab[t]), -1, 1)
        mean = np.sqrt(ab_prev[t]) * beta[t] / (1 - ab[t]) * x_0
        mean += np.sqrt(1 - beta[t]) * (1 - ab_prev[t]) / (1 - ab[t]) * x
        x = mean + np.sqrt((1 - ab_prev[t]) / (1 - ab[t]) * beta[t]) * z[i]
    np.testing.assert_allclose(ours, x, atol=1e-9)


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_ddim_recomputes_eps_from_the_clipped_x0(rng: np.random.Generator, eta: float) -> None:
    spec = model_spec()
    recipe = dataclasses.replace(FEW, steps=8, eta=eta)
    x = 20 * rng.standard_normal(64)
    z = rng.standard_normal((9, 64))
    ours = run(step_table(spec, recipe), x, lambda i: z[i])

    levels = 1 / (1 + np.geomspace(20.0, 0.02, 8) ** 2)
    for i, (ab, ab_prev) in enumerate(zip(levels, np.append(levels[1:], 1.0), strict=True), start=1):
        eps = network(x, np.sqrt(ab))
        x_0 = np.clip((x - np.sqrt(1 - ab) * eps) / np.sqrt(ab), -1, 1)
        eps = (x - np.sqrt(ab) * x_0) / np.sqrt(1 - ab)
        spread = eta * np.sqrt((1 - ab_prev) / (1 - ab)) * np.sqrt(1 - ab / ab_prev)  # Song et al. 2020, eq. 16
        x = np.sqrt(ab_prev) * x_0 + np.sqrt(1 - ab_prev - spread**2) * eps + spread * z[i]
    np.testing.assert_allclose(ours, x, atol=1e-9)


def lu_et_al_algorithm_2(start: Float64, sigmas: Float64) -> Float64:
    """DPM-Solver++(2M) as its authors write it, from one sigma to the next."""
    alpha = 1 / np.sqrt(1 + sigmas**2)
    spread = sigmas * alpha
    lam = np.log(alpha / spread)

    def data(x: Float64, i: int) -> Float64:
        return np.clip((x - spread[i] * network(x, alpha[i])) / alpha[i], -1, 1)

    x = start
    previous = None
    h_previous = 0.0
    for i in range(1, len(sigmas)):
        h = lam[i] - lam[i - 1]
        d = data(x, i - 1)
        r = h_previous / h
        mixed = d if previous is None else (1 + 1 / (2 * r)) * d - 1 / (2 * r) * previous
        x = spread[i] / spread[i - 1] * x - alpha[i] * np.expm1(-h) * mixed
        previous = d
        h_previous = h
    return data(x, len(sigmas) - 1)


@pytest.mark.parametrize("steps", [1, 2, 3, 8])
def test_dpmpp_2m_is_lu_et_al_algorithm_2(rng: np.random.Generator, steps: int) -> None:
    spec = model_spec()
    recipe = dataclasses.replace(FEW, sampler="dpmpp-2m", steps=steps)
    start = 20 * rng.standard_normal(64)
    ours = run(step_table(spec, recipe), start, lambda i: np.zeros(64))
    sigmas = np.geomspace(20.0, 0.02, steps) if steps > 1 else np.array([20.0])
    np.testing.assert_allclose(ours, lu_et_al_algorithm_2(start, sigmas), atol=1e-9)


def test_dpmpp_2m_takes_steps_of_unequal_length(rng: np.random.Generator) -> None:
    spec = model_spec(schedule=SHORT)
    recipe = dataclasses.replace(FEW, sampler="dpmpp-2m", steps=50, spacing="t")
    start = rng.standard_normal(64)
    ours = run(step_table(spec, recipe), start, lambda i: np.zeros(64))
    sigmas = sigma(alphas_cumprod(SHORT))[::-1]
    np.testing.assert_allclose(ours, lu_et_al_algorithm_2(start, sigmas), rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("prediction", ["eps", "x0", "v"])
def test_a_perfect_prediction_of_any_type_gives_back_x0(prediction: Prediction, rng: np.random.Generator) -> None:
    alpha_bar = np.array([1e-4, 0.3, 0.999])
    x_0 = rng.uniform(-1, 1, 3)
    eps = rng.standard_normal(3)
    x_t = np.sqrt(alpha_bar) * x_0 + np.sqrt(1 - alpha_bar) * eps
    predicted = {"eps": eps, "x0": x_0, "v": np.sqrt(alpha_bar) * eps - np.sqrt(1 - alpha_bar) * x_0}[prediction]
    r_xt, r_pred = to_x0(prediction, alpha_bar)
    np.testing.assert_allclose(r_xt * x_t + r_pred * predicted, x_0, atol=1e-12)


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("steps", [1, 2, 5])
def test_the_last_step_lands_on_the_clean_image(sampler: str, steps: int) -> None:
    row = step_table(model_spec(), dataclasses.replace(FEW, sampler=sampler, steps=steps)).rows[-1]
    np.testing.assert_allclose(row[3:], [1, 0, 0, 0], atol=1e-12)


def test_full_spacing_visits_every_t_and_respacing_keeps_both_ends() -> None:
    spec = model_spec()
    ab = alphas_cumprod(model_spec().schedule)
    full = Recipe(sampler="ddpm", steps=4000, eta=0.0, spacing="t", sigma_max=1.0, sigma_min=1.0)
    np.testing.assert_array_equal(alpha_bars(spec, full), ab[::-1])
    few = alpha_bars(spec, dataclasses.replace(full, steps=10))
    assert few[0] == ab[-1]
    assert few[-1] == ab[0]
    assert (np.diff(few) > 0).all()


def test_a_truncated_table_starts_on_the_warm_start_and_a_full_one_on_bare_noise(rng: np.random.Generator) -> None:
    spec = model_spec(prediction="x0")
    condition = rng.uniform(-1, 1, (1, 9, 4, 4)).astype(np.float32)
    z = rng.standard_normal((1, 3, 4, 4)).astype(np.float32)
    seen = []

    def predict(condition: np.ndarray, x_t: np.ndarray, level: np.ndarray) -> np.ndarray:
        seen.append(x_t.copy())
        return np.zeros_like(x_t)

    engine = NumpyEngine(spec, predict)
    for spacing in ("log-snr", "t"):
        sample(engine, condition, step_table(spec, dataclasses.replace(FEW, steps=1, spacing=spacing)), lambda _: z)
    a = 1 / np.sqrt(1 + 20.0**2)
    np.testing.assert_allclose(seen[0], a * warm_start(condition) + np.sqrt(1 - a**2) * z, atol=1e-6)
    np.testing.assert_array_equal(seen[1], z)


def test_the_warm_start_takes_colour_from_the_functional_image_and_light_from_the_brightest() -> None:
    black = [-1.0] * 3
    grey = [0.5] * 3
    red = [0.9, -0.9, -0.9]
    condition = np.array(black + grey + red, dtype=np.float32).reshape(1, 9, 1, 1)
    got = warm_start(condition).ravel()
    lift = 0.5 - (0.299 * 0.9 - 0.587 * 0.9 - 0.114 * 0.9)
    np.testing.assert_allclose(got, np.clip(np.array(red) + lift, -1, 1), atol=1e-6)


def test_eps_sampling_does_not_start_from_the_schedules_last_sigma() -> None:
    table = step_table(model_spec(), FEW)
    assert table.rows[0, 0] == pytest.approx(1 / np.sqrt(401))  # sigma 20, not 22,800


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"sampler": "euler"}, "'euler' is not a known sampler: choose one of ddim, ddpm, dpmpp-2m"),
        ({"steps": 4001, "spacing": "t"}, "4001 steps are more than the 4000 that the model was trained with"),
        ({"sigma_max": 1e6}, "leaves the range of the model's training"),
        ({"sigma_min": 1e-6}, "leaves the range of the model's training"),
    ],
)
def test_a_recipe_that_does_not_fit_is_refused(changes: dict, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        step_table(model_spec(), dataclasses.replace(FEW, **changes))


def test_a_model_trained_on_few_levels_is_not_sampled_over_all_t() -> None:
    spec = model_spec(prediction="x0", sigma_range=(2.0, 80.0))
    step_table(spec, dataclasses.replace(FEW, sigma_max=80.0, sigma_min=2.0))
    with pytest.raises(UsageError, match="leaves the range of the model's training"):
        step_table(spec, dataclasses.replace(FEW, spacing="t"))
