"""The files of a series as one multi-frame dataset, in which each frame keeps its own place and modality transform."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from pydicom import Dataset

from tfs_rt.errors import InputError
from tfs_rt.formats.dicom.folder import Member, naming
from tfs_rt.formats.dicom.layout import MAX_BYTES, layout_of
from tfs_rt.formats.dicom.modality import modalities_of
from tfs_rt.formats.dicom.multiframe import Native, frame_groups, is_lossy, multiframe, native_frames
from tfs_rt.formats.dicom.pixels import KEYWORDS
from tfs_rt.formats.dicom.planes import Plane, functional_group
from tfs_rt.formats.dicom.series_window import common_window
from tfs_rt.formats.dicom.stack import ONE_PLACE, planes_of
from tfs_rt.formats.picture import FileOptions

APART = "move the files of all but one volume out of the folder"
PLACED = "export it with the position of each slice, or convert it with dcm2niix"
# Elements by which slices at one place differ, with words for them.
DIFFERENCES = {
    "TemporalPositionIdentifier": "time points",
    "FrameReferenceTime": "time points",
    "EchoNumbers": "echoes",
    "EchoTime": "echoes",
    "InversionTime": "inversion times",
    "DiffusionBValue": "diffusion weightings",
    "TriggerTime": "phases",
    "NominalPercentageOfCardiacPhase": "phases",
    "AcquisitionNumber": "acquisitions",
    "ImageType": "kinds of image (Image Type)",
    "AcquisitionTime": "time points",
    "ContentTime": "time points",
}

SETTINGS = ("EchoNumbers", "EchoTime", "DiffusionBValue")  # those of them that are the same in all slices of a volume
ROUNDING = 0.01  # relative difference of two numbers that may be one
FEWEST = 3  # slices at one place that all lack a position


class Combined(NamedTuple):
    """A series as one dataset."""

    dataset: Dataset
    # By frame, in the order of the dataset: its name for messages, and the SOP class and instance of its file.
    names: tuple[str, ...]
    instances: tuple[tuple[str, str], ...]
    windows_differ: bool  # the files have different windows, and the dataset one around them


class Frame(NamedTuple):
    """A frame of a series, without its pixels."""

    member: Member
    index: int  # in its file
    name: str
    plane: Plane


def combined(members: Sequence[Member], path: Path, options: FileOptions) -> Combined:
    """One dataset of all frames of a series; InputError names the slice that cannot be one of them.

    The pixels of the members are taken out of them to save memory.
    """
    # Take the numbers' order as the stored one, of which the sidecar notes if positions give another.
    members = sorted(members, key=_number_and_name)
    _check_size(members, path)
    # Find the places and the window.
    frames = [frame for member in members for frame in _frames_of(member, path)]
    _check_doubles(frames, path)
    _check_contrast(members, path)
    window = None if options.window else common_window([(frame.name, _window(frame)) for frame in frames], path)
    # Decode the pixels.
    lossy = any(is_lossy(member.dataset) for member in members)
    pixels = [_pixels_of(member, path) for member in members]
    together = pixels[0]._replace(content=b"".join(native.content for native in pixels))
    # Put all together.
    first = members[0].dataset
    groups = [_groups(frame, window or _window(frame)) for frame in frames]
    dataset = multiframe(first, together, (int(first.Rows), int(first.Columns)), groups, lossy)
    names = tuple(frame.name for frame in frames)
    instances = tuple(_instance(frame.member.dataset) for frame in frames)
    return Combined(dataset, names, instances, windows_differ=window is not None and window is not _window(frames[0]))


def _number_and_name(member: Member) -> tuple[float, str]:
    try:
        return float(str(member.dataset.get("InstanceNumber"))), member.name
    except ValueError:
        return float("inf"), member.name


def _check_size(members: Sequence[Member], path: Path) -> None:
    """Refuse more pixels than are read, before any is decoded."""
    total = 0
    for member in members:
        with naming(member.label, path):
            layout = layout_of(member.dataset, path)
        total += layout.frames * layout.rows * layout.columns * layout.samples * layout.bits // 8
    if total > MAX_BYTES:
        reason = f"its series of {len(members)} files has more than 1 GiB of pixels"
        raise InputError(path, reason, "shrink it, or give fewer slices of all three series")


def _frames_of(member: Member, path: Path) -> list[Frame]:
    """The frames of a file with their places; InputError if one has none."""
    dataset = member.dataset
    with naming(member.label, path):
        count = layout_of(dataset, path).frames
        planes = planes_of(dataset, count, path)
        modalities_of(dataset, count, path)
        frames: list[Frame] = []
        for index, plane in enumerate(planes):
            if plane is None:
                missing = "Position" if not dataset.get("ImagePositionPatient") else "Orientation"
                tag = "0032" if missing == "Position" else "0037"
                raise InputError(path, f"has no Image {missing} (Patient) (0020,{tag})", PLACED)
            name = f"{member.label}, frame {index + 1}" if count > 1 else member.label
            frames.append(Frame(member, index, name, plane))
    return frames


def _check_doubles(frames: Sequence[Frame], path: Path) -> None:
    """Refuse two frames at one place, by the element that tells them apart, if there is one."""
    places: dict[tuple[int, ...], Frame] = {}
    for frame in frames:
        position, directions, _ = frame.plane
        place = tuple(np.rint(np.array((*position, *directions)) / ONE_PLACE).astype(int).tolist())
        if place not in places:
            places[place] = frame
            continue
        pair = f"{places[place].name} and {frame.name} lie at one place"
        one, other = (found.member.dataset for found in (places[place], frame))
        for keyword, words in DIFFERENCES.items():
            if one.get(keyword) != other.get(keyword):
                raise InputError(path, f"{pair}: they are different {words}", APART)
        if frame.member is not places[place].member and one.get("SOPInstanceUID") == other.get("SOPInstanceUID"):
            raise InputError(path, f"{pair}: they are copies of one image", "remove one of each such pair")
        if len(frames) >= FEWEST and len({found.plane[0] for found in frames}) == 1:
            raise InputError(path, f"all its {len(frames)} slices give the same position", PLACED)
        raise InputError(path, f"{pair}: one of them is a copy, or of another time point", f"remove it, or {APART}")


def _check_contrast(members: Sequence[Member], path: Path) -> None:
    """Refuse slices that differ in a setting of the scanner: they are of several volumes, wherever they lie."""
    first = members[0]
    for member in members:
        for keyword in SETTINGS:
            one, other = (str(found.dataset.get(keyword) or "none") for found in (first, member))
            if not _is_near(one, other):
                reason = f"{first.label} and {member.label} are different {DIFFERENCES[keyword]}"
                raise InputError(path, f"{reason} ({keyword} {one} and {other})", APART)


def _is_near(one: str, other: str) -> bool:
    """True for two equal values, or two numbers that differ by rounding."""
    try:
        return math.isclose(float(one), float(other), rel_tol=ROUNDING)
    except ValueError:
        return one == other


def _window(frame: Frame) -> Dataset:
    return functional_group(frame.member.dataset, frame.index, "FrameVOILUTSequence")


def _pixels_of(member: Member, path: Path) -> Native:
    """The decoded frames of a file, which is left without pixels."""
    dataset = member.dataset
    with naming(member.label, path):
        native = native_frames(dataset, layout_of(dataset, path), path)
    for keyword in KEYWORDS:
        if keyword in dataset:
            delattr(dataset, keyword)
    return native


def _groups(frame: Frame, window: Dataset) -> Dataset:
    """The functional groups of a frame: those of its own file, or the file itself, but for the window."""
    dataset = frame.member.dataset
    kept = ("PixelMeasuresSequence", "PixelValueTransformationSequence")
    own = {keyword: functional_group(dataset, frame.index, keyword) for keyword in kept}
    return frame_groups(frame.plane, **own, FrameVOILUTSequence=window)


def _instance(dataset: Dataset) -> tuple[str, str]:
    return str(dataset.get("SOPClassUID") or ""), str(dataset.get("SOPInstanceUID") or "")
