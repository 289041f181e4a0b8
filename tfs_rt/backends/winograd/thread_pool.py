"""The threads that run programs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from queue import SimpleQueue
from threading import Thread
from typing import TypeAlias
from weakref import finalize

import numpy as np
from numpy.typing import NDArray

from tfs_rt.backends.winograd.machine import Machine
from tfs_rt.backends.winograd.program_loop import CACHE_LINE
from tfs_rt.system.resource_limits import limit_fault

Run: TypeAlias = Callable[[int, int, int, int, int], None]  # (program, operations, barrier, thread, threads)


@dataclass(frozen=True, slots=True)
class Job:
    """A program's table, the object that holds its memory, and a queue on which its end is reported."""

    table: NDArray[np.int64]  # (n, 2): addresses of code and of fields
    memory: object
    ended: SimpleQueue[None]


@dataclass(frozen=True, slots=True)
class SharedJob:
    """A job as all threads run it, with the barrier at which they wait for each other."""

    job: Job
    barrier: NDArray[np.int64]

    def run(self, run: Run, number: int, threads: int) -> None:
        """Run it as one of the threads; returns when all have done the last operation."""
        table = self.job.table
        run(table.ctypes.data, len(table), self.barrier.ctypes.data, number, threads)


class ThreadPool:
    """A leader thread, which takes jobs, and worker threads, which it passes them on to.

    Either all threads are started or none, so that no job waits at a barrier for a thread that is missing.
    The caller's thread is not one of them: an exception raised there by a signal would leave the others at their
    barrier for ever. Queues are C throughout, for an exception inside Python's own locks leaves those locked.
    """

    def __init__(self, machine: Machine, threads: int) -> None:
        self.machine = machine
        self.threads = threads
        self.jobs: SimpleQueue[Job | None] | None = self._start()

    def run(self, table: NDArray[np.int64], memory: object) -> None:
        """Run a program, whose fields and arrays `memory` holds.

        If a signal raises an exception meanwhile, the program goes on to its end, and the next one waits for it.
        """
        if self.jobs is None:
            self.jobs = self._start()
        job = Job(table, memory, SimpleQueue())
        self.jobs.put(job)
        job.ended.get()

    def reset_after_fork(self) -> None:
        """Start new threads for the next job: a forked child has none of its parent's."""
        self.jobs = None

    def _start(self) -> SimpleQueue[Job | None]:
        """Start all threads and return the leader's queue; LimitReached if one of them cannot be started."""
        jobs = SimpleQueue[Job | None]()
        queues = [SimpleQueue[SharedJob | None]() for _ in range(1, self.threads)]
        try:
            for number, queue in enumerate(queues, start=1):
                _start_thread(_work, self.machine.run, number, self.threads, queue)
            _start_thread(_lead, self.machine.run, self.threads, jobs, queues)
        except BaseException as error:
            for queue in queues:
                queue.put(None)
            raise limit_fault(error) or error from None
        finalize(self, jobs.put, None)
        return jobs


def _start_thread(target: Callable[..., None], *arguments: object) -> None:
    Thread(target=target, args=arguments, daemon=True).start()


def _lead(
    run: Run, threads: int, jobs: SimpleQueue[Job | None], queues: Sequence[SimpleQueue[SharedJob | None]]
) -> None:
    """The leader's loop: pass a job on, run it with the workers, report its end, and wait for the next."""
    barrier = np.zeros(2 * CACHE_LINE, dtype=np.int64)
    while job := jobs.get():
        shared = SharedJob(job, barrier)
        for queue in queues:
            queue.put(shared)
        shared.run(run, 0, threads)
        job.ended.put(None)
        del job, shared  # their memory may be much
    for queue in queues:
        queue.put(None)


def _work(run: Run, number: int, threads: int, queue: SimpleQueue[SharedJob | None]) -> None:
    """A worker's loop."""
    while shared := queue.get():
        shared.run(run, number, threads)
        del shared
