"""The study of uncertainty: its measures where the answer is known, and its page."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from numpy.random import Generator
from scipy.stats import pearsonr, spearmanr

from tfs_rt.batch.samples import moments
from tfs_rt_studies import pages
from tfs_rt_studies.uncertainty import measure as calibration
from tfs_rt_studies.uncertainty.error_prediction import ause, bins, edges, left, pearson, pixel_error, rms, spearman
from tfs_rt_studies.uncertainty.figures import Measured, add_case, counts_up_to
from tfs_rt_studies.uncertainty.page import factor_of


def exchangeable(rng: Generator, samples: int, *, shrunk: float = 1.0) -> Measured:
    """Truth and samples of one distribution, sigma from 2 to 20 levels over the image; or of samples shrunk to less."""
    sigma = np.linspace(2, 20, 128)[None, :, None] * np.ones((128, 1, 3))

    def draw(s: np.ndarray) -> np.ndarray:
        return np.rint(128 + s * rng.standard_normal(sigma.shape)).clip(0, 255).astype(np.uint8)

    truth = draw(sigma)
    images = [draw(sigma / shrunk) for _ in range(samples)]
    measured = Measured(samples)
    add_case(measured, moments(images), truth, [rms(pixel_error(image, truth)) ** 2 for image in images])
    return measured


def test_correlations_are_those_of_scipy(rng: Generator) -> None:
    a = rng.integers(0, 20, 500).astype(float)  # with ties
    b = a + rng.normal(0, 10, 500)
    assert spearman(a, b) == pytest.approx(spearmanr(a, b)[0], abs=1e-12)
    assert pearson(a, b) == pytest.approx(pearsonr(a, b)[0], abs=1e-12)
    assert spearman(np.ones(9), np.arange(9.0)) is None


def test_the_error_of_a_pixel_is_over_its_channels() -> None:
    result = np.zeros((1, 2, 3), np.uint8)
    truth = np.array([[[3, 4, 0], [0, 0, 0]]], np.uint8)
    np.testing.assert_allclose(pixel_error(result, truth), [[np.sqrt(25 / 3), 0]])
    ramp = np.repeat(np.arange(0, 50, 5, dtype=np.uint8)[None, :, None], 3, axis=2).repeat(4, axis=0)
    np.testing.assert_allclose(edges(ramp), 5)


def test_sparsification_takes_away_the_worst_by_brute_force(rng: Generator) -> None:
    error = rng.exponential(size=200)
    predictor = rng.permutation(200).astype(float)
    for share, found in zip((0.1, 0.2, 0.5), left(error, predictor), strict=True):
        kept = sorted(zip(predictor, error, strict=True))[: round(200 * (1 - share))]
        wanted = np.sqrt(np.mean([e**2 for _, e in kept]) / np.mean(error**2))
        assert found == pytest.approx(wanted)


def test_ause_is_nothing_for_the_oracle_and_most_for_its_opposite(rng: Generator) -> None:
    error = rng.exponential(size=5000)
    assert ause(error, error**3) == 0
    ignorant = ause(error, np.ones(5000))
    assert 0 < ignorant < ause(error, -error)
    assert left(error, np.ones(5000), [0.5])[0] == pytest.approx(1, abs=0.1)  # ties go at random, not by place


def test_bins_hold_every_pixel_once_and_equal_spreads_together(rng: Generator) -> None:
    spread = np.concatenate([np.zeros(400), rng.uniform(1, 9, 600)])
    error = spread + 1
    found = bins(spread, error)
    assert sum(b.pixels for b in found) == 1000
    assert found[0].spread == 0
    assert found[0].pixels == 400
    assert all(a.spread < b.spread and a.error < b.error for a, b in pairwise(found))
    assert sum(b.pixels * b.error**2 for b in found) == pytest.approx((error**2).sum())


@pytest.mark.parametrize("samples", [4, 16])
def test_samples_like_the_truth_have_the_ratio_that_theory_asks(rng: Generator, samples: int) -> None:
    measured = exchangeable(rng, samples)
    assert measured.ratio == pytest.approx(np.sqrt(1 + 1 / samples), rel=0.02)
    for b in measured.bins[3:-3]:  # at both ends, chance decides which pixels come there
        assert b.error / b.spread == pytest.approx(measured.ratio, rel=0.35)
    assert measured.middle("spearman") > 0.6
    assert measured.middle("spearman") > measured.middle("spearman_edges") + 0.1
    (case,) = measured.cases
    assert case.left["oracle"][1] < case.left["spread"][1] < case.left["edges"][1] <= 1.05
    assert case.psnr_mean - case.psnr_one == pytest.approx(10 * np.log10(2 / (1 + 1 / samples)), abs=0.1)


def test_the_factor_mends_samples_that_lie_too_close(rng: Generator) -> None:
    val = exchangeable(rng, 8, shrunk=3)
    test = exchangeable(rng, 8, shrunk=3)
    factor = factor_of(val, test)
    assert factor.fitted == pytest.approx(3 * np.sqrt(1 + 1 / 72), rel=0.03)  # samples of sigma / 3 about the mean
    assert factor.overall == pytest.approx(1, rel=0.02)
    assert 0.5 < factor.worst < 2


def test_samples_are_counted_in_doublings() -> None:
    assert counts_up_to(8) == [2, 4, 8]
    assert counts_up_to(6) == [2, 4, 6]
    assert counts_up_to(2) == [2]


@pytest.mark.usefixtures("shared_models")
def test_the_page_is_made_from_a_set(made_set: Path, x4: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "shipped_bundles", lambda: {"x4": x4})
    monkeypatch.setattr(calibration, "read_groups", lambda root, split: pages.read_groups(root, "val"))  # has no test
    output = tmp_path / "docs" / "uncertainty.md"
    arguments = [made_set, "-o", output, "--samples", 2, "--steps", 2, "--sampler", "ddpm", "--pictures", made_set]
    calibration.run(calibration.options(map(str, arguments)))
    text = output.read_text()
    assert "ddim, 1 step" in text
    assert "ddpm, 2 steps" in text
    for name in ("uncertainty.png", "uncertainty-x4.jpg"):
        assert name in text
        assert (output.parent / name).stat().st_size > 2_000
    figures = json.loads(output.with_suffix(".json").read_text())
    assert [row[:3] for row in figures["psnr"][1:]] == [
        [model, recipe, split]
        for model in ("tfs-rt/x4",)
        for recipe in ("ddim, 1 step", "ddpm, 2 steps")
        for split in ("val", "test")
    ]
