"""Recipes tried on cases whose ground truth is known; the same network call is never made twice.

The samples of a chain are nested (the mean of four holds the mean of two), and chains that start at one sigma begin
with one call, whatever comes after it: both are remembered, for as long as a case is under way.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tfs_rt.batch.samples import Moments, sample_ids
from tfs_rt.images import RGB, Array
from tfs_rt.sampling.engine import Engine, ImageBatch, reverse_step
from tfs_rt.sampling.stepwise import fuse_batch
from tfs_rt.sampling.tables import StepRow, StepTable, step_table
from tfs_rt.spec import ModelSpec, Recipe
from tfs_rt_bench.latency.quality import EQUAL
from tfs_rt_bench.measures.metrics import average_gradient, psnr, ssim_map
from tfs_rt_bench.tuning.cases import CaseWithTruth


@dataclass(frozen=True, slots=True)
class Score:
    """One image against its ground truth."""

    psnr: float  # dB
    ssim: float
    gradient: float  # mean, in levels
    truth_gradient: float


@dataclass(frozen=True, slots=True)
class Point:
    """A recipe, how many samples are averaged, and how near the truth that is."""

    recipe: Recipe
    samples: int
    scores: tuple[Score, ...]  # by case

    @property
    def calls(self) -> int:
        """Network calls for an image."""
        return self.recipe.steps * self.samples

    @property
    def psnr(self) -> float:
        """Mean over the cases, in dB."""
        return float(np.mean([score.psnr for score in self.scores]))

    @property
    def ssim(self) -> float:
        """Mean over the cases."""
        return float(np.mean([score.ssim for score in self.scores]))

    @property
    def sharpness(self) -> float:
        """The mean average gradient over the ground truth's: 1 is as sharp as it."""
        return sum(score.gradient for score in self.scores) / sum(score.truth_gradient for score in self.scores)


SampledRecipe = tuple[Recipe, int]  # a recipe, and the number of samples to average


class CachingEngine:
    """An engine that keeps the first step's x_0 of every start, and counts the network calls made and saved."""

    def __init__(self, engine: Engine[Any]) -> None:
        self.engine = engine
        self.made = self.saved = 0
        self._first: dict[tuple[float, float, float, bytes], Array] = {}

    @property
    def spec(self) -> ModelSpec:
        """The model that runs."""
        return self.engine.spec

    @property
    def facts(self) -> dict[str, Any]:
        """The engine's."""
        return self.engine.facts

    def to_device(self, array: Array, /) -> Array:
        """Handles are arrays of the host."""
        return array

    def to_host(self, handle: Array, /) -> Array:
        """Handles are arrays of the host."""
        return handle

    def step(
        self, x_t: Array, x_0: Array | None, condition: Array, row: StepRow, z: Array | None, /
    ) -> tuple[Array, Array]:
        """One reverse step; a chain's first only once for each start and noise level."""
        if x_0 is not None:
            return self._compute_step(x_t, x_0, condition, row, z)
        key = (row.noise_level, row.r_xt, row.r_pred, hashlib.sha256(x_t.tobytes()).digest())
        if key not in self._first:
            x_prev, self._first[key] = self._compute_step(x_t, x_0, condition, row, z)
            return x_prev, self._first[key]
        self.saved += 1
        return reverse_step(self._first[key], x_t, None, row._replace(r_xt=0.0, r_pred=1.0), z)

    def clear_cache(self) -> None:
        """Forget all starts; needed between cases, which differ in their condition."""
        self._first.clear()

    def _compute_step(
        self, x_t: Array, x_0: Array | None, condition: Array, row: StepRow, z: Array | None
    ) -> tuple[Array, Array]:
        self.made += 1
        give = self.engine.to_device
        take = self.engine.to_host
        before = None if x_0 is None else give(x_0)
        x_prev, x_0_next = self.engine.step(give(x_t), before, give(condition), row, None if z is None else give(z))
        return take(x_prev), take(x_0_next)


@dataclass
class Trials:
    """Scores by chain, case and number of samples, computed as they are asked for."""

    engine: CachingEngine
    cases: Sequence[CaseWithTruth]
    seed: int = 0
    _scores: dict[tuple[Recipe, str, bool], dict[int, Score]] = field(default_factory=dict)

    def points(self, asked: Sequence[SampledRecipe], numbers: Sequence[int], *, warm: bool = True) -> list[Point]:
        """Recipes, each with a number of samples, over the cases of these numbers.

        `warm=False` starts from bare noise (x_init = 0), as no recipe with log-snr spacing does.
        """
        cases = [self.cases[number] for number in numbers]
        counts: dict[Recipe, set[int]] = {}
        for recipe, samples in asked:
            counts.setdefault(recipe, set()).add(samples)
        for case in cases:
            self.engine.clear_cache()
            for recipe, wanted in counts.items():
                self._try(recipe, case, wanted, warm)
        return [
            Point(recipe, samples, tuple(self._scores[recipe, case.id, warm][samples] for case in cases))
            for recipe, samples in asked
        ]

    def _try(self, recipe: Recipe, case: CaseWithTruth, counts: set[int], warm: bool) -> None:
        """Score the means of `counts` samples of a case, unless their scores are known."""
        found = self._scores.setdefault((recipe, case.id, warm), {})
        missing = counts - found.keys()
        if not missing:
            return

        table = step_table(self.engine.spec, recipe)
        if not warm:
            table = dataclasses.replace(table, start_x0=0.0)
        moments = Moments(case.size)
        for noise_id in sample_ids(case.id, max(missing)):
            moments.add(fuse_sample(self.engine, table, case, noise_id, self.seed))
            if moments.count in missing:
                found[moments.count] = score(moments.mean(), case.truth)


def fuse_sample(engine: Engine[Any], table: StepTable, case: CaseWithTruth, noise_id: str, seed: int) -> RGB:
    """One sample of a case, as `tfs-rt fuse` makes it."""
    batch = ImageBatch([case.images], [noise_id], size=case.size, seed=seed)
    return fuse_batch(engine, table, batch)[0]


def score(image: RGB, truth: RGB) -> Score:
    """An image (H, W, 3) against its ground truth."""
    mse = float(np.mean((image.astype(np.float64) - truth) ** 2))
    gradients = (average_gradient(image) or 0.0, average_gradient(truth) or 0.0)
    return Score(min(psnr(mse), EQUAL), float(ssim_map(image, truth)[0]), *gradients)
