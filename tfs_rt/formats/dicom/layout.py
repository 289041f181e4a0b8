"""The layout of a DICOM file's pixels, as the file declares it: checked before anything is decoded."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from pydicom import Dataset, uid

from tfs_rt.errors import InputError
from tfs_rt.formats.dicom.numbers import integer
from tfs_rt.formats.picture import MAX_PIXELS

MAX_BYTES = 2**30  # of all frames as they are stored
AGAIN = "export it again"


class Layout(NamedTuple):
    """The layout of a file's pixels."""

    syntax: uid.UID
    photometric: str
    frames: int
    rows: int
    columns: int
    samples: int  # for each pixel
    bits: int  # allocated for each sample

    @property
    def frame_bytes(self) -> int:
        """Bytes of one frame, not compressed; bits of the next frame may follow in its last byte."""
        size = self.rows * self.columns * self.samples * self.bits // 8
        halved = self.photometric == "YBR_FULL_422" and not self.syntax.is_encapsulated
        return size * 2 // 3 if halved else size


def layout_of(dataset: Dataset, path: Path) -> Layout:
    """The layout of a file's pixels; InputError if it has none, is incomplete, or is larger than the limits."""
    # The elements that must be there.
    syntax = dataset.file_meta.get("TransferSyntaxUID")
    if not syntax:
        raise InputError(path, "does not say how it is encoded (no Transfer Syntax UID)", AGAIN)
    keywords = ("NumberOfFrames", "Rows", "Columns", "SamplesPerPixel", "BitsAllocated")
    missing = [keyword for keyword in keywords[1:] if dataset.get(keyword) is None]
    if missing or not dataset.get("PhotometricInterpretation"):
        absent = ", ".join(missing) or "PhotometricInterpretation"
        raise InputError(path, f"damaged DICOM file (has no {absent})", AGAIN)
    # Their values.
    frames, rows, columns, samples, bits = (integer(dataset, keyword, path) or 0 for keyword in keywords)
    layout = Layout(syntax, str(dataset.PhotometricInterpretation), frames or 1, rows, columns, samples, bits)
    _check_limits(layout, path)
    stored = dataset.get("BitsStored")
    high = dataset.get("HighBit")
    if stored is not None and high is not None and high != stored - 1:
        reason = f"keeps its {stored} bits a value at an unusual place (high bit {high})"
        raise InputError(path, reason, "convert it to a high bit one below the bits stored")
    return layout


def _check_limits(layout: Layout, path: Path) -> None:
    size = f"{layout.columns}x{layout.rows}"
    if min(layout.rows, layout.columns, layout.frames, layout.samples, layout.bits) < 1:
        raise InputError(path, "damaged DICOM file (says that it has no pixels)", AGAIN)
    if layout.rows * layout.columns > MAX_PIXELS:
        raise InputError(path, f"{size} pixels are more than 4096x4096", "crop or shrink it")
    if layout.frames * layout.frame_bytes > MAX_BYTES:
        reason = f"its {layout.frames} frames of {size} pixels are more than 1 GiB"
        raise InputError(path, reason, "split it into files of fewer frames")
    if layout.samples not in (1, 3) or (layout.samples == 3 and layout.bits != 8):
        reason = f"has {layout.samples} samples of {layout.bits} bits a pixel"
        raise InputError(path, reason, "convert it to 8-bit RGB, or to one grey value a pixel")
