"""The reverse diffusion on a device: one step is a CUDA graph, captured once and replayed for every step of any table.

Rows of coefficients, rows of biases and the noise's keys lie in device memory, where a step counter finds the row. So
one graph serves all steps, samplers, seeds and step counts. The state x_t is updated in place in the network's input.

    resample -> resample -> normalise -> start -> { select, network, update, advance } x N -> finish

Only the braces are captured. `begin` enqueues all of a batch and does not wait; what it returns waits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from tfs_rt.backends.gpu.condition import Condition, MirroredArray, Shape, int32
from tfs_rt.backends.gpu.device import Buffer, Device
from tfs_rt.images import RGB, Array
from tfs_rt.sampling.engine import ImageBatch
from tfs_rt.sampling.noise import noise_key
from tfs_rt.sampling.schedule import Float64
from tfs_rt.sampling.tables import StepTable
from tfs_rt.spec import ModelSpec
from tfs_rt.system import signals

# Columns of a step's row on the device: those of `StepRow`, and one for alignment.
ROW = 8
FEWEST_ROWS = 64  # that a session has room for
# Batches: one is computed while the next is read and the last written.
IN_FLIGHT = 2


class Network(Protocol):
    """A network on a device that reads and writes the loop's buffers."""

    def bind(self, x: Buffer, bias: Buffer, prediction: Buffer, shape: tuple[int, int, int]) -> None:
        """Take the buffers for x (B, C, H, W), bias (1, n) and prediction (B, 3, H, W), with shape = (B, H, W)."""
        ...

    def enqueue(self) -> None:
        """Enqueue one call on the device's stream."""
        ...

    def after_warm_up(self) -> None:
        """Called after the first call has run, and before the first that is captured."""
        ...


class GraphLoop:
    """Runs tables over batches on a device; keeps one session, for the latest shape."""

    def __init__(
        self,
        device: Device,
        spec: ModelSpec,
        networks: Callable[[int, tuple[int, int]], Network],
        bias_rows: Callable[[Float64], Array],
        *,
        largest_batch: int,
    ) -> None:
        """`networks` gives the one for a batch and a padded size, `bias_rows` (steps, n) for (steps,) noise levels."""
        self.device = device
        self.spec = spec
        self.largest_batch = largest_batch
        self.facts = {"gpu": {"name": device.name, "driver": device.driver}}
        self.networks = networks
        self.bias_rows = bias_rows
        self.session: Session | None = None

    def begin(self, table: StepTable, batch: ImageBatch) -> Callable[[], list[RGB]]:
        """Enqueue a batch; the function waits for its images. `on_step` counts enqueued steps."""
        # Find the session for the batch's shape.
        stride = self.spec.architecture.stride
        height, width = (-(-side // stride) * stride for side in batch.size)
        first = batch.cases[0]
        shape = Shape(len(batch.cases), len(first), first[0].shape[:2], batch.size, (height, width))
        session = self._session(shape, table)
        # Enqueue the batch with each case's own noise.
        keys = [noise_key(batch.seed, case_id) for case_id in batch.ids]
        wait = session.enqueue(np.stack(batch.cases), keys, batch.on_step)

        def results() -> list[RGB]:
            result, finite = wait()
            if not finite:
                raise FloatingPointError("the network returned NaN or infinity")
            return list(result)

        return results

    def _session(self, shape: Shape, table: StepTable) -> Session:
        session = self.session
        steps = len(table.rows)
        if session is None or session.shape != shape or session.capacity < steps:
            # Drop the old session first, once nothing runs in its graph: its memory is needed.
            self.device.synchronize()
            self.session = session = None
            columns = self.bias_rows(table.rows[:1, 0]).shape[1]
            with signals.delay():  # TensorRT calls back into Python, and drops exceptions from there
                network = self.networks(shape.batch, shape.padded)
                self.session = session = Session(self.device, network, shape, columns, max(steps, FEWEST_ROWS))
        # Upload the table if it is another one.
        if session.table is not table:
            session.upload_table(table, self.bias_rows(table.rows[:, 0]))
        return session


class Session:
    """Buffers for one shape, and the captured step on them."""

    def __init__(self, device: Device, network: Network, shape: Shape, columns: int, capacity: int) -> None:
        self.device = device
        self.network = network
        self.shape = shape
        self.capacity = capacity
        batch = shape.batch
        height, width = shape.padded

        # Allocate buffers on the device.
        self.condition = Condition(device, shape)
        self.prediction = device.empty(4 * batch * 3 * height * width)
        self.x_0 = device.empty(4 * batch * 3 * height * width)
        self.bias = device.empty(4 * columns)
        self.result = device.empty(batch * shape.target[0] * shape.target[1] * 3)
        self.keys = device.empty(16 * batch)

        # Allocate arrays on both sides.
        self.step = MirroredArray(device, np.zeros(1, np.int32))
        self.bad = MirroredArray(device, np.zeros(1, np.int32))
        self.rows = MirroredArray(device, np.zeros((capacity, ROW), np.float32))
        self.biases = MirroredArray(device, np.zeros((capacity, columns), np.float32))
        self.start = MirroredArray(device, np.zeros(2, np.float32))
        self.free = [HostBuffers(device, shape) for _ in range(IN_FLIGHT)]
        self.threads = batch * -(-3 * height * width // 8)

        # Bind the network to the buffers, and capture a step.
        network.bind(self.condition.x, self.bias, self.prediction, (batch, height, width))
        self._warm_up()
        self.replay = device.capture(self._step)
        self.table: StepTable | None = None
        self.steps = 0  # of the table

    def upload_table(self, table: StepTable, biases: Array) -> None:
        """Upload a table with its rows of biases."""
        self.device.synchronize()  # batches in flight read the table before
        steps = len(table.rows)
        self.rows.host[:steps, : table.rows.shape[1]] = table.rows
        self.biases.host[:steps] = biases
        self.start.host[:] = table.start_x0, table.start_z
        for mirror in (self.rows, self.biases, self.start):
            mirror.upload()
        self.table = table
        self.steps = steps

    def enqueue(
        self, images: RGB, keys: Sequence[int], on_step: Callable[[int], None] | None
    ) -> Callable[[], tuple[RGB, bool]]:
        """Enqueue a batch, images (B, slots, h, w, 3). The function waits for images, and True if all are finite."""
        if not self.free:
            raise RuntimeError(f"{IN_FLIGHT} batches are under way: ask for the first one's images")
        flight = self.free.pop()
        try:
            wait_for_all = self._enqueue_all(flight, images, keys, on_step)
        except BaseException:  # a signal, too
            self.free.append(flight)
            raise

        def wait() -> tuple[RGB, bool]:
            wait_for_all()
            self.free.append(flight)
            return flight.result.copy(), not flight.bad[0]

        return wait

    def _enqueue_all(
        self, flight: HostBuffers, images: RGB, keys: Sequence[int], on_step: Callable[[int], None] | None
    ) -> Callable[[], None]:
        """Enqueue all of a batch; the function waits for it."""
        device = self.device
        x = self.condition.x
        shape = self.shape

        # Upload the images and keys, and reset the step counter and the flag.
        flight.images[:] = images
        flight.keys[:] = [[key & (2**64 - 1), key >> 64] for key in keys]
        device.upload(self.keys, flight.keys)
        self.bad.upload()
        self.step.upload()

        # Enqueue the condition, the start and all steps.
        self.condition.enqueue(flight.images)
        device.launch("tfs_start", self.threads, x, self.keys, self.start.buffer, *shape.state)
        for step in range(1, self.steps + 1):
            self.replay()
            if on_step is not None:
                on_step(step)

        # Convert the result to pixels, and download it.
        pixels = shape.batch * shape.padded[0] * shape.padded[1]
        sizes = int32(shape.batch, shape.channels, *shape.target, *shape.padded)
        device.launch("tfs_finish", pixels, x, self.result, self.bad.buffer, *sizes)
        device.download(flight.result, self.result)
        device.download(flight.bad, self.bad.buffer)
        return device.mark()

    def _warm_up(self) -> None:
        """Run a step before it is captured: libraries load and compile what they need at their first call."""
        for mirror in (self.step, self.rows, self.biases):
            mirror.upload()
        self._step()
        self.device.synchronize()
        self.network.after_warm_up()

    def _step(self) -> None:
        """Enqueue one step."""
        launch = self.device.launch
        step = self.step.buffer
        columns = self.biases.host.shape[1]
        launch("tfs_select", columns, self.biases.buffer, step, self.bias, np.int32(columns))
        self.network.enqueue()
        state = (self.prediction, self.condition.x, self.x_0, self.rows.buffer, step, self.keys)
        launch("tfs_update", self.threads, *state, *self.shape.state)
        launch("tfs_advance", 1, step)


class HostBuffers:
    """Page-locked memory of one batch in flight."""

    def __init__(self, device: Device, shape: Shape) -> None:
        self.images = device.pinned((shape.batch, shape.slots, *shape.size, 3), np.uint8)
        self.keys = device.pinned((shape.batch, 2), np.uint64)
        self.result = device.pinned((shape.batch, *shape.target, 3), np.uint8)
        self.bad = device.pinned(1, np.int32)
