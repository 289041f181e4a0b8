"""The choice among measured points: the front, the best for each budget, and three tiers.

All three tiers lie within the largest budget. With means over the cases:

best       the highest PSNR whatever it costs; of points that differ by less than 0.01 dB, the cheapest.
fast       the cheapest that loses at most 0.1 dB and 0.005 of SSIM to `best`.
balanced   PSNR for sharpness: of those that lose at most 0.5 dB and 0.01 of SSIM to `best`, the one whose average
           gradient is nearest the ground truth's; of points that differ by less than 0.01 in that, the cheapest.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from tfs_rt_bench.tuning.trials import Point

# Smaller differences count as equal: in dB, and as a share of the ground truth's gradient.
SAME_PSNR = 0.01
SAME_SHARPNESS = 0.01


class Loss(NamedTuple):
    """Largest loss of a tier against the best."""

    psnr: float  # dB
    ssim: float


LOSS = {"fast": Loss(0.1, 0.005), "balanced": Loss(0.5, 0.01)}


def gap(point: Point) -> float:
    """Distance of its sharpness from the ground truth's."""
    return abs(point.sharpness - 1)


def cheapest(points: Sequence[Point]) -> Point:
    """The one of fewest network calls; of several, the one of highest PSNR."""
    return min(points, key=lambda point: (point.calls, -point.psnr))


def best(points: Sequence[Point]) -> Point:
    """The cheapest of those whose PSNR is the highest."""
    top = max(point.psnr for point in points)
    return cheapest([point for point in points if point.psnr > top - SAME_PSNR])


def within(points: Sequence[Point], loss: Loss) -> list[Point]:
    """Those that lose no more than that to the best."""
    top = best(points)
    return [p for p in points if p is top or (p.psnr >= top.psnr - loss.psnr and p.ssim >= top.ssim - loss.ssim)]


def sharpest(points: Sequence[Point]) -> Point:
    """The cheapest of those as sharp as the ground truth, or nearest to it."""
    least = min(map(gap, points))
    return cheapest([point for point in points if gap(point) < least + SAME_SHARPNESS])


def tiers(points: Sequence[Point]) -> dict[str, Point]:
    """The three tiers, as defined above."""
    fast = cheapest(within(points, LOSS["fast"]))
    balanced = sharpest(within(points, LOSS["balanced"]))
    return {"fast": fast, "balanced": balanced, "best": best(points)}


def front(points: Sequence[Point]) -> list[Point]:
    """Those that no other beats, by calls: none is as cheap, as near the truth and as sharp, and better in one."""
    ranked = sorted(points, key=lambda point: (point.calls, -round(point.psnr, 2), round(gap(point), 2)))
    kept: list[Point] = []
    for point in ranked:
        if not any(_no_worse(other, point) for other in kept):
            kept.append(point)
    return kept


def _no_worse(one: Point, other: Point) -> bool:
    """True if a cheaper or equal point is as good, to the digits shown."""
    return round(one.psnr, 2) >= round(other.psnr, 2) and round(gap(one), 2) <= round(gap(other), 2)


def within_budget(points: Sequence[Point], calls: int) -> Point | None:
    """The best of so many network calls; None without a point."""
    affordable = [point for point in points if point.calls <= calls]
    return best(affordable) if affordable else None


def survivors(points: Sequence[Point], count: int) -> list[Point]:
    """For each number of steps: the `count` points of highest PSNR, and of the sharpest within `balanced`'s loss."""
    near = within(points, LOSS["balanced"])
    kept = []
    for steps in sorted({point.recipe.steps for point in points}):
        own = [point for point in points if point.recipe.steps == steps]
        sharp = sorted((point for point in near if point.recipe.steps == steps), key=gap)
        kept += sorted(own, key=lambda point: -point.psnr)[:count] + sharp[:count]
    return list(dict.fromkeys(kept))
