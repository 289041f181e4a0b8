"""The record of a case whose result cannot be encoded."""

from pathlib import Path
from typing import Any

import pytest

from support.fake_methods import FakeMethod, fuse_with, write_cases
from tfs_rt.batch import record
from tfs_rt.errors import InputError


@pytest.mark.parametrize("place", ["finish_case", "warnings_of"])
@pytest.mark.parametrize("fail", [ValueError("inf"), MemoryError(), InputError("k1", "too large", "crop it")])
def test_a_case_that_cannot_be_encoded_stops_only_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, fail: Exception
) -> None:
    plain = getattr(record, place)

    def failing(work: Any, *arguments: Any) -> Any:
        if work.loaded.case.id == "k1":
            raise fail
        return plain(work, *arguments)

    monkeypatch.setattr(record, place, failing)
    out = tmp_path / "out"
    report = fuse_with(FakeMethod(), write_cases(tmp_path / "in", 3), out)
    assert {r["id"]: r["status"] for r in report.results} == {"k0": "done", "k1": "failed", "k2": "done"}
    assert not list(out.glob("k1.*"))
