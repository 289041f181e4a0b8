"""Read a DICOM file by rule or refuse it; results are written by `secondary_capture`.

Frames that have places are sorted by them. Grey values become levels by the modality transform and then, in this
order, the user's window, the file's own table or window, for CT the head window, the 0.5th to 99.5th percentile.
Padding is black. Colour is taken as it is, at 8 bits. Lossy compression is refused unless allowed. No part of the
patient's identity gets into `facts`.
"""

from __future__ import annotations

import io
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from pydicom import Dataset, config, dcmread, uid
from pydicom.filereader import read_dataset

from tfs_rt.errors import InputError, TfsRtError, first_line
from tfs_rt.formats.dicom.pixels import AGAIN, LOSSY, PIXELS, Layout, Stored, decode, layout_of
from tfs_rt.formats.dicom.source import source_of, subject_of, texts, uids
from tfs_rt.formats.dicom.stack import stack_of
from tfs_rt.formats.dicom.tables import palette_of, to_rgb
from tfs_rt.formats.dicom.window import grey_levels
from tfs_rt.formats.levels import AS_STORED
from tfs_rt.formats.picture import Picture, Rules, grey
from tfs_rt.images import RGB

PREAMBLE = 128  # bytes before the signature
SIGNATURE = b"DICM"
MAX_INFLATED = 2**28  # bytes, of a deflated file: what a file may have that is not
CHUNK = 2**16
META = 2  # the group of the elements before the dataset
MONOCHROME = ("MONOCHROME1", "MONOCHROME2")


def read(data: bytes, path: Path, rules: Rules) -> Picture:
    """The frames of a DICOM file from its bytes, in the order of their places.

    InputError names `path`, the reason and the remedy.
    """
    try:
        with _quiet():
            return _read(data, path, rules)
    except (TfsRtError, MemoryError):
        raise
    except Exception as error:  # pydicom and the decoders raise AttributeError, TypeError, struct.error and many more
        raise InputError(path, f"damaged DICOM file ({first_line(error)})", AGAIN) from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Values against the standard are let through, and judged where they are used; pydicom's warnings are not shown.

    Those on pixels that are not as the file says are checks of our own in `dicom_pixels`.
    """
    mode = config.settings.reading_validation_mode
    config.settings.reading_validation_mode = config.IGNORE
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"pydicom\.")
            yield
    finally:
        config.settings.reading_validation_mode = mode


def _read(data: bytes, path: Path, rules: Rules) -> Picture:
    dataset = _parsed(data, path)
    layout = layout_of(dataset, path)
    lossy = _lossy(dataset, layout)
    if lossy and not rules.allow_lossy:
        reason = f"its pixels were compressed with loss ({lossy})"
        raise InputError(path, reason, "export it without loss, or give --allow-lossy")
    stack = stack_of(dataset, layout.frames, path)
    slices, levels = _slices(dataset, layout, rules, path)
    source = source_of(dataset, stack, bool(lossy), path)
    facts: dict[str, Any] = {
        "format": "dicom",
        "modality": (texts(dataset, "Modality") or ("",))[0],
        **uids(dataset),
        "transfer_syntax_uid": str(layout.syntax),
        "frames": layout.frames,
        "photometric_interpretation": layout.photometric,
        **levels,
        **({"order_from": stack.order_from} if layout.frames > 1 and stack.order_from else {}),
        **({"frame_order": [index + 1 for index in stack.order]} if stack.is_reordered else {}),
        **({"lossy": lossy} if lossy else {}),
    }
    slices = tuple(slices[index] for index in stack.order)
    return Picture(slices, facts, subject_of(dataset, source, stack), asdict(source))


def _parsed(data: bytes, path: Path) -> Dataset:
    """The file's dataset; InputError if it is no DICOM image."""
    if not data:
        raise InputError(path, "is empty", AGAIN)
    if data[PREAMBLE : PREAMBLE + len(SIGNATURE)] != SIGNATURE:
        reason = "is not a DICOM file (no DICM after 128 bytes)"
        raise InputError(path, reason, "export it as a DICOM file (PS3.10), or give it the ending of what it is")
    _check_deflated(data, path)
    dataset = dcmread(io.BytesIO(data))
    if dataset.file_meta.get("MediaStorageSOPClassUID") == uid.MediaStorageDirectoryStorage:
        raise InputError(path, "is a DICOMDIR, a list of other files", "give one of the files that it lists")
    if not any(keyword in dataset for keyword in PIXELS):
        kind = dataset.get("SOPClassUID")
        name = f" ({kind.name})" if isinstance(kind, uid.UID) else ""
        raise InputError(path, f"holds no pixels{name}", "give an image, or export it again if it should be one")
    return dataset


def _check_deflated(data: bytes, path: Path) -> None:
    """How much a deflated dataset inflates to, without keeping it: pydicom would keep gigabytes."""
    file = io.BytesIO(data)
    file.seek(PREAMBLE + len(SIGNATURE))
    meta = read_dataset(file, False, True, stop_when=lambda tag, vr, length: tag.group != META)
    if meta.get("TransferSyntaxUID") != uid.DeflatedExplicitVRLittleEndian:
        return
    inflater, size = zlib.decompressobj(-zlib.MAX_WBITS), 0
    while not inflater.eof and (rest := inflater.unconsumed_tail or file.read(CHUNK)):
        size += len(inflater.decompress(rest, CHUNK))
        if size > MAX_INFLATED:
            reason = f"inflates to more than {MAX_INFLATED >> 20} MiB"
            raise InputError(path, reason, "export it without the deflated transfer syntax")


def _lossy(dataset: Dataset, layout: Layout) -> str:
    """How the pixels were compressed with loss; empty if they were not, as far as the file says."""
    said = dataset.get("LossyImageCompression")
    if layout.syntax in LOSSY and not (said == "00" and layout.syntax in (uid.JPEG2000, uid.HTJ2K)):
        return layout.syntax.name
    return "Lossy Image Compression (0028,2110) is 01" if said == "01" else ""


def _slices(dataset: Dataset, layout: Layout, rules: Rules, path: Path) -> tuple[tuple[RGB, ...], dict[str, Any]]:
    """The frames as images, and by which rule they are such."""
    kind = layout.photometric
    if kind in MONOCHROME and dataset.get("PixelPresentation") in ("COLOR", "MIXED"):
        raise InputError(path, "mixes grey values and colours (supplemental palette)", "convert it to 8-bit RGB")
    if kind in MONOCHROME and layout.samples == 1:
        values = decode(dataset, layout, path).values
        found = grey_levels(dataset, values, rules, kind == "MONOCHROME1", path)
        slices = tuple(grey(frame) for frame in found.frames)
        facts = {"levels": found.words} | ({"window_from": found.window_from} if found.window_from else {})
        return slices, facts | ({"wide_window_hu": found.wide} if found.wide else {})
    if kind == "PALETTE COLOR" and layout.samples == 1:
        palette = palette_of(dataset, bool(layout.syntax.is_little_endian))
        values = decode(dataset, layout, path).values
        return tuple(to_rgb(frame, palette) for frame in values), {"levels": "colours of the file's own palette"}
    if layout.samples != 3:
        raise InputError(path, f"has one value a pixel, but is {kind}", "convert it to 8-bit RGB")
    stored = decode(dataset, layout, path)
    return _colour(stored, path), {"levels": _origin(layout, stored)}


def _colour(stored: Stored, path: Path) -> tuple[RGB, ...]:
    if stored.photometric != "RGB" or stored.values.dtype != np.uint8:
        reason = f"its colours are {stored.photometric} of {stored.values.dtype.itemsize * 8} bits"
        raise InputError(path, reason, "convert it to 8-bit RGB")
    return tuple(np.ascontiguousarray(frame) for frame in stored.values)


def _origin(layout: Layout, stored: Stored) -> str:
    same = layout.photometric == stored.photometric
    return AS_STORED if same else f"8-bit {stored.photometric} from {layout.photometric}"
