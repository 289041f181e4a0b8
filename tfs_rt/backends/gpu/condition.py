"""The network's input on the device. Its condition is made from pixels, as `tfs_rt.images.to_condition` makes it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tfs_rt.backends.gpu.device import Array, Device
from tfs_rt.backends.gpu.resampling import rows_first, tables

LARGEST = 2**31  # elements of x, which kernels count in 32 bits


class MirroredArray:
    """An array in page-locked memory, and a buffer of its size on the device."""

    def __init__(self, device: Device, values: Array) -> None:
        self.device = device
        self.host = device.pinned(values.shape, values.dtype)
        self.host[...] = values
        self.buffer = device.empty(self.host.nbytes)

    def upload(self) -> None:
        """Enqueue the upload; the array must not change until the upload has been waited for."""
        self.device.upload(self.buffer, self.host)


@dataclass(frozen=True, slots=True)
class Shape:
    """The sizes of a batch."""

    batch: int
    slots: int
    size: tuple[int, int]  # (h, w) of the inputs
    target: tuple[int, int]  # (H, W) of the results
    padded: tuple[int, int]  # (H, W) of the network's input

    def __post_init__(self) -> None:
        if self.batch * self.channels * self.padded[0] * self.padded[1] >= LARGEST:
            raise MemoryError(f"{self.batch} images at once are more than the kernels can count")

    @property
    def channels(self) -> int:
        """Channels of the network's input: the images' and those of x_t."""
        return 3 * self.slots + 3

    @property
    def state(self) -> tuple[np.int32, ...]:
        """(B, C, H, W) as the kernels that work on the state take it."""
        return int32(self.batch, self.channels, *self.padded)


class Condition:
    """x (B, C, H, W) float32: the condition, and room for x_t in the last three channels."""

    def __init__(self, device: Device, shape: Shape) -> None:
        self.device = device
        self.shape = shape
        h, w = shape.size
        height, width = shape.target
        images = shape.batch * shape.slots

        # Two passes of resampling, each (outer, n_in, n_out, inner).
        if rows_first(shape.size, shape.target):
            self.passes = [(images, h, height, w * 3), (images * height, w, width, 3)]
        else:
            self.passes = [(images * h, w, width, 3), (images, h, height, width * 3)]
        self.tables = [
            [MirroredArray(device, table) for table in tables(n_in, n_out)] for _, n_in, n_out, _ in self.passes
        ]
        for mirror in (mirror for axis in self.tables for mirror in axis):
            mirror.upload()
        # Pixels as uploaded, resampled along one axis, and along both.
        self.pixels = [device.empty(images * h * w * 3)]
        self.pixels += [device.empty(outer * n_out * inner) for outer, _, n_out, inner in self.passes]
        self.x = device.empty(4 * shape.batch * shape.channels * shape.padded[0] * shape.padded[1])

    def enqueue(self, images: Array) -> None:
        """From (B, slots, h, w, 3) uint8 in page-locked memory: upload, resample along both axes, normalise and pad."""
        launch = self.device.launch
        shape = self.shape
        self.device.upload(self.pixels[0], images)
        passes = zip(self.passes, self.tables, self.pixels, self.pixels[1:], strict=False)
        for sizes, axis, source, target in passes:
            arguments = [source, target, *(table.buffer for table in axis)]
            launch("tfs_resample", target.nbytes, *arguments, *int32(axis[-1].host.shape[1], *sizes))
        sizes = int32(shape.batch, shape.slots, shape.channels, *shape.target, *shape.padded)
        threads = shape.batch * shape.slots * shape.padded[0] * shape.padded[1]
        launch("tfs_normalise", threads, self.pixels[-1], self.x, *sizes)


def int32(*values: int) -> tuple[np.int32, ...]:
    """Sizes as kernels take them."""
    return tuple(map(np.int32, values))
