"""Every kind of DICOM file is either read as the standard's formulas say or refused with the file and the remedy."""

import io
import json
import pickle
import random
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydicom import config, dcmread
from pydicom.encaps import generate_frames

from support.made_dicom import LOSSY, PATH, RAMP, WHEEL, assert_refused, levels, linear, make_dicom, stored_file
from tfs_rt.cases.compatibility import values_agree
from tfs_rt.errors import InputError
from tfs_rt.formats.dicom.read import read
from tfs_rt.formats.picture import FileOptions, Picture

FILES = sorted(path for path in WHEEL.rglob("*") if path.is_file() and not path.suffix.startswith(".py"))


def outcome_of(data: bytes, path: Path, rules: FileOptions) -> Picture | InputError:
    """A picture, or a refusal in one line that names the file and the remedy; any other exception gets through."""
    try:
        return read(data, path, rules)
    except InputError as error:
        fault = error
    assert fault.subject == str(path)
    assert fault.remedy
    assert "\n" not in str(fault)
    return fault


# --- pydicom's own files


@pytest.mark.filterwarnings("ignore:Expected explicit VR")  # of the test's own look at a header
@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(WHEEL)))
def test_every_file_of_pydicom_is_read_or_refused(path: Path) -> None:
    for rules in (FileOptions(), LOSSY):
        outcome = outcome_of(path.read_bytes(), path, rules)
        if isinstance(outcome, Picture):
            header = dcmread(path)
            assert {image.shape for image in outcome.slices} == {(header.Rows, header.Columns, 3)}
            assert len(outcome.slices) == outcome.facts["frames"] == int(header.get("NumberOfFrames") or 1)


@pytest.mark.parametrize(
    "name",
    [
        "MR_small.dcm",
        "MR_small_RLE.dcm",
        "MR_small_bigendian.dcm",
        "MR_small_expb.dcm",
        "MR_small_implicit.dcm",
        "MR_small_jp2klossless.dcm",
        "MR_small_jpeg_ls_lossless.dcm",
        "MR_small_padded.dcm",
    ],
)
def test_eight_encodings_of_one_image_give_its_pixels(name: str) -> None:
    """The plain one's pixels are the last 8192 bytes before the padding at its end."""
    whole = stored_file("MR_small.dcm")
    at = whole.index(struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OW", 0, 8192)) + 12
    values = np.frombuffer(whole[at : at + 8192], "<i2").reshape(64, 64)
    np.testing.assert_array_equal(levels(stored_file(name), FileOptions())[0], linear(values, 600, 1600))


@pytest.mark.parametrize("name", ["SC_rgb_dcmtk_+eb+cr.dcm", "SC_rgb_dcmtk_+eb+cy+s4.dcm", "examples_ybr_color.dcm"])
def test_jpeg_is_as_pillow_decodes_it(name: str) -> None:
    data = stored_file(name)
    assert_refused(data, "compressed with loss", FileOptions())
    assert "--allow-lossy" in assert_refused(data, "JPEG Baseline", FileOptions()).remedy
    picture = read(data, PATH, LOSSY)
    assert picture.facts["lossy"]
    header = dcmread(io.BytesIO(data))
    frame = next(generate_frames(header.PixelData, number_of_frames=int(header.get("NumberOfFrames") or 1)))
    direct = np.asarray(Image.open(io.BytesIO(frame)).convert("RGB")).astype(int)
    assert np.abs(picture.slices[0] - direct).max() <= 2  # libjpeg turns colours in integers
    assert picture.facts["frames"] == len(picture.slices)


@pytest.mark.parametrize("name", ["SC_rgb_rle.dcm", "SC_rgb_rle_2frame.dcm", "examples_rgb_color.dcm"])
def test_colour_is_taken_as_it_is(name: str) -> None:
    picture = read(stored_file(name), PATH, FileOptions())
    pixels = dcmread(WHEEL / "test_files" / name).pixel_array
    np.testing.assert_array_equal(np.stack(picture.slices), pixels.reshape(-1, *pixels.shape[-3:]))
    assert picture.facts["levels"] == "8-bit levels as stored"


@pytest.mark.parametrize("planar", [0, 1])
def test_luma_and_chroma_become_rgb(planar: int) -> None:
    """PS3.3 C.7.6.3.1.2, solved for R, G and B."""
    pixels = np.random.default_rng(planar).integers(0, 256, (6, 5, 3)).astype(np.uint8)
    laid = np.ascontiguousarray(pixels.transpose(2, 0, 1)).reshape(6, 5, 3) if planar else pixels
    data = make_dicom(laid, SamplesPerPixel=3, PlanarConfiguration=planar, PhotometricInterpretation="YBR_FULL")
    y, cb, cr = np.moveaxis(pixels.astype(float), -1, 0) - np.array([0, 128, 128])[:, None, None]
    red = y + 1.402 * cr
    blue = y + 1.772 * cb
    green = (y - 0.299 * red - 0.114 * blue) / 0.587
    expected = np.floor(np.stack([red, green, blue], axis=-1) + 0.5).clip(0, 255)
    picture = read(data, PATH, FileOptions())
    assert np.abs(picture.slices[0] - expected).max() <= 1  # in single precision there
    assert (picture.slices[0] != expected).mean() < 0.02
    assert picture.facts["levels"] == "8-bit RGB from YBR_FULL"


def test_a_palette_is_looked_up() -> None:
    header = dcmread(WHEEL / "test_files" / "examples_palette.dcm")
    names = ("Red", "Green", "Blue")
    tables = [np.frombuffer(header[f"{name}PaletteColorLookupTableData"].value, "<u2") >> 8 for name in names]
    expected = np.stack([table[header.pixel_array] for table in tables], axis=-1)
    picture = read(stored_file("examples_palette.dcm"), PATH, FileOptions())
    np.testing.assert_array_equal(picture.slices[0], expected)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("SC_rgb_rle_16bit.dcm", "3 samples of 16 bits"),
        ("reportsi.dcm", "holds no pixels .Basic Text SR"),
        ("MR_truncated.dcm", "less than expected"),
        ("meta_missing_tsyntax.dcm", "no Transfer Syntax"),
        ("dicomdirtests/DICOMDIR", "DICOMDIR"),
        ("zipMR.gz", "not a DICOM file"),
        ("JPEG2000-embedded-sequence-delimiter.dcm", "another size"),
    ],
)
def test_what_is_no_readable_image_is_refused(name: str, words: str) -> None:
    assert_refused(stored_file(name), words)


# --- grey values


def test_a_palette_in_segments_is_expanded() -> None:
    """Three given entries, and five on a line to 40 (PS3.3 C.7.9.2)."""
    table = [10, 11, 12, 18, 23, 29, 34, 40]
    segments = struct.pack("<8H", 0, 3, 10 << 8, 11 << 8, 12 << 8, 1, 5, 40 << 8)
    palette: dict[str, Any] = {"PhotometricInterpretation": "PALETTE COLOR"}
    for name in ("Red", "Green", "Blue"):
        palette[f"{name}PaletteColorLookupTableDescriptor"] = [8, 0, 16]
        palette[f"Segmented{name}PaletteColorLookupTableData"] = segments
    pixels = np.arange(8, dtype=np.uint8).reshape(2, 4)
    expected = (np.rint(np.interp(np.arange(8), [2, 7], [12 * 256, 40 * 256])).astype(int) >> 8)[2:]
    found = read(make_dicom(pixels, **palette), PATH, FileOptions()).slices[0][..., 1].ravel()
    np.testing.assert_array_equal(found, [10, 11, *expected])
    assert np.abs(found - np.array(table)).max() <= 1
    palette["SegmentedRedPaletteColorLookupTableData"] = struct.pack("<4H", 2, 1, 0, 0)
    assert_refused(make_dicom(pixels, **palette), "segments of kind 2")


# --- limits and damage


@pytest.mark.parametrize(
    ("name", "flips", "cuts"),
    [
        ("MR_small.dcm", 60, 15),
        ("SC_rgb_rle_2frame.dcm", 20, 5),
        ("MR_small_jp2klossless.dcm", 20, 5),
        pytest.param("MR_small.dcm", 400, 40, marks=pytest.mark.slow),
        pytest.param("SC_rgb_rle_2frame.dcm", 200, 20, marks=pytest.mark.slow),
        pytest.param("MR_small_jp2klossless.dcm", 200, 20, marks=pytest.mark.slow),
    ],
)
def test_flipped_bits_and_cuts_give_a_picture_or_a_refusal(name: str, flips: int, cuts: int) -> None:
    whole = stored_file(name)
    chance = random.Random(20)
    damaged = [whole[: chance.randrange(len(whole))] for _ in range(cuts)]
    for _ in range(flips):
        flipped = bytearray(whole)
        flipped[chance.randrange(len(whole) if chance.random() < 0.5 else 2000)] ^= 1 << chance.randrange(8)
        damaged.append(bytes(flipped))
    for data in damaged:
        assert outcome_of(data, PATH, LOSSY)


def test_no_cut_loses_pixels_in_silence() -> None:
    whole = stored_file("MR_small.dcm")
    end = len(whole) - 138  # the padding behind the pixels
    for length in (*range(end - 8192 - 40, end, 211), end - 1):
        with pytest.raises(InputError):
            read(whole[:length], PATH, FileOptions())


def test_values_against_the_standard_do_not_stop_a_readable_file_nor_warn() -> None:
    data = make_dicom(
        RAMP, WindowCenter=900, WindowWidth=1200, StudyDate="last week", PatientAge="old", PatientID="x" * 99
    )
    config.settings.reading_validation_mode = config.RAISE
    picture = read(data, PATH, FileOptions())
    assert config.settings.reading_validation_mode == config.RAISE
    assert not {"StudyDate", "PatientAge", "PatientID"} & set((picture.frame or {})["attributes"])


# --- whose image it is


def test_facts_identify_the_image_but_not_the_patient() -> None:
    person = {
        "PatientName": "Doe^Jane",
        "PatientID": "P-77",
        "IssuerOfPatientID": "Ward",
        "PatientBirthDate": "19500607",
    }
    place = {"FrameOfReferenceUID": "1.2.9", "StudyInstanceUID": "1.2.7", "SeriesInstanceUID": "1.2.8"}
    grid: dict[str, Any] = {
        "ImagePositionPatient": [-100.00004, 0, 3],
        "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
        "PixelSpacing": [0.48828125, 0.48828125],
    }
    picture = read(make_dicom(RAMP, Modality="CT", **person, **place, **grid), PATH, FileOptions(window=(0, 80)))
    said = json.dumps(picture.facts)
    assert not [value for value in (*person.values(), "Jane") if value in said]
    assert picture.facts["study_instance_uid"] == "1.2.7"
    assert picture.facts["modality"] == "CT"
    assert picture.facts["transfer_syntax_uid"] == "1.2.840.10008.1.2.1"
    spacing = 0.48828125
    edge = 8 * 0.48828125
    corners = [(-100.00004 - spacing / 2 + x, -spacing / 2 + y, 3) for y in (0, edge) for x in (0, edge)]
    assert picture.subject == {
        "patient": "P-77",
        "issuer of the patient's id": "Ward",
        "patient's birth date": "19500607",
        "patient's name": "doe^jane",
        "frame of reference": "1.2.9",
        "grid": {"size": (8, 8), "corners": [pytest.approx(np.array(corners))], "within": 0.05 * spacing},
        "image orientation": {"size": (6,), "corners": [1, 0, 0, 0, 1, 0], "within": 0.03},
        "image position": {"size": (1,), "corners": [[-100.00004, 0, 3]], "within": 0.05 * spacing},
    }
    assert pickle.loads(pickle.dumps(picture.frame)) == picture.frame
    assert read(make_dicom(RAMP, PatientID=""), PATH, FileOptions()).subject == {}


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ({"PatientID": "x" * 80}, {"PatientID": "x" * 79 + "y"}, False),  # against the standard, and yet an id
        ({"PatientID": "P\n1"}, {"PatientID": "P\n2"}, False),
        ({"PatientID": " P1 "}, {"PatientID": "P1"}, True),
        ({"FrameOfReferenceUID": "1.2.x"}, {"FrameOfReferenceUID": "1.2.y"}, False),
        ({"PatientBirthDate": "19500607"}, {"PatientBirthDate": "19500608"}, False),
        ({"PatientBirthDate": "1950.06.07"}, {"PatientBirthDate": "19500607"}, True),
        ({"PatientBirthDate": "19500607"}, {}, True),
        ({"PatientName": "Doe^Jane"}, {"PatientName": "Doe^John"}, False),
        ({"PatientName": "Doe^Jane"}, {"PatientName": "DOE^ jane ^Ann^^"}, True),
        ({"PatientName": "Van  Doe"}, {"PatientName": "van doe^^^^"}, True),
        ({"PatientName": "Doe^Jane"}, {"PatientName": "^^^"}, True),
    ],
)
def test_files_of_two_people_are_told_apart(one: dict[str, str], other: dict[str, str], same: bool) -> None:
    a, b = (read(make_dicom(RAMP, **attributes), PATH, FileOptions()) for attributes in (one, other))
    assert all(values_agree(a.subject[key], b.subject[key]) for key in a.subject.keys() & b.subject.keys()) == same
    assert not [value for value in (*one.values(), *other.values()) if value in json.dumps([a.facts, b.facts])]


# --- writing
