import numpy as np
import pytest
from PIL import Image

from tfs_rt.images import from_model, resize, to_condition, to_model


def test_every_grey_level_survives_the_way_to_the_model_and_back() -> None:
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    image = np.dstack([levels] * 3)
    np.testing.assert_array_equal(from_model(to_model(image)), image)
    assert to_model(image).min() == -1
    assert to_model(image).max() == 1


def test_colours_are_planes_in_the_order_red_green_blue() -> None:
    pixel = np.array([[[255, 0, 51]]], dtype=np.uint8)
    np.testing.assert_allclose(to_model(pixel)[:, 0, 0], [1, -1, -0.6], atol=1e-6)
    np.testing.assert_array_equal(from_model(to_model(pixel)), pixel)


def test_out_of_range_values_saturate_and_the_rest_is_rounded() -> None:
    x = np.array([-3.0, 3.0, 0.0, 1 / 127.5 * 0.6], dtype=np.float32).reshape(1, 2, 2).repeat(3, axis=0)
    np.testing.assert_array_equal(from_model(x)[..., 0], [[0, 255], [128, 128]])


def bicubic_weights(n: int, scale: int) -> np.ndarray:
    """Keys' cubic with a = -0.5, edges renormalised: an (n * scale, n) matrix."""
    rows = np.zeros((n * scale, n))
    for i in range(n * scale):
        centre = (i + 0.5) / scale
        for j in range(n):
            d = abs(j + 0.5 - centre)
            if d < 1:
                rows[i, j] = 1.5 * d**3 - 2.5 * d**2 + 1
            elif d < 2:
                rows[i, j] = -0.5 * (d**3 - 5 * d**2 + 8 * d - 4)
        rows[i] /= rows[i].sum()
    return rows


@pytest.mark.parametrize("scale", [2, 4, 8])
def test_upsampling_is_bicubic_written_out(rng: np.random.Generator, scale: int) -> None:
    image = rng.integers(0, 256, (9, 12, 3)).astype(np.uint8)
    across = np.einsum("xj,hjc->hxc", bicubic_weights(12, scale), image).clip(0, 255)
    across = np.floor(across + 0.5)  # Pillow rounds between its two passes, halves upwards
    expected = np.floor(np.einsum("yi,iwc->ywc", bicubic_weights(9, scale), across).clip(0, 255) + 0.5)
    got = resize(image, (9 * scale, 12 * scale)).astype(np.float64)
    assert np.abs(got - expected).max() <= 1  # its weights are fixed-point numbers
    assert (got == expected).mean() > 0.999


def test_the_condition_is_in_slot_order() -> None:
    images = [np.full((2, 2, 3), value, dtype=np.uint8) for value in (0, 255, 51)]
    condition = to_condition(images, (4, 4))
    assert condition.shape == (9, 4, 4)
    assert condition.dtype == np.float32
    np.testing.assert_allclose(condition[[0, 3, 6], 0, 0], [-1, 1, -0.6], atol=1e-6)


def test_an_image_of_the_right_size_is_not_resampled(rng: np.random.Generator) -> None:
    image = rng.integers(0, 256, (5, 7, 3)).astype(np.uint8)
    np.testing.assert_array_equal(resize(image, (5, 7)), image)
    assert Image.fromarray(resize(image, (10, 14))).size == (14, 10)
