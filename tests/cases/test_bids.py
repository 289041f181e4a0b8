"""BIDS datasets as sources: each session of each subject is a case."""

from pathlib import Path

import pytest

from support.bids import IDS, touch_images, write_dataset, write_session
from support.cases import find, refusal
from support.helpers import write_case
from tfs_rt.cases.bids_choice import BidsChoice
from tfs_rt.cases.case import Case, FoundCase
from tfs_rt.cases.discover import discover
from tfs_rt.cases.modalities import modality_of
from tfs_rt.errors import NothingFound, UsageError


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    return write_dataset(tmp_path / "raw")


def stems(case: FoundCase) -> list[str]:
    """The names of a case's files, without their endings."""
    assert isinstance(case, Case)
    return [file.name.partition(".")[0] for file in case.files.values()]


def test_each_session_of_each_subject_is_a_case(raw: Path) -> None:
    found = find(raw)
    assert tuple(found) == IDS
    assert stems(found[IDS[0]]) == ["sub-01_T1w", "sub-01_T2w", "sub-01_pet"]
    assert stems(found[IDS[2]]) == ["sub-02_ses-b_T1w", "sub-02_ses-b_T2w", "sub-02_ses-b_pet"]


def test_a_subject_alone_can_be_given(raw: Path) -> None:
    assert tuple(find(raw / "sub-02")) == IDS[1:]
    found = find(raw / "sub-01", raw / "sub-02")[IDS[1]]
    assert isinstance(found, Case)
    assert found.dataset == raw


@pytest.mark.parametrize(
    ("name", "modality"),
    [("ce-gd_T1w", "mr-gad"), ("acq-x_PDw", "mr-pd"), ("ct", "ct"), ("space-mni_desc-x_T1w", "mr-t1")],
)
def test_entities_are_read_and_contrast_enhanced_t1_is_a_modality_of_its_own(
    tmp_path: Path, name: str, modality: str
) -> None:
    write_session(tmp_path / "raw", "sub-x1", ("T2w", "spect", name))
    found = find(tmp_path / "raw")["sub-x1_desc-fused_T2w"]
    assert stems(found) == [f"sub-x1_{name}", "sub-x1_T2w", "sub-x1_spect"]
    assert isinstance(found, Case)
    assert [modality_of(file) for file in found.files.values()] == [modality, "mr-t2", "spect"]


@pytest.mark.parametrize(
    ("folder", "name", "words"),
    [
        ("anat", "sub-01_run-2_T1w.nii.gz", "found 2 images of mr-t1 (sub-01_T1w.nii.gz, sub-01_run-2_T1w.nii.gz)"),
        ("anat", "sub-01_T1w.nii", "found 2 images of mr-t1"),
        ("pet", "sub-01_spect.nii.gz", "found 2 functional images"),
        ("ct", "sub-01_ct.nii.gz", "found 3 anatomical images"),
        ("anat", "sub-02_PDw.nii.gz", "sub-02_PDw.nii.gz is a name of sub-02, but lies in a folder of sub-01: move it"),
        ("anat", "sub-01_ses-a_PDw.nii.gz", "a name of sub-01 and ses-a, but lies in a folder of sub-01"),
        ("anat", "sub-01_run-1_ses-a_PDw.nii.gz", "lies in a folder of sub-01"),
        ("pet", "sub-01_PET.nii.gz", "sub-01_PET.nii.gz is not a valid BIDS name: name it sub-<label>"),
        ("anat", "T1w.nii.gz", "T1w.nii.gz is not a valid BIDS name"),
        ("anat", "sub-01_run1_T1w.nii.gz", "is not a valid BIDS name"),
        ("anat", "sub-01_run-1_run-2_T1w.nii.gz", "is not a valid BIDS name"),
        ("anat", "run-1_sub-01_T1w.nii.gz", "is not a valid BIDS name"),
    ],
)
def test_an_incomplete_session_or_a_misplaced_file_is_refused_alone(
    raw: Path, folder: str, name: str, words: str
) -> None:
    (raw / "sub-01" / folder).mkdir(exist_ok=True)
    (raw / "sub-01" / folder / name).write_bytes(b"")
    found = find(raw)
    assert words in refusal(found[IDS[0]])
    assert [type(found[name]) for name in IDS[1:]] == [Case, Case]


def test_a_file_of_another_session_is_refused(raw: Path) -> None:
    (raw / "sub-02/ses-b/pet/sub-02_ses-b_pet.nii.gz").rename(raw / "sub-02/ses-b/pet/sub-02_ses-a_pet.nii.gz")
    assert "lies in a folder of sub-02 and ses-b" in refusal(find(raw)[IDS[2]])


def test_images_of_different_sessions_are_not_paired(tmp_path: Path) -> None:
    write_session(tmp_path / "raw", "sub-1_ses-a", ("T1w", "T2w"))
    write_session(tmp_path / "raw", "sub-1_ses-b", ("pet",))
    found = find(tmp_path / "raw")
    assert "found 0 functional images in it, only anatomical" in refusal(found["sub-1_ses-a_desc-fused_T2w"])
    assert "found 0 anatomical images in it, only functional" in refusal(found["sub-1_ses-b_desc-fused_T2w"])


def test_a_label_with_other_signs_is_refused(raw: Path) -> None:
    (raw / "sub-01").rename(raw / "sub-0_1")
    assert "sub-0_1 is not a valid BIDS label" in refusal(find(raw)["sub-0_1_desc-fused_T2w"])


def test_an_image_that_was_not_fetched_is_part_of_its_case(raw: Path) -> None:
    file = raw / "sub-01/anat/sub-01_T1w.nii.gz"
    file.unlink()
    file.symlink_to("../../.git/annex/objects/none")
    assert stems(find(raw)[IDS[0]])[0] == "sub-01_T1w"


def test_other_folders_of_a_dataset_are_left_alone(raw: Path) -> None:
    for folder in ("derivatives", "sourcedata", "code", ".git"):
        write_session(raw / folder, "sub-07")
    (raw / "sub-03" / "func").mkdir(parents=True)
    (raw / "sub-01" / "anat" / "._sub-01_T1w.nii.gz").write_bytes(b"")
    (raw / "sub-01" / "anat" / "sub-01_T1w.json").write_text("{}")
    assert tuple(find(raw)) == IDS


def test_a_dataset_is_known_by_its_folders_and_a_folder_of_cases_stays_one(tmp_path: Path) -> None:
    write_session(tmp_path / "raw", "sub-1")
    assert set(find(tmp_path / "raw")) == {"sub-1_desc-fused_T2w"}
    write_case(tmp_path / "cases" / "sub-1")
    assert set(find(tmp_path / "cases")) == {"sub-1"}
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "dataset_description.json").write_text("{}")
    with pytest.raises(NothingFound, match="no case in this BIDS dataset"):
        find(tmp_path / "empty")


def choose(raw: Path, anat_session: str | None = None, **labels: str) -> dict[str, FoundCase]:
    """The cases of a dataset, with images chosen by their entities."""
    cases = discover([raw], output=Path("nowhere"), bids=BidsChoice(labels, anat_session))
    return {case.id: case for case in cases}


@pytest.fixture
def derivatives(tmp_path: Path) -> Path:
    """A dataset in two spaces, as fMRIPrep and PETPrep name their results."""
    names = [f"{space}desc-preproc_{suffix}" for space in ("", "space-MNI_res-2_") for suffix in ("T1w", "T2w", "pet")]
    return touch_images(tmp_path / "fmriprep", *(f"sub-01_{name}" for name in (*names, "space-T1w_desc-preproc_pet")))


def test_images_are_chosen_by_space_and_the_result_has_it_in_its_name(derivatives: Path) -> None:
    (found,) = choose(derivatives, space="MNI").items()
    assert found[0] == "sub-01_space-MNI_desc-fused_T2w"
    assert stems(found[1]) == [f"sub-01_space-MNI_res-2_desc-preproc_{suffix}" for suffix in ("T1w", "T2w", "pet")]
    (found,) = choose(derivatives, space="none").items()
    assert found[0] == "sub-01_desc-fused_T2w"
    assert stems(found[1]) == [f"sub-01_desc-preproc_{suffix}" for suffix in ("T1w", "T2w", "pet")]


def test_native_anatomy_lies_in_the_space_of_t1w(derivatives: Path) -> None:
    (found,) = choose(derivatives, space="T1w").values()
    names = ["sub-01_desc-preproc_T1w", "sub-01_desc-preproc_T2w", "sub-01_space-T1w_desc-preproc_pet"]
    assert stems(found) == names


def test_without_a_choice_the_message_names_the_option_and_the_labels(derivatives: Path) -> None:
    message = refusal(find(derivatives)["sub-01_desc-fused_T2w"])
    assert "found 2 images of mr-t1 (sub-01_desc-preproc_T1w.nii.gz, sub-01_space-MNI_res-2_desc-" in message
    assert "They differ in space: none, MNI; res: none, 2: choose one by --bids space=MNI, or space=none" in message
    (case,) = discover([derivatives])  # another command, without the option
    assert "--bids" not in refusal(case)


def test_a_run_is_chosen_where_there_are_runs(tmp_path: Path) -> None:
    raw = touch_images(tmp_path, *(f"sub-01_{name}" for name in ("T1w", "T2w", "run-01_pet", "run-02_pet")))
    touch_images(raw, "sub-02_T1w", "sub-02_T2w", "sub-02_pet")
    found = choose(raw, run="2")
    assert stems(found["sub-01_run-02_desc-fused_T2w"]) == ["sub-01_T1w", "sub-01_T2w", "sub-01_run-02_pet"]
    assert stems(found["sub-02_desc-fused_T2w"]) == ["sub-02_T1w", "sub-02_T2w", "sub-02_pet"]
    refused = choose(raw, run="3")["sub-01_desc-fused_T2w"]
    assert "--bids leaves none of sub-01_run-01_pet.nii.gz, sub-01_run-02_pet.nii.gz" in refusal(refused)


def test_a_choice_that_leaves_nothing_is_refused_and_one_that_applies_nowhere_is_wrong_usage(derivatives: Path) -> None:
    assert "--bids leaves none of" in refusal(choose(derivatives, space="X")["sub-01_space-X_desc-fused_T2w"])
    with pytest.raises(UsageError, match="no image of a BIDS dataset has the entity 'run'"):
        choose(derivatives, run="1")
    with pytest.raises(UsageError, match="no image of a BIDS dataset is of ses-mr"):
        choose(derivatives, anat_session="mr")
    write_case(derivatives.parent / "cases" / "a")
    with pytest.raises(UsageError, match="'space'"):
        choose(derivatives.parent / "cases", space="MNI")


def test_anatomy_of_the_subject_goes_with_each_session_without_its_own(tmp_path: Path) -> None:
    touch_images(tmp_path, "sub-1_T1w", "sub-1_T2w", "sub-1_ses-a_pet", "sub-1_ses-b_pet")
    touch_images(tmp_path, "sub-1_ses-c_T1w", "sub-1_ses-c_T2w", "sub-1_ses-c_pet")
    found = find(tmp_path)
    assert sorted(found) == [f"sub-1_ses-{label}_desc-fused_T2w" for label in "abc"]
    assert stems(found["sub-1_ses-b_desc-fused_T2w"]) == ["sub-1_T1w", "sub-1_T2w", "sub-1_ses-b_pet"]
    assert stems(found["sub-1_ses-c_desc-fused_T2w"]) == ["sub-1_ses-c_T1w", "sub-1_ses-c_T2w", "sub-1_ses-c_pet"]


def test_anatomy_of_another_session_is_taken_on_request_alone(tmp_path: Path) -> None:
    touch_images(tmp_path, "sub-1_ses-mr_T1w", "sub-1_ses-mr_T2w", "sub-1_ses-pet_pet")
    for case in find(tmp_path).values():
        assert "give --bids anat-ses=mr, and --align unless all images are on one grid" in refusal(case)
    (found,) = choose(tmp_path, anat_session="mr").items()
    assert found[0] == "sub-1_ses-pet_desc-fused_T2w"
    assert stems(found[1]) == ["sub-1_ses-mr_T1w", "sub-1_ses-mr_T2w", "sub-1_ses-pet_pet"]


def test_the_label_of_one_modality_leaves_the_others_alone_but_for_sessions_without_it(tmp_path: Path) -> None:
    touch_images(tmp_path, "sub-1_acq-hi_T1w", "sub-1_acq-lo_T1w", "sub-1_acq-tse_T2w", "sub-1_pet")
    touch_images(tmp_path, "sub-2_acq-lo_T1w", "sub-2_acq-tse_T2w", "sub-2_pet")
    found = choose(tmp_path, acq="hi")
    assert stems(found["sub-1_acq-hi_desc-fused_T2w"]) == ["sub-1_acq-hi_T1w", "sub-1_acq-tse_T2w", "sub-1_pet"]
    assert "--bids leaves none of" in refusal(found["sub-2_desc-fused_T2w"])


def test_t1_with_and_without_contrast_are_told_apart_by_ce(tmp_path: Path) -> None:
    touch_images(tmp_path, "sub-1_T1w", "sub-1_ce-gd_T1w", "sub-1_T2w", "sub-1_pet")
    (case,) = find(tmp_path).values()
    assert "choose one by --bids ce=gd, or ce=none" in refusal(case)
    (enhanced,) = choose(tmp_path, ce="gd").values()
    assert stems(enhanced) == ["sub-1_ce-gd_T1w", "sub-1_T2w", "sub-1_pet"]
    (native,) = choose(tmp_path, ce="none").values()
    assert stems(native) == ["sub-1_T1w", "sub-1_T2w", "sub-1_pet"]


def test_a_session_of_a_dataset_is_a_source(raw: Path) -> None:
    assert tuple(find(raw / "sub-02" / "ses-b")) == IDS[2:]


def test_subjects_and_sessions_are_chosen_too(raw: Path) -> None:
    assert tuple(choose(raw, sub="02")) == IDS[1:]
    assert tuple(choose(raw, ses="b")) == IDS[2:]
    assert tuple(choose(raw, ses="none")) == IDS[:1]
    with pytest.raises(UsageError, match="chooses no session"):
        choose(raw, ses="x")


def test_flair_stands_in_for_t2_where_there_is_none(tmp_path: Path) -> None:
    touch_images(tmp_path, *(f"sub-1_{name}" for name in ("T1w", "FLAIR", "pet")))
    touch_images(tmp_path, *(f"sub-2_{name}" for name in ("T1w", "T2w", "FLAIR", "pet")))
    found = find(tmp_path)
    assert stems(found["sub-1_desc-fused_T2w"])[1] == "sub-1_FLAIR"
    assert stems(found["sub-2_desc-fused_T2w"])[1] == "sub-2_T2w"


def test_a_dataset_that_is_all_there_is_below_a_source_is_read(tmp_path: Path) -> None:
    write_dataset(tmp_path / "data" / "raw")
    assert tuple(find(tmp_path)) == IDS


def test_subjects_whose_folders_hold_other_images_are_no_dataset(tmp_path: Path) -> None:
    for name in ("ct", "mr-t2", "pet"):
        folder = tmp_path / "sub-01" / name
        folder.mkdir(parents=True)
        (folder / "001.png").write_bytes(b"")
    assert list(find(tmp_path)) == ["sub-01_001"]
