"""A run whose engine fails, or that is interrupted: finished cases stay, and the report tells the rest."""

import contextlib
import dataclasses
import json
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from support.helpers import InProcessReader, png, write_case
from support.pipelines import blend, pipeline
from tfs_rt.batch.request import Options
from tfs_rt.batch.run import Run
from tfs_rt.cases.discover import discover
from tfs_rt.errors import EnvironmentFault, ModelError, TfsRtError
from tfs_rt.images import Array
from tfs_rt.system import signals
from tfs_rt.system.files import write_file


def cases(tmp_path: Path, count: int) -> Path:
    for i in range(count):
        write_case(tmp_path / "in" / f"k{i}")
    colour = np.asarray([250, 10, 10], dtype=np.uint8)
    (tmp_path / "in" / "k1" / "pet.png").write_bytes(png(np.full((16, 16, 3), colour)))
    return tmp_path / "in"


def is_the_marked_case(condition: Array) -> bool:
    return bool((condition[:, 6] > 0.9).all(axis=(1, 2)).any())


def run(tmp_path: Path, fail: BaseException, count: int, batch: int) -> Run:
    def predict(condition: Array, x_t: Array, noise_level: Array) -> Array:
        if is_the_marked_case(condition):
            raise fail
        return blend(condition, x_t, noise_level)

    out = tmp_path / "out"
    out.mkdir()
    found = discover([cases(tmp_path, count)], output=out)
    return Run(pipeline(tmp_path, predict), Options(out, batch=batch), found, InProcessReader())


@pytest.mark.parametrize("batch", [1, 2, 4])
@pytest.mark.parametrize("fail", [MemoryError("no room"), RuntimeError("engine\nlong text"), ValueError()])
def test_what_cannot_run_fails_alone(tmp_path: Path, fail: Exception, batch: int) -> None:
    report = run(tmp_path, fail, 4, batch).fuse()
    assert report.exit_code == 3
    assert {r["id"]: r["status"] for r in report.results} == {"k0": "done", "k1": "failed", "k2": "done", "k3": "done"}
    assert sorted(p.name for p in (tmp_path / "out").iterdir() if p.suffix == ".png") == ["k0.png", "k2.png", "k3.png"]


def test_a_case_without_memory_fails_alone_and_names_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A limit that is set but not reached does not end the run."""
    monkeypatch.setattr("tfs_rt.batch.case_errors.memory_limits", lambda: iter(["ulimit -v is 67108864 kB"]))
    report = run(tmp_path, MemoryError("no room"), 4, 2).fuse()
    failed = [result for result in report.results if result["status"] == "failed"]
    assert [result["id"] for result in failed] == ["k1"]
    assert "could not be fused at 64x64 (MemoryError: no room) (ulimit -v is 67108864 kB)" in str(failed[0]["error"])


@pytest.mark.parametrize("fault", [EnvironmentFault("disk", "full", "rm"), ModelError("a", "b", "c")])
def test_a_finished_case_whose_reading_fails_is_on_no_sheet_and_ends_no_run(
    tmp_path: Path, fault: TfsRtError, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = run(tmp_path, ValueError(), 2, 1)
    first.fuse()

    def refuse(*_: Any) -> None:
        raise fault

    monkeypatch.setattr("tfs_rt.batch.plan.load_case", refuse)
    options = dataclasses.replace(first.options, sheet=True)
    found = [case for case in discover([tmp_path / "in"], output=tmp_path / "out") if case.id == "k0"]
    report = Run(first.fuser, options, found, InProcessReader()).fuse()
    (kept,) = report.results
    assert (kept["status"], "is on no contact sheet" in str(kept["warnings"])) == ("kept", True)


def test_an_interruption_leaves_the_finished_cases_and_a_report(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, KeyboardInterrupt(), 3, 1).fuse()
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert [r["id"] for r in report["results"]] == ["k0"]
    assert (report["cases"], report["done"], report["ended"], report["not_run"]) == (3, 1, "interrupted", ["k1", "k2"])
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [".tfs-rt", "k0.json", "k0.png", "report.json"]


def test_a_signal_while_a_file_is_written_leaves_no_temporary_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(descriptor: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("os.fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_file(tmp_path / "a.png", b"half")
    assert list(tmp_path.iterdir()) == []


def test_a_foreign_temporary_file_does_not_block_a_run(tmp_path: Path) -> None:
    for process in range(2):
        (tmp_path / f".a.png.{process}.tmp").write_bytes(b"left by a killed run")
    write_file(tmp_path / "a.png", b"whole")
    assert (tmp_path / "a.png").read_bytes() == b"whole"


def test_a_signal_that_the_engine_swallows_ends_the_run_after_its_batch(tmp_path: Path) -> None:
    watched = run(tmp_path, RuntimeError(), 3, 1)

    def swallow(cases: float) -> None:
        with contextlib.suppress(BaseException):
            os.kill(os.getpid(), signal.SIGTERM)

    watched.on_step = swallow
    with signals.raise_as_exceptions(), pytest.raises(signals.Signalled):
        watched.fuse()
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert (report["ended"], report["done"], report["not_run"]) == ("interrupted", 1, ["k1", "k2"])
