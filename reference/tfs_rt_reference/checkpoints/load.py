"""Checkpoints in and out: published TFS-Diff and SR3 `.pth` files, and safetensors.

The architecture is read from the tensors; what a configuration or the file's own metadata declares is compared with it.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save

from tfs_rt.errors import ModelError, first_line
from tfs_rt.sampling.schedule import Float64, alphas_cumprod, betas, sigma_range
from tfs_rt.spec import ModelSpec, Prediction, Schedule
from tfs_rt.system.files import write_file
from tfs_rt_reference.checkpoints.contents import METADATA_KEY, Contents, read_contents
from tfs_rt_reference.checkpoints.option_file import PUBLISHED_NORM_GROUPS, PublishedConfig
from tfs_rt_reference.network import UNet

EXACT = ("float64", "float32")  # types in which a stored schedule tells its ends


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A network that is ready to run, and what is known of it."""

    contents: Contents
    spec: ModelSpec
    network: UNet


def save_checkpoint(path: Path, network: UNet, spec: ModelSpec) -> None:
    """Write a network's weights, under the published names, with its spec as metadata (safetensors)."""
    tensors = {f"denoise_fn.{name}": tensor.cpu().contiguous() for name, tensor in network.state_dict().items()}
    write_file(path, save(tensors, metadata={METADATA_KEY: json.dumps(dataclasses.asdict(spec))}))


def load_checkpoint(
    path: Path,
    *,
    config: Path | None = None,
    norm_groups: int | None = None,
    scale: int | None = None,
    prediction: Prediction | None = None,
) -> Checkpoint:
    """A checkpoint as a network in evaluation mode, float32; ModelError where file and declarations disagree."""
    contents = read_contents(path)
    published = PublishedConfig.read(config) if config else None
    asked = {"norm_groups": norm_groups, "scale": scale, "prediction": prediction}
    remedy = "match the options and the configuration to the checkpoint"
    if differences := _differences(contents, published, asked):
        raise ModelError(path, "; ".join(differences), remedy)
    try:
        spec = contents.declared or _spec_of(contents, published, asked)
    except ValueError as error:
        raise ModelError(path, first_line(error), remedy) from error
    with torch.device("meta"):
        network = UNet(spec.architecture)
    network.load_state_dict(contents.tensors, assign=True)
    return Checkpoint(contents, spec, network.eval().requires_grad_(requires_grad=False))


def _differences(contents: Contents, config: PublishedConfig | None, asked: dict[str, Any]) -> list[str]:
    """One line for each contradiction between file, configuration and options."""
    # Compare the configuration with the tensors and the options.
    lines = config.differences(contents.architecture) if config else []
    if config and config.norm_groups and asked["norm_groups"] not in (None, config.norm_groups):
        lines.append(f"norm_groups: {asked['norm_groups']} asked, {config.norm_groups} in the configuration")
    if not contents.declared:
        return lines
    # Compare the checkpoint's declaration with the options.
    own = contents.declared
    declared = {"norm_groups": own.architecture.norm_groups, "scale": own.scale, "prediction": own.prediction}
    for key, value in declared.items():
        if asked[key] not in (None, value):
            lines.append(f"{key}: {asked[key]} asked, {value} in the file")
    # Compare it with the configuration.
    if config and config.norm_groups not in (None, own.architecture.norm_groups):
        lines.append(
            f"norm_groups: {declared['norm_groups']} in the checkpoint, {config.norm_groups} in the configuration"
        )
    if config and own.schedule not in config.schedules:
        lines.append(f"schedule: {own.schedule} in the checkpoint, {config.schedules[0]} in the configuration")
    return lines


def _spec_of(contents: Contents, config: PublishedConfig | None, asked: dict[str, Any]) -> ModelSpec:
    """The spec of a file without metadata, from its tensors, its configuration and the options."""
    groups: int | None = asked["norm_groups"]
    if config and not groups:
        groups = config.norm_groups or PUBLISHED_NORM_GROUPS
    if not groups:
        reason = "its tensors do not tell the groups of its normalisation (published: 32, or 16 in some SR3 models)"
        raise ModelError(contents.path, reason, "give --config with its option file, or --norm-groups")
    if asked["scale"] is None:
        raise ModelError(contents.path, "does not state its scale", "give --scale 2, 4 or 8")
    sampling, training = schedules(contents, config)
    return ModelSpec(
        architecture=dataclasses.replace(contents.architecture, norm_groups=groups),
        prediction=asked["prediction"] or "eps",  # eps: the paper, and SR3
        schedule=sampling,
        scale=asked["scale"],
        trained_size=config.image_size if config else 256,
        sigma_range=sigma_range(training),
    )


def schedules(contents: Contents, config: PublishedConfig | None) -> tuple[Schedule, Schedule]:
    """(schedule of sampling, schedule of training): the declared ones, checked against the stored buffers."""
    # Find the declared schedules: in the configuration, or from the stored betas.
    stored = {name: contents.buffers[name] for name in ("betas", "alphas_cumprod") if name in contents.buffers}
    if config:
        declared = list(config.schedules)
    elif "betas" in stored:
        if contents.stored["betas"] not in EXACT:
            reason = f"keeps its noise schedule in {contents.stored['betas']}, too coarse to tell the schedule's ends"
            raise ModelError(contents.path, reason, "give --config with the published option file")
        declared = [_linear_schedule(stored["betas"].double().numpy())]
    else:
        reason = "does not state its noise schedule"
        raise ModelError(contents.path, reason, "give --config with the published option file")
    # Keep those that match the stored buffers.
    matching = [schedule for schedule in declared if _same_schedule(contents, schedule)]
    if not matching:
        found = ", ".join(f"{name} {tuple(t.shape)} in {contents.stored[name]}" for name, t in stored.items())
        reason = f"its stored schedule ({found}) differs from the declared {declared[0]}"
        raise ModelError(contents.path, reason, "give --config with the option file that it was trained with")
    return declared[0], matching[-1]


def _linear_schedule(beta: Float64) -> Schedule:
    """The linear schedule with these ends, rounded to the short decimals that a float32 was written from."""
    start, end = (float(f"{value:.6g}") for value in (beta[0], beta[-1]))
    return Schedule(schedule="linear", n_timestep=beta.size, linear_start=start, linear_end=end)


def _same_schedule(contents: Contents, schedule: Schedule) -> bool:
    computed = {"betas": betas(schedule), "alphas_cumprod": alphas_cumprod(schedule)}
    for name in computed.keys() & contents.buffers.keys():
        found = contents.buffers[name].double().numpy()
        wanted = computed[name]
        if found.shape != wanted.shape or not _is_rounded(found, wanted, contents.stored[name]):
            return False
    return True


def _is_rounded(found: Float64, wanted: Float64, stored: str) -> bool:
    """True if numbers equal others to within one rounding of a type; near 0 a type has few numbers."""
    if stored in EXACT:
        return np.allclose(found, wanted, rtol=1e-4, atol=0)
    limits = torch.finfo(getattr(torch, stored))
    return np.allclose(found, wanted, rtol=limits.eps, atol=limits.smallest_normal * limits.eps)
