"""Decode a file by its ending; content of another format is refused, never guessed."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from tfs_rt.errors import InputError
from tfs_rt.formats.picture import Picture, Rules
from tfs_rt.optional import import_optional


class Format(NamedTuple):
    """Where a format is read."""

    module: str
    remedy: str = ""  # if the packages that it needs are missing


PNG = Format("tfs_rt.formats.png")
TIFF = Format("tfs_rt.formats.tiff")
JPEG = Format("tfs_rt.formats.jpeg")
DICOM = Format("tfs_rt.formats.dicom.read", "pip install 'tfs-rt[dicom]'")
NIFTI = Format("tfs_rt.formats.nifti.volume", "pip install 'tfs-rt[nifti]'")
FORMATS = {
    ".png": PNG,
    ".tif": TIFF,
    ".tiff": TIFF,
    ".jpg": JPEG,
    ".jpeg": JPEG,
    ".dcm": DICOM,
    ".nii": NIFTI,
    ".nii.gz": NIFTI,
}  # by a file name's ending


def read_picture(data: bytes, path: Path, rules: Rules) -> Picture:
    """The slices of a file from its bytes.

    Raises InputError if it is damaged, of another format than its name says, or needs a decision; EnvironmentFault if
    the packages for its format are not installed.
    """
    found = FORMATS.get(ending(path))
    if found is None:
        remedy = f"convert it to one of {', '.join(FORMATS)}, or, if it is DICOM, name it .dcm"
        raise InputError(path, "is in no format that is read", remedy)
    return import_optional(found.module, str(path), found.remedy).read(data, path, rules)


def format_of(path: Path) -> str | None:
    """The format that a file's name says; None if it says none."""
    found = FORMATS.get(ending(path))
    return found.module.rpartition(".")[2] if found else None


def ending(path: Path) -> str:
    """A file name's ending in small letters, `.nii.gz` as one."""
    name = path.name.lower()
    return ".nii.gz" if name.endswith(".nii.gz") else Path(name).suffix
