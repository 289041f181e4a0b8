"""The registry of backends: a new backend is one file and one entry, and every command then knows it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from support.helpers import write_case
from tfs_rt.backends.registry import BACKENDS, automatic_backends, backends_on

MODULE = """
from tfs_rt.backends.ort_cpu import load
__version__ = "1.0"
"""
# Python runs it as it starts, so that processes which a command starts have the entry, too. The other backends are left
# out: the doctor would examine them for seconds.
ENTRY = """
from tfs_rt.backends.registry import BACKENDS, Backend
for name in set(BACKENDS) - {"ort-cpu"}:
    del BACKENDS[name]
BACKENDS["made"] = Backend(
    summary="made by a test",
    module="made_backend",
    package="made_backend",
    distributions=("made-backend",),
    extra="made",
    device="cpu",
    precision="bf16",
)
"""
PLAN = """
from tfs_rt.models.bundle import load_bundle
from tfs_rt_bench.latency.plan import Request, planned
bundle = load_bundle("tfs-rt/x4")
print([row.task.backend for row in planned(Request(model="tfs-rt/x4", against=("none",)), bundle)])
"""


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Processes in which the made backend is registered."""
    folder = tmp_path_factory.mktemp("made")
    (folder / "made_backend.py").write_text(MODULE)
    (folder / "sitecustomize.py").write_text(ENTRY)
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), *filter(None, sys.path)])}


def run(environment: dict[str, str], *arguments: object) -> str:
    command = [sys.executable, *map(str, arguments)]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=120)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def test_fuse_takes_a_backend_that_was_registered(environment: dict[str, str], tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    case = write_case(tmp_path / "in" / "k")
    run(environment, "-m", "tfs_rt", "fuse", case, "-o", tmp_path / "out", "--backend", "made", "--steps", 1, "-q")
    assert json.loads((tmp_path / "out" / "k.json").read_text())["backend"] == "made"


def test_the_doctor_examines_a_backend_that_was_registered(environment: dict[str, str]) -> None:
    pytest.importorskip("onnxruntime")
    lines = run(environment, "-m", "tfs_rt", "doctor", "made").splitlines()
    assert lines[0] == "made: made by a test"
    assert "made            ok  runs" in lines


def test_the_bench_measures_a_backend_that_was_registered(environment: dict[str, str]) -> None:
    assert "'made'" in run(environment, "-c", PLAN)


def test_auto_tries_float32_on_the_cpu_alone() -> None:
    assert automatic_backends() == ("winograd", "ort-cpu")
    assert all(BACKENDS[name].precision == "fp32" for name in automatic_backends())
    assert set(automatic_backends()) <= set(backends_on("cpu"))


def test_reading_the_registry_imports_no_library() -> None:
    code = "import sys, tfs_rt.backends.registry; print(*sys.modules)"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert not {"numpy", *(backend.package for backend in BACKENDS.values())} & set(ended.stdout.split())


@pytest.mark.parametrize("name", BACKENDS)
def test_an_extra_of_the_project_brings_each_backends_packages(name: str) -> None:
    import tomllib

    from support.paths import ROOT

    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    backend = BACKENDS[name]
    assert backend.extra in extras
    required = {requirement.split(">")[0].split("[")[0] for requirement in extras[backend.extra]}
    assert required & set(backend.distributions)
