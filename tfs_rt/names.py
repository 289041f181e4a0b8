"""What can be told of files by their names alone."""

from __future__ import annotations

import unicodedata
from pathlib import Path

IMAGE_ENDINGS = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".gif", ".webp", ".dcm", ".nii", ".nii.gz")


def images_in(folder: Path) -> list[Path]:
    """Files that look like images by their ending; a wrong kind is refused later, by its content."""
    files = [path for path in folder.iterdir() if not path.name.startswith(".") and path.is_file()]
    return sorted(path for path in files if path.name.lower().endswith(IMAGE_ENDINGS))


def stem_of(file: Path) -> str:
    """A file's name without its ending, if that is an image's."""
    name = file.name.lower()
    ending = max((ending for ending in IMAGE_ENDINGS if name.endswith(ending)), key=len, default="")
    return file.name[: len(name) - len(ending)]


def folded(name: str) -> str:
    """A name without what a file system or a slip may not tell apart: letter case, composed characters."""
    return unicodedata.normalize("NFC", name).casefold()
