"""A network as a program: operations with their fields, over buffers that are decided before anything runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from queue import SimpleQueue
from threading import Thread
from typing import Any
from weakref import finalize

import numpy as np
from numpy.typing import NDArray

from tfs_rt.backends.winograd.machine import LINE, Machine
from tfs_rt.backends.winograd.operations import field_names
from tfs_rt.images import Array
from tfs_rt.system.resource_limits import limit_fault

ALIGNMENT = 64  # bytes: a cache line
Value = Array | int | None
Run = Callable[[int, int, int, int, int], None]  # (program, number of operations, barrier, thread, threads)


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
    """A table (n, 2) of addresses of code and of fields, what holds its memory, and where its end is reported."""

    table: NDArray[np.int64]
    memory: object
    ended: SimpleQueue[None]


class Crew:
    """The threads that run programs: a leader, which takes jobs, and members, which it passes them on to.

    All of them are started together or none is, so that no job waits at a barrier for a thread that is missing.
    The caller's thread is none of them: what a signal raises there would leave the others at their barrier for ever.
    Queues are C throughout, for an exception inside Python's own locks leaves those locked.
    """

    def __init__(self, machine: Machine, threads: int) -> None:
        self.machine = machine
        self.threads = threads
        self.jobs: SimpleQueue[Job | None] | None = self._start()

    def _start(self) -> SimpleQueue[Job | None]:
        """Start all threads and return the leader's queue; LimitReached if one of them cannot be started."""
        jobs = SimpleQueue[Job | None]()
        members = [SimpleQueue[Part | None]() for _ in range(1, self.threads)]
        try:
            for number, parts in enumerate(members, start=1):
                _start_thread(_follow, self.machine.run, number, self.threads, parts)
            _start_thread(_lead, self.machine.run, self.threads, jobs, members)
        except BaseException as error:
            for parts in members:
                parts.put(None)
            raise limit_fault(error) or error from None
        finalize(self, jobs.put, None)
        return jobs

    def renew(self) -> None:
        """Start new threads for the next job: after a fork, the child has none of them."""
        self.jobs = None

    def run(self, table: NDArray[np.int64], memory: object) -> None:
        """Run a table's operations, whose fields and arrays `memory` holds.

        If a signal raises something meanwhile, the program goes on to its end, and the next one waits for it.
        """
        if self.jobs is None:
            self.jobs = self._start()
        job = Job(table, memory, SimpleQueue())
        self.jobs.put(job)
        job.ended.get()


@dataclass(frozen=True, slots=True)
class Part:
    """A job as all threads run it, with the barrier at which they wait for each other."""

    job: Job
    barrier: NDArray[np.int64]

    def run(self, run: Run, number: int, threads: int) -> None:
        """Run it as one of the threads; returns when all have done the last operation."""
        table = self.job.table
        run(table.ctypes.data, len(table), self.barrier.ctypes.data, number, threads)


def _start_thread(target: Callable[..., None], *arguments: object) -> None:
    Thread(target=target, args=arguments, daemon=True).start()


def _lead(run: Run, threads: int, jobs: SimpleQueue[Job | None], members: Sequence[SimpleQueue[Part | None]]) -> None:
    """The leader's life: pass a job on, run it with the members, report its end, and wait for the next."""
    barrier = np.zeros(2 * LINE, dtype=np.int64)
    while job := jobs.get():
        part = Part(job, barrier)
        for parts in members:
            parts.put(part)
        part.run(run, 0, threads)
        job.ended.put(None)
        del job, part  # their memory may be much
    for parts in members:
        parts.put(None)


def _follow(run: Run, number: int, threads: int, parts: SimpleQueue[Part | None]) -> None:
    """A member's life."""
    while part := parts.get():
        part.run(run, number, threads)
        del part


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
