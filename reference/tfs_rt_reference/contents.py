"""What a checkpoint file holds, before anything that it declares is believed.

No code from a file is run: `.pth` goes through PyTorch's restricted unpickler, safetensors holds none.
"""

from __future__ import annotations

import hashlib
import json
import pickle
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from tfs_rt.errors import ModelError, first_line
from tfs_rt.spec import Architecture, ModelSpec, from_dict
from tfs_rt_reference.architecture import Tensors, compare_tensors, infer_architecture

METADATA_KEY = "tfs_rt"
EMA_KEYS = ("ema", "ema_state_dict", "ema_model", "model_ema", "params_ema", "state_dict_ema")
WEIGHT_KEYS = ("state_dict", "model_state_dict", "model", "params", "network", "netG", "generator")
OPTIMIZER = "holds an optimizer's state, not a network"
PREFIXES = ("module.", "denoise_fn.", *(f"{key}." for key in EMA_KEYS))


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


def read_contents(path: Path) -> Contents:
    """Read a checkpoint file; ModelError if it is none, or would have to run code, or fits no U-Net of the family."""
    if path.stem.endswith("_opt"):
        raise ModelError(path, OPTIMIZER, "give the file that ends in _gen.pth beside it")
    raw, metadata = _read_safetensors(path) if path.suffix == ".safetensors" else (_read_pth(path), {})
    weights, ema = _choose(path, raw)
    buffers = {name: t for name, t in _flatten(raw).items() if name in SCHEDULE_BUFFERS}
    tensors = {name: t.float() for name, t in weights.items() if name not in SCHEDULE_BUFFERS}
    try:
        declared = from_dict(ModelSpec, json.loads(metadata[METADATA_KEY])) if METADATA_KEY in metadata else None
    except ValueError as error:
        raise ModelError(path, f"has metadata that cannot be read ({error})", "save the checkpoint anew") from error
    groups = declared.architecture.norm_groups if declared else 0
    architecture = infer_architecture(path, tensors, groups)
    compare_tensors(path, tensors, architecture)
    if bad := [name for name, tensor in tensors.items() if not bool(tensor.isfinite().all())]:
        raise ModelError(
            path, f"NaN or infinite weights in {bad[0]}", "use a checkpoint from before the training diverged"
        )
    return Contents(path, _sha256(path), tensors, buffers, ema, declared, architecture)


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
    if "optimizer" in raw and not any(isinstance(raw.get(key), dict) for key in (*EMA_KEYS, *WEIGHT_KEYS)):
        raise ModelError(path, OPTIMIZER, "give the file that ends in _gen.pth beside it")
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


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
