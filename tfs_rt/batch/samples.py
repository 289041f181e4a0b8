"""Mean and spread of a model's samples of one case, and the spread as a picture and as numbers.

The spread of a pixel is the sample standard deviation over K samples of the case (divisor K - 1), root mean square over
R, G and B, in levels of 0..255. It is not a probability. How well it predicts the error was measured:
docs/studies/uncertainty.md.

The colours are Green's cubehelix (Bull. Astr. Soc. India 39, 2011), whose brightness 0.299 R + 0.587 G + 0.114 B grows
with t in 0..1, here log2(1 + spread) / 6:

    rgb = t + HUE t (1 - t) / 2 (A cos phi + B sin phi),   phi = 2 pi (START / 3 + 1 + ROTATIONS t).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tfs_rt.images import RGB, Array

MAX_SAMPLES = 1000  # far below the 66,051 squares of 255 that 32 bits hold
# Levels of spread from which on a heat map is white: six doublings of 1 + spread.
SPREAD_TOP = 63
RAW_STEPS = 256  # steps of the spread's numbers for one level
RAW_TEXT = {
    "tfs-rt:spread-unit": f"1/{RAW_STEPS} level of 0..255",
    "tfs-rt:spread": "standard deviation over the samples (divisor K - 1), root mean square of R, G and B",
}  # description of the numbers, in their file
# Constants of the cubehelix: from black through blue, purple, rose and sand to white.
START = -0.2
ROTATIONS = 0.6
HUE = 1.2
A = np.array([-0.14861, -0.29227, 1.97294])
B = np.array([1.78277, -0.90649, 0.0])


def sample_ids(case_id: str, count: int) -> list[str]:
    """Keys for the noise of a case's samples. The first is the case's own id, as if it were the only sample.

    No file name holds the zero byte, so no other case can have the id of a sample.
    """
    return [case_id, *(f"{case_id}\0sample{k}" for k in range(1, count))]


class Moments:
    """Sums over the samples of one case in whole numbers: exact in any order, and of the same size for any number."""

    def __init__(self, size: tuple[int, int]) -> None:
        self.count = 0
        self._sum = np.zeros((*size, 3), np.uint32)
        self._squares = np.zeros((*size, 3), np.uint32)

    def add(self, image: RGB) -> None:
        """Add a sample, uint8 (H, W, 3); ValueError for another shape or type, or one too many."""
        if image.dtype != np.uint8 or image.shape != self._sum.shape or self.count == MAX_SAMPLES:
            raise ValueError(f"expected at most {MAX_SAMPLES} samples uint8 {self._sum.shape}, got {image.shape}")
        wide = image.astype(np.uint32)
        self._sum += wide
        self._squares += wide * wide
        self.count += 1

    def mean(self) -> RGB:
        """The mean image (H, W, 3), each level rounded to the nearest, halves to even; ValueError without samples."""
        self._require(1)
        return np.rint(self._sum / self.count).astype(np.uint8)

    def spread(self) -> Array:
        """(H, W) float32 in levels; ValueError with fewer than two samples.

        K times the sum of squares less the square of the sum is a whole number: no digits cancel before the root.
        """
        self._require(2)
        variance = np.zeros(self._sum.shape[:2], np.int64)
        for channel in range(3):
            total = self._sum[..., channel].astype(np.int64)
            variance += self.count * self._squares[..., channel].astype(np.int64) - total * total
        return np.sqrt(variance / (3 * self.count * (self.count - 1))).astype(np.float32)

    def _require(self, count: int) -> None:
        if self.count < count:
            raise ValueError(f"{self.count} samples, at least {count} are needed")


def moments(samples: Sequence[RGB]) -> Moments:
    """The sums of samples that are in memory already."""
    sums = Moments((samples[0].shape[0], samples[0].shape[1]))
    for image in samples:
        sums.add(image)
    return sums


def colours() -> RGB:
    """The heat map's 256 colours (256, 3), from no spread to `SPREAD_TOP` levels and more."""
    t = np.linspace(0, 1, 256)[:, None]
    phi = 2 * np.pi * (START / 3 + 1 + ROTATIONS * t)
    rgb = t + HUE * t * (1 - t) / 2 * (A * np.cos(phi) + B * np.sin(phi))
    return np.rint(rgb.clip(0, 1) * 255).astype(np.uint8)


def heat_map(spread: Array) -> RGB:
    """A spread (H, W) in levels as a picture (H, W, 3): the same colour is the same spread in every picture."""
    t = np.log2(1 + spread.astype(np.float64)) / np.log2(1 + SPREAD_TOP)
    return colours()[np.rint(t.clip(0, 1) * 255).astype(np.uint8)]


def spread_numbers(spread: Array) -> NDArray[np.uint16]:
    """A spread (H, W) in levels as uint16 (H, W) in steps of 1/256 level; larger spreads are 65535."""
    return np.rint((spread.astype(np.float64) * RAW_STEPS).clip(0, 2**16 - 1)).astype(np.uint16)
