"""A network as a program: operations with their fields, over buffers that are decided before anything runs."""

from __future__ import annotations

import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from math import prod
from queue import SimpleQueue
from threading import Thread
from typing import Any
from weakref import finalize

import numpy as np
from numpy.typing import NDArray

from tfs_rt.images import Array
from tfs_rt.winograd.machine import LINE, Machine
from tfs_rt.winograd.operations import field_names

ALIGNMENT = 64  # bytes: a cache line
Value = Array | int | None


class Buffers:
    """Arrays that take turns: what was given back is taken again, so that memory is that of what is needed at once."""

    def __init__(self) -> None:
        self.free: dict[int, list[Array]] = {}
        self.all: list[Array] = []

    def take(self, *shape: int) -> Array:
        """An array, of any content."""
        free = self.free.get(prod(shape))
        return free.pop().reshape(shape) if free else self.own(*shape)

    def own(self, *shape: int) -> Array:
        """Zeros that nobody else has while the program runs: what is written before it, and its scratch."""
        size, spare = prod(shape), ALIGNMENT // 4
        self.all.append(np.zeros(size + spare, dtype=np.float32))
        start = -self.all[-1].ctypes.data % ALIGNMENT // 4
        return self.all[-1][start : start + size].reshape(shape)

    def give(self, *arrays: Array) -> None:
        """Whoever takes arrays of these sizes later may have these."""
        for array in arrays:
            self.free.setdefault(array.size, []).append(array)


@dataclass(frozen=True, slots=True)
class Job:
    """A table (n, 2) of addresses of code and of fields, what holds its memory, and where its end is told."""

    table: NDArray[np.int64]
    memory: object
    ended: SimpleQueue[BaseException | None]


class Crew:
    """The threads that run programs, led by one of them.

    The caller's is none of them: what a signal raises there would leave the others at their barrier for ever. And it
    asks by queues that are C throughout, for an exception inside Python's own locks leaves those locked.
    """

    def __init__(self, machine: Machine, threads: int) -> None:
        self.machine, self.threads = machine, threads
        self._start()

    def _start(self) -> None:
        self.process, self.jobs = os.getpid(), SimpleQueue[Job | None]()
        Thread(target=_lead, args=(self.machine, self.threads, self.jobs), daemon=True).start()
        finalize(self, self.jobs.put, None)

    def run(self, table: NDArray[np.int64], memory: object) -> None:
        """Run a table's operations, whose fields and arrays `memory` holds.

        If a signal raises something meanwhile, the program goes on to its end, and the next one waits for it.
        """
        if self.process != os.getpid():  # after a fork there is all but the threads
            self._start()
        job = Job(table, memory, SimpleQueue())
        self.jobs.put(job)
        if error := job.ended.get():
            raise error


def _lead(machine: Machine, threads: int, jobs: SimpleQueue[Job | None]) -> None:
    """The first thread's life: run a job with the others, say so, and wait for the next."""
    barrier = np.zeros(2 * LINE, dtype=np.int64)
    with ThreadPoolExecutor(max(threads - 1, 1)) as others:
        while job := jobs.get():
            arguments = (job.table.ctypes.data, len(job.table), barrier.ctypes.data)
            try:
                waiting = [others.submit(machine.run, *arguments, i, threads) for i in range(1, threads)]
                machine.run(*arguments, 0, threads)
                for other in waiting:
                    other.result()
            except RuntimeError as error:  # no thread can be started
                job.ended.put(error)
            else:
                job.ended.put(None)
            del job  # its memory may be much


class Program:
    """Operations in their order, with their fields."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.names: list[str] = []
        self.fields: list[NDArray[np.int64]] = []
        self.kept: list[Any] = []  # the arrays that fields point to

    def add(self, operation: str, tasks: int, values: Mapping[str, Value]) -> None:
        """Append an operation: numbers as they are, arrays by their address; what it does not name is none."""
        names, given = field_names(operation), {"tasks": tasks, **values}
        assert set(given) <= set(names), f"{operation} has no {sorted(set(given) - set(names))}"
        self.fields.append(np.array([_word(given.get(name)) for name in names], dtype=np.int64))
        self.kept += [value for value in values.values() if isinstance(value, np.ndarray)]
        self.names.append(operation)

    def give_scratch(self, buffers: Buffers, threads: int, floats: int) -> None:
        """Memory of its own for every thread, for the operations that need some."""
        scratch = buffers.own(threads, -(-floats // LINE) * LINE + LINE)
        self.kept += [scratch, buffers]
        for name, fields in zip(self.names, self.fields, strict=True):
            if "scratch" in field_names(name):
                fields[field_names(name).index("scratch")] = scratch.ctypes.data
                fields[field_names(name).index("stride")] = scratch.shape[1]

    @property
    def table(self) -> NDArray[np.int64]:
        """(n, 2): the addresses of each operation's code and fields."""
        rows = zip(self.names, self.fields, strict=True)
        return np.array([(self.machine.addresses[name], fields.ctypes.data) for name, fields in rows], dtype=np.int64)


def _word(value: Value) -> int:
    if isinstance(value, np.ndarray):
        assert value.flags.c_contiguous
        assert value.dtype == np.float32
        return value.ctypes.data
    return value or 0
