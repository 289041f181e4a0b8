"""Faults that are injected into sound cases and results, to see which of them the guards find."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image

from tfs_rt.cases.colormaps import table
from tfs_rt.images import RGB

# In pixels of the full resolution, and degrees.
SHIFTS = (2, 4, 8, 16, 32)
TURNS = (2, 5, 10, 15)
# The value of a level in images of so many bits, before it is cut off at 255.
CLIPPED = {"16": 257, "12": 16}
MISPLACED = ("registration", "rotation")  # guards, either of which will do

Change = Callable[[RGB], RGB]
Substitute = Callable[[int], RGB | None]


class Fault(NamedTuple):
    """Something wrong with one image of a case."""

    name: str
    guards: tuple[str, ...]  # any of which should find it
    slots: tuple[int, ...]  # that it may befall
    change: Change
    # Made at full resolution, before the images are degraded; or else in what is read.
    of_source: bool = False


def faults() -> Iterator[Fault]:
    """Faults of inputs. Directions of shifts come from one seed, in order."""
    rng = np.random.default_rng(0)
    for bits, factor in CLIPPED.items():
        yield Fault(f"{bits}-bit values cut off at 255", ("saturation",), (0, 1), multiplied(factor))
    for bits, factor in CLIPPED.items():
        yield Fault(f"{bits}-bit values cut off at 255, then coloured", ("saturation",), (2,), recoloured(factor))
    for slots in ((0, 1), (2,)):
        yield Fault("black", ("empty",), slots, lambda image: np.zeros_like(image))
        yield Fault("grey throughout", ("constant",), slots, lambda image: np.full_like(image, 128))
    for slots in ((0, 1), (2,)):
        for pixels in SHIFTS:
            yield Fault(f"shifted by {pixels} pixels", MISPLACED, slots, shifted(pixels, rng), of_source=True)
        for degrees in TURNS:
            yield Fault(f"turned by {degrees} degrees", MISPLACED, slots, turned(degrees, rng), of_source=True)


def multiplied(factor: int) -> Change:
    """Deep or bright values, cut off at 255."""
    return lambda image: (image.astype(np.int64) * factor).clip(0, 255).astype(np.uint8)


def recoloured(factor: int) -> Change:
    """The same of a functional image, before it had its colours: those of the atlas's map that is nearer to them."""

    def change(image: RGB) -> RGB:
        found = {name: _nearest(image, table(name)) for name in ("atlas-pet", "atlas-spect")}
        name = min(found, key=lambda name: float(found[name][1].mean()))
        return table(name)[(found[name][0] * factor).clip(0, 255)]

    return change


def _nearest(image: RGB, colours: RGB) -> tuple[np.ndarray, np.ndarray]:
    """(level, distance) of each pixel (H, W) by the nearest of a map's colours (256, 3)."""
    own, index = np.unique(image.reshape(-1, 3), axis=0, return_inverse=True)
    distances = np.linalg.norm(own[:, None].astype(np.float32) - colours, axis=2)
    levels = distances.argmin(axis=1)[index]
    least = distances.min(axis=1)[index]
    return levels.reshape(image.shape[:2]), least.reshape(image.shape[:2])


def shifted(pixels: int, rng: np.random.Generator) -> Change:
    """A shift in a random direction; black where nothing comes in."""

    def change(image: RGB) -> RGB:
        angle = rng.uniform(0, 2 * np.pi)
        return moved(image, shift=(round(pixels * np.cos(angle)), round(pixels * np.sin(angle))))

    return change


def turned(degrees: float, rng: np.random.Generator) -> Change:
    """A rotation about the centre, one way or the other; black where nothing comes in."""
    return lambda image: moved(image, turn=degrees * rng.choice([-1, 1]))


def moved(image: RGB, *, shift: tuple[int, int] = (0, 0), turn: float = 0) -> RGB:
    """An image turned by degrees, then shifted by (x, y) pixels."""
    return np.asarray(Image.fromarray(image).rotate(turn, Image.Resampling.BICUBIC, translate=shift))


def substitutes(results: Sequence[RGB], patients: Sequence[str]) -> Iterator[tuple[str, Substitute]]:
    """(name, what stands in the place of the i-th result; None where there is nothing of the kind)."""
    rng = np.random.default_rng(0)

    def following(i: int, *, same: bool) -> RGB | None:
        others = [(i + k) % len(results) for k in range(1, len(results))]
        fit = (j for j in others if (patients[j] == patients[i]) == same and results[j].shape == results[i].shape)
        return next((results[j] for j in fit), None)

    # Put another result in the place of this one.
    yield "another patient's", lambda i: following(i, same=False)
    yield "the same patient's next slice", lambda i: following(i, same=True)
    # Put images without any content there.
    yield "random noise", lambda i: rng.integers(0, 256, results[i].shape).astype(np.uint8)
    yield "half random noise", lambda i: results[i] // 2 + rng.integers(0, 128, results[i].shape).astype(np.uint8)
    yield "black", lambda i: np.zeros_like(results[i])
    yield "white", lambda i: np.full_like(results[i], 255)
    # Change the result itself.
    yield "three times as bright", lambda i: multiplied(3)(results[i])
    yield "negative", lambda i: 255 - results[i]
    yield "mirrored", lambda i: np.ascontiguousarray(results[i][:, ::-1])
    yield "shifted by 8 pixels", lambda i: moved(results[i], shift=(8, 0))
    yield "red and blue swapped", lambda i: np.ascontiguousarray(results[i][..., ::-1])
