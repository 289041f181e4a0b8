"""Samples' mean and spread against their formulas."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from numpy.random import Generator
from PIL import Image
from PIL.PngImagePlugin import PngInfo

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


def made(rng: Generator, count: int, size: tuple[int, int] = (17, 23)) -> list[np.ndarray]:
    return [rng.integers(0, 256, (*size, 3)).astype(np.uint8) for _ in range(count)]


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
    one = moments(images)
    other = moments(images[::-1])
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
    text = PngInfo()
    buffer = io.BytesIO()
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
