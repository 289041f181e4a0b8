"""The choice of one series among the images of a folder, and the list of them for messages."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from pydicom import Dataset

from tfs_rt.errors import InputError, printable
from tfs_rt.formats.dicom.folder import Member
from tfs_rt.formats.dicom.planes import functional_group

LONGEST = 24  # characters of a description in a message
SHORTEST = 12  # characters of a UID in a message
LEAST = 3  # letters of a patient's name that are looked for in a description
CHOOSE = "choose one as --series m1=NUMBER or m1=UID (m2, functional), or give a folder that holds one series alone"


class Series(NamedTuple):
    """The images of a folder with one Series Instance UID."""

    uid: str
    number: str  # empty if it has none
    members: list[Member]
    is_scattered: bool = False  # each of its files has a UID of its own


# What must be the same in files that are one series although each has a UID of its own.
ALIKE = (
    *("StudyInstanceUID", "SeriesDescription", "ProtocolName", "ImageType"),
    *("EchoTime", "RepetitionTime", "InversionTime", "ConvolutionKernel"),
)
FEWEST = 3  # slices whose even spacing shows that they are one series


def chosen_series(members: Sequence[Member], wanted: str | None, path: Path) -> Series:
    """The only series, or the one that is `wanted` by its number or the beginning of its UID.

    InputError lists the series if this does not name exactly one.
    """
    found = grouped(members)
    if not found:
        raise InputError(
            path,
            "holds no DICOM image",
            "give the folder that holds the slices themselves: its sub-folders are not read",
        )
    if wanted is None and (scattered := _scattered_series(found)):
        return scattered
    matches = [series for series in found if wanted is None or _is_wanted(series, wanted)]
    if len(matches) == 1:
        return matches[0]
    raise list_error(found, len(matches), wanted, path)


def list_error(found: Sequence[Series], matches: int, wanted: str | None, path: Path) -> InputError:
    """The error that lists the series of a folder, of which so many are the `wanted` one."""
    words = f"holds {len(found)} series" if len(found) > 1 else "holds one series"
    if wanted is not None:
        words = f"has {matches or 'no'} series {wanted!r}, and {words}"
    return InputError(path, f"{words}: {'; '.join(_describe(series, found) for series in found)}", CHOOSE)


def grouped(members: Sequence[Member]) -> list[Series]:
    """The series, by their numbers."""
    groups: dict[str, list[Member]] = defaultdict(list)
    for member in members:
        groups[_text(member.dataset, "SeriesInstanceUID")].append(member)
    found = [Series(uid, _text(group[0].dataset, "SeriesNumber"), group) for uid, group in groups.items()]
    return sorted(found, key=lambda series: (not series.number.isdecimal(), series.number.zfill(LONGEST), series.uid))


def _scattered_series(found: Sequence[Series]) -> Series | None:
    """The series of files that an exporter gave a UID each, None if the files do not look like that.

    If it is one will be seen by its positions.
    """
    members = [series.members[0] for series in found]
    if len(found) < FEWEST or any(len(series.members) > 1 for series in found):
        return None
    headers = {tuple(_text(member.dataset, keyword) for keyword in ALIKE) for member in members}
    is_single = all(_text(member.dataset, "NumberOfFrames") in ("", "1") for member in members)
    return Series("", "", members, is_scattered=True) if is_single and len(headers) == 1 else None


def _is_wanted(series: Series, wanted: str) -> bool:
    if wanted.isdecimal():
        return series.number.isdecimal() and int(series.number) == int(wanted)
    return series.uid.startswith(wanted.removesuffix("..."))  # as messages shorten it


def _describe(series: Series, all_series: Sequence[Series]) -> str:
    """A series in a few words, without the patient's data."""
    first = series.members[0].dataset
    count = sum(_frames(member.dataset) for member in series.members)
    parts = [
        f"{series.number or 'no number'}: {_text(first, 'Modality') or 'no modality'}",
        _description(first),
        f"{count} slice{'s' if count > 1 else ''} of {first.get('Columns')}x{first.get('Rows')}",
        _spacing(first),
        f"UID {_short_uid(series.uid, [one.uid for one in all_series])}",
    ]
    return ", ".join(filter(None, parts))


def _frames(dataset: Dataset) -> int:
    text = _text(dataset, "NumberOfFrames")
    return int(text) if text.isdecimal() else 1


def _spacing(dataset: Dataset) -> str:
    """The distances between columns and rows; the file may not be the one to be read, so that nothing is refused."""
    try:
        rows, columns = functional_group(dataset, 0, "PixelMeasuresSequence").PixelSpacing
        return f"{float(columns):.3g}x{float(rows):.3g} mm"
    except (AttributeError, TypeError, ValueError):
        return "no spacing"


def _description(dataset: Dataset) -> str:
    """The series' description in quotes; none if it holds a part of the patient's name or id."""
    text = printable(_text(dataset, "SeriesDescription"), LONGEST)
    private = re.split(r"[\^=\s]+", f"{_text(dataset, 'PatientName')} {_text(dataset, 'PatientID')}".casefold())
    if any(len(word) >= LEAST and word in text.casefold() for word in private):
        return "description left out"
    return f'"{text}"' if text else ""


def _short_uid(own: str, others: Sequence[str]) -> str:
    """The beginning of a UID, as long as it takes to tell it from the others."""
    for length in range(SHORTEST, len(own)):
        if sum(uid.startswith(own[:length]) for uid in others) == 1:
            return f"{own[:length]}..."
    return own or "unknown"


def _text(dataset: Dataset, keyword: str) -> str:
    value = dataset.get(keyword)
    return "" if value is None else str(value).strip(" \0")
