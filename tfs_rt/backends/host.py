"""Shared by the backends on the CPU: an engine around a function of one image, and a guard for forks.

Handles are NumPy arrays. Images of a batch are run one by one: some libraries choose their kernels' blocking by the
batch, and then a case's last bits would depend on the other cases of its batch. On a CPU a batch gains no speed.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from threading import get_ident
from typing import Any

import numpy as np

from tfs_rt.errors import EnvironmentFault
from tfs_rt.images import Array
from tfs_rt.sampling.engine import reverse_step
from tfs_rt.sampling.tables import StepRow
from tfs_rt.spec import ModelSpec

Network = Callable[[Array, Array, Array], Array]  # condition (1, 9, H, W), x_t (1, 3, H, W), noise_level (1, 1)


class HostEngine:
    """A network on the host, an image at a time. `facts` are settings that can change pixels."""

    def __init__(self, spec: ModelSpec, network: Network, facts: dict[str, Any] | None = None) -> None:
        self.spec = spec
        self.network = network
        self.facts = facts or {}

    def to_device(self, array: Array, /) -> Array:
        """Nothing to do: the device is the host."""
        return array

    def to_host(self, handle: Array, /) -> Array:
        """Nothing to do: the device is the host."""
        return handle

    def predict(self, condition: Array, x_t: Array, noise_level: Array) -> Array:
        """The network alone: (B, 9, H, W), (B, 3, H, W), (B, 1) -> (B, 3, H, W)."""
        inputs = (condition, x_t, noise_level)
        return np.concatenate([self.network(*(value[i : i + 1] for value in inputs)) for i in range(len(x_t))])

    def try_out(self) -> None:
        """Run once on a small image, so that a network that does not fit its manifest is found out at once."""
        arch = self.spec.architecture
        size = (2 * arch.stride, 3 * arch.stride)
        condition, x_t = (
            np.zeros((1, channels, *size), dtype=np.float32) for channels in (arch.condition_channels, arch.out_channel)
        )
        with np.errstate(over="ignore", invalid="ignore"):  # of huge weights; the self-test tells
            answer = self.predict(condition, x_t, np.ones((1, 1), dtype=np.float32))
        if answer.shape != x_t.shape or answer.dtype != x_t.dtype:
            raise ValueError(f"it answers {x_t.shape} {x_t.dtype} with {answer.shape} {answer.dtype}")

    def step(
        self, x_t: Array, x_0: Array | None, condition: Array, row: StepRow, z: Array | None, /
    ) -> tuple[Array, Array]:
        """One reverse step."""
        noise_level = np.full((len(x_t), 1), row.noise_level, dtype=np.float32)
        return reverse_step(self.predict(condition, x_t, noise_level), x_t, x_0, row, z)


class ForkGuard:
    """Lets a process fork only while no thread is inside a library's call.

    A child has none of the library's threads, but all of its locks as they were: forked during a call, it would wait
    for them for ever. So a fork waits for the calls under way, and no call begins meanwhile.
    There is no lock here, for a signal's handler may fork too; a set's methods and a flag are atomic.
    """

    POLL_SECONDS = 0.001
    LONGEST_WAIT_SECONDS = 60.0

    def __init__(self, backend: str) -> None:
        self.backend = backend
        self.active: set[int] = set()  # threads inside the library
        self.forking = False
        self.broken = False
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(
                before=self._wait_for_calls, after_in_parent=self._allow_calls, after_in_child=self._reset_in_child
            )

    @contextmanager
    def call(self) -> Generator[None]:
        """Around a call; EnvironmentFault in a child that was forked during one."""
        if self.broken:
            reason = "this process was forked during a computation, and lacks the threads that it left behind"
            remedy = "start processes by spawn, or use --backend winograd"
            raise EnvironmentFault(f"backend {self.backend}", reason, remedy)
        thread = get_ident()
        outermost = thread not in self.active
        if outermost:
            self._enter(thread)
        try:
            yield
        finally:
            if outermost:
                self.active.discard(thread)

    def _enter(self, thread: int) -> None:
        self.active.add(thread)
        while self.forking:
            self.active.discard(thread)
            time.sleep(self.POLL_SECONDS)
            self.active.add(thread)

    def _wait_for_calls(self) -> None:
        """Before a fork, wait for all calls but the forking thread's own, which a signal's handler interrupts."""
        self.forking = True
        deadline = time.monotonic() + self.LONGEST_WAIT_SECONDS
        while self.active - {get_ident()} and time.monotonic() < deadline:
            time.sleep(self.POLL_SECONDS)

    def _allow_calls(self) -> None:
        self.forking = False

    def _reset_in_child(self) -> None:
        self.forking = False
        self.broken = self.broken or bool(self.active)
        self.active.clear()
