"""Conversions between images, RGB uint8 (H, W, 3), and the network's arrays, float32 (C, H, W) in [-1, 1].

A level x becomes x / 127.5 - 1. Upsampling is Pillow's bicubic (a = -0.5, rounded to uint8), the convention of the
published program's data.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Array = NDArray[np.float32]
RGB = NDArray[np.uint8]
LUMA_WEIGHTS = (0.299, 0.587, 0.114)  # of R, G and B, ITU-R BT.601
LUMA = np.array(LUMA_WEIGHTS, dtype=np.float32)


def resize(image: RGB, size: tuple[int, int]) -> RGB:
    """`image` at `size` = (H, W), by Pillow's bicubic filter (antialiased when it shrinks)."""
    height, width = size
    if image.shape[:2] == size:
        return image
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BICUBIC))


def to_model(image: RGB) -> Array:
    """(H, W, 3) uint8 -> (3, H, W) float32 in [-1, 1]."""
    return np.ascontiguousarray(image.transpose(2, 0, 1)).astype(np.float32) / np.float32(127.5) - np.float32(1)


def from_model(x: Array) -> RGB:
    """(3, H, W) float32 -> (H, W, 3) uint8: clipped to [-1, 1], rounded to the nearest level."""
    levels = np.rint((x.clip(-1, 1) + 1) * np.float32(127.5))
    return np.ascontiguousarray(levels.transpose(1, 2, 0)).astype(np.uint8)


def to_condition(images: Sequence[RGB], size: tuple[int, int]) -> Array:
    """The network's condition (3 n, H, W) in [-1, 1]: each image resized to `size`, in slot order."""
    return np.concatenate([to_model(resize(image, size)) for image in images])
