"""A stand-in for `tensorrt` and `tensorrt_rtx` on the fake GPU, as far as `tfs_rt.backends.trt.network` calls them.

Its engine is the kernel `test_network`. It insists on the order that the real ones need, and answers False as they do.
tests/backends/trt/test_network.py holds its signatures against the real package's, so that it cannot drift.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np

PLAN = b"an engine for the stand-in"
CHANNELS, COLUMNS = 12, 3
told: list[str] = []  # what was called, in order


class Pointer:
    """A buffer of the loop, known by its address alone."""

    def __init__(self, pointer: int) -> None:
        self.pointer, self.nbytes = pointer, 0


class ILogger:
    ERROR = 1

    def log(self, severity: int, msg: str) -> None:
        raise NotImplementedError


class IExecutionContext:
    def __init__(self, device: Any, faults: set[str]) -> None:
        self.device, self.faults = device, faults
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.addresses: dict[str, int] = {}
        self.memory: tuple[int, int] | None = None
        self.enqueued = 0

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        told.append(f"shape {name}")
        self.shapes[name], self.memory = shape, None
        return "shape" not in self.faults

    def set_tensor_address(self, name: str, memory: int) -> bool:
        told.append(f"address {name}")
        self.addresses[name] = memory
        return "address" not in self.faults

    def update_device_memory_size_for_shapes(self) -> int:
        assert set(self.shapes) == {"x", "bias"}, "shapes come first"
        told.append("memory size")
        return 1 << 16

    def set_device_memory(self, memory: int, size: int) -> None:
        assert size >= 1 << 16
        told.append("memory")
        self.memory = (memory, size)

    def execute_async_v3(self, stream_handle: int) -> bool:
        assert stream_handle == self.device.stream
        assert self.memory is not None, "memory comes before the first call"
        self.enqueued += 1
        told.append("enqueue")
        if "enqueue" in self.faults:
            return False
        batch, channels, height, width = self.shapes["x"]
        assert (channels, self.shapes["bias"]) == (CHANNELS, (1, COLUMNS))
        buffers = [Pointer(self.addresses[name]) for name in ("x", "bias", "prediction")]
        sizes = map(np.int32, (batch, channels, height, width))
        self.device.launch("test_network", 3 * batch * height * width, *buffers, *sizes)
        return True

    def is_stream_capturable(self, stream: int) -> bool:
        assert self.enqueued, "warm up before capturing"
        told.append("capturable?")
        return "capture" not in self.faults


class IRuntimeCache:
    def __init__(self) -> None:
        self.blob = b""

    def serialize(self) -> bytes:
        told.append("keep jit")
        return b"compiled for this GPU"

    def deserialize(self, blob: bytes) -> bool:
        told.append("jit again")
        self.blob = blob
        return True


class IRuntimeConfig:
    dynamic_shapes_kernel_specialization_strategy = None

    def create_runtime_cache(self) -> IRuntimeCache:
        return IRuntimeCache()

    def set_runtime_cache(self, cache: IRuntimeCache) -> bool:
        told.append("jit cache")
        return True

    def set_execution_context_allocation_strategy(self, strategy: str) -> None:
        assert strategy == "user managed"
        assert self.dynamic_shapes_kernel_specialization_strategy == "eager", "lazy kernels freeze in a graph"
        told.append("user managed")


class ICudaEngine:
    def __init__(self, device: Any, faults: set[str], *, rtx: bool) -> None:
        self.device, self.faults, self.rtx = device, faults, rtx

    def create_runtime_config(self) -> IRuntimeConfig:
        assert self.rtx
        return IRuntimeConfig()

    def create_execution_context(self, strategy: Any) -> IExecutionContext | None:
        assert isinstance(strategy, IRuntimeConfig) if self.rtx else strategy == "user managed"
        told.append("context")
        return None if "context" in self.faults else IExecutionContext(self.device, self.faults)

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return {"x": (-1, CHANNELS, -1, -1), "bias": (1, COLUMNS)}[name]


def module(device: Any, *, rtx: bool, faults: tuple[str, ...] = (), version: str = "1.0") -> Any:
    """The package; `device()` gives the device that is in use."""

    class Runtime:
        def __init__(self, logger: ILogger) -> None:
            self.logger = logger

        def deserialize_cuda_engine(self, serialized_engine: bytes) -> ICudaEngine | None:
            told.append("deserialize")
            if serialized_engine != PLAN or "plan" in faults:
                self.logger.log(ILogger.ERROR, "Serialization assertion failed")
                return None
            return ICudaEngine(device(), set(faults), rtx=rtx)

    package = SimpleNamespace(
        __version__=version,
        ILogger=ILogger,
        Runtime=Runtime,
        ExecutionContextAllocationStrategy=SimpleNamespace(USER_MANAGED="user managed"),
    )
    if rtx:
        package.CudaGraphStrategy = SimpleNamespace(DISABLED=0)
        package.DynamicShapesKernelSpecializationStrategy = SimpleNamespace(EAGER="eager")
    return package
