"""A built engine as the loop's `Network`: fixed buffers, one stream, and no allocation in a call.

TensorRT returns False or None where it fails, and does not raise. TensorRT-RTX compiles for the GPU when a context is
made, and its compiled code can be kept in the cache.
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
REMEDY = "remove it (tfs-rt cache rm) and build it again (tfs-rt build); tfs-rt doctor shows which backends run here"


class EngineNetwork:
    """An engine from the cache on a device: one context, for one session at a time."""

    def __init__(self, trt: Any, entry: Entry, device: Device, cache: Cache) -> None:
        """Raises EnvironmentFault if the engine is damaged or TensorRT does not take it."""
        self.trt = trt
        self.entry = entry
        self.device = device
        self.cache = cache
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
        context = self.context
        batch, height, width = shape
        channels = self.engine.get_tensor_shape("x")[1]
        columns = self.engine.get_tensor_shape("bias")[1]
        self._check(context.set_input_shape("x", (batch, channels, height, width)), f"does not take {shape}")
        self._check(context.set_input_shape("bias", (1, columns)), "does not take the noise biases")
        for name, buffer in (("x", x), ("bias", bias), ("prediction", prediction)):
            self._check(context.set_tensor_address(name, buffer.pointer), f"does not take the buffer of {name}")
        self.memory = None  # frees the memory for the last shape before the next is allocated
        size = max(int(context.update_device_memory_size_for_shapes()), 1)
        self.memory = self.device.empty(size)
        context.set_device_memory(self.memory.pointer, size)

    def enqueue(self) -> None:
        """Enqueue one call; EnvironmentFault if TensorRT refuses."""
        self._check(self.context.execute_async_v3(self.device.stream), "could not be run")

    def after_warm_up(self) -> None:
        """Keep the code compiled for this GPU, and check that calls can be captured."""
        if self.jit:
            self.jit.keep()
        if hasattr(self.context, "is_stream_capturable"):
            self._check(self.context.is_stream_capturable(self.device.stream), "cannot be captured in a CUDA graph")

    def _context(self) -> Any:
        user_managed = self.trt.ExecutionContextAllocationStrategy.USER_MANAGED
        if self.jit is None:
            return self.engine.create_execution_context(user_managed)
        self.jit.config.set_execution_context_allocation_strategy(user_managed)
        return self.engine.create_execution_context(self.jit.config)

    def _jit_facts(self) -> Facts:
        device = self.device
        gpu = {"name": device.name, "capability": device.compute_capability, "driver": device.driver}
        return {"engine": self.entry.key, "version": self.entry.facts["version"], "gpu": gpu}

    def _check(self, done: bool, fault: str) -> None:
        if not done:
            raise self._fault(fault)

    def _fault(self, fault: str) -> EnvironmentFault:
        message = f" ({self.log.last})" if self.log.last else ""
        return EnvironmentFault(self.entry.path, f"{fault}{message}", REMEDY)


class _JitCache:
    """The code that TensorRT-RTX compiled for this GPU, kept from one run to the next."""

    def __init__(self, trt: Any, engine: Any, facts: Facts, cache: Cache) -> None:
        self.facts = facts
        self.cache = cache
        self.config = engine.create_runtime_config()
        # Compile at once: a captured graph would go on with the first kernel if a better one replaced it later.
        self.config.dynamic_shapes_kernel_specialization_strategy = trt.DynamicShapesKernelSpecializationStrategy.EAGER
        self.compiled = self.config.create_runtime_cache()
        self.kept = _ignore_faults(self._read)
        if self.kept:
            self.compiled.deserialize(self.kept)  # False if it is not compatible; then it is compiled again
        self.config.set_runtime_cache(self.compiled)

    def keep(self) -> None:
        """Write it to the cache, if there is anything new."""
        data = bytes(self.compiled.serialize())
        if data and data != self.kept:
            _ignore_faults(lambda: self.cache.put("jit", self.facts, data, {}))
            self.kept = data

    def _read(self) -> bytes | None:
        entry = self.cache.get("jit", self.facts)
        return entry.read() if entry else None


def _ignore_faults(use: Callable[[], T]) -> T | None:
    """Use the cache, and ignore its faults: code that is not kept is compiled again."""
    with suppress(EnvironmentFault):
        return use()
    return None
