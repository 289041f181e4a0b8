"""Checkpoints in and out: published TFS-Diff and SR3 `.pth` files, and safetensors.

No code from a file is run: `.pth` goes through PyTorch's restricted unpickler, safetensors holds none. The architecture
is read from the tensors; what a configuration or the file's own metadata declares is compared with it, never believed.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import pickle
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from tfs_rt.errors import ModelError, first_line
from tfs_rt.schedule import alphas_cumprod, betas, sigma_range
from tfs_rt.spec import Architecture, ModelSpec, Prediction, Schedule, from_dict
from tfs_rt_reference.config import PublishedConfig
from tfs_rt_reference.network import UNet

METADATA_KEY = "tfs_rt"
EMA_KEYS = ("ema", "ema_state_dict", "ema_model", "model_ema", "params_ema", "state_dict_ema")
WEIGHT_KEYS = ("state_dict", "model_state_dict", "model", "params", "network", "netG", "generator")
PREFIXES = ("module.", "denoise_fn.", *(f"{key}." for key in EMA_KEYS))
PUBLISHED_NORM_GROUPS = 32
Tensors = dict[str, Tensor]


@dataclass(frozen=True, slots=True)
class Contents:
    """What a checkpoint file holds."""

    path: Path
    sha256: str
    tensors: Tensors  # the U-Net's, prefixes stripped
    buffers: Tensors  # the noise schedule's
    ema: bool  # the tensors are the averaged ones
    declared: ModelSpec | None  # the file's own metadata (safetensors written by this project)
    architecture: Architecture  # read from the tensors; norm_groups 0 where nothing tells it

    @property
    def parameters(self) -> int:
        """Number of weights."""
        return sum(tensor.numel() for tensor in self.tensors.values())


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


def read_contents(path: Path) -> Contents:
    """Read a checkpoint file; ModelError if it is none, or would have to run code, or fits no U-Net of the family."""
    raw, metadata = _read_safetensors(path) if path.suffix == ".safetensors" else (_read_pth(path), {})
    weights, ema = _choose(path, raw)
    buffers = {name: t for name, t in _flatten(raw).items() if name in SCHEDULE_BUFFERS}
    tensors = {name: t.float() for name, t in weights.items() if name not in SCHEDULE_BUFFERS}
    try:
        declared = from_dict(ModelSpec, json.loads(metadata[METADATA_KEY])) if METADATA_KEY in metadata else None
    except ValueError as error:
        raise ModelError(path, f"has metadata that cannot be read ({error})", "save the checkpoint anew") from error
    groups = declared.architecture.norm_groups if declared else 0
    architecture = _infer(path, tensors, groups)
    _compare_tensors(path, tensors, architecture)
    if bad := [name for name, tensor in tensors.items() if not bool(tensor.isfinite().all())]:
        raise ModelError(
            path, f"NaN or infinite weights in {bad[0]}", "use a checkpoint from before the training diverged"
        )
    return Contents(path, _sha256(path), tensors, buffers, ema, declared, architecture)


SCHEDULE_BUFFERS = frozenset(
    [
        "betas",
        "alphas_cumprod",
        "alphas_cumprod_prev",
        "sqrt_alphas_cumprod",
        "sqrt_one_minus_alphas_cumprod",
        "log_one_minus_alphas_cumprod",
        "sqrt_recip_alphas_cumprod",
        "sqrt_recipm1_alphas_cumprod",
        "posterior_variance",
        "posterior_log_variance_clipped",
        "posterior_mean_coef1",
        "posterior_mean_coef2",
    ]
)


def _read_safetensors(path: Path) -> tuple[dict[str, Any], dict[str, str]]:
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise ModelError(
            path, f"cannot be read as safetensors ({error})", "check the path, or fetch the file again"
        ) from error


def _read_pth(path: Path) -> dict[str, Any]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of pickle protocols: what it warns of, it also refuses
            raw = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        reason = "holds more than tensors, or is damaged; loading it could run code"
        raise ModelError(path, reason, "save it as a plain state_dict or as safetensors") from error
    except OSError as error:
        raise ModelError(path, f"cannot be read ({error.strerror or error})", "check the path") from error
    except Exception as error:  # a damaged archive surfaces as any of RuntimeError, EOFError, KeyError, ValueError ...
        raise ModelError(path, f"is no PyTorch checkpoint ({first_line(error)})", "fetch the file again") from error
    if not isinstance(raw, dict):
        raise ModelError(path, f"holds a {type(raw).__name__}, not a state_dict", "save the model's state_dict()")
    return raw


def _choose(path: Path, raw: dict[str, Any]) -> tuple[Tensors, bool]:
    """The network's tensors, prefixes stripped, and whether they are averaged ones: those are preferred."""
    if "optimizer" in raw or path.stem.endswith("_opt"):
        raise ModelError(
            path, "holds an optimizer's state, not a network", "give the file that ends in _gen.pth beside it"
        )
    for key in EMA_KEYS:
        inner = raw.get(key)
        flat = {name: tensor for name, tensor in raw.items() if name.startswith(f"{key}.")}
        if averaged := _flatten(inner) if isinstance(inner, dict) else _flatten(flat):
            return averaged, True
    return _flatten(raw), False


def _flatten(raw: dict[str, Any]) -> Tensors:
    """The tensors of a state_dict or of a checkpoint around one, prefixes stripped, averaged ones left out."""
    for key in WEIGHT_KEYS:
        if isinstance(raw.get(key), dict):
            raw = raw[key]
            break
    tensors = {name: value for name, value in raw.items() if isinstance(value, Tensor)}
    plain = {name: value for name, value in tensors.items() if not name.startswith(EMA_KEYS)} or tensors
    return {_strip(name): value for name, value in plain.items()}


def _strip(name: str) -> str:
    while prefix := next((p for p in PREFIXES if name.startswith(p)), None):
        name = name.removeprefix(prefix)
    return name


def _infer(path: Path, tensors: Tensors, norm_groups: int) -> Architecture:
    """Read the architecture from tensor shapes (all but the groups of the normalisation)."""
    try:
        stem, head = tensors["downs.0.weight"].shape, tensors["final_conv.block.3.weight"].shape
        out_channel = 3  # x_0 is RGB in every model of the family
        patch_size = math.isqrt(head[0] // out_channel)
        in_channel = stem[1] // patch_size**2
        levels = _levels(tensors)
        gate_width = tensors["SE_block.linear2.bias"].shape[0] if "SE_block.linear2.bias" in tensors else 0
        return Architecture(
            in_channel=in_channel,
            out_channel=out_channel,
            inner_channel=stem[0],
            norm_groups=norm_groups,
            channel_multiplier=tuple(width // stem[0] for width, _, _ in levels),
            attention_levels=tuple(i for i, (_, _, attention) in enumerate(levels) if attention),
            res_blocks=levels[0][1],
            gate="none" if not gate_width else "all" if gate_width == in_channel else "condition",
            patch_size=patch_size,
            condition_skip="condition_skip.weight" in tensors,
        )
    except (KeyError, IndexError, ZeroDivisionError) as error:
        reason = f"is no U-Net of the SR3 family ({first_line(error)} is missing)"
        raise ModelError(path, reason, "give a TFS-Diff or SR3 checkpoint (..._gen.pth)") from error


def _levels(tensors: Tensors) -> list[tuple[int, int, bool]]:
    """(width, number of blocks, attention) of each level of the contracting path."""
    levels, blocks, width, attention, index = [], 0, 0, False, 1
    while True:
        block = f"downs.{index}.res_block.block2.block.3.weight"
        if block in tensors:
            width, blocks = tensors[block].shape[0], blocks + 1
            attention = f"downs.{index}.attn.qkv.weight" in tensors
        else:
            levels.append((width, blocks, attention))
            blocks = 0
            if f"downs.{index}.conv.weight" not in tensors:
                return levels
        index += 1


def _compare_tensors(path: Path, tensors: Tensors, architecture: Architecture) -> None:
    """Every tensor of the inferred network must be there, in its shape, and nothing else."""
    with torch.device("meta"):
        # group counts change no shape; 1 divides every width
        wanted = {
            n: tuple(t.shape) for n, t in UNet(dataclasses.replace(architecture, norm_groups=1)).state_dict().items()
        }
    found = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    lines = [f"{n} is missing" for n in wanted if n not in found]
    lines += [f"{n} is not expected" for n in found if n not in wanted]
    lines += [f"{n} is {found[n]}, expected {wanted[n]}" for n in wanted if n in found and found[n] != wanted[n]]
    if lines:
        more = f" and {len(lines) - 3} more" if len(lines) > 3 else ""
        raise ModelError(path, "; ".join(lines[:3]) + more, "give a TFS-Diff or SR3 checkpoint (..._gen.pth)")


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


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
