"""A built engine on a device, behind the loop's `Network`: fixed buffers, one stream, nothing allocated in a call.

TensorRT says False or None where it fails, and does not raise. What the two packages differ in is told by features:
TensorRT-RTX compiles for the GPU when a context is made, and lets that be kept.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

from tfs_rt.backends.cache import Cache, Entry
from tfs_rt.backends.gpu.device import Buffer, Device
from tfs_rt.backends.trt.build import logger
from tfs_rt.errors import EnvironmentFault
from tfs_rt.facts import Facts

T = TypeVar("T")
REMEDY = "remove it (tfs-rt cache rm) and build it again (tfs-rt build); tfs-rt doctor tells what runs here"


class PlanNetwork:
    """An engine of the cache on a device; one context, for one session at a time."""

    def __init__(self, trt: Any, entry: Entry, device: Device, cache: Cache) -> None:
        """Raises EnvironmentFault if the engine is damaged or TensorRT does not take it."""
        self.trt, self.entry, self.device, self.cache = trt, entry, device, cache
        self.log = logger(trt)
        self.runtime = trt.Runtime(self.log)
        self.engine = self.runtime.deserialize_cuda_engine(entry.read())
        if self.engine is None:
            raise self._fault("cannot be loaded")
        self.jit = _JitCache(trt, self.engine, self._jit_facts(), cache) if hasattr(trt, "CudaGraphStrategy") else None
        self.context = self._context()
        if self.context is None:
            raise self._fault("has no room to run")
        self.memory: Buffer | None = None

    def bind(self, x: Buffer, bias: Buffer, prediction: Buffer, shape: tuple[int, int, int]) -> None:
        """Take the buffers for x (B, C, H, W), bias (1, n) and prediction, with shape = (B, H, W)."""
        context, (batch, height, width) = self.context, shape
        channels, columns = self.engine.get_tensor_shape("x")[1], self.engine.get_tensor_shape("bias")[1]
        self._must(context.set_input_shape("x", (batch, channels, height, width)), f"does not take {shape}")
        self._must(context.set_input_shape("bias", (1, columns)), "does not take the noise biases")
        for name, buffer in (("x", x), ("bias", bias), ("prediction", prediction)):
            self._must(context.set_tensor_address(name, buffer.pointer), f"does not take the buffer of {name}")
        self.memory = None  # the one before, first
        size = max(int(context.update_device_memory_size_for_shapes()), 1)
        self.memory = self.device.empty(size)
        context.set_device_memory(self.memory.pointer, size)

    def enqueue(self) -> None:
        """Enqueue one call; EnvironmentFault if TensorRT refuses."""
        self._must(self.context.execute_async_v3(self.device.stream), "could not be run")

    def warmed_up(self) -> None:
        """Keep what was compiled for this GPU, and see that a capture will do."""
        if self.jit:
            self.jit.keep()
        if hasattr(self.context, "is_stream_capturable"):
            self._must(self.context.is_stream_capturable(self.device.stream), "cannot be captured in a CUDA graph")

    def _context(self) -> Any:
        user_managed = self.trt.ExecutionContextAllocationStrategy.USER_MANAGED
        if self.jit is None:
            return self.engine.create_execution_context(user_managed)
        self.jit.config.set_execution_context_allocation_strategy(user_managed)
        return self.engine.create_execution_context(self.jit.config)

    def _jit_facts(self) -> Facts:
        device, facts = self.device, self.entry.facts
        gpu = {"name": device.name, "capability": device.compute_capability, "driver": device.driver}
        return {"engine": self.entry.key, "version": facts["version"], "gpu": gpu}

    def _must(self, done: bool, fault: str) -> None:
        if not done:
            raise self._fault(fault)

    def _fault(self, fault: str) -> EnvironmentFault:
        said = f" ({self.log.last})" if self.log.last else ""
        return EnvironmentFault(self.entry.path, f"{fault}{said}", REMEDY)


class _JitCache:
    """What TensorRT-RTX compiled for this GPU, from one run to the next."""

    def __init__(self, trt: Any, engine: Any, facts: Facts, cache: Cache) -> None:
        self.facts, self.cache = facts, cache
        self.config = engine.create_runtime_config()
        # a kernel that is swapped later would not be swapped in a graph that has it
        self.config.dynamic_shapes_kernel_specialization_strategy = trt.DynamicShapesKernelSpecializationStrategy.EAGER
        self.compiled = self.config.create_runtime_cache()
        self.kept = _quietly(self._read)
        if self.kept:
            self.compiled.deserialize(self.kept)  # False if it does not fit, and then it is compiled anew
        self.config.set_runtime_cache(self.compiled)

    def keep(self) -> None:
        """Write it to the cache, if there is anything new."""
        data = bytes(self.compiled.serialize())
        if data and data != self.kept:
            _quietly(lambda: self.cache.put("jit", self.facts, data, {}))
            self.kept = data

    def _read(self) -> bytes | None:
        entry = self.cache.get("jit", self.facts)
        return entry.read() if entry else None


def _quietly(use: Callable[[], T]) -> T | None:
    """What is not kept is compiled again: no run ends for it, nor for another process that was faster."""
    with suppress(EnvironmentFault):
        return use()
    return None
