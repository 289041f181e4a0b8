"""The GPU backends from the command line to the image, on the fake GPU with a stand-in for TensorRT.

cuda-core, NVRTC, the cache, the loop and the command line are the real ones; what an engine computes is not.
"""

from __future__ import annotations

import contextlib
import inspect
import io
import json
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from support import fake_gpu, fake_tensorrt
from support.formula_network import bias_rows, predict
from support.helpers import NumpyEngine, read_png, write_case
from support.host_kernels import HOST, compile_host
from tfs_rt.images import RGB
from tfs_rt.methods.diffusion import Pipeline, load_pipeline
from tfs_rt.sampling.stepwise import Stepwise

FLAVOURS = ("tensorrt", "tensorrt-rtx")


# --------------------------------------------------------------------------- in the process with the fake driver


def fuse(
    arguments: list[str], model: str, *, flavour: str, faults: list[str], engine: dict[str, Any] | None, keep: bool
) -> dict[str, Any]:
    """`tfs-rt` with `arguments`; `engine` changes the facts of the one engine in the cache, None leaves it empty."""
    import tfs_rt.backends.trt.backend as captured
    from tfs_rt.backends.cache import open_cache
    from tfs_rt.backends.gpu.cuda_device import CudaDevice
    from tfs_rt.backends.trt import engine_store as engines
    from tfs_rt.batch import common_finding
    from tfs_rt.cli import main
    from tfs_rt.methods.diffusion import Pipeline
    from tfs_rt.models.bundle import load_bundle

    # The network here is not the model's: do not test its images, nor end with 3 for what the guards find in most.
    Pipeline.self_test = lambda self: None
    pytest.MonkeyPatch().setattr(common_finding, "FEWEST", 100)
    devices: list[CudaDevice] = []

    class Known(CudaDevice):
        def __init__(self) -> None:
            super().__init__()
            devices.append(self)

        def load(self, cubin: bytes, names: Any) -> None:
            super().load(cubin, (*names, "test_network"))

    trt = fake_tensorrt.module(lambda: devices[-1], rtx=flavour == "tensorrt-rtx", faults=tuple(faults))
    sys.modules["tensorrt_rtx" if flavour == "tensorrt-rtx" else "tensorrt"] = trt
    captured.CudaDevice = Known
    captured.load_flavour = lambda flavour: trt
    engines.load_flavour = lambda flavour: trt
    captured.bias_rows = lambda arch, weights, biases, noise_level: bias_rows(noise_level)
    if engine is not None and not keep:
        files = load_bundle(model).manifest.files
        facts = {
            "model": {precision: file.sha256 for precision, file in files.items()},
            "flavour": flavour,
            "version": "1.0",
            "target": {"capabilities": ["8.9"]},
            "profile": {"batch": 2, "low": [16, 16], "high": [256, 256]},
        }
        open_cache().put("engine", facts | engine, fake_tensorrt.PLAN, {"model": "x4", "layers": {}, "seconds": 0})
    sys.argv = ["tfs-rt", *arguments, "--model", model, "--backend", flavour]
    said = io.StringIO()
    with contextlib.redirect_stderr(said), pytest.raises(SystemExit) as ended:
        main()
    code = ended.value.code
    told = {"code": code, "said": said.getvalue(), "told": fake_tensorrt.told}
    if devices:
        told |= {name: fake_gpu.counter(name) for name in ("captures", "graph_launches", "faults")}
        told["report"] = fake_gpu.report()
    return told


def compile_kernels() -> None:
    """Compile the kernels into the cache: half a second, which each run would take."""
    from tfs_rt.backends.cache import open_cache
    from tfs_rt.backends.gpu.compiler import kernel_code

    kernel_code("8.9", open_cache())


# --------------------------------------------------------------------------- here


@pytest.fixture(scope="module")
def kernels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("network")
    compile_host(folder, [HOST / "network.cu"])
    return folder / "host.so"


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache with the compiled kernels for the fake GPU."""
    folder = tmp_path_factory.mktemp("compiled") / "cache"
    fake_gpu.run("backends.trt.test_network:compile_kernels", env={"TFS_RT_CACHE": str(folder)})
    return folder


@pytest.fixture
def command(tmp_path: Path, kernels: Path, compiled: Path, x4: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("TFS_RT_CACHE", str(tmp_path / "cache"))
    shutil.copytree(compiled, tmp_path / "cache")

    def run(*arguments: str, flavour: str = "tensorrt-rtx", **changes: Any) -> dict[str, Any]:
        environment: dict[str, Any] = {key: changes.pop(key) for key in ("env", "driver") if key in changes}
        options: dict[str, Any] = {"faults": [], "engine": {}, "keep": False} | changes
        out = tmp_path / "out"
        given = ["fuse", *(arguments or (str(tmp_path / "in"),)), "-o", str(out), "--seed", "3"]
        return fake_gpu.run(
            "backends.trt.test_network:fuse",
            kernels=kernels,
            arguments=given,
            model=str(x4),
            flavour=flavour,
            **environment,
            **options,
        )

    return run


def read(path: Path) -> RGB:
    return read_png(path)


def cases(folder: Path, sizes: list[int]) -> list[Path]:
    return [write_case(folder / f"k{i}", size=size) for i, size in enumerate(sizes)]


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_fuse_on_the_gpu_gives_the_images_of_the_cpus_loop(
    command: Any, tmp_path: Path, x4: Path, flavour: str
) -> None:
    made = cases(tmp_path / "in", [16, 16, 12])
    ended = command(str(tmp_path / "in"), "--batch", "2", "--steps", "8", flavour=flavour)
    assert ended["code"] == 0, ended
    assert not ended["report"]
    cpu = load_pipeline(x4)
    loop = Stepwise(NumpyEngine(cpu.bundle.manifest.model, predict))
    recipe = json.loads((tmp_path / "out" / "k0.json").read_text())["recipe"]
    assert recipe["steps"] == 8
    pipeline = load_pipeline(x4, recipe=lambda own: type(own)(**recipe))
    pipeline = Pipeline(pipeline.bundle, "ort-cpu", loop, pipeline.recipe, pipeline.table)
    for folder in made:
        images = [read(folder / f"{name}.png") for name in ("mr-t1", "mr-t2", "pet")]
        side = 4 * images[0].shape[0]
        (expected,) = pipeline.fuse([images], [folder.name], size=(side, side), seed=3)
        ours = read(tmp_path / "out" / f"{folder.name}.png")
        assert np.abs(ours.astype(int) - expected).max() <= 1
    sidecar = json.loads((tmp_path / "out" / "k0.json").read_text())
    assert sidecar["backend"] == flavour
    assert sidecar["gpu"]["name"]


def test_one_graph_serves_a_run_and_is_captured_anew_for_another_size(command: Any, tmp_path: Path) -> None:
    cases(tmp_path / "in", [16, 16, 16, 12])
    ended = command(str(tmp_path / "in"), "--batch", "2", "--steps", "8")
    # two cases, one, one of another size: batches are (2, 64x64), (1, 64x64), (1, 48x48)
    assert (ended["captures"], ended["graph_launches"]) == (3, 24)
    assert ended["told"].count("deserialize") == 1


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_tensorrt_is_called_in_the_order_that_it_needs(command: Any, tmp_path: Path, flavour: str) -> None:
    cases(tmp_path / "in", [16])
    rtx = flavour == "tensorrt-rtx"
    loaded = ["deserialize", *(["jit cache", "user managed"] if rtx else []), "context"]
    bound = ["shape x", "shape bias", "address x", "address bias", "address prediction", "memory size", "memory"]
    warm = ["enqueue", *(["keep jit"] if rtx else []), "capturable?", "enqueue"]  # the second is captured
    assert command(flavour=flavour)["told"] == [*loaded, *bound, *warm]


def test_what_rtx_compiled_for_the_gpu_is_there_the_next_time(command: Any, tmp_path: Path) -> None:
    cases(tmp_path / "in", [16])
    assert "jit again" not in command()["told"]
    assert "jit again" in command(str(tmp_path / "in"), "--overwrite")["told"]


FAULTS = {
    "plan": "cannot be loaded (Serialization assertion failed)",
    "context": "has no room to run",
    "shape": "does not take (1, 64, 64)",
    "address": "does not take the buffer of x",
    "enqueue": "could not be run",
    "capture": "cannot be captured in a CUDA graph",
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_tensorrt_refuses_ends_the_run_in_one_line(command: Any, tmp_path: Path, fault: str) -> None:
    cases(tmp_path / "in", [16, 16])
    ended = command(str(tmp_path / "in"), faults=[fault])
    assert ended["code"] == 6
    assert FAULTS[fault] in ended["said"]
    assert "tfs-rt cache rm" in ended["said"]
    assert len(ended["said"].splitlines()) == 2  # what it is about to do, and the fault
    assert not list((tmp_path / "out").glob("*.png"))


@pytest.mark.parametrize(
    ("engine", "said"),
    [
        (None, "x4: no engine of it was built: tfs-rt build "),
        ({"version": "0.9"}, "built by tensorrt-rtx 0.9, 1.0 is installed: tfs-rt build "),
        ({"target": {"capabilities": ["7.5", "8.6"]}}, "built for compute capability 7.5, 8.6, this GPU has 8.9"),
    ],
)
def test_without_an_engine_that_fits_nothing_runs_anywhere(
    command: Any, tmp_path: Path, engine: dict[str, Any] | None, said: str
) -> None:
    cases(tmp_path / "in", [16])
    ended = command(engine=engine)
    assert (ended["code"], ended["told"]) == (6, [])
    assert said in ended["said"]
    assert not (tmp_path / "out").exists()


def test_a_damaged_engine_is_refused(command: Any, tmp_path: Path) -> None:
    cases(tmp_path / "in", [16])
    assert command()["code"] == 0
    (plan,) = (tmp_path / "cache").glob("*.engine")
    plan.write_bytes(plan.read_bytes()[:-1] + b"?")
    ended = command(str(tmp_path / "in"), "--overwrite", keep=True)
    assert ended["code"] == 6
    assert "does not match its SHA-256: remove it" in ended["said"]


def test_a_case_of_a_size_that_no_engine_takes_fails_alone(command: Any, tmp_path: Path) -> None:
    cases(tmp_path / "in", [16, 100, 16])
    ended = command()
    assert ended["code"] == 3
    assert (
        "failed k1: x4: none of its engines is compatible: built for 16x16 to 256x256 in batches of up to 2, asked for"
        in (ended["said"])
    )
    assert "400x400 in 1: tfs-rt build " in ended["said"]
    assert sorted(path.name for path in (tmp_path / "out").glob("*.png")) == ["k0.png", "k2.png"]


def test_a_batch_larger_than_the_engines_take_is_refused(command: Any, tmp_path: Path) -> None:
    cases(tmp_path / "in", [16] * 5)
    ended = command(str(tmp_path / "in"), "--batch", "5")
    assert ended["code"] == 2
    assert "--batch: 5 at once are more than its engines take (2): tfs-rt build" in ended["said"]
    assert not (tmp_path / "out").exists()


def test_no_case_gets_the_image_of_another_that_was_tried_again(command: Any, tmp_path: Path) -> None:
    """k0 and k1 are too large for any engine; while they are tried alone, k2 is not under way."""
    cases(tmp_path / "in", [100, 100, 16, 16, 16])
    ended = command(str(tmp_path / "in"), "--batch", "2", "--seed", "1")
    assert ended["code"] == 3
    together = {name: read(tmp_path / "out" / f"{name}.png") for name in ("k2", "k3", "k4")}
    assert command(str(tmp_path / "in"), "--batch", "1", "--seed", "1", "--overwrite")["code"] == 3
    for name, image in together.items():
        np.testing.assert_array_equal(read(tmp_path / "out" / f"{name}.png"), image)
    assert len({image.tobytes() for image in together.values()}) == 3


def test_a_gpu_that_is_full_fails_the_cases_and_says_so(command: Any, tmp_path: Path) -> None:
    cases(tmp_path / "in", [16, 64])
    ended = command(env={"TFS_FAKE_CUDA_MEMORY": str(1 << 20)})
    assert ended["code"] == 3
    assert "failed k1: could not be fused at 256x256 (MemoryError: tfs-rt fake GPU has no room for it)" in ended["said"]


def test_without_a_driver_nothing_runs_on_the_cpu_instead(command: Any, tmp_path: Path) -> None:
    cases(tmp_path / "in", [16])
    ended = command(driver=False)
    assert ended["code"] == 6
    assert "CUDA: there is no NVIDIA driver here: install" in ended["said"]
    assert not (tmp_path / "out").exists()


def test_the_stand_in_has_the_signatures_of_the_real_package() -> None:
    real = pytest.importorskip("tensorrt_rtx", reason="tensorrt_rtx is not installed: pip install 'tfs-rt[rtx]'")
    for name, stand_in in vars(fake_tensorrt).items():
        if not inspect.isclass(stand_in) or stand_in.__module__ != "fake_tensorrt" or name == "Pointer":
            continue
        theirs = getattr(real, name)
        for method, function in vars(stand_in).items():
            if not inspect.isfunction(function) or method.startswith("_"):
                continue
            ours = [p.split(":")[0] for p in inspect.signature(function).parameters if p != "self"]
            documented = re.sub("<.*?>", "", getattr(theirs, method).__doc__ or "")  # what stands for default values
            signatures = re.findall(rf"{method}\(self: [^,)]*(?:, )?(.*)\) ->", documented)
            assert any(re.findall(r"(\w+): ", found) == ours for found in signatures), (name, method, documented)
    for enum, members in {
        "ExecutionContextAllocationStrategy": ["USER_MANAGED"],
        "DynamicShapesKernelSpecializationStrategy": ["EAGER"],
        "CudaGraphStrategy": ["DISABLED"],
    }.items():
        assert all(hasattr(getattr(real, enum), member) for member in members)
    assert isinstance(real.IRuntimeConfig.dynamic_shapes_kernel_specialization_strategy, property)
    assert "serialized_engine: " in (real.Runtime.deserialize_cuda_engine.__doc__ or "")
