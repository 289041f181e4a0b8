"""Every kind of DICOM file is either read as the standard's formulas say or refused with the file and the remedy."""

import io
import json
import pickle
import random
import shutil
import struct
import subprocess
import tracemalloc
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pydicom.data
import pytest
from PIL import Image
from pydicom import config, dcmread, uid
from pydicom.encaps import encapsulate, generate_frames

from support.made_dicom import item, made, written
from tfs_rt.cases.load import alike
from tfs_rt.errors import InputError
from tfs_rt.formats.dicom import pixels as dicom_pixels
from tfs_rt.formats.dicom import read as dicom
from tfs_rt.formats.dicom.read import read
from tfs_rt.formats.dicom.write import encode
from tfs_rt.formats.picture import Picture, Rules

PATH = Path("somewhere/scan.dcm")
WHEEL = Path(pydicom.data.__file__).parent
FILES = sorted(path for path in WHEEL.rglob("*") if path.is_file() and not path.suffix.startswith(".py"))
LOSSY = Rules(allow_lossy=True)
RAMP = np.arange(64, dtype=np.uint16).reshape(8, 8) * 64  # 0 to 4032
TEXT = {
    "Software": "tfs-rt 1.2.3",
    "tfs-rt:case": "case07",
    "tfs-rt:made-by": "tfs-rt/x4",
    "tfs-rt:recipe-sha256": "ab" * 32,
    "tfs-rt:inputs-sha256": " ".join(["cd" * 32] * 3),
    "tfs-rt:seed": "0",
    "Disclaimer": "image made by fusion; research use only; not a medical device",
}


@pytest.fixture(autouse=True)
def _lenient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests themselves write and read values against the standard."""
    monkeypatch.setattr(config.settings, "writing_validation_mode", config.IGNORE)
    monkeypatch.setattr(config.settings, "reading_validation_mode", config.IGNORE)


def stored_file(name: str) -> bytes:
    return (WHEEL / "test_files" / name).read_bytes()


def levels(data: bytes, rules: Rules = LOSSY) -> np.ndarray:
    """(N, H, W) levels of a file that is grey."""
    slices = np.stack(read(data, PATH, rules).slices)
    assert (slices[..., :1] == slices).all()
    return slices[..., 0]


def linear(values: np.ndarray, centre: float, width: float) -> np.ndarray:
    """PS3.3 C.11.2.1.2.1, as it stands there, from 0 to 255."""
    between = ((values - (centre - 0.5)) / (width - 1) + 0.5) * 255
    inside = np.where(values > centre - 0.5 + (width - 1) / 2, 255, between)
    return np.rint(np.where(values <= centre - 0.5 - (width - 1) / 2, 0, inside)).astype(np.uint8)


def outcome_of(data: bytes, path: Path, rules: Rules) -> Picture | InputError:
    """A picture, or a refusal in one line that names the file and the remedy; any other exception gets through."""
    try:
        return read(data, path, rules)
    except InputError as error:
        fault = error
    assert fault.subject == str(path)
    assert fault.remedy
    assert "\n" not in str(fault)
    return fault


def refused(data: bytes, words: str, rules: Rules = LOSSY) -> InputError:
    with pytest.raises(InputError, match=words) as caught:
        read(data, PATH, rules)
    assert caught.value.subject == str(PATH)
    assert caught.value.remedy
    return caught.value


# --- pydicom's own files


@pytest.mark.filterwarnings("ignore:Expected explicit VR")  # of the test's own look at a header
@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(WHEEL)))
def test_every_file_of_pydicom_is_read_or_refused(path: Path) -> None:
    for rules in (Rules(), LOSSY):
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
    np.testing.assert_array_equal(levels(stored_file(name), Rules())[0], linear(values, 600, 1600))


def test_ct_without_a_window_is_shown_by_the_head_window_and_says_so() -> None:
    picture = read(stored_file("CT_small.dcm"), PATH, Rules())
    values = dcmread(WHEEL / "test_files" / "CT_small.dcm").pixel_array - 1024.0
    expected = np.rint((values / 80).clip(0, 1) * 255).astype(np.uint8)
    np.testing.assert_array_equal(picture.slices[0][..., 0], expected)
    assert picture.facts["window_from"] == "head"
    assert picture.facts["levels"].startswith("window 0 to 80 HU, the head window for CT without one")


def test_ct_that_is_not_in_hounsfield_units_needs_a_window() -> None:
    error = refused(
        made(RAMP, Modality="CT"), "is CT without a window, and its values .20.16 to 4011.84. do not look like HU"
    )
    assert "--window m1=LOW:HIGH" in error.remedy
    narrow = read(made(RAMP // 16, Modality="CT"), PATH, Rules())  # 0 to 252: its percentiles show what there is
    assert narrow.facts["window_from"] == "data"
    assert read(made(RAMP, Modality="CT"), PATH, Rules(window=(0, 80))).facts["window_from"] == "user"


@pytest.mark.parametrize("modality", ["MR", "PT"])
def test_the_head_window_is_for_ct_alone_whatever_the_unit(modality: str) -> None:
    hounsfield = {"RescaleSlope": 1, "RescaleIntercept": 0, "RescaleType": "HU"}
    assert read(made(RAMP, Modality=modality, **hounsfield), PATH, Rules()).facts["window_from"] == "data"
    assert read(made(RAMP, **hounsfield), PATH, Rules()).facts["window_from"] == "head"
    assert read(made(RAMP, **hounsfield), PATH, Rules(modality="mr-t1")).facts["window_from"] == "data"
    wide = read(made(RAMP, Modality=modality, WindowCenter=1024, WindowWidth=4096, **hounsfield), PATH, Rules())
    assert "wide_window_hu" not in wide.facts


@pytest.mark.parametrize("centre", [-1000, 9000])
def test_a_window_without_any_value_inside_is_refused(centre: int) -> None:
    window = {"WindowCenter": centre, "WindowWidth": 200}
    error = refused(made(RAMP, Modality="MR", **window), "its own window .* has none of its values inside")
    assert "--window m1=LOW:HIGH" in error.remedy
    assert not read(made(RAMP * 0, Modality="MR", **window), PATH, Rules(window=(0, 80))).slices[0].any()
    read(made(RAMP * 0, Modality="MR", **window), PATH, Rules())
    air = {"Modality": "CT", "RescaleSlope": 1, "RescaleIntercept": -9000}
    assert not read(made(RAMP, WindowCenter=40, WindowWidth=80, **air), PATH, Rules()).slices[0].any()


def test_empty_values_behind_a_window_are_left_out() -> None:
    padded = made(RAMP, WindowCenter=["600", ""], WindowWidth=["1200", ""])
    plain = made(RAMP, WindowCenter="600", WindowWidth="1200")
    np.testing.assert_array_equal(levels(padded)[0], levels(plain)[0])
    refused(made(RAMP, WindowCenter=["", "600"], WindowWidth=["", "1200"]), "Window Center .*not a number")


@pytest.mark.parametrize("syntax", [uid.ExplicitVRLittleEndian, uid.ExplicitVRBigEndian])
def test_padding_beyond_the_stored_bits_hides_no_pixel_of_the_image(syntax: str) -> None:
    pixels = RAMP.copy()
    pixels[0], pixels[4, 4] = 63536, 2096  # 63536 by its 12 lowest bits
    stored = pixels.byteswap() if syntax == uid.ExplicitVRBigEndian else pixels
    found = levels(made(stored, syntax, BitsStored=12, HighBit=11, PixelPaddingValue=63536), Rules(window=(0, 4095)))[0]
    assert not found[0].any()
    assert found[4, 4] == round(2096 / 4095 * 255)


def test_a_window_in_which_a_brain_is_one_grey_is_in_the_facts() -> None:
    values = {"Modality": "CT", "RescaleSlope": 1, "RescaleIntercept": -1024}
    wide = read(made(RAMP, WindowCenter=1024, WindowWidth=4096, **values), PATH, Rules())
    assert wide.facts["wide_window_hu"] == 4095
    assert "wide_window_hu" not in read(made(RAMP, WindowCenter=40, WindowWidth=400, **values), PATH, Rules()).facts


@pytest.mark.parametrize("name", ["SC_rgb_dcmtk_+eb+cr.dcm", "SC_rgb_dcmtk_+eb+cy+s4.dcm", "examples_ybr_color.dcm"])
def test_jpeg_is_as_pillow_decodes_it(name: str) -> None:
    data = stored_file(name)
    refused(data, "compressed with loss", Rules())
    assert "--allow-lossy" in refused(data, "JPEG Baseline", Rules()).remedy
    picture = read(data, PATH, LOSSY)
    assert picture.facts["lossy"]
    header = dcmread(io.BytesIO(data))
    frame = next(generate_frames(header.PixelData, number_of_frames=int(header.get("NumberOfFrames") or 1)))
    direct = np.asarray(Image.open(io.BytesIO(frame)).convert("RGB")).astype(int)
    assert np.abs(picture.slices[0] - direct).max() <= 2  # libjpeg turns colours in integers
    assert picture.facts["frames"] == len(picture.slices)


@pytest.mark.parametrize("name", ["SC_rgb_rle.dcm", "SC_rgb_rle_2frame.dcm", "examples_rgb_color.dcm"])
def test_colour_is_taken_as_it_is(name: str) -> None:
    picture = read(stored_file(name), PATH, Rules())
    pixels = dcmread(WHEEL / "test_files" / name).pixel_array
    np.testing.assert_array_equal(np.stack(picture.slices), pixels.reshape(-1, *pixels.shape[-3:]))
    assert picture.facts["levels"] == "8-bit levels as stored"


@pytest.mark.parametrize("planar", [0, 1])
def test_luma_and_chroma_become_rgb(planar: int) -> None:
    """PS3.3 C.7.6.3.1.2, solved for R, G and B."""
    pixels = np.random.default_rng(planar).integers(0, 256, (6, 5, 3)).astype(np.uint8)
    laid = np.ascontiguousarray(pixels.transpose(2, 0, 1)).reshape(6, 5, 3) if planar else pixels
    data = made(laid, SamplesPerPixel=3, PlanarConfiguration=planar, PhotometricInterpretation="YBR_FULL")
    y, cb, cr = np.moveaxis(pixels.astype(float), -1, 0) - np.array([0, 128, 128])[:, None, None]
    red, blue = y + 1.402 * cr, y + 1.772 * cb
    green = (y - 0.299 * red - 0.114 * blue) / 0.587
    expected = np.floor(np.stack([red, green, blue], axis=-1) + 0.5).clip(0, 255)
    picture = read(data, PATH, Rules())
    assert np.abs(picture.slices[0] - expected).max() <= 1  # in single precision there
    assert (picture.slices[0] != expected).mean() < 0.02
    assert picture.facts["levels"] == "8-bit RGB from YBR_FULL"


def test_a_palette_is_looked_up() -> None:
    header = dcmread(WHEEL / "test_files" / "examples_palette.dcm")
    names = ("Red", "Green", "Blue")
    tables = [np.frombuffer(header[f"{name}PaletteColorLookupTableData"].value, "<u2") >> 8 for name in names]
    expected = np.stack([table[header.pixel_array] for table in tables], axis=-1)
    picture = read(stored_file("examples_palette.dcm"), PATH, Rules())
    np.testing.assert_array_equal(picture.slices[0], expected)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("SC_rgb_rle_16bit.dcm", "3 samples of 16 bits"),
        ("SC_rgb_jpeg_gdcm.dcm", "JPEG Lossless"),
        ("JPGExtended.dcm", "12-bit JPEG"),
        ("reportsi.dcm", "holds no pixels .Basic Text SR"),
        ("MR_truncated.dcm", "less than expected"),
        ("meta_missing_tsyntax.dcm", "no Transfer Syntax"),
        ("dicomdirtests/DICOMDIR", "DICOMDIR"),
        ("zipMR.gz", "not a DICOM file"),
        ("JPEG2000-embedded-sequence-delimiter.dcm", "another size"),
    ],
)
def test_what_is_no_readable_image_is_refused(name: str, words: str) -> None:
    refused(stored_file(name), words)


# --- grey values


def test_a_window_is_applied_by_the_formula_of_its_function() -> None:
    centre, width = 1000.0, 1500.0
    window = {"WindowCenter": centre, "WindowWidth": width}
    np.testing.assert_array_equal(levels(made(RAMP, **window))[0], linear(RAMP, centre, width))
    exact = np.rint(((RAMP - centre) / width + 0.5).clip(0, 1) * 255)
    np.testing.assert_array_equal(levels(made(RAMP, **window, VOILUTFunction="LINEAR_EXACT"))[0], exact)
    sigmoid = np.rint(255 / (1 + np.exp(-4 * (RAMP - centre) / width)))
    np.testing.assert_array_equal(levels(made(RAMP, **window, VOILUTFunction="SIGMOID"))[0], sigmoid)
    refused(made(RAMP, **window, VOILUTFunction="CUBIC"), "unknown function CUBIC")


def test_the_first_of_several_windows_counts_and_the_facts_name_it() -> None:
    data = made(RAMP, WindowCenter=[30, 400], WindowWidth=[100, 2000], RescaleType="HU")
    np.testing.assert_array_equal(levels(data)[0], linear(RAMP, 30, 100))
    facts = read(data, PATH, Rules()).facts
    assert facts["levels"] == "window -20 to 79 HU (centre 30, width 100), from the file"
    assert facts["window_from"] == "file"


def test_a_window_of_width_one_is_a_step_and_none_is_refused() -> None:
    step = levels(made(RAMP, WindowCenter=640.5, WindowWidth=1))[0]
    np.testing.assert_array_equal(step, np.where(RAMP > 640, 255, 0))
    for width in (0, 0.5, -3):
        assert "window" in refused(made(RAMP, WindowCenter=600, WindowWidth=width), "has the width").remedy


def test_the_users_window_beats_the_files_and_is_in_rescaled_units() -> None:
    data = made(RAMP, WindowCenter=30, WindowWidth=100, RescaleSlope=2, RescaleIntercept=-1024)
    picture = read(data, PATH, Rules(window=(-1000, 1000)))
    expected = np.rint(((RAMP * 2.0 - 1024 + 1000) / 2000).clip(0, 1) * 255)
    np.testing.assert_array_equal(picture.slices[0][..., 0], expected)
    assert picture.facts["window_from"] == "user"
    assert picture.facts["levels"].startswith("window -1000 to 1000")


def test_monochrome1_is_inverted() -> None:
    data = made(RAMP, WindowCenter=2000, WindowWidth=4000, PhotometricInterpretation="MONOCHROME1")
    np.testing.assert_array_equal(levels(data)[0], 255 - linear(RAMP, 2000, 4000))
    assert "inverted" in read(data, PATH, Rules()).facts["levels"]


def test_signed_values_and_twelve_bits_in_sixteen_are_read() -> None:
    signed = RAMP.astype(np.int16) - 2000
    np.testing.assert_array_equal(levels(made(signed, WindowCenter=0, WindowWidth=3000))[0], linear(signed, 0, 3000))
    window = {"WindowCenter": 2000, "WindowWidth": 3000}
    soiled = RAMP | np.uint16(0xA000)  # what stands above the stored bits means nothing
    data = made(soiled, **window, BitsStored=12, HighBit=11)
    np.testing.assert_array_equal(levels(data)[0], linear(RAMP, 2000, 3000))
    refused(made(RAMP, **window, BitsStored=12, HighBit=15), "unusual place")


SYNTAXES = [uid.ExplicitVRLittleEndian, uid.DeflatedExplicitVRLittleEndian, uid.RLELossless]
CODECS = [uid.JPEGLSLossless, uid.JPEG2000Lossless]


def with_twelve_bits(pixels: np.ndarray, syntax: uid.UID) -> bytes:
    """Sixteen-bit pixels in a file that then says that twelve of them count."""
    dataset = dcmread(io.BytesIO(made(pixels, WindowCenter=0, WindowWidth=5000)))
    if syntax.is_encapsulated:
        dataset.compress(syntax, generate_instance_uid=False)
    dataset.BitsStored, dataset.HighBit = 12, 11
    return written(dataset, syntax)


@pytest.mark.parametrize("syntax", [*SYNTAXES, *CODECS], ids=lambda syntax: syntax.name)
def test_the_highest_stored_bit_is_the_sign_in_every_encoding(syntax: uid.UID) -> None:
    values = (np.arange(64 * 64).reshape(64, 64) - 2048).astype(np.int16)
    expected = linear(values, 0, 5000)
    for stored in (values, values & np.int16(0xFFF)):  # the sign in all higher bits, and in none of them
        np.testing.assert_array_equal(levels(with_twelve_bits(stored, syntax))[0], expected)


def test_values_beyond_the_stored_bits_are_masked_or_refused() -> None:
    """Uncompressed bits above the stored ones may be an overlay (ACR-NEMA); a codec's cannot."""
    values = np.arange(64 * 64, dtype=np.uint16).reshape(64, 64)
    overlaid = values | np.uint16(0xA000)
    for syntax in SYNTAXES:
        np.testing.assert_array_equal(levels(with_twelve_bits(overlaid, syntax))[0], linear(values, 0, 5000))
    for syntax in CODECS:
        refused(with_twelve_bits(overlaid, syntax), "has values beyond its 12 bits stored .40960 to 45055.")


def test_eight_bits_without_any_window_are_levels_already() -> None:
    pixels = RAMP.astype(np.uint8)
    picture = read(made(pixels), PATH, Rules())
    np.testing.assert_array_equal(picture.slices[0][..., 0], pixels)
    assert "window_from" not in picture.facts
    bits = np.packbits(pixels > 99, bitorder="little").reshape(1, 8)
    one = {"BitsAllocated": 1, "BitsStored": 1, "HighBit": 0, "Rows": 8, "Columns": 8}
    np.testing.assert_array_equal(levels(made(bits, **one))[0], np.where(pixels > 99, 255, 0))


@pytest.mark.parametrize("signed", [True, False])  # of the same bits
def test_padding_is_black_and_does_not_count_among_the_percentiles(signed: bool) -> None:
    pixels = RAMP.astype(np.int16)
    pixels[0] = -2000
    low, high = np.percentile(pixels[1:], [0.5, 99.5])
    expected = np.rint(((pixels - low) / (high - low)).clip(0, 1) * 255)

    def padded(**more: Any) -> bytes:
        data = made(pixels, PixelPaddingValue=-2000, **more)
        value = struct.pack("<Hh", 2, -2000)
        return data if signed else data.replace(b"SS" + value, b"US" + value)

    np.testing.assert_array_equal(levels(padded())[0], expected)
    inverted = levels(padded(PhotometricInterpretation="MONOCHROME1"))[0]
    np.testing.assert_array_equal(inverted[1:], 255 - expected[1:])
    assert not inverted[0].any()
    by_user = read(padded(), PATH, Rules(window=(-4000, 4000)))
    assert not by_user.slices[0][0].any()
    assert by_user.slices[0][1:].all()
    assert "padding is black" in by_user.facts["levels"]


def test_padding_may_be_a_range_and_lie_above_the_image() -> None:
    pixels = RAMP.copy()
    pixels[0], pixels[1] = 65000, 65500
    found = levels(made(pixels, PixelPaddingValue=65500, PixelPaddingRangeLimit=65000))[0]
    assert not found[:2].any()
    assert found[7, 7] == 255


def test_lookup_tables_of_modality_and_voi_are_looked_up() -> None:
    voi = item(LUTDescriptor=[4096, 0, 8], LUTData=bytes(4096 - n >> 5 for n in range(4096)))
    voi["LUTData"].VR = "OW"
    expected = np.array([4096 - n >> 5 for n in range(4096)])[RAMP]
    np.testing.assert_array_equal(levels(made(RAMP, VOILUTSequence=[voi], WindowCenter=1, WindowWidth=9))[0], expected)
    modality = item(LUTDescriptor=[3, 1000, 16], LUTData=struct.pack("<3H", 5, 60, 700), ModalityLUTType="OD")
    data = made(RAMP, ModalityLUTSequence=[modality], WindowCenter=350, WindowWidth=700)
    values = np.select([RAMP <= 1000, RAMP == 1001], [5, 60], 700)
    np.testing.assert_array_equal(levels(data)[0], linear(values, 350, 700))
    short = item(LUTDescriptor=[9, 0, 16], LUTData=struct.pack("<2H", 1, 2))
    refused(made(RAMP, VOILUTSequence=[short]), "lookup table of 2 entries")


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
    found = read(made(pixels, **palette), PATH, Rules()).slices[0][..., 1].ravel()
    np.testing.assert_array_equal(found, [10, 11, *expected])
    assert np.abs(found - np.array(table)).max() <= 1
    palette["SegmentedRedPaletteColorLookupTableData"] = struct.pack("<4H", 2, 1, 0, 0)
    refused(made(pixels, **palette), "segments of kind 2")


def test_frames_of_an_enhanced_object_have_their_own_transform_and_window() -> None:
    volume = np.stack([RAMP, RAMP + 7, RAMP + 11])
    numbers = [(1.0, 0.0), (2.0, -50.0), (0.5, 9.0)]
    groups = [
        item(
            PixelValueTransformationSequence=[item(RescaleSlope=slope, RescaleIntercept=shift, RescaleType="HU")],
            PlanePositionSequence=[item(ImagePositionPatient=[0, 0, 2.5 * index])],
        )
        for index, (slope, shift) in enumerate(numbers)
    ]
    shared = item(
        FrameVOILUTSequence=[item(WindowCenter=900, WindowWidth=1200)],
        PlaneOrientationSequence=[item(ImageOrientationPatient=[1, 0, 0, 0, 1, 0])],
        PixelMeasuresSequence=[item(PixelSpacing=[0.5, 0.5])],
    )
    attributes = {"PerFrameFunctionalGroupsSequence": groups, "SharedFunctionalGroupsSequence": [shared]}
    picture = read(made(volume, **attributes), PATH, Rules())
    expected = [linear(frame * slope + shift, 900, 1200) for frame, (slope, shift) in zip(volume, numbers, strict=True)]
    np.testing.assert_array_equal(np.stack(picture.slices)[..., 0], expected)
    assert picture.facts["levels"] == "window 300 to 1499 HU (centre 900, width 1200), from the file"
    assert [corners[0] for corners in picture.subject["grid"]["corners"]] == [[-0.25, -0.25, 2.5 * n] for n in range(3)]
    groups[1].FrameVOILUTSequence = [item(WindowCenter=10, WindowWidth=20)]
    picture = read(made(volume, **attributes), PATH, Rules())
    np.testing.assert_array_equal(picture.slices[1][..., 0], linear(volume[1] * 2.0 - 50, 10, 20))
    assert "a window for each frame" in picture.facts["levels"]


def test_float_pixels_are_read_and_nan_is_refused() -> None:
    values = RAMP.astype(np.float32) / 7
    window = {"WindowCenter": 200, "WindowWidth": 300}
    np.testing.assert_array_equal(levels(made(values, **window))[0], linear(values.astype(float), 200, 300))
    for bad in (np.nan, np.inf):
        values[2, 3] = bad
        refused(made(values, **window), "no numbers")


# --- limits and damage


def test_what_is_too_big_is_refused_before_it_is_inflated(monkeypatch: pytest.MonkeyPatch) -> None:
    refused(made(RAMP, Rows=65535, Columns=65535), "65535x65535 pixels are more than 4096x4096")
    refused(made(RAMP, Rows=4096, Columns=4096, NumberOfFrames=64), "more than 1 GiB")
    head = made(RAMP, uid.DeflatedExplicitVRLittleEndian)
    head = head[: 144 + struct.unpack_from("<I", head, 140)[0]]  # up to the end of group 2
    deflater = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    zeros = b"".join(deflater.compress(bytes(2**20)) for _ in range(40)) + deflater.flush()
    monkeypatch.setattr(dicom, "MAX_INFLATED", 2**25)
    tracemalloc.start()
    refused(head + zeros, "inflates to more than 32 MiB")
    assert tracemalloc.get_traced_memory()[1] < 2**20
    tracemalloc.stop()


def test_frames_that_would_decode_to_another_size_are_refused() -> None:
    runs = b"\x81\0" * 3000  # 128 bytes each, for an image of 128
    bomb = struct.pack("<16I", 1, 64, *[0] * 14) + runs
    refused(made(RAMP, uid.RLELossless, PixelData=encapsulate([bomb])), "another size")
    whole = stored_file("MR_small_jp2klossless.dcm")
    at = whole.index(b"\xff\x4f\xff\x51") + 8
    refused(whole[:at] + struct.pack(">II", 60000, 60000) + whole[at + 8 :], "another size")
    whole = stored_file("SC_rgb_jpeg_dcmtk.dcm")
    at = whole.index(b"\xff\xc0\x00\x11\x08") + 5
    refused(whole[:at] + struct.pack(">HH", 60000, 60000) + whole[at + 4 :], "another size")


def test_frames_beyond_those_stated_are_not_dropped_in_silence() -> None:
    refused(made(np.stack([RAMP] * 3), NumberOfFrames=2), "holds more frames than it says")
    image = stored_file("SC_rgb_rle_2frame.dcm")
    header = dcmread(io.BytesIO(image))
    frames = list(generate_frames(header.PixelData, number_of_frames=2))
    header.PixelData = encapsulate([*frames, frames[0]])
    refused(written(header, uid.RLELossless), "says 2 frames, holds 3")


def test_a_missing_decoder_is_named_with_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(dicom_pixels.DECODERS, uid.JPEGLSLossless, ("absent", "pyjpegls"))
    error = refused(stored_file("MR_small_jpeg_ls_lossless.dcm"), "decoder for it is not installed")
    assert "pip install pyjpegls" in error.remedy


@pytest.mark.parametrize(
    ("name", "flips", "cuts"),
    [("MR_small.dcm", 200, 40), ("SC_rgb_rle_2frame.dcm", 60, 10), ("MR_small_jp2klossless.dcm", 60, 10)],
)
def test_flipped_bits_and_cuts_give_a_picture_or_a_refusal(name: str, flips: int, cuts: int) -> None:
    whole, chance = stored_file(name), random.Random(20)
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
            read(whole[:length], PATH, Rules())


def test_values_against_the_standard_do_not_stop_a_readable_file_nor_warn() -> None:
    data = made(RAMP, WindowCenter=900, WindowWidth=1200, StudyDate="last week", PatientAge="old", PatientID="x" * 99)
    config.settings.reading_validation_mode = config.RAISE
    picture = read(data, PATH, Rules())
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
    picture = read(made(RAMP, Modality="CT", **person, **place, **grid), PATH, Rules(window=(0, 80)))
    said = json.dumps(picture.facts)
    assert not [value for value in (*person.values(), "Jane") if value in said]
    assert picture.facts["study_instance_uid"] == "1.2.7"
    assert picture.facts["modality"] == "CT"
    assert picture.facts["transfer_syntax_uid"] == "1.2.840.10008.1.2.1"
    spacing, edge = 0.48828125, 8 * 0.48828125
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
    assert read(made(RAMP, PatientID=""), PATH, Rules()).subject == {}


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
    a, b = (read(made(RAMP, **attributes), PATH, Rules()) for attributes in (one, other))
    assert all(alike(a.subject[key], b.subject[key]) for key in a.subject.keys() & b.subject.keys()) == same
    assert not [value for value in (*one.values(), *other.values()) if value in json.dumps([a.facts, b.facts])]


# --- writing


def frame_of(data: bytes) -> Any:
    return read(data, PATH, LOSSY).frame


def sources() -> dict[str, Any]:
    person = {"PatientName": "Müller^Änne", "PatientID": "P-77", "StudyInstanceUID": "1.2.7", "StudyDate": "1999.12.31"}
    m1 = made(RAMP, **person, PixelSpacing=[2, 1], BodyPartExamined="BRAIN", SOPInstanceUID="1.2.1")
    m2 = made(RAMP, PatientID="P-77", SOPInstanceUID="1.2.2")
    functional = made(RAMP, SOPInstanceUID="1.2.4", LossyImageCompression="01", LossyImageCompressionRatio=12)
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
    said = frame_of(made(RAMP, LossyImageCompression="00", BurnedInAnnotation="YES", PatientIdentityRemoved="YES"))
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
    file, images = tmp_path / "result.dcm", fused(2, (9, 11))
    file.write_bytes(encode(images, sources(), TEXT))
    for number, image in enumerate(images, 1):
        ended = subprocess.run(["dcm2pnm", "+F", str(number), "+op", str(file)], capture_output=True, check=True)
        np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(ended.stdout))), image)
