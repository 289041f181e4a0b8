"""An operation's function: void(fields, thread). Its threads take tasks until none is left.

A task's work does not depend on who does it or when, so that a result is the same to the bit on any number of threads.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from math import nan
from typing import Any, Generic, TypeAlias

from llvmlite import ir

from tfs_rt.backends.winograd.arguments import NumberT, PointerT, Record, make_record
from tfs_rt.backends.winograd.blocks.statistics import STATISTICS
from tfs_rt.backends.winograd.emit import I64, POINTER, Function, Int, Number, Pointer
from tfs_rt.backends.winograd.kernels import KernelModule


@dataclass(frozen=True, slots=True, kw_only=True)
class Head(Generic[PointerT, NumberT]):
    """The first fields of every operation, in memory before its own."""

    counter: PointerT  # of tasks that were taken; it lies here itself
    tasks: NumberT
    scratch: PointerT  # memory of the threads' own, `scratch_pitch` floats for each
    scratch_pitch: NumberT


class Operation(Function):
    """An operation's function under construction; its fields are an array of 64-bit values."""

    def __init__(self, kernels: KernelModule, name: str) -> None:
        super().__init__(kernels.module, name, [POINTER, I64], kernels.shape.width)
        self.fields, self.thread = self.parameters
        self.fields_read = 0
        self.head: Head[Pointer, Int] = self.read(Head)

    def read(self, record: type[Record]) -> Record:
        """The next fields. The first of all is not read but addressed: it is the counter."""

        def read_field(kind: ir.Type) -> Pointer | Int:
            address = self.at(self.fields, self.fields_read, kind=I64)
            self.fields_read += 1
            return address if self.fields_read == 1 else self.builder.load(address, typ=kind)

        return make_record(record, read_field)

    def scratch(self) -> Pointer:
        """The memory of this thread's own."""
        return self.at(self.head.scratch, self.mul(self.thread, self.head.scratch_pitch))

    @contextmanager
    def each_task(self) -> Generator[Int]:
        """Loop over tasks: take one at a time until none is left."""
        builder = self.builder
        head, body, end = (builder.append_basic_block() for _ in range(3))
        builder.branch(head)
        builder.position_at_end(head)
        task = builder.atomic_rmw("add", self.head.counter, self.number(1), "monotonic")
        builder.cbranch(self.less(task, self.head.tasks), body, end)
        builder.position_at_end(body)
        yield task
        builder.branch(head)
        builder.position_at_end(end)

    @contextmanager
    def each_block(self, block: Number, pixels: Number) -> Generator[tuple[Int, Int]]:
        """Loop over tasks of `block` pixels each: the first pixel of a task, and their number."""
        with self.each_task() as task:
            start = self.mul(task, block)
            yield start, self.minimum(block, self.sub(pixels, start))

    @contextmanager
    def each_vector(self, first: Number, last: Number, channels: Number) -> Generator[tuple[Int, Int]]:
        """Loop over the vectors of pixels `first` to `last`: a vector's place, and its first channel."""
        with self.loop(first, last) as i, self.loop(0, channels, self.width) as c:
            yield self.add(self.mul(i, channels), c), c

    def reset_statistics(self, sums: Pointer, task: Number, channels: Number) -> Pointer:
        """Empty this task's statistics and return their address."""
        own = self.at(sums, self.mul(task, channels, STATISTICS))
        with self.loop(0, channels, self.width) as i:
            self.store(self.constant(nan), own, i)
        with self.loop(channels, self.mul(channels, STATISTICS), self.width) as i:
            self.store(self.constant(0), own, i)
        return own


# The function that emits an operation's code, by the type of its fields: (kernels, code, fields).
Emitters: TypeAlias = dict[type[Any], Callable[[KernelModule, Operation, Any], None]]
