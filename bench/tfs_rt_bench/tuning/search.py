"""The search for a model's recipes, by successive halving, with the same noise for all.

The grid on a few cases; what is left of it, and the sigmas half-way to their neighbours; what is left of those on all
cases; and what is left of those averaged over samples. A chain of much noise, which only a mean would make the best
of its number of steps, may be lost before means are tried.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from tfs_rt.errors import UsageError
from tfs_rt.spec import ModelSpec, Recipe
from tfs_rt_bench.tuning.choice import survivors
from tfs_rt_bench.tuning.grid import SAMPLES, chains, distinct, nearby, sigmas
from tfs_rt_bench.tuning.trials import Point, SampledRecipe, Trials

# Cases at first; and what is kept of each number of steps, by PSNR and by sharpness.
FEW = 2
KEPT = (2, 2, 1)


@dataclass(frozen=True, slots=True)
class Search:
    """The points that were tried."""

    grid: list[Point]  # all chains, one sample, on a few cases
    # The points measured on all cases; the model's own recipe first, if a budget allows it.
    points: list[Point]
    bare: list[tuple[Point, Point]]  # one sample from the warm start, and the same from bare noise
    made: int  # network calls
    saved: int  # that were remembered


def search(trials: Trials, own: Recipe, most: int, say: Callable[[str], None] = lambda text: None) -> Search:
    """The points of at most `most` network calls for an image; the model's own recipe is kept to the end."""
    # Choose a few cases, evenly spaced.
    spec = trials.engine.spec
    count = len(trials.cases)
    few = sorted({round(i) for i in np.linspace(0, count - 1, min(FEW, count))})

    def measured(recipes: Sequence[Recipe], numbers: Sequence[int]) -> list[Point]:
        say(f"{len(recipes)} chains, one sample, {len(numbers)} of {count} cases")
        return trials.points([(recipe, 1) for recipe in recipes], numbers)

    # Try all chains on the few cases, and finer ones around the best.
    grid = measured([recipe for recipe in chains(spec, own) if recipe.steps <= most], few)
    kept = _with(own, survivors(grid, KEPT[0]), grid)
    finer = _finer(spec, own, kept)
    kept = _with(own, survivors([*kept, *measured(finer, few)], KEPT[1]), grid)
    # Measure the survivors on all cases.
    points = measured([point.recipe for point in kept], range(count))
    # Try means of several samples.
    last = [point.recipe for point in _with(own, survivors(points, KEPT[2]), points)]
    more: list[SampledRecipe] = [(recipe, k) for recipe in last for k in SAMPLES[1:] if k * recipe.steps <= most]
    say(f"{len(last)} chains, means of up to {SAMPLES[-1]} samples, {count} cases")
    averaged = trials.points(more, range(count))
    # Try the best without the warm start.
    say(f"{len(last)} chains from bare noise, one sample, {count} cases")
    bare = trials.points([(recipe, 1) for recipe in last], range(count), warm=False)
    pairs = [(point, other) for other in bare for point in points if point.recipe == other.recipe]
    return Search(grid, [*points, *averaged], pairs, trials.engine.made, trials.engine.saved)


def _with(own: Recipe, kept: list[Point], points: list[Point]) -> list[Point]:
    """The points for the next round, the model's own recipe first if it is among them."""
    return list(dict.fromkeys([*(point for point in points if point.recipe == own), *kept]))


def _finer(spec: ModelSpec, own: Recipe, kept: list[Point]) -> list[Recipe]:
    """The chains half-way from those that were kept to their neighbours on the grid."""
    known = [point.recipe for point in kept]
    levels = sigmas(spec, own)
    return distinct(spec, [*known, *(near for recipe in known for near in nearby(recipe, levels))])[len(known) :]


def affordable(budget: float, second: float) -> int:
    """Number of network calls within a budget of seconds; UsageError if it is zero."""
    calls = math.floor(budget / second * (1 + 1e-9))
    if calls < 1:
        reason = f"{budget:g} s are less than one network call takes here ({second:.3g} s)"
        raise UsageError("--budget", reason, "allow more time")
    return calls
