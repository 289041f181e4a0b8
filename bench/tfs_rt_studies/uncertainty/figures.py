"""The samples of a model on cases whose ground truth is known: how far they lie apart, and how far from the truth."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tfs_rt.batch.samples import Moments, sample_ids
from tfs_rt.images import RGB
from tfs_rt.methods.diffusion import Pipeline, load_pipeline
from tfs_rt.sampling.registry import SAMPLERS
from tfs_rt_bench.measures.metrics import head_mask, psnr
from tfs_rt_reference.data.groups import Group
from tfs_rt_studies.uncertainty.error_prediction import (
    Bin,
    Field,
    ause,
    bins,
    edges,
    left,
    pearson,
    pixel_error,
    rms,
    spearman,
)


@dataclass(frozen=True, slots=True)
class CaseFigures:
    """One case under one recipe; pixels of the head alone, but for `spearman_whole` and PSNR."""

    spearman: float | None
    pearson: float | None
    # With the background, which is black in the result and in the truth.
    spearman_whole: float | None
    spearman_edges: float | None
    left: dict[str, list[float]]  # sparsification by "spread", "edges" and "oracle"
    ause: dict[str, float]  # by "spread", "edges" and "nothing"
    psnr_one: float  # mean over the samples
    psnr_mean: float


@dataclass(slots=True)
class Measured:
    """One recipe on one split."""

    samples: int
    cases: list[CaseFigures] = field(default_factory=list)
    spread: list[Field] = field(default_factory=list)  # of each case's pixels
    error: list[Field] = field(default_factory=list)

    @property
    def ratio(self) -> float:
        """RMS error over RMS spread, of all pixels: sqrt(1 + 1/K) were the truth one sample more."""
        return rms(np.concatenate(self.error)) / max(rms(np.concatenate(self.spread)), 1e-9)

    @property
    def bins(self) -> list[Bin]:
        """Ten bins by spread."""
        return bins(np.concatenate(self.spread), np.concatenate(self.error))

    def values(self, name: str) -> Field:
        """A figure case by case, undefined ones left out."""
        return np.array([v for case in self.cases if (v := getattr(case, name)) is not None])

    def middle(self, name: str) -> float:
        """A figure's median over the cases; 0, what a constant predicts, where it is nowhere defined."""
        return float(np.median(values)) if (values := self.values(name)).size else 0.0


Figures = dict[str, dict[str, dict[int, Measured]]]  # by recipe, split and number of samples


def name_of(pipeline: Pipeline) -> str:
    """A recipe in a few words."""
    own = pipeline.recipe
    steps = f"{own.steps} step{'s' if own.steps > 1 else ''}"
    eta = f", eta = {own.eta:g}" if SAMPLERS[own.sampler].takes_eta and own.eta else ""
    return f"{own.sampler}, {steps}{eta}" + (", spaced in t" if own.spacing == "t" else "")


def pipelines(model: str | Path, changes: Sequence[dict[str, Any]]) -> dict[str, Pipeline]:
    """The model's own recipe first, then each change of it; UsageError for one that the model cannot run."""
    found = [load_pipeline(model, recipe=lambda own, c=c: dataclasses.replace(own, **c)) for c in ({}, *changes)]
    return {name_of(pipeline): pipeline for pipeline in found}


def samples_of(pipeline: Pipeline, group: Group, count: int) -> Iterator[RGB]:
    """A case's samples, one after the other, from its degraded sources."""
    images = group.degraded(pipeline.scale)
    for sample_id in sample_ids(group.id, count):
        yield pipeline.fuse([images], [sample_id], size=group.size)[0]


def measure(pipeline: Pipeline, groups: Sequence[Group], counts: Sequence[int]) -> dict[int, Measured]:
    """The samples of all groups, measured at each number of samples."""
    found = {count: Measured(count) for count in counts}
    for group in groups:
        sums = Moments(group.size)
        squared = []
        for image in samples_of(pipeline, group, max(counts)):
            sums.add(image)
            squared.append(rms(pixel_error(image, group.truth)) ** 2)
            if sums.count in found:
                add_case(found[sums.count], sums, group.truth, squared)
    return found


def add_case(measured: Measured, sums: Moments, truth: RGB, squared: Sequence[float]) -> None:
    """Compare a case's spread with its error."""
    # Compute the case's spread, error and edges.
    mean = sums.mean()
    spread = sums.spread()
    error = pixel_error(mean, truth)
    edge = edges(mean)
    # Look only inside the head, if there is one.
    inside = head_mask(truth)
    inside = inside if inside.any() else np.ones_like(inside)
    e = error[inside]
    by = {"spread": spread[inside], "edges": edge[inside]}
    # Add the figures.
    measured.spread.append(by["spread"])
    measured.error.append(e)
    measured.cases.append(
        CaseFigures(
            spearman=spearman(by["spread"], e),
            pearson=pearson(by["spread"], e),
            spearman_whole=spearman(spread.ravel(), error.ravel()),
            spearman_edges=spearman(by["edges"], e),
            left={name: left(e, values) for name, values in {**by, "oracle": e}.items()},
            ause={name: ause(e, values) for name, values in {**by, "nothing": np.zeros_like(e)}.items()},
            psnr_one=float(np.mean([psnr(mse) for mse in squared])),
            psnr_mean=psnr(rms(error) ** 2),
        )
    )


def best_recipe(figures: Figures, samples: int) -> str:
    """The recipe whose spread orders the pixels of the validation split best."""
    return max(figures, key=lambda name: figures[name]["val"][samples].middle("spearman"))


def counts_up_to(samples: int) -> list[int]:
    """2, 4, 8 ... and `samples`."""
    return sorted({samples, *(2**k for k in range(1, 10) if 2**k < samples)})


def measure_model(found: dict[str, Pipeline], splits: dict[str, list[Group]], samples: int) -> Figures:
    """Every recipe on every split."""
    figures: Figures = {}
    for name, pipeline in found.items():
        print(f"x{pipeline.scale}: {name}", file=sys.stderr, flush=True)
        counts = counts_up_to(samples)
        figures[name] = {split: measure(pipeline, groups, counts) for split, groups in splits.items()}
    return figures
