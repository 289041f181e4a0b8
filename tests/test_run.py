"""What a run does when the engine fails: nothing is lost that was done, and the report says the rest."""

import contextlib
import json
import os
import signal
from pathlib import Path

import numpy as np
import pytest
from helpers import png, write_case
from test_pipeline import blend, pipeline

from tfs_rt import signals
from tfs_rt.cases import discover
from tfs_rt.files import write_file
from tfs_rt.images import Array
from tfs_rt.run import Options, Run


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
    return Run(pipeline(tmp_path, predict), Options(out, batch=batch), found)


@pytest.mark.parametrize("batch", [1, 2, 4])
@pytest.mark.parametrize("fail", [MemoryError("no room"), RuntimeError("engine\nlong text"), ValueError()])
def test_what_cannot_run_fails_alone(tmp_path: Path, fail: Exception, batch: int) -> None:
    report = run(tmp_path, fail, 4, batch).fuse()
    assert report.exit_code == 3
    assert {r["id"]: r["status"] for r in report.results} == {"k0": "done", "k1": "failed", "k2": "done", "k3": "done"}
    assert sorted(p.name for p in (tmp_path / "out").iterdir() if p.suffix == ".png") == ["k0.png", "k2.png", "k3.png"]


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

    def swallow(cases: int) -> None:
        with contextlib.suppress(BaseException):
            os.kill(os.getpid(), signal.SIGTERM)

    watched.on_step = swallow
    with signals.raising(), pytest.raises(signals.Signalled):
        watched.fuse()
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert (report["ended"], report["done"], report["not_run"]) == ("interrupted", 1, ["k1", "k2"])
