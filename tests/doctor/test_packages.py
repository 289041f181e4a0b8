"""Packages that share a module, or are not what loads: with fake distributions."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.doctor_answers import no_answer
from tfs_rt.doctor import examine as doctor
from tfs_rt.doctor.ask import Answer


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
