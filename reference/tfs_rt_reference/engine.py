"""Backend `torch`: the reference network behind the runtime's engine protocol.

It takes its weights from the bundle's ONNX initializers, which keep the tensors' names, and its graph from
`tfs_rt_reference.network`: the same bundle runs through two independent graphs.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor

from tfs_rt.errors import ModelError, first_line
from tfs_rt.images import Array
from tfs_rt.models.bundle import Bundle
from tfs_rt.sampling.engine import reverse_step
from tfs_rt.sampling.tables import StepRow
from tfs_rt.spec import ModelSpec
from tfs_rt.system.threads import thread_count
from tfs_rt_reference.network import UNet


class TorchEngine:
    """A network in PyTorch, float32, where its weights are; handles are tensors there."""

    def __init__(self, spec: ModelSpec, network: UNet) -> None:
        self.spec = spec
        self.network = network
        self.device = next(network.parameters()).device
        self.facts: dict[str, Any] = {}

    def to_device(self, array: Array, /) -> Tensor:
        """A tensor; on a CPU it shares the array's memory."""
        return torch.from_numpy(array).to(self.device)

    def to_host(self, handle: Tensor, /) -> Array:
        """An array; on a CPU it shares the tensor's memory."""
        return handle.cpu().numpy()

    def predict(self, condition: Array, x_t: Array, noise_level: Array) -> Array:
        """The network alone: (B, 9, H, W), (B, 3, H, W), (B, 1) -> (B, 3, H, W)."""
        with torch.inference_mode():
            return self.to_host(self.network(*map(self.to_device, (condition, x_t, noise_level))))

    def step(
        self, x_t: Tensor, x_0: Tensor | None, condition: Tensor, row: StepRow, z: Tensor | None, /
    ) -> tuple[Tensor, Tensor]:
        """One reverse step."""
        with torch.inference_mode():
            noise_level = torch.full((x_t.shape[0], 1), row.noise_level, device=self.device)
            return reverse_step(self.network(condition, x_t, noise_level), x_t, x_0, row, z)


def load(bundle: Bundle, threads: int | None = None) -> TorchEngine:
    """The bundle's network, rebuilt from its manifest and its ONNX initializers.

    PyTorch has one thread count for the process: it becomes `threads`, by default at most the usable processors.
    """
    # Set the threads, and read the network.
    torch.set_num_threads(threads or min(torch.get_num_threads(), thread_count()))
    spec = bundle.manifest.model
    data = bundle.read("fp32")
    file = bundle.path / bundle.manifest.files["fp32"].path
    # Build the network without weights, and fill it with the stored ones.
    try:
        with torch.device("meta"):
            network = UNet(spec.architecture)
        stored = {tensor.name: tensor for tensor in onnx.load_from_string(data).graph.initializer}
        weights = {
            name: torch.from_numpy(numpy_helper.to_array(stored[name]).astype(np.float32))
            for name in network.state_dict()
        }
        network.load_state_dict(weights, assign=True)
    except MemoryError:
        raise
    except Exception as error:
        # Protobuf, a dict or PyTorch raised this: the file does not match the manifest.
        reason = f"is not the network that model.json describes ({first_line(error)})"
        raise ModelError(file, reason, "export the bundle anew") from error
    return TorchEngine(spec, network.eval().requires_grad_(requires_grad=False))


def _use_one_thread() -> None:
    """For a forked child: PyTorch would wait forever for threads that only the parent has."""
    torch.set_num_threads(1)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_use_one_thread)
