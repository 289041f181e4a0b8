"""The file formats: one entry for each, by which files are decoded and results are encoded.

To add a format: write a module with `read(data, path, options)`, and with `encode(slices, frames, text)` if results are
written in it, and add its entry here. The ending of its results goes into `tfs_rt.output.folder.ENDINGS`. A format with
geometry also needs a schema in `tfs_rt.formats.answers`. Formats that no module reads are in
`tfs_rt.formats.conversions`.
Reading this registry imports no array library, so that `tfs-rt --help` stays fast.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfs_rt.errors import InputError
from tfs_rt.formats import conversions
from tfs_rt.optional import import_optional
from tfs_rt.system.files import open_regular

if TYPE_CHECKING:
    from tfs_rt.formats.picture import Content, FileOptions, Picture
    from tfs_rt.images import RGB


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """All facts about a file format."""

    title: str  # as people write it
    endings: tuple[str, ...]  # of file names
    description: str  # the pictures that a file may hold
    reader: str  # module with `read`
    # Module whose `read` takes the files of a folder, by name; empty if a folder cannot be one image in this format.
    folder_reader: str = ""
    writer: str = ""  # module with `encode`; empty if no result is written in this format
    # The format of results of three such files. Those with a place in space keep it.
    results: str = "png"
    # Every file has lost something, so that it is read with --allow-lossy alone.
    lossy: bool = False
    extra: str = ""  # pip install 'tfs-rt[EXTRA]' brings the packages that it needs

    @property
    def has_geometry(self) -> bool:
        """True if its files hold measured values with a place in space."""
        return self.results != "png"

    @property
    def remedy(self) -> str:
        """The command that installs its packages; empty if it needs none."""
        return f"pip install 'tfs-rt[{self.extra}]'" if self.extra else ""


FORMATS = {
    "png": Format(
        title="PNG",
        endings=(".png",),
        description="one slice",
        reader="tfs_rt.formats.png",
        writer="tfs_rt.formats.png",
    ),
    "tiff": Format(
        title="TIFF",
        endings=(".tif", ".tiff"),
        description="one slice; files of several pages are refused",
        reader="tfs_rt.formats.tiff",
    ),
    "jpeg": Format(
        title="JPEG",
        endings=(".jpg", ".jpeg", ".jfif"),
        description="one slice, with `--allow-lossy`",
        reader="tfs_rt.formats.jpeg",
        lossy=True,
    ),
    "gif": Format(
        title="GIF",
        endings=(".gif",),
        description="one slice; animations are refused",
        reader="tfs_rt.formats.gif",
    ),
    "bmp": Format(
        title="BMP",
        endings=(".bmp",),
        description="one slice",
        reader="tfs_rt.formats.bmp",
    ),
    "dicom": Format(
        title="DICOM",
        endings=(".dcm", ".dicom", ".ima"),
        description="one file of one or more frames, or a folder that holds a series",
        reader="tfs_rt.formats.dicom.read",
        folder_reader="tfs_rt.formats.dicom.series",
        writer="tfs_rt.formats.dicom.write",
        results="dicom",
        extra="dicom",
    ),
    "nifti": Format(
        title="NIfTI",
        endings=(".nii", ".nii.gz"),
        description="a volume, fused slice by slice",
        reader="tfs_rt.formats.nifti.read",
        writer="tfs_rt.formats.nifti.write",
        results="nifti",
        extra="nifti",
    ),
    "mgh": Format(
        title="MGH",
        endings=(".mgz", ".mgh"),
        description="a volume, as FreeSurfer writes it",
        reader="tfs_rt.formats.volumes.mgh",
        results="nifti",
        extra="nifti",
    ),
    "nrrd": Format(
        title="NRRD",
        endings=(".nrrd",),
        description="a volume, with its header in the same file",
        reader="tfs_rt.formats.volumes.nrrd",
        results="nifti",
        extra="nifti",
    ),
    "metaimage": Format(
        title="MetaImage",
        endings=(".mha",),
        description="a volume, with its header in the same file",
        reader="tfs_rt.formats.volumes.metaimage",
        results="nifti",
        extra="nifti",
    ),
}  # by the name that sidecars have
NAMES = {ending: name for name, entry in FORMATS.items() for ending in entry.endings}
WITH_GEOMETRY = frozenset(name for name, entry in FORMATS.items() if entry.has_geometry)
LOSSY = frozenset(name for name, entry in FORMATS.items() if entry.lossy)
(FOLDER_FORMAT,) = (name for name, entry in FORMATS.items() if entry.folder_reader)
IMAGE_ENDINGS = (*NAMES, *conversions.CONVERSIONS)
# DICOM is known by its content where a file's ending says nothing.
DICOM_SIGNATURE = b"DICM"
DICOM_START = 128  # bytes before the signature
# Beginnings of text that stands in a file's place, in small letters, with the reason and the remedy.
WEB_PAGE = ("holds a web page, as downloads that failed do", "download it again")
NOT_FETCHED = {
    b"version https://git-lfs": ("is a pointer of Git LFS, not the file itself", "fetch it by git lfs pull"),
    b"<!doctype html": WEB_PAGE,
    b"<html": WEB_PAGE,
}
LONGEST_START = 200  # bytes


def place_format(name: str) -> str:
    """The format in which files of the named one say where they lie: results of three such files have it."""
    return FORMATS[name].results


def read_picture(data: Content, path: Path, options: FileOptions) -> Picture:
    """The slices of a file from its bytes, or of a folder from those of its files.

    Raises InputError if it is damaged, of another format than its name says, or needs a decision; EnvironmentFault if
    the packages for its format are not installed.
    """
    if isinstance(data, dict):
        entry = FORMATS[FOLDER_FORMAT]
        return import_optional(entry.folder_reader, str(path), entry.remedy).read(data, path, options)
    # A file that stands for one that was not fetched.
    for start, (reason, remedy) in NOT_FETCHED.items():
        if data[:LONGEST_START].lstrip().lower().startswith(start):
            raise InputError(path, reason, remedy)
    # Read it by its format.
    name = format_of(path, data)
    if name is None:
        titles = ", ".join(entry.title for entry in FORMATS.values())
        remedy = f"convert it to one of {titles} (DICOM without its first 132 bytes: dcmconv IN OUT.dcm)"
        raise InputError(path, "is in no format that is read", conversions.conversion(path) or remedy)
    entry = FORMATS[name]
    return import_optional(entry.reader, str(path), entry.remedy).read(data, path, options)


def encode(name: str, slices: Sequence[RGB], frames: dict[str, Any], text: dict[str, str]) -> bytes:
    """A result as a file of the named format: bytes that depend on these arguments alone.

    `slices` are (H, W, 3) uint8; `frames` has each slot's `Picture.frame`; `text` says how the result was made.
    """
    entry = FORMATS[name]
    return import_optional(entry.writer, f"a result in {name}", entry.remedy).encode(slices, frames, text)


def encode_series(name: str, slices: Sequence[RGB], frames: dict[str, Any], text: dict[str, str]) -> dict[str, bytes]:
    """A result as files by name, one for each slice, in the named format; the arguments are those of `encode`."""
    entry = FORMATS[name]
    return import_optional(entry.writer, f"a result in {name}", entry.remedy).encode_series(slices, frames, text)


def format_of(path: Path, head: bytes = b"") -> str | None:
    """The name of a file's format by its ending; by the first bytes if the ending says nothing. None for no format."""
    kind = ending(path)
    if kind not in NAMES | conversions.ALL and head.startswith(DICOM_SIGNATURE, DICOM_START):
        return "dicom"
    return NAMES.get(kind)


def is_image(path: Path) -> bool:
    """True if a file is an image by its ending, or, where that says nothing, DICOM by its first bytes.

    No library opens the file. False, without waiting, for one that cannot be read.
    """
    if ending(path) in IMAGE_ENDINGS:
        return True
    try:
        with open_regular(path) as file:
            return format_of(path, file.read(DICOM_START + len(DICOM_SIGNATURE))) is not None
    except OSError:
        return False


def ending(path: Path) -> str:
    """A file name's ending in small letters, `.nii.gz` as one."""
    name = path.name.lower()
    return ".nii.gz" if name.endswith(".nii.gz") else Path(name).suffix
