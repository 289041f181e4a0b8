"""Samples' mean and spread against their formulas, and the measures of calibration where the answer is known."""

from __future__ import annotations

import io
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from numpy.random import Generator
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from scipy.stats import pearsonr, spearmanr

from tfs_rt.batch.samples import (
    MAX_SAMPLES,
    RAW_TEXT,
    SPREAD_TOP,
    Moments,
    colours,
    heat_map,
    moments,
    sample_ids,
    spread_numbers,
)
from tfs_rt.methods.diffusion import load_pipeline
from tfs_rt.sampling.noise import gaussian, noise_key
from tfs_rt_studies import pages
from tfs_rt_studies.uncertainty import measure as calibration
from tfs_rt_studies.uncertainty.error_prediction import ause, bins, edges, left, pearson, pixel_error, rms, spearman
from tfs_rt_studies.uncertainty.figures import Figures, Measured, add_case, counts_up_to
from tfs_rt_studies.uncertainty.page import factor_of, page, verdict


def made(rng: Generator, count: int, size: tuple[int, int] = (17, 23)) -> list[np.ndarray]:
    return [rng.integers(0, 256, (*size, 3)).astype(np.uint8) for _ in range(count)]


def exchangeable(rng: Generator, samples: int, *, shrunk: float = 1.0) -> Measured:
    """Truth and samples of one distribution, sigma from 2 to 20 levels over the image; or of samples shrunk to less."""
    sigma = np.linspace(2, 20, 128)[None, :, None] * np.ones((128, 1, 3))

    def draw(s: np.ndarray) -> np.ndarray:
        return np.rint(128 + s * rng.standard_normal(sigma.shape)).clip(0, 255).astype(np.uint8)

    truth, images = draw(sigma), [draw(sigma / shrunk) for _ in range(samples)]
    measured = Measured(samples)
    add_case(measured, moments(images), truth, [rms(pixel_error(image, truth)) ** 2 for image in images])
    return measured


@pytest.mark.parametrize("count", [2, 3, 8, 50])
def test_the_running_sums_give_the_two_pass_formula(rng: Generator, count: int) -> None:
    images = made(rng, count)
    stack = np.stack(images).astype(np.float64)
    mean = stack.sum(axis=0) / count
    variance = ((stack - mean) ** 2).sum(axis=0) / (count - 1)
    np.testing.assert_allclose(np.std(stack, axis=0, ddof=1) ** 2, variance, rtol=1e-12)
    sums = moments(images)
    assert sums.spread().dtype == np.float32
    assert sums.spread().shape == (17, 23)
    np.testing.assert_allclose(sums.spread(), np.sqrt(variance.mean(axis=2)), rtol=1e-6, atol=1e-6)
    assert (sums.mean() == np.rint(mean)).all()


def test_the_order_of_samples_changes_no_bit(rng: Generator) -> None:
    images = made(rng, 9)
    one, other = moments(images), moments(images[::-1])
    assert (one.mean() == other.mean()).all()
    assert one.spread().tobytes() == other.spread().tobytes()


def test_halves_go_to_the_even_level() -> None:
    levels = [np.full((2, 2, 3), level, np.uint8) for level in (10, 11, 12)]
    assert (moments(levels[:2]).mean() == 10).all()
    assert (moments(levels[1:]).mean() == 12).all()


def test_the_sums_stay_exact_with_the_most_samples() -> None:
    sums = Moments((1, 1))
    for k in range(MAX_SAMPLES):
        sums.add(np.full((1, 1, 3), 255 * (k % 2), np.uint8))
    assert sums.spread()[0, 0] == pytest.approx(127.5 * np.sqrt(MAX_SAMPLES / (MAX_SAMPLES - 1)), rel=1e-6)
    with pytest.raises(ValueError, match="at most"):
        sums.add(np.zeros((1, 1, 3), np.uint8))


def test_one_sample_is_its_own_mean_and_has_no_spread(rng: Generator) -> None:
    (image,) = made(rng, 1)
    assert (moments([image]).mean() == image).all()
    with pytest.raises(ValueError, match="at least 2"):
        moments([image]).spread()
    with pytest.raises(ValueError, match="at least 1"):
        Moments((2, 2)).mean()


def test_a_sample_of_another_shape_or_type_is_refused(rng: Generator) -> None:
    sums = Moments((17, 23))
    image = made(rng, 1)[0]
    others: list[np.ndarray] = [image[:, :-1], image.astype(np.float32), image[..., :1]]
    for wrong in others:
        with pytest.raises(ValueError, match="expected"):
            sums.add(wrong)


def test_a_heat_map_grows_lighter_with_the_spread() -> None:
    brightness = colours() @ np.array([0.299, 0.587, 0.114])
    assert (np.diff(brightness) > 0).all()
    assert colours()[0].tolist() == [0, 0, 0]
    assert colours()[-1].tolist() == [255, 255, 255]


def test_equal_spreads_have_equal_colours_in_any_picture() -> None:
    spread = np.array([[0, 1, 7], [SPREAD_TOP, 100, 255]], np.float32)
    picture = heat_map(spread)
    alone = [heat_map(np.array([[value]], np.float32))[0, 0] for value in spread.ravel()]
    assert (picture.reshape(-1, 3) == alone).all()
    assert (picture[0, 1] == colours()[round(255 / 6)]).all()  # 1 is one doubling of six
    assert (picture[1] == 255).all()


def test_the_raw_map_comes_back_from_a_16_bit_png(rng: Generator) -> None:
    spread = rng.uniform(0, 181, (20, 30)).astype(np.float32)  # no spread of levels is larger than 255 / sqrt(2)
    text, buffer = PngInfo(), io.BytesIO()
    for keyword, value in RAW_TEXT.items():
        text.add_text(keyword, value)
    Image.fromarray(spread_numbers(spread)).save(buffer, format="PNG", pnginfo=text)
    with Image.open(buffer) as image:
        assert image.mode == "I;16"
        assert image.info["tfs-rt:spread-unit"] == "1/256 level of 0..255"
        np.testing.assert_allclose(np.asarray(image) / 256, spread, atol=0.5 / 256 + 1e-9)
    assert spread_numbers(np.array([[300.0]], np.float32))[0, 0] == 65535


def test_samples_have_noise_of_their_own_and_the_first_has_the_cases() -> None:
    ids = sample_ids("case01", 4)
    assert ids[0] == "case01"
    assert len({noise_key(0, sample_id) for sample_id in ids}) == 4
    assert sample_ids("case01", 2) == ids[:2]
    noise = np.stack([gaussian(noise_key(0, sample_id), 0, (10_000,)) for sample_id in ids])
    assert np.abs(np.corrcoef(noise) - np.eye(4)).max() < 0.05  # five standard errors of 1 / sqrt(10,000)


def test_the_first_sample_is_the_cases_one_result(rng: Generator, x4: Path) -> None:
    pipeline = load_pipeline(x4)
    images = made(rng, 3, (16, 16))
    one, two = pipeline.fuse([images] * 2, sample_ids("a", 2), size=(64, 64))
    assert (one == pipeline.fuse([images], ["a"], size=(64, 64))[0]).all()
    assert (one != two).any()


def test_correlations_are_those_of_scipy(rng: Generator) -> None:
    a = rng.integers(0, 20, 500).astype(float)  # with ties
    b = a + rng.normal(0, 10, 500)
    assert spearman(a, b) == pytest.approx(spearmanr(a, b)[0], abs=1e-12)
    assert pearson(a, b) == pytest.approx(pearsonr(a, b)[0], abs=1e-12)
    assert spearman(np.ones(9), np.arange(9.0)) is None


def test_the_error_of_a_pixel_is_over_its_channels() -> None:
    result, truth = np.zeros((1, 2, 3), np.uint8), np.array([[[3, 4, 0], [0, 0, 0]]], np.uint8)
    np.testing.assert_allclose(pixel_error(result, truth), [[np.sqrt(25 / 3), 0]])
    ramp = np.repeat(np.arange(0, 50, 5, dtype=np.uint8)[None, :, None], 3, axis=2).repeat(4, axis=0)
    np.testing.assert_allclose(edges(ramp), 5)


def test_sparsification_takes_away_the_worst_by_brute_force(rng: Generator) -> None:
    error, predictor = rng.exponential(size=200), rng.permutation(200).astype(float)
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
    val, test = exchangeable(rng, 8, shrunk=3), exchangeable(rng, 8, shrunk=3)
    factor = factor_of(val, test)
    assert factor.fitted == pytest.approx(3 * np.sqrt(1 + 1 / 72), rel=0.03)  # samples of sigma / 3 about the mean
    assert factor.overall == pytest.approx(1, rel=0.02)
    assert 0.5 < factor.worst < 2


def test_the_first_sentence_says_whether_the_spread_is_an_error(rng: Generator) -> None:
    def figures(shrunk: float) -> dict[str, Figures]:
        by_split = {split: {8: exchangeable(rng, 8, shrunk=shrunk)} for split in ("val", "test")}
        return {"made": {"ddim, 1 step": by_split}}

    assert verdict(figures(1), 8).startswith("**The spread of the samples says something")
    assert verdict(figures(10), 8).startswith("**The spread of the samples says little")
    made = figures(10)
    assert page(made, 8, []).splitlines()[2] == verdict(made, 8)


def test_samples_are_counted_in_doublings() -> None:
    assert counts_up_to(8) == [2, 4, 8]
    assert counts_up_to(6) == [2, 4, 6]
    assert counts_up_to(2) == [2]


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
