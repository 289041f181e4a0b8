"""A multi-frame dataset made of frames that were stored otherwise: in several files, or as tiles of one image.

It has the form of an Enhanced object (PS3.3 C.7.6.16), so that it is read as one: each frame has functional groups,
with its place, its modality transform and its window.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from pydicom import Dataset, uid
from pydicom.datadict import keyword_for_tag
from pydicom.dataset import FileMetaDataset

from tfs_rt.formats.dicom.layout import Layout
from tfs_rt.formats.dicom.pixels import KEYWORDS, LOSSY, decode
from tfs_rt.formats.dicom.planes import PER_FRAME, SHARED, Plane

# Attributes that are not copied: those that each frame's groups replace, and those of the pixels.
REPLACED = (
    *(SHARED, PER_FRAME, "DetectorInformationSequence", "SliceVector", "SliceLocationVector"),
    *("ImagePositionPatient", "ImageOrientationPatient", "SpacingBetweenSlices", "FrameIncrementPointer"),
    *("NumberOfFrames", "Rows", "Columns", "BitsAllocated", "PhotometricInterpretation", "PlanarConfiguration"),
)


TABLES = ("ModalityLUTSequence", "VOILUTSequence", "RedPaletteColorLookupTableData")
VRS = {"FloatPixelData": "OF", "DoubleFloatPixelData": "OD"}  # of elements of pixels, else OW


class Native(NamedTuple):
    """The frames of a file without compression, as little-endian bytes."""

    content: bytes
    keyword: str  # of the element that holds them
    bits: int  # allocated for a sample
    photometric: str


def native_frames(dataset: Dataset, layout: Layout, path: Path) -> Native:
    """The frames of a file, decoded; InputError if that fails.

    Frames that are not compressed stay as they are, with the bits above those stored, in which there may be padding.
    """
    stored = decode(dataset, layout, path)
    (keyword,) = (keyword for keyword in KEYWORDS if keyword in dataset)
    values = stored.values
    content = values.astype(values.dtype.newbyteorder("<"), copy=False).tobytes()
    plain = not layout.syntax.is_encapsulated and layout.syntax.is_little_endian and layout.samples == 1
    if plain and layout.bits == values.itemsize * 8:
        content = bytes(dataset[keyword].value[: len(content)])
    return Native(content, keyword, values.itemsize * 8, stored.photometric)


def is_lossy(dataset: Dataset) -> bool:
    """True if the pixels of a file are, or were once, compressed with loss."""
    return dataset.get("LossyImageCompression") == "01" or dataset.file_meta.TransferSyntaxUID in LOSSY


def multiframe(like: Dataset, frames: Native, size: tuple[int, int], groups: Sequence[Dataset], lossy: bool) -> Dataset:
    """A dataset of frames of a size (rows, columns), one for each item of `groups`; all else is as in `like`.

    ValueError for tables in the retired big-endian order, which the new dataset does not have.
    """
    if not like.file_meta.TransferSyntaxUID.is_little_endian and any(keyword in like for keyword in TABLES):
        raise ValueError("tables in big-endian order")
    # Copy the description, without what belongs to single frames.
    made = Dataset()
    for tag in like.keys():  # noqa: SIM118 - the dataset itself holds elements
        if keyword_for_tag(tag) not in (*REPLACED, *KEYWORDS, *("LossyImageCompression",) * lossy):
            made[tag] = like.get_item(tag)
    # Describe the frames.
    made.NumberOfFrames = len(groups)
    made.Rows, made.Columns = size
    made.BitsAllocated = frames.bits
    made.PhotometricInterpretation = frames.photometric
    if made.SamplesPerPixel > 1:
        made.PlanarConfiguration = 0
    if lossy:
        made.LossyImageCompression = "01"
    made.PerFrameFunctionalGroupsSequence = list(groups)
    # Put their pixels in.
    made.add_new(frames.keyword, VRS.get(frames.keyword, "OW"), frames.content + b"\0" * (len(frames.content) % 2))
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    return made


def frame_groups(plane: Plane | None, **others: Dataset) -> Dataset:
    """The functional groups of a frame: its place, if it has one, and items by keyword."""
    groups = Dataset()
    if plane:
        position, directions, _ = plane
        groups.PlanePositionSequence = [Dataset()]
        groups.PlanePositionSequence[0].ImagePositionPatient = list(position)
        groups.PlaneOrientationSequence = [Dataset()]
        groups.PlaneOrientationSequence[0].ImageOrientationPatient = list(directions)
    for keyword, item in others.items():
        setattr(groups, keyword, [item])
    return groups
