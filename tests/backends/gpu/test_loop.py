"""The runtime's loop, unmodified, on the fake GPU with a stand-in for the engine: its images are the CPU's.

This holds for the host's side: what is uploaded, launched, captured and replayed, in which order and with which
arguments. Nothing here has seen a GPU.
"""

from __future__ import annotations

import dataclasses
import gc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from support import fake_gpu
from support.formula_network import bias_rows, predict
from support.helpers import NumpyEngine, model_spec
from support.host_kernels import HOST, compile_host
from tfs_rt.backends.gpu.condition import Shape
from tfs_rt.images import RGB, Array
from tfs_rt.sampling.engine import ImageBatch
from tfs_rt.sampling.stepwise import fuse_batch
from tfs_rt.sampling.tables import step_table
from tfs_rt.spec import Recipe

Sizes = tuple[tuple[int, int], tuple[int, int]]  # of inputs and results
SPEC = model_spec(prediction="x0")
SAMPLERS = {
    "ddpm-50": Recipe(sampler="ddpm", steps=50, eta=0, spacing="log-snr", sigma_max=20.0, sigma_min=0.02),
    "ddim-8": Recipe(sampler="ddim", steps=8, eta=0, spacing="log-snr", sigma_max=80.0, sigma_min=0.05),
    "dpmpp-8": Recipe(sampler="dpmpp-2m", steps=8, eta=0, spacing="log-snr", sigma_max=20.0, sigma_min=0.02),
    "one step": Recipe(sampler="ddim", steps=1, eta=0, spacing="log-snr", sigma_max=80.0, sigma_min=2.0),
}


# --------------------------------------------------------------------------- in the process with the fake driver


class StandIn:
    """The engine: a kernel on the device's stream."""

    def __init__(self, device: Any) -> None:
        self.device = device
        self.calls = 0
        self.warm = False

    def bind(self, x: Any, bias: Any, prediction: Any, shape: tuple[int, int, int]) -> None:
        self.arguments = (x, bias, prediction, *map(np.int32, (shape[0], 12, *shape[1:])))
        self.threads = 3 * shape[0] * shape[1] * shape[2]

    def enqueue(self) -> None:
        self.calls += 1
        self.device.launch("test_network", self.threads, *self.arguments)

    def after_warm_up(self) -> None:
        self.warm = True


def new_loop() -> tuple[Any, list[StandIn]]:
    from tfs_rt.backends.gpu.compiler import KERNELS
    from tfs_rt.backends.gpu.cuda_device import CudaDevice
    from tfs_rt.backends.gpu.loop import GraphLoop

    device = CudaDevice()
    made = []
    device.load(b"\x7fELF of nothing", (*KERNELS, "test_network"))

    def network(batch: int, size: tuple[int, int]) -> StandIn:
        made.append(StandIn(device))
        return made[-1]

    return GraphLoop(device, SPEC, network, bias_rows, largest_batch=8), made


def cases(count: int, height: int, width: int) -> list[list[RGB]]:
    rng = np.random.default_rng(height * width)
    return [[rng.integers(0, 256, (height, width, 3)).astype(np.uint8) for _ in range(3)] for _ in range(count)]


def compare(loop: Any, recipe: Recipe, batch: int, *, seed: int, sizes: Sizes) -> list[float]:
    """How far the state is from the CPU runtime's, and the share of pixels that equal its."""
    inputs, size = sizes
    table = step_table(SPEC, recipe)
    images = cases(batch, *inputs)
    ids = [f"k{i}" for i in range(batch)]
    asked = ImageBatch(images, ids, size=size, seed=seed)
    ours = np.stack(loop.begin(table, asked)())
    x = np.empty((batch, 12, *loop.session.shape.padded), np.float32)
    loop.device.download(x, loop.session.condition.x)
    loop.device.synchronize()
    kept: list[Array] = []
    theirs = np.stack(fuse_batch(Keeping(kept), table, asked))
    assert np.abs(ours.astype(int) - theirs).max() <= 1
    return [float(np.abs(x[:, 9:] - kept[-1]).max()), float((ours == theirs).mean())]


class Keeping(NumpyEngine):
    """The CPU's engine, which keeps the last state."""

    def __init__(self, kept: list[Array]) -> None:
        super().__init__(SPEC, predict)
        self.kept = kept

    def to_host(self, handle: Array, /) -> Array:
        self.kept.append(handle)
        return handle


def everything() -> dict[str, Any]:
    told: dict[str, Any] = {}
    for name, play in SCENARIOS.items():
        fake_gpu.reset()
        told[name] = play()
        assert not fake_gpu.report(), (name, fake_gpu.report())
    gc.collect()
    told["left"] = [fake_gpu.counter("live_bytes"), fake_gpu.counter("pinned_bytes")]
    return told


def one_graph_for_all() -> dict[str, Any]:
    """Every sampler, step count and seed at two batch sizes: captured once for each size."""
    equal = {}
    captures = []
    for batch in (1, 4):
        loop, made = new_loop()
        for name, recipe in SAMPLERS.items():
            for seed in (0, 7):
                apart = compare(loop, recipe, batch, seed=seed, sizes=((16, 12), (64, 48)))
                equal[f"{name}, batch {batch}, seed {seed}"] = apart
        captures.append([fake_gpu.counter("captures"), made[0].calls, made[0].warm, len(made)])
    return {"equal": equal, "captures": captures}


def synchronizations() -> dict[str, int]:
    """What one batch of 50 steps does, once there is a session."""
    loop, _ = new_loop()
    recipe = SAMPLERS["ddpm-50"]
    table = step_table(SPEC, recipe)
    batch = ImageBatch(cases(2, 8, 8), ["a", "b"], size=(32, 32))
    loop.begin(table, batch)()
    fake_gpu.reset()
    begun = loop.begin(table, batch)
    names = ("synchronizations", "allocations", "uploads", "downloads", "launches", "graph_launches")
    names += ("graph_nodes_replayed",)
    counts = {name: fake_gpu.counter(name) for name in names}
    begun()
    return counts | {"waited": fake_gpu.counter("synchronizations") - counts["synchronizations"]}


def all_sizes() -> list[list[float]]:
    """Sizes that are padded, shrunk, stretched, and change from batch to batch on one loop."""
    loop, _ = new_loop()
    shapes = [((16, 16), (64, 64)), ((5, 9), (20, 36)), ((5, 9), (21, 35)), ((1, 1), (4, 4)), ((64, 8), (20, 32))]
    shapes += [((40, 40), (40, 40)), ((33, 21), (17, 50))]
    return [compare(loop, SAMPLERS["ddim-8"], 1 + i % 3, seed=i, sizes=sizes) for i, sizes in enumerate(shapes)]


def two_in_flight() -> list[bool]:
    """Three batches, each begun before the last but one is asked for."""
    loop, _ = new_loop()
    table = step_table(SPEC, SAMPLERS["ddpm-50"])
    engine = NumpyEngine(SPEC, predict)
    batches = [ImageBatch(cases(2, 8, 8), [f"{i}a", f"{i}b"], size=(32, 32), seed=3) for i in range(4)]
    same = []
    before = None
    for batch in [*batches, None]:
        begun = (loop.begin(table, batch), batch) if batch else None
        if before:
            wait, asked = before
            expected = fuse_batch(engine, table, asked)
            apart = np.abs(np.stack(wait()).astype(int) - np.stack(expected))
            same.append(bool(apart.max() <= 1))
        before = begun
    return same


def three_in_flight() -> list[str]:
    """A third batch is refused, and the two before it are whole."""
    loop, _ = new_loop()
    table = step_table(SPEC, SAMPLERS["ddim-8"])
    engine = NumpyEngine(SPEC, predict)
    batches = [ImageBatch([images], [str(i)], size=(32, 32)) for i, images in enumerate(cases(3, 8, 8))]
    begun = [loop.begin(table, batch) for batch in batches[:2]]
    told = []
    try:
        loop.begin(table, batches[2])
    except RuntimeError as error:
        told.append(str(error))
    for i, wait in enumerate(begun):
        (expected,) = fuse_batch(engine, table, batches[i])
        told.append(str(np.array_equal(wait()[0], expected)))
    return [*told, str(loop.begin(table, batches[2])()[0].shape)]


def a_longer_table() -> list[Any]:
    """Tables of more steps than there is room for are captured anew, once."""
    loop, made = new_loop()
    shares = []
    recipe = SAMPLERS["ddim-8"]
    for steps in (8, 100, 3, 100):
        recipe = dataclasses.replace(recipe, steps=steps)
        shares.append(compare(loop, recipe, 1, seed=0, sizes=((8, 8), (32, 32)))[0])
    return [max(shares), len(made)]


def not_finite() -> str:
    loop, _ = new_loop()
    table = step_table(SPEC, SAMPLERS["one step"])
    bad = dataclasses.replace(table, rows=table.rows * np.nan)
    batch = ImageBatch(cases(1, 8, 8), ["a"], size=(32, 32))
    try:
        loop.begin(bad, batch)()
    except FloatingPointError as error:
        good = loop.begin(table, batch)()
        return f"{error}, then {good[0].shape}"
    return "nothing"


def progress_and_interrupt() -> list[int]:
    """`on_step` may end a batch; the next one is as if nothing had been."""
    loop, _ = new_loop()
    table = step_table(SPEC, SAMPLERS["ddim-8"])
    told = []

    def stop(step: int) -> None:
        told.append(step)
        if step == 5:
            raise KeyboardInterrupt

    try:
        loop.begin(table, ImageBatch(cases(1, 8, 8), ["a"], size=(32, 32), on_step=stop))
    except KeyboardInterrupt:
        told.append(-1)
    return [*told, int(compare(loop, SAMPLERS["ddim-8"], 1, seed=0, sizes=((8, 8), (32, 32)))[0] < 1e-5)]


SCENARIOS: dict[str, Callable[[], Any]] = {
    f.__name__: f
    for f in (
        one_graph_for_all,
        synchronizations,
        all_sizes,
        two_in_flight,
        three_in_flight,
        a_longer_table,
        not_finite,
        progress_and_interrupt,
    )
}


# --------------------------------------------------------------------------- here


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder: Path = tmp_path_factory.mktemp("loop")
    compile_host(folder, [HOST / "network.cu"])
    return fake_gpu.run("backends.gpu.test_loop:everything", kernels=folder / "host.so")


def test_one_captured_graph_serves_every_sampler_step_count_and_seed(told: dict[str, Any]) -> None:
    apart = told["one_graph_for_all"]["equal"]
    assert len(apart) == 16
    assert max(state for state, _ in apart.values()) <= 1e-5, apart  # the noise may differ by a unit in the last place
    assert min(same for _, same in apart.values()) >= 0.9999, apart
    # captures so far; calls of the network by the host: the warm-up's and the capture's; warmed up; networks
    assert told["one_graph_for_all"]["captures"] == [[1, 2, True, 1], [2, 2, True, 1]]


def test_a_batch_waits_once_and_allocates_nothing(told: dict[str, Any]) -> None:
    counts = told["synchronizations"]
    assert counts["synchronizations"] == counts["allocations"] == 0
    assert counts["graph_launches"] == 50
    assert counts["launches"] == 5  # of kernels outside the graph: two passes, normalise, start, finish
    assert (counts["uploads"], counts["downloads"], counts["waited"]) == (4, 2, 1)


def test_any_size_is_padded_resampled_and_cropped_as_on_the_cpu(told: dict[str, Any]) -> None:
    assert max(state for state, _ in told["all_sizes"]) <= 1e-5
    assert min(same for _, same in told["all_sizes"]) == 1.0


def test_the_next_batch_may_begin_before_the_last_is_asked_for(told: dict[str, Any]) -> None:
    assert told["two_in_flight"] == [True] * 4


def test_a_third_batch_is_refused_and_takes_nobodys_place(told: dict[str, Any]) -> None:
    refused = "2 batches are under way: ask for the first one's images"
    assert told["three_in_flight"] == [refused, "True", "True", "(32, 32, 3)"]


def test_a_table_longer_than_any_before_is_the_only_one_captured_anew(told: dict[str, Any]) -> None:
    apart, networks = told["a_longer_table"]
    assert apart <= 1e-5
    assert networks == 2


def test_what_is_not_finite_is_told_and_leaves_nothing_behind(told: dict[str, Any]) -> None:
    assert told["not_finite"] == "the network returned NaN or infinity, then (32, 32, 3)"


def test_an_interrupt_between_steps_leaves_the_loop_usable(told: dict[str, Any]) -> None:
    assert told["progress_and_interrupt"] == [1, 2, 3, 4, 5, -1, 1]


def test_more_than_the_kernels_can_count_is_refused() -> None:
    side = (4096, 4096)
    Shape(10, 3, side, side, side)
    with pytest.raises(MemoryError, match="11 images at once are more than the kernels can count"):
        Shape(11, 3, side, side, side)


def test_all_memory_is_given_back(told: dict[str, Any]) -> None:
    assert told["left"] == [0, 0]
