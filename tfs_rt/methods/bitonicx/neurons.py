"""The two spiking networks with which BitonicX compares details: PA-PCNN and the coupled neural P system.

Both run 110 rounds and count how often each pixel's neuron fires.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter, minimum_filter

from tfs_rt.methods.compiled import compiled

Field = NDArray[np.float64]
ROUNDS = 110
LINKS = np.array([[0.5, 1, 0.5], [1, 0, 1], [0.5, 1, 0.5]])
SQUARE = 5  # pixels: the program's disk of radius 3, by its default approximation


def pcnn(layer: Field) -> Field:
    """Spike counts of a parameter-adaptive pulse-coupled network on |layer|, (H, W); 0 everywhere for a flat layer."""
    magnitude = np.abs(layer)
    highest = maximum_filter(magnitude, SQUARE, mode="nearest")
    lowest = minimum_filter(magnitude, SQUARE, mode="nearest")
    stimulus = (highest - lowest) / 3

    # A flat layer divides by zero here; its NaNs never exceed a threshold.
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        # Parameters from the layer's statistics.
        spread = np.sqrt(np.sum((magnitude - magnitude.mean()) ** 2) / np.float64(magnitude.size - 1))
        ratio = magnitude.max() / otsu(magnitude)
        alpha_f = np.log10(1 / spread)
        beta = (ratio - 1) / 6
        v = np.exp(-alpha_f) + ratio
        m = (1 - np.exp(-3 * alpha_f)) / (1 - np.exp(-alpha_f)) + (ratio - 1) * np.exp(-alpha_f)
        alpha_e = np.log(v / (otsu(magnitude) * m))

        # The network's rounds: potential, spikes, threshold.
        u = np.zeros_like(layer)
        fires = np.zeros_like(layer)
        count = np.zeros_like(layer)
        threshold = np.ones_like(layer)
        for _ in range(ROUNDS):
            u = np.exp(-alpha_f) * u + stimulus * (1 + beta * _convolve(fires, LINKS))
            fires = (u > threshold).astype(np.float64)
            threshold = np.exp(-alpha_e) * threshold + v * fires
            count += fires
    return count


def cnp(layer: Field) -> Field:
    """Spike counts of a coupled neural P system on |layer|, (H, W)."""
    stimulus = np.abs(layer)
    links = _inverse_distances(3)
    linking, feeding, spikes, count = (np.zeros_like(layer) for _ in range(4))
    threshold = np.full_like(layer, 0.3)
    for _ in range(ROUNDS):
        received = _convolve(spikes, links) if spikes.any() else spikes
        spiked = spikes == 1
        feeding = np.where(spiked, 0, feeding) + stimulus + received
        linking = np.where(spiked, 0, linking) + received
        threshold[spiked] = 1
        spikes = (feeding * (1 + linking) >= threshold).astype(np.float64)
        count += spikes
    return count


def otsu(magnitude: Field) -> np.float64:
    """Otsu's threshold over 256 levels of 0..1: the mean of the best ones, or 0 if there are not two classes."""
    levels = np.floor(magnitude.clip(0, 1) * 255 + 0.5).astype(np.int64)
    share = np.bincount(levels.ravel(), minlength=256) / magnitude.size
    weight = np.cumsum(share)
    mean = np.cumsum(share * np.arange(1, 257))
    with np.errstate(divide="ignore", invalid="ignore"):
        between = (mean[-1] * weight - mean) ** 2 / (weight * (1 - weight))
    finite = np.isfinite(between)
    if not finite.any():
        return np.float64(0)
    return np.float64(np.flatnonzero(between == between[finite].max()).mean() / 255)


def _inverse_distances(radius: int) -> Field:
    """1 / distance to the centre; 0 there."""
    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    with np.errstate(divide="ignore"):
        return np.where((x == 0) & (y == 0), 0, 1 / np.hypot(y, x))


@compiled()
def _convolve(image, kernel):
    """Convolve (H, W) with a small symmetric kernel; the image is zero outside."""
    height, width = image.shape
    radius = kernel.shape[0] // 2
    out = np.zeros_like(image)
    for row in range(height):
        for dr in range(max(-radius, -row), min(radius, height - 1 - row) + 1):
            for dc in range(-radius, radius + 1):
                weight = kernel[dr + radius, dc + radius]
                pairs = width - abs(dc)
                p = max(0, -dc)
                q = max(0, dc)
                target = out[row, p : p + pairs]
                source = image[row + dr, q : q + pairs]
                for i in range(pairs):
                    target[i] += weight * source[i]
    return out
