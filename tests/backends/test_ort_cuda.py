"""`ort-cuda` runs on a GPU or not at all; with no GPU here, it is its refusals that are tested."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest

from support.helpers import Cli, write_case
from tfs_rt.backends import ort_cuda
from tfs_rt.backends.ort_cpu import OrtCpuEngine, start_engine
from tfs_rt.models.bundle import load_bundle


@pytest.fixture
def with_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    """An onnxruntime built with CUDA that finds none: its session silently has the CPU's provider alone."""

    def on_the_cpu(bundle: Any, engine: Any, providers: Any) -> Any:
        assert providers[0] == ("CUDAExecutionProvider", {"use_tf32": "0"})
        return start_engine(bundle, engine, ["CPUExecutionProvider"])

    monkeypatch.setattr(ort, "get_available_providers", lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"])
    monkeypatch.setattr(ort, "preload_dlls", lambda: sys.stdout.write("Failed to load libcublas.so.13: no such file\n"))
    monkeypatch.setattr(ort, "set_default_logger_severity", lambda severity: None)
    monkeypatch.setattr(ort_cuda, "start_engine", on_the_cpu)


def fused(cli: Cli, tmp_path: Path) -> Any:
    write_case(tmp_path / "in" / "k0")
    ended = cli("fuse", tmp_path / "in", "-o", tmp_path / "out", "--backend", "ort-cuda")
    assert not (tmp_path / "out").exists()
    assert len(ended.err.splitlines()) == 1
    assert ended.out == ""
    return ended


@pytest.mark.usefixtures("with_cuda")
def test_a_session_that_fell_back_to_the_cpu_is_refused(cli: Cli, tmp_path: Path) -> None:
    ended = fused(cli, tmp_path)
    assert ended.code == 6
    assert "found no GPU that it can use (Failed to load libcublas.so.13: no such file): pip install" in ended.err


def test_an_onnxruntime_without_cuda_is_refused(cli: Cli, tmp_path: Path) -> None:
    if "CUDAExecutionProvider" in ort.get_available_providers():
        pytest.skip("this onnxruntime has CUDA")
    ended = fused(cli, tmp_path)
    assert ended.code == 6
    assert "this onnxruntime is built without CUDA: pip uninstall onnxruntime" in ended.err


def test_a_batch_is_one_call_and_the_same_numbers(x4: Path, rng: np.random.Generator) -> None:
    bundle = load_bundle(x4)
    cpu = start_engine(bundle, OrtCpuEngine, ["CPUExecutionProvider"])
    ours = start_engine(bundle, ort_cuda.OrtCudaEngine, ["CPUExecutionProvider"])
    shapes = ((3, 9, 32, 48), (3, 3, 32, 48), (3, 1))
    inputs = [rng.uniform(0, 1, shape).astype(np.float32) for shape in shapes]
    np.testing.assert_allclose(ours.predict(*inputs), cpu.predict(*inputs), atol=1e-5)
