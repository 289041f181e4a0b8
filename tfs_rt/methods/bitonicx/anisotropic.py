"""The bitonic filter's structure tensor and the anisotropic Gaussian that follows it (Treece, IEEE TIP 2022).

A pixel's weight for another falls with the distance, and with the distance across the local direction where the image
is anisotropic; both pixels' directions count, so the weights are symmetric and each pair is visited once.
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
    """Where and how strongly each pixel is anisotropic: strength times cosine and sine, (H, W) each."""

    cosine: Field
    sine: Field


def directions(image: Field, *, extent: int, anisotropy: float) -> Directions:
    """The structure tensor's directions; `anisotropy` is that at which the strength reaches 1 (it is cut at 1.2)."""
    x = correlate1d(correlate1d(image, [1, 2, 1], axis=0, mode="nearest") / 4, [-1, 0, 1], axis=1, mode="nearest") / 2
    y = correlate1d(correlate1d(image, [1, 2, 1], axis=1, mode="nearest") / 4, [-1, 0, 1], axis=0, mode="nearest") / 2
    taps = gaussian_taps(extent)
    xx, yy, xy = (
        correlate1d(correlate1d(product, taps, axis=0, mode="nearest"), taps, axis=1, mode="nearest")
        for product in (x * x, y * y, 2 * x * y)
    )
    total, difference = xx + yy, xx - yy
    ratio = np.hypot(difference, xy)
    direction = (np.arctan2(xy, difference) + np.pi) / 2
    measured = np.zeros_like(image)
    # As in the authors' program, pixels with a gradient are smoothed as one list, column by column, not as an image.
    some = total.T > 0
    if some.any():
        along, across = (total + ratio).T[some], (total - ratio).T[some]
        smooth = correlate1d(across, gaussian_taps(2 * extent), mode="nearest")
        measured.T[some] = np.maximum(1 - smooth / along, 0)
    strength = np.minimum((measured / anisotropy) ** 2, 1.2)
    turned = np.mod(1.5 * np.pi - direction, np.pi)
    return Directions(strength * np.cos(turned), strength * np.sin(turned))


def gaussian_taps(extent: int) -> Field:
    """2 extent + 1 weights exp(-x^2 / (extent / 2)^2), of sum 1."""
    x = np.arange(-extent, extent + 1)
    weights = np.exp(-((x / (extent / 2)) ** 2))
    return weights / weights.sum()


def smooth(images: Field, along: Directions, *, extent: int) -> Field:
    """The weighted mean of each of `images` (n, H, W) over `extent` pixels to every side, within the image."""
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
                pairs = width - abs(dc)
                p, q = max(0, -dc), max(0, dc)  # the first pair's columns: plain loops over slices become SIMD
                fall = np.exp(-((2 / extent) ** 2) * (dr * dr + dc * dc))
                cosine_p, cosine_q = cosine[row, p : p + pairs], cosine[row + dr, q : q + pairs]
                sine_p, sine_q = sine[row, p : p + pairs], sine[row + dr, q : q + pairs]
                for i in range(pairs):
                    here, there = dc * cosine_p[i] - dr * sine_p[i], dc * cosine_q[i] - dr * sine_q[i]
                    weight[i] = fall / ((1 + abs(here)) * (1 + abs(there)))
                _add(weights[row, p : p + pairs], weight)
                _add(weights[row + dr, q : q + pairs], weight)
                for k in range(n):
                    _add_product(sums[k, row, p : p + pairs], weight, images[k, row + dr, q : q + pairs])
                    _add_product(sums[k, row + dr, q : q + pairs], weight, images[k, row, p : p + pairs])
    return sums / weights


@compiled()
def _add(to, what):
    for i in range(to.size):
        to[i] += what[i]


@compiled()
def _add_product(to, what, times):
    for i in range(to.size):
        to[i] += what[i] * times[i]
