"""Sources of all kinds together, and results that would be in the way of inputs."""

from pathlib import Path

import pytest

from support.cases import find, refusal
from support.helpers import write_case
from tfs_rt.cases.case import Case, RefusedCase
from tfs_rt.cases.discover import KINDS, case_from_files, discover
from tfs_rt.cases.source import SourceKind
from tfs_rt.errors import NothingFound, UsageError
from tfs_rt.spec import SLOTS


def test_nothing_found_says_so(tmp_path: Path) -> None:
    with pytest.raises(NothingFound, match="no case in this folder"):
        find(tmp_path)
    with pytest.raises(NothingFound, match="no such file"):
        find(tmp_path / "absent")
    (tmp_path / "one.png").write_bytes(b"")
    with pytest.raises(UsageError, match="--m1 A --m2 B"):
        find(tmp_path / "one.png")


def test_one_missing_source_does_not_stop_the_others_and_the_same_twice_counts_once(tmp_path: Path) -> None:
    case = write_case(tmp_path / "a")
    cases = discover([case, case, tmp_path / "absent"], output=tmp_path / "out")
    assert [case.id for case in cases] == ["a", "absent"]
    assert "no such file" in refusal(cases[1])


def test_a_result_that_would_overwrite_an_input_is_refused(tmp_path: Path) -> None:
    folder = write_case(tmp_path / "pet")
    (found,) = discover([folder], output=folder)
    assert "pet.png: is an input of this run" in refusal(found)
    assert isinstance(found, RefusedCase)
    assert not found.owns_result


def test_single_files_are_named_after_their_folder_or_after_themselves(tmp_path: Path) -> None:
    a = tmp_path / "k1" / "x.png"
    b = tmp_path / "k1" / "y.png"
    assert case_from_files(a, b, tmp_path / "k1" / "pet.png", None).id == "k1"
    assert case_from_files(a, b, tmp_path / "flat" / "s2_spect.png", None).id == "s2_spect"
    assert case_from_files(a, b, tmp_path / "flat" / "s2_spect.png", "mine").id == "mine"


def test_a_source_can_hold_nnunet_names_beside_case_folders(tmp_path: Path) -> None:
    write_case(tmp_path / "a")
    for channel in range(3):
        (tmp_path / f"b_000{channel}.png").write_bytes(b"")
    assert [case.id for case in discover([tmp_path])] == ["b", "a"]


def test_a_kind_of_source_is_added_by_one_entry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "study.zip").write_bytes(b"")
    case = Case("k", {slot: tmp_path / f"{slot}.png" for slot in SLOTS})
    kind = SourceKind(
        name="archive",
        naming_remedy="add images",
        recognises=lambda source: source.path.suffix == ".zip",
        find_cases=lambda source: [case],
    )
    with pytest.raises(UsageError, match="neither a folder nor a CSV"):
        discover([tmp_path / "study.zip"])
    monkeypatch.setattr("tfs_rt.cases.discover.KINDS", (*KINDS, kind))
    assert discover([tmp_path / "study.zip"]) == [case]
