"""A network as a program: operations with their fields, over buffers that are allocated before anything runs."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tfs_rt.backends.winograd.arguments import values
from tfs_rt.backends.winograd.buffers import BufferAllocator
from tfs_rt.backends.winograd.machine import Machine
from tfs_rt.backends.winograd.operations.operation import Head
from tfs_rt.backends.winograd.program_loop import CACHE_LINE
from tfs_rt.images import Array


class Program:
    """Operations in their order, and the memory that they need."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.buffers = BufferAllocator()
        self.operations: list[Any] = []  # their fields, which are of a type of `operations.catalogue`
        self.tasks: list[int] = []
        self.scratch = 0  # floats that a thread needs for itself
        self.fields: list[NDArray[np.int64]] = []  # of each operation, as machine code reads them

    @property
    def names(self) -> list[str]:
        """The operations' names."""
        return [type(operation).__name__ for operation in self.operations]

    def add(self, operation: Any, tasks: int, *, scratch: int = 0) -> None:
        """Append an operation of so many tasks, each of which needs `scratch` floats."""
        self.operations.append(operation)
        self.tasks.append(tasks)
        self.scratch = max(self.scratch, scratch)

    def build(self, threads: int) -> NDArray[np.int64]:
        """Allocate the threads' scratch memory; the table (n, 2) of addresses of each operation's code and fields."""
        pitch = -(-self.scratch // CACHE_LINE) * CACHE_LINE + CACHE_LINE
        scratch = self.buffers.allocate_exclusive(threads, pitch)
        table = []
        for name, tasks, operation in zip(self.names, self.tasks, self.operations, strict=True):
            head = Head(counter=None, tasks=tasks, scratch=scratch, scratch_pitch=pitch)
            fields = np.array([_word(value) for value in (*values(head), *values(operation))], dtype=np.int64)
            self.fields.append(fields)
            table.append((self.machine.addresses[name], fields.ctypes.data))
        return np.array(table, dtype=np.int64)


def _word(value: Array | int | None) -> int:
    """A field as 64 bits: a number as it is, an array by its address, None as 0."""
    if isinstance(value, np.ndarray):
        assert value.flags.c_contiguous
        assert value.dtype == np.float32
        return value.ctypes.data
    return value or 0
