"""What a run does when the engine fails: nothing is lost that was done, and the report says the rest."""

import json
from pathlib import Path

import numpy as np
import pytest
from helpers import png, write_case
from test_pipeline import blend, pipeline

from tfs_rt.cases import discover
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


def run(tmp_path: Path, fail: BaseException, batch: int) -> Run:
    def predict(condition: Array, x_t: Array, noise_level: Array) -> Array:
        if is_the_marked_case(condition):
            raise fail
        return blend(condition, x_t, noise_level)

    out = tmp_path / "out"
    out.mkdir()
    return Run(pipeline(tmp_path, predict), Options(out, "ort-cpu", batch=batch))


@pytest.mark.parametrize("batch", [1, 2, 4])
@pytest.mark.parametrize("fail", [MemoryError("no room"), RuntimeError("engine\nlong text"), ValueError()])
def test_what_cannot_run_fails_alone(tmp_path: Path, fail: Exception, batch: int) -> None:
    found = discover([cases(tmp_path, 4)], output=tmp_path / "out")
    report = run(tmp_path, fail, batch).fuse(found)
    assert report.exit_code == 3
    assert {r["id"]: r["status"] for r in report.results} == {"k0": "done", "k1": "failed", "k2": "done", "k3": "done"}
    assert sorted(p.name for p in (tmp_path / "out").iterdir() if p.suffix == ".png") == ["k0.png", "k2.png", "k3.png"]


def test_an_interruption_leaves_the_finished_cases_and_a_report(tmp_path: Path) -> None:
    found = discover([cases(tmp_path, 3)], output=tmp_path / "out")
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, KeyboardInterrupt(), 1).fuse(found)
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert [r["id"] for r in report["results"]] == ["k0"]
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["k0.json", "k0.png", "report.json"]
