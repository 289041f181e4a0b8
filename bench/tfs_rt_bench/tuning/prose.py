"""Sentences of the page of `tfs-rt tune`."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import fill

from tfs_rt.sampling.registry import SAMPLERS
from tfs_rt.spec import Recipe
from tfs_rt_bench.tuning.choice import LOSS, SAME_PSNR, SAME_SHARPNESS
from tfs_rt_bench.tuning.grid import SAMPLERS as SAMPLER_GRID
from tfs_rt_bench.tuning.grid import SAMPLES, SIGMAS, STEPS
from tfs_rt_bench.tuning.search import FEW
from tfs_rt_bench.tuning.trials import Point
from tfs_rt_bench.tuning.tune import Tuned

GRID = "; ".join(f"{name} (eta {eta:g})" if SAMPLERS[name].takes_eta else name for name, eta in SAMPLER_GRID)
FAST = LOSS["fast"]
BALANCED = LOSS["balanced"]
LEVELS = ", ".join(f"{sigma:g}" for sigma in SIGMAS)
DEFINITIONS = (
    "PSNR and SSIM: `tfs-rt eval`'s, means over the cases. Sharpness: the images' mean average gradient over the ground"
    " truth's; 1 is as sharp as it. All chains see the same noise, keyed by the seed and the case.",
    "`best`: the highest PSNR whatever it costs within the largest budget; of points that differ by less than"
    f" {SAME_PSNR:g} dB, the cheapest.",
    f"`fast`: the cheapest that loses at most {FAST.psnr:g} dB and {FAST.ssim:g} of SSIM to `best`.",
    f"`balanced`: PSNR for sharpness. Of those that lose at most {BALANCED.psnr:g} dB and {BALANCED.ssim:g} of SSIM to"
    " `best`, the one whose sharpness is nearest 1; of points that differ by less than"
    f" {SAME_SHARPNESS:g} in that, the cheapest. It may cost more than `best`.",
    "Cost: network calls for an image. Seconds: from images in memory to an image in memory, one image at a time; of"
    " each sample the least of many runs.",
    f"The grid: {', '.join(map(str, STEPS))} steps; {GRID}; the first and the last sigma of {LEVELS} and the model's"
    f" own, moved into the range that it was trained on. All of it on {FEW} cases; then what is best of each number of"
    " steps, with the sigmas half-way to their neighbours; then on all cases; then means of"
    f" {', '.join(map(str, SAMPLES[1:]))} samples. Two recipes with one table of steps are tried once.",
)
HEAD = "\n".join(
    [
        "Which recipe, averaged over how many samples, gives the best images in so much time: for `fuse --quality`.",
        "",
        *(fill(item, 119, initial_indent="* ", subsequent_indent="  ", break_on_hyphens=False) for item in DEFINITIONS),
    ]
)


def named(recipe: Recipe) -> str:
    """A recipe in a few words."""
    if recipe.spacing == "t":
        return f"{recipe.sampler}, {recipe.steps} steps, spaced in t"
    if recipe.steps == 1:
        return f"1 step at sigma {recipe.sigma_max:.3g}"
    eta = f" (eta {recipe.eta:g})" if SAMPLERS[recipe.sampler].takes_eta and recipe.eta else ""
    return f"{recipe.sampler}{eta}, {recipe.steps} steps, sigma {recipe.sigma_max:.3g} to {recipe.sigma_min:.3g}"


def remarks(tuned: Tuned) -> list[str]:
    """Sentences on equal tiers, gains and losses of the others, and the value of the warm start."""
    fast, balanced, best = (tuned.chosen[name] for name in ("fast", "balanced", "best"))
    one = f"* `fast` and `best` are one: nothing in the largest budget is {SAME_PSNR:g} dB better."
    lines = [
        one if fast == best else f"* `best` takes {best.calls / fast.calls:g} times `fast`: {_change(best, fast)}."
    ]
    none = "* `balanced` is the same recipe: nothing sharper was found within what it may lose."
    lines.append(none if balanced in (fast, best) else f"* `balanced` against `best`: {_change(balanced, best)}.")
    own = tuned.search.points[0]
    if own.recipe == tuned.bundle.manifest.recipe:
        same = [f"`{name}`" for name, point in tuned.chosen.items() if point == own]
        lines.append(f"* The model's own recipe, {named(own.recipe)}, is {' and '.join(same) or 'none of them'}.")
    return [*lines, _warm_start(tuned.search.bare)]


def _change(point: Point, other: Point) -> str:
    pairs = list(zip(point.scores, other.scores, strict=True))
    more = sum(a.psnr > b.psnr for a, b in pairs)
    change = f"{point.psnr - other.psnr:+.3f} dB (higher in {more} of {len(pairs)} cases)"
    return f"{change}, SSIM {point.ssim - other.ssim:+.4f}, sharpness {point.sharpness - other.sharpness:+.3f}"


def _warm_start(pairs: Sequence[tuple[Point, Point]]) -> str:
    """Sentence on bare noise in place of the warm start: gain and loss."""
    ranked = sorted(pairs, key=lambda pair: pair[1].psnr - pair[0].psnr)
    (warm, bare) = ranked[-1]
    (least_warm, least_bare) = ranked[0]
    most = f"at most {_change(bare, warm)} ({named(warm.recipe)})"
    least = f"at least {_change(least_bare, least_warm)} ({named(least_warm.recipe)})"
    return f"* Bare noise in place of the warm start, in {len(pairs)} chains of one sample: {most}; {least}."
