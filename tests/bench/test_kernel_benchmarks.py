"""The kernels' benchmarks hold their results to other formulations, and their history tells what became slower."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from support.paths import ROOT
from tfs_rt_studies.kernels.history import TOLERANCE, keep, main


def made(path: Path, minimum: float, *, device: str = "Some CPU @ 2 GHz, 2 processors", busy: str = "") -> Path:
    stats = {"min": minimum, "median": 1.5 * minimum}
    found = [{"name": "test_noise", "stats": stats, "extra_info": {"error": 1e-7}}]
    machine = {"device": device, "python_version": "3.11.7", "versions": {"numpy": "2.0"}, "busy": busy}
    commit = {"id": "0123456789abcdef", "dirty": True}
    data: dict[str, Any] = {"machine_info": machine, "commit_info": commit, "benchmarks": found}
    path.write_text(json.dumps(data | {"datetime": "2026-01-02T03:04:05+00:00"}))
    return path


def test_every_kernel_equals_its_other_formulation_and_leaves_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """All of bench/kernels, hardly timed: for the times there is `make bench`."""
    options = ["--benchmark-only", "--benchmark-json", "k.json", "--benchmark-max-time=0.001"]
    options += ["--benchmark-min-rounds=1", "-q", "-p", "no:cacheprovider", "-c", str(ROOT / "pyproject.toml")]
    command = [sys.executable, "-m", "pytest", str(ROOT / "bench" / "kernels"), *options]
    alone = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_XDIST")}
    ended = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False, env=alone)
    assert ended.returncode == 0, ended.stdout
    monkeypatch.setattr(sys, "argv", ["kernel_history", str(tmp_path / "k.json"), "--folder", str(tmp_path / "lines")])
    main()
    (path,) = (tmp_path / "lines").iterdir()
    (line,) = map(json.loads, path.read_text().splitlines())
    assert len(line["kernels"]) == len(capsys.readouterr().out.splitlines()) - 1 - bool(line["busy"]) > 10
    assert all(0 < kernel["minimum"] <= kernel["median"] for kernel in line["kernels"].values())
    assert {"tfs-rt", "numpy", "pillow", "python"} == set(line["versions"])


def test_a_slower_minimum_is_said_and_noise_is_not(tmp_path: Path) -> None:
    assert list(keep(made(tmp_path / "k.json", 1e-3), tmp_path / "first"))[1].endswith("new")
    for factor, slower in ((1.1, False), (0.5, False), (TOLERANCE * 1.01, True)):
        list(keep(made(tmp_path / "k.json", 1e-3), tmp_path / f"{factor}"))
        head, told = keep(made(tmp_path / "k.json", factor * 1e-3), tmp_path / f"{factor}")
        assert f"{factor:.2f} times as long as before" in told
        assert told.endswith("SLOWER") == slower
        assert "0123456789ab-dirty, against 0123456789ab-dirty of 2026-01-02" in head


def test_each_device_is_compared_with_itself_alone(tmp_path: Path) -> None:
    list(keep(made(tmp_path / "k.json", 1e-3), tmp_path))
    other = list(keep(made(tmp_path / "k.json", 9e-3, device="Another, 64 processors"), tmp_path))
    assert other[1].endswith("new")
    names = sorted(path.name for path in tmp_path.glob("*.jsonl"))
    assert names == ["another-64-processors.jsonl", "some-cpu-2-ghz-2-processors.jsonl"]


def test_lines_before_stay_as_they_are_and_a_busy_machine_is_told(tmp_path: Path) -> None:
    list(keep(made(tmp_path / "k.json", 1e-3, busy="load 9"), tmp_path))
    (path,) = tmp_path.glob("*.jsonl")
    before = path.read_bytes()
    told = list(keep(made(tmp_path / "k.json", 2e-3), tmp_path))
    assert path.read_bytes().startswith(before)
    assert path.read_bytes().count(b"\n") == 2
    assert told[-1] == "the run before: load 9"


@pytest.mark.parametrize("text", ["", "[]", "{}", "null", '{"machine_info": 3}', "[" * 100_000])
def test_another_json_is_refused_in_a_line_and_leaves_nothing(
    tmp_path: Path, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "k.json").write_text(text)
    monkeypatch.setattr(sys, "argv", ["kernel_history", str(tmp_path / "k.json"), "--folder", str(tmp_path / "lines")])
    with pytest.raises(SystemExit, match="kernel_history: .*k.json: is not JSON that .*: run make bench"):
        main()
    assert not (tmp_path / "lines").exists()


def test_a_damaged_history_is_named(tmp_path: Path) -> None:
    made(tmp_path / "k.json", 1e-3)
    list(keep(tmp_path / "k.json", tmp_path))
    (path,) = tmp_path.glob("*.jsonl")
    path.write_text('{"device": 3}\n')
    command = [
        sys.executable,
        "-m",
        "tfs_rt_studies.kernels.history",
        str(tmp_path / "k.json"),
        "--folder",
        str(tmp_path),
    ]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert len(ended.stderr.splitlines()) == 1
    assert "its last line is damaged" in ended.stderr
