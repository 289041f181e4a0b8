"""The DICOM images of a folder.

Left out are files that are not DICOM by their content, as README, DICOMDIR and Thumbs.db, and DICOM objects without
an image, as reports. A file that is neither DICOM nor plainly something else is refused: it may be a damaged slice.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from pydicom import Dataset, uid
from pydicom.datadict import keyword_for_tag

from tfs_rt.errors import InputError, TfsRtError, first_line
from tfs_rt.formats.dicom.layout import AGAIN
from tfs_rt.formats.dicom.pixels import KEYWORDS
from tfs_rt.formats.dicom.read import is_dicom, parse_any, refuse_headless

DICOM_ENDINGS = (".dcm", ".dicom", ".dic", ".ima")
# First bytes of other kinds of files: Thumbs.db, PDF, PNG, JPEG, GIF, BMP, TIFF, ZIP, gzip, Windows programs, SQLite.
OTHER_KINDS = (
    *(b"\xd0\xcf\x11\xe0", b"%PDF", b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"BM", b"II*\0", b"MM\0*"),
    *(b"PK\x03\x04", b"\x1f\x8b", b"MZ", b"SQLite format"),
)
TEXT_BYTES = bytes([*b"\t\n\r\f\x1b", *range(0x20, 0x7F), *range(0x80, 0x100)])
LOOKED_AT = 4096  # bytes of a file that show if it is text
REMOVE = "remove it from the folder, or copy it again if it is a slice"


class Member(NamedTuple):
    """An image in a folder."""

    name: str  # of its file
    dataset: Dataset
    syntax: str  # the transfer syntax in which it is stored

    @property
    def label(self) -> str:
        """Its name for messages: the number in its series, and its file."""
        number = str(self.dataset.get("InstanceNumber") or "").strip()
        return f"slice {number} ({self.name})" if number else self.name


def images_of(files: dict[str, bytes], path: Path) -> list[Member]:
    """The images among files by name, which are taken out of `files` to save memory.

    InputError names a file that cannot be read.
    """
    members: list[Member] = []
    for name in sorted(files):
        data = files.pop(name)
        with naming(name, path):
            if not _is_left_out(name, data, path):
                dataset = parse_any(data, path)
                _decode_elements(dataset)
                if _has_image(dataset, path):
                    members.append(Member(name, dataset, str(dataset.file_meta.get("TransferSyntaxUID", ""))))
    return members


@contextmanager
def naming(label: str, path: Path) -> Generator[None]:
    """Put the label of a file or slice in front of the reason of an error in the block."""
    try:
        yield
    except InputError as error:
        raise InputError(path, f"{label} {_joined(error.reason)}", error.remedy) from error
    except (TfsRtError, MemoryError):
        raise
    except Exception as error:  # pydicom and the decoders raise AttributeError, TypeError, struct.error and many more
        raise InputError(path, f"{label} is a damaged DICOM file ({first_line(error)})", AGAIN) from error


def _joined(reason: str) -> str:
    """A reason as it goes on after a label: "is empty", but "is refused: its Window Center is ..."."""
    is_verb = reason.split(" ", 1)[0] in ("is", "has", "holds", "says", "mixes", "keeps", "does", "inflates", "lies")
    return reason if is_verb else f"is refused: {reason}"


def _is_left_out(name: str, data: bytes, path: Path) -> bool:
    """True for a file of another kind than DICOM; InputError for one that may be a damaged slice."""
    if is_dicom(data):
        return False
    refuse_headless(data, path)
    if name.lower().endswith(DICOM_ENDINGS):
        raise InputError(path, "is empty" if not data else "is not a DICOM file", REMOVE)
    is_text = bool(data) and not data[:LOOKED_AT].translate(None, TEXT_BYTES)
    if is_text or data.startswith(OTHER_KINDS):
        return True
    raise InputError(path, "is neither DICOM nor plainly another kind of file", REMOVE)


def _has_image(dataset: Dataset, path: Path) -> bool:
    """False for an object that is not an image; InputError for an image that has lost its pixels."""
    if dataset.file_meta.get("MediaStorageSOPClassUID") == uid.MediaStorageDirectoryStorage:
        return False
    if any(keyword in dataset for keyword in KEYWORDS):
        return True
    # A damaged file may have lost its pixels, or the name of its class.
    kind = uid.UID(str(dataset.get("SOPClassUID") or ""))
    is_known = kind == dataset.file_meta.get("MediaStorageSOPClassUID") and (kind.is_private or kind.name != kind)
    if "Rows" in dataset or "Image" in kind.name or not is_known:
        raise InputError(path, "holds no pixels", REMOVE)
    return False


def _decode_elements(dataset: Dataset) -> None:
    """Decode the public elements, as pydicom does not before they are used: an error then has the name of the file."""
    for tag in sorted(dataset.keys()):
        if not tag.is_private and keyword_for_tag(tag) not in KEYWORDS:
            _ = dataset[tag]
