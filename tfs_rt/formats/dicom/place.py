"""The attributes of a DICOM result that say where its slices lie, each a file of its own or a frame of one file."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain

import numpy as np
from pydicom import Dataset
from pydicom.uid import generate_uid
from pydicom.valuerep import format_number_as_ds

from tfs_rt.formats.dicom.description import entropy, first_or_list, found, put_first
from tfs_rt.formats.dicom.placement import Placement
from tfs_rt.formats.dicom.planes import PER_FRAME, SHARED
from tfs_rt.formats.dicom.source import Source

# Attributes by which frames are numbered: their places along the normal, or page numbers.
BY_LOCATION = 0x00182005
BY_PAGE = 0x00182001
# A file with functional groups must have these. They are those of the source, or else of the study: never the time of
# writing, so that equal results have equal bytes.
DATES = (("ContentDate", "StudyDate"), ("ContentTime", "StudyTime"))


def to_ds(numbers: Iterable[float]) -> list[str]:
    """Numbers as decimal strings, to 14 digits or more where 16 characters allow."""
    return [format_number_as_ds(number) for number in numbers]


def put_series_place(dataset: Dataset, placement: Placement, sources: list[Source], text: dict[str, str]) -> None:
    """Put in the attributes that all slices share: the frame of reference, thickness and distance.

    Sources without a frame of reference give the result one of its own, which no other series has.
    """
    own = generate_uid(entropy_srcs=[*entropy(text), "frame of reference"])
    dataset.FrameOfReferenceUID = placement.frame_of_reference or own
    dataset.PositionReferenceIndicator = ""
    put_first(dataset, sources, "PositionReferenceIndicator")
    if placement.thickness is not None:
        dataset.SliceThickness = format_number_as_ds(placement.thickness)
    if placement.between is not None:
        dataset.SpacingBetweenSlices = format_number_as_ds(placement.between)


def put_slice_place(dataset: Dataset, placement: Placement, index: int) -> None:
    """Put in the place of one slice, in a file of its own."""
    place = placement.slices[index]
    dataset.ImagePositionPatient = to_ds(place.position)
    dataset.ImageOrientationPatient = to_ds(place.directions)
    dataset.PixelSpacing = to_ds(place.spacing)
    dataset.SliceLocation = format_number_as_ds(place.location)


def put_frame_order(dataset: Dataset, count: int, sources: list[Source]) -> None:
    """The order of frames: by their places along a source's normal if these are known and differ, else by numbers."""
    dataset.NumberOfFrames = count
    locations = next((found for source in sources if len(set(found := _locations(source))) == count), None)
    if locations:
        dataset.SliceLocationVector = to_ds(locations)
        dataset.FrameIncrementPointer = BY_LOCATION
    else:
        dataset.PageNumberVector = list(range(1, count + 1))
        dataset.FrameIncrementPointer = BY_PAGE


def put_frame_places(dataset: Dataset, placement: Placement, sources: list[Source]) -> None:
    """Put in the place of each frame: its functional groups hold its position, the shared ones what is common."""
    for keyword, other in DATES:
        values = next(chain(found(sources, keyword), found(sources, other)), None)
        if values:
            setattr(dataset, keyword, first_or_list(values))
    first = placement.slices[0]
    # What the frames share.
    measures = Dataset()
    measures.PixelSpacing = to_ds(first.spacing)
    for keyword in ("SliceThickness", "SpacingBetweenSlices"):
        if keyword in dataset:
            setattr(measures, keyword, dataset[keyword].value)
            delattr(dataset, keyword)
    orientation = Dataset()
    orientation.ImageOrientationPatient = to_ds(first.directions)
    shared = Dataset()
    shared.PixelMeasuresSequence = [measures]
    shared.PlaneOrientationSequence = [orientation]
    setattr(dataset, SHARED, [shared])
    # What each frame has of its own.
    groups: list[Dataset] = []
    for place in placement.slices:
        position = Dataset()
        position.ImagePositionPatient = to_ds(place.position)
        group = Dataset()
        group.PlanePositionSequence = [position]
        groups.append(group)
    setattr(dataset, PER_FRAME, groups)


def _locations(source: Source) -> list[float]:
    """The place of each frame along the normal of the first, in mm."""
    planes = [plane for plane in source.planes if plane]
    if len(planes) < len(source.planes):
        return []
    normal = np.cross(planes[0][1][:3], planes[0][1][3:])
    return [float(np.dot(plane[0], normal)) + 0.0 for plane in planes]
