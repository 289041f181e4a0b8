"""Case folders at any depth below a source: a folder for each case, its images named by modality.

    SOURCE/p1/mr-t1.png, mr-t2.png, pet.png          the case p1
    SOURCE/p1/s1/mr-t1.png, mr-t2.png, pet.png       the case p1_s1

A case's id is its path below the source, joined by underscores: it depends on no other case. Every folder is listed
once. Links to folders are followed, but never in a circle.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from tfs_rt.cases.names import NNUNET, Candidate, Listing, list_folder, modality_named, stem_of_name
from tfs_rt.errors import UsageError
from tfs_rt.output.folder import REPORT

DEEPEST, MOST_LINKS = 32, 3  # folders below the source, and links to folders on the way to one
DATASET = "dataset_description.json"  # the mark of a BIDS dataset
BESIDE = (".json", ".txt", ".csv", ".tsv", ".xml", ".md", ".log")  # endings of what lies beside images
NAMING = (
    "name files by modality (ct, mr-t1, mr-t2, mr-gad, mr-pd, pet, spect), with the ending of their format (.dcm for "
    "DICOM), or give a CSV with id,m1,m2,functional"
)
LABELS = ("labelsTr", "labelsTs")  # of an nnU-Net dataset: segmentations, which are no images
MIXED = "holds images of one case and folders of others"


@dataclass(frozen=True, slots=True)
class _Place:
    """A folder on the walk."""

    folder: Path
    real: str  # its path without links
    id: str  # of its case, if it holds one
    above: tuple[str, ...] = ()  # real paths of the folders on the way
    links: int = 0  # on the way


def case_folders(source: Path, top: Listing, skip: Collection[str]) -> Iterator[Candidate]:
    """All case folders of a source that was listed, or the source itself if it is one.

    `skip` holds real paths of folders that are passed over. UsageError if the source is a case and holds cases.
    """
    place = _Place(source, os.path.realpath(source), source.name)
    series, inner = _split(top, replace(place, id=""), skip)
    if top.named_by_modality():
        if mixed := [path for path in inner if _holds_a_case(path.folder)]:
            raise UsageError(source, f"{MIXED} ({mixed[0].folder.name})", "move the images into a folder")
        yield _case_folder(place, top, series)
        return
    if stray := _stray(top, series):
        yield Candidate(source.name, source, problem=stray)
    for path in inner:
        yield from _below(path, skip)


def _below(place: _Place, skip: Collection[str]) -> list[Candidate]:
    """The case folders in a folder below the source, itself among them."""
    if len(place.above) > DEEPEST or place.links > MOST_LINKS:
        reason = f"lies more than {DEEPEST} folders or {MOST_LINKS} links below the source"
        return [Candidate(place.id, place.folder, problem=(reason, "give this folder itself as a source"))]
    try:
        listing = list_folder(place.folder)
    except OSError as error:
        reason = f"cannot be read ({error.strerror})"
        return [Candidate(place.id, place.folder, problem=(reason, "check its permissions"))]
    series, inner = _split(listing, place, skip)
    if listing.named_by_modality():
        return [_case_folder(place, listing, series, inner)]
    if REPORT in listing.others:
        return []  # results of an earlier run
    if DATASET in listing.others:
        return [Candidate(place.id, place.folder, problem=("is a BIDS dataset", "give it as a source of its own"))]
    found = [candidate for path in inner for candidate in _below(path, skip)]
    if stray := _stray(listing, series):
        found.append(Candidate(place.id, place.folder, problem=stray))
    elif listing.images and not any(candidate.present for candidate in found):
        found.append(Candidate(place.id, place.folder, problem=_channels(listing)))  # files with other names
    return found


def _channels(listing: Listing) -> tuple[str, str] | None:
    """A problem with nnU-Net names, which are taken in a source itself alone: (reason, remedy)."""
    if not any(NNUNET.fullmatch(stem_of_name(name)) for name in listing.images):
        return None
    return "holds images with nnU-Net names below the source", f"give {listing.folder} itself as a source"


def _split(listing: Listing, place: _Place, skip: Collection[str]) -> tuple[list[str], list[_Place]]:
    """A listed folder's folders: those that are series of one modality, and those to walk into."""
    series: list[str] = []
    inner: list[_Place] = []
    above = (*place.above, place.real)
    for name in listing.folders:
        folder = listing.folder / name
        is_link = name in listing.linked
        real = os.path.realpath(folder) if is_link else os.path.join(place.real, name)  # noqa: PTH118 - a string
        if real in skip or real in above or (name in LABELS and not _holds_a_case(folder)):
            continue
        if modality_named(name) and _is_series(folder):
            series.append(name)
        else:
            case_id = f"{place.id}_{name}" if place.id else name
            inner.append(_Place(folder, real, case_id, above, place.links + is_link))
    return series, inner


def _case_folder(place: _Place, listing: Listing, series: list[str], inner: Collection[_Place] = ()) -> Candidate:
    present: dict[str, list[Path]] = {}
    for name in listing.images:
        if modality := modality_named(name):
            present.setdefault(modality, []).append(listing.folder / name)
    problem = None
    if mixed := [path.folder.name for path in inner if _holds_a_case(path.folder)]:
        remedy = "move the images into a folder, or list the case in a CSV with id,m1,m2,functional"
        problem = f"{MIXED} ({', '.join(mixed)})", remedy
    return Candidate(place.id, place.folder, present, problem, _stray(listing, series, present))


def _stray(listing: Listing, series: Collection[str], present: Collection[str] = ()) -> tuple[str, str] | None:
    """A problem with things named by a modality of which no image is present: (reason, remedy)."""
    if missing := [name for name in series if modality_named(name) not in present]:
        reason = f"holds folders instead of files ({', '.join(missing)})"
        return reason, "one file a modality: turn the series into NIfTI (dcm2niix) or one multi-frame DICOM"
    odd = []
    for name in listing.others:
        stem, ending = os.path.splitext(name)  # noqa: PTH122 - a string
        named = modality_named(stem)
        if named and named not in present and ending.lower() not in BESIDE:
            odd.append(name)
    if odd:
        reason = f"holds files whose format their ending does not say ({', '.join(odd)})"
        return reason, "give the files the ending of their format, .dcm for DICOM"
    return None


def _is_series(folder: Path) -> bool:
    """True if a folder named by a modality looks like a series: one file for each slice."""
    try:
        listing = list_folder(folder)
    except OSError:
        return False
    holds_files = bool(listing.images or listing.others)
    return (
        holds_files
        and not listing.named_by_modality()
        and not any(_holds_a_case(folder / name) for name in listing.folders)
    )


def _holds_a_case(folder: Path) -> bool:
    try:
        return list_folder(folder).named_by_modality()
    except OSError:
        return False
