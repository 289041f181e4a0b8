"""Emulation of an FP16 engine on a CPU: tensors are stored in half precision, products are summed in float32.

Tensor cores compute in this way. ONNX Runtime's CPU kernels compute in float32 and drop the rounding between layers, so
they cannot show its effect; PyTorch's half-precision convolutions take minutes on a CPU.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

from tfs_rt.backends.noise_biases import bias_rows
from tfs_rt.images import Array
from tfs_rt.models.onnx.weights import Weights
from tfs_rt.sampling.engine import reverse_step
from tfs_rt.sampling.tables import StepRow
from tfs_rt.spec import ModelSpec
from tfs_rt_export.half import HalfConv, HalfStep

ATEN = torch.ops.aten
# `torch.inference_mode` calls the last two in place of the first and the third.
SUMMING = {ATEN.convolution.default, ATEN.mm.default, ATEN.bmm.default, ATEN.conv2d.default, ATEN.matmul.default}


class HalfStorage(TorchDispatchMode):
    """Computes sums of products in float32 and rounds each result to half precision."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run one operation; half-precision sums of products are computed in float32."""
        if func not in SUMMING or all(isinstance(a, Tensor) and a.dtype != torch.half for a in args[:2]):
            return func(*args, **(kwargs or {}))
        args, kwargs = tree_map_only(Tensor, Tensor.float, (args, kwargs or {}))
        return func(*args, **kwargs).half()


class HalfEngine:
    """The half network behind the runtime's engine protocol; handles are tensors on the CPU."""

    def __init__(self, spec: ModelSpec, half: HalfStep, weights: Weights) -> None:
        self.spec = spec
        self.half = half
        self.weights = weights
        self.facts: dict[str, Any] = {}

    def to_device(self, array: Array, /) -> Tensor:
        """Share the array's memory."""
        return torch.from_numpy(array)

    def to_host(self, handle: Tensor, /) -> Array:
        """Share the tensor's memory."""
        return handle.numpy()

    def bias(self, noise_level: float) -> Array:
        """The half graph's second input at a noise level: (1, columns)."""
        return bias_rows(self.spec.architecture, self.weights, self.half.biases, np.array([noise_level]))

    def predict(self, condition: Tensor, x_t: Tensor, noise_level: float) -> Tensor:
        """The network alone: (B, 9, H, W), (B, 3, H, W) -> (B, 3, H, W)."""
        with torch.inference_mode(), HalfStorage():
            return self.half(torch.cat([condition, x_t], dim=1), torch.from_numpy(self.bias(noise_level)))

    def step(
        self, x_t: Tensor, x_0: Tensor | None, condition: Tensor, row: StepRow, z: Tensor | None, /
    ) -> tuple[Tensor, Tensor]:
        """One reverse step."""
        with torch.inference_mode():
            return reverse_step(self.predict(condition, x_t, row.noise_level), x_t, x_0, row, z)


@contextmanager
def activation_ranges(module: nn.Module) -> Generator[dict[str, float]]:
    """The largest absolute output of each convolution inside the context, by the layer's name."""
    ranges: dict[str, float] = {}

    def recorder(name: str) -> Any:
        def hook(layer: nn.Module, inputs: Any, output: Tensor) -> None:
            ranges[name] = max(ranges.get(name, 0.0), float(output.detach().abs().max()))

        return hook

    convolutions = [(name, layer) for name, layer in module.named_modules() if isinstance(layer, HalfConv)]
    hooks = [layer.register_forward_hook(recorder(name)) for name, layer in convolutions]
    try:
        yield ranges
    finally:
        for hook in hooks:
            hook.remove()
