"""Folders on the walk through a source, and the ids of the cases in them."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from tfs_rt.cases.listing import Listing, list_folder
from tfs_rt.system.files import fold_name

DEEPEST = 32  # folders below the source
MOST_LINKS = 3  # links to folders on the way to one
TOO_DEEP = f"lies more than {DEEPEST} folders or {MOST_LINKS} links below the source"


@dataclass(frozen=True, slots=True)
class Place:
    """A folder on the walk through a source."""

    folder: Path
    real: str  # its path without links
    case_id: str  # of its case, if it holds one
    prefix: str  # of the ids of cases in it: empty for the source itself
    parents: tuple[str, ...] = ()  # real paths of the folders on the way
    links: int = 0  # on the way

    @property
    def is_too_deep(self) -> bool:
        """True if the walk ends here."""
        return len(self.parents) > DEEPEST or self.links > MOST_LINKS

    @property
    def is_source(self) -> bool:
        """True for the source itself."""
        return not self.parents

    def id_of(self, key: Sequence[str]) -> str:
        """The id of a case in this folder: its key, after the folders' names unless they end so already."""
        own = "_".join(key)
        if not own or f"_{fold_name(self.prefix)}".endswith(f"_{fold_name(own)}"):
            return self.case_id
        return f"{self.prefix}_{own}" if self.prefix else own


def source_place(folder: Path) -> Place:
    """The place of a source itself."""
    return Place(folder, os.path.realpath(folder), folder.name, "")


@dataclass(frozen=True, slots=True)
class Walk:
    """The rules of a walk through a source."""

    skip: Collection[str]  # real paths of folders that are passed over
    any_pair: bool  # accept any two anatomical images
    series_remedy: str  # for DICOM series of an unknown modality
    is_passed_over: Callable[[Path], bool]  # true for a folder that holds no cases by its name

    def places_in(self, place: Place, listing: Listing) -> list[Place]:
        """The folders in a listed folder, without those to pass over and those that lead in a circle."""
        places: list[Place] = []
        parents = (*place.parents, place.real)
        for name in listing.folders:
            # Find where the folder really is, if it is a link.
            folder = listing.folder / name
            is_link = name in listing.links
            real = os.path.realpath(folder) if is_link else os.path.join(place.real, name)  # noqa: PTH118 - a string
            if real in self.skip or real in parents or self.is_passed_over(folder):
                continue
            case_id = f"{place.prefix}_{name}" if place.prefix else name
            places.append(Place(folder, real, case_id, case_id, parents, place.links + is_link))
        return places

    def tree(self, place: Place) -> list[tuple[Place, Listing]]:
        """A folder and all folders below it with their listings; those that cannot be listed are left out."""
        if place.is_too_deep:
            return []
        try:
            listing = list_folder(place.folder)
        except OSError:
            return []
        found = [(place, listing)]
        for inner in self.places_in(place, listing):
            found += self.tree(inner)
        return found
