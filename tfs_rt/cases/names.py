"""File names: which are images, which modality they name, and one listing of a folder."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tfs_rt.formats.registry import IMAGE_ENDINGS

ENDING = re.compile(rf"(?:{'|'.join(map(re.escape, sorted(IMAGE_ENDINGS, key=len, reverse=True)))})\Z", re.IGNORECASE)
NNUNET = re.compile(r"(?P<id>.+)_(?P<channel>\d{4})")  # a name without its ending
ANATOMICAL = ("ct", "mr-t1", "mr-gad", "mr-pd", "mr-t2")  # in slot order: mr-t2 is m2 in every published group
FUNCTIONAL = ("pet", "spect")
MODALITIES = (*ANATOMICAL, *FUNCTIONAL)


@dataclass(frozen=True, slots=True)
class Listing:
    """A folder's entries by name, in order; hidden ones are left out."""

    folder: Path
    images: list[str]  # files with the ending of an image; a wrong kind is refused later, by its content
    others: list[str]  # other files
    folders: list[str]
    linked: frozenset[str]  # those of the folders that are links

    def named_by_modality(self) -> bool:
        """True if any image is named by a modality."""
        return any(map(modality_named, self.images))


@dataclass(frozen=True, slots=True)
class Candidate:
    """Images that may be one case, by modality."""

    id: str
    folder: Path
    present: dict[str, list[Path]] = field(default_factory=dict)
    problem: tuple[str, str] | None = None  # (reason, remedy): it is not a case whatever the images are
    hint: tuple[str, str] | None = None  # (reason, remedy) that explains best why images are missing, if any are


def list_folder(folder: Path) -> Listing:
    """List a folder once; OSError if it cannot be listed."""
    images, others, folders, linked = list[str](), list[str](), list[str](), set[str]()
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if _holds(entry.is_dir):
                folders.append(entry.name)
                if entry.is_symlink():
                    linked.add(entry.name)
            elif _holds(entry.is_file):
                (images if entry.name.lower().endswith(IMAGE_ENDINGS) else others).append(entry.name)
    return Listing(folder, sorted(images), sorted(others), sorted(folders), frozenset(linked))


def images_in(folder: Path) -> list[Path]:
    """The files of a folder that look like images by their ending."""
    return [folder / name for name in list_folder(folder).images]


def stem_of(file: Path) -> str:
    """A file's name without its ending, if that is an image's."""
    return stem_of_name(file.name)


def stem_of_name(name: str) -> str:
    """A name without its ending, if that is an image's."""
    return ENDING.sub("", name)


def modality_named(name: str) -> str | None:
    """The modality that a file or folder is named by, whatever its case and its image's ending."""
    stem = stem_of_name(name).lower().replace("_", "-")
    return stem if stem in MODALITIES else None


def real_path(path: Path) -> Path:
    """A path with its links followed; a link to itself stays as it is, for whoever opens it to say so."""
    return Path(os.path.realpath(path))


def _holds(test: Callable[[], bool]) -> bool:
    """True if a test of an entry holds. It does not for a link to itself or into a forbidden folder."""
    try:
        return test()
    except OSError:
        return False
