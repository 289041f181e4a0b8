"""`ort-cpu`: ONNX Runtime on the CPU, float32; the default and the exact tier.

Images of a batch are run one by one: some of ONNX Runtime's kernels choose their blocking by the batch, and then the
same case would give other last bits in other company. On a CPU a batch gains no speed.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any, TypeVar, cast

import numpy as np
import onnxruntime as ort

from tfs_rt.bundle import Bundle
from tfs_rt.engine import reverse_step
from tfs_rt.errors import EnvironmentFault, ModelError, first_line
from tfs_rt.images import Array
from tfs_rt.spec import ModelSpec
from tfs_rt.table import StepRow

OrtEngine = TypeVar("OrtEngine", bound="OrtCpuEngine")


class OrtCpuEngine:
    """A session on the CPU; handles are NumPy arrays."""

    def __init__(self, spec: ModelSpec, session: ort.InferenceSession) -> None:
        self.spec = spec
        self.session = session

    def to_device(self, array: Array, /) -> Array:
        """Nothing to do: the device is the host."""
        return array

    def to_host(self, handle: Array, /) -> Array:
        """Nothing to do: the device is the host."""
        return handle

    def predict(self, condition: Array, x_t: Array, noise_level: Array) -> Array:
        """The network alone: (B, 9, H, W), (B, 3, H, W), (B, 1) -> (B, 3, H, W)."""
        inputs = (condition, x_t, noise_level)
        return np.concatenate([self.run(*(value[i : i + 1] for value in inputs)) for i in range(len(x_t))])

    def run(self, condition: Array, x_t: Array, noise_level: Array) -> Array:
        """One call of the session."""
        inputs = {"condition": condition, "x_t": x_t, "noise_level": noise_level}
        return cast(Array, self.session.run(["prediction"], inputs)[0])

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


def load(bundle: Bundle) -> OrtCpuEngine:
    """The bundle's float32 network in a session; ModelError if it is not a graph that stands alone."""
    return started(bundle, OrtCpuEngine, ["CPUExecutionProvider"])


def threads() -> int:
    """As many as the processors that this process is bound to, which ONNX Runtime does not ask; 0: as it likes."""
    bound = len(os.sched_getaffinity(0)) if sys.platform == "linux" else 0
    return bound if bound < (os.cpu_count() or 1) else 0


def started(bundle: Bundle, engine: type[OrtEngine], providers: Sequence[Any]) -> OrtEngine:
    """An engine of a kind for the bundle's float32 network, tried out; ModelError if it cannot be run."""
    data = bundle.read("fp32")
    file, spec = bundle.path / bundle.manifest.files["fp32"].path, bundle.manifest.model
    options = ort.SessionOptions()
    options.log_severity_level = 4  # errors reach us as exceptions; the rest is for developers
    options.intra_op_num_threads = threads()
    try:
        session = ort.InferenceSession(data, options, providers=providers)
        session.disable_fallback()  # which would go on elsewhere after a failure, and say so on stdout
        ready = engine(spec, session)
        ready.try_out()
    except EnvironmentFault:
        raise
    except Exception as error:  # ONNX Runtime raises a class of its own for each of a dozen faults
        reason = f"cannot be run ({first_line(error)})"
        raise ModelError(file, reason, "update onnxruntime, or export the bundle anew") from error
    return ready
