"""Checkpoints in and out: published TFS-Diff and SR3 `.pth` files, and safetensors.

The architecture is read from the tensors; what a configuration or the file's own metadata declares is compared with it.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from tfs_rt.errors import ModelError
from tfs_rt.schedule import alphas_cumprod, betas, sigma_range
from tfs_rt.spec import ModelSpec, Prediction, Schedule
from tfs_rt_reference.architecture import Tensors
from tfs_rt_reference.config import PublishedConfig
from tfs_rt_reference.contents import METADATA_KEY, Contents, read_contents
from tfs_rt_reference.network import UNet

PUBLISHED_NORM_GROUPS = 32


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A network that is ready to run, and what is known of it."""

    contents: Contents
    spec: ModelSpec
    network: UNet


def save_checkpoint(path: Path, network: UNet, spec: ModelSpec) -> None:
    """Write a network's weights, under the published names, with its spec as metadata (safetensors)."""
    tensors = {f"denoise_fn.{name}": tensor.contiguous() for name, tensor in network.state_dict().items()}
    save_file(tensors, path, metadata={METADATA_KEY: json.dumps(dataclasses.asdict(spec))})


def load_checkpoint(
    path: Path,
    *,
    config: Path | None = None,
    scale: int | None = None,
    prediction: Prediction | None = None,
) -> Checkpoint:
    """A checkpoint as a network in evaluation mode, float32; ModelError where file and declarations disagree."""
    contents = read_contents(path)
    spec = _resolve(contents, PublishedConfig.read(config) if config else None, scale, prediction)
    with torch.device("meta"):
        network = UNet(spec.architecture)
    network.load_state_dict(contents.tensors, assign=True)
    return Checkpoint(contents, spec, network.eval().requires_grad_(requires_grad=False))


def _resolve(
    contents: Contents, config: PublishedConfig | None, scale: int | None, prediction: Prediction | None
) -> ModelSpec:
    """What the file, its metadata and the configuration agree on; ModelError lists where they do not."""
    path, declared = contents.path, contents.declared
    differences: list[str] = []
    architecture = contents.architecture
    if config:
        differences += config.differences(architecture)
    groups = architecture.norm_groups or (config.norm_groups if config else PUBLISHED_NORM_GROUPS)
    if architecture.inner_channel % groups:
        reason = (
            f"{architecture.inner_channel} channels cannot be normalised in {groups} groups (the published default)"
        )
        raise ModelError(path, reason, "give --config with the option file that the model was trained with")
    architecture = dataclasses.replace(architecture, norm_groups=groups)
    schedule = _schedule(contents, config)
    if declared:
        wanted = (("architecture", architecture, declared.architecture), ("scale", scale, declared.scale))
        wanted += (("prediction", prediction, declared.prediction),)
        differences += [f"{n}: {a} asked, {b} in the file" for n, a, b in wanted if a is not None and a != b]
    scale = scale or (declared.scale if declared else None)
    if differences:
        raise ModelError(path, "; ".join(differences), "match the options and the configuration to the checkpoint")
    if scale is None:
        raise ModelError(path, "does not say its scale", "give --scale 2, 4 or 8")
    return ModelSpec(
        architecture=architecture,
        prediction=prediction or (declared.prediction if declared else "eps"),  # eps: the paper, and SR3
        schedule=schedule,
        scale=scale,
        trained_size=declared.trained_size if declared else config.image_size if config else 256,
        sigma_range=declared.sigma_range if declared else sigma_range(schedule),
    )


def _schedule(contents: Contents, config: PublishedConfig | None) -> Schedule:
    """The inference schedule, after the stored buffers were compared with every schedule that is declared."""
    path, stored = contents.path, contents.buffers.get("betas")
    declared = [contents.declared.schedule] if contents.declared else list(config.schedules) if config else []
    if stored is None:
        if not declared:
            raise ModelError(path, "says nothing of its noise schedule", "give --config with the published option file")
        return declared[0]
    values = stored.double().numpy()
    if not declared:
        declared = [
            Schedule(
                schedule="linear", n_timestep=len(values), linear_start=_round(values[0]), linear_end=_round(values[-1])
            )
        ]
    if not any(_same_schedule(contents.buffers, schedule) for schedule in declared):
        found = f"{len(values)} steps from {values[0]:.3g} to {values[-1]:.3g}"
        reason = f"stored schedule ({found}) differs from the declared {declared[0]}"
        raise ModelError(path, reason, "give --config with the option file that the model was trained with")
    return declared[0]


def _same_schedule(buffers: Tensors, schedule: Schedule) -> bool:
    computed = {"betas": betas(schedule), "alphas_cumprod": alphas_cumprod(schedule)}
    pairs = [(buffers[name].double().numpy(), values) for name, values in computed.items() if name in buffers]
    return all(a.shape == b.shape and np.allclose(a, b, rtol=1e-4, atol=0) for a, b in pairs)


def _round(beta: float) -> float:
    """A float32 buffer's value as the short decimal it was written from."""
    return float(f"{beta:.6g}")
