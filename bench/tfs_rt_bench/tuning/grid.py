"""The recipes that `tfs-rt tune` tries: a stated grid, held within the noise levels that the model was trained on.

Two recipes with one table are one chain, of which the first is kept: a single step has neither a last sigma nor eta,
and two steps of dpmpp-2m are two of ddim. ddpm is ddim with eta = 1.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from itertools import pairwise, product

from tfs_rt.sampling.tables import step_table
from tfs_rt.spec import ModelSpec, Recipe

STEPS = (1, 2, 4, 8)
SIGMAS = (0.02, 0.1, 0.5, 2.0, 5.0, 20.0, 80.0)  # of the first network call and of the last
SAMPLERS: tuple[tuple[str, float], ...] = (("ddim", 0.0), ("ddim", 0.5), ("ddim", 1.0), ("dpmpp-2m", 0.0))
SAMPLES = (1, 2, 4, 8)  # whose mean is the result


def sigmas(spec: ModelSpec, own: Recipe) -> list[float]:
    """The noise-to-signal ratios that are tried: the grid's and the model's own, moved into the trained range."""
    lowest, highest = spec.sigma_range
    return sorted({min(max(sigma, lowest), highest) for sigma in (*SIGMAS, own.sigma_min, own.sigma_max)})


def chains(spec: ModelSpec, own: Recipe) -> list[Recipe]:
    """The grid, no two of which compute the same; the model's own recipe comes first."""
    return distinct(spec, (own, *_grid(sigmas(spec, own))))


def nearby(recipe: Recipe, levels: list[float]) -> Iterator[Recipe]:
    """A recipe with its first sigma, and then its last, half-way (geometric mean) to the next of `levels`."""
    if recipe.spacing == "t":  # which has no sigmas to choose
        return
    halves = [(low, high, (low * high) ** 0.5) for low, high in pairwise(levels)]
    for end in ("sigma_max", "sigma_min") if recipe.steps > 1 else ("sigma_max",):
        for low, high, half in halves:
            if getattr(recipe, end) in (low, high):
                sigma_max = half if end == "sigma_max" else recipe.sigma_max
                sigma_min = half if end == "sigma_min" else recipe.sigma_min
                if sigma_min < sigma_max:
                    yield dataclasses.replace(recipe, sigma_max=sigma_max, sigma_min=sigma_min)


def distinct(spec: ModelSpec, recipes: Iterable[Recipe]) -> list[Recipe]:
    """The recipes, the first of those that have one table."""
    found: dict[tuple[bytes, float], Recipe] = {}
    for recipe in recipes:
        table = step_table(spec, recipe)
        found.setdefault((table.rows.tobytes(), table.start_x0), recipe)
    return list(found.values())


def _grid(levels: list[float]) -> Iterator[Recipe]:
    for steps, (sampler, eta), last, first in product(STEPS, SAMPLERS, levels, levels):
        if last < first or (steps == 1 and last == first):
            ends = {"sigma_max": first, "sigma_min": last}
            yield Recipe(sampler=sampler, steps=steps, eta=eta, spacing="log-snr", **ends)
