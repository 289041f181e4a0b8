"""A row of the bench in a process of its own: `python -m tfs_rt_bench.latency.worker`, spoken to through its pipes.

Messages are those of `tfs_rt.sandbox.messages`: lists of a word and its arguments in, ["done", result] or
["error", ...] out.
Only what the row's backend needs is imported, so that its cold start and its memory are its own.
"""

from __future__ import annotations

import dataclasses
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from tfs_rt.backends.registry import BACKENDS
from tfs_rt.errors import TfsRtError, first_line
from tfs_rt.facts import from_dict
from tfs_rt.images import RGB
from tfs_rt.methods.diffusion import Pipeline, load_loop, load_pipeline
from tfs_rt.models.bundle import load_bundle
from tfs_rt.sampling.schedule import sigma_range
from tfs_rt.sampling.stepwise import Stepwise
from tfs_rt.sampling.tables import StepTable, step_table
from tfs_rt.sandbox.messages import pack, receive, send
from tfs_rt.spec import Recipe
from tfs_rt_bench.latency.peers import PeerEngine, load_peer

# Calls of the network in one measurement on a GPU, which are enqueued and waited for together.
ALONE = 40

# In seconds.
SPIN = 0.05
PAUSE = 0.01
SETTLED_WITHIN = 1.0
LIBRARIES = ("numpy", "PIL", *sorted({backend.package for backend in BACKENDS.values()}))


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """The engine and the loop of a worker."""

    model: str
    backend: str  # of the runtime, or a peer's name
    peer: bool
    recipe: Recipe
    # Steps that are run, if not all; the levels may then lie outside of the model's trained range.
    part: int = 0
    device: str = "cpu"  # of a peer


class Stopwatch:
    """A network that writes down how long each call took, for one image of its batch."""

    def __init__(self, network: Callable[..., Any]) -> None:
        self.network = network
        self.calls: list[float] = []
        self.took: list[float] = []  # likewise, for its whole batch

    def __call__(self, *inputs: Any) -> Any:
        """Call it."""
        started = time.perf_counter()
        answer = self.network(*inputs)
        took = time.perf_counter() - started
        self.took.append(took)
        self.calls.append(took / len(inputs[0]))
        return answer


class Runner:
    """A loaded row, ready to run jobs; it knows how much processor time it took while it was not asked for anything."""

    def __init__(self, task: Task) -> None:
        self.pipeline = _pipeline(task)
        self.precision = _precision(task.backend, self.pipeline)
        self.watch: Stopwatch | None = None
        if isinstance(self.pipeline.loop, Stepwise):
            engine: Any = self.pipeline.loop.engine
            name = "network" if "network" in vars(engine) else "predict"  # what their `step` calls
            self.watch = Stopwatch(getattr(engine, name))
            setattr(engine, name, self.watch)
        self.idle = 0.0  # processor seconds

    def job(self, cases: Sequence[Sequence[RGB]], ids: Sequence[str], size: Sequence[int]) -> dict[str, Any]:
        """One batch, timed: its images, and seconds of wall, processors and network, of each call and of each step."""
        # Reset the clocks.
        ends: list[float] = []
        if self.watch:
            self.watch.calls = []
            self.watch.took = []
        # Run the batch.
        busy_before = time.process_time()
        started = time.perf_counter()
        images = self.pipeline.fuse(
            cases, ids, size=(size[0], size[1]), on_step=lambda _: ends.append(time.perf_counter())
        )
        seconds = time.perf_counter() - started
        busy = time.process_time() - busy_before
        # Divide the time into calls and steps.
        if self.watch:
            network = sum(self.watch.took)
            calls = self.watch.calls
        else:
            network, calls = self._alone(len(cases))
        steps = [after - before for before, after in pairwise(ends)]
        settle()
        took = {"seconds": seconds, "busy": busy, "network": network, "calls": calls, "steps": steps}
        # Compute the share of the loop outside the network, after the first step.
        if self.watch and steps:
            first = len(self.watch.took) // len(ends)  # calls of the first step
            took["loop"] = 1 - sum(self.watch.took[first:]) / sum(steps)
        return {**took, "images": images}

    def _alone(self, batch: int) -> tuple[float, list[float]]:
        """The network of a captured loop in a graph without our kernels: seconds in a whole job, and for one image."""
        loop: Any = self.pipeline.loop
        replay = loop.device.capture(loop.session.network.enqueue)
        loop.device.synchronize()
        started = time.perf_counter()
        for _ in range(ALONE):
            replay()
        loop.device.synchronize()
        call = (time.perf_counter() - started) / ALONE
        return call * len(self.pipeline.table.rows), [call / batch]

    def facts(self) -> dict[str, Any]:
        """Final figures: peak memory in bytes, versions, precision, processor time while idle."""
        versions = {name: sys.modules[name].__version__ for name in LIBRARIES if name in sys.modules}
        return {"memory": peak_memory(), "versions": versions, "precision": self.precision, "idle": self.idle}


def _pipeline(task: Task) -> Pipeline:
    """The row's pipeline: a backend's as the runtime loads it, a peer's with the runtime's own loop."""
    if not task.peer and not task.part:
        return load_pipeline(task.model, backend=task.backend, recipe=lambda _: task.recipe)
    bundle = load_bundle(task.model)
    peer = load_peer(task.backend, bundle, task.device) if task.peer else None
    loop = Stepwise(peer) if peer else load_loop(task.backend, bundle)
    spec = bundle.manifest.model
    if task.part:
        spec = dataclasses.replace(spec, sigma_range=sigma_range(spec.schedule))
    table = step_table(spec, task.recipe)
    if task.part:
        table = StepTable(table.rows[: task.part], table.start_x0, table.start_z)
    return Pipeline(bundle, task.backend, loop, task.recipe, table)


def _precision(backend: str, pipeline: Pipeline) -> str:
    """The precision of a row; a peer states its own."""
    if isinstance(pipeline.loop, Stepwise) and isinstance(pipeline.loop.engine, PeerEngine):
        return pipeline.loop.engine.precision
    return precision_of(backend)


def precision_of(backend: str) -> str:
    """The precision of a backend's arithmetic; a peer that did not run counts as float32."""
    return BACKENDS[backend].precision if backend in BACKENDS else "fp32"


def settle() -> None:
    """Wait until the threads of a library have stopped to spin for more work: the next turn is another row's.

    ONNX Runtime's spin for 40 ms after a call, OpenMP's of PyTorch for about 10.
    """
    time.sleep(SPIN)
    until = time.perf_counter() + SETTLED_WITHIN
    spun = PAUSE
    before = time.process_time()
    while spun > PAUSE / 10 and time.perf_counter() < until:
        time.sleep(PAUSE)
        now = time.process_time()
        spun = now - before
        before = now


def peak_memory() -> int | None:
    """The most memory of this process that was resident at once, in bytes, where the system tells."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")), None)


def serve() -> None:
    """Answer until the parent closes the pipe."""
    # Keep the answers' pipe for answers alone.
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal's is the parent's, which closes the pipe
    answers = os.dup(1)
    os.dup2(2, 1)  # a library's own output must not reach the answers
    runner: Runner | None = None
    before = 0.0
    with suppress(EOFError, OSError):
        while True:
            # Wait for a request, and count the processor time spent meanwhile.
            word, *arguments = receive(0, sys.maxsize)
            if runner:
                runner.idle += time.process_time() - before
            # Answer with the result, or with the fault.
            try:
                if word == "load":
                    runner = Runner(from_dict(Task, arguments[0]))
                    result = None
                else:
                    assert runner, "first load"
                    result = getattr(runner, word)(*arguments)
                answer = ["done", result]
            except TfsRtError as error:
                answer = ["error", type(error).__name__, error.subject, error.reason, error.remedy]
            except Exception as error:
                answer = ["unexpected", f"{type(error).__name__}: {first_line(error)}"[:1000]]
            send(answers, pack(answer))
            before = time.process_time()


if __name__ == "__main__":
    serve()
