"""An NVIDIA GPU as a device of the loop, by cuda-core.

Memory comes from cuMemAlloc, not from the stream-ordered pools: inside a capture those make their allocations and
frees part of the graph (CUDA Driver API, cuMemFreeAsync), and ours outlive every graph.
"""

from __future__ import annotations

import gc
import math
import weakref
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, suppress

import numpy as np
from cuda import core, pathfinder
from cuda.bindings import driver
from cuda.core._utils.cuda_utils import CUDAError, handle_return  # cuda-core 1.x raises it and does not export it
from numpy.typing import DTypeLike

from tfs_rt.backends.gpu.device import NEWER_DRIVER, OLDEST_CUDA, Array, Buffer
from tfs_rt.errors import EnvironmentFault, first_line

DRIVER_REMEDY = f"{NEWER_DRIVER}, or choose another backend"
BLOCK = 256  # threads


class CudaDevice:
    """The GPU `ordinal`, its primary context and a stream of our own; see `tfs_rt.backends.gpu.device.Device`."""

    def __init__(self, ordinal: int = 0) -> None:
        self.driver = _driver()
        self._device = _open(ordinal)
        self._stream = self._device.create_stream()
        self._kernels: dict[str, tuple[core.Kernel, list[int]]] = {}  # with the sizes of their parameters
        self.name = self._device.name
        self.compute_capability = "{}.{}".format(*self._device.compute_capability)
        self.stream = int(self._stream.handle)

    def empty(self, nbytes: int) -> DeviceMemory:
        """Plain device memory; MemoryError if there is not enough."""
        with self._translate_errors():
            return DeviceMemory(nbytes, self._device, self._stream)

    def pinned(self, shape: int | tuple[int, ...], dtype: DTypeLike) -> Array:
        """An array in page-locked memory; MemoryError if there is not enough."""
        dimensions = (shape,) if isinstance(shape, int) else shape
        with self._translate_errors():
            return np.asarray(PinnedMemory(dimensions, np.dtype(dtype), self._device, self._stream))

    def upload(self, target: Buffer, source: Array) -> None:
        """Enqueue a copy of a contiguous array into a buffer of its size."""
        host = _as_cuda_buffer(source, target)
        with self._translate_errors():
            _memory(target).copy_from(host, stream=self._stream)

    def download(self, target: Array, source: Buffer) -> None:
        """Enqueue a copy of a buffer into a contiguous array of its size."""
        if not target.flags.writeable:
            raise ValueError("the array to download into is read-only")
        host = _as_cuda_buffer(target, source)
        with self._translate_errors():
            _memory(source).copy_to(host, stream=self._stream)

    def load(self, cubin: bytes, names: Sequence[str]) -> None:
        """Load a cubin's kernels; EnvironmentFault if it is not for this GPU."""
        try:
            code = core.ObjectCode.from_cubin(cubin)
            kernels = {name: code.get_kernel(name) for name in names}
            self._kernels |= {name: (k, [info.size for info in k.arguments_info]) for name, k in kernels.items()}
        except CUDAError as error:
            remedy = f"compile the kernels for compute capability {self.compute_capability}"
            raise EnvironmentFault(self.name, f"cannot load the kernels ({first_line(error)})", remedy) from error

    def launch(self, name: str, threads: int, *arguments: Buffer | np.generic) -> None:
        """Enqueue a kernel, whose arguments are checked against the compiled parameters' sizes: CUDA does not check."""
        kernel, sizes = self._kernels[name]
        values = [_kernel_argument(argument) for argument in arguments]
        if [value.nbytes for value in values] != sizes:
            given = [type(argument).__name__ for argument in arguments]
            raise TypeError(f"{name} takes parameters of {sizes} bytes, not {given}")
        config = core.LaunchConfig(grid=-(-threads // BLOCK), block=BLOCK)
        with self._translate_errors():
            core.launch(self._stream, config, kernel, *values)

    def capture(self, body: Callable[[], object]) -> Callable[[], None]:
        """`body` as a graph; its exception ends the capture and leaves the device as it was."""
        with self._translate_errors():
            graph = self._capture_graph(body)

        def replay() -> None:  # keeps a reference to the graph
            with self._translate_errors():
                graph.launch(self._stream)

        return replay

    def _capture_graph(self, body: Callable[[], object]) -> core.graph.Graph:
        builder = self._stream.create_graph_builder()
        with _garbage_collector_paused():
            builder.begin_building("thread_local")
            try:
                body()
                graph = builder.end_building().complete()
            finally:
                with suppress(CUDAError):
                    # Ending a broken capture is an error too, but not the one to report.
                    builder.close()
        graph.upload(self._stream)
        return graph

    def mark(self) -> Callable[[], None]:
        """An event on the stream, as the function that waits for it."""
        with self._translate_errors():
            event = self._stream.record()

        def wait() -> None:
            with self._translate_errors():
                event.sync()

        return wait

    def synchronize(self) -> None:
        """Wait until everything enqueued has run; EnvironmentFault if any of it failed."""
        with self._translate_errors():
            self._stream.sync()

    @contextmanager
    def _translate_errors(self) -> Generator[None]:
        """Turn CUDA's errors into ours. An error of earlier work is raised by the next call, and ends all work."""
        try:
            yield
        except CUDAError as error:
            if "OUT_OF_MEMORY" in str(error):
                raise MemoryError(f"{self.name} has no room for it") from error
            remedy = "run the same command again; if it fails again, see the driver's log (dmesg)"
            raise EnvironmentFault(self.name, f"failed ({first_line(error)})", remedy) from error


class DeviceMemory:
    """A `Buffer` from cuMemAlloc, freed with the object once the stream is idle."""

    def __init__(self, nbytes: int, device: core.Device, stream: core.Stream) -> None:
        self.nbytes = nbytes
        self.pointer = int(handle_return(driver.cuMemAlloc(nbytes)))
        weakref.finalize(self, _free, driver.cuMemFree, self.pointer, device, stream)


class PinnedMemory:
    """Page-locked memory as a NumPy array's, freed with the last array on it."""

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype, device: core.Device, stream: core.Stream) -> None:
        pointer = int(handle_return(driver.cuMemAllocHost(math.prod(shape) * dtype.itemsize)))
        self.__array_interface__ = {"version": 3, "data": (pointer, False), "shape": shape, "typestr": dtype.str}
        weakref.finalize(self, _free, driver.cuMemFreeHost, pointer, device, stream)


def _free(free: Callable[[int], tuple], pointer: int, device: core.Device, stream: core.Stream) -> None:
    with suppress(CUDAError):  # a context that failed has no memory to free
        device.set_current()  # the collector runs on any thread
        stream.sync()
        handle_return(free(pointer))


def _driver() -> str:
    try:
        version = handle_return(driver.cuDriverGetVersion())
    except pathfinder.DynamicLibNotFoundError as error:
        raise EnvironmentFault("CUDA", "there is no NVIDIA driver here", DRIVER_REMEDY) from error
    spoken = f"{version // 1000}.{version % 1000 // 10}"
    if version < OLDEST_CUDA:
        raise EnvironmentFault("CUDA", f"the driver speaks CUDA {spoken}, 13.0 is needed", DRIVER_REMEDY)
    return spoken


def _open(ordinal: int) -> core.Device:
    try:
        devices = core.Device.get_all_devices()
        if not 0 <= ordinal < len(devices):
            reason = f"there is no such GPU, only {len(devices)}"
            raise EnvironmentFault(f"GPU {ordinal}", reason, "count from 0, and look at CUDA_VISIBLE_DEVICES")
        devices[ordinal].set_current()
    except CUDAError as error:
        remedy = "see whether nvidia-smi lists it, and look at CUDA_VISIBLE_DEVICES"
        raise EnvironmentFault(f"GPU {ordinal}", first_line(error), remedy) from error
    return devices[ordinal]


def _memory(buffer: Buffer) -> core.Buffer:
    return core.Buffer.from_handle(buffer.pointer, buffer.nbytes, owner=buffer)


def _as_cuda_buffer(array: Array, buffer: Buffer) -> core.Buffer:
    if not array.flags.c_contiguous:
        raise ValueError("the array to copy is not contiguous")
    if array.nbytes != buffer.nbytes:
        raise ValueError(f"an array of {array.nbytes} bytes does not fit a buffer of {buffer.nbytes}")
    return core.Buffer.from_handle(array.ctypes.data, array.nbytes, owner=array)


def _kernel_argument(argument: Buffer | np.generic) -> np.generic:
    """A pointer or a scalar as many bytes wide as its dtype; Python's numbers have no width, and are refused."""
    if isinstance(argument, np.generic):
        return argument
    if isinstance(argument, Buffer):
        return np.uint64(argument.pointer)
    raise TypeError(f"a kernel takes buffers and NumPy scalars, not {type(argument).__name__}")


@contextmanager
def _garbage_collector_paused() -> Generator[None]:
    """Pause the garbage collector: inside a capture nothing may be freed."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
