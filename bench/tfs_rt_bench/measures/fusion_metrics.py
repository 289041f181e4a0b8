"""Measures of a fused image against its three sources, without ground truth.

All on the luminance, 0.299 R + 0.587 G + 0.114 B rounded to 0..255. Implementations of these measures differ in the
literature; figures compare only within one.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import correlate, correlate1d

from tfs_rt.images import RGB
from tfs_rt_bench.measures.metrics import LUMINANCE, Metric, Scores

Field = NDArray[np.float64]
FUSION_METRICS = {
    "qabf": Metric(
        "Q^AB/F",
        "higher",
        "edges kept (Xydeas and Petrovic, 2000), weighted by source gradients (Sobel, replicated border)",
    ),
    "mi": Metric("MI", "higher", "sum over the sources of the mutual information with the result, bits, 256 bins"),
    "scd": Metric(
        "SCD", "higher", "sum of correlations of differences (Aslantas and Bendes, 2015), mean of the 3 pairs"
    ),
    "viff": Metric("VIFF", "higher", "VIF for fusion (Han et al., 2013), noise variance 0.005 x 255^2, 3 sources"),
}
SOBEL = np.array([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]], np.float64)
VIFF_WEIGHTS = np.array([1, 0, 0.15, 1]) / 2.15  # weights of the four scales, as in the authors' program
VIFF_NOISE = 0.005 * 255**2
VIFF_SIDE = 41
TINY = 1e-10


def luminance(image: RGB) -> Field:
    """(H, W, 3) uint8 -> (H, W), whole levels 0..255."""
    return np.rint(image @ LUMINANCE)


def against_sources(result: RGB, sources: Sequence[RGB]) -> Scores:
    """All measures of a fused image (H, W, 3) against its sources, of the same size."""
    fused = luminance(result)
    parts = [luminance(source) for source in sources]
    return {
        "qabf": edges_kept(fused, parts),
        "mi": sum(mutual_information(part, fused) for part in parts),
        "scd": difference_correlation(fused, parts),
        "viff": viff(fused, parts),
    }


def edges_kept(fused: Field, sources: Sequence[Field]) -> float | None:
    """Q^AB/F, in 0..1; None if no source has an edge."""
    strength_f, angle_f = _edges(fused)
    kept = 0.0
    weights = 0.0
    for strength, angle in map(_edges, sources):
        larger = np.maximum(strength, strength_f)
        ratio = np.divide(np.minimum(strength, strength_f), larger, out=np.zeros_like(larger), where=larger > 0)
        alignment = 1 - np.abs(angle - angle_f) / (np.pi / 2)
        of_strength = 0.9994 / (1 + np.exp(-15 * (ratio - 0.5)))
        of_angle = 0.9879 / (1 + np.exp(-22 * (alignment - 0.8)))
        kept += float((of_strength * of_angle * strength).sum())
        weights += float(strength.sum())
    return kept / weights if weights else None


def _edges(image: Field) -> tuple[Field, Field]:
    """Strength, and angle in -pi/2..pi/2."""
    x = correlate(image, SOBEL, mode="nearest")
    y = correlate(image, SOBEL.T, mode="nearest")
    angle = np.arctan(np.divide(y, x, out=np.where(y == 0, 0, np.copysign(np.inf, y)), where=x != 0))
    return np.hypot(x, y), angle


def mutual_information(a: Field, b: Field) -> float:
    """I(a; b) in bits, of whole levels 0..255."""
    joint = np.histogram2d(a.ravel(), b.ravel(), bins=256, range=((0, 256), (0, 256)))[0] / a.size
    apart = np.outer(joint.sum(axis=1), joint.sum(axis=0))
    some = joint > 0
    return float((joint[some] * np.log2(joint[some] / apart[some])).sum())


def difference_correlation(fused: Field, sources: Sequence[Field]) -> float | None:
    """SCD of two sources, r(F - B, A) + r(F - A, B), as its mean over all pairs; None where something is constant."""
    terms = [(fused - b, a) for pair in combinations(sources, 2) for a, b in (pair, pair[::-1])]
    if any(x.std() == 0 or y.std() == 0 for x, y in terms):
        return None
    return sum(float(np.corrcoef(x.ravel(), y.ravel())[0, 1]) for x, y in terms) / (len(terms) // 2)


def viff(fused: Field, sources: Sequence[Field]) -> float | None:
    """VIF for fusion: at each place the source whose gain is smallest stands for all. None under 41x41."""
    if min(fused.shape) < VIFF_SIDE:
        return None
    scales = zip(*(_information(source, fused) for source in sources), strict=True)
    ratios = []
    for parts in scales:
        kept, whole, gain = (np.stack(maps) for maps in zip(*parts, strict=True))
        weakest = np.argmin(gain[::-1], axis=0)[None]  # the last of equals
        kept, whole = (np.take_along_axis(maps[::-1], weakest, axis=0)[0] + 1e-7 for maps in (kept, whole))
        ratios.append(kept.sum() / whole.sum())
    return float(VIFF_WEIGHTS @ ratios)


def _information(source: Field, fused: Field) -> list[tuple[Field, Field, Field]]:
    """At four scales, place by place: what the result holds of the source's information, its whole, and the gain."""
    maps = []
    for scale in range(1, 5):
        # Filter the images, and halve them from the second scale on.
        taps = _gaussian(2 ** (5 - scale) + 1)
        if scale > 1:
            source, fused = (_filter_valid(image, taps)[::2, ::2] for image in (source, fused))
        # Compute local means, variances and the covariance.
        mean_s, mean_f, ss, ff, sf = (
            _filter_valid(image, taps) for image in (source, fused, source * source, fused * fused, source * fused)
        )
        var_s = (ss - mean_s**2).clip(0)
        var_f = (ff - mean_f**2).clip(0)
        both = sf - mean_s * mean_f
        # Model the result as the source times a gain, plus noise.
        gain = both / (var_s + TINY)
        noise = var_f - gain * both
        # Correct the places that are flat, or where the gain is negative.
        flat_s = var_s < TINY
        flat_f = var_f < TINY
        opposed = gain < 0
        noise = np.where(flat_s | opposed, var_f, noise)
        noise = np.where(flat_f, 0, noise).clip(TINY)
        gain = np.where(flat_s | flat_f | opposed, 0, gain)
        var_s = np.where(flat_s, 0, var_s)
        # Compute the information that is kept.
        kept = np.log10(1 + gain**2 * var_s / (noise + VIFF_NOISE))
        maps.append((kept, np.log10(1 + var_s / VIFF_NOISE), gain))
    return maps


def _gaussian(side: int) -> Field:
    """Taps of sigma side / 5, of sum 1."""
    x = np.arange(side) - side // 2
    weights = np.exp(-(x**2) / (2 * (side / 5) ** 2))
    return weights / weights.sum()


def _filter_valid(image: Field, taps: Field) -> Field:
    """Both axes filtered, where the window lies wholly in the image."""
    half = len(taps) // 2
    rows = correlate1d(image, taps, axis=0)[half : image.shape[0] - half]
    return correlate1d(rows, taps, axis=1)[:, half : image.shape[1] - half]
