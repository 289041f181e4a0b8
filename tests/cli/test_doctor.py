"""The report that `tfs-rt doctor` prints: one line first, and what is missing only where it is asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from support.helpers import Cli
from tfs_rt.backends.registry import BACKENDS
from tfs_rt.doctor import examine as doctor
from tfs_rt.doctor.report import (
    CacheFound,
    Driver,
    Fault,
    GpuFound,
    ModelFound,
    Problem,
    Report,
    SandboxFound,
    Verdict,
)

GPU = GpuFound(name="NVIDIA L4", capability="8.9", memory=24 * 2**30, flavours=["tensorrt-rtx", "tensorrt"])
NO_DRIVER = Driver(cuda=None, problem=Problem(reason="there is no driver", remedy="install one"))


def report(*running: str, **changes: Any) -> Report:
    """A report of a machine on which these backends run."""
    facts: dict[str, Any] = {
        "versions": {"tfs-rt": "0.1.0", "python": "3.12.1", "system": "Linux"},
        "packages": {"onnxruntime": "1.32.0", "llvmlite": "0.50.0"},
        "driver": NO_DRIVER,
        "sandbox": SandboxFound(holds=["seccomp"], missing=["Landlock"]),
        "cache": CacheFound(folder="/cache"),
        "models": [ModelFound(name="tfs-rt/x4", half=True)],
        "backends": [
            Verdict(name, True) if name in running else Verdict(name, False, f"{name} is missing", f"install {name}")
            for name in BACKENDS
        ],
    }
    return Report(**facts | changes)


@pytest.fixture
def run(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, list[str]]]:
    """Run the command on a machine that a report describes; its exit code and lines."""

    def run(found: Report, *arguments: str) -> tuple[int, list[str]]:
        monkeypatch.setattr(doctor, "examine", lambda: found)
        ended = cli("doctor", *arguments)
        return ended.code, ended.out.splitlines()

    return run


Run = Callable[..., tuple[int, list[str]]]


def test_the_first_line_says_what_is_ready(run: Run) -> None:
    assert run(report("winograd", "ort-cpu"))[1][0] == "Ready: CPU, winograd"
    assert run(report("torch"))[1][0] == "Ready: CPU, torch"
    found = report("winograd", "tensorrt-rtx", gpus=[GPU], driver=Driver(cuda="13.0"))
    assert run(found)[1][0] == "Ready: GPU, tensorrt-rtx; CPU, winograd"


def test_without_verbose_only_what_runs_is_listed(run: Run) -> None:
    code, lines = run(report("winograd", "ort-cpu"))
    assert code == 0
    assert lines == [
        "Ready: CPU, winograd",
        "These backends run too: ort-cpu",
        "More: tfs-rt doctor BACKEND for one backend, tfs-rt doctor -v for everything",
    ]


def test_a_fault_of_the_machine_is_always_reported(run: Run) -> None:
    fault = Fault("CUDA_VISIBLE_DEVICES", "hides every GPU", "unset it")
    assert "CUDA_VISIBLE_DEVICES --  hides every GPU: unset it" in run(report("winograd", faults=[fault]))[1]


def test_verbose_has_a_line_for_everything_in_columns(run: Run) -> None:
    code, lines = run(report("winograd", "ort-cpu"), "-v")
    assert code == 0
    assert len(lines) < 40
    assert all(line[15:].startswith((" ok  ", " --  ")) for line in lines[1:]), lines
    assert "winograd        ok  runs; auto takes it" in lines
    assert "tensorrt        --  does not run: tensorrt is missing: install tensorrt" in lines
    assert "sandbox         --  files are read behind seccomp; missing: Landlock" in lines
    assert "packages        ok  llvmlite 0.50.0 (for winograd)" in lines
    assert [line.split()[0] for line in lines[-len(BACKENDS) :]] == list(BACKENDS)


def test_a_backend_that_is_asked_about_decides_the_exit_code(run: Run) -> None:
    code, lines = run(report("winograd"), "tensorrt-rtx")
    assert code == 6
    assert lines[0].startswith("tensorrt-rtx: TensorRT for RTX")
    assert "tensorrt-rtx    --  does not run: tensorrt-rtx is missing: install tensorrt-rtx" in lines
    assert any("not installed: tensorrt-rtx-cu13, cuda-core, cuda-bindings" in line for line in lines)
    assert "driver          --  there is no driver: install one" in lines
    assert not any("winograd" in line for line in lines)
    assert run(report("winograd"), "winograd")[0] == 0
    assert run(report("winograd"), "no-such-backend")[0] == 2


def test_where_nothing_runs_the_cpus_backends_are_explained_and_the_exit_code_is_6(run: Run) -> None:
    code, lines = run(report())
    assert code == 6
    assert lines[0] == "Not ready: no backend runs on this machine"
    assert "winograd        --  does not run: winograd is missing: install winograd" in lines
    assert not any(line.startswith("tensorrt ") for line in lines)
