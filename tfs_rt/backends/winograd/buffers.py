"""Memory of a program: arrays that take turns, so that it takes no more than what is needed at once."""

from __future__ import annotations

from math import prod

import numpy as np

from tfs_rt.images import Array

ALIGNMENT = 64  # bytes: a cache line
FLOATS_OF_ALIGNMENT = ALIGNMENT // 4


class BufferAllocator:
    """Arrays of float32 that begin at a cache line. An array that was freed is given out again."""

    def __init__(self) -> None:
        self.unused: dict[int, list[Array]] = {}  # by size
        self.all: list[Array] = []

    def allocate(self, *shape: int) -> Array:
        """An array of any content."""
        unused = self.unused.get(prod(shape))
        return unused.pop().reshape(shape) if unused else self.allocate_exclusive(*shape)

    def allocate_exclusive(self, *shape: int) -> Array:
        """Zeros that no other operation has: for inputs written before the program runs, and for scratch memory."""
        size = prod(shape)
        whole = np.zeros(size + FLOATS_OF_ALIGNMENT, dtype=np.float32)
        self.all.append(whole)
        start = -whole.ctypes.data % ALIGNMENT // 4
        return whole[start : start + size].reshape(shape)

    def free(self, *arrays: Array) -> None:
        """Let later operations have these arrays."""
        for array in arrays:
            self.unused.setdefault(array.size, []).append(array)
