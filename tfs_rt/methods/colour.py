"""Conversions between 8-bit images and the classical methods' arrays: float64 in 0..1, luminance apart from colour."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tfs_rt.images import RGB

Field = NDArray[np.float64]
GREY = (0.298936, 0.587043, 0.114021)
YUV = np.array([[0.299, 0.587, 0.114], [-0.147, -0.289, 0.436], [0.615, -0.515, -0.100]])


def grey(image: RGB) -> Field:
    """(H, W, 3) uint8 -> (H, W) in 0..1: a grey image's levels, or a colour image's luminance rounded to a level."""
    return np.floor(image @ np.array(GREY) + 0.5) / 255


def to_yuv(image: RGB) -> Field:
    """(H, W, 3) uint8 -> (H, W, 3): Y in 0..1, U and V about 0."""
    return (image / 255) @ YUV.T


def from_yuv(yuv: Field) -> RGB:
    """(H, W, 3) YUV -> (H, W, 3) uint8 RGB: clipped, halves rounded up."""
    rgb = yuv @ np.linalg.inv(YUV).T
    return np.floor(rgb.clip(0, 1) * 255 + 0.5).astype(np.uint8)
