"""CTSR: Y. Jie, F. Zhou, H. Tan, G. Wang, X. Cheng, X. Li, "Tri-modal medical image fusion based on adaptive energy
choosing scheme and sparse representation", Measurement 204, 2022.

Each image is split into structure and texture. Of two structures the brighter one is taken, pixel by pixel. Of two
textures the one with the larger sparse code is taken, patch by patch. First m1 is fused with m2, then the result with
the functional image's luminance.
"""

from __future__ import annotations

from functools import cache
from importlib import resources

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from scipy.ndimage import correlate1d

from tfs_rt.images import RGB
from tfs_rt.methods.colour import from_yuv, grey, to_yuv
from tfs_rt.methods.ctsr.guidance import rolling_guidance
from tfs_rt.methods.ctsr.pursuit import sparse_codes

Field = NDArray[np.float64]
PATCH = 8
STRIDE = 2
ERROR = 0.01  # L2 norm of the residual that a sparse code may leave
# Patches coded at a time, to bound the memory of their dense codes.
BLOCK = 4096
EQUAL = 9e-5  # structures that differ by less are compared by their sharpness


def fuse(m1: RGB, m2: RGB, functional: RGB, dictionary: Field | None = None) -> RGB:
    """Three registered (H, W, 3) uint8 images of one size, at least 8x8 -> (H, W, 3) uint8.

    `dictionary` is (64, k): unit atoms of 8x8 pixels, column after column; ours by default.
    """
    if min(functional.shape[:2]) < PATCH:
        raise ValueError(f"CTSR needs at least 8x8 pixels, got {functional.shape[1]}x{functional.shape[0]}")
    atoms = shipped_dictionary() if dictionary is None else dictionary
    yuv = to_yuv(functional)
    yuv[..., 0] = fuse_pair(fuse_pair(grey(m1), grey(m2), atoms), yuv[..., 0], atoms)
    return from_yuv(yuv)


@cache
def shipped_dictionary() -> Field:
    """(64, 512): 512 atoms learnt by K-SVD."""
    with resources.files("tfs_rt.methods.ctsr").joinpath("dictionary.npy").open("rb") as file:
        atoms = np.load(file, allow_pickle=False).astype(np.float64)
    return atoms / np.linalg.norm(atoms, axis=0)


def fuse_pair(first: Field, second: Field, dictionary: Field) -> Field:
    """Fuse two grey images, (H, W) in about 0..1."""
    structure_1 = rolling_guidance(first)
    structure_2 = rolling_guidance(second)
    texture = fuse_textures(first - structure_1, second - structure_2, dictionary)
    return texture + choose_structure(structure_1, structure_2)


def fuse_textures(first: Field, second: Field, dictionary: Field) -> Field:
    """Fuse two textures (H, W): each patch is rebuilt from the code with the larger L1 norm, overlaps averaged."""
    patches_1 = patches(first)
    patches_2 = patches(second)
    rebuilt = []
    for start in range(0, patches_1.shape[1], BLOCK):
        codes_1 = sparse_codes(dictionary, patches_1[:, start : start + BLOCK], error=ERROR)
        codes_2 = sparse_codes(dictionary, patches_2[:, start : start + BLOCK], error=ERROR)
        second_larger = np.abs(codes_2).sum(axis=0) > np.abs(codes_1).sum(axis=0)
        rebuilt.append(dictionary @ np.where(second_larger, codes_2, codes_1))
    return _assemble(np.concatenate(rebuilt, axis=1), (first + second) / 2)


def patches(image: Field, stride: int = STRIDE) -> Field:
    """(64, n): all 8x8 patches whose corner is on the grid of `stride`, each flattened column by column."""
    windows = sliding_window_view(image, (PATCH, PATCH))[::stride, ::stride]
    return windows.transpose(3, 2, 0, 1).reshape(PATCH * PATCH, -1)


def _assemble(columns: Field, otherwise: Field) -> Field:
    """The mean of overlapping patches (64, n) at each pixel, (H, W); `otherwise` where no patch lies."""
    height, width = otherwise.shape
    total = np.zeros_like(otherwise)
    count = np.zeros_like(otherwise)
    grid = (len(range(0, height - PATCH + 1, STRIDE)), len(range(0, width - PATCH + 1, STRIDE)))

    # Add one pixel of all patches at a time.
    for pixel, values in enumerate(columns.reshape(-1, *grid)):
        column, row = divmod(pixel, PATCH)
        at = np.s_[row : row + STRIDE * grid[0] : STRIDE, column : column + STRIDE * grid[1] : STRIDE]
        total[at] += values
        count[at] += 1
    return np.where(count > 0, total / np.maximum(count, 1), otherwise)


def choose_structure(first: Field, second: Field) -> Field:
    """Adaptive energy choosing, (H, W) each: the larger value, or the sharper image's where they are nearly equal."""
    close = np.abs(first - second) < EQUAL
    takes_first = (first - second > EQUAL) | (close & (_sharpness(first) > _sharpness(second)))
    return np.where(takes_first, first, second)


def _sharpness(image: Field) -> Field:
    """Square root of the mean absolute Laplacian over 3x3 pixels."""
    laplacian = sum(np.abs(correlate1d(image, [-1, 2, -1], axis=axis, mode="reflect")) for axis in (0, 1))
    ones = np.ones(3)
    column_sums = correlate1d(laplacian, ones, axis=0, mode="reflect")
    return np.sqrt(correlate1d(column_sums, ones, axis=1, mode="reflect") / 9)
