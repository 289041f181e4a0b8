"""The quality beside a speed: fidelity to the reference, accuracy to ground truth, and pictures."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence

import numpy as np
from PIL import Image

from tfs_rt.images import RGB
from tfs_rt_bench.latency.record import Accuracy, Fidelity
from tfs_rt_bench.measures.metrics import colour_bias, psnr, ssim_map

EQUAL = 99.0  # dB, for images that do not differ: JSON has no infinity
GAIN = 16  # by which differences are amplified in pictures


def fidelity(images: Sequence[RGB], reference: Sequence[RGB]) -> Fidelity:
    """Images (H, W, 3) against the reference's: PSNR over all their pixels, the mean of SSIM and of each bias."""
    ours = np.stack(images).astype(np.float64)
    theirs = np.stack(reference).astype(np.float64)
    pairs = list(zip(images, reference, strict=True))
    bias = np.mean([list(colour_bias(a, b).values()) for a, b in pairs], axis=0)
    return Fidelity(
        psnr=min(EQUAL, psnr(float(np.mean((ours - theirs) ** 2)))),
        ssim=float(np.mean([ssim_map(a, b)[0] for a, b in pairs])),
        max_levels=int(np.abs(ours - theirs).max()),
        bias=(float(bias[0]), float(bias[1]), float(bias[2])),
        cases=len(pairs),
    )


def accuracy(images: Sequence[RGB], truths: Sequence[RGB | None]) -> Accuracy | None:
    """Means over the cases that have ground truth; None if none has."""
    pairs = [(image, truth) for image, truth in zip(images, truths, strict=True) if truth is not None]
    if not pairs:
        return None
    errors = [float(np.mean((image.astype(np.float64) - truth) ** 2)) for image, truth in pairs]
    return Accuracy(
        psnr=float(np.mean([min(EQUAL, psnr(error)) for error in errors])),
        ssim=float(np.mean([ssim_map(image, truth)[0] for image, truth in pairs])),
        cases=len(pairs),
    )


def difference(image: RGB, reference: RGB) -> RGB:
    """The absolute difference, `GAIN` times: (H, W, 3) uint8."""
    return (np.abs(image.astype(np.int64) - reference) * GAIN).clip(0, 255).astype(np.uint8)


def png(image: RGB) -> str:
    """A PNG in base64."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG", optimize=True)
    return base64.b64encode(buffer.getvalue()).decode()
