"""Windows of a case's images are applied as the user decided, or by the documented rule with a warning."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from support.cases import NAMES, load_error, load_folder, replace_image
from support.helpers import write_case
from support.made_dicom import make_dicom
from tfs_rt.batch.notices import reading_warnings
from tfs_rt.cases.align import AlignOptions
from tfs_rt.cases.case import Case
from tfs_rt.cases.load import ReadingOptions, load_case

SIDE = 32


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_case(tmp_path / "k", size=SIDE)


def test_a_window_that_changes_nothing_is_an_error(folder: Path) -> None:
    window = (0.0, 80.0)
    error = load_error(folder, "which --window cannot change", windows={"m1": window})
    assert error.remedy == "leave out --window m1=..."
    everywhere = dict.fromkeys(NAMES, window)
    assert (
        load_error(folder, "which --window cannot change", windows=everywhere, window_for_all=True).remedy
        == "leave out --window"
    )
    replace_image(folder, "mr-t1", make_dicom(np.arange(SIDE * SIDE, dtype=np.uint16).reshape(SIDE, SIDE)), ".dcm")
    assert load_folder(folder, windows={"m1": window}).inputs["m1"]["window_from"] == "user"
    loaded = load_folder(folder, windows=everywhere, window_for_all=True)  # one for all that have any use of it
    assert loaded.inputs["m1"]["window_from"] == "user"
    load_error(folder, "which --window cannot change", windows=everywhere)  # three that happen to be equal
    load_error(folder, "pet.*which --window cannot change", windows={"m1": window, "functional": window})


def test_anatomical_images_are_recognised_as_ct_by_their_values(folder: Path) -> None:
    values = np.full((SIDE, SIDE, 1), -1000, np.int16)
    values[8:24, 8:24, 0] = np.arange(16)
    values[8, 8:24, 0] = 1200
    for name in NAMES.values():
        (folder / f"{name}.png").unlink()
    files = {slot: folder / f"k_000{number}.nii" for number, slot in enumerate(NAMES)}
    for number, file in enumerate(files.values()):
        file.write_bytes(nib.Nifti1Image(np.roll(values, number, axis=0), np.diag([-1, -1, 1, 1])).to_bytes())
    loaded = load_case(Case("k", files), 4, None, ReadingOptions())
    assert [facts["window_from"] for facts in loaded.inputs.values()] == ["head", "head", "data"]
    warnings = " ".join(reading_warnings(loaded))
    assert "m1 is CT without a window" in warnings
    assert "m2 is CT without a window" in warnings
    assert "grey levels of functional were chosen from the data" in warnings


def test_ct_without_a_window_gives_a_warning_that_names_the_option(folder: Path) -> None:
    values = np.full((SIDE, SIDE), -1000, np.int16)
    values[8:24, 8:24] = 40
    ct = make_dicom(values, Modality="CT", RescaleSlope=1, RescaleIntercept=0)
    replace_image(folder, "mr-t1", ct, ".dcm")
    words = "m1 is CT without a window: shown from 0 to 80 HU, the head window; set it with --window m1=LOW:HIGH"
    assert words in reading_warnings(load_folder(folder))
    assert words not in reading_warnings(load_folder(folder, windows={"m1": (0, 90)}))
    wide = make_dicom(values, Modality="CT", RescaleSlope=1, RescaleIntercept=0, WindowCenter=0, WindowWidth=1600)
    replace_image(folder, "mr-t1", wide, ".dcm")
    assert any(
        "spans 1599 HU, in which a brain is one grey" in words for words in reading_warnings(load_folder(folder))
    )


def test_a_plane_is_for_the_images_whose_slices_can_be_chosen(folder: Path) -> None:
    remedy = load_error(folder, "has the slices of its files: only volumes in NIfTI", plane="coronal").remedy
    assert remedy == "leave out --plane"
    values = np.arange(5 * 6 * 4, dtype=np.uint8).reshape(5, 6, 4)
    for number, name in enumerate(NAMES.values()):
        data = nib.Nifti1Image(np.roll(values, number, axis=0), np.diag([1.0, 1.0, 1.0, 1.0])).to_bytes()
        replace_image(folder, name, data, ".nii")
    axial = load_folder(folder)
    assert (len(axial.slices), axial.size) == (4, (24, 20))
    coronal = load_folder(folder, plane="coronal")
    assert (len(coronal.slices), coronal.size) == (6, (16, 20))
    assert {facts["plane"] for facts in coronal.inputs.values()} == {"coronal"}
    # On a grid of DICOM, the plane of a NIfTI image decides nothing.
    aligned = AlignOptions(register=False)
    assert len(load_folder(folder, plane="coronal", align=aligned).slices) == 6
    replace_image(folder, NAMES["m1"], make_dicom(np.zeros((SIDE, SIDE), np.uint8)), ".dcm")
    load_error(folder, "has the slices of its files", plane="coronal", align=aligned)


def test_a_recipe_names_a_plane_only_if_it_was_given() -> None:
    assert "plane" not in ReadingOptions().recipe()
    assert ReadingOptions(plane="axial").recipe()["plane"] == "axial"
