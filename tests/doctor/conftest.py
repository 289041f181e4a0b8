"""Fixtures of the doctor's tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.doctor_answers import only_ort_runs
from tfs_rt.doctor import examine as doctor


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TFS_RT_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return tmp_path / "cache"


@pytest.fixture
def healthy(monkeypatch: pytest.MonkeyPatch) -> None:
    """No probe is run; ort-cpu runs."""
    monkeypatch.setattr(doctor, "ask", only_ort_runs)
