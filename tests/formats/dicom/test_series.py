"""A folder's series is one volume in the order of its positions, or is refused by the slice that is wrong."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import highdicom
import numpy as np
import pytest
from pydicom import dcmread, uid

from support.made_dicom import item, make_dicom
from support.scanned_series import AXIAL, COUNT, OBLIQUE, PIXELS, ROOT, STEP, changed, datasets, series
from tfs_rt.cases.compatibility import values_agree
from tfs_rt.errors import InputError
from tfs_rt.formats.answers import checked_picture
from tfs_rt.formats.dicom.read import read as read_file
from tfs_rt.formats.dicom.series import read
from tfs_rt.formats.picture import FileOptions, Picture

FOLDER = Path("somewhere/t1")
WINDOW = FileOptions(window=(0, 510))  # two values a level


def picture_of(files: dict[str, bytes], options: FileOptions = WINDOW) -> Picture:
    """The picture of a folder, as the child's answer passes the check."""
    picture = read(dict(files), FOLDER, options)
    return checked_picture((picture.slices, picture.facts, picture.subject, picture.frame), "dicom")


def refused(files: dict[str, bytes], words: str, options: FileOptions = WINDOW) -> InputError:
    with pytest.raises(InputError, match=words) as caught:
        picture_of(files, options)
    assert caught.value.subject == str(FOLDER)
    assert caught.value.remedy
    return caught.value


def first_levels(picture: Picture) -> list[int]:
    """The level of the first pixel of each slice."""
    return [int(image[0, 0, 0]) for image in picture.slices]


def is_volume(files: dict[str, bytes]) -> bool:
    """True if highdicom reads the files as a volume."""
    try:
        highdicom.get_volume_from_series(datasets(files))
    except Exception:  # it raises many kinds
        return False
    return True


# --- order and place


@pytest.mark.parametrize("across", [AXIAL, OBLIQUE])
def test_slices_are_in_the_order_of_positions_at_the_places_of_highdicom(across: list[float]) -> None:
    files = series(COUNT, across)
    found = picture_of(files)
    assert first_levels(found) == [50 * n for n in range(COUNT)]
    assert found.frame
    assert found.frame["instances"] == tuple((uid.MRImageStorage, f"{ROOT}.1.{n}") for n in range(COUNT))
    volume = highdicom.get_volume_from_series(datasets(files))
    # Its first axis may run along the normal or against it: compare the sets of places.
    places = [volume.map_indices_to_reference(np.array([[n, 0, 0]]))[0] for n in range(COUNT)]
    ours = [plane[0] for plane in found.frame["planes"]]
    np.testing.assert_allclose(sorted(map(tuple, places)), sorted(ours), atol=1e-5)
    values = volume.array[np.argsort([place @ np.cross(across[:3], across[3:]) for place in places])]
    np.testing.assert_array_equal(np.stack(found.slices)[..., 0], np.rint(values / 2))


def test_a_series_is_the_same_as_one_enhanced_file() -> None:
    frames = np.stack([PIXELS + np.uint16(100 * n) for n in range(COUNT)])
    places = [item(PlanePositionSequence=[item(ImagePositionPatient=[-10, -20, 5 + STEP * n])]) for n in range(COUNT)]
    shared = item(
        PlaneOrientationSequence=[item(ImageOrientationPatient=AXIAL)],
        PixelMeasuresSequence=[item(PixelSpacing=[2, 1.5])],
    )
    enhanced = make_dicom(
        frames,
        PerFrameFunctionalGroupsSequence=places,
        SharedFunctionalGroupsSequence=[shared],
        SeriesInstanceUID=f"{ROOT}.9",
    )
    alone = picture_of({"enhanced": enhanced})
    together = picture_of(series())
    np.testing.assert_array_equal(np.stack(alone.slices), np.stack(together.slices))
    assert values_agree(alone.subject["grid"], together.subject["grid"])
    assert alone.facts["files"] == 1
    assert together.facts["files"] == COUNT


def test_neither_names_nor_numbers_change_anything() -> None:
    files = series()
    shuffled = dict(
        zip(("b", "c.dcm", "1.2.3", "a", "Z.IMA"), series(InstanceNumber=lambda _: 7).values(), strict=True)
    )
    one, other = picture_of(files), picture_of(shuffled)
    np.testing.assert_array_equal(np.stack(one.slices), np.stack(other.slices))
    assert one.subject == other.subject


# --- ten faulty series, and what another library says of them

FAULTS: dict[str, tuple[dict[str, bytes], str]] = {
    "gap": (
        {name: data for name, data in series().items() if name != "IM0003"},
        r"slice 4 \(IM0004\) and slice 2 \(IM0002\) lie 8 mm apart, others 4 mm",
    ),
    "duplicate": (
        {**series(), "copy": series()["IM0002"]},
        r"slice 2 \(IM0002\) and slice 2 \(copy\) lie at one place",
    ),
    "tilt": (
        series(ImagePositionPatient=lambda n: [0, 1.5 * n, STEP * n]),
        r"slice 5 \(IM0005\) and slice 4 \(IM0004\) are shifted by 1.5 mm .* gantry tilt of 20.6 degrees",
    ),
    "two series": (
        series(SeriesInstanceUID=lambda n: f"{ROOT}.{3 + n % 2}", SeriesNumber=lambda n: 3 + n % 2),
        "holds 2 series: 3: MR, 3 slices of 8x8, 1.5x2 mm, .*; 4: MR, 2 slices",
    ),
    "mixed orientation": (
        changed(series(), "IM0002", ImageOrientationPatient=[1, 0, 0, 0, 0, -1]),
        r"slice 2 \(IM0002\) is turned against slice 1 \(IM0001\)",
    ),
    "missing position": (
        changed(series(), "IM0003", ImagePositionPatient=None),
        r"slice 3 \(IM0003\) has no Image Position \(Patient\) \(0020,0032\)",
    ),
    "two time points": (
        series(6, TemporalPositionIdentifier=lambda n: n // 3, ImagePositionPatient=lambda n: [0, 0, STEP * (n % 3)]),
        r"slice 3 \(IM0003\) and slice 6 \(IM0006\) lie at one place|.*different time points",
    ),
    "localiser": (
        changed(
            series(),
            "IM0004",
            ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"],
            ImageOrientationPatient=[0, 1, 0, 0, 0, -1],
        ),
        r"slice 4 \(IM0004\) is a localizer, unlike the others",
    ),
    "decimal comma": (
        {**series(), "IM0002": series()["IM0002"].replace(b"\\-20.0\\17.0", b"\\-20.0\\17,0")},
        r"slice 2 \(IM0002\) .*Image Position \(Patient\) \(0020,0032\) is '.*17,0', not 3 numbers",
    ),
    "mixed sizes": (
        {
            **series(),
            "IM0002": series(ImagePositionPatient=[0, 0, 17])["IM0002"].replace(
                b"\x28\x00\x10\x00US\x02\x00\x08", b"\x28\x00\x10\x00US\x02\x00\x04"
            ),
        },
        r"slice 2 \(IM0002\) has another size than the others",
    ),
    "mixed spacing": (
        changed(series(), "IM0002", PixelSpacing=[2, 2]),
        r"slice 2 \(IM0002\) has another pixel spacing than slice 1 \(IM0001\)",
    ),
    "mixed frames of reference": (
        changed(series(), "IM0002", FrameOfReferenceUID=f"{ROOT}.5"),
        r"slice 2 \(IM0002\) has another frame of reference than the others",
    ),
}  # the files, and the words of the refusal


@pytest.mark.parametrize("fault", FAULTS)
def test_a_faulty_series_is_refused_by_its_slice_as_highdicom_refuses_it(fault: str) -> None:
    files, words = FAULTS[fault]
    refused(files, words)
    assert not is_volume(files)


def test_a_jitter_of_a_hundredth_of_a_millimetre_is_accepted() -> None:
    rng = np.random.default_rng(1)
    files = series(
        ImagePositionPatient=lambda n: [*rng.uniform(-0.005, 0.005, 2), STEP * n + rng.uniform(-0.005, 0.005)]
    )
    assert first_levels(picture_of(files)) == [50 * n for n in range(COUNT)]
    assert is_volume(files)


def test_slices_of_two_patients_are_refused_without_their_names() -> None:
    error = refused(changed(series(), "IM0002", PatientID="X2"), r"slice 2 \(IM0002\) is of another patient")
    assert "X2" not in str(error)


@pytest.mark.parametrize(
    ("keyword", "values", "words"),
    [("EchoTime", (10, 90), "echoes"), ("TriggerTime", (0, 40), "phases"), ("SliceLocation", (1, 2), "a copy")],
)
def test_slices_at_one_place_are_told_apart_in_words(keyword: str, values: tuple[int, int], words: str) -> None:
    changes: dict[str, Any] = {keyword: lambda n: values[n // 3]}
    refused(series(6, ImagePositionPatient=lambda n: [0, 0, STEP * (n % 3)], **changes), f"lie at one place: .*{words}")


@pytest.mark.parametrize(("keyword", "values"), [("EchoTime", (10, 90.5)), ("EchoNumbers", (1, 2))])
def test_two_echoes_are_refused_where_their_slices_alternate(keyword: str, values: tuple[float, float]) -> None:
    words = rf"slice 1 \(IM0001\) and slice 2 \(IM0002\) are different echoes \({keyword} "
    # Slices from the same echo, whose times were rounded unlike, are one volume.
    changes: dict[str, Any] = {keyword: lambda n: values[n % 2]}
    files = series(6, **changes)
    assert refused(files, words).remedy.startswith("move the files")
    assert len(picture_of(series(6, EchoTime=lambda n: 10 + 0.001 * n)).slices) == 6


def test_copies_and_positions_that_are_all_the_same_are_called_so() -> None:
    files = series()
    assert refused({**files, "copy": files["IM0002"]}, "copies of one image").remedy.startswith("remove one of each")
    refused(series(ImagePositionPatient=[0, 0, 0]), "all its 5 slices give the same position")


# --- several series in a folder


def test_one_of_several_series_is_chosen_by_its_number_or_the_beginning_of_its_uid() -> None:
    t1 = {f"a{name}": data for name, data in series().items()}
    other = series(3, SeriesInstanceUID=f"{ROOT}.77", SeriesNumber=12, SeriesDescription="t2 tse Phantom")
    both = {**t1, **other}
    error = refused(both, r"holds 2 series: 3: MR, 5 slices of 8x8.*; 12: MR, description left out, 3 slices")
    assert "--series m1=NUMBER" in error.remedy
    for wanted, count in (("3", COUNT), ("12", 3), (f"{ROOT}.77", 3), (f"{ROOT}.7", 3)):
        assert len(picture_of(both, FileOptions(window=(0, 510), series=wanted)).slices) == count
    for wanted in ("4", ROOT, "1.9"):
        refused(both, "series '" + wanted, FileOptions(series=wanted))
    assert len(picture_of(t1, FileOptions(window=(0, 510), series="3")).slices) == COUNT
    refused(t1, "has no series '4', and holds one series: 3: MR", FileOptions(series="4"))


def test_two_series_of_one_number_are_told_apart_by_their_uids() -> None:
    both = {**series(), **{f"b{name}": data for name, data in series(SeriesInstanceUID=f"{ROOT}.31").items()}}
    refused(both, "has 2 series '3'", FileOptions(series="3"))
    assert len(picture_of(both, FileOptions(window=(0, 510), series=f"{ROOT}.31")).slices) == COUNT
    assert len(picture_of(both, FileOptions(window=(0, 510), series=f"{ROOT}.31...")).slices) == COUNT  # as pasted


def test_files_with_a_uid_each_are_one_series_if_they_are_one_stack() -> None:
    """As anonymisers write that replace each UID by a new one."""
    scattered = series(SeriesInstanceUID=lambda n: f"{ROOT}.3.{n}")
    found = picture_of(scattered)
    assert first_levels(found) == [50 * n for n in range(COUNT)]
    assert found.facts["scattered_uids"] == COUNT
    assert "series_instance_uid" not in found.facts
    del scattered["IM0003"]
    refused(scattered, r"holds 4 series: .*together they are not one volume: .* lie 8 mm apart")
    contrasts = series(SeriesInstanceUID=lambda n: f"{ROOT}.3.{n}", SeriesDescription=lambda n: f"image {n}")
    refused(contrasts, "holds 5 series")


# --- files that are left out

NOT_AN_IMAGE = changed(
    {"x": make_dicom(PIXELS, SOPClassUID=uid.BasicTextSRStorage, SeriesInstanceUID=f"{ROOT}.8")},
    "x",
    PixelData=None,
    Rows=None,
    Columns=None,
)  # a report


def test_files_that_are_not_dicom_by_content_are_left_out() -> None:
    others = {"README": b"Slices of a head.\n", "Thumbs.db": b"\xd0\xcf\x11\xe0" + bytes(600), **NOT_AN_IMAGE}
    assert picture_of({**series(), **others}).subject == picture_of(series()).subject


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("IM0009", b"", "IM0009 is neither DICOM nor plainly another kind of file"),
        ("IM0009.dcm", b"", "IM0009.dcm is empty"),
        ("IM0009.dcm", b"version https://git-lfs.github.com/spec/v1\n", "IM0009.dcm is not a DICOM file"),
        ("IM0009", bytes(500), "IM0009 is neither DICOM"),
        ("IM0009", series()["IM0001"][:250], "IM0009 "),
        ("IM0009", series()["IM0001"][:-40], r"slice 1 \(IM0009\)"),
        ("IM0009", changed(series(), "IM0001", PixelData=None)["IM0001"], "IM0009 holds no pixels"),
        ("IM0009", changed(NOT_AN_IMAGE, "x", SOPClassUID="1.2.840.10008.9")["x"], "IM0009 holds no pixels"),
        ("IM0009", series()["IM0001"].replace(b"PN\x0c", b"Pn\x0c"), "IM0009 is a damaged DICOM file .*Pn"),
    ],
)
def test_a_file_that_may_be_a_damaged_slice_is_refused(name: str, data: bytes, words: str) -> None:
    files = {key: one for key, one in series().items() if key != "IM0001"}
    refused({**files, name: data}, words)


def test_a_slice_without_the_header_of_a_file_is_refused_with_the_conversion() -> None:
    files = series()
    for name in ("IM0003", "IM0003.dcm"):
        error = refused({**files, name: files["IM0003"][132:]}, f"{name} is DICOM without a file's header")
        assert error.remedy.startswith("add it with dcmconv")


def test_a_folder_without_an_image_is_refused() -> None:
    refused({"README": b"nothing"}, "holds no DICOM image")


# --- values and windows


def test_each_slice_has_its_own_rescale_and_all_have_one_window() -> None:
    """As PET does: stored 100 n + k means (100 n + k) (n + 1) here."""
    files = series(
        Modality="PT",
        SOPClassUID=uid.PositronEmissionTomographyImageStorage,
        Units="BQML",
        RescaleSlope=lambda n: n + 1,
    )
    values = np.stack([(PIXELS + 100.0 * n) * (n + 1) for n in range(COUNT)])
    low, high = np.percentile(values, (0.5, 99.5))
    expected = np.rint((values - low).clip(0, high - low) * 255 / (high - low))
    found = picture_of(files, FileOptions())
    np.testing.assert_array_equal(np.stack(found.slices)[..., 0], expected)
    assert found.facts["window_from"] == "data"


def test_windows_that_differ_become_the_one_that_holds_them_all() -> None:
    def windowed(width: Any, **changes: Any) -> dict[str, bytes]:
        return series(WindowCenter=100, WindowWidth=width, VOILUTFunction="LINEAR_EXACT", **changes)

    same = picture_of(windowed(120), FileOptions())
    differing = picture_of(windowed(lambda n: 40 * (n % 4) or 120), FileOptions())
    np.testing.assert_array_equal(np.stack(same.slices), np.stack(differing.slices))
    assert "its slices have different windows" in differing.facts["levels"]
    assert "different windows" not in same.facts["levels"]
    some = changed(windowed(120), "IM0004", WindowWidth=None)
    refused(some, r"slice 4 \(IM0004\) has no window of its own, unlike others", FileOptions())
    assert picture_of(some).facts["window_from"] == "user"
    curved = changed(windowed(lambda n: 100 + n), "IM0004", VOILUTFunction="SIGMOID")
    refused(curved, "has another kind of window", FileOptions())


def test_a_window_that_shows_next_to_nothing_of_a_volume_is_refused() -> None:
    """As one slice with a window far from the others makes it."""
    own = FileOptions()
    odd = series(WindowCenter=lambda n: 1e6 if n == 2 else 250, WindowWidth=500)
    assert "--window" in refused(odd, "so wide that it shows less than 8 levels", own).remedy
    refused(series(WindowCenter=0, WindowWidth=1e30), "so wide that", own)
    refused(series(Modality="CT", WindowCenter=1e9, WindowWidth=10), "has none of its values inside", own)
    assert picture_of(series(WindowCenter=750, WindowWidth=1500), own).facts["window_from"] == "file"


def test_a_decimal_comma_in_a_window_is_refused_by_its_slice() -> None:
    files = series(WindowCenter="28.3", WindowWidth=100)
    files["IM0002"] = files["IM0002"].replace(b"28.3", b"28,3")
    error = refused(files, r"slice 2 \(IM0002\) .*Window Center \(0028,1050\) is '28,3', not a number", FileOptions())
    assert "--window" in error.remedy


def test_padding_of_each_slice_is_black_and_mixed_kinds_of_pixels_are_refused() -> None:
    files = series(PixelPaddingValue=7)
    levels = np.stack(picture_of(files, FileOptions()).slices)[..., 0]
    assert levels[0, 0, 7] == 0
    assert levels[1, 0, 7] > 0
    refused(changed(files, "IM0002", BitsStored=12, HighBit=11), r"slice 2 \(IM0002\) has another kind of pixels")
    refused(changed(files, "IM0002", Modality="CT"), "has another modality or unit")
    units = changed(series(RescaleSlope=1, RescaleType="HU"), "IM0002", RescaleType="US")
    refused(units, "has another unit than the others")
    refused(changed(series(RescaleSlope=2), "IM0002", RescaleSlope=None), "has another kind of rescale than the others")


def test_a_series_in_colour_keeps_its_colours() -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (3, 8, 8, 3), np.uint8)
    files: dict[str, bytes] = {}
    for n, frame in enumerate(pixels):
        files[f"s{n}"] = make_dicom(
            frame,
            SamplesPerPixel=3,
            PhotometricInterpretation="RGB",
            PlanarConfiguration=0,
            ImagePositionPatient=[0, 0, -STEP * n],
            ImageOrientationPatient=AXIAL,
            SeriesInstanceUID=f"{ROOT}.3",
        )
    np.testing.assert_array_equal(np.stack(picture_of(files, FileOptions()).slices), pixels[::-1])


def test_lossy_compression_of_one_slice_is_that_of_the_series() -> None:
    files = changed(series(), "IM0003", LossyImageCompression="01")
    error = refused(files, "compressed with loss")
    assert "--allow-lossy" in error.remedy
    assert picture_of(files, FileOptions(window=(0, 510), allow_lossy=True)).facts["lossy"]


def test_compressed_slices_are_read_as_those_that_are_not() -> None:
    files: dict[str, bytes] = {}
    for name, data in series().items():
        dataset = dcmread(io.BytesIO(data))
        dataset.compress(uid.RLELossless)
        buffer = io.BytesIO()
        dataset.save_as(buffer, enforce_file_format=True)
        files[name] = buffer.getvalue()
    found = picture_of(files)
    np.testing.assert_array_equal(np.stack(found.slices), np.stack(picture_of(series()).slices))
    assert found.facts["transfer_syntax_uid"] == uid.RLELossless


def test_a_file_alone_is_the_same_in_a_folder_and_as_a_file() -> None:
    data = series(1)["IM0001"]
    alone = read_file(data, FOLDER / "IM0001", WINDOW)
    np.testing.assert_array_equal(picture_of({"IM0001": data}).slices[0], alone.slices[0])
