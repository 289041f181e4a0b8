"""A case from disk to memory: read, checked against its companions, with what the sidecar will say of it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from tfs_rt.cases.case import Case, Found, RefusedCase
from tfs_rt.cases.colour import check_anatomical, colour_functional
from tfs_rt.cases.modalities import modality_of
from tfs_rt.cases.remedies import without_options
from tfs_rt.errors import InputError
from tfs_rt.formats.picture import MAX_PIXELS, Picture, Rules
from tfs_rt.formats.registry import WITH_GEOMETRY, read_picture
from tfs_rt.images import RGB
from tfs_rt.spec import SLOTS
from tfs_rt.system.files import read_regular
from tfs_rt.system.os_errors import reason_of
from tfs_rt.system.resource_limits import limit_fault

MAX_BYTES = 2**30  # of a file
MAX_RESULT = 2**32  # bytes of a result in memory
KINDS = {
    "m1": ("PT", "NM"),
    "m2": ("PT", "NM"),
    "functional": ("CT", "MR"),
}  # DICOM's modalities that are none for a slot
PLACES = ("grid", "image position")  # of a subject: the first says most
TOGETHER = "check which files belong together"
AMISS = {
    "patient": TOGETHER,
    "issuer of the patient's id": TOGETHER,
    "patient's birth date": TOGETHER,
    "patient's name": TOGETHER,
    "orientation": "give all three headers one, or none",
}  # remedies, where files of a case say different things of their subject
Decode = Callable[[bytes, Path, Rules], Picture]
Window = tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What the user decided of pixels that the models cannot take as they are."""

    windows: dict[str, Window] = field(default_factory=dict)  # by slot: what becomes black and white
    window_for_all: bool = False  # one window was given without a slot: it must apply somewhere
    colormap: str | None = None  # of a functional image without colour
    allow_lossy: bool = False

    def recipe(self) -> dict[str, Any]:
        """What of it may decide a pixel."""
        return {"windows": {slot: list(window) for slot, window in self.windows.items()}, "colormap": self.colormap}


@dataclass(frozen=True, slots=True)
class Loaded:
    """A case in memory."""

    case: Case
    slices: tuple[tuple[RGB, ...], ...]  # the images of each slice in slot order, all of one size
    inputs: dict[str, dict[str, Any]]  # by slot, for the sidecar
    size: tuple[int, int]  # (H, W) of the result's slices
    frames: dict[str, Any]  # by slot: what a result in the inputs' format takes over
    format: str  # the result's

    @property
    def images(self) -> tuple[RGB, ...]:
        """The three images of a case that is no volume."""
        first, *more = self.slices
        if more:
            raise InputError(f"case {self.case.id}", f"is a volume of {len(more) + 1} slices", "give single slices")
        return first


def load_case(
    case: Found,
    scale: int,
    target_size: tuple[int, int] | None,
    reading: Reading | None = None,
    decode: Decode = read_picture,
) -> Loaded:
    """Read and check the three files of a case; InputError says what is wrong with which.

    Without `reading` the command has no options for it, and no remedy names one.
    """
    if reading is None:
        with without_options():
            return load_case(case, scale, target_size, Reading(), decode)
    if isinstance(case, RefusedCase):
        raise case.error
    pictures: dict[str, Picture] = {}
    inputs: dict[str, dict[str, Any]] = {}
    for slot in SLOTS:
        path = case.files[slot]
        data, sha256 = read_bytes(path)
        window = reading.windows.get(slot)
        named, may_be_ct = modality_of(path), slot == "m1"
        rules = Rules(window=window, allow_lossy=reading.allow_lossy, modality=named, may_be_ct=may_be_ct)
        picture = decode(data, path, rules)
        height, width = picture.slices[0].shape[:2]
        own = {"file": str(path), "sha256": sha256, "width": width, "height": height}
        inputs[slot] = own | picture.facts | own  # in this order; no decoder renames an input
        pictures[slot] = picture
    _check_contents(case, inputs, pictures)
    _check_modalities(case, pictures)
    _check_sizes(case, pictures)
    _check_subjects(case, pictures)
    _check_orders(case, pictures)
    _check_windows(case, inputs, reading)
    subjects = [picture.subject for picture in pictures.values()]
    place = next((key for key in PLACES if any(key in subject for subject in subjects)), PLACES[0])
    for slot, picture in pictures.items():
        inputs[slot]["has_place"] = place in picture.subject
        if "position of the first slice" in picture.subject and "order_from" not in picture.facts:
            inputs[slot]["order_unknown"] = True
    for slot in ("m1", "m2"):
        inputs[slot] |= check_anatomical(case, slot, pictures[slot])
    pictures["functional"], inputs["functional"] = colour_functional(
        case, pictures["functional"], inputs["functional"], reading.colormap
    )
    return _loaded(case, pictures, inputs, scale, target_size)


def read_file(path: Path) -> tuple[RGB, str]:
    """An image (H, W, 3) uint8 and its file's SHA-256; InputError says what is wrong with the file."""
    data, sha256 = read_bytes(path)
    with without_options():
        slices = read_picture(data, path, Rules()).slices
    first, *more = slices
    if more:
        raise InputError(path, f"is a volume of {len(more) + 1} slices", "give a single slice")
    return first, sha256


def read_bytes(path: Path) -> tuple[bytes, str]:
    """A file's bytes and their SHA-256; InputError, at once, if it cannot be read."""
    try:
        data = read_regular(path, MAX_BYTES)
    except IsADirectoryError as error:
        raise InputError(path, "is a folder", "give one file (a DICOM series as NIfTI)") from error
    except OSError as error:
        if fault := limit_fault(error):
            raise fault from error
        raise InputError(path, f"cannot be read ({reason_of(error)})", "check the path") from error
    return data, hashlib.sha256(data).hexdigest()


def _loaded(
    case: Case,
    pictures: dict[str, Picture],
    inputs: dict[str, dict[str, Any]],
    scale: int,
    target_size: tuple[int, int] | None,
) -> Loaded:
    first, subject = pictures[SLOTS[0]].slices, f"case {case.id}"
    height, width = first[0].shape[:2]
    size = target_size or (height * scale, width * scale)
    if size[0] * size[1] > MAX_PIXELS:
        reason = f"its result would have {size[1]}x{size[0]} pixels, more than 4096x4096"
        raise InputError(subject, reason, "crop it, or give --target-size")
    if 3 * size[0] * size[1] * len(first) > MAX_RESULT:
        reason = f"its result would have {len(first)} slices of {size[1]}x{size[0]} pixels, more than 4 GiB"
        raise InputError(subject, reason, "split the volume, or give --target-size")
    formats = {picture.facts["format"] for picture in pictures.values()}
    if len(first) > 1 and len(formats) > 1:
        raise InputError(subject, f"is a volume in several formats ({', '.join(sorted(formats))})", "choose one")
    written = formats.pop() if len(formats) == 1 and formats <= WITH_GEOMETRY else "png"
    slices = tuple(zip(*(pictures[slot].slices for slot in SLOTS), strict=True))
    return Loaded(case, slices, inputs, size, {slot: p.frame for slot, p in pictures.items()}, written)


def _check_contents(case: Case, inputs: dict[str, dict[str, Any]], pictures: dict[str, Picture]) -> None:
    """One image in two slots is no case, whatever its two files are called; black slices beyond the head are alike."""
    for one, other in combinations(inputs, 2):
        if inputs[one]["sha256"] == inputs[other]["sha256"] and any(map(np.ptp, pictures[one].slices)):
            names = f"{case.files[one].name} and {case.files[other].name}"
            reason = f"{one} and {other} are the same file's content ({names})"
            raise InputError(f"case {case.id}", reason, "give each slot its own image")


def _check_modalities(case: Case, pictures: dict[str, Picture]) -> None:
    """A file that says what it shows must lie in a slot for that; colours could be put on anything."""
    for slot, picture in pictures.items():
        modality = picture.facts.get("modality")
        if modality in KINDS[slot]:
            reason = f"says that it is {modality}, but lies in the {slot} slot"
            raise InputError(case.files[slot], reason, "swap the slots")


def _check_sizes(case: Case, pictures: dict[str, Picture]) -> None:
    if len({(len(p.slices), p.slices[0].shape) for p in pictures.values()}) > 1:
        sizes = ", ".join(f"{case.files[slot].name} {_size(p)}" for slot, p in pictures.items())
        raise InputError(f"case {case.id}", f"expected 3 images of one size, got {sizes}", "resample them first")


def _size(picture: Picture) -> str:
    height, width = picture.slices[0].shape[:2]
    return f"{width}x{height}" + (f"x{len(picture.slices)}" if len(picture.slices) > 1 else "")


def _check_subjects(case: Case, pictures: dict[str, Picture]) -> None:
    """Files that say that they are of different patients, or lie differently in space, are no case."""
    for (one, a), (other, b) in combinations(pictures.items(), 2):
        same = a.facts["format"] == b.facts["format"]  # each format says in its own way how a grid lies
        for key in sorted(a.subject.keys() & b.subject.keys()) if same else ():
            if not alike(a.subject[key], b.subject[key]):
                names = f"{case.files[one].name} and {case.files[other].name}"
                reason = f"{names} do not have the same {key}"
                remedy = AMISS.get(key, "register and resample them onto one grid first")
                raise InputError(f"case {case.id}", reason, remedy)


def _check_orders(case: Case, pictures: dict[str, Picture]) -> None:
    """Frames that were sorted by their places do not fit those of a file that says nothing of places."""
    reordered = [slot for slot, picture in pictures.items() if "frame_order" in picture.facts]
    unplaced = [
        slot
        for slot, picture in pictures.items()
        if "grid" not in picture.subject and "order_from" not in picture.facts
    ]
    if reordered and unplaced:
        one, other = (case.files[slots[0]].name for slots in (reordered, unplaced))
        reason = f"frames of {one} are not stored in the order of their places, and {other} does not say where its lie"
        raise InputError(f"case {case.id}", reason, f"export {other} with the place of each frame, or both as NIfTI")


def _check_windows(case: Case, inputs: dict[str, dict[str, Any]], reading: Reading) -> None:
    """A window that was given must be applied: one for a slot there, one for all three somewhere."""
    unused = [slot for slot in reading.windows if inputs[slot].get("window_from") != "user"]
    for_all = reading.window_for_all
    if not unused or (for_all and len(unused) < len(SLOTS)):
        return
    slot = unused[0]
    reason = f"holds levels or colours of 8 bits ({inputs[slot].get('levels')}), which --window cannot change"
    raise InputError(case.files[slot], reason, "leave out --window" if for_all else f"leave out --window {slot}=...")


def alike(a: Any, b: Any) -> bool:
    """Whether two files say the same: of places within the lesser of their tolerances, of anything else exactly."""
    if not (isinstance(a, dict) and isinstance(b, dict)):
        return a == b
    try:
        if a["size"] != b["size"] or np.shape(a["corners"]) != np.shape(b["corners"]):
            return False
        return bool(np.abs(np.subtract(a["corners"], b["corners"])).max() <= min(a["within"], b["within"]))
    except (KeyError, TypeError, ValueError):  # a reader that was taken over can say anything
        return False
