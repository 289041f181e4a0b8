"""The options that decide how images are fused (method, model, recipe, backend), and the method that they load."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tfs_rt.errors import UsageError
from tfs_rt.methods.registry import DEFAULT_METHOD, METHODS, load_module
from tfs_rt.spec import Recipe, Tier

if TYPE_CHECKING:
    from tfs_rt.methods.method import FusionMethod


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """Sampling options. None leaves a value to the model's recipe; a quality excludes them all."""

    steps: int | None = None
    sampler: str | None = None
    eta: float | None = None
    spacing: str | None = None
    samples: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Compute:
    """The backend, its batch size and its threads."""

    backend: str | None = None
    batch: int = 1
    threads: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MethodChoice:
    """The user's choice of method, model and recipe. None means the default."""

    method: str = DEFAULT_METHOD
    scale: int | None = None
    model: str | None = None
    quality: str | None = None
    seed: int | None = None
    sampling: Sampling = field(default_factory=Sampling)
    compute: Compute = field(default_factory=Compute)
    # The recipe and the samples that the model's bundle has for the quality.
    tier: Tier | None = None

    @property
    def model_name(self) -> str:
        """The model that was asked for, or the shipped one of the scale."""
        return self.model or f"tfs-rt/x{self.scale or 4}"

    @property
    def samples(self) -> int:
        """Samples of each case."""
        return self.tier.samples if self.tier else self.sampling.samples or 1

    def change_recipe(self, recipe: Recipe) -> Recipe:
        """The recipe of the tier, if there is one; else the model's own, with the user's changes."""
        if self.tier:
            return self.tier.recipe
        changes: dict[str, Any] = dataclasses.asdict(self.sampling)
        del changes["samples"]
        return dataclasses.replace(recipe, **{name: value for name, value in changes.items() if value is not None})


def load_method(choice: MethodChoice) -> FusionMethod:
    """The chosen method, ready to fuse; UsageError for options that do not fit the model."""
    entry = METHODS[choice.method]
    if entry.loader:
        return getattr(load_module(choice.method), entry.loader)(choice)
    from tfs_rt.methods.two_stage import TwoStage

    return TwoStage(choice.method, choice.scale or 4)


def check_model_scale(scale: int | None, model: str, model_scale: int) -> None:
    """UsageError for a scale that is not the model's."""
    if scale is not None and scale != model_scale:
        reason = f"{scale} asked, but {model} is a model for x{model_scale}"
        raise UsageError("--scale", reason, "leave one of the two options out")
