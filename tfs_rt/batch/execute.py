"""Fusing batches: two are in flight, failed batches are retried one case at a time, and self-tests guard the results.

A GPU computes one batch while this process writes the results of the batch before it and reads the next.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from tfs_rt.batch.case_errors import fusing_error
from tfs_rt.batch.record import Recorder
from tfs_rt.batch.work import WorkItem
from tfs_rt.errors import EnvironmentFault, LimitReached, TfsRtError
from tfs_rt.images import RGB
from tfs_rt.methods.method import FusionMethod
from tfs_rt.sampling.engine import ImageBatch
from tfs_rt.system import signals

SELF_TEST_EVERY = 200  # cases


@dataclass(frozen=True, slots=True)
class InFlight:
    """A batch that has begun."""

    items: list[WorkItem]
    wait: Callable[[], list[RGB]] | None  # waits for its images; None if it could not begin
    fault: TfsRtError | None  # why it could not begin
    seconds: float  # spent in `begin`


@dataclass(slots=True)
class Executor:
    """Fuses batches and hands their images to the recorder."""

    fuser: FusionMethod
    recorder: Recorder
    seed: int
    on_step: Callable[[float], None]  # called with the share of a case that a step has done
    in_flight: InFlight | None = None
    untested: list[str] = field(default_factory=list)  # cases that were fused since the last self-test

    def start(self) -> None:
        """Self-test before the first case; EnvironmentFault if the fuser computes wrongly."""
        self._self_test()

    def fuse(self, items: list[WorkItem]) -> None:
        """Begin a batch, then finish the one before it."""
        previous = self.in_flight
        self.in_flight = self._begin(items)
        failed = self._finish(previous) if previous else []
        if failed or self._is_test_due():
            self._finish_all(failed)
        signals.check()  # a library may have swallowed the signal's exception

    def drain(self) -> None:
        """Finish the batch in flight, if there is one."""
        self._finish_all([])
        signals.check()

    def end(self) -> None:
        """Finish the batch in flight, and self-test what was fused since the last self-test."""
        self.drain()
        if self.untested:
            self._self_test()

    def _begin(self, items: list[WorkItem]) -> InFlight:
        started = time.monotonic()
        try:
            batch = ImageBatch(
                [item.images for item in items],
                [item.noise_id for item in items],
                size=items[0].work.loaded.size,
                seed=self.seed,
                on_step=lambda _: self.on_step(sum(1 / len(item.work) for item in items)),
            )
            wait = self.fuser.begin(batch)
        except Exception as error:
            return InFlight(items, None, fusing_error(items[0].work, error), 0.0)
        return InFlight(items, wait, None, time.monotonic() - started)

    def _finish(self, batch: InFlight) -> list[WorkItem]:
        """Wait for a batch and record its images. Returns the items to retry one at a time.

        An environment fault ends the run: a retry cannot help.
        """
        # Wait for the images.
        started = time.monotonic()
        images: list[RGB] = []
        fault = batch.fault
        if batch.wait:
            try:
                images = batch.wait()
            except Exception as error:
                fault = fusing_error(batch.items[0].work, error)
        # End the run, retry the items one at a time, or record the fault.
        if isinstance(fault, EnvironmentFault):
            raise fault
        if fault and len(batch.items) > 1:
            return batch.items
        if fault:
            self.recorder.fail_work(batch.items[0].work, fault)
            return []
        # Record the images, each with its share of the time.
        seconds = (batch.seconds + time.monotonic() - started) / len(batch.items)
        for item, image in zip(batch.items, images, strict=True):
            if self.recorder.add(item, image, seconds):
                self.untested.append(item.work.loaded.case.id)
        return []

    def _finish_all(self, failed: list[WorkItem]) -> None:
        """Finish the batch in flight, retry what failed with nothing else in flight, and self-test if it is time."""
        batch = self.in_flight
        self.in_flight = None
        if batch:
            failed = failed + self._finish(batch)
        self._retry_one_at_a_time(failed)
        if self._is_test_due():
            self._self_test()

    def _retry_one_at_a_time(self, items: list[WorkItem]) -> None:
        """Retry the items of failed batches singly, so that a bad case fails alone and more memory is free."""
        for item in items:
            if not item.work.failed:
                self._finish(self._begin([item]))

    def _is_test_due(self) -> bool:
        return len(self.untested) >= SELF_TEST_EVERY

    def _self_test(self) -> None:
        """Self-test with nothing in flight. If it fails, the results since the last one that passed are withdrawn.

        Raises EnvironmentFault if the fuser computes wrongly.
        """
        try:
            self.fuser.self_test()
        except LimitReached:
            # The test could not be computed, which does not put earlier results in doubt.
            if not self.recorder.results:
                raise
        except EnvironmentFault as fault:
            self.recorder.roll_back(self.untested, fault)
            raise
        self.untested.clear()
