"""The doctor's report with a fake driver, with engines in the cache, and of this machine."""

from __future__ import annotations

import functools
import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from support import fake_gpu
from support.doctor_answers import no_answer
from support.helpers import Cli
from tfs_rt.backends.cache import open_cache
from tfs_rt.backends.registry import BACKENDS
from tfs_rt.doctor import examine as doctor
from tfs_rt.doctor.ask import Answer, Probe, ask

RTX = pytest.mark.skipif(not find_spec("tensorrt_rtx"), reason="tensorrt_rtx is not installed")


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
    assert reason == "no engine is compatible: built for compute capability 8.6, this GPU has 8.9"
    assert verdict(fitting, "tensorrt-rtx") == (True, "", "")
    (x4,) = (model for model in fitting["models"] if model["name"] == "tfs-rt/x4")
    assert [(engine["flavour"], engine["batch"]) for engine in x4["engines"]] == [("tensorrt-rtx", 4)]


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


# --------------------------------------------------------------------------- the cache


@pytest.mark.usefixtures("healthy")
def test_a_cache_that_cannot_be_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("TFS_RT_CACHE", str(tmp_path / "file"))
    found = doctor.examine().cache
    assert found
    assert not found.usable
    assert found.problem
    assert "TFS_RT_CACHE" in found.problem.remedy


@pytest.mark.usefixtures("healthy")
def test_damaged_entries_are_counted_and_told() -> None:
    whole, damaged = (open_cache().put("kernels", {"n": n}, b"abc", {}) for n in range(2))
    damaged.path.write_bytes(b"abd")
    found = doctor.examine().cache
    assert found
    assert (found.entries, found.bytes, found.damaged) == (2, 6, [damaged.key])
    assert found.problem
    assert found.problem.remedy == f"tfs-rt cache rm {damaged.key[:12]}"
    assert whole.is_intact()


@pytest.mark.usefixtures("healthy")
def test_an_entry_of_unknown_facts_stops_nobody() -> None:
    open_cache().put("engine", {"of": "another version"}, b"abc", {})
    report = doctor.examine()
    assert [fault.subject for fault in report.faults] == ["models"]
    assert report.exit_code == 0


# --------------------------------------------------------------------------- this machine


def test_this_machine_is_examined_for_real(cli: Cli) -> None:
    ended = cli("doctor", "--json")
    report = json.loads(ended.out)
    assert ended.code == 0
    assert verdict(report, "ort-cpu") == (True, "", "")
    assert [found["backend"] for found in report["backends"]] == list(BACKENDS)
    for found in report["backends"]:
        assert found["runs"] or (found["reason"] and found["remedy"]), found
