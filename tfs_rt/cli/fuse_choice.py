"""From the options of `tfs-rt fuse` to the chosen method and the settings of the run."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from tfs_rt.cli.options import check_scale
from tfs_rt.errors import UsageError
from tfs_rt.methods.registry import METHODS, check_options

if TYPE_CHECKING:
    from tfs_rt.batch.request import Request
    from tfs_rt.cases.load import ReadingOptions
    from tfs_rt.methods.choice import Compute, MethodChoice, Sampling


def check_choice(choice: MethodChoice) -> None:
    """UsageError for options that do not go together."""
    check_scale(choice.scale, METHODS[choice.method].scales)
    sampling = given_options(choice.sampling)
    if choice.quality and sampling and "--quality" in METHODS[choice.method].options:
        option = next(iter(sampling))
        raise UsageError(option, f"--quality {choice.quality} decides it", "leave one of the two options out")

    # A method without noise also makes one sample.
    if choice.sampling.samples == 1:
        del sampling["--samples"]
    given = {**given_options(choice), **given_options(choice.compute), **sampling}
    depends_on_method = {option for method in METHODS.values() for option in method.options}
    check_options(choice.method, {option: value for option, value in given.items() if option in depends_on_method})


def given_options(group: MethodChoice | Sampling | Compute) -> dict[str, object]:
    """The options of a group that were given, by their names on the command line."""
    given: dict[str, object] = {}
    for item in dataclasses.fields(group):
        value = getattr(group, item.name)
        if value is not None and not dataclasses.is_dataclass(value):
            given[f"--{item.name}"] = value
    return given


def with_tier(choice: MethodChoice) -> MethodChoice:
    """The choice, with the tier that the model's bundle has for the chosen quality, if one was chosen."""
    if choice.quality is None:
        return choice
    from tfs_rt.models.bundle import load_bundle

    return dataclasses.replace(choice, tier=load_bundle(choice.model_name).tier(choice.quality))


def make_request(
    choice: MethodChoice, size: tuple[int, int] | None, reading: ReadingOptions, *, multi_frame: bool
) -> Request:
    """The settings of the run that can change results. A method that draws no noise takes no seed."""
    from tfs_rt.batch.request import Request

    seed = (choice.seed or 0) if "--seed" in METHODS[choice.method].options else None
    return Request(seed=seed, samples=choice.samples, target_size=size, reading=reading, multi_frame=multi_frame)
