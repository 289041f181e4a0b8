"""A folder for each modality: what has the same name in each of them is one case.

    SOURCE/CT/001.png, MR/001.png, PET/001.png           the case 001
    SOURCE/CT/p1/001.png, MR/p1/001.png, ...             the case p1_001
    SOURCE/p1/ct/*.dcm, mr-t2/*.dcm, pet/*.dcm           the case p1, of three DICOM series
    SOURCE/CT/p1/*.dcm, MR/p1/*.dcm, PET/p1/*.dcm        the case p1, of three DICOM series

A folder with several DICOM files is one image, a series; files of all other formats are an image each. Only names pair
images: capitals, endings and Unicode forms do not matter, and positions never count.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from tfs_rt.cases.case import Problem
from tfs_rt.cases.listing import Listing, image_stem, is_dicom_image
from tfs_rt.cases.modalities import (
    ANATOMICAL,
    AS_T2,
    FUNCTIONAL,
    PLAIN_MR,
    exact_modality,
    is_called_by_modality,
    modality_of_name,
    parse,
)
from tfs_rt.cases.pairing import LIST_IT, Candidate, is_whole, may_hold_a_case
from tfs_rt.cases.places import Place, Walk
from tfs_rt.system.files import fold_name

Key = tuple[str, ...]
ONE_KIND = "keep the DICOM series or the other images in it"


class Image(NamedTuple):
    """An image in a folder of one modality: a file, or a folder with a DICOM series."""

    path: Path
    key: Key  # names of folders below the modality's folder, and the file's stem
    folder: Path  # the modality's
    modality: str  # by the folder's name


@dataclass(frozen=True, slots=True)
class ModalityFolder:
    """A folder that is named by a modality, and all folders below it."""

    place: Place
    modality: str
    tree: list[tuple[Place, Listing]]

    @property
    def is_called_by_it_alone(self) -> bool:
        """True if no other word is in its name."""
        return is_called_by_modality(self.place.folder.name)

    @property
    def problem(self) -> Problem | None:
        """The problem of a folder with DICOM files and other images; None if there are none."""
        for place, listing in self.tree:
            dicoms = [name for name in listing.images if is_dicom_image(name)]
            if 0 < len(dicoms) < len(listing.images):
                name = place.folder.relative_to(self.place.folder.parent).as_posix()
                other = next(name for name in listing.images if name not in dicoms)
                return Problem(f"{name} holds DICOM ({dicoms[0]}) and other images ({other})", ONE_KIND)
        return None

    def images(self) -> Iterator[Image]:
        """Its images: one for each folder of DICOM files, and each other file."""
        for place, listing in self.tree:
            above = place.folder.relative_to(self.place.folder).parts
            dicoms = [name for name in listing.images if is_dicom_image(name)]
            if dicoms:
                path = place.folder if len(dicoms) > 1 else place.folder / dicoms[0]
                yield Image(path, above, self.place.folder, self.modality)
                continue
            for name in listing.images:
                yield Image(place.folder / name, (*above, image_stem(name)), self.place.folder, self.modality)


def modality_folders(places: Sequence[Place], walk: Walk) -> list[ModalityFolder]:
    """The folders that hold images of the modality that they are named by. Folders of cases are not among them."""
    found: list[ModalityFolder] = []
    for place in places:
        modality = modality_of_name(place.folder.name)
        tree = walk.tree(place) if modality else []
        if modality and any(listing.images for _, listing in tree) and not _holds_cases(tree, modality):
            found.append(ModalityFolder(place, modality, tree))
    return found


def _holds_cases(tree: Sequence[tuple[Place, Listing]], modality: str) -> bool:
    """True if a folder below one named by a modality holds images of other modalities, too."""
    for _, listing in tree:
        names = [*listing.images, *listing.folders]
        if any((exact := exact_modality(name)) and not _fits(modality, exact) for name in names):
            return True
        named = {found for name in names if (found := modality_of_name(name))}
        if not named.isdisjoint(FUNCTIONAL) and not named.isdisjoint((*ANATOMICAL, *AS_T2)):
            return True
    return False


def candidates(place: Place, folders: Sequence[ModalityFolder], beside: Collection[str], walk: Walk) -> list[Candidate]:
    """A candidate for each name in the folders of modalities in a folder; the folder's own has no key.

    `beside` holds the modalities of images beside these folders, which may complete its own.
    """
    folders = _preferred(folders)
    if problem := next((folder.problem for folder in folders if folder.problem), None):
        return [Candidate(place.case_id, place.folder, problem=problem)]

    # Group the images by key.
    images = [image for folder in folders for image in folder.images()]
    homes: dict[Key, set[Path]] = {}
    for image in images:
        homes.setdefault(_fold(image.key), set()).add(image.folder)
    groups: dict[Key, list[Image]] = {}
    for image in images:
        is_shared = len(homes[_fold(image.key)]) > 1
        named = image if is_shared else _without_modality(image)
        if named:
            groups.setdefault(_fold(named.key), []).append(named)
    found = [_candidate(place, group) for group in _joined(place, groups, walk)]

    # Report folders that cannot hold a case as one problem.
    modalities = {*beside, *(modality for candidate in found for modality in candidate.images)}
    if not may_hold_a_case(modalities, any_pair=walk.any_pair) or not found:
        by_modality: dict[str, list[Path]] = {}
        for folder in folders:
            by_modality.setdefault(folder.modality, []).append(folder.place.folder)
        return [Candidate(place.case_id, place.folder, by_modality)]
    if not beside and not any(is_whole(candidate, any_pair=walk.any_pair) for candidate in found):
        return _unpaired(place, folders, found, walk)
    return found


def _joined(place: Place, groups: dict[Key, list[Image]], walk: Walk) -> list[list[Image]]:
    """The groups of images. Those without a key are one with those of a single key, if they are no whole case."""
    bare = groups.get(())
    if bare and len(groups) == 2 and not is_whole(_candidate(place, bare), any_pair=walk.any_pair):
        (keyed,) = (group for key, group in groups.items() if key)
        return [[*bare, *keyed]]
    return list(groups.values())


def _unpaired(place: Place, folders: Sequence[ModalityFolder], found: list[Candidate], walk: Walk) -> list[Candidate]:
    """The candidates of folders in which no image has all its partners. If no names are alike, there is one problem."""
    if any(len(candidate.images) > 1 for candidate in found):
        return found
    firsts = [image.path for folder in folders if (image := next(folder.images(), None))]
    names = ", ".join(path.relative_to(place.folder).as_posix() for path in firsts)
    reason = f"no name is the same in the folders of its modalities ({names}, ...)"
    is_series = any(path.is_dir() for path in firsts)
    other_way = walk.series_remedy if is_series else LIST_IT
    remedy = f"give the images of a case the same name in each folder, or {other_way}"
    return [Candidate(place.case_id, place.folder, problem=Problem(reason, remedy))]


def _preferred(folders: Sequence[ModalityFolder]) -> list[ModalityFolder]:
    """The folders without those of a longer name beside one that is called by the modality alone."""
    counts = Counter(folder.modality for folder in folders if folder.is_called_by_it_alone)
    return [folder for folder in folders if folder.is_called_by_it_alone or not counts[folder.modality]]


def _without_modality(image: Image) -> Image | None:
    """An image whose names in its key may repeat its modality, or say it better; None if it is no such image."""
    key: list[str] = []
    modality = image.modality
    for part in image.key:
        name = parse(part)
        if name.is_something_else:
            return None
        named = exact_modality(part) or name.modality
        if not named or not _fits(image.modality, named):
            key.append(part)
            continue
        modality = modality if named == PLAIN_MR else named
        if name.rest and not exact_modality(part):
            key.append(name.rest)
    return image._replace(key=tuple(key), modality=modality)


def _fits(modality: str, named: str) -> bool:
    """True if an image in a folder of one modality may be named by another: MR without a contrast is any MR."""
    both_mr = modality.startswith(PLAIN_MR) and named.startswith(PLAIN_MR)
    return named == modality or (both_mr and PLAIN_MR in (modality, named))


def _fold(key: Key) -> Key:
    return tuple(map(fold_name, key))


def _candidate(place: Place, group: Sequence[Image]) -> Candidate:
    images: dict[str, list[Path]] = {}
    for image in group:
        images.setdefault(image.modality, []).append(image.path)
    return Candidate(place.id_of(group[0].key), place.folder, images)
