"""The interface of a device, as the loop on the GPU uses it. It does not import CUDA, so that the loop does not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import DTypeLike, NDArray

Array = NDArray[Any]

OLDEST_CUDA = 13000  # that a driver may support: the version of the bindings
NEWER_DRIVER = "install NVIDIA's driver 580 or newer"


@runtime_checkable
class Buffer(Protocol):
    """Memory on the device, freed with the object."""

    @property
    def pointer(self) -> int:
        """Its address on the device."""
        ...

    @property
    def nbytes(self) -> int:
        """Its size."""
        ...


class Device(Protocol):
    """A GPU with one stream: what is enqueued runs in order, and only `synchronize` and `mark` wait for it.

    Used from the thread that made it. Buffers are made before anything is captured.
    """

    @property
    def name(self) -> str:
        """The product's name."""
        ...

    @property
    def compute_capability(self) -> str:
        """Such as "8.9"."""
        ...

    @property
    def driver(self) -> str:
        """The CUDA version that the driver supports, such as "13.0"."""
        ...

    @property
    def stream(self) -> int:
        """The stream's handle. Work that other libraries enqueue on it is captured, too."""
        ...

    def empty(self, nbytes: int) -> Buffer:
        """Uninitialised memory; MemoryError if there is not enough."""
        ...

    def pinned(self, shape: int | tuple[int, ...], dtype: DTypeLike) -> Array:
        """An uninitialised array in page-locked memory, which the device copies from and to without waiting."""
        ...

    def upload(self, target: Buffer, source: Array) -> None:
        """Enqueue a copy to the device; a pinned source must not change until the copy has been waited for."""
        ...

    def download(self, target: Array, source: Buffer) -> None:
        """Enqueue a copy from the device; a pinned target is valid once the copy has been waited for."""
        ...

    def load(self, cubin: bytes, names: Sequence[str]) -> None:
        """Make the kernels `names` of compiled code ready to launch."""
        ...

    def launch(self, name: str, threads: int, *arguments: Buffer | np.generic) -> None:
        """Enqueue a kernel on at least `threads` threads, in blocks of 256; TypeError if an argument does not fit."""
        ...

    def capture(self, body: Callable[[], object]) -> Callable[[], None]:
        """Capture the work that `body` enqueues; the function returned enqueues it at once, with the same buffers.

        `body` must have run once before. The caller keeps the buffers.
        """
        ...

    def mark(self) -> Callable[[], None]:
        """Mark the end of the work enqueued so far; the function returned waits until it has run."""
        ...

    def synchronize(self) -> None:
        """Wait until everything enqueued has run; EnvironmentFault if any of it failed, for good."""
        ...
