"""Pseudo-colour: the tables against other formulations of the same maps, and against the pixels they are read off."""

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tfs_rt.cases.colormaps import STOPS, pseudo_colour, table
from tfs_rt.errors import UsageError

BRIGHT = 16


def test_a_level_is_looked_up_in_every_pixel(rng: np.random.Generator) -> None:
    grey = rng.integers(0, 256, (9, 7)).astype(np.uint8)
    image = np.repeat(grey[..., None], 3, axis=2)
    for name in STOPS:
        coloured = pseudo_colour(image, name)
        colours = table(name)
        assert (coloured.shape, coloured.dtype) == (image.shape, np.uint8)
        for y, x in np.ndindex(*grey.shape):
            assert tuple(coloured[y, x]) == tuple(colours[grey[y, x]])


def test_every_map_begins_in_black_and_tells_levels_apart() -> None:
    for name in STOPS:
        colours = table(name).astype(int)
        assert colours[0].tolist() == [0, 0, 0]
        assert len(np.unique(colours, axis=0)) > 240
        assert np.abs(np.diff(colours, axis=0)).max() <= 9  # continuous: no two neighbours are far apart


def test_hot_is_its_three_ramps() -> None:
    """MATLAB's: red rises over the first 3/8, then green over the next 3/8, then blue over the last 2/8."""
    x = np.arange(256) / 255
    ramps = np.stack([x / (3 / 8), (x - 3 / 8) / (3 / 8), (x - 6 / 8) / (2 / 8)], axis=1).clip(0, 1) * 255
    assert np.abs(table("hot") - ramps).max() <= 0.5 + 1e-9


def test_hot_iron_is_the_palette_of_the_dicom_standard() -> None:
    """PS3.6 B.1.1, as pydicom ships it."""
    pydicom = pytest.importorskip("pydicom")
    dataset = pydicom.dcmread(Path(pydicom.__file__).parent / "data" / "palettes" / "hotiron.dcm")
    names = [f"{channel}PaletteColorLookupTableData" for channel in ("Red", "Green", "Blue")]
    theirs = np.stack([np.frombuffer(dataset[name].value, np.uint8) for name in names], axis=1)
    assert np.abs(table("hot-iron").astype(int) - theirs).max() <= 1


def test_an_unknown_map_is_refused_with_the_names_there_are() -> None:
    with pytest.raises(UsageError, match="none called 'viridis'.*atlas-pet"):
        pseudo_colour(np.zeros((2, 2, 3), np.uint8), "viridis")


@pytest.mark.parametrize(("name", "kind", "farthest"), [("atlas-pet", "pet", 3), ("atlas-spect", "spect", 2)])
def test_the_atlas_colours_lie_on_the_curves_that_were_read_off_them(
    data: Path, name: str, kind: str, farthest: float
) -> None:
    """Mean distance of the training groups' pixels from the nearest colour of the map, by brute force."""
    with (data / "manifest.csv").open() as file:
        groups = [row["id"] for row in csv.DictReader(file) if row["functional"] == kind and row["split"] == "train"]
    pixels = np.concatenate(
        [np.asarray(Image.open(data / "groups" / g / f"{kind}.png")).reshape(-1, 3) for g in groups]
    )
    packed, counts = np.unique(pixels.astype(np.int32) @ [65536, 256, 1], return_counts=True)
    seen = np.stack([packed >> 16, packed >> 8 & 255, packed & 255], axis=1)
    bright = seen.max(axis=1) > BRIGHT
    distances = np.linalg.norm(seen[bright, None].astype(np.float32) - table(name)[None], axis=2).min(axis=1)
    assert np.average(distances, weights=counts[bright]) < farthest
