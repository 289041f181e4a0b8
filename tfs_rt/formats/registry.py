"""The file formats: one entry for each, by which files are decoded and results are encoded.

To add a format, write a module with `read(data, path, rules)`, and `encode(slices, frames, text)` if results can be
written in it, and add an entry here. A format with geometry also needs a schema in `tfs_rt.formats.answers`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfs_rt.errors import InputError
from tfs_rt.optional import import_optional

if TYPE_CHECKING:  # this table is read by commands that need no image
    from tfs_rt.formats.picture import Picture, Rules
    from tfs_rt.images import RGB


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """A file format: its name in sidecars, its file endings, and the modules that read and write it."""

    name: str
    endings: tuple[str, ...]
    reader: str  # module with `read`
    writer: str = ""  # module with `encode`; empty if no result is written in this format
    extra: str = ""  # of tfs-rt, with the packages that it needs
    has_geometry: bool = False  # holds measured values with a place in space, so that results go back into it
    description: str  # the pixels that are read

    @property
    def remedy(self) -> str:
        """Remedy if the packages for this format are missing."""
        return f"pip install 'tfs-rt[{self.extra}]'" if self.extra else ""


FORMATS = (
    Format(
        name="png",
        endings=(".png",),
        reader="tfs_rt.formats.png",
        writer="tfs_rt.formats.png",
        description="8-bit grey, RGB or palette, 1-bit; 16-bit grey with --window",
    ),
    Format(
        name="tiff",
        endings=(".tif", ".tiff"),
        reader="tfs_rt.formats.tiff",
        description="8-bit grey, RGB or palette, 1-bit; 12- and 16-bit grey, int32 and float32 with --window",
    ),
    Format(
        name="jpeg",
        endings=(".jpg", ".jpeg"),
        reader="tfs_rt.formats.jpeg",
        description="8-bit grey or RGB, with --allow-lossy",
    ),
    Format(
        name="dicom",
        endings=(".dcm",),
        reader="tfs_rt.formats.dicom.read",
        writer="tfs_rt.formats.dicom.write",
        extra="dicom",
        has_geometry=True,
        description="grey of any depth, 8-bit RGB or palette; one frame, or a stack of them",
    ),
    Format(
        name="nifti",
        endings=(".nii", ".nii.gz"),
        reader="tfs_rt.formats.nifti.volume",
        writer="tfs_rt.formats.nifti.volume",
        extra="nifti",
        has_geometry=True,
        description="any whole or floating-point numbers, RGB24; one volume",
    ),
)
ENDINGS = {ending: form for form in FORMATS for ending in form.endings}
UNREAD = (".bmp", ".gif", ".webp")  # images by their endings: refused with a remedy, not passed over in silence
WITH_GEOMETRY = frozenset(form.name for form in FORMATS if form.has_geometry)


def read_picture(data: bytes, path: Path, rules: Rules) -> Picture:
    """The slices of a file from its bytes.

    Raises InputError if it is damaged, of another format than its name says, or needs a decision; EnvironmentFault if
    the packages for its format are not installed.
    """
    form = format_of(path)
    if form is None:
        remedy = f"convert it to one of {', '.join(ENDINGS)}, or, if it is DICOM, name it .dcm"
        raise InputError(path, "is in no format that is read", remedy)
    return import_optional(form.reader, str(path), form.remedy).read(data, path, rules)


def encode(name: str, slices: Sequence[RGB], frames: dict[str, Any], text: dict[str, str]) -> bytes:
    """A result as a file of the named format: bytes that depend on these arguments alone.

    `slices` are (H, W, 3) uint8; `frames` has each slot's `Picture.frame`; `text` says how the result was made.
    """
    (form,) = (form for form in FORMATS if form.name == name)
    return import_optional(form.writer, f"a result in {name}", form.remedy).encode(slices, frames, text)


def format_of(path: Path) -> Format | None:
    """The format that a file's ending stands for; None if it stands for none."""
    return ENDINGS.get(ending(path))


def ending(path: Path) -> str:
    """A file name's ending in small letters, `.nii.gz` as one."""
    name = path.name.lower()
    return ".nii.gz" if name.endswith(".nii.gz") else Path(name).suffix
