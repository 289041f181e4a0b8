"""Pairing is by name; an incomplete case is refused alone."""

import re
from pathlib import Path

import numpy as np
import pytest

from support.helpers import write_case
from tfs_rt.cases.case import Case, Found, RefusedCase
from tfs_rt.cases.discover import case_from_files, discover
from tfs_rt.errors import NothingFound, UsageError


def find(*sources: Path) -> dict[str, Found]:
    return {case.id: case for case in discover(sources, output=Path("nowhere"))}


def refusal(found: Found) -> str:
    assert isinstance(found, RefusedCase)
    return str(found.error)


def names(found: Found) -> dict[str, str]:
    assert isinstance(found, Case)
    return {slot: file.name for slot, file in found.files.items()}


@pytest.mark.parametrize("m1", ["ct", "mr-t1", "mr-gad", "mr-pd"])
@pytest.mark.parametrize("functional", ["pet", "spect"])
def test_case_folders_are_ordered_by_modality(tmp_path: Path, m1: str, functional: str) -> None:
    write_case(tmp_path / "a", m1=m1, functional=functional)
    (tmp_path / "a" / "notes.txt").write_text("left alone")
    found = find(tmp_path)
    assert names(found["a"]) == {"m1": f"{m1}.png", "m2": "mr-t2.png", "functional": f"{functional}.png"}


def test_a_case_folder_itself_can_be_given_and_names_may_vary_in_case_and_dash(tmp_path: Path) -> None:
    folder = write_case(tmp_path / "a")
    (folder / "mr-t1.png").rename(folder / "MR_T1.PNG")
    assert names(find(folder)["a"])["m1"] == "MR_T1.PNG"


@pytest.mark.parametrize(
    ("remove", "add", "words"),
    [
        ("pet.png", None, "found 0 functional"),
        (None, "spect.png", "found 2 functional"),
        ("mr-t1.png", None, "found 1 anatomical image in mr-t2.png, pet.png; expected mr-t2 and one of ct, mr-t1"),
        (None, "ct.png", "found 3 anatomical"),
        (None, "pet.tif", r"pet is there 2 times"),
    ],
)
def test_an_incomplete_or_doubled_case_is_refused_alone(
    tmp_path: Path, remove: str | None, add: str | None, words: str
) -> None:
    write_case(tmp_path / "good")
    bad = write_case(tmp_path / "bad")
    if remove:
        (bad / remove).unlink()
    if add:
        (bad / add).write_bytes(b"")
    found = find(tmp_path)
    assert isinstance(found["good"], Case)
    assert re.search(words, refusal(found["bad"]))


def test_two_anatomical_images_without_t2_are_not_guessed(tmp_path: Path) -> None:
    folder = write_case(tmp_path / "a", m1="ct")
    (folder / "mr-t2.png").rename(folder / "mr-gad.png")
    assert "which of ct and mr-gad is m2" in refusal(find(tmp_path)["a"])


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


def test_nnunet_names_below_the_source_are_refused_with_the_source_to_give(tmp_path: Path) -> None:
    channels = ["b_0000.png", "b_0001.png", "b_0002.png"]
    for folder, files in (("imagesTr", channels), ("labelsTr", ["b.png"]), ("labelsTs", ["c.png"])):
        (tmp_path / folder).mkdir()
        for name in files:
            (tmp_path / folder / name).write_bytes(b"")
    found = find(tmp_path)
    assert list(found) == ["imagesTr"]
    assert f"give {tmp_path / 'imagesTr'} itself as a source" in refusal(found["imagesTr"])
    assert list(find(tmp_path / "imagesTr")) == ["b"]


def test_nnunet_names_go_by_channel(tmp_path: Path) -> None:
    for name in ("b_0002.png", "b_0000.png", "b_0001.png", "c_0000.png", "c_0003.png"):
        (tmp_path / name).write_bytes(b"")
    found = find(tmp_path)
    assert names(found["b"]) == {"m1": "b_0000.png", "m2": "b_0001.png", "functional": "b_0002.png"}
    assert "_0000, _0003" in refusal(found["c"])


def test_a_csv_is_read_relative_to_itself(tmp_path: Path) -> None:
    table = tmp_path / "cases.csv"
    table.write_text(
        "\ufeffid,functional,m1,m2,extra\nk1,f.png,a.png,sub/b.png,9\nk2,,a.png,b.png,\n", encoding="utf-8"
    )
    found = find(table)
    case = found["k1"]
    assert isinstance(case, Case)
    assert case.files == {"m1": tmp_path / "a.png", "m2": tmp_path / "sub/b.png", "functional": tmp_path / "f.png"}
    assert "line 3: functional is empty" in refusal(found["k2"])


def test_a_csv_without_its_columns_is_refused(tmp_path: Path) -> None:
    table = tmp_path / "cases.csv"
    table.write_text("id,m1,functional\na,b,c\n")
    with pytest.raises(UsageError, match="has 0 columns 'm2'"):
        find(table)
    table.write_text("id m1 m2 functional\na b c d\n")
    with pytest.raises(UsageError, match="first line: id m1 m2 functional.*with commas, semicolons or tabs"):
        find(table)
    table.write_text("id,m1,m2,m2,functional\na,b,c,d,e\n")
    with pytest.raises(UsageError, match="has 2 columns 'm2'"):
        find(table)


def test_the_same_id_twice_is_refused_both_times_even_in_other_case(tmp_path: Path) -> None:
    one, two = write_case(tmp_path / "one" / "K1"), write_case(tmp_path / "two" / "k1")
    cases = discover([tmp_path / "one", tmp_path / "two"], output=tmp_path / "out")
    said = f"2 cases have this id ({one}, {two}): rename all but one, or list them in a CSV under ids of their own"
    assert [refusal(case) for case in cases] == [f"K1: {said}", f"k1: {said}"]


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


def test_results_inside_the_source_are_no_cases(tmp_path: Path) -> None:
    write_case(tmp_path / "a")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a.png").write_bytes(b"")
    assert [case.id for case in discover([tmp_path], output=tmp_path / "out")] == ["a"]


def test_nothing_found_says_so(tmp_path: Path) -> None:
    with pytest.raises(NothingFound, match="no case in this folder"):
        find(tmp_path)
    with pytest.raises(NothingFound, match="no such file"):
        find(tmp_path / "absent")
    (tmp_path / "one.png").write_bytes(b"")
    with pytest.raises(UsageError, match="--m1 A --m2 B"):
        find(tmp_path / "one.png")


def test_a_linked_folder_keeps_the_name_it_was_given(tmp_path: Path) -> None:
    for name in ("p1", "p2"):
        write_case(tmp_path / "store" / name / "images")
        (tmp_path / "cases").mkdir(exist_ok=True)
        (tmp_path / "cases" / name).symlink_to(tmp_path / "store" / name / "images")
    assert set(find(tmp_path / "cases")) == {"p1", "p2"}
    assert set(find(tmp_path / "cases" / "p1")) == {"p1"}


def test_a_result_that_would_overwrite_an_input_is_refused(tmp_path: Path) -> None:
    folder = write_case(tmp_path / "pet")
    (found,) = discover([folder], output=folder)
    assert "pet.png: is an input of this run" in refusal(found)
    assert isinstance(found, RefusedCase)
    assert not found.owns_result


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


def test_paths_that_give_one_id_are_refused_with_both_named(tmp_path: Path) -> None:
    write_case(tmp_path / "a_b" / "c")
    write_case(tmp_path / "a" / "b_c")
    cases = discover([tmp_path])
    assert len(cases) == 2
    for case in cases:
        assert str(tmp_path / "a" / "b_c") in refusal(case)
        assert str(tmp_path / "a_b" / "c") in refusal(case)


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


def test_a_doubled_channel_is_refused(tmp_path: Path) -> None:
    for name in ("k_0000.png", "k_0000.PNG", "k_0001.png", "k_0002.png"):
        (tmp_path / name).write_bytes(b"")
    assert "_0000, _0000, _0001, _0002" in refusal(find(tmp_path)["k"])


def test_one_missing_source_does_not_stop_the_others_and_the_same_twice_counts_once(tmp_path: Path) -> None:
    case = write_case(tmp_path / "a")
    cases = discover([case, case, tmp_path / "absent"], output=tmp_path / "out")
    assert [case.id for case in cases] == ["a", "absent"]
    assert "no such file" in refusal(cases[1])


def test_single_files_are_named_after_their_folder_or_after_themselves(tmp_path: Path) -> None:
    a, b = tmp_path / "k1" / "x.png", tmp_path / "k1" / "y.png"
    assert case_from_files(a, b, tmp_path / "k1" / "pet.png", None).id == "k1"
    assert case_from_files(a, b, tmp_path / "flat" / "s2_spect.png", None).id == "s2_spect"
    assert case_from_files(a, b, tmp_path / "flat" / "s2_spect.png", "mine").id == "mine"


def test_a_path_with_a_nul_is_refused_alone(tmp_path: Path) -> None:
    (tmp_path / "cases.csv").write_text("id,m1,m2,functional\na,x\0y,b,c\nb,x,y,z\n")
    found = find(tmp_path / "cases.csv")
    assert isinstance(found["a"], RefusedCase)
    assert isinstance(found["b"], Case)


ANATOMICAL, FUNCTIONAL = ("ct", "mr-t1", "mr-gad", "mr-pd"), ("pet", "spect")


def test_of_five_hundred_random_folders_none_is_mispaired(tmp_path: Path, rng: np.random.Generator) -> None:
    pairs = 0
    for number in range(500):
        root = tmp_path / str(number)
        present: dict[str, list[str]] = {}
        for case in rng.permutation(["a", "b", "c"])[: rng.integers(1, 4)]:
            whole = {str(rng.choice(ANATOMICAL)), "mr-t2", str(rng.choice(FUNCTIONAL))}
            share = {True: 0.9, False: 0.1}  # of a case that would be whole, and of what is too much
            names = [n for n in (*ANATOMICAL, "mr-t2", *FUNCTIONAL) if rng.random() < share[n in whole]]
            present[str(case)] = names
            for name in names:
                (root / case).mkdir(parents=True, exist_ok=True)
                (root / case / f"{name}.png").touch()
        try:
            found = {case.id: case for case in discover([root], output=tmp_path / "out")} if root.exists() else {}
        except NothingFound:
            found = {}
        for case_id, names in present.items():
            m1 = [name for name in names if name in ANATOMICAL]
            functional = [name for name in names if name in FUNCTIONAL]
            case = found.get(case_id)
            if len(m1) == len(functional) == 1 and "mr-t2" in names:
                assert isinstance(case, Case)
                expected = {"m1": m1[0], "m2": "mr-t2", "functional": functional[0]}
                assert case.files == {slot: root / case_id / f"{name}.png" for slot, name in expected.items()}
                pairs += 1
            else:
                assert not isinstance(case, Case)
    assert pairs > 300


@pytest.mark.parametrize(
    "names", [("ct", "mr-t2", "pet"), ("ct.ima", "MR_T2.ima", "pet.dat"), ("ct.png", "mr-t2.png", "pet")]
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


@pytest.mark.parametrize("given", ["folder", "source"])
def test_folders_of_slices_are_refused_and_never_vanish(tmp_path: Path, given: str) -> None:
    write_case(tmp_path / "b") if given == "folder" else None
    for name in ("ct", "mr-t2", "pet"):
        (tmp_path / "a" / name).mkdir(parents=True)
        for number in range(3):
            (tmp_path / "a" / name / f"IM{number}.dcm").write_bytes(b"")
    found = find(tmp_path / "a" if given == "source" else tmp_path)
    assert set(found) == ({"a", "b"} if given == "folder" else {"a"})
    assert "holds folders instead of files (ct, mr-t2, pet)" in refusal(found["a"])
    assert "turn a series into NIfTI (dcm2niix) or one multi-frame DICOM" in refusal(found["a"])


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
