"""Results written as DICOM: what they say of their sources, and that other software reads them."""

import io
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydicom import dcmread

from support.made_dicom import LOSSY, PATH, RAMP, TEXT, make_dicom
from tfs_rt.errors import InputError
from tfs_rt.formats.dicom.read import read
from tfs_rt.formats.dicom.write import encode


def frame_of(data: bytes) -> Any:
    return read(data, PATH, LOSSY).frame


def sources() -> dict[str, Any]:
    person = {"PatientName": "Müller^Änne", "PatientID": "P-77", "StudyInstanceUID": "1.2.7", "StudyDate": "1999.12.31"}
    m1 = make_dicom(RAMP, **person, PixelSpacing=[2, 1], BodyPartExamined="BRAIN", SOPInstanceUID="1.2.1")
    m2 = make_dicom(RAMP, PatientID="P-77", SOPInstanceUID="1.2.2")
    functional = make_dicom(RAMP, SOPInstanceUID="1.2.4", LossyImageCompression="01", LossyImageCompressionRatio=12)
    return {slot: frame_of(data) for slot, data in zip(("m1", "m2", "functional"), (m1, m2, functional), strict=True)}


def fused(count: int = 1, size: tuple[int, int] = (32, 32)) -> list[np.ndarray]:
    return list(np.random.default_rng(count).integers(0, 256, (count, *size, 3)).astype(np.uint8))


def test_a_result_comes_back_as_it_was_and_says_what_made_it_of_what() -> None:
    (image,) = fused()
    data = encode([image], sources(), TEXT)
    assert data.endswith(image.tobytes())
    np.testing.assert_array_equal(read(data, PATH, LOSSY).slices[0], image)
    found = dcmread(io.BytesIO(data))
    assert found.SOPClassUID == "1.2.840.10008.5.1.4.1.1.7"
    assert (found.PatientName, found.PatientID, found.StudyInstanceUID) == ("Müller^Änne", "P-77", "1.2.7")
    assert (found.StudyDate, found.AccessionNumber, found.BodyPartExamined) == ("19991231", "", "BRAIN")
    assert (found.Modality, list(found.ImageType), found.ConversionType) == ("OT", ["DERIVED", "SECONDARY"], "WSD")
    assert found.SeriesDescription.endswith("RESEARCH USE ONLY")
    assert [entry.ReferencedSOPInstanceUID for entry in found.SourceImageSequence] == ["1.2.1", "1.2.2", "1.2.4"]
    assert found.SourceImageSequence[0].PurposeOfReferenceCodeSequence[0].CodeValue == "121322"
    (equipment,) = found.ContributingEquipmentSequence
    assert equipment.PurposeOfReferenceCodeSequence[0].CodeValue == "109102"
    assert "ab" * 32 in equipment.ContributionDescription
    assert (found.LossyImageCompression, found.LossyImageCompressionRatio) == ("01", 12)
    assert found.BurnedInAnnotation == "NO"
    assert list(found.PixelSpacing) == [0.5, 0.25]
    assert b"tfs-rt:case" in data[: 2**12]


def test_slices_become_frames_that_know_their_places() -> None:
    where = [((0.0, 0.0, 2.5 * n), (1.0, 0.0, 0.0, 0.0, 1.0, 0.0), (1.0, 1.0)) for n in range(3)]
    known = sources()
    known["m2"] = {**known["m2"], "planes": tuple(where)}
    images = fused(3, (5, 7))
    data = encode(images, known, TEXT)
    np.testing.assert_array_equal(np.stack(read(data, PATH, LOSSY).slices), np.stack(images))
    found = dcmread(io.BytesIO(data))
    assert found.SOPClassUID == "1.2.840.10008.5.1.4.1.1.7.4"
    assert list(found.SliceLocationVector) == [0, 2.5, 5]
    assert dcmread(io.BytesIO(encode(images, sources(), TEXT))).PageNumberVector == [1, 2, 3]
    known["m2"] = {**known["m2"], "planes": (where[0], where[0], where[2])}  # time, or echoes, at one place
    assert "SliceLocationVector" not in dcmread(io.BytesIO(encode(images, known, TEXT)))


def test_the_same_case_gives_the_same_bytes_and_another_other_identifiers() -> None:
    first = encode(fused(), sources(), TEXT)
    assert encode(fused(), sources(), dict(TEXT)) == first
    other = dcmread(io.BytesIO(encode(fused(), sources(), TEXT | {"tfs-rt:case": "case08"})))
    found = dcmread(io.BytesIO(first))
    assert {found.SOPInstanceUID, found.SeriesInstanceUID}.isdisjoint({other.SOPInstanceUID, other.SeriesInstanceUID})
    assert found.StudyInstanceUID == other.StudyInstanceUID


def test_what_the_sources_do_not_say_is_not_made_up() -> None:
    found = dcmread(io.BytesIO(encode(fused(), {"m1": None, "m2": None, "functional": None}, TEXT)))
    assert (found.PatientName, found.PatientID, found.StudyDate, found.Laterality) == ("", "", "", "")
    absent = ("PixelSpacing", "BodyPartExamined", "LossyImageCompression", "SourceImageSequence", "SeriesDate")
    assert not [keyword for keyword in (*absent, "ContentDate", "PatientIdentityRemoved") if keyword in found]
    said = frame_of(
        make_dicom(RAMP, LossyImageCompression="00", BurnedInAnnotation="YES", PatientIdentityRemoved="YES")
    )
    found = dcmread(io.BytesIO(encode(fused(), {"m1": said, "m2": said, "functional": said}, TEXT)))
    assert (found.LossyImageCompression, found.BurnedInAnnotation) == ("00", "YES")
    assert found.PatientIdentityRemoved == "YES"


def test_strange_names_fit_into_their_attributes() -> None:
    strange = TEXT | {"tfs-rt:case": "a\\b\udcff\n" * 200, "tfs-rt:made-by": "Ünïcode\\" * 40}
    found = dcmread(io.BytesIO(encode(fused(), sources(), strange)))
    assert len(found.SeriesDescription) <= 64
    assert "\\" not in found.SeriesDescription
    assert len(found.DerivationDescription) <= 1024


def test_what_a_file_cannot_hold_is_refused() -> None:
    huge = np.broadcast_to(np.zeros(1, dtype=np.uint8), (1, 1, 3))
    assert encode([huge], sources(), TEXT)
    with pytest.raises(InputError, match="4 GiB"):
        encode([np.broadcast_to(np.uint8(0), (2**15, 2**15, 3))] * 2, sources(), TEXT)


@pytest.mark.skipif(not shutil.which("dciodvfy"), reason="dciodvfy (dicom3tools) is not installed")
@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("known", [True, False])
def test_dciodvfy_finds_no_error(count: int, known: bool, tmp_path: Path) -> None:
    file = tmp_path / "result.dcm"
    file.write_bytes(encode(fused(count), sources() if known else dict.fromkeys(("m1", "m2", "functional")), TEXT))
    ended = subprocess.run(["dciodvfy", str(file)], capture_output=True, text=True, check=False)
    assert ended.returncode == 0
    assert "Error" not in ended.stdout + ended.stderr


@pytest.mark.skipif(not shutil.which("dcm2pnm"), reason="dcm2pnm (DCMTK) is not installed")
def test_dcmtk_reads_the_pixels_that_were_written(tmp_path: Path) -> None:
    file = tmp_path / "result.dcm"
    images = fused(2, (9, 11))
    file.write_bytes(encode(images, sources(), TEXT))
    for number, image in enumerate(images, 1):
        ended = subprocess.run(["dcm2pnm", "+F", str(number), "+op", str(file)], capture_output=True, check=True)
        np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(ended.stdout))), image)
