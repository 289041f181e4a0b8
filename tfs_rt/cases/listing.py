"""Listings of folders: their images, by the endings of file names, other files and folders."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tfs_rt.formats.registry import IMAGE_ENDINGS, format_of, is_image

LONGEST_FIRST = sorted(IMAGE_ENDINGS, key=len, reverse=True)
ENDING = re.compile(rf"(?:{'|'.join(map(re.escape, LONGEST_FIRST))})\Z", re.IGNORECASE)
MOST_NAMES = 3  # in a message
# DICOM files often have no ending, or end in a number of their UID: these are known by their content.
NO_ENDING = re.compile(r"[^.]+|.*\.\d+")
DICOM_INDEX = "DICOMDIR"  # a list of DICOM files, itself DICOM


@dataclass(frozen=True, slots=True)
class Listing:
    """The entries of a folder by name, sorted; hidden entries are left out."""

    folder: Path
    # Files with the ending of an image, and DICOM files without one; the content is checked when they are read.
    images: list[str]
    others: list[str]  # other files
    folders: list[str]
    links: frozenset[str]  # those of the folders that are links

    @property
    def names(self) -> list[str]:
        """All entries."""
        return [*self.images, *self.others, *self.folders]


def list_folder(folder: Path) -> Listing:
    """List a folder once; OSError if it cannot be listed."""
    images: list[str] = []
    others: list[str] = []
    folders: list[str] = []
    links: set[str] = set()
    with os.scandir(folder) as entries:
        for entry in entries:
            # Skip hidden entries.
            if entry.name.startswith("."):
                continue
            # Sort the entry by its kind. Links are followed.
            if _is_true(entry.is_dir):
                folders.append(entry.name)
                if entry.is_symlink():
                    links.add(entry.name)
            elif _is_true(entry.is_file):
                is_image = is_image_name(entry.name) or _is_bare_dicom(folder / entry.name)
                names = images if is_image else others
                names.append(entry.name)
    return Listing(folder, sorted(images), sorted(others), sorted(folders), frozenset(links))


def images_in(folder: Path) -> list[Path]:
    """The files of a folder whose names end like images."""
    return [folder / name for name in list_folder(folder).images]


def is_image_name(name: str) -> bool:
    """True if a file name ends like an image."""
    return name.lower().endswith(IMAGE_ENDINGS)


def is_dicom_image(name: str) -> bool:
    """True if one of the images of a listing is DICOM: by its ending, or without one."""
    return not is_image_name(name) or format_of(Path(name)) == "dicom"


def image_stem(name: str) -> str:
    """A file name without the ending of an image; any other name as it is."""
    return ENDING.sub("", name)


def shorten(names: Sequence[str]) -> str:
    """The first names of many, for a message."""
    more = ", ..." if len(names) > MOST_NAMES else ""
    return ", ".join(names[:MOST_NAMES]) + more


def _is_bare_dicom(path: Path) -> bool:
    """True if a file without an ending begins like DICOM. No more than its first bytes are read."""
    return bool(NO_ENDING.fullmatch(path.name)) and path.name != DICOM_INDEX and is_image(path)


def _is_true(test: Callable[[], bool]) -> bool:
    """Run a test of an entry; False if it fails, as for a link to itself or into a forbidden folder."""
    try:
        return test()
    except OSError:
        return False
