"""Results written as a DICOM series, or with a place in one file: other software finds them where their sources lie."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom import Dataset, dcmread

from support.made_dicom import LOSSY, PATH, TEXT
from support.made_series import REFERENCE, SLICES, SLOT_NAMES, STEP, THICKNESS, corners, enhanced, source_corners
from tfs_rt.formats.dicom.read import read
from tfs_rt.formats.dicom.write import encode, encode_series
from tfs_rt.formats.levels import SHOWS

ROWS = 32  # of a result, from 8
COLUMNS = 30  # from 10
NEAR = 1e-4  # mm: positions are decimal strings of 16 characters, and NIfTI has floats of 24 bits
FORMS = ("series", "multi-frame", "one slice")
needs_dciodvfy = pytest.mark.skipif(not shutil.which("dciodvfy"), reason="dciodvfy (dicom3tools) is not installed")
# Its package installs the program beside Python's.
DCM2NIIX = shutil.which("dcm2niix", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])) or ""
needs_dcm2niix = pytest.mark.skipif(not DCM2NIIX, reason="dcm2niix is not installed")


def frames(**changes: Any) -> dict[str, Any]:
    return {slot: read(enhanced(slot, **changes), PATH, LOSSY).frame for slot in SLOT_NAMES}


def images(count: int = SLICES) -> list[NDArray[np.uint8]]:
    return list(np.random.default_rng(count).integers(0, 256, (count, ROWS, COLUMNS, 3)).astype(np.uint8))


def written(form: str, folder: Path, **changes: Any) -> list[Path]:
    """The files of a result of random pixels in a form."""
    count = 1 if form == "one slice" else SLICES
    known = frames(slices=count, **changes)
    if form == "series":
        files = encode_series(images(), known, TEXT)
    else:
        files = {"one.dcm": encode(images(count), known, TEXT)}
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return [folder / name for name in sorted(files)]


def datasets(**changes: Any) -> list[Dataset]:
    files = encode_series(images(), frames(**changes), TEXT)
    assert list(files) == ["0001.dcm", "0002.dcm", "0003.dcm"]
    return [dcmread(io.BytesIO(data)) for data in files.values()]


def test_a_series_is_secondary_captures_in_order_with_one_identity() -> None:
    found = datasets()
    for number, (dataset, image) in enumerate(zip(found, images(), strict=True), 1):
        np.testing.assert_array_equal(dataset.pixel_array, image)
        assert (dataset.SOPClassUID, dataset.InstanceNumber) == ("1.2.840.10008.5.1.4.1.1.7", number)
        assert (dataset.FrameOfReferenceUID, dataset.PositionReferenceIndicator) == (REFERENCE, "")
        assert (dataset.SliceThickness, dataset.SpacingBetweenSlices) == (THICKNESS, pytest.approx(STEP))
        assert (dataset.StudyInstanceUID, dataset.PatientID) == ("1.2.826.7", "P-1")
    assert len({dataset.SeriesInstanceUID for dataset in found}) == 1
    assert len({dataset.SOPInstanceUID for dataset in found}) == SLICES
    np.testing.assert_allclose(np.diff([float(dataset.SliceLocation) for dataset in found]), STEP)


def test_each_slice_refers_to_its_own_source_slices_and_to_nothing_else() -> None:
    # The frames of the sources lie in their files from the last to the first.
    for dataset, frame_number in zip(datasets(), (3, 2, 1), strict=True):
        items = [(entry.ReferencedSOPInstanceUID, entry.ReferencedFrameNumber) for entry in dataset.SourceImageSequence]
        assert items == [(f"1.2.826.{number}", frame_number) for number in (1, 2, 3)]


def test_slices_that_are_files_are_referred_to_as_files() -> None:
    known = frames()
    for number, frame in enumerate(known.values()):
        frame["frame_numbers"] = ()
        frame["instances"] = tuple(("1.2.840.10008.5.1.4.1.1.4", f"1.9.{number}.{index}") for index in range(SLICES))
    for index, data in enumerate(encode_series(images(), known, TEXT).values()):
        entries = dcmread(io.BytesIO(data)).SourceImageSequence
        assert [entry.ReferencedSOPInstanceUID for entry in entries] == [f"1.9.{number}.{index}" for number in range(3)]
        assert not any("ReferencedFrameNumber" in entry for entry in entries)
    whole = dcmread(io.BytesIO(encode(images(), known, TEXT)))
    assert len(whole.SourceImageSequence) == 3 * SLICES


def test_a_slice_of_an_unknown_source_refers_to_none() -> None:
    known = frames()
    for frame in known.values():
        frame["instances"] = (*frame["instances"][:2], ("1.2.840.10008.5.1.4.1.1.4", ""))
    *_, last = (dcmread(io.BytesIO(data)) for data in encode_series(images(), known, TEXT).values())
    assert "SourceImageSequence" not in last


def test_equal_slices_have_identifiers_of_their_own_and_a_spread_is_another_series() -> None:
    black = [np.zeros((ROWS, COLUMNS, 3), np.uint8)] * SLICES
    files = encode_series(black, frames(), TEXT)
    spread = encode_series(black, frames(), TEXT | {SHOWS: "spread of samples"})
    read_back = [dcmread(io.BytesIO(data)) for data in (*files.values(), *spread.values())]
    assert len({dataset.SOPInstanceUID for dataset in read_back}) == 2 * SLICES
    assert len({dataset.SeriesInstanceUID for dataset in read_back}) == 2
    assert len({dataset.StudyInstanceUID for dataset in read_back}) == 1


def test_the_same_series_has_the_same_bytes() -> None:
    assert encode_series(images(), frames(), TEXT) == encode_series(images(), frames(), dict(TEXT))


def test_sources_without_a_frame_of_reference_give_the_result_its_own() -> None:
    uids = {dataset.FrameOfReferenceUID for dataset in datasets(FrameOfReferenceUID=None)}
    assert len(uids) == 1
    assert REFERENCE not in uids


def test_a_series_without_places_is_not_written() -> None:
    with pytest.raises(ValueError, match="need places"):
        encode_series(images(), frames(PerFrameFunctionalGroupsSequence=[]), TEXT)


@pytest.mark.parametrize("form", FORMS[1:])
def test_one_file_of_several_frames_or_of_one_slice_is_read_back_at_its_place(form: str, tmp_path: Path) -> None:
    (file,) = written(form, tmp_path)
    picture = read(file.read_bytes(), PATH, LOSSY)
    expected = source_corners(len(picture.slices))
    np.testing.assert_allclose(picture.subject["grid"]["corners"], expected, atol=NEAR)
    assert picture.subject["frame of reference"] == REFERENCE


def test_a_multi_frame_result_is_dated_by_its_sources_alone() -> None:
    def dates(**changes: Any) -> tuple[Any, Any]:
        found = dcmread(io.BytesIO(encode(images(), frames(**changes), TEXT)))
        return found.get("ContentDate"), found.get("ContentTime")

    assert dates() == ("20200101", "101010")
    assert dates(ContentDate="20191231", ContentTime="080000") == ("20191231", "080000")
    assert dates(StudyDate="", StudyTime="") == (None, None)


def test_highdicom_makes_a_volume_at_the_place_of_the_sources(tmp_path: Path) -> None:
    highdicom = pytest.importorskip("highdicom")
    found = [dcmread(file) for file in written("series", tmp_path)]
    volume = highdicom.get_volume_from_series(found[::-1])
    assert volume.frame_of_reference_uid == REFERENCE
    # Its indices are (slice, row, column), and its slices may run the other way.
    to_world = np.asarray(volume.affine)[:, [2, 1, 0, 3]]
    got = corners(to_world, ROWS, COLUMNS, SLICES)
    pixels = volume.array
    if np.abs(got - source_corners()).max() > 1:
        got = got[::-1]
        pixels = pixels[::-1]
    np.testing.assert_allclose(got, source_corners(), atol=NEAR)
    np.testing.assert_array_equal(pixels, np.stack(images()))


@pytest.mark.slow
def test_simpleitk_reads_the_series_at_the_place_of_the_sources(tmp_path: Path) -> None:
    sitk = pytest.importorskip("SimpleITK")
    written("series", tmp_path)
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(tmp_path)))
    image = reader.Execute()
    to_world = np.eye(4)
    to_world[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    to_world[:3, 3] = image.GetOrigin()
    np.testing.assert_allclose(corners(to_world, ROWS, COLUMNS, SLICES), source_corners(), atol=NEAR)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image), np.stack(images()))


@pytest.mark.slow
@needs_dcm2niix
def test_dcm2niix_turns_the_series_into_a_volume_at_the_place_of_the_sources(tmp_path: Path) -> None:
    nib = pytest.importorskip("nibabel")
    (tmp_path / "in").mkdir()
    written("series", tmp_path / "in")
    command = [DCM2NIIX, "-z", "n", "-f", "result", "-o", str(tmp_path), str(tmp_path / "in")]
    subprocess.run(command, check=True, capture_output=True)
    volume = nib.load(tmp_path / "result.nii")
    # NIfTI's world is RAS; dcm2niix stores rows from below upwards.
    flip = np.diag([1.0, -1.0, 1.0, 1.0])
    flip[1, 3] = ROWS - 1
    to_world = np.diag([-1, -1, 1, 1]) @ volume.affine @ flip
    np.testing.assert_allclose(corners(to_world, ROWS, COLUMNS, SLICES), source_corners(), atol=NEAR)
    colours = np.asarray(volume.dataobj)
    pixels = np.stack([colours[name] for name in "RGB"], axis=-1)[:, ::-1]
    np.testing.assert_array_equal(pixels.transpose(2, 1, 0, 3), np.stack(images()))


@needs_dciodvfy
@pytest.mark.parametrize("form", FORMS)
def test_dciodvfy_finds_no_error_in_a_placed_result(form: str, tmp_path: Path) -> None:
    for file in written(form, tmp_path):
        ended = subprocess.run(["dciodvfy", str(file)], capture_output=True, text=True, check=False)
        assert ended.returncode == 0
        assert "Error" not in ended.stdout + ended.stderr
