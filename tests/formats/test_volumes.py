"""Volumes in other programs' formats are read as the same volume in NIfTI is, or refused."""

import gzip
import json
import re
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from support.made_volumes import (
    LPS,
    MAKERS,
    PLACE,
    VALUES,
    mgh_file,
    mgh_header,
    mgz_file,
    mha_file,
    nifti_file,
    nrrd_file,
)
from tfs_rt.cases.compatibility import values_agree
from tfs_rt.errors import InputError
from tfs_rt.formats.nifti.file import Stored
from tfs_rt.formats.nifti.write import encode
from tfs_rt.formats.picture import FileOptions, Picture
from tfs_rt.formats.registry import read_picture
from tfs_rt.formats.volumes import metaimage, mgh, nrrd

WINDOW = FileOptions(window=(-1000, 1000))
COLOURS = np.random.default_rng(5).integers(0, 256, (7, 5, 4, 3), dtype=np.uint8)
READ_STORED = {
    ".mgh": mgh.read_stored,
    ".mgz": mgh.read_stored,
    ".nrrd": nrrd.read_stored,
    ".mha": metaimage.read_stored,
}


def picture(data: bytes, ending: str, options: FileOptions = WINDOW) -> Picture:
    return read_picture(data, Path(f"somewhere/mr-t1{ending}"), options)


def sform(stored: Stored) -> np.ndarray:
    return np.asarray(stored.header.get_sform())


def refused(data: bytes, ending: str, words: str) -> InputError:
    with pytest.raises(InputError, match=words or None) as caught:
        picture(data, ending)
    assert caught.value.remedy
    return caught.value


@pytest.mark.parametrize("ending", MAKERS)
def test_a_volume_is_the_same_picture_as_in_nifti(ending: str) -> None:
    for options in (WINDOW, FileOptions()):
        found = picture(MAKERS[ending](), ending, options)
        expected = picture(nifti_file(), ".nii", options)
        np.testing.assert_array_equal(found.slices, expected.slices)
        assert found.facts["levels"] == expected.facts["levels"]
        assert found.facts["axes"] == expected.facts["axes"]
        assert found.facts["voxel_mm"] == expected.facts["voxel_mm"]
        assert values_agree(found.subject["grid"], expected.subject["grid"])
        assert not values_agree(found.subject["grid"], picture(nifti_file(place=PLACE + 0.5), ".nii").subject["grid"])


@pytest.mark.parametrize("ending", MAKERS)
def test_a_result_lies_where_the_volume_lay(ending: str) -> None:
    found = picture(MAKERS[ending](), ending)
    text: dict[str, str] = {"tfs-rt:recipe-sha256": "0" * 64}
    result: Any = nib.Nifti1Image.from_bytes(gzip.decompress(encode(found.slices, {"m1": found.frame}, text)))
    np.testing.assert_allclose(result.affine, PLACE, atol=1e-4)
    assert result.shape == VALUES.shape


@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.uint16, np.int32, np.float32])
def test_every_kind_of_value_of_mgh_is_that_which_nibabel_reads(kind: Any) -> None:
    voxels = np.abs(VALUES % 256).astype(kind)
    for data, name in ((mgh_file(voxels), "a.mgh"), (mgz_file(voxels), "a.mgz")):
        stored = mgh.read_stored(data, Path(name))
        np.testing.assert_array_equal(stored.voxels, voxels)
        np.testing.assert_allclose(
            sform(stored), np.asarray(nib.MGHImage.from_bytes(mgh_file(voxels)).affine), atol=1e-4
        )


@pytest.mark.parametrize("kind", ["u1", "i1", "<u2", ">u2", "<i2", ">i4", "<u4", "<i8", "<f4", ">f8"])
@pytest.mark.parametrize("encoding", ["raw", "gzip"])
def test_what_pynrrd_writes_is_read_as_pynrrd_reads_it(kind: str, encoding: str, tmp_path: Path) -> None:
    pynrrd = pytest.importorskip("nrrd")
    voxels = np.abs(VALUES % 100).astype(kind)
    header = {
        "space": "right-anterior-superior",
        "space directions": PLACE[:3, :3].T,
        "space origin": PLACE[:3, 3],
        "encoding": encoding,
        "endian": "big" if kind[0] == ">" else "little",
    }
    pynrrd.write(str(tmp_path / "a.nrrd"), voxels, header)
    stored = nrrd.read_stored((tmp_path / "a.nrrd").read_bytes(), Path("a.nrrd"))
    np.testing.assert_array_equal(stored.voxels, pynrrd.read(str(tmp_path / "a.nrrd"))[0])
    np.testing.assert_allclose(sform(stored), PLACE, atol=1e-5)


@pytest.mark.parametrize("ending", [".nrrd", ".mha"])
@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.uint16, np.float32, np.float64, "colours"])
def test_what_itk_writes_is_read_at_its_place(ending: str, compressed: bool, kind: Any, tmp_path: Path) -> None:
    sitk = pytest.importorskip("SimpleITK")
    voxels = COLOURS if kind == "colours" else np.abs(VALUES).astype(kind)
    image = sitk.GetImageFromArray(voxels.transpose(2, 1, 0, *range(3, voxels.ndim)), isVector=kind == "colours")
    matrix = LPS @ PLACE
    sizes = np.linalg.norm(matrix[:3, :3], axis=0)
    # ITK needs right angles between the axes.
    directions, _ = np.linalg.qr(matrix[:3, :3])
    image.SetSpacing(sizes.tolist())
    image.SetDirection(directions.ravel().tolist())
    image.SetOrigin(matrix[:3, 3].tolist())
    sitk.WriteImage(image, str(tmp_path / f"a{ending}"), useCompression=compressed)
    stored = READ_STORED[ending]((tmp_path / f"a{ending}").read_bytes(), Path(f"a{ending}"))
    np.testing.assert_array_equal(stored.voxels, voxels)
    for index in ((0, 0, 0), (6, 0, 0), (0, 4, 0), (3, 2, 3)):
        place = (LPS @ sform(stored) @ [*index, 1])[:3]
        np.testing.assert_allclose(place, image.TransformIndexToPhysicalPoint(index), atol=1e-4)


@pytest.mark.parametrize("ending", [".nrrd", ".mha"])
def test_three_8_bit_values_a_voxel_are_colours(ending: str) -> None:
    found = picture(MAKERS[ending](COLOURS), ending, FileOptions())
    rgb = np.zeros(COLOURS.shape[:3], [(name, "u1") for name in "RGB"])
    for part, name in enumerate("RGB"):
        rgb[name] = COLOURS[..., part]
    np.testing.assert_array_equal(found.slices, picture(nifti_file(rgb), ".nii", FileOptions()).slices)


@pytest.mark.parametrize("ending", MAKERS)
def test_a_file_that_is_cut_anywhere_is_refused(ending: str) -> None:
    data = MAKERS[ending]()
    end = len(data) - (20 if ending == ".mgh" else 0)  # what follows the voxels of an MGH file may be missing
    for at in range(0, end, 23):
        refused(data[:at], ending, "")


@pytest.mark.parametrize("ending", [".mgz", ".nrrd", ".mha"])
def test_no_flipped_bit_of_compressed_voxels_passes(ending: str) -> None:
    data = MAKERS[ending]()
    for at in range(len(data) - 150, len(data), 7):
        changed = bytearray(data)
        changed[at] ^= 4
        try:
            found = picture(bytes(changed), ending)
        except InputError:
            continue
        np.testing.assert_array_equal(found.slices, picture(data, ending).slices)  # a time or a flag of gzip


@pytest.mark.parametrize("ending", [".nrrd", ".mha"])
def test_more_bytes_than_the_header_says_are_refused(ending: str) -> None:
    raw = nrrd_file(encoding="raw") if ending == ".nrrd" else mha_file(compressed=False)
    assert picture(raw, ending).slices
    refused(raw + b"\0", ending, "with more bytes than its header says")


HUGE = " ".join(["2000000"] * 3)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("encoding: gzip", "encoding: bzip2", "encoded as bzip2, which is not read"),
        ("encoding: gzip", "encoding: ascii", "encoded as ascii"),
        ("endian: little", "data file: other.raw", "voxels are in another file"),
        ("endian: little", "endian: little\nbyte skip: 4", "the field 'byte skip', which is not read"),
        ("endian: little", "endian: little\nold min: 4", "the field 'old min'"),
        ("endian: little", "endian: little\nendian: little", "the line 'endian: little'"),
        ("endian: little", "endian: middle", "damaged NRRD"),
        ("left-posterior-superior", "scanner-xyz", "left and right are not known"),
        ("type: int16", "type: block", "values of type block"),
        ("sizes: 7 5 4", "sizes: 7 5 5", "truncated"),
        ("sizes: 7 5 4", f"sizes: {HUGE}", "more than 2..28"),
        ("sizes: 7 5 4", "sizes: 7 -5 -4", "not one volume"),
        ("sizes: 7 5 4", "sizes: 7 20", "dimensions"),
        ("kinds:", 'space units: "um" "um" "um"\nkinds:', "has the units"),
        ("NRRD0004", "NRRD9", "not a NRRD file"),
    ],
)
def test_a_nrrd_header_that_is_not_understood_is_refused(old: str, new: str, words: str) -> None:
    data = nrrd_file().replace(old.encode(), new.encode(), 1)
    refused(data, ".nrrd", words)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("ElementDataFile = LOCAL", "ElementDataFile = a.raw", "voxels are in another file"),
        ("BinaryData = True", "BinaryData = False", "values as text"),
        ("BinaryData = True\n", "", "values as text"),
        ("NDims = 3", "NDims = 3\nHeaderSize = 12", "HeaderSize = 12"),
        ("NDims = 3", "NDims = 3\nElementToIntensityFunctionSlope = 2", "ElementToIntensityFunctionSlope = 2"),
        ("NDims = 3", "NDims = 4", "DimSize and NDims disagree"),
        ("NDims = 3", "NDims = 3\nNDims = 3", "the line 'NDims = 3'"),
        ("MET_SHORT", "MET_STRING", "1 values of MET_STRING a voxel"),
        ("DimSize = 7 5 4", "DimSize = 7 5 5", "truncated"),
        ("DimSize = 7 5 4", f"DimSize = {HUGE}", "more than 2..28"),
        ("CompressedData = True", "CompressedData = maybe", "damaged MetaImage"),
        ("ElementSpacing = ", "ElementSpacing = -", "damaged MetaImage"),
        ("TransformMatrix = ", "TransformMatrix = 1 ", "damaged MetaImage"),
        ("ObjectType", "Something", "not a MetaImage file"),
    ],
)
def test_a_metaimage_header_that_is_not_understood_is_refused(old: str, new: str, words: str) -> None:
    refused(mha_file().replace(old.encode(), new.encode(), 1), ".mha", words)


def test_an_mgh_header_that_is_not_understood_is_refused() -> None:
    data = mgh_file()
    refused(mgh_header(data, 0, "i", 2), ".mgh", "of a known kind")
    refused(mgh_header(data, 20, "i", 7), ".mgh", "of a known kind")
    assert "mri_convert --frame 0" in refused(mgh_header(data, 16, "i", 3), ".mgh", "holds 3 volumes").remedy
    refused(mgh_header(data, 4, "iii", 2**20, 2**20, 1), ".mgh", "more than 2..28")
    refused(mgh_header(data, 4, "iii", 0, 5, 4), ".mgh", "not one volume")
    refused(mgh_header(data, 42, "9f", *[0.0] * 9), ".mgh", "axes of its sform span no volume")
    refused(mgz_file(), ".mgh", "is compressed, but its name does not say so")
    refused(data, ".mgz", "is not compressed, as its name says")
    refused(gzip.compress(data[:400]), ".mgz", "truncated")


@pytest.mark.parametrize(
    ("ending", "data"),
    [
        (".mgh", mgh_header(mgh_file(), 28, "h", 0)),
        (".nrrd", re.sub(rb"space[^\n]*\n", b"", nrrd_file())),
        (".mha", re.sub(rb"TransformMatrix[^\n]*\n", b"", mha_file())),
    ],
)
def test_a_volume_without_directions_is_taken_as_it_is_stored(ending: str, data: bytes) -> None:
    found = picture(data, ending)
    assert found.subject == {"orientation": "none"}
    assert found.facts["axes"].startswith("no orientation in the header")
    assert found.slices[0].shape[:2] == VALUES.shape[1::-1]


def test_facts_are_plain_and_name_the_format() -> None:
    names = {".mgh": "mgh", ".mgz": "mgh", ".nrrd": "nrrd", ".mha": "metaimage"}
    for ending, name in names.items():
        assert json.loads(json.dumps(picture(MAKERS[ending](), ending).facts))["format"] == name
