"""Load a case from disk: read its three files, check them, and collect the metadata for its sidecar."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tfs_rt.cases.align import Aligned, AlignOptions, align
from tfs_rt.cases.case import Case, FoundCase, RefusedCase
from tfs_rt.cases.colour import check_anatomical, colour_functional
from tfs_rt.cases.compatibility import check_before_alignment, check_compatibility
from tfs_rt.cases.contents import read_content
from tfs_rt.cases.modalities import AS_T2, modality_of
from tfs_rt.cases.remedies import only_options
from tfs_rt.errors import InputError
from tfs_rt.facts import Facts
from tfs_rt.formats.picture import MAX_PIXELS, Content, FileOptions, Picture
from tfs_rt.formats.registry import place_format, read_picture
from tfs_rt.images import RGB
from tfs_rt.spec import SLOTS

MAX_RESULT = 2**32  # bytes of a result in memory
PLACES = ("grid", "image position")  # keys of a place in space, the most precise first
Decode = Callable[[Content, Path, FileOptions], Picture]
Window = tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadingOptions:
    """Options for reading a case's files: windows, colour map, lossy compression. Each file gets its `FileOptions`."""

    windows: dict[str, Window] = field(default_factory=dict)  # by slot: the values of black and white
    # One window was given without a slot: it must apply to at least one.
    window_for_all: bool = False
    colormap: str | None = None  # for a functional image without colour
    allow_lossy: bool = False
    nan_is_background: bool = False
    # By slot: the series to read of a folder, by its number or the beginning of its UID.
    series: dict[str, str] = field(default_factory=dict)
    same_frame: bool = False  # frames of reference with different UIDs are one, where the grids agree
    plane: str | None = None  # of slices of volumes in NIfTI and the like
    align: AlignOptions | None = None  # put images of different grids onto one
    offered: tuple[str, ...] | None = None  # options that the command has and remedies may name; None: all

    def recipe(self) -> Facts:
        """The decisions that can change pixels. An option newer than the others stands there only if it was given."""
        windows = {slot: list(window) for slot, window in self.windows.items()}
        missing = {"nan": "background"} if self.nan_is_background else {}
        series = {"series": dict(self.series)} if self.series else {}
        aligned = {"align": self.align.recipe()} if self.align else {}
        plane = {"plane": self.plane} if self.plane else {}
        return {"windows": windows, "colormap": self.colormap, **missing, **series, **plane, **aligned}


@dataclass(frozen=True, slots=True)
class ReadCase:
    """The pictures of a case, which fit each other."""

    pictures: dict[str, Picture]  # by slot
    inputs: dict[str, Facts]  # by slot, for the sidecar
    aligned: Aligned | None  # with `ReadingOptions.align`


@dataclass(frozen=True, slots=True)
class Loaded:
    """A case in memory."""

    case: Case
    # The images (h, w, 3) of each slice in slot order, all of one size.
    slices: tuple[tuple[RGB, ...], ...]
    inputs: dict[str, Facts]  # by slot, for the sidecar
    size: tuple[int, int]  # (H, W) of the result's slices
    # By slot: the facts that a result in the inputs' format takes over from the input.
    frames: dict[str, Any]
    format: str  # of the result

    @property
    def is_enlarged(self) -> bool:
        """True if the result is larger than the images."""
        return self.size != self.slices[0][0].shape[:2]

    @property
    def images(self) -> tuple[RGB, ...]:
        """The three images of a case that is not a volume."""
        first, *more = self.slices
        if more:
            raise InputError(f"case {self.case.id}", f"is a volume of {len(more) + 1} slices", "give single slices")
        return first


def load_case(
    case: FoundCase,
    scale: int,
    target_size: tuple[int, int] | None,
    reading: ReadingOptions | None = None,
    decode: Decode = read_picture,
) -> Loaded:
    """Read and check the three files of a case; InputError says which file or case is at fault, and why.

    Remedies name no option that the command lacks (`ReadingOptions.offered`); without `reading`, none at all.
    """
    reading = reading or ReadingOptions(offered=())
    with only_options(reading.offered):
        return _load_case(case, scale, target_size, reading, decode)


def _load_case(
    case: FoundCase, scale: int, target_size: tuple[int, int] | None, reading: ReadingOptions, decode: Decode
) -> Loaded:
    if isinstance(case, RefusedCase):
        raise case.error
    read = read_case(case, reading, decode)
    pictures, inputs = read.pictures, read.inputs

    # Check and put on colours.
    for slot in ("m1", "m2"):
        inputs[slot] |= check_anatomical(case, slot, pictures[slot])
    pictures["functional"], inputs["functional"] = colour_functional(
        case, pictures["functional"], inputs["functional"], reading.colormap
    )

    # Choose the result's size and format.
    count = len(pictures["m1"].slices)
    size = _result_size(case, pictures["m1"].slices[0].shape[:2], count, scale, target_size)
    written = read.aligned.format if read.aligned else _result_format(case, inputs, count)
    slices = tuple(zip(*(pictures[slot].slices for slot in SLOTS), strict=True))
    frames = {slot: picture.frame for slot, picture in pictures.items()}
    return Loaded(case, slices, inputs, size, frames, written)


def read_case(case: Case, reading: ReadingOptions, decode: Decode) -> ReadCase:
    """Read the three files of a case, align them if that is asked for, and check that they fit each other."""
    # Read the files.
    pictures: dict[str, Picture] = {}
    inputs: dict[str, Facts] = {}
    for slot in SLOTS:
        pictures[slot], inputs[slot] = _read_input(case, slot, reading, decode)
    # Check the user's decisions.
    _check_windows(case, inputs, reading)
    _check_nan(case, inputs, reading)
    _check_plane(case, inputs, reading)
    # Align them, and check that they fit each other.
    aligned = _align(case, pictures, inputs, reading) if reading.align else None
    if aligned:
        pictures = aligned.pictures
    check_compatibility(case, pictures, inputs, same_frame=reading.same_frame)
    _note_places(pictures, inputs)
    if (named := case.modalities.get("m2")) in AS_T2:
        inputs["m2"]["modality_by_name"] = named
    return ReadCase(pictures, inputs, aligned)


def _align(case: Case, pictures: dict[str, Picture], inputs: dict[str, Facts], reading: ReadingOptions) -> Aligned:
    """The pictures on one grid; facts about it go into `inputs`."""
    options = reading.align or AlignOptions()
    check_before_alignment(case, pictures, inputs, by_headers=not options.register, same_frame=reading.same_frame)
    aligned = align(case, pictures, options)
    for slot, facts in aligned.facts.items():
        inputs[slot]["alignment"] = facts
    return aligned


def read_file(path: Path) -> tuple[RGB, str]:
    """An image (H, W, 3) uint8 and its file's SHA-256; InputError if it cannot be read as a single slice."""
    picture, sha256 = read_alone(path, ReadingOptions(offered=()))
    first, *more = picture.slices
    if more:
        raise InputError(path, f"is a volume of {len(more) + 1} slices", "give a single slice")
    return first, sha256


def read_alone(path: Path, reading: ReadingOptions, decode: Decode = read_picture) -> tuple[Picture, str]:
    """The picture of a file or of a folder with a DICOM series that is of no case, and its SHA-256."""
    data, sha256 = read_content(path)
    options = FileOptions(allow_lossy=reading.allow_lossy, nan_is_background=reading.nan_is_background)
    with only_options(reading.offered):
        return decode(data, path, options), sha256


def _read_input(case: Case, slot: str, reading: ReadingOptions, decode: Decode) -> tuple[Picture, Facts]:
    """The picture of a slot's file, and its metadata for the sidecar."""
    path = case.files[slot]
    modality = case.modalities.get(slot) or modality_of(path)
    data, sha256 = read_content(path)
    series = reading.series.get(slot)
    if series is not None and not isinstance(data, dict):
        reason = f"is a file, and --series {slot}={series} chooses a series of a folder"
        raise InputError(path, reason, f"leave out --series {slot}=...")
    options = FileOptions(
        series=series,
        window=reading.windows.get(slot),
        allow_lossy=reading.allow_lossy,
        nan_is_background=reading.nan_is_background,
        plane=reading.plane,
        modality=modality,
        may_be_ct=slot != "functional",
        keep_values=reading.align is not None,
    )
    picture = decode(data, path, options)
    height, width = picture.slices[0].shape[:2]
    ours = {"file": str(path), "sha256": sha256, "width": width, "height": height}
    # Ours come first in the sidecar, and again last: no decoder can rename an input.
    return picture, ours | picture.facts | ours


def _check_windows(case: Case, inputs: dict[str, Facts], reading: ReadingOptions) -> None:
    """Refuse a window that was given and changes nothing: in its slot, or in all slots if it was given for all."""
    unused = [slot for slot in reading.windows if inputs[slot].get("window_from") != "user"]
    for_all = reading.window_for_all
    if not unused or (for_all and len(unused) < len(SLOTS)):
        return
    slot = unused[0]
    reason = f"holds levels or colours of 8 bits ({inputs[slot].get('levels')}), which --window cannot change"
    raise InputError(case.files[slot], reason, "leave out --window" if for_all else f"leave out --window {slot}=...")


def _check_nan(case: Case, inputs: dict[str, Facts], reading: ReadingOptions) -> None:
    """Refuse `--nan` where no image can hold NaN, so that it cannot be applied."""
    if reading.nan_is_background and not any("nan_voxels" in facts for facts in inputs.values()):
        reason = "holds whole numbers or colours in all three images, in which nothing can be NaN"
        raise InputError(f"case {case.id}", reason, "leave out --nan")


def _check_plane(case: Case, inputs: dict[str, Facts], reading: ReadingOptions) -> None:
    """Refuse `--plane` where the result has the slices of a format whose slices are given."""
    target = [reading.align.target] if reading.align else SLOTS
    if reading.plane and not any(place_format(inputs[slot]["format"]) == "nifti" for slot in target):
        reason = "has the slices of its files: only volumes in NIfTI, MGH, NRRD and MetaImage are sliced in a plane"
        raise InputError(f"case {case.id}", reason, "leave out --plane")


def _note_places(pictures: dict[str, Picture], inputs: dict[str, Facts]) -> None:
    """Note for the warnings which inputs have a place in space, and whose frames are in an unknown order."""
    known = {key for picture in pictures.values() for key in picture.subject}
    key = next((name for name in PLACES if name in known), PLACES[0])
    for slot, picture in pictures.items():
        inputs[slot]["has_place"] = key in picture.subject
        if "position of the first slice" in picture.subject and "order_from" not in picture.facts:
            inputs[slot]["order_unknown"] = True


def _result_size(
    case: Case, shape: tuple[int, int], count: int, scale: int, target_size: tuple[int, int] | None
) -> tuple[int, int]:
    """(H, W) of a result of `count` slices of images of that shape; InputError if it is too large."""
    height, width = target_size or (shape[0] * scale, shape[1] * scale)
    if height * width > MAX_PIXELS:
        reason = f"its result would have {width}x{height} pixels, more than 4096x4096"
        raise InputError(f"case {case.id}", reason, "crop it, or give --target-size")
    if 3 * height * width * count > MAX_RESULT:
        reason = f"its result would have {count} slices of {width}x{height} pixels, more than 4 GiB"
        raise InputError(f"case {case.id}", reason, "split the volume, or give --target-size")
    return height, width


def _result_format(case: Case, inputs: dict[str, Facts], count: int) -> str:
    """The inputs' common format if it keeps their place in space, else PNG; InputError for volumes in several."""
    formats = {facts["format"] for facts in inputs.values()}
    results = set(map(place_format, formats))
    if count > 1 and len(results) > 1:
        reason = f"is a volume in several formats ({', '.join(sorted(formats))})"
        raise InputError(f"case {case.id}", reason, "convert all three to one of them")
    (first, *others) = results
    return "png" if others else first
