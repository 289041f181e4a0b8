"""A finding that most cases share ends the run with exit code 3, and one line names its likely cause."""

import json
from collections import Counter
from pathlib import Path

import pytest

from support.fake_methods import FakeMethod, fuse_with, write_cases
from tfs_rt.batch.case_results import CaseResults
from tfs_rt.batch.common_finding import CAUSES, common_finding
from tfs_rt.batch.report import OWN_KEYS
from tfs_rt_studies.guards.rates import INPUT_GUARDS, RESULT_GUARDS


def test_each_guard_has_a_likely_cause() -> None:
    assert CAUSES.keys() == {*INPUT_GUARDS, *RESULT_GUARDS}


@pytest.mark.parametrize(
    ("cases", "checked", "found"), [(2, 2, False), (3, 3, True), (3, 5, True), (3, 6, False), (4, 7, True)]
)
def test_it_takes_three_cases_and_more_than_half_of_those_checked(cases: int, checked: int, found: bool) -> None:
    common = common_finding(Counter({"saturation": cases, "likeness": 1}), checked)
    assert (common is not None) == found
    if common:
        assert str(common).startswith(
            f"{cases} of {checked} cases have the same finding (saturation): probably the win"
        )


def test_rows_are_counted_as_they_come_and_go(tmp_path: Path) -> None:
    results = CaseResults(tmp_path)
    for number in range(4):
        results.append({"id": f"k{number}", "status": "done", "guards": ["likeness"]})
    results.append({"id": "unread", "status": "failed"})
    results.append({"id": "strict", "status": "failed", "guards": ["likeness", "saturation"]})
    common = results.common_finding()
    assert common
    assert (common.guard, common.cases, common.checked) == ("likeness", 5, 5)
    results.remove({"k0", "unread"})
    results.truncate(2)
    assert results.common_finding() is None
    assert (results.guards["likeness"], results.unchecked) == (2, 0)


def test_a_run_whose_results_are_all_wrong_ends_with_exit_code_3_and_says_so(tmp_path: Path) -> None:
    """The fake method's results are of one level, and so like no input."""
    source = write_cases(tmp_path / "in", 3)
    report = fuse_with(FakeMethod(), source, tmp_path / "out")
    written = json.loads((tmp_path / "out" / "report.json").read_text())
    assert (report.done, report.exit_code) == (3, 3)
    assert written["common_finding"]["cases"] == 3
    assert "another --method or --model" in written["common_finding"]["likely_cause"]
    again = fuse_with(FakeMethod(), source, tmp_path / "out")  # all kept: their sidecars name the guards
    assert (again.kept, again.exit_code) == (3, 3)
    strict = fuse_with(FakeMethod(), source, tmp_path / "strict", strict=True)
    assert (strict.failed, strict.exit_code) == (3, 4)
    assert strict.results.common_finding() is not None


def test_the_entry_of_one_shard_does_not_pass_for_that_of_all() -> None:
    assert "common_finding" in OWN_KEYS
