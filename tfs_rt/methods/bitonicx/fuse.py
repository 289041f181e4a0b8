"""BitonicX: Y. Jie, X. Li, F. Zhou, T. Ye, "Tri-modal medical image fusion and denoising based on bitonicX filtering",
IEEE TIM 72, 2023.

This is the deterministic variant: the sharpness measure reads the layer, as the paper writes it. The published program
overwrites that layer by random numbers.

First the two anatomical images are fused to M: detail, middle and base layers each have a rule of their own. Then M is
fused with the luminance of the functional image, which keeps its colour. Nothing is clipped before the end.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import correlate1d

from tfs_rt.images import RGB
from tfs_rt.methods.bitonicx.bitonic import bitonic
from tfs_rt.methods.bitonicx.neurons import cnp, pcnn
from tfs_rt.methods.colour import from_yuv, grey, to_yuv

Field = NDArray[np.float64]
Mask = NDArray[np.bool_]
MAJORITY = 19  # pixels
RADIUS = 5  # of the sharpness measure's window


def fuse(m1: RGB, m2: RGB, functional: RGB) -> RGB:
    """Three registered (H, W, 3) uint8 images of one size -> (H, W, 3) uint8; the order of m1 and m2 decides ties."""
    yuv = to_yuv(functional)
    yuv[..., 0] = fuse_luminance(fuse_anatomical(grey(m1), grey(m2)), yuv[..., 0])
    return from_yuv(yuv)


def fuse_anatomical(a: Field, g: Field) -> Field:
    """Fuse two grey images, (H, W) in 0..1; the result may leave that range."""
    a_detail, a_middle, a_base = _three_layers(a)
    g_detail, g_middle, g_base = _three_layers(g)
    detail = np.where(pcnn(a_detail) >= pcnn(g_detail), a_detail, g_detail)
    middle = np.where(_majority(cnp(a_middle) >= cnp(g_middle)), a_middle, g_middle)
    return detail + np.maximum(a_base, g_base) + middle


def _three_layers(image: Field) -> tuple[Field, Field, Field]:
    """Detail, middle and base of `image` (H, W), which is their sum."""
    low = bitonic(image)
    base = bitonic(low)
    return image - low, low - base, base


def fuse_luminance(m: Field, y: Field) -> Field:
    """Fuse the fused anatomical image with the functional image's luminance, (H, W) each."""
    m_base = bitonic(m)
    y_base = bitonic(y)
    m_detail = m - m_base
    y_detail = y - y_base
    detail = np.where(_majority(_clarity(m_detail) > _clarity(y_detail)), m_detail, y_detail)
    return detail + np.maximum(m_base, y_base)


def _majority(votes: Mask) -> Mask:
    """For each pixel, true if more than half of the votes in its window are true."""
    ones = np.ones(MAJORITY, np.int64)
    column_counts = correlate1d(votes.astype(np.int64), ones, axis=0, mode="reflect")
    counts = correlate1d(column_counts, ones, axis=1, mode="reflect")
    return counts > MAJORITY**2 / 2


def _clarity(layer: Field) -> Field:
    """Structure squared, times sharpness, times the real part of layer^0.01, which MATLAB compares."""
    power = np.abs(layer) ** 0.01 * np.where(layer < 0, math.cos(0.01 * math.pi), 1)
    return _structure(layer) ** 2 * _sharpness(layer) * power


def _structure(layer: Field) -> Field:
    """The part of a tensor of differences that belongs to the larger eigenvalue, (H, W).

    As in the program, a difference spans 1 row or 2 columns.
    """
    padded = np.pad(layer, 2, mode="symmetric")
    down = layer - padded[1:-3, 2:-2]
    along = layer - padded[2:-2, :-4]
    return math.sqrt(1.5) * (down**2 + along**2)


def _sharpness(layer: Field) -> Field:
    """Sum over the window of |H(q)| (H(q) - H(p))^2 for each pixel p."""
    # Below the last row the image is mirrored without repeating that row; elsewhere the border is repeated.
    height, width = layer.shape
    padded = np.pad(np.pad(layer, ((RADIUS, 0), (0, 0)), "symmetric"), ((0, RADIUS), (0, 0)), "reflect")
    padded = np.pad(padded, ((0, 0), (RADIUS, RADIUS)), "symmetric")

    total = np.zeros_like(layer)
    for dr in range(2 * RADIUS + 1):
        for dc in range(2 * RADIUS + 1):
            q = padded[dr : dr + height, dc : dc + width]
            total += np.abs(q) * (q - layer) ** 2
    return total
