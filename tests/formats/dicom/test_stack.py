"""Frames lie where the file says, in the order of their places, or the file is refused by the name of what is wrong."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import dcmread, uid

from support.made_dicom import item, make_dicom
from tfs_rt.cases.compatibility import values_agree
from tfs_rt.errors import InputError
from tfs_rt.formats.answers import checked_picture
from tfs_rt.formats.dicom.read import read
from tfs_rt.formats.dicom.write import encode
from tfs_rt.formats.picture import FileOptions, Picture

PATH = Path("somewhere/scan.dcm")
FRAMES = np.stack([np.full((8, 8), 20 * n, np.uint8) for n in range(1, 5)])
AXIAL = [1, 0, 0, 0, 1, 0]
OBLIQUE = [0.8, 0, 0.6, 0, 1, 0]  # its normal is (-0.6, 0, 0.8)
STEP = 4.0  # mm
PLACE: dict[str, Any] = {
    "ImagePositionPatient": [0, 0, 5],
    "ImageOrientationPatient": AXIAL,
    "PixelSpacing": [2, 2],
}


def picture_of(data: bytes) -> Picture:
    """The picture of a file, as the child's answer passes the check."""
    picture = read(data, PATH, FileOptions())
    return checked_picture((picture.slices, picture.facts, picture.subject, picture.frame), "dicom")


def greys(data: bytes) -> list[int]:
    """The grey value of each frame, in the picture's order."""
    return [int(image[0, 0, 0]) for image in picture_of(data).slices]


def enhanced(positions: list[Any], **changes: Any) -> bytes:
    """An enhanced object of frames at these positions."""
    groups = [item(PlanePositionSequence=[item(ImagePositionPatient=position)]) for position in positions]
    shared = item(
        PlaneOrientationSequence=[item(ImageOrientationPatient=AXIAL)],
        PixelMeasuresSequence=[item(PixelSpacing=[2, 2])],
    )
    attributes = {"PerFrameFunctionalGroupsSequence": groups, "SharedFunctionalGroupsSequence": [shared], **changes}
    return make_dicom(FRAMES[: len(positions)], **attributes)


def nuclear(spacing: Any, first: float = 0.0, across: list[int] | list[float] = AXIAL, **changes: Any) -> bytes:
    """A reconstructed volume of nuclear medicine whose first slice lies `first` mm along the normal."""
    normal = np.cross(across[:3], across[3:])
    detector = item(ImagePositionPatient=(first * normal).tolist(), ImageOrientationPatient=across)
    attributes = {
        "SOPClassUID": uid.NuclearMedicineImageStorage,
        "Modality": "NM",
        "DetectorInformationSequence": [detector],
        "PixelSpacing": [2, 2],
        "SpacingBetweenSlices": spacing,
        "SliceVector": [1, 2, 3, 4],
        **changes,
    }
    return make_dicom(FRAMES, **attributes)


def with_comma(data: bytes, number: str) -> bytes:
    """A file in which this number, which is there once, has a decimal comma, as no library writes it."""
    assert data.count(number.encode()) == 1
    return data.replace(number.encode(), number.replace(".", ",").encode())


def refused(data: bytes, words: str) -> InputError:
    with pytest.raises(InputError, match=words) as caught:
        picture_of(data)
    assert caught.value.subject == str(PATH)
    assert caught.value.remedy
    return caught.value


# --- the order of frames


@pytest.mark.parametrize("across", [AXIAL, OBLIQUE])
def test_slices_of_nuclear_medicine_are_stacked_by_the_sign_of_their_spacing(across: list[int] | list[float]) -> None:
    """Frame k lies at first + (k - 1) spacing along the normal, whatever the sign (PS3.3 C.8.4.15)."""
    upwards = nuclear(STEP, across=across)
    downwards = nuclear(-STEP, 3 * STEP, across)
    assert greys(upwards) == [20, 40, 60, 80]
    assert greys(downwards) == [80, 60, 40, 20]
    assert "frame_order" not in picture_of(upwards).facts
    assert picture_of(downwards).facts["frame_order"] == [4, 3, 2, 1]
    assert values_agree(picture_of(upwards).subject["grid"], picture_of(downwards).subject["grid"])


def test_slices_of_nuclear_medicine_lie_on_the_grid_of_an_enhanced_object() -> None:
    anatomy = picture_of(enhanced([[0, 0, STEP * n] for n in range(4)])).subject["grid"]
    assert values_agree(anatomy, picture_of(nuclear(-STEP, 3 * STEP)).subject["grid"])
    assert not values_agree(anatomy, picture_of(nuclear(STEP, 3 * STEP)).subject["grid"])
    assert not values_agree(anatomy, picture_of(nuclear(-STEP)).subject["grid"])


def test_the_slice_vector_numbers_the_slices() -> None:
    assert greys(nuclear(STEP, SliceVector=[2, 1, 4, 3])) == [40, 20, 80, 60]
    assert greys(nuclear(-STEP, SliceVector=[2, 1, 4, 3])) == [60, 80, 20, 40]
    assert greys(nuclear(STEP, SliceVector=None)) == [20, 40, 60, 80]


def test_frames_of_an_enhanced_object_are_sorted_with_their_places() -> None:
    places = [8.0, 0.0, 12.0, 4.0]
    data = enhanced([[0, 0, z] for z in places])
    assert greys(data) == [40, 80, 20, 60]
    found = picture_of(data)
    assert [corners[0][2] for corners in found.subject["grid"]["corners"]] == sorted(places)
    text = {"Software": "x", "tfs-rt:case": "c", "tfs-rt:made-by": "m", "tfs-rt:recipe-sha256": "ab"}
    result = dcmread(io.BytesIO(encode(found.slices, {"m1": found.frame}, text)))
    assert list(result.SliceLocationVector) == sorted(places)
    np.testing.assert_array_equal(result.pixel_array[:, 0, 0, 0], [40, 80, 20, 60])


def test_one_place_for_several_frames_places_none_of_them() -> None:
    """As in a capture of several frames: nothing is sorted, and nothing is refused."""
    data = make_dicom(FRAMES, ImagePositionPatient=[0, 0, 5], ImageOrientationPatient=AXIAL, PixelSpacing=[2, 2])
    assert greys(data) == [20, 40, 60, 80]


def test_slices_of_nuclear_medicine_without_a_spacing_have_no_place() -> None:
    found = picture_of(nuclear(None))
    assert "grid" not in found.subject
    assert len(found.slices) == 4


@pytest.mark.parametrize(
    ("positions", "words"),
    [
        ([[0, 0, 0], [0, 0, 4], [0, 0, 0]], "frame 1 and frame 3 lie at one place"),
        ([[0, 0, 0], [0, 0, 4], [0, 0, 12], [0, 0, 16]], "frame 2 and frame 3 lie 8 mm apart, others 4 mm"),
        ([[0, 0, 0], [0, 0, 4], [5, 0, 8], [0, 0, 12]], "frame 2 and frame 3 do not lie on the line of the others"),
        ([[0, 0, 0], None, [0, 0, 8]], "frame 2 does not say where it lies"),
    ],
)
def test_frames_that_are_not_one_stack_are_refused_by_their_numbers(positions: list[Any], words: str) -> None:
    refused(enhanced(positions), words)


@pytest.mark.parametrize("degrees", [1, 20])
def test_a_tilted_gantry_is_refused(degrees: float) -> None:
    """Each slice alone is right, but as a volume they are sheared."""
    step = STEP * np.tan(np.radians(degrees))
    error = refused(
        enhanced([[0, step * n, STEP * n] for n in range(4)]), f"frame 1 and frame 2 .* {degrees}.0 degrees"
    )
    assert "dcm2niix" in error.remedy


def test_a_stack_whose_directions_were_rounded_is_not_tilted() -> None:
    exact = np.array([0.70710678, 0, 0.70710678, 0, 1, 0])
    normal = np.cross(exact[:3], exact[3:])
    shared = item(
        PlaneOrientationSequence=[item(ImageOrientationPatient=[0.71, 0, 0.7, 0, 1, 0])],
        PixelMeasuresSequence=[item(PixelSpacing=[2, 2])],
    )
    places = [(STEP * n * normal).tolist() for n in (2, 0, 1)]
    assert greys(enhanced(places, SharedFunctionalGroupsSequence=[shared])) == [40, 60, 20]


def test_frames_of_different_orientations_or_spacings_are_refused() -> None:
    def groups(**second: Any) -> bytes:
        places = [item(PlanePositionSequence=[item(ImagePositionPatient=[0, 0, STEP * n])]) for n in range(2)]
        for keyword, value in second.items():
            setattr(places[1], keyword, [value])
        return enhanced([[0, 0, 0]] * 2, PerFrameFunctionalGroupsSequence=places)

    turned = item(ImageOrientationPatient=[1, 0, 0, 0, 0, -1])
    refused(groups(PlaneOrientationSequence=turned), "frame 2 is turned against frame 1")
    coarse = item(PixelSpacing=[3, 3])
    refused(groups(PixelMeasuresSequence=coarse), "frame 2 has another pixel spacing than frame 1")


@pytest.mark.parametrize("vector", ["EnergyWindowVector", "DetectorVector", "PhaseVector", "TimeSliceVector"])
def test_frames_that_are_not_only_slices_are_refused(vector: str) -> None:
    changes: dict[str, Any] = {vector: [1, 1, 2, 2]}
    refused(nuclear(STEP, **changes), f"are not only slices: {vector} has 2 values")
    changes[vector] = [1, 1, 1, 1]
    assert len(picture_of(nuclear(STEP, **changes)).slices) == 4


def test_detectors_must_agree_where_the_volume_lies() -> None:
    same = [item(ImagePositionPatient=[0, 0, 0], ImageOrientationPatient=AXIAL) for _ in range(2)]
    assert "grid" in picture_of(nuclear(STEP, DetectorInformationSequence=same)).subject
    other = [same[0], item(ImagePositionPatient=[0, 0, 9], ImageOrientationPatient=AXIAL)]
    refused(nuclear(STEP, DetectorInformationSequence=other), "its detectors give different places for one volume")


def test_detectors_that_differ_by_rounding_agree_and_go_before_the_file_itself() -> None:
    near = [item(ImagePositionPatient=[0, 0, z], ImageOrientationPatient=AXIAL) for z in ("0", "0.0001")]
    own: dict[str, Any] = {"ImagePositionPatient": [0, 0, 7], "ImageOrientationPatient": AXIAL}
    grid = picture_of(nuclear(STEP, DetectorInformationSequence=near, **own)).subject["grid"]
    assert values_agree(grid, picture_of(nuclear(STEP)).subject["grid"])


def test_frames_are_sorted_by_position_and_directions_without_a_pixel_spacing() -> None:
    shared = item(PlaneOrientationSequence=[item(ImageOrientationPatient=AXIAL)])
    data = enhanced([[0, 0, 8], [0, 0, 0], [0, 0, 4]], SharedFunctionalGroupsSequence=[shared])
    assert greys(data) == [40, 60, 20]
    found = picture_of(data)
    assert "grid" not in found.subject
    assert values_agree(
        found.subject["image position"],
        picture_of(enhanced([[0, 0, 4 * n] for n in range(3)])).subject["image position"],
    )
    assert not values_agree(
        found.subject["image position"],
        picture_of(enhanced([[0, 0, 5 * n] for n in range(3)])).subject["image position"],
    )
    assert greys(nuclear(-STEP, 3 * STEP, PixelSpacing=None)) == [80, 60, 40, 20]


def test_positions_without_directions_are_refused_by_the_missing_element() -> None:
    shared = item(PixelMeasuresSequence=[item(PixelSpacing=[2, 2])])
    data = enhanced([[0, 0, 4], [0, 0, 0]], SharedFunctionalGroupsSequence=[shared])
    refused(data, r"has a position, but no Image Orientation \(Patient\) \(0020,0037\)")
    assert "grid" not in picture_of(enhanced([[0, 0, 4]], SharedFunctionalGroupsSequence=[shared])).subject


def test_nuclear_medicine_without_detectors_is_placed_by_the_file_itself() -> None:
    own = {"ImagePositionPatient": [0, 0, 3 * STEP], "ImageOrientationPatient": AXIAL}
    found = picture_of(nuclear(-STEP, DetectorInformationSequence=None, **own))
    assert found.facts["frame_order"] == [4, 3, 2, 1]
    assert values_agree(found.subject["grid"], picture_of(nuclear(STEP)).subject["grid"])


def test_frames_are_placed_by_their_spacing_where_the_file_has_one_place() -> None:
    def capture(spacing: Any) -> Picture:
        return picture_of(make_dicom(FRAMES, **PLACE, SpacingBetweenSlices=spacing))

    places = [corners[0][2] for corners in capture(STEP).subject["grid"]["corners"]]
    assert places == [5 + STEP * n for n in range(4)]
    assert not values_agree(capture(STEP).subject["grid"], capture(2 * STEP).subject["grid"])
    numbered = picture_of(make_dicom(FRAMES, **PLACE, SpacingBetweenSlices=STEP, SliceLocationVector=[12, 8, 4, 0]))
    assert "grid" not in numbered.subject
    assert numbered.facts["frame_order"] == [4, 3, 2, 1]
    assert "grid" in picture_of(nuclear(STEP, SliceVector=None, SliceLocationVector=[0, 4, 8, 12])).subject
    assert not {"grid", "image position"} & capture(None).subject.keys()
    assert not {"grid", "image position"} & capture(0).subject.keys()


@pytest.mark.parametrize(("numbers", "expected"), [([8, 4, 0, 12], [60, 40, 20, 80]), ([0] * 4, [20, 40, 60, 80])])
def test_frames_without_positions_are_sorted_by_their_numbers(numbers: list[int], expected: list[int]) -> None:
    groups = [item(FrameContentSequence=[item(InStackPositionNumber=number + 1)]) for number in numbers]
    assert greys(make_dicom(FRAMES, SliceLocationVector=numbers)) == expected
    assert greys(make_dicom(FRAMES, PerFrameFunctionalGroupsSequence=groups)) == expected
    assert greys(nuclear(None, SliceVector=[4, 3, 2, 1], DetectorInformationSequence=None)) == [80, 60, 40, 20]
    refused(
        make_dicom(FRAMES, SliceLocationVector=[0, 4, 0, 4]), "frame 1 and frame 3 have the same Slice Location Vector"
    )


def test_directions_are_compared_where_there_is_no_grid() -> None:
    def subject(**attributes: Any) -> dict[str, Any]:
        return picture_of(make_dicom(FRAMES[0], **attributes)).subject

    mirrored = [-1, 0, 0, 0, 1, 0]
    one, other = (subject(ImageOrientationPatient=across)["image orientation"] for across in (AXIAL, mirrored))
    assert not values_agree(one, other)
    one, other = (subject(PatientOrientation=letters)["patient orientation"] for letters in (["L", "P"], ["RA", "P"]))
    assert (one, other) == ("L P", "R P")
    assert "patient orientation" not in subject(PatientOrientation=["L", "P"], ImageOrientationPatient=AXIAL)


@pytest.mark.parametrize(("keyword", "value"), [("ImageOrientationPatient", [0] * 6), ("PixelSpacing", ["0", "0"])])
def test_zeros_are_placeholders_for_what_is_not_known(keyword: str, value: list[Any]) -> None:
    assert "grid" not in picture_of(make_dicom(FRAMES[0], **{**PLACE, keyword: value})).subject


def test_directions_that_were_rounded_are_made_unit_vectors() -> None:
    rounded, exact = (
        picture_of(make_dicom(FRAMES[0], **PLACE | {"ImageOrientationPatient": [one, 0, one, 0, 1, 0]})).subject["grid"]
        for one in ("0.7", "0.70710678")
    )
    assert values_agree(rounded, exact)


# --- what is there, and cannot be read


@pytest.mark.parametrize(
    ("keyword", "value", "words"),
    [
        ("ImagePositionPatient", ["0", "5"], r"Image Position \(Patient\) .*is '0/5', not 3 numbers"),
        ("ImageOrientationPatient", [1, 0, 0, 0, 1], r"Image Orientation \(Patient\) .*not 6 numbers"),
        ("ImageOrientationPatient", [2, 0, 0, 0, 2, 0], "not 2 directions of length 1"),
        ("ImageOrientationPatient", [1, 0, 0, 1, 0, 0], "not 2 perpendicular directions"),
        ("PixelSpacing", [0, 2], "Pixel Spacing .*not 2 positive numbers"),
        ("PixelSpacing", ["nan", "2"], "Pixel Spacing .*is 'nan/2'"),
        ("PixelSpacing", "2", "Pixel Spacing .*not 2 numbers"),
        ("WindowWidth", "1e999", "Window Width .*not finite"),
        ("RescaleSlope", "0", "Rescale Slope .*makes all values one"),
        ("RescaleIntercept", "-1_024", "Rescale Intercept .*is '-1_024'"),
        ("NumberOfFrames", "1.5", "Number of Frames .*not a whole number"),
    ],
)
def test_an_element_that_cannot_be_read_is_refused_by_its_name_and_value(keyword: str, value: Any, words: str) -> None:
    window = {"WindowCenter": 40, "WindowWidth": 80}
    data = make_dicom(FRAMES[0].astype(np.uint16), **{**PLACE, **window, keyword: value})
    refused(data, words.replace("/", r"\\\\"))


@pytest.mark.parametrize(
    ("keyword", "value", "words"),
    [
        ("ImagePositionPatient", ["0", "0", "5.37"], r"Image Position \(Patient\) \(0020,0032\) is '0/0/5,37', not 3"),
        ("PixelSpacing", ["2.37", "2"], r"Pixel Spacing \(0028,0030\) is '2,37/2', not 2 numbers"),
        ("WindowCenter", "28.37", r"Window Center \(0028,1050\) is '28,37', not a number"),
        ("WindowWidth", ["28.37", "2"], r"Window Width \(0028,1051\) is '28,37/2', not a number"),
        ("RescaleSlope", "1.37", r"Rescale Slope \(0028,1053\) is '1,37', not a number"),
        ("NumberOfFrames", "1.37", r"Number of Frames \(0028,0008\) is '1,37', not a number"),
    ],
)
def test_a_decimal_comma_is_refused_by_the_elements_name_and_value(keyword: str, value: Any, words: str) -> None:
    window = {"WindowCenter": 40, "WindowWidth": 80}
    data = make_dicom(FRAMES[0].astype(np.uint16), **{**PLACE, **window, keyword: value})
    number = next(text for text in ([value] if isinstance(value, str) else value) if ".37" in text)
    refused(with_comma(data, number), words.replace("/", r"\\\\"))


@pytest.mark.parametrize("keyword", [*PLACE, "WindowCenter", "RescaleSlope", "PixelPaddingValue"])
def test_an_empty_element_is_not_there(keyword: str) -> None:
    data = make_dicom(FRAMES[0].astype(np.uint16), **{**PLACE, "WindowWidth": 80, keyword: None})
    assert ("grid" in picture_of(data).subject) == (keyword not in PLACE)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"SpacingBetweenSlices": 0}, "Spacing Between Slices .*not a distance"),
        ({"SliceVector": [1, 2, 3]}, "Slice Vector .*not 4 numbers"),
        ({"SliceVector": [1, 2, 2, 4]}, "frame 2 and frame 3 lie at one place"),
        (
            {"DetectorInformationSequence": [item(ImagePositionPatient=[0, 0], ImageOrientationPatient=AXIAL)]},
            "Image Position .*not 3 numbers",
        ),
    ],
)
def test_a_place_of_nuclear_medicine_that_cannot_be_read_is_refused(changes: dict[str, Any], words: str) -> None:
    refused(nuclear(STEP, **changes), words)


def test_a_spacing_with_a_decimal_comma_is_refused() -> None:
    refused(with_comma(nuclear("-4.37"), "-4.37"), "Spacing Between Slices .*'-4,37', not a number")


def test_a_window_that_cannot_be_read_may_be_given_instead() -> None:
    data = with_comma(make_dicom(FRAMES[0].astype(np.uint16), WindowCenter="28.37", WindowWidth=256), "28.37")
    assert "--window m1=LOW:HIGH" in refused(data, "'28,37'").remedy
    assert read(data, PATH, FileOptions(window=(-100, 156))).facts["window_from"] == "user"
