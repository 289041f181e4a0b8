"""A folder for each modality: what has the same name in each is one case."""

import unicodedata
from pathlib import Path

import numpy as np
import pytest

from support.cases import find, refusal
from support.helpers import write_case
from tfs_rt.cases.case import Case, FoundCase

SLOTS = ("m1", "m2", "functional")
DICOM = b"\0" * 128 + b"DICM"


def touch(root: Path, *names: str, data: bytes = b"") -> Path:
    """Write files below a folder."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return root


def paths(root: Path, case: FoundCase) -> list[str]:
    """The paths of a case's images below a folder, in slot order."""
    assert isinstance(case, Case), case
    return [case.files[slot].relative_to(root).as_posix() for slot in SLOTS]


@pytest.mark.parametrize(
    "folders",
    [("CT", "MR-T2", "PET"), ("mr-t1", "mr-t2", "pet"), ("T1w", "t2_weighted", "SPECT-Tc"), ("ct", "MRI", "Spect")],
)
@pytest.mark.parametrize("above", ["", "train/", "a/b/"])
def test_equal_names_in_the_folders_of_modalities_are_cases(
    tmp_path: Path, folders: tuple[str, ...], above: str
) -> None:
    touch(tmp_path, *(f"{above}{folder}/{key}.png" for folder in folders for key in ("001", "p1/s 2", "p2/s 2")))
    found = find(tmp_path)
    prefix = above.replace("/", "_")
    assert sorted(found) == [f"{prefix}001", f"{prefix}p1_s 2", f"{prefix}p2_s 2"]
    assert paths(tmp_path, found[f"{prefix}p1_s 2"]) == [f"{above}{folder}/p1/s 2.png" for folder in folders]


def test_only_names_pair_images_whatever_else_lies_in_the_folders(tmp_path: Path, rng: np.random.Generator) -> None:
    keys = [f"k{number:02d}" for number in range(20)]
    present = {folder: set(rng.permutation(keys)[:15].tolist()) for folder in ("CT", "MR", "SPECT")}
    for folder, names in present.items():
        touch(tmp_path, *(f"{folder}/{name}{rng.choice(['.png', '.TIF'])}" for name in names))
        touch(tmp_path / folder, ".DS_Store", "._k01.png", "Thumbs.db", "notes.txt")
    found = find(tmp_path)
    assert set(found) == set.union(*present.values())
    for key, case in found.items():
        if all(key in names for names in present.values()):
            assert [Path(path).stem for path in paths(tmp_path, case)] == [key] * 3
        else:
            held = [folder for folder, names in present.items() if key in names]
            assert all(f"{folder}/{key}." in refusal(case) for folder in held)


def test_names_pair_in_either_unicode_form_and_any_capitals(tmp_path: Path) -> None:
    touch(tmp_path, unicodedata.normalize("NFC", "CT/Jürgen.png"), unicodedata.normalize("NFD", "MR/jürgen.png"))
    touch(tmp_path, "PET/JÜRGEN.tif")
    (case,) = find(tmp_path).values()
    assert isinstance(case, Case)


def test_the_modality_may_stand_in_the_names_too(tmp_path: Path) -> None:
    touch(tmp_path, *(f"{folder}/{n}_{folder.lower()}.png" for folder in ("CT", "MR", "PET") for n in ("001", "002")))
    assert paths(tmp_path, find(tmp_path)["002"]) == ["CT/002_ct.png", "MR/002_mr.png", "PET/002_pet.png"]


def test_a_folder_of_mr_may_hold_both_contrasts_by_name(tmp_path: Path) -> None:
    touch(tmp_path, "MR/001_T1.png", "MR/001_T2.png", "PET/001.png")
    assert paths(tmp_path, find(tmp_path)["001"]) == ["MR/001_T1.png", "MR/001_T2.png", "PET/001.png"]


def test_words_that_all_folders_share_are_no_modality(tmp_path: Path) -> None:
    touch(tmp_path, *(f"{folder}/PD_{n}.png" for folder in ("CT", "MR", "PET") for n in (1, 2)))  # Parkinson's disease
    assert paths(tmp_path, find(tmp_path)["PD_2"]) == ["CT/PD_2.png", "MR/PD_2.png", "PET/PD_2.png"]


@pytest.mark.parametrize(
    ("folders", "words"),
    [
        (("CT", "PET"), "found 1 anatomical image in CT, PET; expected mr-t2 and one of"),
        (("CT", "MR-T2"), "found 0 functional images in CT, MR-T2; expected one of pet, spect"),
        (("MR-T1", "MRI", "PET"), "mr does not say its contrast"),
        (("CT", "T1", "PET"), "it is not known which of ct and mr-t1 is m2"),
        (("CT", "CTAC", "T2", "PET"), "found 2 images of ct (CT/001.png (ct), CTAC/001.png (ct)); expected one"),
        (("CT", "T1", "T2", "PET"), "found 3 anatomical images"),
        (("T2", "CT", "PET", "SPECT"), "found 2 functional images"),
    ],
)
def test_folders_that_are_no_case_are_refused_with_what_was_understood(
    tmp_path: Path, folders: tuple[str, ...], words: str
) -> None:
    touch(tmp_path, *(f"{folder}/001.png" for folder in folders))
    (found,) = find(tmp_path).values()
    assert words in refusal(found)


def test_a_folder_called_by_the_modality_alone_goes_before_longer_names(tmp_path: Path) -> None:
    touch(tmp_path, *(f"{name}/001.png" for name in ("CT", "CT_old", "CT_masks", "MR", "PET", "PET overlay", "masks")))
    assert list(find(tmp_path)) == ["001"]
    assert paths(tmp_path, find(tmp_path)["001"]) == ["CT/001.png", "MR/001.png", "PET/001.png"]


def test_different_names_are_never_paired_by_position(tmp_path: Path) -> None:
    touch(tmp_path, "CT/a.png", "MR/b.png", "PET/c.png")
    (found,) = find(tmp_path).values()
    assert "no name is the same in the folders of its modalities (CT/a.png, MR/b.png, PET/c.png, ...)" in refusal(found)


@pytest.mark.parametrize("ending", [".dcm", ".IMA", "", ".1.2.840.1"])
def test_folders_of_dicom_files_are_the_series_of_one_case(tmp_path: Path, ending: str) -> None:
    for folder in ("mr-t1", "T2", "PET"):
        touch(tmp_path / "in" / "c", *(f"{folder}/IM{n}{ending}" for n in range(3)), data=DICOM)
    touch(tmp_path / "in" / "c", "mr-t1/DICOMDIR", data=DICOM)
    assert paths(tmp_path / "in", find(tmp_path / "in")["c"]) == ["c/mr-t1", "c/T2", "c/PET"]
    assert paths(tmp_path / "in" / "c", find(tmp_path / "in" / "c")["c"]) == ["mr-t1", "T2", "PET"]


def test_a_folder_with_one_dicom_file_is_that_file_and_may_lie_beside_series(tmp_path: Path) -> None:
    touch(tmp_path, "c/CT/multi.dcm", "c/mr-t2/1.dcm", "c/mr-t2/2.dcm", "c/nm.dcm")
    assert paths(tmp_path, find(tmp_path)["c"]) == ["c/CT/multi.dcm", "c/mr-t2", "c/nm.dcm"]


def test_a_series_of_each_patient_in_the_folders_of_modalities_is_a_case(tmp_path: Path) -> None:
    touch(tmp_path, *(f"{folder}/{p}/{n}.dcm" for folder in ("CT", "MR", "PET") for p in ("p1", "p2") for n in "12"))
    found = find(tmp_path)
    assert sorted(found) == ["p1", "p2"]
    assert paths(tmp_path, found["p2"]) == ["CT/p2", "MR/p2", "PET/p2"]


def test_series_of_different_names_are_refused_with_the_options(tmp_path: Path) -> None:
    touch(tmp_path, *(f"p1/{name}/{n}.dcm" for name in ("CT/1.2.3", "MR/1.2.4", "PT/1.2.5") for n in "12"))
    message = refusal(find(tmp_path)["p1"])
    assert "no name is the same in the folders of its modalities (p1/" not in message
    assert "(CT/1.2.3, MR/1.2.4, PT/1.2.5, ...)" in message
    assert "--m1 DIR --m2 DIR --functional DIR" in message


def test_names_of_one_case_may_describe_one_image_further(tmp_path: Path) -> None:
    touch(tmp_path, "p1/T1/t1_mprage.nii.gz", "p1/T2/t2_tse.nii.gz", "p1/PET/fdg_pet.nii.gz")
    names = ["p1/T1/t1_mprage.nii.gz", "p1/T2/t2_tse.nii.gz", "p1/PET/fdg_pet.nii.gz"]
    assert paths(tmp_path, find(tmp_path)["p1"]) == names


def test_dicom_beside_other_images_is_not_guessed(tmp_path: Path) -> None:
    touch(tmp_path, "CT/001.dcm", "CT/002.png", "MR/001.dcm", "PET/001.dcm")
    (found,) = find(tmp_path).values()
    assert "CT holds DICOM (001.dcm) and other images (002.png)" in refusal(found)


def test_a_folder_of_cases_may_be_called_by_a_modality(tmp_path: Path) -> None:
    write_case(tmp_path / "PET" / "a")
    touch(
        tmp_path, "PET/b/t1.png", "PET/b/t2.png", "PET/b/fdg.png", "SPECT/CT/7.png", "SPECT/MR/7.png", "SPECT/NM/7.png"
    )
    found = find(tmp_path)
    assert sorted(found) == ["PET_a", "PET_b", "SPECT_7"]
    assert all(isinstance(case, Case) for case in found.values())


@pytest.mark.parametrize("names", [("SE000001", "SE000002", "SE000003"), ("1.2.840.1", "1.2.840.2")])
@pytest.mark.parametrize("given", ["above", "itself"])
def test_series_whose_names_say_no_modality_are_refused_once_with_the_options(
    tmp_path: Path, names: tuple[str, ...], given: str
) -> None:
    touch(tmp_path / "in" / "p1", *(f"{name}/IM{n}" for name in names for n in range(3)), data=DICOM)
    (found,) = find(tmp_path / "in" if given == "above" else tmp_path / "in" / "p1").values()
    assert found.id == "p1"
    assert "holds DICOM series in folders whose names do not say their modality" in refusal(found)
    assert "--m1 DIR --m2 DIR --functional DIR" in refusal(found)


def test_a_flat_export_of_several_series_is_refused_with_the_options(tmp_path: Path) -> None:
    touch(tmp_path, *(f"export/IM{n:03d}" for n in range(9)), data=DICOM)
    for source in (tmp_path, tmp_path / "export"):
        (found,) = find(source).values()
        assert found.id in ("export", source.name)
        assert "--series" in refusal(found)


def test_a_series_of_unknown_modality_is_named_where_one_is_missing(tmp_path: Path) -> None:
    touch(tmp_path, *(f"c/{folder}/{n}.dcm" for folder in ("t1", "pet", "SE0007") for n in "12"))
    assert "SE0007 does not name a modality: rename it by its modality" in refusal(find(tmp_path)["c"])


def test_links_in_a_circle_end_the_search(tmp_path: Path) -> None:
    touch(tmp_path, "CT/1.png", "MR/1.png", "PET/1.png")
    (tmp_path / "CT" / "again").symlink_to(tmp_path / "CT")
    assert list(find(tmp_path)) == ["1"]
