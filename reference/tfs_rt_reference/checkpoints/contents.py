"""Contents of a checkpoint file, checked against each other.

No code from a file is run: `.pth` goes through PyTorch's restricted unpickler, and safetensors holds data only. Both
are parsed in a sandboxed child process, which returns plain arrays. These are checked again here, which takes as long
as a second read of the file; this process never sees an untrusted pickle.

A file is a tree of names. Prefixes of programs and wrappers (`module.`, `denoise_fn.`, `state_dict`, `netG`) are
stripped. If the file has averaged weights (EMA), those are taken.
"""

from __future__ import annotations

import atexit
import dataclasses
import json
import os
import pickle
import pickletools
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from torch import Tensor

from tfs_rt.errors import ModelError, first_line
from tfs_rt.facts import from_dict
from tfs_rt.sandbox.parent import Sandbox
from tfs_rt.spec import Architecture, ModelSpec
from tfs_rt.system.files import file_sha256
from tfs_rt_reference.architecture import Tensors, compare_tensors, infer_architecture
from tfs_rt_reference.checkpoints.archive import check_archive, check_header
from tfs_rt_reference.checkpoints.file_kind import check_kind

METADATA_KEY = "tfs_rt"
ENDINGS = (".pth", ".pt", ".ckpt", ".bin", ".safetensors")
ROOTS = (
    "noise_level_mlp",
    "downs",
    "mid",
    "ups",
    "final_conv",
    "SE_block",
    "condition_skip",
)
EMA = re.compile(r"(^|[._])(ema|shadow)([._]|$)")
LIMITS = {"seconds": 120, "cpu_seconds": 10, "memory": 2**32}  # the published weights take 1 s, 2 GiB with Adam's
STORED = ("float64", "float32", "float16", "bfloat16")  # types of schedule buffers
GLOBAL = re.compile(r"GLOBAL (\S+) was not an allowed global")  # words of PyTorch's unpickler
OPERAND = re.compile(r"Unsupported operand (\d{1,3})\b")
ONLY_TENSORS = "where you trust its source, load it with PyTorch and save its state_dict() alone"
OPTIMIZER = "holds an optimizer's state, not a network"
SCHEDULE_BUFFERS = frozenset(
    (
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
    )
)


@dataclass(frozen=True, slots=True)
class Contents:
    """Contents of a checkpoint file."""

    path: Path
    sha256: str
    tensors: Tensors  # the U-Net's, float32, prefixes stripped
    buffers: Tensors  # the noise schedule's, widened to float32
    stored: dict[str, str]  # stored type of each buffer, by its name
    ema: bool  # the tensors are the averaged ones
    declared: ModelSpec | None  # the file's own metadata (safetensors written by this project)
    # Read from the tensors. Anything that they do not tell is as declared, or norm_groups 1.
    architecture: Architecture

    @property
    def parameters(self) -> int:
        """Number of weights."""
        return sum(tensor.numel() for tensor in self.tensors.values())


class Parsed(NamedTuple):
    """The child process's answer about a file."""

    tensors: Tensors
    buffers: Tensors
    stored: dict[str, str]
    ema: bool
    metadata: str  # the spec in the file's own metadata, as JSON, or nothing


def read_contents(path: Path) -> Contents:
    """Read a checkpoint file.

    ModelError if it is not a checkpoint, would have to run code, or fits none of the family's U-Nets.
    """
    if path.suffix.lower() not in ENDINGS:
        raise ModelError(path, "does not end like a checkpoint", f"give a file that ends in {', '.join(ENDINGS)}")
    if path.stem.endswith("_opt"):
        raise ModelError(path, OPTIMIZER, "give the file that ends in _gen.pth beside it")
    try:
        # This also fetches the file from a slow disk before the child's time limit starts.
        sha256 = file_sha256(path)
        tensors, buffers, *rest = _child()(path, os.path.abspath(path))  # noqa: PTH100 - links keep their names
        return _check_contents(path, sha256, Parsed(_as_tensors(tensors), _as_tensors(buffers), *rest))
    except ModelError as error:  # the child's path is absolute
        raise ModelError(path, error.reason, error.remedy) from error
    except OSError as error:
        raise ModelError(path, f"cannot be read ({error.strerror or error})", "check the path") from error


@cache
def _child() -> Sandbox:
    remedy = "give a TFS-Diff or SR3 checkpoint, from where you trust it"
    child = Sandbox(parse, **LIMITS, error=ModelError, remedy=remedy)
    atexit.register(child.close)
    return child


def parse(file: str) -> tuple[Any, ...]:
    """Parse a file in the child process: the fields of `Parsed`, with arrays in place of tensors."""
    path = Path(file)
    check_kind(path)
    raw, metadata = _read_safetensors(path) if path.suffix.lower() == ".safetensors" else (_read_pth(path), {})
    tensors, own, ema = _choose(path, dict(_walk_tensors(raw, seen=set())))
    if not tensors and "optimizer" in raw:
        raise ModelError(path, OPTIMIZER, "give the file that ends in _gen.pth beside it")
    buffers = {name: buffer.float() for name, buffer in own.items()}
    stored = {name: str(buffer.dtype).removeprefix("torch.") for name, buffer in own.items()}
    parsed = Parsed(tensors, buffers, stored, ema, metadata.get(METADATA_KEY, ""))
    _check_contents(path, "", parsed)
    return _as_arrays(tensors), _as_arrays(buffers), *parsed[2:]


def _as_arrays(tensors: Tensors) -> dict[str, NDArray[np.float32]]:
    return {name: tensor.contiguous().numpy() for name, tensor in tensors.items()}


def _as_tensors(arrays: dict[str, NDArray[np.float32]]) -> Tensors:
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


def _check_contents(path: Path, sha256: str, parsed: Parsed) -> Contents:
    tensors, buffers, stored, ema, metadata = parsed
    # Check the schedule's buffers.
    if odd := [f"{name} in {kind}" for name, kind in stored.items() if kind not in STORED or name not in buffers]:
        raise ModelError(path, f"its schedule buffer {odd[0]} cannot be read", "save the checkpoint anew, in float32")
    if bad := [name for name, buffer in buffers.items() if buffer.ndim != 1 or not buffer.numel()]:
        raise ModelError(path, f"its schedule buffer {bad[0]} is not a list of numbers", "save the checkpoint anew")
    # Read the architecture from the tensors, and compare them with it.
    declared = from_dict(ModelSpec, json.loads(metadata)) if metadata else None
    architecture = infer_architecture(path, tensors, declared.architecture.norm_groups if declared else 1)
    if declared:
        architecture = dataclasses.replace(architecture, sigma_data=declared.architecture.sigma_data)
    compare_tensors(path, tensors, architecture)
    # Compare with the metadata, and refuse weights that are not finite.
    if declared and declared.architecture != architecture:
        raise ModelError(path, "its metadata describes another architecture", "save the checkpoint anew")
    if bad := [name for name, tensor in tensors.items() if not bool(tensor.isfinite().all())]:
        remedy = "use a checkpoint from before the training diverged"
        raise ModelError(path, f"NaN or infinite weights in {bad[0]}", remedy)
    return Contents(path, sha256, tensors, buffers, stored, ema, declared, architecture)


def _read_safetensors(path: Path) -> tuple[dict[str, Any], dict[str, str]]:
    try:
        check_header(path)
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError, RecursionError) as error:
        reason = f"cannot be read as safetensors ({first_line(error)})"
        raise ModelError(path, reason, "check the path, or fetch the file again") from error


def _read_pth(path: Path) -> dict[str, Any]:
    try:
        check_archive(path)
        with warnings.catch_warnings():
            # Pickle protocols that it warns of are also refused.
            warnings.simplefilter("ignore")
            raw = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise _unsafe(path, str(error)) from error
    except (MemoryError, ModelError):
        raise
    except Exception as error:  # a damaged archive surfaces as any of RuntimeError, EOFError, KeyError, ValueError ...
        if "TorchScript" in str(error):
            raise ModelError(path, "is a TorchScript archive, a program", "save the model's state_dict()") from error
        raise ModelError(path, f"is not a PyTorch checkpoint ({first_line(error)})", "fetch the file again") from error
    if not isinstance(raw, dict):
        raise ModelError(path, f"holds a {type(raw).__name__}, not a state_dict", "save the model's state_dict()")
    return raw


def _unsafe(path: Path, text: str) -> ModelError:
    """The object that PyTorch's restricted unpickler refused, read from its error message."""
    if match := GLOBAL.search(text):
        reason = f"holds {match[1]} beside its tensors; loading it could run code"
        return ModelError(path, reason, f"{ONLY_TENSORS}; numbers as int and float, settings as a dict")
    code = chr(int(match[1])) if (match := OPERAND.search(text)) else ""
    operation = next((operation for operation in pickletools.opcodes if operation.code == code), None)
    if operation and operation.proto > 3:
        reason = f"is pickled by protocol {operation.proto} or later, which is not read ({operation.name})"
        return ModelError(path, reason, "save its state_dict() with torch.save, without pickle_protocol")
    return ModelError(path, "holds more than tensors, or is damaged; loading it could run code", ONLY_TENSORS)


def _walk_tensors(raw: dict[Any, Any], prefix: str = "", *, seen: set[int]) -> Iterator[tuple[str, Tensor]]:
    """(dotted name, tensor) of a tree of dicts, each visited once, without optimizers' and schedulers' branches."""
    if id(raw) in seen:
        return
    seen.add(id(raw))
    for key, value in raw.items():
        if isinstance(value, Tensor):
            yield f"{prefix}{key}", value
        elif isinstance(value, dict) and not str(key).startswith(("optim", "scheduler", "lr_scheduler")):
            yield from _walk_tensors(value, f"{prefix}{key}.", seen=seen)


def _choose(path: Path, tree: Tensors) -> tuple[Tensors, Tensors, bool]:
    """(network in float32, schedule buffers, averaged): averaged weights are preferred, and never mixed with others."""
    groups: dict[bool, Tensors] = {False: {}, True: {}}
    buffers: dict[bool, Tensors] = {False: {}, True: {}}
    for full, tensor in tree.items():
        parts = full.split(".")
        root = next((i for i, part in enumerate(parts) if part in ROOTS), 0)
        averaged = bool(EMA.search(".".join(parts[:-1])))
        name = ".".join(parts[root:])
        if parts[-1] in SCHEDULE_BUFFERS:
            # The stored type is kept: it tells the schedule's accuracy.
            buffers[averaged][parts[-1]] = _require_plain(path, full, tensor)
        elif parts[root] in ROOTS or tensor.ndim:  # the rest are counters: n_averaged, step, decay
            if name in groups[averaged]:
                reason = f"holds two networks (two tensors {name})"
                raise ModelError(path, reason, "save only the generator's state_dict()")
            groups[averaged][name] = _require_plain(path, full, tensor).float()
    ema = any(name.split(".")[0] in ROOTS for name in groups[True])
    return groups[ema], buffers[ema] or buffers[not ema], ema


def _require_plain(path: Path, name: str, tensor: Tensor) -> Tensor:
    if tensor.layout is not torch.strided or not tensor.is_floating_point() or tensor.device.type != "cpu":
        raise ModelError(path, f"{name} is not a plain floating-point tensor", "save the weights as float32")
    if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
        raise ModelError(path, f"{name} is larger than what is stored of it", "save the weights as plain tensors")
    return tensor
