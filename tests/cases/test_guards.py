"""The guards on phantoms and the examples: faults are found, and good cases have no findings."""

import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from support.paths import ROOT
from tfs_rt.cases.colormaps import pseudo_colour
from tfs_rt.cases.guards import input_findings, result_findings
from tfs_rt.formats.picture import FileOptions
from tfs_rt.formats.png import read
from tfs_rt.images import RGB, resize

EXAMPLES = sorted(path for path in (ROOT / "examples").iterdir() if path.is_dir())
SIZE = 256


def ellipse(y: float, x: float, height: float, width: float) -> np.ndarray:
    """A mask, in shares of the size."""
    rows, columns = (np.mgrid[0:SIZE, 0:SIZE] + 0.5) / SIZE
    return ((rows - y) / height) ** 2 + ((columns - x) / width) ** 2 < 1


def phantom(rng: np.random.Generator) -> list[RGB]:
    """A simple head: skull, brain, ventricles and lesions, as T1, T2 and PET show them."""
    texture = np.asarray(
        Image.fromarray(rng.uniform(0, 1, (24, 24)).astype(np.float32)).resize((SIZE, SIZE), Image.Resampling.BICUBIC)
    )
    head = ellipse(0.5, 0.5, 0.42, 0.34)
    brain = ellipse(0.5, 0.5, 0.36, 0.28)
    fluid = ellipse(0.45, 0.46, 0.12, 0.03) | ellipse(0.45, 0.54, 0.12, 0.03)
    active = ellipse(0.35, 0.4, 0.06, 0.08) | ellipse(0.6, 0.62, 0.09, 0.05)
    t1 = np.select([fluid, brain, head], [30, 140 + 60 * texture, 230], 0)
    t2 = np.select([fluid, brain, head], [250, 70 + 50 * texture, 60], 0)
    pet = np.select([active, fluid, brain], [1.0, 0.1, 0.3 + 0.3 * texture], 0)
    grey = [np.repeat(level.astype(np.uint8)[..., None], 3, axis=2) for level in (t1, t2)]
    colour = np.stack([255 * pet, 255 * pet**2, 180 * np.sqrt(pet) * (pet < 0.9)], axis=2).astype(np.uint8)
    return [*grey, colour]


def small(images: list[RGB], scale: int) -> list[RGB]:
    return [resize(image, (SIZE // scale, SIZE // scale)) for image in images]


def moved(image: RGB, x: int = 0, y: int = 0, turn: float = 0) -> RGB:
    return np.asarray(Image.fromarray(image).rotate(turn, Image.Resampling.BICUBIC, translate=(x, y)))


def fusion(images: list[RGB]) -> RGB:
    """A good result: the functional image, lifted to the brightest luminance."""
    luminance = np.stack([np.asarray(Image.fromarray(image).convert("L"), dtype=float) for image in images])
    return (images[2] + (luminance.max(axis=0) - luminance[2])[..., None]).clip(0, 255).astype(np.uint8)


def input_guards(images: list[RGB]) -> set[str]:
    findings = input_findings(images)
    assert all(finding.message and finding.remedy for finding in findings)
    return {finding.guard for finding in findings}


def result_guards(image: RGB, images: list[RGB]) -> set[str]:
    findings = result_findings(image, images)
    assert all(finding.message and finding.remedy for finding in findings)
    return {finding.guard for finding in findings}


def example(folder: Path) -> list[RGB]:
    paths = [folder / f"{name}.png" for name in ("mr-t1", "mr-t2", "pet")]
    return [read(path.read_bytes(), path, FileOptions()).slices[0] for path in paths]


@pytest.mark.parametrize("scale", [1, 2, 4, 8])
def test_nothing_is_found_in_a_good_case(scale: int, rng: np.random.Generator) -> None:
    images = phantom(rng)
    assert input_guards(small(images, scale)) == set()
    assert result_guards(fusion(images), small(images, scale)) == set()


@pytest.mark.parametrize("folder", EXAMPLES, ids=lambda folder: folder.name)
def test_nothing_is_found_in_the_examples(folder: Path) -> None:
    images = example(folder)
    assert input_guards(images) == set()
    large = [resize(image, (SIZE, SIZE)) for image in images]
    assert result_guards(fusion(large), images) == set()


@pytest.mark.parametrize("scale", [1, 2, 4, 8])
@pytest.mark.parametrize("slot", [0, 1, 2])
def test_a_shift_of_eight_pixels_is_found_at_every_scale(slot: int, scale: int, rng: np.random.Generator) -> None:
    for x, y in ((8, 0), (-6, 6), (0, -8), (16, 16)):
        images = phantom(rng)
        images[slot] = moved(images[slot], x, y)
        (finding,) = input_findings(small(images, scale))
        assert finding.guard == "registration"
        assert ("m1", "m2", "functional")[slot] in finding.message
        assert finding.measured * SIZE == pytest.approx(math.hypot(x, y), abs=3)


@pytest.mark.parametrize("slot", [0, 1])
def test_an_anatomical_image_that_is_turned_is_found(slot: int, rng: np.random.Generator) -> None:
    for turn in (-10, -5, 5, 10):
        images = phantom(rng)
        images[slot] = moved(images[slot], turn=turn)
        assert input_guards(small(images, 4)) & {"rotation", "registration"}


def test_deep_values_that_were_cut_off_are_found(rng: np.random.Generator) -> None:
    for slot in (0, 1):
        for factor in (16, 257):  # 12 and 16 bits
            images = phantom(rng)
            images[slot] = (images[slot].astype(int) * factor).clip(0, 255).astype(np.uint8)
            assert input_guards(images) == {"saturation"}


@pytest.mark.parametrize("name", ["atlas-pet", "atlas-spect", "hot", "hot-iron"])
def test_functional_values_that_were_cut_off_before_their_colours_are_found(
    name: str, rng: np.random.Generator
) -> None:
    images = phantom(rng)
    level = images[2].max(axis=2, keepdims=True).repeat(3, axis=2) // 2
    assert input_guards([*images[:2], pseudo_colour(level, name)]) == set()
    for factor in (16, 257):
        cut = (level.astype(int) * factor).clip(0, 255).astype(np.uint8)
        (finding,) = input_findings([*images[:2], pseudo_colour(cut, name)])
        assert (finding.guard, finding.measured) == ("saturation", pytest.approx(1, abs=0.05))
        assert "the same brightest colour" in finding.message
        # What the user's own window cuts off is meant.
        shown = input_findings([*images[:2], pseudo_colour(cut, name)], with_window=["functional"])
        assert "saturation" not in {finding.guard for finding in shown}


@pytest.mark.parametrize("slot", [0, 1, 2])
def test_an_image_that_shows_nothing_is_found(slot: int, rng: np.random.Generator) -> None:
    for level, guard in ((0, "empty"), (128, "constant"), (255, "constant")):
        images = phantom(rng)
        images[slot] = np.full_like(images[slot], level)
        assert input_guards(images) == {guard}


def test_t1_and_t2_in_each_others_place_are_found(rng: np.random.Generator) -> None:
    images = phantom(rng)
    assert input_guards([images[1], images[0], images[2]]) == {"slot order"}


def test_nothing_is_found_in_nearly_empty_slices(rng: np.random.Generator) -> None:
    """The ends of a volume: black, noise, a scalp's last pixels, in one image or in all."""
    black = np.zeros((64, 64, 3), np.uint8)
    noise = rng.integers(0, 12, black.shape).astype(np.uint8)
    speck = black.copy()
    speck[30:36, 30:40] = 200  # 1.5 % of the area
    for images in ([black] * 3, [noise] * 3, [speck, noise, black], [speck, speck, speck], [black, speck, noise]):
        assert input_guards(images) == set()
        assert result_guards(resize(images[0], (256, 256)), images) == set()
        assert result_guards(np.zeros((256, 256, 3), np.uint8), images) == set()


def test_a_full_result_of_an_empty_slice_is_found(rng: np.random.Generator) -> None:
    black = np.zeros((64, 64, 3), np.uint8)
    assert result_guards(fusion(phantom(rng)), [black] * 3) == {"brightness"}


def test_a_functional_image_beyond_the_activity_is_left_alone(rng: np.random.Generator) -> None:
    """Few pixels of activity, as thallium shows, or a small slice of a head above it."""
    images = phantom(rng)
    sparse = np.where(ellipse(0.6, 0.62, 0.05, 0.04)[..., None], images[2], 0).astype(np.uint8)
    assert input_guards([*images[:2], sparse]) == set()
    vertex = [np.where(ellipse(0.5, 0.5, 0.25, 0.24)[..., None], image, 0).astype(np.uint8) for image in images[:2]]
    assert input_guards([*vertex, np.zeros_like(sparse)]) == set()


def test_wrong_results_are_found(rng: np.random.Generator) -> None:
    images = phantom(rng)
    result = fusion(images)
    wrong = {
        "constant result": [np.zeros_like(result), np.full_like(result, 255), np.full_like(result, 90)],
        "clipped result": [(result.astype(int) * 5).clip(0, 255).astype(np.uint8), 255 - result],
        "brightness": [rng.integers(0, 256, result.shape).astype(np.uint8), result // 2 + 100],
        "likeness": [moved(result, 4, 0), moved(result, 0, -4)],
        "colours": [np.ascontiguousarray(result[..., ::-1])],
    }
    for guard, results in wrong.items():
        for spoiled in results:
            assert result_guards(spoiled, small(images, 4)) == {guard}


@pytest.mark.parametrize("name", ["hot", "hot-iron", "atlas-pet", "atlas-spect"])
def test_a_good_result_in_bright_colours_is_not_clipped(name: str, rng: np.random.Generator) -> None:
    """Most colours of `hot` have red at its end: that share is the inputs' own, and what is cut beyond it is found."""
    images = phantom(rng)
    level = images[2].max(axis=2, keepdims=True).repeat(3, axis=2)
    images[2] = pseudo_colour((level * 0.4 + 110 * (level > 0)).astype(np.uint8), name)
    result = fusion(images)
    if name == "hot":
        assert (result.max(axis=2) == 255).mean() > 0.2
    assert "clipped result" not in result_guards(result, small(images, 4))
    cut = (result.astype(int) * 5).clip(0, 255).astype(np.uint8)
    cut[:, : SIZE // 3] = 255
    (finding,) = result_findings(cut, small(images, 4))
    assert finding.guard == "clipped result"
    assert "where its inputs account for" in finding.message


def test_no_finding_blames_the_backend(rng: np.random.Generator) -> None:
    """The self-test holds the backend to the model, before any case and after: a result has other causes."""
    images = phantom(rng)
    white = np.full_like(images[0], 255)
    cut = np.where(rng.random(white.shape[:2])[..., None] < 0.9, white, fusion(images)).astype(np.uint8)
    for spoiled in (white, cut, 255 - fusion(images)):
        for finding in result_findings(spoiled, images):
            assert "backend" not in finding.message + finding.remedy


def test_any_size_is_looked_at(rng: np.random.Generator) -> None:
    for shape in ((1, 1), (2, 300), (17, 9), (300, 40)):
        images = [rng.integers(0, 256, (*shape, 3)).astype(np.uint8) for _ in range(3)]
        input_findings(images)
        assert result_guards(images[0], images) <= {"likeness", "colours", "brightness", "constant result"}
