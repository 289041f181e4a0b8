"""Measures of a result against ground truth. All arithmetic is in double precision on 8-bit levels, 0 to 255.

A measure that is undefined (VIF of a constant ground truth, say) is None; the PSNR of equal images is infinite.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from sewar import vifp
from skimage.metrics import structural_similarity

from tfs_rt.images import RGB

Field = NDArray[np.float64]
Scores = dict[str, float | None]
LUMINANCE = np.array([0.299, 0.587, 0.114])  # Rec. 601
HEAD = 10  # levels of luminance above which a pixel belongs to the head
# The smallest images that these measures take.
SSIM_WINDOW = 7
VIF_SIDE = 41


class Metric(NamedTuple):
    """A measure: label, direction and definition."""

    label: str
    better: str  # "lower", "higher" or "zero"; "" where neither is
    definition: str


METRICS = {
    "mse": Metric("MSE", "lower", "mean squared difference of RGB levels, 0 to 255"),
    "vif": Metric(
        "VIF", "higher", "pixel-domain VIF by sewar, vifp(ground truth, result), noise variance 2, mean of R, G, B"
    ),
    "ssim": Metric(
        "SSIM", "higher", "scikit-image, RGB, data range 255, 7x7 window, sample covariance, mean without a border of 3"
    ),
    "psnr": Metric("PSNR", "higher", "10 log10(255^2 / MSE) in dB over RGB; infinite for equal images"),
    "lpips": Metric("LPIPS", "lower", "version 0.1 on AlexNet, RGB in [-1, 1], by the weights given"),
    "mae": Metric("MAE", "lower", "mean absolute difference of RGB levels"),
    "rmse": Metric("RMSE", "lower", "square root of each image's MSE"),
    "ag": Metric(
        "AG", "", "mean of sqrt((dx^2 + dy^2) / 2), forward differences of luminance (0.299 R + 0.587 G + 0.114 B)"
    ),
    "psnr_head": Metric("PSNR, head", "higher", "PSNR over the head alone: black background flatters the whole image"),
    "ssim_head": Metric("SSIM, head", "higher", "mean of SSIM's map over all of the head"),
    "mae_head": Metric("MAE, head", "lower", "MAE over the head"),
    "bias_r": Metric("bias R", "zero", "mean of result - ground truth in red, levels"),
    "bias_g": Metric("bias G", "zero", "the same in green"),
    "bias_b": Metric("bias B", "zero", "the same in blue"),
}
HEAD_DEFINITION = f"head: the ground truth's largest region with luminance over {HEAD}, holes filled"


def fidelity(result: RGB, truth: RGB) -> Scores:
    """The paper's measures but LPIPS, of a result (H, W, 3) against the ground truth."""
    difference = result.astype(np.float64) - truth
    mse = float(np.mean(difference**2))
    return {
        "mse": mse,
        "vif": vif(result, truth),
        "ssim": None if min(truth.shape[:2]) < SSIM_WINDOW else float(ssim_map(result, truth)[0]),
        "psnr": psnr(mse),
        "mae": float(np.mean(np.abs(difference))),
        "rmse": mse**0.5,
        "ag": average_gradient(result),
    }


def psnr(mse: float) -> float:
    """Peak signal-to-noise ratio in dB; infinity where nothing differs."""
    return float("inf") if mse == 0 else float(10 * np.log10(255**2 / mse))


def vif(result: RGB, truth: RGB) -> float | None:
    """Visual information fidelity; None for images under 41x41, or where a channel of the truth is constant."""
    if min(truth.shape[:2]) < VIF_SIDE:
        return None
    with np.errstate(invalid="ignore"):
        value = float(vifp(truth, result))
    return value if np.isfinite(value) else None


def ssim_map(result: RGB, truth: RGB) -> tuple[float, Field]:
    """The structural similarity and its map (H, W, 3)."""
    return structural_similarity(truth, result, channel_axis=-1, data_range=255, full=True)


def average_gradient(image: RGB) -> float | None:
    """Mean gradient of the luminance, over all pixels that have a neighbour below and to the right."""
    y = image @ LUMINANCE
    down = y[1:, :-1] - y[:-1, :-1]
    along = y[:-1, 1:] - y[:-1, :-1]
    return float(np.sqrt((down**2 + along**2) / 2).mean()) if down.size else None


def head_mask(truth: RGB) -> NDArray[np.bool_]:
    """The largest connected region (H, W) that is not background, its holes filled."""
    regions = np.zeros(truth.shape[:2], np.int64)
    ndimage.label(truth @ LUMINANCE > HEAD, output=regions)
    sizes = np.bincount(regions.ravel())
    if len(sizes) == 1:
        return np.zeros(truth.shape[:2], bool)
    return np.asarray(ndimage.binary_fill_holes(regions == sizes[1:].argmax() + 1), bool)


def in_head(result: RGB, truth: RGB) -> Scores:
    """Measures over the head alone; None without a head region."""
    mask = head_mask(truth)
    if not mask.any():
        return dict.fromkeys(("psnr_head", "ssim_head", "mae_head"))
    difference = result[mask].astype(np.float64) - truth[mask]
    small = min(truth.shape[:2]) < SSIM_WINDOW
    return {
        "psnr_head": psnr(float(np.mean(difference**2))),
        "ssim_head": None if small else float(ssim_map(result, truth)[1][mask].mean()),
        "mae_head": float(np.mean(np.abs(difference))),
    }


def colour_bias(result: RGB, truth: RGB) -> dict[str, float]:
    """The mean difference of each channel: zero unless a method shifts colours."""
    bias = (result.astype(np.float64) - truth).mean(axis=(0, 1))
    return dict(zip(("bias_r", "bias_g", "bias_b"), map(float, bias), strict=True))
