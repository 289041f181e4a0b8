"""The self-test: a fixed case, whose result by the reference at export is in the manifest, as means of 16 x 16 blocks.

It detects faulty memory, a driver that computes wrongly, or a broken build, before they spoil results.
"""

from __future__ import annotations

import numpy as np

from tfs_rt.images import RGB
from tfs_rt.sampling.schedule import Float64

SIDE = 64  # pixels: the side of the result
BLOCK = 16  # pixels: the side of a block
MEANS = (SIDE // BLOCK) ** 2 * 3  # numbers in a manifest
CASE_ID = "tfs-rt self-test"
SEED = 0
MOST_STEPS = 2  # longer recipes are shortened
# In grey levels, for each block: half precision is off by less than 0.1.
TOLERANCE = 1.0


def synthetic_case(scale: int) -> list[RGB]:
    """Three images in slot order, uint8 (SIDE / scale, SIDE / scale, 3): discs and a gradient, one in colour."""
    side = SIDE // scale
    y, x = (np.mgrid[0:side, 0:side] + 0.5) / side
    head = np.hypot(x - 0.5, y - 0.5) < 0.4
    lesion = np.hypot(x - 0.62, y - 0.4) < 0.12
    m1 = head * (90 + 60 * x)
    m2 = head * (60 + 120 * lesion)
    colour = np.stack([head * 255 * y, head * 200 * lesion, head * 90 * (1 - y)], axis=-1)
    grey = [np.repeat(image[..., None], 3, axis=-1) for image in (m1, m2)]
    return [np.rint(image).astype(np.uint8) for image in (*grey, colour)]


def block_means(image: RGB) -> Float64:
    """(SIDE, SIDE, 3) uint8 -> (SIDE / BLOCK, SIDE / BLOCK, 3) means."""
    blocks = SIDE // BLOCK
    return image.reshape(blocks, BLOCK, blocks, BLOCK, 3).mean(axis=(1, 3))
