"""Images in one folder, named by modality in any words: one case, or several by the rest of their names."""

from pathlib import Path

import pytest

from support.cases import file_names, find, refusal
from support.helpers import write_case
from tfs_rt.batch.notices import reading_warnings
from tfs_rt.cases.case import Case
from tfs_rt.cases.load import load_case


def touch(folder: Path, *names: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_bytes(b"")
    return folder


@pytest.mark.parametrize(
    "names",
    [
        ("t1.png", "t2.png", "pet.png"),
        ("T1w.nii.gz", "FLAIR.nii.gz", "fdg.nii.gz"),
        ("CTAC.png", "MRI.png", "SPECT-Tc.png"),
        ("t1ce.png", "T2 weighted.png", "tc99m.png"),
        ("scan_t1.png", "t2.png", "pet.png"),
        ("t1.png", "t2.png", "pet.png", "flair.png"),
    ],
)
def test_synonyms_make_the_folders_case(tmp_path: Path, names: tuple[str, ...]) -> None:
    touch(tmp_path / "c", *names)
    assert tuple(file_names(find(tmp_path)["c"]).values()) == names[:3]
    assert list(find(tmp_path / "c")) == ["c"]


@pytest.mark.parametrize(
    ("m1", "m2", "words"),
    [
        ("mr-t1", "flair", "m2 is FLAIR, in which fluid is dark: the models were trained with MR-T2 in its place"),
        ("ct", "MRI", "the name of m2 does not say its contrast: it was taken for MR-T2"),
        ("ct", "t2", None),
    ],
)
def test_a_contrast_that_stands_in_for_t2_gives_a_warning(tmp_path: Path, m1: str, m2: str, words: str | None) -> None:
    folder = write_case(tmp_path / "c", m1=m1)
    (folder / "mr-t2.png").rename(folder / f"{m2}.png")
    loaded = load_case(find(folder)["c"], 4, None)
    assert reading_warnings(loaded) == ([words] if words else [])


def test_the_rest_of_a_name_tells_cases_apart(tmp_path: Path) -> None:
    touch(tmp_path / "all", *(f"{n}_{name}.png" for n in ("001", "002") for name in ("t1", "MR-T2", "pet")))
    assert sorted(find(tmp_path)) == ["all_001", "all_002"]
    found = find(tmp_path / "all")
    assert file_names(found["002"]) == {"m1": "002_t1.png", "m2": "002_MR-T2.png", "functional": "002_pet.png"}
    touch(tmp_path / "all", "003_t1.png")
    assert "found 0 functional images in 003_t1.png (mr-t1)" in refusal(find(tmp_path / "all")["003"])


def test_a_name_that_repeats_its_folder_gives_the_id_once(tmp_path: Path) -> None:
    touch(tmp_path / "patient7", "patient7-MR-T1.png", "patient7-MR-T2.png", "patient7-PET.png")
    assert list(find(tmp_path)) == ["patient7"]
    assert list(find(tmp_path / "patient7")) == ["patient7"]


def test_images_of_different_subjects_are_no_case(tmp_path: Path) -> None:
    touch(tmp_path / "c", "001_t1.png", "002_t2.png", "003_pet.png")
    assert "their names differ in more than the modality ('001' in 001_t1.png" in refusal(find(tmp_path)["c"])


def test_exact_names_that_are_a_case_go_before_all_others(tmp_path: Path) -> None:
    touch(tmp_path / "c", "mr-t1.png", "mr-t2.png", "pet.png", "flair.png", "ct_old.png", "fdg.png", "pet_2.png")
    assert tuple(file_names(find(tmp_path)["c"]).values()) == ("mr-t1.png", "mr-t2.png", "pet.png")


def test_a_name_of_two_modalities_is_named_where_an_image_is_missing(tmp_path: Path) -> None:
    touch(tmp_path / "c", "t1.png", "t2.png", "pet_ct.png")
    message = refusal(find(tmp_path)["c"])
    assert "found 0 functional images in t1.png (mr-t1), t2.png (mr-t2); expected one of pet, spect" in message
    assert "pet_ct.png (names pet and ct) does not name a modality" in message


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (("t2.png", "flair.png", "pet.png"), "it is not known which of mr-flair and mr-t2 is m2"),
        (("t1.png", "mri.png", "pet.png"), "it is not known which of mr and mr-t1 is m2"),
        (("t1.png", "T1w.png", "t2.png", "pet.png"), "found 2 images of mr-t1"),
        (("t1.png", "t2.png", "gad.png", "pet.png"), "found 3 anatomical images"),
        (("contact.png", "t2.png", "pet.png"), "contact.png does not name a modality"),
    ],
)
def test_what_is_not_clear_is_not_guessed(tmp_path: Path, names: tuple[str, ...], words: str) -> None:
    touch(tmp_path / "c", *names)
    assert words in refusal(find(tmp_path)["c"])


def test_images_beside_folders_of_cases_count_if_they_are_whole_cases(tmp_path: Path) -> None:
    touch(tmp_path / "p1", "t1.png", "t2.png", "pet.png")
    touch(tmp_path, "overview_pet.png")
    assert list(find(tmp_path)) == ["p1"]
    touch(tmp_path, "9_t1.png", "9_t2.png", "9_pet.png")
    assert sorted(find(tmp_path)) == ["9", "p1"]


def test_numbers_of_slices_are_not_channels_of_nnunet(tmp_path: Path) -> None:
    touch(tmp_path, *(f"{name}_{n:04d}.png" for name in ("CT", "MR", "PET") for n in range(3)))
    found = find(tmp_path)
    assert sorted(found) == ["0000", "0001", "0002"]
    assert file_names(found["0001"]) == {"m1": "CT_0001.png", "m2": "MR_0001.png", "functional": "PET_0001.png"}


def test_ids_of_nnunet_cases_may_hold_a_modality(tmp_path: Path) -> None:
    touch(tmp_path, *(f"{name}_000{n}.png" for name in ("pet_7", "spect_8") for n in range(3)))
    found = find(tmp_path)
    assert sorted(found) == ["pet_7", "spect_8"]
    assert all(isinstance(case, Case) for case in found.values())


def test_two_images_of_one_modality_are_named_together(tmp_path: Path) -> None:
    for name in ("pre_t1.png", "post_t1.png", "t2.png", "pet.png"):
        (tmp_path / name).touch()
    (case,) = find(tmp_path).values()
    assert "found 2 images of mr-t1 (post_t1.png (mr-t1), pre_t1.png (mr-t1)); expected one" in refusal(case)
