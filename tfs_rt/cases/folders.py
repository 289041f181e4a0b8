"""Folders of cases at any depth below a source. Names say what belongs together.

    SOURCE/p1/mr-t1.png, mr-t2.png, pet.png          the case p1: images named by modality (`named_images`)
    SOURCE/p1/s1/mr-t1.png, mr-t2.png, pet.png       the case p1_s1
    SOURCE/CT/001.png, MR/001.png, PET/001.png       the case 001: a folder for each modality (`modality_folders`)

A case's id is its path below the source, joined by underscores: it depends on no other case. Every folder is listed
a few times at most. Links to folders are followed, but never in a circle.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from tfs_rt.cases import modality_folders, named_images, nnunet
from tfs_rt.cases.bids import BIDS, dataset_of
from tfs_rt.cases.case import FoundCase, Problem
from tfs_rt.cases.listing import Listing, image_stem, is_dicom_image, list_folder, shorten
from tfs_rt.cases.modalities import (
    MODALITIES,
    any_exact,
    any_modality,
    is_called_by_modality,
    is_called_something_else,
    modality_of_name,
    parse,
)
from tfs_rt.cases.pairing import LIST_IT, Candidate, is_whole, pair
from tfs_rt.cases.places import TOO_DEEP, Place, Walk, source_place
from tfs_rt.cases.source import Source, SourceKind
from tfs_rt.errors import UsageError
from tfs_rt.output.bids_derivative import DESCRIPTION
from tfs_rt.output.folder import REPORT, SHEETS, SPREAD
from tfs_rt.output.marks import is_result_folder

BESIDE = (".json", ".txt", ".csv", ".tsv", ".xml", ".md", ".log")  # endings of files that may lie beside images
NAMING = (
    f"name files or folders by modality, as p1_ct.png ({', '.join(MODALITIES)}), "
    "with the ending of their format (.dcm for DICOM), or give a CSV with id,m1,m2,functional"
)
LABELS = ("labelsTr", "labelsTs")  # of an nnU-Net dataset: segmentations, not images
MIXED = "holds images of one case and folders of others"
BY_OPTIONS = "give each series as --m1 DIR --m2 DIR --functional DIR (--series chooses one of several in a folder)"
BY_NAMES = f"name the folder of each series by its modality, or {LIST_IT}"


@dataclass(frozen=True, slots=True)
class Found(Candidate):
    """A candidate of this walk that is no case folder."""

    is_unknown_series: bool = False  # DICOM files of an unknown modality
    is_dataset: bool = False  # a BIDS dataset


def _recognises(source: Source) -> bool:
    return source.path.is_dir()


def _find_cases(source: Source) -> Iterator[FoundCase]:
    candidates = _source_candidates(source)
    # A BIDS dataset that is all there is below the source is read in its place.
    if len(candidates) == 1 and isinstance(candidates[0], Found) and candidates[0].is_dataset:
        yield from BIDS.find_cases(replace(source, path=candidates[0].folder))
        return
    for candidate in candidates:
        yield pair(candidate, NAMING, any_pair=source.any_pair)


def _source_candidates(source: Source) -> list[Candidate]:
    """All case folders of a source, or the source itself if it is one; UsageError if it is a case and holds cases."""
    skip: set[str] = set()
    if source.output:
        skip = {str(path) for path in (source.output, source.output / SHEETS, source.output / SPREAD)}
    series_remedy = BY_OPTIONS if source.has_options else BY_NAMES
    walk = Walk(skip, source.any_pair, series_remedy, _is_label_folder)
    place = source_place(source.path)
    places = walk.places_in(place, source.listing)
    if any_exact(source.listing.images) and (inner := _names_of_cases(places)):
        raise UsageError(source.path, f"{MIXED} ({inner[0]})", "move the images into a folder")
    return _candidates_in(place, source.listing, places, walk)


def _below(place: Place, walk: Walk) -> list[Candidate]:
    """The case folders in a folder below the source, or the folder itself if it is one."""
    if place.is_too_deep:
        return [_refused(place, TOO_DEEP, "give this folder itself as a source")]
    try:
        listing = list_folder(place.folder)
    except OSError as error:
        return [_refused(place, f"cannot be read ({error.strerror})", "check its permissions")]

    # Results of an earlier run, or a dataset that has to be a source of its own.
    is_case = any_exact(listing.images)
    if not is_case and (REPORT in listing.others or is_result_folder(place.folder, listing.names)):
        return []
    if not is_case and _is_dataset(listing):
        problem = Problem("is a BIDS dataset", "give it as a source of its own")
        return [Found(place.case_id, place.folder, problem=problem, is_dataset=True)]

    places = walk.places_in(place, listing)
    if is_case and (inner := _names_of_cases(places)):
        reason = f"{MIXED} ({', '.join(inner)})"
        return [_refused(place, reason, f"move the images into a folder, or {LIST_IT}")]
    return _candidates_in(place, listing, places, walk)


def _candidates_in(place: Place, listing: Listing, places: list[Place], walk: Walk) -> list[Candidate]:
    """The candidates in a listed folder, and in the folders `places` in it."""
    # At the source, images with nnU-Net names are read by the kind for them.
    names = listing.images
    if place.is_source and nnunet.is_folder(names):
        names = [name for name in names if not nnunet.NAME.fullmatch(image_stem(name))]

    # Images named by modality, and folders named by modality.
    own = named_images.candidates(place, names, any_pair=walk.any_pair) if any_modality(names) else []
    folders = modality_folders.modality_folders(places, walk)
    by_folder: list[Candidate] = []
    if folders:
        beside = {modality for candidate in own for modality in candidate.images}
        by_folder = modality_folders.candidates(place, folders, beside, walk)
    own, by_folder = _completed(own, by_folder, any_pair=walk.any_pair)
    own = [replace(candidate, hint=_misplaced(listing, candidate.images)) for candidate in own]

    # A folder with files that are called exactly by modality is a case, whatever lies beside them.
    if any_exact(names):
        return own

    # Look into the other folders.
    taken = {folder.place for folder in folders}
    others = [other for other in places if other not in taken]
    inner = _candidates_below(others, [*own, *by_folder], walk, beside_folders=bool(by_folder))

    # Beside what they hold, only whole cases count.
    if any(candidate.images for candidate in [*by_folder, *inner]):
        own = [candidate for candidate in own if is_whole(candidate, any_pair=walk.any_pair)]
    elif not own and not by_folder:
        own = _unnamed(place, names, walk)
    if not own and (problem := _misplaced(listing)):
        own = [Candidate(place.case_id, place.folder, problem=problem)]
    return _with_unknown_series(place, [*own, *by_folder], inner, walk)


def _candidates_below(
    places: list[Place], found: list[Candidate], walk: Walk, *, beside_folders: bool
) -> list[Candidate]:
    """The candidates in folders. Folders of masks and the like count only if there are no images of modalities else.

    `found` holds the candidates beside the folders; `beside_folders` is true if some are of modalities' folders.
    """
    if beside_folders:
        places = [place for place in places if not parse(place.folder.name).is_something_else]
    made = [place for place in places if is_called_something_else(place.folder.name)]
    inner = [candidate for place in places if place not in made for candidate in _below(place, walk)]
    if not any(candidate.images for candidate in [*found, *inner]):
        inner += [candidate for place in made for candidate in _below(place, walk)]
    return inner


def _completed(
    own: list[Candidate], by_folder: list[Candidate], *, any_pair: bool
) -> tuple[list[Candidate], list[Candidate]]:
    """A folder's own case with the images that it lacks from the folders of their modalities, and the other cases."""
    if len(own) != 1 or is_whole(own[0], any_pair=any_pair):
        return own, by_folder
    rest: list[Candidate] = []
    (case,) = own
    for candidate in by_folder:
        if candidate.id == case.id:
            case = replace(case, images={**candidate.images, **case.images})
        else:
            rest.append(candidate)
    return [case], rest


def _unnamed(place: Place, names: list[str], walk: Walk) -> list[Candidate]:
    """The refused candidate of a folder whose images are not named by modality; none if they may lie there."""
    if names and all(map(is_dicom_image, names)):
        reason = f"holds DICOM files whose names do not say their modality ({shorten(names)})"
        problem = Problem(reason, walk.series_remedy)
        return [Found(place.case_id, place.folder, problem=problem, is_unknown_series=True)]
    if not names or place.is_source:
        return []
    problem = None
    if nnunet.any_name(names):
        reason = "holds images with nnU-Net names below the source"
        problem = Problem(reason, f"give {place.folder} itself as a source")
    return [Candidate(place.case_id, place.folder, other_images=names, problem=problem)]


def _with_unknown_series(place: Place, own: list[Candidate], inner: list[Candidate], walk: Walk) -> list[Candidate]:
    """All candidates of a folder. Folders of unknown DICOM series are one problem, unless they lie among cases."""
    unknown = [found for found in inner if isinstance(found, Found) and found.is_unknown_series]
    rest = [found for found in inner if found not in unknown]
    if not unknown or any(candidate.images for candidate in rest):
        return [*own, *inner]

    # They may be what the folder's own case lacks.
    names = [found.folder.relative_to(place.folder).as_posix() for found in unknown]
    if any(candidate.id == place.case_id and candidate.images for candidate in own):
        return [replace(candidate, other_images=[*candidate.other_images, *names]) for candidate in own] + rest
    if own:
        return [*own, *inner]
    reason = f"holds DICOM series in folders whose names do not say their modality ({shorten(names)})"
    return [Candidate(place.case_id, place.folder, problem=Problem(reason, walk.series_remedy)), *rest]


def _refused(place: Place, reason: str, remedy: str) -> Candidate:
    return Candidate(place.case_id, place.folder, problem=Problem(reason, remedy))


def _misplaced(listing: Listing, present: Collection[str] = ()) -> Problem | None:
    """The problem of files that are called by a modality without being its image; None if there are none.

    `present` holds the modalities that have an image.
    """
    unknown = [name for name in listing.others if _is_of_missing_modality(name, present)]
    if not unknown:
        return None
    reason = f"holds files whose format neither their ending nor their content says ({', '.join(unknown)})"
    return Problem(reason, "convert them to PNG or NIfTI, or give the files the ending of their format, .dcm for DICOM")


def _is_of_missing_modality(name: str, present: Collection[str]) -> bool:
    """True for a file such as `ct.dat` or `t1`, if there is no image of that modality."""
    stem, ending = os.path.splitext(name)  # noqa: PTH122 - a string
    modality = modality_of_name(stem) if is_called_by_modality(stem) else None
    return modality is not None and modality not in present and ending.lower() not in BESIDE


def _is_dataset(listing: Listing) -> bool:
    """True if a listed folder is a BIDS dataset."""
    if DESCRIPTION in listing.others:
        return True
    return any(name.startswith("sub-") for name in listing.folders) and dataset_of(listing.folder) == listing.folder


def _is_label_folder(folder: Path) -> bool:
    """True for a folder of nnU-Net's segmentations that is no case."""
    return folder.name in LABELS and not _holds_a_case(folder)


def _names_of_cases(places: Collection[Place]) -> list[str]:
    """The names of the folders whose files are called exactly by modality."""
    return [place.folder.name for place in places if _holds_a_case(place.folder)]


def _holds_a_case(folder: Path) -> bool:
    """True if a folder holds an image that is called exactly by a modality; False if it cannot be listed."""
    try:
        return any_exact(list_folder(folder).images)
    except OSError:
        return False


FOLDERS = SourceKind(name="folder", naming_remedy=NAMING, recognises=_recognises, find_cases=_find_cases)
