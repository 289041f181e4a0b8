"""The interface of a fusion method, learned or classical, and the checks of its inputs."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from numbers import Integral
from typing import Any, Protocol

import numpy as np
from PIL import Image

from tfs_rt.images import RGB
from tfs_rt.sampling.engine import ImageBatch
from tfs_rt.spec import SLOTS

ImageLike = RGB | Image.Image | Sequence[Any]
EXPECTED = "uint8 (h, w, 3)"
FUNCTIONAL = SLOTS[-1]


class FusionMethod(Protocol):
    """Fuses three images into one."""

    @property
    def scale(self) -> int:
        """Side of a result over the side of its inputs."""
        ...

    @property
    def steps(self) -> int:
        """Number of steps, and of calls of `on_step`, for a batch."""
        ...

    @property
    def trained_size(self) -> int | None:
        """Side of the images that it was trained on; None for a method without training."""
        ...

    def begin(self, batch: ImageBatch) -> Callable[[], list[RGB]]:
        """Begin a batch and return a function that waits for its images, (H, W, 3) uint8 each.

        One more batch may begin before the images are asked for.
        """
        ...

    def describe(self, size: tuple[int, int] | None) -> str:
        """One line for the user. `size` is the result's (H, W), if the user gave it."""
        ...

    def self_test(self) -> None:
        """EnvironmentFault if the method computes wrongly on this machine. No batch may be under way."""
        ...

    def provenance(self) -> dict[str, Any]:
        """All that can change pixels beside inputs, size and seed, with the `versions` of the packages that compute."""
        ...


class BaseMethod:
    """The part that all methods share."""

    __slots__ = ()

    def fuse(
        self: FusionMethod,
        cases: Sequence[Sequence[ImageLike]],
        ids: Sequence[str],
        *,
        size: tuple[int, int],
        seed: int = 0,
        on_step: Callable[[int], None] | None = None,
    ) -> list[RGB]:
        """Fuse a batch: for each case its images in slot order, (h, w, 3) uint8 -> (H, W, 3) uint8 of `size` = (H, W).

        Images may also be Pillow images or nested lists (`check_batch`).
        A case's noise comes from `seed` and its id alone, so that its result does not depend on the batch.
        `on_step` is called with the number of each step.
        Raises TypeError or ValueError for other inputs, FloatingPointError if the network returns NaN or infinity.
        """
        batch = ImageBatch(cases, ids, size=size, seed=seed, on_step=on_step)  # pyrefly: ignore[bad-argument-type]
        return self.begin(batch)()


def check_batch(batch: ImageBatch) -> ImageBatch:
    """The batch with all images as arrays, uint8 (h, w, 3).

    An image may be such an array, a Pillow image (RGB, or L for the anatomical ones) or nested lists of integers.
    TypeError or ValueError names the case, the slot, the value and the expected type.
    """
    cases = batch.cases
    ids = batch.ids
    seed = batch.seed
    _check_list("cases", cases, "a list of cases, each of three images")
    _check_list("ids", ids, "a list of str, one for each case")
    if len(cases) != len(ids) or not len(cases):
        raise ValueError(f"{len(cases)} cases with {len(ids)} ids: give a list of cases, each of three images")
    _check_size(batch.size)
    if not _is_integer(seed):
        raise TypeError(f"seed: found {_type_name(seed)} {seed!r}, expected an int")
    arrays = [_case_arrays(case_id, images) for case_id, images in zip(ids, cases, strict=True)]
    return dataclasses.replace(batch, cases=arrays)


def _check_list(name: str, value: object, expected: str) -> None:
    if not isinstance(value, Sequence | np.ndarray):
        raise TypeError(f"{name}: found {_type_name(value)}, expected {expected}")


def _check_size(size: object) -> None:
    expected = "expected (height, width) in pixels"
    if size is None:
        raise TypeError(f"size: missing, {expected}")
    if not isinstance(size, Sequence | np.ndarray) or isinstance(size, str | bytes):
        raise TypeError(f"size: found {_type_name(size)} {size!r}, {expected}")
    if len(size) != 2 or not all(_is_integer(side) and side > 0 for side in size):
        raise ValueError(f"size: found {size!r}, {expected}")


def _is_integer(value: object) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)


def _check_id(case_id: object) -> None:
    if not isinstance(case_id, str):
        raise TypeError(f"ids: found {_type_name(case_id)} {case_id!r}, expected a str")
    if any("\ud800" <= letter <= "\udfff" for letter in case_id):
        raise ValueError(f"ids: found {case_id!a}, expected text without lone surrogates")


def _case_arrays(case_id: str, images: Sequence[ImageLike]) -> list[RGB]:
    _check_id(case_id)
    if not isinstance(images, Sequence | np.ndarray) or isinstance(images, str | bytes):
        raise TypeError(f"case {case_id}: found {_type_name(images)}, expected a list of the images {', '.join(SLOTS)}")
    if len(images) != len(SLOTS):
        raise ValueError(f"case {case_id}: found {len(images)} images, expected 3 images: {', '.join(SLOTS)}")
    arrays = [as_rgb(image, slot, f"case {case_id}, {slot}") for slot, image in zip(SLOTS, images, strict=True)]
    sizes = [f"{slot} {array.shape[1]}x{array.shape[0]}" for slot, array in zip(SLOTS, arrays, strict=True)]
    if len({array.shape for array in arrays}) > 1:
        raise ValueError(f"case {case_id}: found {', '.join(sizes)}, expected 3 images of one size")
    return arrays


def as_rgb(image: ImageLike, slot: str, subject: str) -> RGB:
    """An image as an array, uint8 (h, w, 3); TypeError or ValueError about `subject` for anything else."""
    # Refuse masked arrays: the mask would be lost.
    rows = image if isinstance(image, list | tuple) else [image]
    if any(isinstance(row, np.ma.MaskedArray) for row in rows):
        raise TypeError(f"{subject}: found a masked array, expected {EXPECTED}: fill it first, as in image.filled(0)")
    # Convert a Pillow image or lists to an array.
    if isinstance(image, Image.Image):
        array = np.asarray(_in_rgb(image, slot, subject))
    elif isinstance(image, np.ndarray):
        array = image
    elif isinstance(image, list | tuple):
        array = _from_lists(image, subject)
    else:
        raise TypeError(f"{subject}: found {_type_name(image)}, expected {EXPECTED}, a Pillow image or nested lists")
    # Check the type and shape.
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3:
        raise ValueError(f"{subject}: found {array.dtype.name} {array.shape}, expected {EXPECTED}")
    if not array.size:
        raise ValueError(f"{subject}: found an image without pixels, {array.shape}, expected {EXPECTED}")
    return array


def _in_rgb(image: Image.Image, slot: str, subject: str) -> Image.Image:
    """A Pillow image in RGB. Only grey is converted: for other modes there is more than one way."""
    modes = ("RGB",) if slot == FUNCTIONAL else ("RGB", "L")
    if image.mode not in modes:
        remedy = "convert it first, as in image.convert('RGB')"
        raise ValueError(
            f"{subject}: found a Pillow image of mode {image.mode}, expected {' or '.join(modes)}: {remedy}"
        )
    return image.convert("RGB")


def _from_lists(image: Sequence[Any], subject: str) -> RGB:
    """Nested lists of integers from 0 to 255 as an array."""
    try:
        array = np.asarray(image)
    except ValueError as error:
        raise ValueError(f"{subject}: found lists of different lengths, expected {EXPECTED}") from error
    if array.size and (array.dtype.kind not in "iu" or array.min() < 0 or array.max() > 255):
        raise ValueError(f"{subject}: found lists of {array.dtype.name}, expected integers from 0 to 255")
    return array.astype(np.uint8)


def _type_name(value: object) -> str:
    return type(value).__name__
