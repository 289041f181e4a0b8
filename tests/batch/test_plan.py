"""The plan of a run: cases kept, refused or fused, and the number read ahead."""

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from support.fake_methods import FakeMethod, fuse_with, write_cases
from tfs_rt.batch.request import Request
from tfs_rt.cases.case import Case
from tfs_rt.cases.load import Loaded, ReadingOptions, load_case


def test_no_more_than_two_batches_are_read_before_their_results_are_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory stays flat over any number of cases, and a kill loses no more than what was in flight."""
    source = write_cases(tmp_path / "in", 9)
    read: list[str] = []
    ahead: list[int] = []

    def counted(case: Case, *arguments: Any) -> Loaded:
        read.append(case.id)
        ahead.append(len(read) - len(list((tmp_path / "out").glob("*.png"))))
        return load_case(case, *arguments)

    monkeypatch.setattr("tfs_rt.batch.plan.load_case", counted)
    assert fuse_with(FakeMethod(largest_batch=2), source, tmp_path / "out", batch=2).done == 9
    assert max(ahead) == 4  # two batches of two


def test_strict_fails_a_case_that_otherwise_earns_a_warning(tmp_path: Path) -> None:
    """The fake method's results are one colour throughout."""
    source = write_cases(tmp_path / "in", 1)
    lenient = fuse_with(FakeMethod(), source, tmp_path / "lenient").results[0]
    assert lenient["status"] == "done"
    assert any("one colour throughout" in warning for warning in lenient["warnings"])
    facts = json.loads((tmp_path / "lenient" / "k0.json").read_text())
    assert facts["findings"][0]["guard"] == "constant result"
    strict = fuse_with(FakeMethod(), source, tmp_path / "strict", strict=True).results[0]
    assert (strict["status"], "one colour" in strict["error"]["reason"]) == ("failed", True)
    again = fuse_with(FakeMethod(), source, tmp_path / "lenient", strict=True)
    assert again.kept == 0  # the result of a run without --strict does not pass


def test_a_lossy_result_is_kept_only_where_lossy_inputs_are_allowed_and_stops_no_sheet(tmp_path: Path) -> None:
    source = write_cases(tmp_path / "in", 2)
    with Image.open(tmp_path / "in" / "k0" / "mr-t2.png") as image:
        image.save(tmp_path / "in" / "k0" / "mr-t2.jpg")
    (tmp_path / "in" / "k0" / "mr-t2.png").unlink()

    def statuses(*, lossy: bool, sheet: bool) -> list[str]:
        request = Request(reading=ReadingOptions(allow_lossy=lossy))
        report = fuse_with(FakeMethod(), source, tmp_path / "out", request=request, sheet=sheet)
        return [result["status"] for result in report.results]

    assert statuses(lossy=True, sheet=False) == ["done", "done"]
    assert statuses(lossy=False, sheet=True) == ["failed", "kept"]
    assert (tmp_path / "out" / "k0.png").exists()  # it is still true
    assert statuses(lossy=True, sheet=True) == ["kept", "kept"]
