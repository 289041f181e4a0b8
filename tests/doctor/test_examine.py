"""`tfs-rt doctor`: its findings with a fake driver, fake distributions and libraries that crash, hang or babble."""

from __future__ import annotations

import functools
import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from support import fake_gpu
from support.helpers import Cli
from tfs_rt.backends.cache import open_cache
from tfs_rt.backends.registry import BACKENDS
from tfs_rt.doctor import examine as doctor
from tfs_rt.doctor.examine import Answer, Probe
from tfs_rt.errors import UsageError

RTX = pytest.mark.skipif(not find_spec("tensorrt_rtx"), reason="tensorrt_rtx is not installed")
ORT_RUNS = Answer({"version": "1.32.0", "file": "onnxruntime/__init__.py"})
ask = doctor.ask


def no_answer(probe: Probe) -> Answer:
    return Answer(None, f"{probe[0]} was not asked", "ask it")


def only_ort_runs(probe: Probe) -> Answer:
    return ORT_RUNS if probe == ("backend", "ort-cpu") else no_answer(probe)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TFS_RT_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return tmp_path / "cache"


@pytest.fixture
def healthy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is asked; ort-cpu runs."""
    monkeypatch.setattr(doctor, "ask", only_ort_runs)


def verdict(report: dict[str, Any], name: str) -> tuple[bool, str, str]:
    (found,) = (v for v in report["backends"] if v["backend"] == name)
    return found["runs"], found["reason"], found["remedy"]


# --------------------------------------------------------------------------- in the process with the fake driver


@functools.cache
def asked_once(probe: Probe) -> Answer:
    return ask(probe) if probe[0] != "backend" else no_answer(probe)


def examined() -> dict[str, Any]:
    """A report without the backends that need no driver, which take seconds."""
    doctor.ask = asked_once
    return doctor.examine().as_facts()


def examined_with_engines() -> list[dict[str, Any]]:
    """Reports with no engine in the cache, with one of another GPU's, and with one that fits."""
    from tfs_rt.models.bundle import load_bundle

    told = [examined()]
    files = {precision: file.sha256 for precision, file in load_bundle("tfs-rt/x4").manifest.files.items()}
    version = ask(("flavour", "tensorrt-rtx"))
    assert version.found
    for capability in ("8.6", "8.9"):
        facts = {
            "model": files,
            "flavour": "tensorrt-rtx",
            "version": version.found["version"],
            "target": {"capabilities": [capability]},
            "profile": {"batch": 4, "low": [256, 256], "high": [256, 256]},
        }
        open_cache().put("engine", facts, b"plan", {"model": "x4", "layers": {}, "seconds": 0})
        told.append(examined())
    return told


# --------------------------------------------------------------------------- GPUs


def test_a_gpu_is_described_and_the_next_command_named() -> None:
    report = fake_gpu.run("doctor.test_examine:examined", env={"TFS_FAKE_CUDA_CC": "9.0"})
    assert report["driver"] == {"cuda": "13.0"}
    (gpu,) = report["gpus"]
    assert (gpu["name"], gpu["capability"], gpu["flavours"]) == ("tfs-rt fake GPU", "9.0", ["tensorrt"])
    assert gpu["memory"] > 0
    rtx = (False, "it knows no GPU of compute capability 9.0", "use --backend tensorrt")
    assert verdict(report, "tensorrt-rtx") == rtx
    if not find_spec("tensorrt"):
        absent = (False, "the package 'tensorrt' is not installed", "pip install 'tfs-rt[tensorrt]'")
        assert verdict(report, "tensorrt") == absent


@RTX
def test_a_flavour_runs_once_it_has_an_engine_for_this_gpu() -> None:
    without, foreign, fitting = fake_gpu.run("doctor.test_examine:examined_with_engines")
    build = "tfs-rt build tfs-rt/x4 --engine tensorrt-rtx --compute-capability 8.9"
    assert verdict(without, "tensorrt-rtx") == (False, "no engine was built yet", build)
    runs, reason, remedy = verdict(foreign, "tensorrt-rtx")
    assert (runs, remedy) == (False, build)
    assert reason == "no engine fits: built for compute capability 8.6, this GPU has 8.9"
    assert verdict(fitting, "tensorrt-rtx") == (True, "", "")
    (x4,) = (model for model in fitting["models"] if model["name"] == "tfs-rt/x4")
    assert [(engine["flavour"], engine["batch"]) for engine in x4["engines"]] == [("tensorrt-rtx", 4)]


@pytest.mark.parametrize(
    ("capability", "expected"),
    [
        ("7.0", []),
        ("7.5", ["tensorrt-rtx", "tensorrt"]),
        ("8.0", ["tensorrt", "tensorrt-rtx"]),
        ("8.6", ["tensorrt-rtx", "tensorrt"]),
        ("8.9", ["tensorrt-rtx", "tensorrt"]),
        ("9.0", ["tensorrt"]),
        ("10.0", ["tensorrt"]),
        ("10.3", ["tensorrt"]),
        ("12.0", ["tensorrt-rtx", "tensorrt"]),
        ("12.1", ["tensorrt-rtx", "tensorrt"]),
    ],
)
def test_each_gpu_has_its_flavours(capability: str, expected: list[str]) -> None:
    assert doctor.flavours(capability) == expected


def test_two_gpus_are_listed_and_an_old_driver_is_told() -> None:
    env = {"TFS_FAKE_CUDA_DEVICES": "2", "TFS_FAKE_CUDA_DRIVER": "12040"}
    report = fake_gpu.run("doctor.test_examine:examined", env=env)
    assert len(report["gpus"]) == 2
    assert report["driver"]["cuda"] == "12.4"
    assert report["driver"]["remedy"].startswith("install NVIDIA's driver 580")
    if find_spec("tensorrt_rtx"):
        assert verdict(report, "tensorrt-rtx")[1] == "the driver speaks CUDA 12.4, 13.0 is needed"


def test_a_driver_without_a_gpu_is_told() -> None:
    report = fake_gpu.run("doctor.test_examine:examined", env={"TFS_FAKE_CUDA_DEVICES": "0"})
    assert report["driver"]["reason"] == "finds no GPU (CUDA_ERROR_NO_DEVICE)"
    assert "CUDA_VISIBLE_DEVICES" in verdict(report, "tensorrt")[2]


def test_no_driver_is_told_and_what_needs_one_does_not_run() -> None:
    report = fake_gpu.run("doctor.test_examine:examined", driver=False)
    assert report["driver"]["cuda"] is None
    for name in ("ort-cuda", "tensorrt", "tensorrt-rtx"):
        runs, reason, remedy = verdict(report, name)
        assert not runs
        assert reason.startswith("there is no NVIDIA driver here")
        assert remedy == "install NVIDIA's driver 580 or newer"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("", "is '', which hides every GPU"),
        ("-1", "is '-1', which hides every GPU"),
        ("0,1", None),
        ("GPU-8932f937-d72c-4106-c12f-20bd9faed9f6", None),
        ("MIG-GPU-8932f937/1/0", None),
        ("0;1", "'0;1' is no GPU"),
        ("cuda:0", "'cuda:0' is no GPU"),
        ("0,0", "an entry stands twice"),
    ],
)
@pytest.mark.usefixtures("healthy")
def test_what_hides_gpus_is_told(monkeypatch: pytest.MonkeyPatch, value: str, expected: str | None) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", value)
    faults = [fault for fault in doctor.examine().faults if fault.subject == "CUDA_VISIBLE_DEVICES"]
    assert len(faults) == (expected is not None)
    assert expected is None or expected in faults[0].reason


# --------------------------------------------------------------------------- packages


def install(folder: Path, name: str, version: str, files: str = "onnxruntime/__init__.py,,\n") -> None:
    info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (info / "RECORD").write_text(files)


@pytest.mark.usefixtures("healthy")
def test_two_onnxruntimes_at_once_are_a_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, "onnxruntime", "1.32.0")
    install(tmp_path, "onnxruntime-gpu", "1.31.1")
    install(tmp_path, "onnxruntime-extensions", "0.14.0", "onnxruntime_extensions/__init__.py,,\n")
    monkeypatch.syspath_prepend(tmp_path)
    report = doctor.examine()
    (fault,) = report.faults
    both = "onnxruntime 1.32.0 and onnxruntime-gpu 1.31.1 are installed at once"
    assert fault.reason.startswith(both)
    assert fault.remedy.startswith("pip uninstall -y onnxruntime onnxruntime-gpu && pip install 'tfs-rt[cpu]'")
    assert report.packages["onnxruntime-extensions"] == "0.14.0"


def test_a_module_that_is_not_its_distributions_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    found = Answer({"version": "1.0", "file": "elsewhere/onnxruntime/__init__.py"})
    monkeypatch.setattr(doctor, "ask", lambda probe: found if probe == ("backend", "ort-cpu") else no_answer(probe))
    (fault,) = doctor.examine().faults
    assert fault.reason.startswith("what loads is 1.0 (elsewhere/onnxruntime/__init__.py), installed is onnxruntime ")
    assert fault.remedy.startswith("pip install --force-reinstall --no-deps onnxruntime==")


def test_a_distribution_without_a_name_stops_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "ask", no_answer)
    (tmp_path / "broken-1.dist-info").mkdir()
    (tmp_path / "broken-1.dist-info" / "METADATA").write_bytes(b"\xff\xfe\0")
    monkeypatch.syspath_prepend(tmp_path)
    assert doctor.examine().packages


# --------------------------------------------------------------------------- libraries that misbehave


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "it crashes while it loads (SIGSEGV)"),
        ("import time; time.sleep(60)", "it does not answer within 1 s"),
        ("import os; print('tfs-rt probe: {'); os._exit(0)", "it ends with 0 while it loads"),
        ("import os; print('garbage \\x00', flush=True); os._exit(3)", "it ends with 3 while it loads"),
        ("import sys; print('libcudart.so.13 is lost', file=sys.stderr); import os; os._exit(1)", "(libcudart.so.13"),
        ("raise SystemExit('no licence')", "SystemExit: no licence"),
        ("import nowhere", "the package 'nowhere' is not installed"),
        ("raise RuntimeError('two\\nlines')", "cannot be loaded (two)"),
    ],
)
def test_a_library_that_crashes_hangs_or_babbles_takes_nobody_along(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, reason: str
) -> None:
    (tmp_path / "onnxruntime.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(doctor, "SECONDS", 1 if "sleep" in code else 30)
    answer = ask(("backend", "ort-cpu"))
    assert answer.found is None
    assert reason in answer.reason


def test_what_a_library_prints_beside_the_answer_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tensorrt.py").write_text(
        "from types import SimpleNamespace as S; print('[TRT] welcome')\n"
        "__version__ = '11.1'; ExecutionContextAllocationStrategy = OnnxParser = IProgressMonitor = 0\n"
        "NetworkDefinitionCreationFlag = S(STRONGLY_TYPED=0)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert ask(("flavour", "tensorrt")) == Answer({"version": "11.1", "capabilities": []})


# --------------------------------------------------------------------------- the cache


@pytest.mark.usefixtures("healthy")
def test_a_cache_that_cannot_be_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("TFS_RT_CACHE", str(tmp_path / "file"))
    found = doctor.examine().cache
    assert not found["usable"]
    assert "TFS_RT_CACHE" in found["remedy"]


@pytest.mark.usefixtures("healthy")
def test_damaged_entries_are_counted_and_told() -> None:
    whole, damaged = (open_cache().put("kernels", {"n": n}, b"abc", {}) for n in range(2))
    damaged.path.write_bytes(b"abd")
    found = doctor.examine().cache
    assert (found["entries"], found["bytes"], found["damaged"]) == (2, 6, [damaged.key])
    assert found["remedy"] == f"tfs-rt cache rm {damaged.key[:12]}"
    assert whole.is_whole()


@pytest.mark.usefixtures("healthy")
def test_an_entry_of_unknown_facts_stops_nobody() -> None:
    open_cache().put("engine", {"of": "another version"}, b"abc", {})
    report = doctor.examine()
    assert [fault.subject for fault in report.faults] == ["models"]
    assert report.exit_code == 0


# --------------------------------------------------------------------------- the command


def test_this_machine_is_examined_for_real(cli: Cli) -> None:
    ended = cli("doctor", "--json")
    report = json.loads(ended.out)
    assert ended.code == 0
    assert verdict(report, "ort-cpu") == (True, "", "")
    assert [found["backend"] for found in report["backends"]] == list(BACKENDS)
    for found in report["backends"]:
        assert found["runs"] or (found["reason"] and found["remedy"]), found


def test_where_nothing_runs_the_exit_code_is_that_of_the_environment(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "ask", no_answer)
    ended = cli("doctor")
    assert ended.code == 6
    assert "ort-cpu         --  does not run: backend was not asked: ask it" in ended.out


def test_fuse_takes_auto(cli: Cli, monkeypatch: pytest.MonkeyPatch, x4: Path, tmp_path: Path) -> None:
    asked: list[str] = []

    def load(name: str, *, backend: str, **_: Any) -> None:
        asked.append(backend)
        raise UsageError("enough", "seen", "")

    monkeypatch.setattr("tfs_rt.methods.diffusion.load_pipeline", load)
    cli("fuse", x4.parent.parent / "examples", "-o", tmp_path / "out")
    assert asked == ["auto"]
