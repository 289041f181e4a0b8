"""The bitonic filter's structure tensor, and an anisotropic Gaussian that follows it (Treece, IEEE TIP 2022).

The weight of a pair of pixels falls with their distance. Where the image is anisotropic, it also falls with their
distance across the local direction. Both pixels' directions count, so that weights are symmetric and each pair is
visited once.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import correlate1d

from tfs_rt.methods.compiled import compiled

Field = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Directions:
    """Direction and strength of each pixel's anisotropy: strength times cosine and sine, (H, W) each."""

    cosine: Field
    sine: Field


def directions(image: Field, *, extent: int, anisotropy: float) -> Directions:
    """Directions from the structure tensor of `image` (H, W).

    The strength is 1 at an anisotropy of `anisotropy`, and limited to 1.2.
    """
    # Gradients, by Sobel filters.
    x = correlate1d(correlate1d(image, [1, 2, 1], axis=0, mode="nearest") / 4, [-1, 0, 1], axis=1, mode="nearest") / 2
    y = correlate1d(correlate1d(image, [1, 2, 1], axis=1, mode="nearest") / 4, [-1, 0, 1], axis=0, mode="nearest") / 2

    # The structure tensor, smoothed.
    taps = gaussian_taps(extent)
    xx, yy, xy = (
        correlate1d(correlate1d(product, taps, axis=0, mode="nearest"), taps, axis=1, mode="nearest")
        for product in (x * x, y * y, 2 * x * y)
    )

    # Its eigenvalues are (total +- ratio) / 2.
    total = xx + yy
    difference = xx - yy
    ratio = np.hypot(difference, xy)
    direction = (np.arctan2(xy, difference) + np.pi) / 2

    # As in the authors' program, pixels with a gradient are smoothed as one list, column by column, not as an image.
    measured = np.zeros_like(image)
    has_gradient = total.T > 0
    if has_gradient.any():
        larger = (total + ratio).T[has_gradient]
        smaller = (total - ratio).T[has_gradient]
        smoothed = correlate1d(smaller, gaussian_taps(2 * extent), mode="nearest")
        measured.T[has_gradient] = np.maximum(1 - smoothed / larger, 0)

    strength = np.minimum((measured / anisotropy) ** 2, 1.2)
    angle = np.mod(1.5 * np.pi - direction, np.pi)
    return Directions(strength * np.cos(angle), strength * np.sin(angle))


def gaussian_taps(extent: int) -> Field:
    """2 extent + 1 weights exp(-x^2 / (extent / 2)^2), with a sum of 1."""
    x = np.arange(-extent, extent + 1)
    weights = np.exp(-((x / (extent / 2)) ** 2))
    return weights / weights.sum()


def smooth(images: Field, along: Directions, *, extent: int) -> Field:
    """The weighted mean of each of `images` (n, H, W) over `extent` pixels to every side, inside the image."""
    return _smooth(np.ascontiguousarray(images), along.cosine, along.sine, extent)


@compiled(error_model="numpy")
def _smooth(images, cosine, sine, extent):
    n, height, width = images.shape
    sums = images.copy()
    weights = np.ones((height, width))
    weight = np.empty(width)
    reach = min(extent, width - 1)
    for row in range(height):
        for dr in range(min(extent, height - 1 - row) + 1):
            for dc in range(-reach if dr else 1, reach + 1):
                # All pairs at this distance, as slices: plain loops over slices become SIMD.
                pairs = width - abs(dc)
                p = max(0, -dc)  # columns of the first pair
                q = max(0, dc)
                fall = np.exp(-((2 / extent) ** 2) * (dr * dr + dc * dc))
                cosine_p = cosine[row, p : p + pairs]
                cosine_q = cosine[row + dr, q : q + pairs]
                sine_p = sine[row, p : p + pairs]
                sine_q = sine[row + dr, q : q + pairs]
                for i in range(pairs):
                    across_p = dc * cosine_p[i] - dr * sine_p[i]
                    across_q = dc * cosine_q[i] - dr * sine_q[i]
                    weight[i] = fall / ((1 + abs(across_p)) * (1 + abs(across_q)))

                # Add each pixel of a pair to the other one's mean.
                _add(weights[row, p : p + pairs], weight)
                _add(weights[row + dr, q : q + pairs], weight)
                for k in range(n):
                    _add_product(sums[k, row, p : p + pairs], weight, images[k, row + dr, q : q + pairs])
                    _add_product(sums[k, row + dr, q : q + pairs], weight, images[k, row, p : p + pairs])
    return sums / weights


@compiled()
def _add(total, values):
    for i in range(total.size):
        total[i] += values[i]


@compiled()
def _add_product(total, values, factors):
    for i in range(total.size):
        total[i] += values[i] * factors[i]
