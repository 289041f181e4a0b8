"""Grey values become levels by the formulas of the standard."""

import struct
from typing import Any

import numpy as np
import pytest
from pydicom import dcmread

from support.made_dicom import PATH, RAMP, WHEEL, assert_refused, item, levels, linear, make_dicom, stored_file
from tfs_rt.formats.dicom.read import read
from tfs_rt.formats.picture import FileOptions


def test_ct_without_a_window_is_shown_by_the_head_window_and_says_so() -> None:
    picture = read(stored_file("CT_small.dcm"), PATH, FileOptions())
    values = dcmread(WHEEL / "test_files" / "CT_small.dcm").pixel_array - 1024.0
    expected = np.rint((values / 80).clip(0, 1) * 255).astype(np.uint8)
    np.testing.assert_array_equal(picture.slices[0][..., 0], expected)
    assert picture.facts["window_from"] == "head"
    assert picture.facts["levels"].startswith("window 0 to 80 HU, the head window for CT without one")


def test_ct_that_is_not_in_hounsfield_units_needs_a_window() -> None:
    error = assert_refused(
        make_dicom(RAMP, Modality="CT"), "is CT without a window, and its values .20.16 to 4011.84. do not look like HU"
    )
    assert "--window m1=LOW:HIGH" in error.remedy
    narrow = read(
        make_dicom(RAMP // 16, Modality="CT"), PATH, FileOptions()
    )  # 0 to 252: its percentiles show what there is
    assert narrow.facts["window_from"] == "data"
    assert read(make_dicom(RAMP, Modality="CT"), PATH, FileOptions(window=(0, 80))).facts["window_from"] == "user"


@pytest.mark.parametrize("modality", ["MR", "PT"])
def test_the_head_window_is_for_ct_alone_whatever_the_unit(modality: str) -> None:
    hounsfield = {"RescaleSlope": 1, "RescaleIntercept": 0, "RescaleType": "HU"}
    assert read(make_dicom(RAMP, Modality=modality, **hounsfield), PATH, FileOptions()).facts["window_from"] == "data"
    below = hounsfield | {"RescaleIntercept": -1024}
    assert read(make_dicom(RAMP, **below), PATH, FileOptions()).facts["window_from"] == "head"
    assert read(make_dicom(RAMP, **hounsfield), PATH, FileOptions(modality="mr-t1")).facts["window_from"] == "data"
    wide = read(
        make_dicom(RAMP, Modality=modality, WindowCenter=1024, WindowWidth=1800, **hounsfield), PATH, FileOptions()
    )
    assert "wide_window_hu" not in wide.facts


@pytest.mark.parametrize("centre", [-1000, 9000])
def test_a_window_without_any_value_inside_is_refused(centre: int) -> None:
    window = {"WindowCenter": centre, "WindowWidth": 200}
    error = assert_refused(make_dicom(RAMP, Modality="MR", **window), "its own window .* has none of its values inside")
    assert "--window m1=LOW:HIGH" in error.remedy
    assert not read(make_dicom(RAMP * 0, Modality="MR", **window), PATH, FileOptions(window=(0, 80))).slices[0].any()
    read(make_dicom(RAMP * 0, Modality="MR", **window), PATH, FileOptions())
    air = {"Modality": "CT", "RescaleSlope": 1, "RescaleIntercept": -9000}
    assert not read(make_dicom(RAMP, WindowCenter=40, WindowWidth=80, **air), PATH, FileOptions()).slices[0].any()


def test_empty_values_behind_a_window_are_left_out() -> None:
    padded = make_dicom(RAMP, WindowCenter=["600", ""], WindowWidth=["1200", ""])
    plain = make_dicom(RAMP, WindowCenter="600", WindowWidth="1200")
    np.testing.assert_array_equal(levels(padded)[0], levels(plain)[0])
    assert_refused(make_dicom(RAMP, WindowCenter=["", "600"], WindowWidth=["", "1200"]), "Window Center .*not a number")


def test_a_window_in_which_a_brain_is_one_grey_is_in_the_facts() -> None:
    values = {"Modality": "CT", "RescaleSlope": 1, "RescaleIntercept": -1024}
    wide = read(make_dicom(RAMP, WindowCenter=300, WindowWidth=1500, **values), PATH, FileOptions())
    assert wide.facts["wide_window_hu"] == 1499
    assert (
        "wide_window_hu"
        not in read(make_dicom(RAMP, WindowCenter=40, WindowWidth=400, **values), PATH, FileOptions()).facts
    )


def test_a_window_is_applied_by_the_formula_of_its_function() -> None:
    centre = 1000.0
    width = 1500.0
    window = {"WindowCenter": centre, "WindowWidth": width}
    np.testing.assert_array_equal(levels(make_dicom(RAMP, **window))[0], linear(RAMP, centre, width))
    exact = np.rint(((RAMP - centre) / width + 0.5).clip(0, 1) * 255)
    np.testing.assert_array_equal(levels(make_dicom(RAMP, **window, VOILUTFunction="LINEAR_EXACT"))[0], exact)
    sigmoid = np.rint(255 / (1 + np.exp(-4 * (RAMP - centre) / width)))
    np.testing.assert_array_equal(levels(make_dicom(RAMP, **window, VOILUTFunction="SIGMOID"))[0], sigmoid)
    assert_refused(make_dicom(RAMP, **window, VOILUTFunction="CUBIC"), "unknown function CUBIC")


def test_the_first_of_several_windows_counts_and_the_facts_name_it() -> None:
    data = make_dicom(RAMP, WindowCenter=[30, 400], WindowWidth=[100, 2000], RescaleType="HU")
    np.testing.assert_array_equal(levels(data)[0], linear(RAMP, 30, 100))
    facts = read(data, PATH, FileOptions()).facts
    assert facts["levels"] == "window -20 to 79 HU (centre 30, width 100), from the file"
    assert facts["window_from"] == "file"


def test_a_window_of_width_one_is_a_step_and_none_is_refused() -> None:
    step = levels(make_dicom(RAMP, WindowCenter=640.5, WindowWidth=1))[0]
    np.testing.assert_array_equal(step, np.where(RAMP > 640, 255, 0))
    for width in (0, 0.5, -3):
        assert "window" in assert_refused(make_dicom(RAMP, WindowCenter=600, WindowWidth=width), "has the width").remedy


def test_the_users_window_beats_the_files_and_is_in_rescaled_units() -> None:
    data = make_dicom(RAMP, WindowCenter=30, WindowWidth=100, RescaleSlope=2, RescaleIntercept=-1024)
    picture = read(data, PATH, FileOptions(window=(-1000, 1000)))
    expected = np.rint(((RAMP * 2.0 - 1024 + 1000) / 2000).clip(0, 1) * 255)
    np.testing.assert_array_equal(picture.slices[0][..., 0], expected)
    assert picture.facts["window_from"] == "user"
    assert picture.facts["levels"].startswith("window -1000 to 1000")


def test_monochrome1_is_inverted() -> None:
    data = make_dicom(RAMP, WindowCenter=2000, WindowWidth=4000, PhotometricInterpretation="MONOCHROME1")
    np.testing.assert_array_equal(levels(data)[0], 255 - linear(RAMP, 2000, 4000))
    assert "inverted" in read(data, PATH, FileOptions()).facts["levels"]


def test_eight_bits_without_any_window_are_levels_already() -> None:
    pixels = RAMP.astype(np.uint8)
    picture = read(make_dicom(pixels), PATH, FileOptions())
    np.testing.assert_array_equal(picture.slices[0][..., 0], pixels)
    assert "window_from" not in picture.facts
    bits = np.packbits(pixels > 99, bitorder="little").reshape(1, 8)
    one = {"BitsAllocated": 1, "BitsStored": 1, "HighBit": 0, "Rows": 8, "Columns": 8}
    np.testing.assert_array_equal(levels(make_dicom(bits, **one))[0], np.where(pixels > 99, 255, 0))


@pytest.mark.parametrize("signed", [True, False])  # of the same bits
def test_padding_is_black_and_does_not_count_among_the_percentiles(signed: bool) -> None:
    pixels = RAMP.astype(np.int16)
    pixels[0] = -2000
    low, high = np.percentile(pixels[1:], [0.5, 99.5])
    expected = np.rint(((pixels - low) / (high - low)).clip(0, 1) * 255)

    def padded(**more: Any) -> bytes:
        data = make_dicom(pixels, PixelPaddingValue=-2000, **more)
        value = struct.pack("<Hh", 2, -2000)
        return data if signed else data.replace(b"SS" + value, b"US" + value)

    np.testing.assert_array_equal(levels(padded())[0], expected)
    inverted = levels(padded(PhotometricInterpretation="MONOCHROME1"))[0]
    np.testing.assert_array_equal(inverted[1:], 255 - expected[1:])
    assert not inverted[0].any()
    by_user = read(padded(), PATH, FileOptions(window=(-4000, 4000)))
    assert not by_user.slices[0][0].any()
    assert by_user.slices[0][1:].all()
    assert "padding is black" in by_user.facts["levels"]


def test_padding_may_be_a_range_and_lie_above_the_image() -> None:
    pixels = RAMP.copy()
    pixels[0] = 65000
    pixels[1] = 65500
    found = levels(make_dicom(pixels, PixelPaddingValue=65500, PixelPaddingRangeLimit=65000))[0]
    assert not found[:2].any()
    assert found[7, 7] == 255


def test_lookup_tables_of_modality_and_voi_are_looked_up() -> None:
    voi = item(LUTDescriptor=[4096, 0, 8], LUTData=bytes(4096 - n >> 5 for n in range(4096)))
    voi["LUTData"].VR = "OW"
    expected = np.array([4096 - n >> 5 for n in range(4096)])[RAMP]
    np.testing.assert_array_equal(
        levels(make_dicom(RAMP, VOILUTSequence=[voi], WindowCenter=1, WindowWidth=9))[0], expected
    )
    modality = item(LUTDescriptor=[3, 1000, 16], LUTData=struct.pack("<3H", 5, 60, 700), ModalityLUTType="OD")
    data = make_dicom(RAMP, ModalityLUTSequence=[modality], WindowCenter=350, WindowWidth=700)
    values = np.select([RAMP <= 1000, RAMP == 1001], [5, 60], 700)
    np.testing.assert_array_equal(levels(data)[0], linear(values, 350, 700))
    short = item(LUTDescriptor=[9, 0, 16], LUTData=struct.pack("<2H", 1, 2))
    assert_refused(make_dicom(RAMP, VOILUTSequence=[short]), "lookup table of 2 entries")


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
    picture = read(make_dicom(volume, **attributes), PATH, FileOptions())
    expected = [linear(frame * slope + shift, 900, 1200) for frame, (slope, shift) in zip(volume, numbers, strict=True)]
    np.testing.assert_array_equal(np.stack(picture.slices)[..., 0], expected)
    assert picture.facts["levels"] == "window 300 to 1499 HU (centre 900, width 1200), from the file"
    assert [corners[0] for corners in picture.subject["grid"]["corners"]] == [[-0.25, -0.25, 2.5 * n] for n in range(3)]
    groups[1].FrameVOILUTSequence = [item(WindowCenter=10, WindowWidth=20)]
    picture = read(make_dicom(volume, **attributes), PATH, FileOptions())
    np.testing.assert_array_equal(picture.slices[1][..., 0], linear(volume[1] * 2.0 - 50, 10, 20))
    assert "a window for each frame" in picture.facts["levels"]


def test_float_pixels_are_read_and_nan_is_refused() -> None:
    values = RAMP.astype(np.float32) / 7
    window = {"WindowCenter": 200, "WindowWidth": 300}
    np.testing.assert_array_equal(levels(make_dicom(values, **window))[0], linear(values.astype(float), 200, 300))
    for bad, words in ((np.nan, "not numbers"), (np.inf, "infinite values")):
        values[2, 3] = bad
        assert_refused(make_dicom(values, **window), words)


def ends(low: float, high: float, **more: Any) -> dict[str, Any]:
    return {"WindowCenter": (low + high) / 2, "WindowWidth": high - low, "VOILUTFunction": "LINEAR_EXACT", **more}


@pytest.mark.parametrize(("low", "high"), [(0, 4032), (0, 65535), (1, 4035), (0, 65500)])
def test_a_window_that_only_repeats_the_extremes_does_not_count(low: float, high: float) -> None:
    """Extremes of the data or of the stored bits count, each within a half percent of the window."""
    plain = read(make_dicom(RAMP, Modality="MR"), PATH, FileOptions())
    found = read(make_dicom(RAMP, Modality="MR", **ends(low, high)), PATH, FileOptions())
    assert found.facts["window_from"] == plain.facts["window_from"] == "data"
    np.testing.assert_array_equal(found.slices, plain.slices)
    for shown in (ends(0, 3900), ends(60, 4032), ends(0, 5000)):
        assert read(make_dicom(RAMP, Modality="MR", **shown), PATH, FileOptions()).facts["window_from"] == "file"


def test_windows_of_frames_that_repeat_their_own_extremes_do_not_count() -> None:
    volume = np.stack([RAMP, RAMP // 3, RAMP // 8])
    frames = [(0, 4032), (0, 1344), (0, 504)]
    plain = read(make_dicom(volume, Modality="MR"), PATH, FileOptions())

    def enhanced(*windows: tuple[float, float]) -> bytes:
        groups = [item(FrameVOILUTSequence=[item(**ends(*window))]) for window in windows]
        return make_dicom(volume, Modality="MR", PerFrameFunctionalGroupsSequence=groups)

    for windows in (frames, [(0, 4032)] * 3):
        found = read(enhanced(*windows), PATH, FileOptions())
        assert found.facts["window_from"] == "data"
        np.testing.assert_array_equal(found.slices, plain.slices)
    assert read(enhanced(*frames[:2], (0, 300)), PATH, FileOptions()).facts["window_from"] == "file"


@pytest.mark.parametrize("padding", [-1024, -2000, -3024, -32768])
def test_a_window_of_ct_counts_if_it_leaves_out_more_than_air_and_padding(padding: int) -> None:
    values = np.linspace(-1000, 1200, 64).round().astype(np.int16).reshape(8, 8)
    values[0] = padding
    ct = {"Modality": "CT", "RescaleSlope": 1, "RescaleIntercept": 0}
    expected = np.rint((values / 80).clip(0, 1) * 255).astype(np.uint8)
    for low, high in ((padding, 1200), (-1000, 1200), (-1024, 3071), (-32768, 32767)):
        found = read(make_dicom(values, **ct, **ends(low, high)), PATH, FileOptions())
        assert found.facts["window_from"] == "head"
        np.testing.assert_array_equal(found.slices[0][..., 0], expected)
    for low, high in ((-500, 1200), (-1000, 900), (-160, 240)):
        assert read(make_dicom(values, **ct, **ends(low, high)), PATH, FileOptions()).facts["window_from"] == "file"


@pytest.mark.parametrize("modality", ["", "OT", "SC"])
def test_a_file_without_a_modality_is_ct_by_its_name_or_by_values_that_only_ct_has(modality: str) -> None:
    values = np.full((20, 20), -1000, np.int16)
    values[2:18, 2:18] = 40
    values[2] = 1200
    data = make_dicom(values, Modality=modality)
    for rules in (FileOptions(modality="ct"), FileOptions(may_be_ct=True)):
        assert read(data, PATH, rules).facts["window_from"] == "head"
    for rules in (FileOptions(), FileOptions(modality="mr-t1", may_be_ct=True)):
        assert read(data, PATH, rules).facts["window_from"] == "data"


def test_ct_whose_intercept_is_missing_needs_a_window() -> None:
    """Its unit is HU by the standard, and its values cannot be: nothing in them is below 0."""
    error = assert_refused(make_dicom(RAMP, Modality="CT", RescaleSlope=1, RescaleIntercept=0), "do not look like HU")
    assert "--window" in error.remedy
