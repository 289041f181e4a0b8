"""Files of a case are compared by place and order of frames; what cannot be compared gives a warning."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from pydicom import uid

from support.cases import NAMES, load_error, load_folder, replace_image
from support.helpers import write_case
from support.made_dicom import item, make_dicom
from support.scanned_series import series
from tfs_rt.batch.notices import reading_warnings
from tfs_rt.cases.case import Case
from tfs_rt.cases.colormaps import table
from tfs_rt.cases.load import Loaded, ReadingOptions, load_case
from tfs_rt.errors import InputError
from tfs_rt.system.files import path_sha256

SIDE = 32
AXIAL = [1, 0, 0, 0, 1, 0]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_case(tmp_path / "k", size=SIDE)


def volume(value: int, positions: list[float] | None, modality: str = "MR") -> bytes:
    """Frames of `value` + 1, + 2, ... with a place each, or with none."""
    count = len(positions or range(3))
    frames = np.stack([np.full((SIDE, SIDE), value + n, np.uint8) for n in range(1, count + 1)])
    frames[:, 0, 0] = 0
    if positions is None:
        return make_dicom(frames, Modality=modality)
    places = [item(PlanePositionSequence=[item(ImagePositionPatient=[0, 0, z])]) for z in positions]
    shared = item(
        PlaneOrientationSequence=[item(ImageOrientationPatient=AXIAL)],
        PixelMeasuresSequence=[item(PixelSpacing=[1, 1])],
    )
    groups = {"PerFrameFunctionalGroupsSequence": places, "SharedFunctionalGroupsSequence": [shared]}
    return make_dicom(frames, Modality=modality, **groups)


def nuclear(value: int, first: float, spacing: float) -> bytes:
    """Three slices as nuclear medicine says where they lie."""
    frames = np.stack([np.full((SIDE, SIDE), value + n, np.uint8) for n in range(1, 4)])
    frames[:, 0, 0] = 0
    detector = item(ImagePositionPatient=[0, 0, first], ImageOrientationPatient=AXIAL)
    return make_dicom(
        frames,
        SOPClassUID=uid.NuclearMedicineImageStorage,
        Modality="NM",
        DetectorInformationSequence=[detector],
        PixelSpacing=[1, 1],
        SpacingBetweenSlices=spacing,
    )


def greys(loaded: Loaded, slot: int) -> list[int]:
    return [int(images[slot][1, 1, 0]) for images in loaded.slices]


def test_slices_that_lie_at_one_place_are_fused_with_each_other(folder: Path) -> None:
    """Whatever the order in which a file holds them."""
    replace_image(folder, "mr-t1", volume(10, [0, 4, 8]), ".dcm")
    replace_image(folder, "mr-t2", volume(20, [8, 0, 4]), ".dcm")
    replace_image(folder, "pet", nuclear(30, 8, -4), ".dcm")
    loaded = load_folder(folder)
    assert greys(loaded, 0) == [11, 12, 13]
    assert greys(loaded, 1) == [22, 23, 21]
    colours = table("atlas-spect")[[33, 32, 31], 0].tolist()
    assert greys(loaded, 2) == colours
    assert loaded.inputs["functional"]["frame_order"] == [3, 2, 1]
    assert reading_warnings(loaded) == []
    replace_image(folder, "pet", nuclear(30, 8, 4), ".dcm")
    load_error(folder, "do not have the same grid")


def test_a_file_without_a_place_beside_files_with_one_gives_a_warning(folder: Path) -> None:
    replace_image(folder, "mr-t1", volume(10, [0, 4, 8]), ".dcm")
    replace_image(folder, "mr-t2", volume(20, [0, 4, 8]), ".dcm")
    replace_image(folder, "pet", volume(30, None, "PT"), ".dcm")
    unknown = "no position in space is known for functional, unlike m1, m2"
    words = f"{unknown}: it was not checked that the inputs show the same place"
    assert reading_warnings(load_folder(folder)) == [words]
    replace_image(folder, "mr-t2", volume(20, [8, 4, 0]), ".dcm")
    load_error(folder, "mr-t2.dcm are not stored in the order of their places, and pet.dcm does not say where its lie")


def test_places_in_different_formats_are_not_compared_and_give_a_warning(folder: Path) -> None:
    place = {"ImagePositionPatient": [0, 0, 0], "ImageOrientationPatient": AXIAL, "PixelSpacing": [1, 1]}
    levels = np.arange(SIDE * SIDE, dtype=np.uint8).reshape(SIDE, SIDE)
    replace_image(folder, "mr-t1", make_dicom(levels, Modality="MR", **place), ".dcm")
    assert [
        words
        for words in reading_warnings(load_folder(folder))
        if "no position in space is known for m2, functional" in words
    ]
    affine = np.diag([-1, -1, 1, 1])
    for name in ("mr-t2", "pet"):
        replace_image(folder, name, nib.Nifti1Image(np.roll(levels, len(name))[..., None], affine).to_bytes(), ".nii")
    words = (
        "positions in dicom and nifti files are not compared: it was not checked that the inputs show the same place"
    )
    assert words in reading_warnings(load_folder(folder))


def test_positions_and_directions_without_a_pixel_spacing_are_compared(folder: Path) -> None:
    levels = np.arange(SIDE * SIDE, dtype=np.uint8).reshape(SIDE, SIDE)

    def put_all(second: list[int], across: list[int], **more: Any) -> None:
        own = {"ImagePositionPatient": [0, 0, 0], "ImageOrientationPatient": AXIAL}
        replace_image(folder, "mr-t1", make_dicom(levels, Modality="MR", **own, **more), ".dcm")
        own = {"ImagePositionPatient": second, "ImageOrientationPatient": across}
        replace_image(folder, "mr-t2", make_dicom(levels // 2, Modality="MR", **own), ".dcm")

    for more in ({}, {"PixelSpacing": [1, 1]}):
        put_all([0, 0, 0], AXIAL, **more)
        assert any("no position in space" in words for words in reading_warnings(load_folder(folder)))
        put_all([0, 0, 50], AXIAL, **more)
        load_error(folder, "do not have the same image position")
        put_all([0, 0, 0], [-1, 0, 0, 0, 1, 0], **more)
        load_error(folder, "do not have the same image orientation")


def test_frames_in_an_unknown_order_give_a_warning(folder: Path) -> None:
    own: dict[str, Any] = {
        "ImagePositionPatient": [0, 0, 0],
        "ImageOrientationPatient": AXIAL,
        "PixelSpacing": [1, 1],
    }
    levels = np.arange(3 * SIDE * SIDE, dtype=np.uint32).reshape(3, SIDE, SIDE).astype(np.uint8)
    for number, name in enumerate(NAMES.values()):
        replace_image(
            folder, name, make_dicom(levels // (number + 1), Modality="PT" if name == "pet" else "MR", **own), ".dcm"
        )
    words = "only the first frame of m1, m2, functional has a position: the frames are taken in stored order"
    assert words in reading_warnings(load_folder(folder))
    own["SpacingBetweenSlices"] = 4
    replace_image(folder, "mr-t2", make_dicom(levels // 2, Modality="MR", **own), ".dcm")
    assert any(
        "no position in space is known for m1, functional" in words for words in reading_warnings(load_folder(folder))
    )


def test_frames_that_are_sorted_by_number_go_with_others_of_a_known_order_alone(folder: Path) -> None:
    levels = np.arange(3 * SIDE * SIDE, dtype=np.uint32).reshape(3, SIDE, SIDE).astype(np.uint8)
    orders = {"mr-t1": [0, 4, 8], "mr-t2": [8, 4, 0], "pet": [0, 4, 8]}
    for number, (name, order) in enumerate(orders.items()):
        modality = "PT" if name == "pet" else "MR"
        replace_image(
            folder, name, make_dicom(levels // (number + 1), Modality=modality, SliceLocationVector=order), ".dcm"
        )
    assert load_folder(folder).inputs["m2"]["frame_order"] == [3, 2, 1]
    replace_image(folder, "pet", make_dicom(levels // 3, Modality="PT"), ".dcm")
    load_error(folder, "mr-t2.dcm are not stored in the order of their places, and pet.dcm does not say where its lie")


def test_files_without_places_give_no_warning(folder: Path) -> None:
    assert reading_warnings(load_folder(folder)) == []


# --- what is accepted, with a note


def single(n: int, modality: str = "MR", /, **changes: Any) -> bytes:
    """A slice of a patient, at a place."""
    attributes = {
        "Modality": modality,
        "PatientID": "X1",
        "PatientBirthDate": "19700101",
        "PatientName": "Doe^Jane",
        "FrameOfReferenceUID": "1.2.3",
        "ImagePositionPatient": [0, 0, 7],
        "ImageOrientationPatient": AXIAL,
        "PixelSpacing": [1, 1],
        **changes,
    }
    return make_dicom(np.arange(SIDE * SIDE, dtype=np.uint16).reshape(SIDE, SIDE) // 8 * n, **attributes)


def write_slices(folder: Path, **functional: Any) -> None:
    for n, name in enumerate(NAMES.values(), 1):
        changes = functional if name == "pet" else {}
        replace_image(folder, name, single(n, "PT" if name == "pet" else "MR", **changes), ".dcm")


def test_another_spelling_of_the_name_is_a_warning_where_id_and_birth_date_agree(folder: Path) -> None:
    write_slices(folder, PatientName="DOE JANE")
    (warning,) = [text for text in reading_warnings(load_folder(folder)) if "name" in text]
    assert warning.startswith("functional and m1 do not spell the patient's name alike")
    assert "DOE" not in warning.replace("do not", "")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"PatientName": "Smith^John"}, "patient's name"),
        ({"PatientName": "DOE JANE", "PatientBirthDate": "19700102"}, "patient's birth date"),
        ({"PatientName": "DOE JANE", "PatientBirthDate": None}, "patient's name"),
        ({"PatientName": "DOE JANE", "PatientID": "X2"}, "the same patient"),
        ({"PatientName": "DOE JANE", "PatientID": None}, "patient's name"),
    ],
)
def test_another_patient_is_refused(folder: Path, changes: dict[str, Any], words: str) -> None:
    write_slices(folder, **changes)
    load_error(folder, words)


def test_another_frame_of_reference_is_accepted_on_one_grid_if_the_user_says_so(folder: Path) -> None:
    write_slices(folder, FrameOfReferenceUID="1.2.4")
    error = load_error(folder, "do not have the same frame of reference")
    assert "--same-frame" in error.remedy
    loaded = load_folder(folder, same_frame=True)
    assert loaded.inputs["functional"]["same_frame_as"] == "m1, as --same-frame says"
    write_slices(folder)
    assert all("same_frame_as" not in facts for facts in load_folder(folder, same_frame=True).inputs.values())
    write_slices(folder, FrameOfReferenceUID="1.2.4", ImagePositionPatient=[0, 0, 9])
    assert "--same-frame" not in load_error(folder, "do not have the same grid", same_frame=True).remedy


def capture(colour: tuple[int, int, int], **changes: Any) -> bytes:
    pixels = np.zeros((SIDE, SIDE, 3), np.uint8)
    pixels[4:-4, 4:-4] = colour
    attributes = {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB", "PlanarConfiguration": 0, "Modality": "CT"}
    return make_dicom(pixels, **attributes, **changes)


def test_a_coloured_capture_that_says_it_is_ct_is_taken_with_a_warning(folder: Path) -> None:
    write_slices(folder)
    for changes in ({"SOPClassUID": uid.SecondaryCaptureImageStorage}, {"ConversionType": "WSD"}):
        replace_image(folder, "pet", capture((250, 120, 10), **changes), ".dcm")
        warnings = reading_warnings(load_folder(folder))
        assert any("functional is a capture of a screen that says it is CT" in text for text in warnings)
        replace_image(folder, "pet", capture((120, 120, 120), **changes), ".dcm")
        load_error(folder, "says that it is CT, but lies in the functional slot")
    replace_image(folder, "pet", capture((250, 120, 10)), ".dcm")
    load_error(folder, "says that it is CT, but lies in the functional slot")


# --- folders


def series_case(folder: Path, *, together: bool) -> Case:
    """A case of three series, each in its own folder, or all in one."""
    files: dict[str, Path] = {}
    for n, slot in enumerate(NAMES, 1):
        files[slot] = folder / ("all" if together else slot)
        files[slot].mkdir(parents=True, exist_ok=True)
        changes = {"SeriesNumber": n, "SeriesInstanceUID": f"1.2.{n}", "Modality": "PT" if n == 3 else "MR"}
        for name, data in series(3, **changes).items():
            (files[slot] / f"{n}-{name}").write_bytes(data)
    return Case("k", files)


def test_series_folders_are_a_case_of_slices(tmp_path: Path) -> None:
    case = series_case(tmp_path, together=False)
    loaded = load_case(case, 4, None, ReadingOptions())
    assert len(loaded.slices) == 3
    assert {facts["sha256"] for facts in loaded.inputs.values()} == {path_sha256(path) for path in case.files.values()}


def test_a_series_is_chosen_of_a_folder_alone(tmp_path: Path) -> None:
    case = series_case(tmp_path, together=True)
    with pytest.raises(InputError, match="holds 3 series: 1: MR"):
        load_case(case, 4, None, ReadingOptions())
    chosen = {"m1": "1", "m2": "1.2.2", "functional": "3"}
    assert len(load_case(case, 4, None, ReadingOptions(series=chosen)).slices) == 3
    with pytest.raises(InputError, match="m1 and m2 are the same file's content"):
        load_case(case, 4, None, ReadingOptions(series={**chosen, "m2": "1"}))


def test_a_series_that_is_chosen_of_a_file_is_refused(folder: Path) -> None:
    error = load_error(folder, "is a file, and --series m2=3 chooses a series of a folder", series={"m2": "3"})
    assert error.remedy == "leave out --series m2=..."
