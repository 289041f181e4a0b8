"""Checks that the files of a series belong to one volume: one patient, one frame of reference, one kind of image."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from pydicom import Dataset

from tfs_rt.errors import InputError
from tfs_rt.formats.dicom.folder import Member
from tfs_rt.formats.dicom.planes import functional_group
from tfs_rt.formats.dicom.source import identity_of

ONE_SERIES = "give the folder of one series, as the scanner exported it"
# The elements that must be the same in all files, by the words for a file in which they are not.
SAME = {
    "has another size than": ("Rows", "Columns"),
    "has another kind of pixels than": (
        *("SamplesPerPixel", "PhotometricInterpretation", "BitsAllocated", "BitsStored", "PixelRepresentation"),
        *("PixelPresentation", "PixelPaddingValue", "PixelPaddingRangeLimit"),
        *("RedPaletteColorLookupTableData", "GreenPaletteColorLookupTableData", "BluePaletteColorLookupTableData"),
    ),
    "has another modality or unit than": ("SOPClassUID", "Modality", "Units"),
    "has another frame of reference than": ("FrameOfReferenceUID",),
}
RESCALE = ("RescaleSlope", "RescaleIntercept", "ModalityLUTSequence")
LOCALIZER = "LOCALIZER"  # in Image Type


def check_agreement(members: Sequence[Member], path: Path) -> None:
    """InputError names the first file that is not of the kind that most are."""
    _check_same(members, "is a localizer, unlike", _is_localizer, path)
    _check_same(members, "is of another patient than", identity_of, path)
    for words, keywords in SAME.items():
        _check_same(members, words, partial(_values, keywords=keywords), path)
    _check_same(members, "has another unit than", _unit, path)
    _check_same(members, "has another kind of rescale than", _rescale, path)


def _check_same(members: Sequence[Member], words: str, value: Callable[[Dataset], Any], path: Path) -> None:
    values = [repr(value(member.dataset)) for member in members]
    ((usual, _),) = Counter(values).most_common(1)
    for member, own in zip(members, values, strict=True):
        if own != usual:
            raise InputError(path, f"{member.label} {words} the others", ONE_SERIES)


def _values(dataset: Dataset, keywords: Sequence[str]) -> list[Any]:
    return [dataset.get(keyword) for keyword in keywords]


def _unit(dataset: Dataset) -> Any:
    return functional_group(dataset, 0, "PixelValueTransformationSequence").get("RescaleType")


def _rescale(dataset: Dataset) -> list[bool]:
    """The elements of the modality transform that are there: a slice without a slope is not one whose slope is 1."""
    group = functional_group(dataset, 0, "PixelValueTransformationSequence")
    return [bool(str(group.get(keyword) or "").strip()) for keyword in RESCALE]


def _is_localizer(dataset: Dataset) -> bool:
    return LOCALIZER in str(dataset.get("ImageType") or "").upper()
