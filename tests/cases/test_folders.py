"""Case folders at any depth below a source."""

from pathlib import Path

import pytest

from support.cases import file_names, find, refusal
from support.helpers import write_case
from tfs_rt.cases.case import Case, RefusedCase
from tfs_rt.cases.discover import discover
from tfs_rt.errors import NothingFound, UsageError


def test_a_case_folder_itself_can_be_given_and_names_may_vary_in_case_and_dash(tmp_path: Path) -> None:
    folder = write_case(tmp_path / "a")
    (folder / "mr-t1.png").rename(folder / "MR_T1.PNG")
    assert file_names(find(folder)["a"])["m1"] == "MR_T1.PNG"


def test_a_folder_with_foreign_names_is_refused_and_an_empty_one_passed_over(tmp_path: Path) -> None:
    write_case(tmp_path / "good")
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / "scan1.png").write_bytes(b"")
    (tmp_path / "empty").mkdir()
    (tmp_path / ".hidden").mkdir()
    (tmp_path / ".hidden" / "x.png").write_bytes(b"")
    found = find(tmp_path)
    assert set(found) == {"good", "odd"}
    assert "no file is named by its modality" in refusal(found["odd"])


def test_a_linked_folder_keeps_the_name_it_was_given(tmp_path: Path) -> None:
    for name in ("p1", "p2"):
        write_case(tmp_path / "store" / name / "images")
        (tmp_path / "cases").mkdir(exist_ok=True)
        (tmp_path / "cases" / name).symlink_to(tmp_path / "store" / name / "images")
    assert set(find(tmp_path / "cases")) == {"p1", "p2"}
    assert set(find(tmp_path / "cases" / "p1")) == {"p1"}


def test_other_files_beside_the_images_are_left_alone(tmp_path: Path) -> None:
    folder = write_case(tmp_path / "a")
    (folder / "pet.json").write_text("{}")
    (tmp_path / "pet.txt").write_text("notes")
    assert isinstance(find(tmp_path)["a"], Case)


def test_a_case_beside_folders_of_cases_is_not_taken_for_all(tmp_path: Path) -> None:
    write_case(tmp_path)
    write_case(tmp_path / "b")
    with pytest.raises(UsageError, match="holds images of one case and folders of others"):
        find(tmp_path)


def test_cases_in_deeper_folders_are_called_by_their_path(tmp_path: Path) -> None:
    write_case(tmp_path / "p2")
    for session in ("p1/s1", "p1/s2", "p3/s1", "site/p4/s1"):
        write_case(tmp_path / session)
    found = find(tmp_path)
    assert set(found) == {"p2", "p1_s1", "p1_s2", "p3_s1", "site_p4_s1"}
    assert all(isinstance(case, Case) for case in found.values())
    assert set(find(tmp_path / "p1")) == {"s1", "s2"}  # by the path from the source
    write_case(tmp_path / "p9")
    assert set(found) < set(find(tmp_path))  # an id depends on no other case


def test_an_incomplete_case_in_a_deeper_folder_is_refused_alone_and_by_its_path(tmp_path: Path) -> None:
    write_case(tmp_path / "p1" / "s1")
    (write_case(tmp_path / "p1" / "s2") / "pet.png").unlink()
    (tmp_path / "p2" / "s1").mkdir(parents=True)
    (tmp_path / "p2" / "s1" / "scan.png").write_bytes(b"")
    (tmp_path / "p1" / "overview.png").write_bytes(b"")  # beside folders of cases, as beside a source's
    found = find(tmp_path)
    assert set(found) == {"p1_s1", "p1_s2", "p2_s1"}
    assert "found 0 functional" in refusal(found["p1_s2"])
    assert "no file is named by its modality" in refusal(found["p2_s1"])


def test_links_in_a_circle_end_the_search_and_lead_to_each_case_once(tmp_path: Path) -> None:
    write_case(tmp_path / "in" / "p1" / "s1")
    (tmp_path / "in" / "p1" / "up").symlink_to(tmp_path / "in")
    (tmp_path / "in" / "p1" / "s1" / "self").symlink_to("self")
    (tmp_path / "far" / "p2").mkdir(parents=True)
    (tmp_path / "in" / "far").symlink_to(tmp_path / "far")
    (tmp_path / "far" / "p2" / "back").symlink_to(tmp_path / "in" / "far")
    write_case(tmp_path / "far" / "p2" / "s1")
    assert set(find(tmp_path / "in")) == {"p1_s1", "far_p2_s1"}


def test_folders_too_deep_to_be_walked_are_refused_with_a_way_on(tmp_path: Path) -> None:
    deep = tmp_path / "in"
    for _ in range(33):
        deep /= "d"
    write_case(deep)
    (refused,) = discover([tmp_path / "in"])
    assert "more than 32 folders" in refusal(refused)
    assert isinstance(refused, RefusedCase)
    assert discover([Path(refused.error.subject)])


def test_a_case_folder_that_holds_folders_of_cases_is_refused_and_loses_none(tmp_path: Path) -> None:
    write_case(tmp_path / "good")
    write_case(tmp_path / "p1")
    write_case(tmp_path / "p1" / "later")
    (tmp_path / "good" / "thumbnails").mkdir()
    (tmp_path / "good" / "thumbnails" / "1.png").write_bytes(b"")
    found = find(tmp_path)
    assert isinstance(found["good"], Case)
    assert "holds images of one case and folders of others (later)" in refusal(found["p1"])


def test_a_bids_dataset_below_a_source_is_pointed_out(tmp_path: Path) -> None:
    write_case(tmp_path / "p1")
    (tmp_path / "data" / "sub-01" / "anat").mkdir(parents=True)
    (tmp_path / "data" / "dataset_description.json").write_text("{}")
    assert "is a BIDS dataset: give it as a source of its own" in refusal(find(tmp_path)["data"])


def test_an_earlier_output_folder_is_no_case(tmp_path: Path) -> None:
    write_case(tmp_path / "a")
    (tmp_path / "out1").mkdir()
    (tmp_path / "out1" / "a.png").write_bytes(b"")
    (tmp_path / "out1" / "report.json").write_text("{}")
    assert set(find(tmp_path)) == {"a"}


def test_results_inside_the_source_are_no_cases(tmp_path: Path) -> None:
    write_case(tmp_path / "a")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a.png").write_bytes(b"")
    assert [case.id for case in discover([tmp_path], output=tmp_path / "out")] == ["a"]


@pytest.mark.parametrize(
    "names", [("ct", "mr-t2", "pet"), ("ct.raw", "MR_T2.raw", "pet.dat"), ("ct.png", "mr-t2.png", "pet")]
)
@pytest.mark.parametrize("given", ["folder", "source"])
def test_files_whose_ending_says_no_format_are_refused_and_never_vanish(
    tmp_path: Path, names: tuple[str, ...], given: str
) -> None:
    folder = tmp_path / "a"
    folder.mkdir()
    for name in (*names, "ct.json", "notes.txt"):
        (folder / name).write_bytes(b"")
    said = refusal(find(folder if given == "source" else tmp_path)["a"])
    assert names[2] in said
    assert said.endswith("give the files the ending of their format, .dcm for DICOM")


def test_what_lies_beside_images_and_folders_of_cases_disturb_nobody(tmp_path: Path) -> None:
    folder = write_case(tmp_path / "pet" / "a")
    for name in ("pet.json", "pet", "ct.txt"):
        (folder / name).write_bytes(b"")
    write_case(tmp_path / "ct")
    found = find(tmp_path)
    assert isinstance(found["ct"], Case)
    assert isinstance(found["pet_a"], Case)


def test_a_source_without_cases_says_that_names_need_endings(tmp_path: Path) -> None:
    (tmp_path / "IM0001").write_bytes(b"")
    with pytest.raises(NothingFound, match=r"\.dcm for DICOM"):
        find(tmp_path)


def test_masks_beside_folders_of_cases_are_no_cases(tmp_path: Path) -> None:
    for name in ("p1", "masks/p1", "GT/p1", "map_2"):
        write_case(tmp_path / name)
    assert set(find(tmp_path)) == {"p1", "map_2"}
    assert set(find(tmp_path / "masks")) == {"p1"}


def test_a_file_of_an_unknown_format_is_named_where_its_modality_is_missing(tmp_path: Path) -> None:
    for name in ("t1.npy", "t2.png", "fdg.png"):
        (tmp_path / name).write_bytes(b"")
    (case,) = find(tmp_path).values()
    assert "format neither their ending nor their content says (t1.npy)" in refusal(case)
