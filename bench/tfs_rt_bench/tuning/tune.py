"""`tfs-rt tune`: which recipe, averaged over how many samples, is the best for a model in so much time."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnxruntime

from tfs_rt.backends.registry import load_engine
from tfs_rt.errors import EnvironmentFault, ModelError, UsageError
from tfs_rt.methods.diffusion import load_fusion_bundle
from tfs_rt.models.bundle import Bundle, load_bundle
from tfs_rt.models.manifest import write_manifest
from tfs_rt.sampling.engine import Engine
from tfs_rt.sampling.tables import step_table
from tfs_rt.spec import Accuracy, Tier
from tfs_rt.system.threads import processor_count
from tfs_rt_bench.latency.machine import processor_name
from tfs_rt_bench.tuning import choice as tuning_choice
from tfs_rt_bench.tuning.cases import CaseWithTruth, Source, known_cases
from tfs_rt_bench.tuning.search import Search, affordable, search
from tfs_rt_bench.tuning.trials import CachingEngine, Point, SampledRecipe, Trials, fuse_sample

# The exact tier of backends: images of other float32 backends differ by a grey level here and there.
BACKEND = "ort-cpu"
CALLS = (1, 4, 16)  # that the budgets allow where none are given
# At least so many runs, for so many seconds, are timed: others may be at work on the machine.
RUNS = 5
LONG = 4.0


@dataclass(frozen=True, slots=True)
class Request:
    """A model to tune, and its cases."""

    model: str | Path
    source: Source
    budgets: tuple[float, ...] = ()  # seconds for an image; by default those of `CALLS` network calls
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Tuned:
    """A model, searched."""

    request: Request
    bundle: Bundle
    search: Search
    second: float  # of a network call, and what an image takes beside it
    budgets: tuple[float, ...]  # seconds for an image, from small to large
    chosen: dict[str, Point]  # by quality
    tiers: dict[str, Tier]


def tune(request: Request, say: Callable[[str], None] = lambda text: None) -> Tuned:
    """Search, choose, and measure what was chosen: its time, and once the test split if the set has one.

    Raises ModelError for a model that fuses no three images or returns no numbers, UsageError for a budget in which
    nothing can be done.
    """
    # Load the model and the cases.
    bundle = load_fusion_bundle(request.model)
    source = request.source
    scale = bundle.manifest.model.scale
    cases = known_cases(source, scale)
    engine = load_engine(BACKEND, bundle)
    held_out = known_cases(source, scale, "test") if source.has_test else []
    # Time one network call, and turn the budgets into calls.
    second = seconds(engine, (dataclasses.replace(bundle.manifest.recipe, steps=1), 1), cases[0])
    budgets = tuple(sorted(request.budgets)) or tuple(second * calls for calls in CALLS)
    most = affordable(budgets[-1], second)
    say(f"a network call takes {second:.3g} s here; at most {most} for an image")
    # Search, choose the tiers and measure them.
    trials = Trials(CachingEngine(engine), cases, request.seed)
    try:
        found = search(trials, bundle.manifest.recipe, most, say)
        say("the tiers: their time, and the test split if there is one")
        chosen = tuning_choice.tiers(found.points)
        tested = dataclasses.replace(trials, cases=held_out)
        measured = {point: _measured(point, tested, engine, source, cases[0]) for point in set(chosen.values())}
    except FloatingPointError as error:
        raise ModelError(bundle.path, str(error), "train or export it anew") from error
    tiers = {name: measured[point] for name, point in chosen.items()}
    return Tuned(request, bundle, found, second, budgets, chosen, tiers)


def _measured(point: Point, tested: Trials, engine: Engine[Any], source: Source, case: CaseWithTruth) -> Tier:
    """A point as a tier: its time, and once the cases that were held out."""
    accuracy = {source.name: accuracy_of(point)}
    if tested.cases:
        (on_test,) = tested.points([(point.recipe, point.samples)], range(len(tested.cases)))
        accuracy["test"] = accuracy_of(on_test)
    return Tier(
        recipe=point.recipe,
        samples=point.samples,
        accuracy=accuracy,
        seconds=round(seconds(engine, (point.recipe, point.samples), case), 4),
        size=case.size,
        machine=f"{processor_name()}, {processor_count()} cores, {BACKEND}, onnxruntime {onnxruntime.__version__}",
    )


def seconds(engine: Engine[Any], point: SampledRecipe, case: CaseWithTruth) -> float:
    """Seconds of an image: the sum over its samples of the minimum of many runs, after a first that does not count."""
    (recipe, samples) = point
    times = []
    table = step_table(engine.spec, recipe)
    while len(times) <= RUNS or sum(times) < LONG:
        started = time.perf_counter()
        fuse_sample(engine, table, case, case.id, 0)
        times.append(time.perf_counter() - started)
    return samples * min(times[1:])


def accuracy_of(point: Point) -> Accuracy:
    """A point's means, rounded for a manifest."""
    return Accuracy(
        psnr=round(point.psnr, 4),
        ssim=round(point.ssim, 4),
        sharpness=round(point.sharpness, 4),
        cases=len(point.scores),
    )


def check_bundles(models: Sequence[str | Path], *, write: bool) -> None:
    """Refuse before the search whatever would fail later or overwrite another report."""
    bundles = [load_fusion_bundle(model) for model in models]
    names = [bundle.manifest.name for bundle in bundles]
    if twice := [name for name in names if names.count(name) > 1]:
        raise UsageError("BUNDLE...", f"{twice[0]!r} would name two models", "tune them one by one")
    for bundle in bundles if write else ():
        if not os.access(bundle.path, os.W_OK):
            remedy = "copy the bundle and tune the copy, or leave out --write"
            raise EnvironmentFault(bundle.path, "cannot be written", remedy)


def write_tiers(tuned: Tuned) -> bool:
    """Write the tiers into the bundle that was tuned; False if they stand there already, whatever they took this time.

    UsageError if the bundle was changed meanwhile.
    """
    bundle = load_bundle(tuned.bundle.path)
    if bundle.digest != tuned.bundle.digest:
        raise UsageError(bundle.path, "was changed while it was tuned", "tune it again")
    if _untimed(bundle.manifest.tiers) == _untimed(tuned.tiers):
        return False
    write_manifest(bundle.path, dataclasses.replace(bundle.manifest, tiers=tuned.tiers))
    return True


def _untimed(tiers: dict[str, Tier]) -> dict[str, Tier]:
    return {name: dataclasses.replace(tier, seconds=0.0) for name, tier in tiers.items()}
