"""Work and memory grow with the number of cases, and no faster: function calls are counted, not seconds."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from support.helpers import InProcessReader, write_case
from tfs_rt.batch import verify as verification
from tfs_rt.batch.case_results import CaseResults
from tfs_rt.batch.journal import Journal
from tfs_rt.batch.progress import Progress, status
from tfs_rt.batch.report import Report, run_report, write_report
from tfs_rt.batch.request import Options
from tfs_rt.batch.run import Run
from tfs_rt.batch.shards import Shard
from tfs_rt.cases.case import Case, FoundCase
from tfs_rt.cases.discover import discover
from tfs_rt.facts import json_bytes
from tfs_rt.images import RGB
from tfs_rt.sampling.engine import ImageBatch
from tfs_rt_studies.discovery_times import LAYOUTS

FEW = 20
MANY = 80
LINEAR = MANY / FEW * 1.05  # what is done once makes it less; one call in 20 may be of a sort that is a little more


def calls(function: Callable[..., Any], *arguments: Any, **options: Any) -> int:
    """The number of function calls, of Python's and of C's, that a call makes."""
    count = 0

    def note(frame: Any, event: str, argument: Any) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        function(*arguments, **options)
    finally:
        sys.setprofile(before)
    return count


class Painter:
    """A method that takes no time."""

    scale = 1
    steps = 1
    trained_size = None

    def begin(self, batch: ImageBatch) -> Callable[[], list[RGB]]:
        image = np.random.default_rng(0).integers(0, 256, (*batch.size, 3), np.uint8)
        return lambda: [image for _ in batch.ids]

    def describe(self, size: tuple[int, int] | None) -> str:
        return "method: painter"

    def self_test(self) -> None:
        pass

    def provenance(self) -> dict[str, Any]:
        return {"method": "painter", "versions": {}}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("full", [False, True], ids=["an empty output folder", "a full output folder"])
def test_finding_cases_is_linear_in_every_layout(tmp_path: Path, layout: str, *, full: bool) -> None:
    counts = []
    for number in (FEW, MANY):
        source = tmp_path / f"in {number}"
        output = tmp_path / f"out {number}"
        source.mkdir()
        output.mkdir()
        given = LAYOUTS[layout](source, number)
        found = discover([given], output=output)  # what is compiled or cached once is by now
        assert len(found) == number
        for case in found if full else ():
            (output / f"{case.id}.png").touch()
            (output / f"{case.id}.json").touch()
        counts.append(calls(discover, [given], output=output))
    assert counts[1] <= LINEAR * counts[0]


def test_results_beside_the_inputs_are_compared_in_linear_time(tmp_path: Path) -> None:
    counts = []
    for number in (FEW, MANY):
        source = LAYOUTS["flat folder"](tmp_path / str(number), number)
        discover([source], output=source)
        counts.append(calls(discover, [source], output=source))
    assert counts[1] <= LINEAR * counts[0]


def painted(source: Path, output: Path, count: int, shard: Shard | None = None) -> Run:
    """A run over so many cases of the same three files."""
    files = {"m1": source / "mr-t1.png", "m2": source / "mr-t2.png", "functional": source / "pet.png"}
    cases: list[FoundCase] = [Case(f"k{number}", files) for number in range(count)]
    output.mkdir(exist_ok=True)
    return Run(Painter(), Options(output, shard=shard), cases, InProcessReader())


@pytest.mark.parametrize("shard", [None, Shard(1, 1)])
def test_a_run_its_second_run_status_and_verify_are_linear(
    tmp_path: Path, shard: Shard | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.fsync", lambda descriptor: None)
    counts: list[list[int]] = []
    for number in (5, 20):
        root = tmp_path / str(number)
        source = write_case(root / "in", size=8)
        output = root / "out"
        painted(source, root / "warm", 2).fuse()
        first = calls(painted(source, output, number, shard).fuse)
        second = painted(source, output, number, shard)
        reports: list[Report] = []
        again = calls(lambda: reports.append(second.fuse()))  # noqa: B023
        assert reports[0].kept == number
        counts.append([first, again, calls(status, output), calls(lambda: list(verification.verify(output)))])  # noqa: B023
    for few, many in zip(*counts, strict=True):
        assert many <= 4.2 * few


def test_a_report_is_laid_out_as_every_file_of_ours_and_read_back_in_order(tmp_path: Path) -> None:
    for number, ids in enumerate((["b", "a", "c"], [])):
        results = CaseResults(tmp_path)
        for case_id in ids:
            results.append({"id": case_id, "status": "done", "warnings": ["ä", "x\ny"], "seconds": 0.5})
        cases = ["a", "b", "c"]
        provenance = {"versions": {"x": "1"}}
        report = run_report(results, cases, ended="complete", seconds=1.0, provenance=provenance)
        write_report(tmp_path, None, report, cases)
        data = (tmp_path / "report.json").read_bytes()
        assert data == json_bytes(json.loads(data))
        assert [result["id"] for result in json.loads(data)["results"]] == sorted(ids)
        assert json.loads(data)["not_run"] == [[], ["a", "b", "c"]][number]


def test_results_beyond_what_memory_holds_go_to_the_disk_and_come_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tfs_rt.batch.case_results.IN_MEMORY", 2000)
    results = CaseResults(tmp_path)
    statuses = ["done", "failed"] * 50
    expected = [{"id": f"k{n}", "status": status, "text": "x" * n} for n, status in enumerate(statuses[:99])]
    for result in expected:
        results.append(result)
    assert list(results) == expected
    assert results.counts == {"done": 50, "failed": 49}
    results.remove({"k3", "k4"})
    results.append({"id": "k3", "status": "failed"})
    assert len(results) == 98
    assert results.counts == {"done": 49, "failed": 49}
    assert [result["id"] for result in results.in_order()] == sorted(results.ids())
    results.truncate(3)
    assert list(results) == expected[:3]
    assert results.counts == {"done": 2, "failed": 1}
    assert not list(tmp_path.iterdir())  # the file has no name


def test_progress_reads_new_lines_alone(tmp_path: Path) -> None:
    (tmp_path / ".tfs-rt" / "shards" / "1-of-1").mkdir(parents=True)
    progress = Progress(tmp_path, [Shard(1, 1)])
    assert progress.update() == 0
    journal = Journal(tmp_path / ".tfs-rt" / "shards" / "1-of-1")
    journal.begin(9)
    for number in range(5):
        journal.write("done", case=f"k{number}", seconds=1)
    assert progress.update() == 5
    few = calls(progress.update)
    journal.write("failed", case="k5", error="x: y")
    assert progress.update() == 6
    assert calls(progress.update) <= few + 2
    journal.begin(9)
    journal.write("kept", case="k0", seconds=1)
    assert progress.update() == 1
    journal.close()
