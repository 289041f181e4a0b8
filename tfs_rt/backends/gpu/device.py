"""What the loop on the GPU asks of a device. Nothing of CUDA here, so the loop depends on no package of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import DTypeLike, NDArray

Array = NDArray[Any]

OLDEST_CUDA = 13000  # that a driver may speak: the bindings' own
NEWER_DRIVER = "install NVIDIA's driver 580 or newer"


@runtime_checkable
class Buffer(Protocol):
    """Memory on the device, given back with the object."""

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
        """What the maker calls it."""
        ...

    @property
    def compute_capability(self) -> str:
        """Such as "8.9"."""
        ...

    @property
    def driver(self) -> str:
        """The CUDA version that the driver speaks, such as "13.0"."""
        ...

    @property
    def stream(self) -> int:
        """The stream's handle, for what others enqueue; they are captured like `launch`."""
        ...

    def empty(self, nbytes: int) -> Buffer:
        """Uninitialised memory; MemoryError if there is not enough."""
        ...

    def pinned(self, shape: int | tuple[int, ...], dtype: DTypeLike) -> Array:
        """An uninitialised array in page-locked memory, which the device copies from and to without waiting."""
        ...

    def upload(self, target: Buffer, source: Array) -> None:
        """Enqueue a copy to the device; a pinned source must stay as it is until that is waited for."""
        ...

    def download(self, target: Array, source: Buffer) -> None:
        """Enqueue a copy from the device; a pinned target is valid when that was waited for."""
        ...

    def load(self, cubin: bytes, names: Sequence[str]) -> None:
        """Make the kernels `names` of compiled code ready to launch."""
        ...

    def launch(self, name: str, threads: int, *arguments: Buffer | np.generic) -> None:
        """Enqueue a kernel on at least `threads` threads, in blocks of 256; TypeError if an argument does not fit."""
        ...

    def capture(self, body: Callable[[], object]) -> Callable[[], None]:
        """What `body` enqueues, as a function that enqueues it all at once, with the same buffers.

        `body` must have run once before. The caller keeps the buffers.
        """
        ...

    def mark(self) -> Callable[[], None]:
        """Note where the stream is; the function waits until all that was enqueued before has run."""
        ...

    def synchronize(self) -> None:
        """Wait until everything enqueued has run; EnvironmentFault if any of it failed, for good."""
        ...
