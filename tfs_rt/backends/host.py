"""What the backends on the CPU share: an engine around a function of one image, whose handles are NumPy arrays.

Images of a batch are run one by one: some libraries choose their kernels' blocking by the batch, and then the same
case would give other last bits in other company. On a CPU a batch gains no speed.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from tfs_rt.engine import reverse_step
from tfs_rt.images import Array
from tfs_rt.spec import ModelSpec
from tfs_rt.table import StepRow

Network = Callable[[Array, Array, Array], Array]  # condition (1, 9, H, W), x_t (1, 3, H, W), noise_level (1, 1)


class HostEngine:
    """A network on the host, an image at a time; `facts` beside the backend's name and versions may decide a pixel."""

    def __init__(self, spec: ModelSpec, network: Network, facts: dict[str, Any] | None = None) -> None:
        self.spec = spec
        self.network = network
        self.facts = facts or {}

    def to_device(self, array: Array, /) -> Array:
        """Nothing to do: the device is the host."""
        return array

    def to_host(self, handle: Array, /) -> Array:
        """Nothing to do: the device is the host."""
        return handle

    def predict(self, condition: Array, x_t: Array, noise_level: Array) -> Array:
        """The network alone: (B, 9, H, W), (B, 3, H, W), (B, 1) -> (B, 3, H, W)."""
        inputs = (condition, x_t, noise_level)
        return np.concatenate([self.network(*(value[i : i + 1] for value in inputs)) for i in range(len(x_t))])

    def try_out(self) -> None:
        """Run once on a small image, so that a network that does not fit its manifest is found out at once."""
        arch, size = self.spec.architecture, (2 * self.spec.architecture.stride, 3 * self.spec.architecture.stride)
        condition, x_t = (
            np.zeros((1, channels, *size), dtype=np.float32) for channels in (arch.condition_channels, arch.out_channel)
        )
        answer = self.predict(condition, x_t, np.ones((1, 1), dtype=np.float32))
        if answer.shape != x_t.shape or answer.dtype != x_t.dtype:
            raise ValueError(f"it answers {x_t.shape} {x_t.dtype} with {answer.shape} {answer.dtype}")

    def step(
        self, x_t: Array, x_0: Array | None, condition: Array, row: StepRow, z: Array | None, /
    ) -> tuple[Array, Array]:
        """One reverse step."""
        noise_level = np.full((len(x_t), 1), row.noise_level, dtype=np.float32)
        return reverse_step(self.predict(condition, x_t, noise_level), x_t, x_0, row, z)


def threads() -> int:
    """As many as the processors that this process is bound to, which not every library asks; 0: as it likes."""
    bound = len(os.sched_getaffinity(0)) if sys.platform == "linux" else 0
    return bound if bound < (os.cpu_count() or 1) else 0


def processors() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
