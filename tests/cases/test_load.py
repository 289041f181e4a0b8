"""A case is read by rule and said so: colour, windows, places and the order of frames, from files to warnings."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from PIL import Image
from pydicom import uid

from support.helpers import png, write_case
from support.made_dicom import item, made
from tfs_rt.batch.notices import reading_warnings
from tfs_rt.cases.case import Case
from tfs_rt.cases.colormaps import table
from tfs_rt.cases.load import Loaded, Reading, load_case
from tfs_rt.errors import InputError

SIDE = 32
NAMES = {"m1": "mr-t1", "m2": "mr-t2", "functional": "pet"}
AXIAL = [1, 0, 0, 0, 1, 0]


def case_of(folder: Path) -> Case:
    """The three files in a folder, by their names."""
    files = {slot: next(folder.glob(f"{name}.*")) for slot, name in NAMES.items()}
    return Case("k", files)


def load(folder: Path, **reading: Any) -> Loaded:
    return load_case(case_of(folder), 4, None, Reading(**reading))


def refused(folder: Path, words: str, **reading: Any) -> InputError:
    with pytest.raises(InputError, match=words) as caught:
        load(folder, **reading)
    assert caught.value.remedy
    return caught.value


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_case(tmp_path / "k", size=SIDE)


def put(folder: Path, name: str, data: bytes, ending: str = ".png") -> None:
    """Write a file in the place of the one of this name."""
    for old in folder.glob(f"{name}.*"):
        old.unlink()
    (folder / f"{name}{ending}").write_bytes(data)


def grey_pet(background: int = 0) -> np.ndarray:
    """(SIDE, SIDE, 3): a disc with a gradient, without colour."""
    y, x = np.mgrid[0:SIDE, 0:SIDE]
    disc = np.hypot(y - SIDE / 2, x - SIDE / 2) < SIDE * 0.4
    return np.repeat(np.where(disc, 80 + 5 * x, background).astype(np.uint8)[..., None], 3, axis=2)


# --- colour


@pytest.mark.parametrize("mark", [(255, 255, 0), (255, 0, 0), (0, 90, 255)])
def test_a_colour_map_is_applied_to_a_grey_image_with_a_mark(folder: Path, mark: tuple[int, int, int]) -> None:
    pet = grey_pet()
    marked = pet.copy()
    marked[1:6, 1:3] = mark
    put(folder, "pet", png(marked))
    assert "--colormap" in refused(folder, "has no colour but for 10 pixels .a mark, a colour bar.").remedy
    loaded = load(folder, colormap="hot")
    expected = table("hot")[pet[..., 0]]
    expected[1:6, 1:3] = mark
    np.testing.assert_array_equal(loaded.images[2], expected)
    assert loaded.inputs["functional"]["colormap"] == "hot"
    assert any("functional is grey but for 10 pixels in colour" in words for words in reading_warnings(loaded))


@pytest.mark.parametrize("mark", [(255, 0, 0), (60, 0, 0)])
def test_a_mark_does_not_make_a_dim_grey_image_one_in_colour(folder: Path, mark: tuple[int, int, int]) -> None:
    dim = grey_pet() // 5
    dim[1:6, 1:3] = mark
    put(folder, "pet", png(dim))
    refused(folder, "has no colour but for 10 pixels .a mark, a colour bar.")
    assert load(folder, colormap="hot").inputs["functional"]["coloured_pixels"] == 10
    hot = table("hot")[grey_pet()[..., 0] // 5]
    hot[1:6, 1:3] = 255
    put(folder, "pet", png(hot))
    refused(folder, "has colours already", colormap="hot")


def test_the_noise_of_a_lossy_format_is_not_colour(folder: Path, rng: np.random.Generator) -> None:
    noisy = (grey_pet(10).astype(int) + rng.integers(-4, 5, (SIDE, SIDE, 3))).clip(0, 255).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noisy).save(buffer, format="JPEG", quality=80)
    put(folder, "pet", buffer.getvalue(), ".jpg")
    loaded = load(folder, colormap="hot", allow_lossy=True)
    assert loaded.inputs["functional"]["colormap_from"] == "user"
    decoded = np.asarray(Image.open(io.BytesIO(buffer.getvalue())).convert("L")).astype(int)
    distance = np.abs(loaded.images[2].astype(int) - table("hot")[decoded]).max()
    assert distance <= 9  # a level's difference in rounding, which is at most so many in a channel of a map


def test_a_colour_map_for_an_image_in_colour_is_an_error(folder: Path) -> None:
    assert "leave out --colormap" in refused(folder, "has colours already .in 100%", colormap="hot").remedy
    half = grey_pet()
    half[:, SIDE // 2 :, 2] = 0
    put(folder, "pet", png(half))
    refused(folder, "has colours already", colormap="hot")


def test_an_image_that_is_partly_in_colour_is_taken_as_it_is_and_said(folder: Path) -> None:
    partly = grey_pet()
    partly[: SIDE * 3 // 8, :, 2] = 0
    put(folder, "pet", png(partly))
    loaded = load(folder)
    np.testing.assert_array_equal(loaded.images[2], partly)
    assert any("functional has colour in" in words for words in reading_warnings(loaded))


def test_colour_in_an_anatomical_image_is_refused_or_said(folder: Path) -> None:
    sparse = np.zeros((SIDE, SIDE, 3), np.uint8)
    sparse[5, 5] = 255, 0, 0  # a thousandth of the area, and all that it shows: a mark on a black slice
    put(folder, "mr-t1", png(sparse))
    assert any("m1 is grey but for 1 pixels in colour" in words for words in reading_warnings(load(folder)))
    sparse[5, 6] = 255, 0, 0
    put(folder, "mr-t1", png(sparse))
    refused(folder, "is in colour, but m1 is an anatomical image")
    large = write_case(folder.parent / "large", size=64)
    image = np.repeat(np.asarray(Image.open(large / "mr-t1.png"))[..., None], 3, axis=2)
    image[1, 1:4] = 255, 255, 0
    put(large, "mr-t1", png(image))
    assert any("m1 is grey but for 3 pixels in colour" in words for words in reading_warnings(load(large)))


def test_colours_in_dicom_and_nifti_refuse_a_map_as_well(folder: Path) -> None:
    image = np.asarray(Image.open(folder / "pet.png").convert("RGB"))
    put(folder, "pet", made(image, SamplesPerPixel=3, PhotometricInterpretation="RGB", PlanarConfiguration=0), ".dcm")
    refused(folder, "has colours already", colormap="hot")
    rgb = np.ascontiguousarray(image.transpose(1, 0, 2)).view([("R", "u1"), ("G", "u1"), ("B", "u1")])
    put(folder, "pet", nib.Nifti1Image(rgb, np.diag([-1, -1, 1, 1])).to_bytes(), ".nii")
    refused(folder, "has colours already", colormap="hot")


# --- windows


def test_a_window_that_changes_nothing_is_an_error(folder: Path) -> None:
    window = (0.0, 80.0)
    error = refused(folder, "which --window cannot change", windows={"m1": window})
    assert error.remedy == "leave out --window m1=..."
    everywhere = dict.fromkeys(NAMES, window)
    assert (
        refused(folder, "which --window cannot change", windows=everywhere, window_for_all=True).remedy
        == "leave out --window"
    )
    put(folder, "mr-t1", made(np.arange(SIDE * SIDE, dtype=np.uint16).reshape(SIDE, SIDE)), ".dcm")
    assert load(folder, windows={"m1": window}).inputs["m1"]["window_from"] == "user"
    loaded = load(folder, windows=everywhere, window_for_all=True)  # one for all that have any use of it
    assert loaded.inputs["m1"]["window_from"] == "user"
    refused(folder, "which --window cannot change", windows=everywhere)  # three that happen to be equal
    refused(folder, "pet.*which --window cannot change", windows={"m1": window, "functional": window})


def test_only_m1_is_told_by_its_values_to_be_ct(folder: Path) -> None:
    values = np.full((SIDE, SIDE, 1), -1000, np.int16)
    values[8:24, 8:24, 0] = np.arange(16)
    values[8, 8:24, 0] = 1200
    for name in NAMES.values():
        (folder / f"{name}.png").unlink()
    files = {slot: folder / f"k_000{number}.nii" for number, slot in enumerate(NAMES)}
    for number, file in enumerate(files.values()):
        file.write_bytes(nib.Nifti1Image(np.roll(values, number, axis=0), np.diag([-1, -1, 1, 1])).to_bytes())
    loaded = load_case(Case("k", files), 4, None, Reading())
    assert [facts["window_from"] for facts in loaded.inputs.values()] == ["head", "data", "data"]
    warnings = " ".join(reading_warnings(loaded))
    assert "m1 is CT without a window" in warnings
    assert "grey levels of m2, functional were chosen from the data" in warnings


def test_ct_without_a_window_is_said_with_the_option_that_decides_it(folder: Path) -> None:
    values = np.full((SIDE, SIDE), -1000, np.int16)
    values[8:24, 8:24] = 40
    ct = made(values, Modality="CT", RescaleSlope=1, RescaleIntercept=0)
    put(folder, "mr-t1", ct, ".dcm")
    words = "m1 is CT without a window: shown from 0 to 80 HU, the head window; set it with --window m1=LOW:HIGH"
    assert words in reading_warnings(load(folder))
    assert words not in reading_warnings(load(folder, windows={"m1": (0, 90)}))
    wide = made(values, Modality="CT", RescaleSlope=1, RescaleIntercept=0, WindowCenter=0, WindowWidth=4096)
    put(folder, "mr-t1", wide, ".dcm")
    assert any("spans 4095 HU, in which a brain is one grey" in words for words in reading_warnings(load(folder)))


# --- places


def volume(value: int, positions: list[float] | None, modality: str = "MR") -> bytes:
    """Frames of `value` + 1, + 2, ... with a place each, or with none."""
    count = len(positions or range(3))
    frames = np.stack([np.full((SIDE, SIDE), value + n, np.uint8) for n in range(1, count + 1)])
    frames[:, 0, 0] = 0
    if positions is None:
        return made(frames, Modality=modality)
    places = [item(PlanePositionSequence=[item(ImagePositionPatient=[0, 0, z])]) for z in positions]
    shared = item(
        PlaneOrientationSequence=[item(ImageOrientationPatient=AXIAL)],
        PixelMeasuresSequence=[item(PixelSpacing=[1, 1])],
    )
    groups = {"PerFrameFunctionalGroupsSequence": places, "SharedFunctionalGroupsSequence": [shared]}
    return made(frames, Modality=modality, **groups)


def nuclear(value: int, first: float, spacing: float) -> bytes:
    """Three slices as nuclear medicine says where they lie."""
    frames = np.stack([np.full((SIDE, SIDE), value + n, np.uint8) for n in range(1, 4)])
    frames[:, 0, 0] = 0
    detector = item(ImagePositionPatient=[0, 0, first], ImageOrientationPatient=AXIAL)
    return made(
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
    put(folder, "mr-t1", volume(10, [0, 4, 8]), ".dcm")
    put(folder, "mr-t2", volume(20, [8, 0, 4]), ".dcm")
    put(folder, "pet", nuclear(30, 8, -4), ".dcm")
    loaded = load(folder)
    assert greys(loaded, 0) == [11, 12, 13]
    assert greys(loaded, 1) == [22, 23, 21]
    colours = table("atlas-spect")[[33, 32, 31], 0].tolist()
    assert greys(loaded, 2) == colours
    assert loaded.inputs["functional"]["frame_order"] == [3, 2, 1]
    assert reading_warnings(loaded) == []
    put(folder, "pet", nuclear(30, 8, 4), ".dcm")
    refused(folder, "do not have the same grid")


def test_a_file_without_a_place_beside_files_with_one_is_said(folder: Path) -> None:
    put(folder, "mr-t1", volume(10, [0, 4, 8]), ".dcm")
    put(folder, "mr-t2", volume(20, [0, 4, 8]), ".dcm")
    put(folder, "pet", volume(30, None, "PT"), ".dcm")
    unknown = "no position in space is known for functional, unlike m1, m2"
    words = f"{unknown}: it was not checked that the inputs show the same place"
    assert reading_warnings(load(folder)) == [words]
    put(folder, "mr-t2", volume(20, [8, 4, 0]), ".dcm")
    refused(folder, "mr-t2.dcm are not stored in the order of their places, and pet.dcm does not say where its lie")


def test_places_in_different_formats_are_said_not_to_be_compared(folder: Path) -> None:
    place = {"ImagePositionPatient": [0, 0, 0], "ImageOrientationPatient": AXIAL, "PixelSpacing": [1, 1]}
    levels = np.arange(SIDE * SIDE, dtype=np.uint8).reshape(SIDE, SIDE)
    put(folder, "mr-t1", made(levels, Modality="MR", **place), ".dcm")
    assert [
        words for words in reading_warnings(load(folder)) if "no position in space is known for m2, functional" in words
    ]
    affine = np.diag([-1, -1, 1, 1])
    for name in ("mr-t2", "pet"):
        put(folder, name, nib.Nifti1Image(np.roll(levels, len(name))[..., None], affine).to_bytes(), ".nii")
    words = (
        "positions in dicom and nifti files are not compared: it was not checked that the inputs show the same place"
    )
    assert words in reading_warnings(load(folder))


def test_positions_and_directions_without_a_pixel_spacing_are_compared(folder: Path) -> None:
    levels = np.arange(SIDE * SIDE, dtype=np.uint8).reshape(SIDE, SIDE)

    def put_all(second: list[int], across: list[int], **more: Any) -> None:
        own = {"ImagePositionPatient": [0, 0, 0], "ImageOrientationPatient": AXIAL}
        put(folder, "mr-t1", made(levels, Modality="MR", **own, **more), ".dcm")
        own = {"ImagePositionPatient": second, "ImageOrientationPatient": across}
        put(folder, "mr-t2", made(levels // 2, Modality="MR", **own), ".dcm")

    for more in ({}, {"PixelSpacing": [1, 1]}):
        put_all([0, 0, 0], AXIAL, **more)
        assert any("no position in space" in words for words in reading_warnings(load(folder)))
        put_all([0, 0, 50], AXIAL, **more)
        refused(folder, "do not have the same image position")
        put_all([0, 0, 0], [-1, 0, 0, 0, 1, 0], **more)
        refused(folder, "do not have the same image orientation")


def test_frames_whose_order_nothing_says_are_said(folder: Path) -> None:
    own: dict[str, Any] = {
        "ImagePositionPatient": [0, 0, 0],
        "ImageOrientationPatient": AXIAL,
        "PixelSpacing": [1, 1],
    }
    levels = np.arange(3 * SIDE * SIDE, dtype=np.uint32).reshape(3, SIDE, SIDE).astype(np.uint8)
    for number, name in enumerate(NAMES.values()):
        put(folder, name, made(levels // (number + 1), Modality="PT" if name == "pet" else "MR", **own), ".dcm")
    words = "only the first frame of m1, m2, functional has a position: the frames are taken in stored order"
    assert words in reading_warnings(load(folder))
    own["SpacingBetweenSlices"] = 4
    put(folder, "mr-t2", made(levels // 2, Modality="MR", **own), ".dcm")
    assert any("no position in space is known for m1, functional" in words for words in reading_warnings(load(folder)))


def test_frames_that_are_sorted_by_number_go_with_others_of_a_known_order_alone(folder: Path) -> None:
    levels = np.arange(3 * SIDE * SIDE, dtype=np.uint32).reshape(3, SIDE, SIDE).astype(np.uint8)
    orders = {"mr-t1": [0, 4, 8], "mr-t2": [8, 4, 0], "pet": [0, 4, 8]}
    for number, (name, order) in enumerate(orders.items()):
        modality = "PT" if name == "pet" else "MR"
        put(folder, name, made(levels // (number + 1), Modality=modality, SliceLocationVector=order), ".dcm")
    assert load(folder).inputs["m2"]["frame_order"] == [3, 2, 1]
    put(folder, "pet", made(levels // 3, Modality="PT"), ".dcm")
    refused(folder, "mr-t2.dcm are not stored in the order of their places, and pet.dcm does not say where its lie")


def test_files_that_say_nothing_of_places_earn_no_warning(folder: Path) -> None:
    assert reading_warnings(load(folder)) == []
