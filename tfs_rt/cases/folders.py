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

from tfs_rt.cases import nnunet
from tfs_rt.cases.case import FoundCase, Problem
from tfs_rt.cases.listing import Listing, list_folder
from tfs_rt.cases.modalities import MODALITIES, any_modality, modality_of_name
from tfs_rt.cases.pairing import LIST_IT, Candidate, pair
from tfs_rt.cases.source import Source, SourceKind
from tfs_rt.errors import UsageError
from tfs_rt.output.bids_derivative import DESCRIPTION
from tfs_rt.output.folder import REPORT, SHEETS, SPREAD
from tfs_rt.output.marks import is_result_folder

DEEPEST = 32  # folders below the source
MOST_LINKS = 3  # links to folders on the way to one
BESIDE = (".json", ".txt", ".csv", ".tsv", ".xml", ".md", ".log")  # endings of files that may lie beside images
NAMING = (
    f"name files by modality ({', '.join(MODALITIES)}), with the ending of their format (.dcm for DICOM), "
    "or give a CSV with id,m1,m2,functional"
)
LABELS = ("labelsTr", "labelsTs")  # of an nnU-Net dataset: segmentations, not images
MIXED = "holds images of one case and folders of others"


@dataclass(frozen=True, slots=True)
class Place:
    """A folder on the walk through a source."""

    folder: Path
    real: str  # its path without links
    case_id: str  # of its case, if it holds one
    parents: tuple[str, ...] = ()  # real paths of the folders on the way
    links: int = 0  # on the way


@dataclass(frozen=True, slots=True)
class Subfolders:
    """The folders in a folder, by what is done with them."""

    # Names of folders that look like a series of slices of one modality.
    series: list[str]
    places: list[Place]  # the others, to walk into


def _recognises(source: Source) -> bool:
    return source.path.is_dir()


def _find_cases(source: Source) -> Iterator[FoundCase]:
    skip: set[str] = set()
    if source.output:
        skip = {str(path) for path in (source.output, source.output / SHEETS, source.output / SPREAD)}
    for candidate in _candidates(source, skip):
        yield pair(candidate, NAMING, any_pair=source.any_pair)


def _candidates(source: Source, skip: Collection[str]) -> Iterator[Candidate]:
    """All case folders of a source, or the source itself if it is one.

    `skip` holds real paths of folders that are passed over. UsageError if the source is a case and holds cases.
    """
    listing = source.listing
    place = Place(source.path, os.path.realpath(source.path), source.path.name)
    subfolders = _subfolders(listing, replace(place, case_id=""), skip)

    # The source is a case folder.
    if any_modality(listing.images):
        inner_cases = _names_of_cases(subfolders.places)
        if inner_cases:
            raise UsageError(source.path, f"{MIXED} ({inner_cases[0]})", "move the images into a folder")
        yield _case_folder(place, listing, subfolders.series)
        return

    # The source holds case folders.
    if problem := _misplaced(listing, subfolders.series):
        yield Candidate(source.path.name, source.path, problem=problem)
    for inner in subfolders.places:
        yield from _below(inner, skip)


def _below(place: Place, skip: Collection[str]) -> list[Candidate]:
    """The case folders in a folder below the source, or the folder itself if it is one."""
    if len(place.parents) > DEEPEST or place.links > MOST_LINKS:
        reason = f"lies more than {DEEPEST} folders or {MOST_LINKS} links below the source"
        return [_refused(place, reason, "give this folder itself as a source")]
    try:
        listing = list_folder(place.folder)
    except OSError as error:
        return [_refused(place, f"cannot be read ({error.strerror})", "check its permissions")]

    # A case folder, results of an earlier run, or a dataset that has to be a source of its own.
    subfolders = _subfolders(listing, place, skip)
    if any_modality(listing.images):
        return [_case_folder(place, listing, subfolders.series, subfolders.places)]
    if REPORT in listing.others or is_result_folder(place.folder, listing.images):
        return []
    if DESCRIPTION in listing.others:
        return [_refused(place, "is a BIDS dataset", "give it as a source of its own")]

    # A folder of case folders.
    candidates = [candidate for inner in subfolders.places for candidate in _below(inner, skip)]
    holds_cases = any(candidate.images for candidate in candidates)
    candidates += _own_candidate(place, listing, subfolders.series, holds_cases)
    return candidates


def _own_candidate(place: Place, listing: Listing, series: list[str], holds_cases: bool) -> list[Candidate]:
    """The folder itself as a candidate that will be refused; none if its files may lie beside case folders."""
    if problem := _misplaced(listing, series):
        return [Candidate(place.case_id, place.folder, problem=problem)]
    if listing.images and not holds_cases:
        problem = _nnunet_problem(listing)
        return [Candidate(place.case_id, place.folder, other_images=listing.images, problem=problem)]
    return []


def _refused(place: Place, reason: str, remedy: str) -> Candidate:
    return Candidate(place.case_id, place.folder, problem=Problem(reason, remedy))


def _case_folder(place: Place, listing: Listing, series: list[str], inner: Collection[Place] = ()) -> Candidate:
    """The candidate of a folder that holds images named by modality."""
    images: dict[str, list[Path]] = {}
    other_images: list[str] = []
    for name in listing.images:
        if modality := modality_of_name(name):
            images.setdefault(modality, []).append(listing.folder / name)
        else:
            other_images.append(name)
    problem = None
    if inner_cases := _names_of_cases(inner):
        remedy = f"move the images into a folder, or {LIST_IT}"
        problem = Problem(f"{MIXED} ({', '.join(inner_cases)})", remedy)
    hint = _misplaced(listing, series, images)
    return Candidate(place.case_id, place.folder, images, other_images, problem, hint)


def _nnunet_problem(listing: Listing) -> Problem | None:
    """The problem of nnU-Net names, which count in a source itself alone; None if there are none."""
    if not nnunet.any_name(listing.images):
        return None
    reason = "holds images with nnU-Net names below the source"
    return Problem(reason, f"give {listing.folder} itself as a source")


def _misplaced(listing: Listing, series: Collection[str], present: Collection[str] = ()) -> Problem | None:
    """The problem of folders and files that are named by a modality without being its image; None if there are none.

    `present` holds the modalities that have an image.
    """
    missing = [name for name in series if modality_of_name(name) not in present]
    if missing:
        reason = f"holds folders instead of files ({', '.join(missing)})"
        remedy = "give one file for each modality: turn a series into NIfTI (dcm2niix) or one multi-frame DICOM"
        return Problem(reason, remedy)
    unknown = [name for name in listing.others if _is_of_missing_modality(name, present)]
    if unknown:
        reason = f"holds files whose format their ending does not say ({', '.join(unknown)})"
        return Problem(reason, "give the files the ending of their format, .dcm for DICOM")
    return None


def _is_of_missing_modality(name: str, present: Collection[str]) -> bool:
    """True for a file such as `ct.ima` or `ct`, if there is no image of that modality."""
    stem, ending = os.path.splitext(name)  # noqa: PTH122 - a string
    modality = modality_of_name(stem)
    return modality is not None and modality not in present and ending.lower() not in BESIDE


def _subfolders(listing: Listing, place: Place, skip: Collection[str]) -> Subfolders:
    """The folders in a listed folder, without those to pass over and those that lead in a circle."""
    series: list[str] = []
    places: list[Place] = []
    parents = (*place.parents, place.real)
    for name in listing.folders:
        # Find where the folder really is, if it is a link.
        folder = listing.folder / name
        is_link = name in listing.links
        real = os.path.realpath(folder) if is_link else os.path.join(place.real, name)  # noqa: PTH118 - a string
        # Skip a folder to pass over, a circle of links, and a label's folder without a case.
        is_skipped = real in skip or real in parents
        if is_skipped or (name in LABELS and not _holds_a_case(folder)):
            continue
        # A DICOM series belongs to this folder's case; any other folder is a place of its own.
        if modality_of_name(name) and _is_series(folder):
            series.append(name)
        else:
            case_id = f"{place.case_id}_{name}" if place.case_id else name
            places.append(Place(folder, real, case_id, parents, place.links + is_link))
    return Subfolders(series, places)


def _names_of_cases(places: Collection[Place]) -> list[str]:
    """The names of the folders that are case folders."""
    return [place.folder.name for place in places if _holds_a_case(place.folder)]


def _is_series(folder: Path) -> bool:
    """True if a folder named by a modality looks like a series: it holds files, none of them named by modality."""
    try:
        listing = list_folder(folder)
    except OSError:
        return False
    holds_files = bool(listing.images or listing.others)
    if not holds_files or any_modality(listing.images):
        return False
    return not any(_holds_a_case(folder / name) for name in listing.folders)


def _holds_a_case(folder: Path) -> bool:
    """True if a folder holds an image named by modality; False if it cannot be listed."""
    try:
        return any_modality(list_folder(folder).images)
    except OSError:
        return False


FOLDERS = SourceKind(name="folder", naming_remedy=NAMING, recognises=_recognises, find_cases=_find_cases)
