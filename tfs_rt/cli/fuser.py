"""From the options of `tfs-rt fuse` to what fuses the images: a model with its recipe and backend, or a method."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from tfs_rt.cli.options import check_model_scale, check_scale
from tfs_rt.errors import UsageError
from tfs_rt.methods.registry import DEFAULT_METHOD, METHODS, check_options

if TYPE_CHECKING:
    from tfs_rt.batch.request import Request
    from tfs_rt.cases.load import Reading
    from tfs_rt.methods.diffusion import Pipeline
    from tfs_rt.methods.method import FusionMethod
    from tfs_rt.methods.two_stage import TwoStage
    from tfs_rt.spec import Recipe, Tier


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
class FuserChoice:
    """The user's choice of method, model and recipe. None means the default."""

    method: str = DEFAULT_METHOD
    scale: int | None = None
    model: str | None = None
    quality: str | None = None
    seed: int | None = None
    sampling: Sampling = field(default_factory=Sampling)
    compute: Compute = field(default_factory=Compute)

    @property
    def needs_model(self) -> bool:
        """True if the method runs a model, from a bundle."""
        return METHODS[self.method].bundle_kind is not None

    @property
    def model_name(self) -> str:
        """The model that was asked for, or the shipped one of the scale."""
        return self.model or f"tfs-rt/x{self.scale or 4}"


def check_choice(choice: FuserChoice) -> None:
    """UsageError for options that do not go together."""
    check_scale(choice.scale, METHODS[choice.method].scales)
    sampling = given_options(choice.sampling)
    if choice.quality and sampling and choice.needs_model:
        option = next(iter(sampling))
        raise UsageError(option, f"--quality {choice.quality} decides it", "leave one of the two options out")

    # A method without noise also makes one sample.
    if choice.sampling.samples == 1:
        del sampling["--samples"]
    given = {**given_options(choice), **given_options(choice.compute), **sampling}
    depends_on_method = {option for method in METHODS.values() for option in method.options}
    check_options(choice.method, {option: value for option, value in given.items() if option in depends_on_method})


def given_options(group: FuserChoice | Sampling | Compute) -> dict[str, object]:
    """The options of a group that were given, by their names on the command line."""
    given: dict[str, object] = {}
    for item in dataclasses.fields(group):
        value = getattr(group, item.name)
        if value is not None and not dataclasses.is_dataclass(value):
            given[f"--{item.name}"] = value
    return given


def load_tier(choice: FuserChoice) -> Tier | None:
    """The recipe and the samples that the model's bundle has for the chosen quality, if one was chosen."""
    if choice.quality is None:
        return None
    from tfs_rt.models.bundle import load_bundle

    return load_bundle(choice.model_name).tier(choice.quality)


def make_request(choice: FuserChoice, tier: Tier | None, size: tuple[int, int] | None, reading: Reading) -> Request:
    """The settings of the run that can change pixels. Only a model draws noise, which needs a seed."""
    from tfs_rt.batch.request import Request

    samples = tier.samples if tier else choice.sampling.samples or 1
    seed = (choice.seed or 0) if choice.needs_model else None
    return Request(seed=seed, samples=samples, target_size=size, reading=reading)


def load_fuser(choice: FuserChoice, tier: Tier | None, size: tuple[int, int] | None) -> tuple[FusionMethod, str]:
    """The fuser, and a line about it for the user. `size` is the result's (H, W), if it was given."""
    if choice.needs_model:
        pipeline = _load_pipeline(choice, tier)
        return pipeline, _describe_pipeline(choice, pipeline)

    from tfs_rt.methods.two_stage import TwoStage

    two_stage = TwoStage(choice.method, choice.scale or 4)
    return two_stage, _describe_two_stage(two_stage, size)


def _load_pipeline(choice: FuserChoice, tier: Tier | None) -> Pipeline:
    """The model on its backend; UsageError for options that do not fit the model."""
    from tfs_rt.methods.diffusion import load_pipeline

    # Load the model on its backend.
    name = choice.model_name
    recipe = partial(_change_recipe, choice.sampling, tier)
    backend = choice.compute.backend or "auto"
    pipeline = load_pipeline(name, backend=backend, recipe=recipe, threads=choice.compute.threads)
    check_model_scale(choice.scale, name, pipeline.scale)

    # Check the options that the loaded model limits.
    largest = pipeline.loop.largest_batch
    if choice.compute.batch > largest:
        reason = f"{choice.compute.batch} at once are more than its engines take ({largest})"
        remedy = f"tfs-rt build {name} --engine {pipeline.backend} --batch {choice.compute.batch}"
        raise UsageError("--batch", reason, remedy)

    sampler = pipeline.recipe.sampler
    if choice.sampling.eta is not None and sampler != "ddim":
        raise UsageError("--eta", f"{sampler} has no eta", "leave it out, or choose --sampler ddim")
    return pipeline


def _change_recipe(sampling: Sampling, tier: Tier | None, recipe: Recipe) -> Recipe:
    """The recipe of the tier, if there is one; else the model's own, with the user's changes."""
    if tier:
        return tier.recipe
    changes = dataclasses.asdict(sampling)
    del changes["samples"]
    return dataclasses.replace(recipe, **{name: value for name, value in changes.items() if value is not None})


def _describe_pipeline(choice: FuserChoice, pipeline: Pipeline) -> str:
    recipe = pipeline.recipe
    reason = f" ({pipeline.reason})" if pipeline.reason else ""
    plural = "s" if recipe.steps > 1 else ""
    sampling = f"sampler: {recipe.sampler}, {recipe.steps} step{plural}"
    return f"model: {choice.model_name}; {sampling}; backend: {pipeline.backend}{reason}"


def _describe_two_stage(two_stage: TwoStage, size: tuple[int, int] | None) -> str:
    enlargement = f" to {size[1]}x{size[0]}" if size else f" x{two_stage.scale}"
    upsampled = f", after bicubic{enlargement}" if size or two_stage.scale > 1 else ""
    notice = f"; {two_stage.notice}" if two_stage.notice else ""
    return f"method: {two_stage.method}{upsampled}{notice}"
