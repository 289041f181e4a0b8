"""Engines are really built, without a GPU; one that does not fit is never used, and what to build is said."""

import ast
import collections
import dataclasses
import itertools
import json
import shlex
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import onnx
import pytest
from onnx import TensorProto, helper

from support.helpers import Cli
from support.paths import ROOT
from tfs_rt.backends.cache import Cache, open_cache
from tfs_rt.backends.trt.build import BuiltEngine, Profile, build, logger
from tfs_rt.backends.trt.engine_store import Gpu, find_engine, largest_batch
from tfs_rt.backends.trt.flavour import capabilities, load_flavour
from tfs_rt.cli import build as command
from tfs_rt.errors import EnvironmentFault, InputError, ModelError, UsageError
from tfs_rt.models.bundle import Bundle, load_bundle
from tfs_rt.models.manifest import write_manifest
from tfs_rt_reference.network import UNet

trt = pytest.importorskip("tensorrt_rtx", reason="tensorrt_rtx is not installed: pip install 'tfs-rt[rtx]'")

CAPABILITIES = ["7.5", "8.0", "8.6", "8.9", "12.0", "12.1"]
SMALL = Profile(batch=1, low=(64, 64), high=(64, 64))
RANGE = Profile(batch=4, low=(64, 64), high=(128, 128))
MALFORMED = 1 << 5  # of an engine's diagnostics


@pytest.fixture
def bundle(halved: tuple[Bundle, UNet]) -> Bundle:
    return halved[0]


@pytest.fixture(scope="session")
def graph(halved: tuple[Bundle, UNet]) -> bytes:
    return halved[0].half_graph()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cache:
    monkeypatch.setenv("TFS_RT_CACHE", str(tmp_path / "cache"))
    return open_cache()


def built(graph: bytes, profile: Profile = SMALL, *chosen: str) -> BuiltEngine:
    return build(trt, graph, profile, list(chosen or ["8.9"]), on_step=lambda step: None)


# --- building


@pytest.mark.parametrize(
    "capability",
    [pytest.param(c, marks=[] if c in (CAPABILITIES[0], CAPABILITIES[-1]) else pytest.mark.slow) for c in CAPABILITIES],
)
def test_an_engine_is_built_for_each_kind_of_gpu(graph: bytes, capability: str) -> None:
    engine = built(graph, RANGE, capability)
    runtime = trt.Runtime(logger(trt))
    header = engine.plan[: runtime.engine_header_size]
    assert not runtime.get_engine_validity(header)[1] & MALFORMED
    assert runtime.get_engine_validity(header[::-1])[1] & MALFORMED
    assert 1e5 < len(engine.plan) < 1e8
    assert 0 < engine.seconds < 60


def test_what_it_compiles_for_is_what_the_package_knows() -> None:
    assert capabilities(trt) == CAPABILITIES


@pytest.mark.parametrize("profile", [SMALL, pytest.param(dataclasses.replace(RANGE, batch=1), marks=pytest.mark.slow)])
def test_building_twice_gives_the_same_bytes(graph: bytes, profile: Profile) -> None:
    """For one image at a time; with a range of batches a few of TensorRT-RTX 1.7's bytes differ from build to build."""
    first = built(graph, profile)
    again = built(graph, profile)
    other = built(graph, profile, "8.6")
    assert first.plan == again.plan
    assert other.plan != first.plan
    assert first.layers == again.layers == other.layers


def test_the_audit_counts_what_the_graph_has(graph: bytes) -> None:
    nodes = collections.Counter(node.op_type for node in onnx.load_from_string(graph).graph.node)
    layers = collections.Counter(built(graph).layers)
    for kind, count in [
        ("CONVOLUTION HALF", nodes["Conv"]),
        ("MATRIX_MULTIPLY HALF", nodes["MatMul"]),
        ("NORMALIZATION FLOAT", nodes["GroupNormalization"]),
        ("SOFTMAX FLOAT", nodes["Softmax"]),
        ("RESIZE HALF", nodes["Resize"]),
        ("REDUCE FLOAT", nodes["ReduceMean"] + nodes["ReduceSum"]),
        ("ACTIVATION FLOAT", nodes["Sigmoid"] + nodes["Relu"]),
    ]:
        assert layers[kind] == count > 0, kind
    kinds = collections.defaultdict(set)
    for layer in layers:
        kinds[layer.split()[0]].add(layer.split()[1])
    assert kinds["CONVOLUTION"] == kinds["MATRIX_MULTIPLY"] == {"HALF"}
    assert kinds["NORMALIZATION"] == kinds["SOFTMAX"] == {"FLOAT"}


def retyped(graph: bytes, operator: str, kind: int) -> tuple[bytes, str]:
    """The graph with one node of an operator computing in another type, between casts; and the node's name."""
    model = onnx.load_from_string(graph)
    at, node = next((i, node) for i, node in enumerate(model.graph.node) if node.op_type == operator)
    casts = [helper.make_node("Cast", [name], [f"{name}.cast"], to=kind) for name in node.input]
    back = TensorProto.FLOAT if kind == TensorProto.FLOAT16 else TensorProto.FLOAT16
    after = helper.make_node("Cast", [f"{node.output[0]}.cast"], [node.output[0]], to=back)
    node.input[:] = [f"{name}.cast" for name in node.input]
    node.output[0] += ".cast"
    nodes = [*model.graph.node[:at], *casts, node, after, *model.graph.node[at + 1 :]]
    del model.graph.node[:], model.graph.value_info[:]
    model.graph.node.extend(nodes)
    return model.SerializeToString(), node.name


@pytest.mark.parametrize(
    ("operator", "layer", "kind"),
    [
        ("Conv", "CONVOLUTION", TensorProto.FLOAT),
        ("MatMul", "MATRIX_MULTIPLY", TensorProto.FLOAT),
        ("GroupNormalization", "NORMALIZATION", TensorProto.FLOAT16),
        ("Softmax", "SOFTMAX", TensorProto.FLOAT16),
    ],
)
def test_a_layer_of_the_wrong_precision_is_refused_by_name(graph: bytes, operator: str, layer: str, kind: int) -> None:
    wrong, name = retyped(graph, operator, kind)
    precision = "FLOAT" if kind == TensorProto.FLOAT else "HALF"
    with pytest.raises(ModelError, match=f"{name}.* is a {layer} in {precision}: export the bundle again"):
        built(wrong)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda bundle, graph: b"\xff" * 100,
        lambda bundle, graph: b"",
        lambda bundle, graph: graph[: len(graph) // 2],
        lambda bundle, graph: graph[:-1],
        lambda bundle, graph: bundle.read("fp16"),  # without its convolutions' weights
        lambda bundle, graph: bundle.read("fp32"),
    ],
)
def test_what_is_no_half_graph_is_refused_in_one_line(bundle: Bundle, graph: bytes, spoil: Callable) -> None:
    with pytest.raises(ModelError, match="^the half-precision graph: .*: export the bundle again$") as caught:
        built(spoil(bundle, graph))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("profile", "words"),
    [
        (Profile(batch=1, low=(128, 64), high=(64, 64)), "is not a valid range of sizes"),
        (Profile(batch=0, low=(64, 64), high=(64, 64)), "is not a valid range of sizes"),
        (Profile(batch=1, low=(63, 63), high=(63, 63)), "could not build the engine .*ask for a smaller --size"),
        (Profile(batch=256, low=(4096, 4096), high=(4096, 4096)), "could not build the engine"),
    ],
)
def test_sizes_that_cannot_be_are_refused_in_one_line(graph: bytes, profile: Profile, words: str) -> None:
    with pytest.raises((UsageError, EnvironmentFault), match=words) as caught:
        built(graph, profile)
    assert "\n" not in str(caught.value)


# --- the command


def rtx(cli: Cli, bundle: Bundle, *arguments: object) -> dict:
    code, out, err = cli("build", bundle.path, "--engine", "tensorrt-rtx", "-q", "--json", *arguments)
    assert (code, err) == (0, "")
    return json.loads(out)


def test_the_command_builds_into_the_cache_and_does_not_build_twice(bundle: Bundle, cli: Cli, cache: Cache) -> None:
    chosen = ("--compute-capability", "12.0, 8.9,12.0", "--size", "64x32")
    first = rtx(cli, bundle, *chosen)
    again = rtx(cli, bundle, *chosen)
    assert (first["built"], again["built"]) == (True, False)
    assert first["path"] == again["path"]
    assert first["target"] == {"capabilities": ["8.9", "12.0"]}  # in whatever order they were asked for
    assert first["profile"] == {"batch": 1, "low": [32, 64], "high": [32, 64]}
    (entry,) = cache.entries("engine")
    assert entry.facts["model"] == {name: file.sha256 for name, file in bundle.manifest.files.items()}
    assert entry.facts["version"] == trt.__version__
    assert entry.notes["layers"] == first["layers"]
    assert (entry.size, str(entry.path)) == (first["bytes"], first["path"])


def test_one_command_builds_for_all_kinds_of_gpu_and_tells_the_layers(bundle: Bundle, cli: Cli, cache: Cache) -> None:
    code, out, err = cli("build", bundle.path, "--engine", "tensorrt-rtx", "--size", "64-128", "--batch", 4)
    assert (code, out) == (0, "")
    (entry,) = cache.entries("engine")
    assert entry.facts["target"] == {"capabilities": CAPABILITIES}
    assert entry.facts["profile"] == {"batch": 4, "low": [64, 64], "high": [128, 128]}
    assert f"{entry.notes['layers']['CONVOLUTION HALF']} convolution half" in err
    assert f"{entry.path} ({entry.size / 1e6:.1f} MB)" in err


@pytest.mark.parametrize(
    ("size", "low", "high"),
    [
        ("63", (64, 64), (64, 64)),
        ("31x64-65x64", (64, 32), (64, 68)),
        ("1", (4, 4), (4, 4)),
        (None, (256, 256), (256, 256)),
    ],
)
def test_sizes_are_width_by_height_and_rounded_up_to_the_stride(
    bundle: Bundle, size: str | None, low: tuple[int, int], high: tuple[int, int]
) -> None:
    model = bundle.manifest.model
    found = command._parse_profile(size, 2, model.trained_size, model.architecture.stride)
    assert found == Profile(batch=2, low=low, high=high)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--size", "128-64"], "ends below its beginning"),
        (["--size", "64x128-128x64"], "ends below its beginning"),
        *(
            (["--size", size], "is not a size")
            for size in ("0", "64-", "-64", "64x", "x", "64-96-128", "64,96", "", "5000")
        ),
        (["--size", "99999"], "is not a size"),
        (["--size", "64x64x64"], "is not a size"),
        *((["--compute-capability", text], "write them as in") for text in ("", "8", "sm89", "8.9,", "8.9;12.0")),
        (["--compute-capability", "9.0"], "or --engine tensorrt on that GPU"),
        (["--compute-capability", "8.9,10.0"], "or --engine tensorrt on that GPU"),
        (["--compute-capability", "8.7"], "choose from 7.5, 8.0, 8.6, 8.9, 12.0, 12.1"),
    ],
)
def test_what_cannot_be_built_is_refused_in_one_line(
    bundle: Bundle, cli: Cli, cache: Cache, arguments: list[str], words: str
) -> None:
    code, out, err = cli("build", bundle.path, "--engine", "tensorrt-rtx", *arguments)
    (line,) = (line for line in err.splitlines() if not line.startswith("building"))
    assert (code, out) == (2, "")
    assert words in line
    assert list(cache.entries()) == []


@pytest.mark.parametrize("arguments", [["--batch", "0"], ["--batch", "257"], ["--engine", "onnx"], []])
def test_options_of_the_wrong_kind_are_refused(bundle: Bundle, cli: Cli, arguments: list[str]) -> None:
    engine = [] if "--engine" in arguments or not arguments else ["--engine", "tensorrt-rtx"]
    assert cli("build", bundle.path, *engine, *arguments).code == 2


def test_a_bundle_without_the_half_graph_is_refused(bundle: Bundle, cli: Cli, tmp_path: Path) -> None:
    shutil.copytree(bundle.path, tmp_path / "b")
    files = {"fp32": bundle.manifest.files["fp32"]}
    write_manifest(tmp_path / "b", dataclasses.replace(bundle.manifest, files=files, biases=()))
    code, _, err = cli("build", tmp_path / "b", "--engine", "tensorrt-rtx")
    assert code == 5
    assert "has no half-precision graph: export it with --precision fp32,fp16" in err


def test_a_half_graph_that_was_tampered_with_is_not_built(
    bundle: Bundle, cli: Cli, tmp_path: Path, cache: Cache
) -> None:
    shutil.copytree(bundle.path, tmp_path / "b")
    file = tmp_path / "b" / "step.fp16.onnx"
    file.write_bytes(file.read_bytes() + b"\0")
    code, _, err = cli("build", tmp_path / "b", "--engine", "tensorrt-rtx")
    assert code == 5
    assert "does not match its SHA-256" in err
    assert list(cache.entries()) == []


# --- the packages


def package(version: str = "10.12.0.36", **changes: Any) -> ModuleType:
    """A stand-in for `tensorrt` with what is asked of it before anything is called."""
    module = ModuleType("tensorrt")
    needed = {"ExecutionContextAllocationStrategy": object, "OnnxParser": object, "IProgressMonitor": object}
    flags = {"NetworkDefinitionCreationFlag": SimpleNamespace(STRONGLY_TYPED=1)}
    for name, value in (needed | flags | {"__version__": version} | changes).items():
        setattr(module, name, value)
    return module


def test_a_package_that_is_absent_is_told(bundle: Bundle, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    for flavour, name in (("tensorrt", "tensorrt"), ("tensorrt-rtx", "tensorrt_rtx")):
        monkeypatch.setitem(sys.modules, name, None)
        code, out, err = cli("build", bundle.path, "--engine", flavour)
        (line,) = (line for line in err.splitlines() if not line.startswith("building"))
        assert (code, out) == (6, "")
        assert f"the package '{name}' is not installed: pip install 'tfs-rt[" in line


@pytest.mark.parametrize(
    "old",
    [
        {"NetworkDefinitionCreationFlag": SimpleNamespace(EXPLICIT_BATCH=0)},  # TensorRT 9
        {"IProgressMonitor": None},
        {"ExecutionContextAllocationStrategy": None},
    ],
)
def test_a_package_that_is_too_old_is_told(
    bundle: Bundle, cli: Cli, monkeypatch: pytest.MonkeyPatch, old: dict[str, Any]
) -> None:
    module = package("9.3.0", **old)
    for name in (name for name, value in old.items() if value is None):
        delattr(module, name)
    monkeypatch.setitem(sys.modules, "tensorrt", module)
    code, _, err = cli("build", bundle.path, "--engine", "tensorrt", "-q")
    assert (code, err.count("\n")) == (6, 1)
    assert "tensorrt 9.3.0 is too old: install 10.12 or later" in err


@pytest.mark.parametrize("error", ["OSError", "RuntimeError", "ImportError", "FileNotFoundError"])
def test_a_package_that_finds_no_library_is_told(
    bundle: Bundle, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: str
) -> None:
    (tmp_path / "tensorrt.py").write_text(f"raise {error}('libnvinfer.so.10: cannot open shared object file\\nsee')\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "tensorrt", raising=False)
    code, _, err = cli("build", bundle.path, "--engine", "tensorrt", "-q")
    assert (code, err.count("\n")) == (6, 1)
    assert "cannot be loaded (libnvinfer.so.10: cannot open shared object file): pip install" in err


def test_tensorrt_takes_no_compute_capability(bundle: Bundle, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", package())
    code, _, err = cli("build", bundle.path, "--engine", "tensorrt", "--compute-capability", "8.9", "-q")
    assert (code, err.count("\n")) == (2, 1)
    assert "leave it out: it builds for its own GPU" in err


def test_tensorrt_without_a_gpu_is_refused(bundle: Bundle, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    cuda_device = pytest.importorskip("tfs_rt.backends.gpu.cuda_device", reason="cuda-core is not installed")
    try:
        cuda_device.CudaDevice()
    except EnvironmentFault:
        monkeypatch.setitem(sys.modules, "tensorrt", package())
        code, _, err = cli("build", bundle.path, "--engine", "tensorrt", "-q")
        assert (code, err.count("\n")) == (6, 1)
        return
    pytest.skip("there is a GPU here")


def test_all_that_is_called_of_tensorrt_exists() -> None:
    """Each name that the sources take of the package, or of what it returns, against the package."""
    of_files = {
        "build.py": {
            "builder": trt.Builder,
            "network": trt.INetworkDefinition,
            "parser": trt.OnnxParser,
            "config": trt.IBuilderConfig,
            "optimization": trt.IOptimizationProfile,
            "layer": trt.ILayer,
            "x": trt.ITensor,
            "bias": trt.ITensor,
        },
        "network.py": {
            "runtime": trt.Runtime,
            "engine": trt.ICudaEngine,
            "context": trt.IExecutionContext,
            "config": trt.IRuntimeConfig,
            "compiled": trt.IRuntimeCache,
        },
        "backend.py": {},
        "engine_store.py": {},
        "flavour.py": {},
        "__init__.py": {},
    }
    called = []
    for path in sorted((ROOT / "tfs_rt" / "backends" / "trt").glob("*.py")):
        known = {"trt": trt} | of_files[path.name]
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = ast.unparse(node).removeprefix("self.").split(".") if isinstance(node, ast.Attribute) else []
            if "jit" in names:
                names = names[names.index("jit") + 1 :]
            if len(names) < 2 or names[0] not in known or not all(name.isidentifier() for name in names):
                continue
            found: Any = known[names[0]]
            for name in names[1:] if names[0] == "trt" else names[1:2]:
                found = getattr(found, name, None)
                assert found is not None, f"{path.name}: {'.'.join(names)}"
            called.append(".".join(names))
    assert len(set(called)) > 40


# --- interrupted


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
@pytest.mark.parametrize(
    ("name", "code", "word", "phase"),
    [
        ("SIGINT", 130, "interrupted", 1),
        pytest.param("SIGINT", 130, "interrupted", 5, marks=pytest.mark.slow),
        pytest.param("SIGTERM", 143, "terminated", 1, marks=pytest.mark.slow),
        ("SIGTERM", 143, "terminated", 5),
    ],
)
def test_a_signal_ends_a_build_and_leaves_nothing_to_be_found(
    bundle: Bundle, cache: Cache, cli: Cli, name: str, code: int, word: str, phase: int
) -> None:
    """The signal comes while TensorRT is at its first, or its fifth, phase."""
    script = f"""
        import itertools, os, signal, sys
        from contextlib import contextmanager
        from tfs_rt.cli import main
        from tfs_rt.cli.console import Console

        phases = itertools.count(1)

        @contextmanager
        def status(self, doing):
            yield lambda now: os.kill(os.getpid(), signal.{name}) if next(phases) == {phase} else None

        Console.status = status
        main()
    """
    line = [sys.executable, "-c", textwrap.dedent(script), "build", str(bundle.path)]
    line += ["--engine", "tensorrt-rtx", "--compute-capability", "8.9", "--size", "64"]
    ended = subprocess.run(line, capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stdout) == (code, "")
    assert ended.stderr.splitlines()[1:] == [f"tfs-rt: {word}"]
    assert list(cache.entries()) == []
    assert {path.suffix for path in cache.folder.iterdir()} == {".lock"}
    if phase == 1:
        assert rtx(cli, bundle, "--compute-capability", "8.9", "--size", "64")["built"]


# --- compatible engines

GEFORCE = Gpu("NVIDIA GeForce RTX 4090", "8.9", "13.0")
H100 = Gpu("NVIDIA H100 80GB HBM3", "9.0", "13.0")
# (H, W)
BATCH = 2
SIZE = (64, 96)


def kept(cache: Cache, bundle: Bundle, flavour: str = "tensorrt-rtx", **changes: Any) -> None:
    """An engine of a bundle in the cache, of which `changes` of the facts, by their paths, do not fit."""
    target = {"capabilities": ["8.6", "8.9"]} if flavour == "tensorrt-rtx" else dataclasses.asdict(H100)
    facts: dict[str, Any] = {
        "model": {precision: file.sha256 for precision, file in bundle.manifest.files.items()},
        "flavour": flavour,
        "version": load_flavour("tensorrt-rtx").__version__ if flavour == "tensorrt-rtx" else "10.12.0.36",
        "target": target,
        "profile": {"batch": 4, "low": [64, 64], "high": [128, 128]},
    }
    for path, value in changes.items():
        *outer, last = path.split("__")
        inner = facts
        for key in outer:
            inner = inner[key]
        inner[last] = value
    cache.put("engine", facts, b"an engine", {"model": "made"})


def test_an_engine_that_fits_is_found_and_of_several_the_smallest(bundle: Bundle, cache: Cache) -> None:
    for batch in (8, 2, 4, 1):
        kept(cache, bundle, profile__batch=batch)
    for batch, size in itertools.product((1, 2, 3, 4, 8), ((64, 64), (64, 96), (128, 128))):
        found = find_engine(bundle, "tensorrt-rtx", GEFORCE, cache, batch, size)
        assert found.facts["profile"]["batch"] == {3: 4}.get(batch, batch)
    largest_batch(bundle, "tensorrt-rtx", GEFORCE, cache)


def test_what_is_kept_here_has_the_facts_of_what_is_built(bundle: Bundle, cli: Cli, cache: Cache) -> None:
    made = rtx(cli, bundle, "--compute-capability", "8.6,8.9", "--size", "64-128", "--batch", 4)
    kept(Cache(cache.folder), bundle)
    (entry,) = cache.entries()  # the same key: the one was put in the other's place
    assert str(entry.path) == made["path"]


NO_FIT: dict[str, dict[str, Any] | None] = {
    "none": None,
    "other weights": {"model__fp32": "0" * 64},
    "another half graph": {"model__fp16": "0" * 64},
    "no half graph then": {"model": {"fp32": "0" * 64}},
    "another package": {"flavour": "tensorrt"},
    "another version": {"version": "1.6.0.1"},
    "other gpus": {"target__capabilities": ["7.5", "12.0"]},
    "too small a batch": {"profile__batch": 1},
    "too large a height": {"profile__low": [66, 64]},
    "too small a height": {"profile__low": [32, 64], "profile__high": [62, 128]},
    "too large a width": {"profile__low": [64, 98]},
    "too small a width": {"profile__high": [128, 94]},
}


REMEDY = "--engine tensorrt-rtx --compute-capability 8.9 --size 96x64 --batch 2"


@pytest.mark.parametrize("kind", NO_FIT)
def test_an_engine_that_does_not_fit_is_refused(bundle: Bundle, cache: Cache, kind: str) -> None:
    if (changes := NO_FIT[kind]) is not None:
        kept(cache, bundle, **changes)
    # another size may do: that is the case's fault, not the machine's
    fault = InputError if kind.startswith("too ") else EnvironmentFault
    with pytest.raises(fault) as caught:
        find_engine(bundle, "tensorrt-rtx", GEFORCE, cache, BATCH, SIZE)
    assert caught.value.remedy == f"tfs-rt build {shlex.quote(str(bundle.path))} {REMEDY}"
    assert "\n" not in str(caught.value)


BUILT = ("too small a batch",)  # "none" is built below, by the command that can be pasted


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=[] if kind in BUILT else pytest.mark.slow) for kind in NO_FIT]
)
def test_the_remedy_of_an_engine_that_does_not_fit_builds_one_that_does(
    bundle: Bundle, cli: Cli, cache: Cache, kind: str
) -> None:
    if (changes := NO_FIT[kind]) is not None:
        kept(cache, bundle, **changes)
    assert cli("build", bundle.path, *REMEDY.split()).code == 0
    found = find_engine(bundle, "tensorrt-rtx", GEFORCE, cache, BATCH, SIZE)
    assert found.facts["profile"] == {"batch": 2, "low": [64, 96], "high": [64, 96]}
    assert len(found.read()) > 1e5


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"target__name": "NVIDIA H200"},
            "built on NVIDIA H200 with driver 13.0, this is NVIDIA H100 80GB HBM3 with 13.0",
        ),
        ({"target__capability": "8.0"}, "built on"),
        ({"target__driver": "12.8"}, "with driver 12.8, this is NVIDIA H100 80GB HBM3 with 13.0"),
        ({"version": "10.13.0.1"}, "built by tensorrt 10.13.0.1, 10.12.0.36 is installed"),
        ({"profile__batch": 1}, "in batches of up to 1, asked for 96x64 in 2"),
    ],
)
def test_an_engine_that_was_tuned_elsewhere_is_refused(
    bundle: Bundle, cache: Cache, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], words: str
) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", package())
    kept(cache, bundle, "tensorrt", **changes)
    with pytest.raises(InputError if "profile__batch" in changes else EnvironmentFault, match=words) as caught:
        find_engine(bundle, "tensorrt", H100, cache, BATCH, SIZE)
    assert caught.value.remedy == f"tfs-rt build {bundle.path} --engine tensorrt --size 96x64 --batch 2"
    kept(cache, bundle, "tensorrt")
    assert find_engine(bundle, "tensorrt", H100, cache, BATCH, SIZE).facts["target"]["name"] == H100.name


def test_every_reason_is_told_once(bundle: Bundle, cache: Cache) -> None:
    for version, batch in itertools.product(("1.5", "1.6"), (1, 2)):
        kept(cache, bundle, version=version, profile__batch=batch)
    with pytest.raises(EnvironmentFault) as caught:
        largest_batch(bundle, "tensorrt-rtx", GEFORCE, cache)
    assert caught.value.reason.count("built by tensorrt-rtx 1.5") == 1
    assert caught.value.reason.count("built by tensorrt-rtx 1.6") == 1
    assert caught.value.remedy.endswith("--size 256x256 --batch 1")


def test_a_gpu_that_rtx_does_not_know_is_sent_to_tensorrt(bundle: Bundle, cache: Cache) -> None:
    kept(cache, bundle)
    with pytest.raises(EnvironmentFault, match="this GPU has 9.0: .*not for 9.0: use tensorrt"):
        find_engine(bundle, "tensorrt-rtx", H100, cache, BATCH, SIZE)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such shell")
def test_the_command_that_is_told_can_be_pasted(bundle: Bundle, cli: Cli, cache: Cache, tmp_path: Path) -> None:
    moved = load_bundle(shutil.copytree(bundle.path, tmp_path / "it's; my bundle"))
    with pytest.raises(EnvironmentFault) as caught:
        find_engine(moved, "tensorrt-rtx", GEFORCE, cache, 1, (64, 64))
    said = subprocess.run(
        ["sh", "-c", f'for part in {caught.value.remedy}; do printf "%s\\n" "$part"; done'],
        capture_output=True,
        text=True,
        check=True,
    )
    assert cli(*said.stdout.splitlines()[1:]).code == 0
    assert find_engine(moved, "tensorrt-rtx", GEFORCE, cache, 1, (64, 64)).is_intact()
