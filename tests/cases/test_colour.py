"""Colour in the images of a case: colour maps, marks, and colour in the wrong slot."""

from __future__ import annotations

import io
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from support.cases import load_error, load_folder, replace_image
from support.helpers import png, write_case
from support.made_dicom import make_dicom
from tfs_rt.batch.notices import reading_warnings
from tfs_rt.cases.colormaps import table

SIDE = 32


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_case(tmp_path / "k", size=SIDE)


def grey_pet(background: int = 0) -> np.ndarray:
    """(SIDE, SIDE, 3): a disc with a gradient, without colour."""
    y, x = np.mgrid[0:SIDE, 0:SIDE]
    disc = np.hypot(y - SIDE / 2, x - SIDE / 2) < SIDE * 0.4
    return np.repeat(np.where(disc, 80 + 5 * x, background).astype(np.uint8)[..., None], 3, axis=2)


@pytest.mark.parametrize("mark", [(255, 255, 0), (255, 0, 0), (0, 90, 255)])
def test_a_colour_map_is_applied_to_a_grey_image_with_a_mark(folder: Path, mark: tuple[int, int, int]) -> None:
    pet = grey_pet()
    marked = pet.copy()
    marked[1:6, 1:3] = mark
    replace_image(folder, "pet", png(marked))
    assert "--colormap" in load_error(folder, "has no colour but for 10 pixels .a mark, a colour bar.").remedy
    loaded = load_folder(folder, colormap="hot")
    expected = table("hot")[pet[..., 0]]
    expected[1:6, 1:3] = mark
    np.testing.assert_array_equal(loaded.images[2], expected)
    assert loaded.inputs["functional"]["colormap"] == "hot"
    assert any("functional is grey but for 10 pixels in colour" in words for words in reading_warnings(loaded))


@pytest.mark.parametrize("mark", [(255, 0, 0), (60, 0, 0)])
def test_a_mark_does_not_make_a_dim_grey_image_one_in_colour(folder: Path, mark: tuple[int, int, int]) -> None:
    dim = grey_pet() // 5
    dim[1:6, 1:3] = mark
    replace_image(folder, "pet", png(dim))
    load_error(folder, "has no colour but for 10 pixels .a mark, a colour bar.")
    assert load_folder(folder, colormap="hot").inputs["functional"]["coloured_pixels"] == 10
    hot = table("hot")[grey_pet()[..., 0] // 5]
    hot[1:6, 1:3] = 255
    replace_image(folder, "pet", png(hot))
    load_error(folder, "has colours already", colormap="hot")


def test_the_noise_of_a_lossy_format_is_not_colour(folder: Path, rng: np.random.Generator) -> None:
    noisy = (grey_pet(10).astype(int) + rng.integers(-4, 5, (SIDE, SIDE, 3))).clip(0, 255).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noisy).save(buffer, format="JPEG", quality=80)
    replace_image(folder, "pet", buffer.getvalue(), ".jpg")
    loaded = load_folder(folder, colormap="hot", allow_lossy=True)
    assert loaded.inputs["functional"]["colormap_from"] == "user"
    decoded = np.asarray(Image.open(io.BytesIO(buffer.getvalue())).convert("L")).astype(int)
    distance = np.abs(loaded.images[2].astype(int) - table("hot")[decoded]).max()
    assert distance <= 9  # a level's difference in rounding, which is at most so many in a channel of a map


def test_a_colour_map_for_an_image_in_colour_is_an_error(folder: Path) -> None:
    assert "leave out --colormap" in load_error(folder, "has colours already .in 100%", colormap="hot").remedy
    half = grey_pet()
    half[:, SIDE // 2 :, 2] = 0
    replace_image(folder, "pet", png(half))
    load_error(folder, "has colours already", colormap="hot")


def test_an_image_that_is_partly_in_colour_stays_as_it_is_with_a_warning(folder: Path) -> None:
    partly = grey_pet()
    partly[: SIDE * 3 // 8, :, 2] = 0
    replace_image(folder, "pet", png(partly))
    loaded = load_folder(folder)
    np.testing.assert_array_equal(loaded.images[2], partly)
    assert any("functional has colour in" in words for words in reading_warnings(loaded))


def test_colour_in_an_anatomical_image_is_refused_and_a_small_mark_gives_a_warning(folder: Path) -> None:
    sparse = np.zeros((SIDE, SIDE, 3), np.uint8)
    sparse[5, 5] = 255, 0, 0  # a thousandth of the area, and all that it shows: a mark on a black slice
    replace_image(folder, "mr-t1", png(sparse))
    assert any("m1 is grey but for 1 pixels in colour" in words for words in reading_warnings(load_folder(folder)))
    sparse[5, 6] = 255, 0, 0
    replace_image(folder, "mr-t1", png(sparse))
    load_error(folder, "is in colour, but m1 is an anatomical image")
    large = write_case(folder.parent / "large", size=64)
    image = np.repeat(np.asarray(Image.open(large / "mr-t1.png"))[..., None], 3, axis=2)
    image[1, 1:4] = 255, 255, 0
    replace_image(large, "mr-t1", png(image))
    assert any("m1 is grey but for 3 pixels in colour" in words for words in reading_warnings(load_folder(large)))


def test_colours_in_dicom_and_nifti_refuse_a_map_as_well(folder: Path) -> None:
    image = np.asarray(Image.open(folder / "pet.png").convert("RGB"))
    replace_image(
        folder,
        "pet",
        make_dicom(image, SamplesPerPixel=3, PhotometricInterpretation="RGB", PlanarConfiguration=0),
        ".dcm",
    )
    load_error(folder, "has colours already", colormap="hot")
    rgb = np.ascontiguousarray(image.transpose(1, 0, 2)).view([("R", "u1"), ("G", "u1"), ("B", "u1")])
    replace_image(folder, "pet", nib.Nifti1Image(rgb, np.diag([-1, -1, 1, 1])).to_bytes(), ".nii")
    load_error(folder, "has colours already", colormap="hot")
