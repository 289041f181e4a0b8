"""What only a GPU can show: `pytest -m gpu -s`, or `-k` with a backend's name for one alone. Figures are printed.

Engines are built into a cache of the tests' own.
"""

from __future__ import annotations

import dataclasses
import functools
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from support.device_arrays import upload_array
from support.host_kernels import HOST, KERNELS, kernels
from support.kernel_checks import GUARD, Guarded, KernelChecks, Launch
from support.paths import ROOT
from tfs_rt.backends.cache import Cache, open_cache
from tfs_rt.backends.trt.build import Profile
from tfs_rt.backends.trt.engine_store import BuildRequest, Gpu, build_engine, describe_gpu, find_engine
from tfs_rt.doctor.ask import ask
from tfs_rt.doctor.examine import examine
from tfs_rt.doctor.gpus import flavours
from tfs_rt.errors import EnvironmentFault, InputError
from tfs_rt.images import RGB
from tfs_rt.methods.diffusion import Pipeline, load_pipeline
from tfs_rt.models.bundle import Bundle, load_bundle
from tfs_rt.sampling.tables import step_table
from tfs_rt.spec import Recipe

pytestmark = [pytest.mark.gpu, pytest.mark.usefixtures("device")]

BACKENDS = ("ort-cuda", "tensorrt", "tensorrt-rtx")
SAMPLERS = ("ddim", "ddpm", "dpmpp-2m")
SIDES = {"x4": 64, "tiny": 16}  # of the inputs; results are four times that
IDS = ["k0", "k1", "k2", "k3"]
LEAST_PSNR = {  # dB to float32 on the CPU; half precision emulated there gives 63 and 54
    "x4": 50.0,
    "tiny": 45.0,  # untrained: single pixels that were clipped flip
}
LEAK = 8 * 2**20  # bytes; a result of each of 200 batches would be more
LONGEST = 300.0  # seconds, for a process that must not hang
Say = Callable[[str], None]
Fuse = Callable[..., list[RGB]]


# --------------------------------------------------------------------------- what the tests share


@pytest.fixture(scope="session")
def device() -> Any:
    """The GPU; without one its fault is the reason to skip."""
    pytest.importorskip("cuda.core", reason="cuda-core is not installed: pip install 'tfs-rt[cuda]'")
    from tfs_rt.backends.gpu.cuda_device import CudaDevice

    try:
        return CudaDevice()
    except EnvironmentFault as fault:
        pytest.skip(str(fault))


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cache]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TFS_RT_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield open_cache()


@pytest.fixture(scope="session")
def bundles(halved: tuple[Bundle, Any], x4: Path) -> dict[str, Bundle]:
    return {"x4": load_bundle(x4), "tiny": halved[0]}


@pytest.fixture(scope="session", params=BACKENDS)
def backend(request: pytest.FixtureRequest, device: Any, cache: Cache, bundles: dict[str, Bundle]) -> str:
    """Each backend that the doctor says runs, once its engines are built."""
    name = request.param
    if name in flavours(device.compute_capability) and ask(("flavour", name)).found:
        for bundle in bundles.values():
            build_engine(
                order_of(bundle, name, device), cache, gpu=lambda: describe_gpu(device), on_step=lambda text: None
            )
    (verdict,) = (verdict for verdict in examine().backends if verdict.backend == name)
    if not verdict.runs:
        pytest.skip(f"{name}: {verdict.reason}: {verdict.remedy}")
    return name


@pytest.fixture
def flavour(backend: str) -> Any:
    if backend == "ort-cuda":
        pytest.skip("ort-cuda has no engine and no graph")
    return backend


@pytest.fixture(scope="session")
def pipelines(bundles: dict[str, Bundle]) -> Callable[[str, str], Pipeline]:
    """The pipeline of a model on a backend; the last of a GPU's is kept, and all of the CPU's."""
    loaded: dict[tuple[str, str], Pipeline] = {}

    def get(model: str, name: str) -> Pipeline:
        if (model, name) not in loaded:
            for key in [key for key in loaded if key[1] != "ort-cpu" != name]:
                del loaded[key]
            loaded[model, name] = load_pipeline(bundles[model].path, backend=name)
        return loaded[model, name]

    return get


@pytest.fixture(scope="session")
def exact(pipelines: Callable[[str, str], Pipeline]) -> Fuse:
    """The CPU's images of all cases, fused once."""
    known: dict[tuple[str, Recipe], list[RGB]] = {}

    def fuse(model: str, recipe: Recipe) -> list[RGB]:
        if (model, recipe) not in known:
            known[model, recipe] = fused(with_recipe(pipelines(model, "ort-cpu"), recipe), model, IDS)
        return known[model, recipe]

    return fuse


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str]) -> Say:
    """Print past pytest."""

    def line(text: str) -> None:
        with capsys.disabled():
            sys.stdout.write(f"\n    {text}")

    return line


def order_of(bundle: Bundle, flavour: Any, device: Any) -> BuildRequest:
    capabilities = (device.compute_capability,) if flavour == "tensorrt-rtx" else ()
    profile = Profile(batch=len(IDS), low=(32, 32), high=(256, 256))
    return BuildRequest(bundle=bundle, flavour=flavour, profile=profile, capabilities=capabilities)


def recipe_of(model: str, sampler: Any, steps: int) -> Recipe:
    """From much noise to what the model knows of little."""
    least = 2.0 if model == "x4" or steps == 1 else 0.02
    return Recipe(sampler=sampler, steps=steps, eta=0.0, spacing="log-snr", sigma_max=80.0, sigma_min=least)


def with_recipe(pipeline: Pipeline, recipe: Recipe) -> Pipeline:
    table = step_table(pipeline.bundle.manifest.model, recipe)
    return dataclasses.replace(pipeline, recipe=recipe, table=table)


@functools.cache
def images(case_id: str, side: int) -> list[RGB]:
    """Three smooth images, as like to slices as noise can be made."""
    rng = np.random.default_rng(int(case_id[1:]))
    coarse = rng.integers(0, 256, (3, 5, 5, 3)).astype(np.uint8)
    return [np.asarray(Image.fromarray(image).resize((side, side), Image.Resampling.BICUBIC)) for image in coarse]


def fused(pipeline: Pipeline, model: str, ids: Sequence[str], *, seed: int = 0) -> list[RGB]:
    side = SIDES[model]
    return pipeline.fuse([images(case_id, side) for case_id in ids], ids, size=(4 * side, 4 * side), seed=seed)


def psnr(ours: RGB, theirs: RGB) -> float:
    error = np.square(ours.astype(np.float64) - theirs).mean()
    return float(10 * np.log10(255**2 / max(error, 1e-9)))


def timed(act: Callable[[], object], repeats: int = 20) -> tuple[float, float]:
    """Minimum and median, in ms, after three that do not count."""
    for _ in range(3):
        act()
    took = []
    for _ in range(repeats):
        started = time.perf_counter()
        act()
        took.append(1e3 * (time.perf_counter() - started))
    return min(took), statistics.median(took)


def command(*arguments: object, within: str = "from tfs_rt.cli import main; main()") -> list[str]:
    """A process of its own: `tfs-rt` with arguments, or a function of this module."""
    return [sys.executable, "-c", f"import sys; sys.path[:] = {sys.path!r}; {within}", *map(str, arguments)]


# --------------------------------------------------------------------------- kernels


@pytest.fixture(scope="session")
def kernel_device(device: Any) -> Any:
    """The GPU with all kernels and the tests' ways into them, compiled for it."""
    core: Any = pytest.importorskip("cuda.core")
    sources = '#include "kernels.cu"\n#include "entries.cu"\n'
    arch = f"sm_{device.compute_capability.replace('.', '')}"
    options = core.ProgramOptions(arch=arch, std="c++17", include_path=[str(KERNELS), str(HOST)], fma=False)
    cubin = core.Program(sources, "c++", options).compile("cubin")
    device.load(bytes(cubin.code), list(kernels([HOST / "entries.cu"])))
    return device


@pytest.fixture
def launch(kernel_device: Any) -> Launch:
    """Run a kernel on guarded copies of its arrays on the GPU, and copy back what it wrote."""

    def run(name: str, threads: int, *arguments: Any) -> None:
        copies = {i: Guarded(array) for i, array in enumerate(arguments) if isinstance(array, np.ndarray)}
        held = {i: upload_array(kernel_device, copy.memory) for i, copy in copies.items()}
        inside = {i: np.uint64(buffer.pointer + len(GUARD)) for i, buffer in held.items()}
        kernel_device.launch(name, threads, *[inside.get(i, argument) for i, argument in enumerate(arguments)])
        for i, copy in copies.items():
            kernel_device.download(copy.memory, held[i])
        kernel_device.synchronize()
        for i, copy in copies.items():
            assert copy.intact(), f"{name} wrote beside argument {i}"
            arguments[i][...] = copy.array

    return run


class TestKernelsOnTheGpu(KernelChecks):
    """The kernels compiled for the GPU."""


# --------------------------------------------------------------------------- images


@pytest.mark.parametrize("steps", [1, 4, 50])
@pytest.mark.parametrize("model", ["x4", "tiny"])
def test_images_are_those_of_the_exact_tier(
    backend: str, model: str, steps: int, pipelines: Callable[[str, str], Pipeline], exact: Fuse, say: Say
) -> None:
    """And those of a batch are those of its cases alone, though kernels may be chosen by the batch."""
    for sampler in SAMPLERS:
        recipe = recipe_of(model, sampler, steps)
        pipeline = with_recipe(pipelines(model, backend), recipe)
        expected = exact(model, recipe)
        together = fused(pipeline, model, IDS)
        alone = [fused(pipeline, model, [case_id])[0] for case_id in IDS]
        pairs = {"batch of 4": (together, expected), "alone": (alone, expected), "4 to 1": (together, alone)}
        least = {name: min(map(psnr, ours, theirs)) for name, (ours, theirs) in pairs.items()}
        figures = ", ".join(f"{name} {value:.1f} dB" for name, value in least.items())
        say(f"{backend} {model} {sampler} {steps} steps: {figures}")
        assert min(least.values()) >= LEAST_PSNR[model], (sampler, least)


def test_the_same_seed_gives_the_same_bytes_and_another_does_not(
    backend: str, pipelines: Callable[[str, str], Pipeline]
) -> None:
    pipeline = with_recipe(pipelines("tiny", backend), recipe_of("tiny", "ddpm", 4))
    first, again, other = (np.stack(fused(pipeline, "tiny", IDS, seed=seed)) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_two_processes_share_a_gpu(backend: str, bundles: dict[str, Bundle], cache: Cache, tmp_path: Path) -> None:
    arguments = ("--backend", backend, "--model", bundles["x4"].path, "--batch", 4, "--steps", 4, "-q")
    outputs = [tmp_path / "a", tmp_path / "b"]
    started = [subprocess.Popen(command("fuse", ROOT / "examples", "-o", out, *arguments)) for out in outputs]
    try:
        assert [process.wait(LONGEST) for process in started] == [0, 0]
    finally:
        for process in started:
            process.kill()
    results = [sorted(out.glob("*.png")) for out in outputs]
    assert len(results[0]) == len(results[1]) > 0
    for ours, theirs in zip(*results, strict=True):
        assert psnr(np.asarray(Image.open(ours)), np.asarray(Image.open(theirs))) >= LEAST_PSNR["x4"]


# --------------------------------------------------------------------------- engines


def test_an_engine_is_built_for_this_gpu(
    flavour: Any, device: Any, cache: Cache, bundles: dict[str, Bundle], say: Say
) -> None:
    gpu = describe_gpu(device)
    bundle = bundles["x4"]
    entry = find_engine(bundle, flavour, gpu, cache, len(IDS), (256, 256))
    say(f"{flavour}: built in {entry.notes['seconds']} s, {entry.size / 1e6:.1f} MB, {entry.notes['layers']}")
    assert entry.notes["layers"]["CONVOLUTION HALF"] > 0
    assert "CONVOLUTION FLOAT" not in entry.notes["layers"]
    target = entry.facts["target"]
    assert target in ({"capabilities": [gpu.capability]}, dataclasses.asdict(gpu))
    again, now = build_engine(order_of(bundle, flavour, device), cache, gpu=lambda: gpu, on_step=lambda text: None)
    assert (again.key, now) == (entry.key, False)


@pytest.mark.parametrize(("batch", "size"), [(5, (256, 256)), (1, (512, 512))])
def test_what_no_engine_takes_is_said_with_the_command_that_builds_it(
    flavour: Any, device: Any, cache: Cache, bundles: dict[str, Bundle], batch: int, size: tuple[int, int]
) -> None:
    with pytest.raises(InputError, match=f"asked for {size[1]}x{size[0]} in {batch}") as caught:
        find_engine(bundles["x4"], flavour, describe_gpu(device), cache, batch, size)
    assert f"--size {size[1]}x{size[0]} --batch {batch}" in caught.value.remedy
    another = Gpu("another GPU", "7.2", "13.0")
    with pytest.raises(EnvironmentFault, match="another GPU|this GPU has 7.2"):
        find_engine(bundles["x4"], flavour, another, cache, 1, (256, 256))


# --------------------------------------------------------------------------- the loop in CUDA graphs


def test_one_capture_serves_every_sampler_step_count_and_seed(
    flavour: str, pipelines: Callable[[str, str], Pipeline]
) -> None:
    pipeline = pipelines("x4", flavour)
    loop: Any = pipelines("x4", flavour).loop
    fused(pipeline, "x4", IDS)
    session = loop.session
    replay = session.replay
    for sampler in SAMPLERS:
        fused(with_recipe(pipeline, recipe_of("x4", sampler, 7)), "x4", IDS, seed=5)
        assert loop.session is session
        assert session.replay is replay
    assert session.network.log.last == ""  # TensorRT logged no error while it was captured


@pytest.mark.parametrize("batch", [1, 4])
def test_the_steps_of_a_loop_are_timed_beside_the_network_alone(
    flavour: str, batch: int, bundles: dict[str, Bundle], say: Say
) -> None:
    pipeline = load_pipeline(bundles["x4"].path, backend=flavour)
    took = {}
    for steps in (1, 10, 50):
        job = with_recipe(pipeline, recipe_of("x4", "ddim", steps))
        took[steps] = timed(lambda job=job: fused(job, "x4", IDS[:batch]))
    step = [(took[50][i] - took[10][i]) / 40 for i in range(2)]
    told = "; ".join(f"{n} steps {least:.2f} / {median:.2f} ms" for n, (least, median) in took.items())
    say(f"{flavour} x4 256x256 batch {batch}: {told}; a step {step[0]:.3f} / {step[1]:.3f} ms")
    alone = network_alone(pipeline.loop)
    say(f"{flavour} x4 256x256 batch {batch}: the network alone {alone[0]:.3f} / {alone[1]:.3f} ms (least / median)")


def network_alone(loop: Any) -> tuple[float, float]:
    """A call of the engine in a graph without our kernels, in ms; what a step takes beyond it is ours."""
    replay = loop.device.capture(loop.session.network.enqueue)

    def forty() -> None:
        for _ in range(40):
            replay()
        loop.device.synchronize()

    least, median = timed(forty)
    return least / 40, median / 40


def test_every_backend_is_timed(backend: str, pipelines: Callable[[str, str], Pipeline], say: Say) -> None:
    for batch in (1, 4):
        job = with_recipe(pipelines("x4", backend), recipe_of("x4", "ddim", 8))
        least, median = timed(lambda job=job, batch=batch: fused(job, "x4", IDS[:batch]))
        say(f"{backend} x4 256x256 batch {batch}, 8 steps: {least:.2f} / {median:.2f} ms (least / median)")


def test_200_batches_of_changing_sizes_take_no_more_memory(
    flavour: str, device: Any, pipelines: Callable[[str, str], Pipeline], say: Say
) -> None:
    from cuda.bindings import driver

    pipeline = pipelines("tiny", flavour)

    def some(count: int) -> int:
        for i in range(count):
            fused(pipeline, "tiny", IDS[: 1 + i // 10 % len(IDS)], seed=i)
        device.synchronize()
        code, free, _ = driver.cuMemGetInfo()
        assert not int(code)
        return int(free)

    before = some(40)
    after = some(200)
    say(f"{flavour}: {(before - after) / 2**20:.1f} MiB more after 200 batches")
    assert before - after <= LEAK


# --------------------------------------------------------------------------- faults, and the second start


def lose_the_device() -> None:
    """In a process of its own: `tfs-rt`, whose second batch writes to an address that is none."""
    from tfs_rt.backends.gpu.loop import GraphLoop
    from tfs_rt.cli import main

    begin = GraphLoop.begin
    begun = []

    def spoiled(self: GraphLoop, *arguments: Any, **options: Any) -> Any:
        begun.append(1)
        if len(begun) == 2:
            self.device.launch("tfs_advance", 1, np.uint64(2**46))
        return begin(self, *arguments, **options)

    GraphLoop.begin = spoiled
    main()


def test_a_device_that_is_lost_ends_the_run_in_words_and_not_in_a_hang(
    flavour: str, bundles: dict[str, Bundle], cache: Cache, tmp_path: Path
) -> None:
    arguments = ("fuse", ROOT / "examples", "-o", tmp_path / "out", "--backend", flavour, "--model")
    lost = command(*arguments, bundles["x4"].path, within="from backends.test_on_gpu import lose_the_device as f; f()")
    ended = subprocess.run(lost, capture_output=True, text=True, timeout=LONGEST, check=False)
    assert ended.returncode in (3, 4, 6), ended
    assert "Traceback" not in ended.stderr
    assert "CUDA" in ended.stderr


def time_the_first_image() -> None:
    """In a process of its own: seconds from nothing to an image."""
    model, name = sys.argv[1:]
    started = time.perf_counter()
    fused(load_pipeline(model, backend=name), "x4", IDS[:1])
    sys.stdout.write(f"\n{time.perf_counter() - started}")


def test_what_was_compiled_for_this_gpu_makes_the_next_start_faster(
    flavour: str, bundles: dict[str, Bundle], cache: Cache, monkeypatch: pytest.MonkeyPatch, say: Say
) -> None:
    if flavour != "tensorrt-rtx":
        pytest.skip("tensorrt compiles nothing when it starts")
    monkeypatch.setenv("CUDA_CACHE_DISABLE", "1")  # the driver's own cache would help the first start, too
    for entry in cache.entries("jit"):
        entry.remove()
    start = command(
        bundles["x4"].path, flavour, within="from backends.test_on_gpu import time_the_first_image as f; f()"
    )
    seconds = []
    for _ in range(2):
        ended = subprocess.run(start, capture_output=True, text=True, timeout=LONGEST, check=True)
        seconds.append(float(ended.stdout.splitlines()[-1]))
    say(f"{flavour}: the first image after {seconds[0]:.2f} s, in the next process after {seconds[1]:.2f} s")
    assert list(cache.entries("jit"))
    assert seconds[1] < seconds[0]
