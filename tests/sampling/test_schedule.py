import math

import numpy as np
import pytest

from support.helpers import PAPER_SCHEDULE
from tfs_rt.sampling.schedule import alpha_bar_at, alphas_cumprod, betas, sigma
from tfs_rt.spec import Schedule


def test_the_papers_schedule_ends_where_the_notes_say() -> None:
    alpha_bar = alphas_cumprod(PAPER_SCHEDULE)
    assert len(alpha_bar) == 4000
    assert alpha_bar[-1] == pytest.approx(1.92e-9, rel=0.01)
    assert sigma(alpha_bar)[-1] == pytest.approx(22_800, rel=0.01)


def test_alphas_cumprod_is_the_running_product_written_out() -> None:
    schedule = Schedule(schedule="linear", n_timestep=7, linear_start=1e-3, linear_end=0.3)
    product = 1.0
    expected = []
    for t in range(7):
        product *= 1 - (1e-3 + (0.3 - 1e-3) * t / 6)
        expected.append(product)
    np.testing.assert_allclose(alphas_cumprod(schedule), expected, rtol=1e-14)


def test_quad_is_linear_in_the_square_root() -> None:
    quad = betas(Schedule(schedule="quad", n_timestep=3, linear_start=0.01, linear_end=0.09))
    np.testing.assert_allclose(quad, [0.01, 0.2**2, 0.09], rtol=1e-14)


def test_cosine_follows_nichol_and_dhariwal() -> None:
    schedule = Schedule(schedule="cosine", n_timestep=10, linear_start=0.0, linear_end=0.0)

    def f(t: int) -> float:
        return math.cos((t / 10 + 0.008) / 1.008 * math.pi / 2) ** 2

    expected = [min(1 - f(t) / f(t - 1), 0.999) for t in range(1, 11)]
    np.testing.assert_allclose(betas(schedule), expected, rtol=1e-12)


def test_sigma_and_alpha_bar_are_inverse() -> None:
    levels = np.geomspace(1e-3, 1e4, 20)
    np.testing.assert_allclose(sigma(alpha_bar_at(levels)), levels, rtol=1e-7)
