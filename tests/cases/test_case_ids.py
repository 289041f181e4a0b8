"""Ids of cases: each names the files of one result, on any file system."""

import os
from pathlib import Path

import pytest

from support.cases import refusal
from support.helpers import write_case
from tfs_rt.cases.case_ids import id_problem
from tfs_rt.cases.discover import discover


def test_the_same_id_twice_is_refused_both_times_even_in_other_case(tmp_path: Path) -> None:
    one = write_case(tmp_path / "one" / "K1")
    two = write_case(tmp_path / "two" / "k1")
    cases = discover([tmp_path / "one", tmp_path / "two"], output=tmp_path / "out")
    said = f"2 cases have this id ({one}, {two}): rename all but one, or list them in a CSV under ids of their own"
    assert [refusal(case) for case in cases] == [f"K1: {said}", f"k1: {said}"]


def test_paths_that_give_one_id_are_refused_with_both_named(tmp_path: Path) -> None:
    write_case(tmp_path / "a_b" / "c")
    write_case(tmp_path / "a" / "b_c")
    cases = discover([tmp_path])
    assert len(cases) == 2
    for case in cases:
        assert str(tmp_path / "a" / "b_c") in refusal(case)
        assert str(tmp_path / "a_b" / "c") in refusal(case)


@pytest.mark.parametrize(
    ("case_id", "words"),
    [
        ("../up", "it holds '/'"),
        ("a/b", "it holds '/'"),
        ("report", "a run has a file of its own by that name"),
        ("SHEETS", "a run has a file of its own by that name"),
        (".hidden", "it begins with a dot"),
        ("a\nb", r"it holds '\n'"),
        ("c:d", "it holds ':'"),
        ("x" * 201, "it has 201 bytes, and a result's name has room for 200: shorten it"),
        ("ä" * 101, "it has 202 bytes"),
    ],
)
def test_an_id_that_cannot_be_a_file_name_is_refused_with_the_cause(tmp_path: Path, case_id: str, words: str) -> None:
    table = tmp_path / "cases.csv"
    table.write_text(f'id,m1,m2,functional\n"{case_id}",a,b,c\n', encoding="utf-8")
    (found,) = discover([table], output=tmp_path)
    assert f"this id cannot name a result: {words}" in refusal(found)


def test_an_id_that_is_not_unicode_is_refused() -> None:
    problem = id_problem(os.fsdecode(b"k\xff"))
    assert problem
    assert problem.reason == r"this id cannot name a result: it holds '\udcff'"
