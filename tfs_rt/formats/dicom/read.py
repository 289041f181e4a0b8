"""Read a DICOM file by rule or refuse it (`tfs_rt.formats.dicom.write` writes results).

Frames that have places are sorted by them. Grey values become levels in `tfs_rt.formats.dicom.window`. Colour is taken
as it is, at 8 bits. Lossy compression is refused unless it is allowed. No part of the patient's identity gets into
`facts`.
"""

from __future__ import annotations

import io
import warnings
import zlib
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from pydicom import Dataset, config, dcmread, uid
from pydicom.filereader import read_dataset

from tfs_rt.errors import InputError, TfsRtError, first_line
from tfs_rt.formats.dicom.layout import AGAIN, Layout, layout_of
from tfs_rt.formats.dicom.mosaic import without_mosaic
from tfs_rt.formats.dicom.pixels import KEYWORDS, LOSSY, Stored, decode
from tfs_rt.formats.dicom.source import source_of, subject_of, texts, uids
from tfs_rt.formats.dicom.stack import Stack, frame_names, stack_of
from tfs_rt.formats.dicom.tables import is_little_endian, palette_of, to_rgb
from tfs_rt.formats.dicom.window import grey_levels
from tfs_rt.formats.levels import AS_STORED
from tfs_rt.formats.picture import FileOptions, Measured, Picture, grey
from tfs_rt.images import RGB

PREAMBLE = 128  # bytes before the signature
SIGNATURE = b"DICM"
# Bytes of a deflated file: as many as a file may have that is not deflated.
MAX_INFLATED = 2**28
CHUNK = 2**16
# The first bytes of a dataset without a header: an element of group 2 or 8 whose number is small.
FIRST_GROUPS = tuple(bytes([group, 0, element, 0]) for group in (2, 8) for element in (0, 1, 5, 8, 0x10, 0x16))
HEADLESS = "add it with dcmconv (DCMTK) IN OUT, or export the images again as DICOM files (PS3.10)"
META = 2  # the group of the elements before the dataset
CAPTURES = (
    uid.SecondaryCaptureImageStorage,
    uid.MultiFrameTrueColorSecondaryCaptureImageStorage,
    uid.MultiFrameGrayscaleByteSecondaryCaptureImageStorage,
)  # SOP classes of images that did not come from a scanner
MONOCHROME = ("MONOCHROME1", "MONOCHROME2")


def read(data: bytes, path: Path, options: FileOptions) -> Picture:
    """The frames of a DICOM file from its bytes, in the order of their places.

    InputError names `path`, the reason and the remedy.
    """
    with refuse_damage(path):
        dataset = _parse(data, path)
        syntax = str(layout_of(dataset, path).syntax)
        picture = picture_of(without_mosaic(dataset, path), path, options)
    picture.facts["transfer_syntax_uid"] = syntax
    return picture


@contextmanager
def refuse_damage(path: Path) -> Generator[None]:
    """Read DICOM in the block: InputError for a damaged file, whatever pydicom and the decoders raise."""
    try:
        with _lenient_parsing():
            yield
    except (TfsRtError, MemoryError):
        raise
    except Exception as error:  # AttributeError, TypeError, struct.error and many more
        raise InputError(path, f"damaged DICOM file ({first_line(error)})", AGAIN) from error


@contextmanager
def _lenient_parsing() -> Generator[None]:
    """Let values against the standard through, to be judged where they are used, and hide pydicom's warnings.

    Pixels that contradict the file are found by checks of our own (`tfs_rt.formats.dicom.pixels`).
    """
    mode = config.settings.reading_validation_mode
    config.settings.reading_validation_mode = config.IGNORE
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"pydicom\.")
            yield
    finally:
        config.settings.reading_validation_mode = mode


def picture_of(dataset: Dataset, path: Path, options: FileOptions, names: Sequence[str] = ()) -> Picture:
    """The picture of a dataset. Messages call its frames by `names`, or else by their numbers."""
    # Refuse what the options do not allow.
    layout = layout_of(dataset, path)
    lossy = _lossy_compression(dataset, layout)
    if lossy and not options.allow_lossy:
        reason = f"its pixels were compressed with loss ({lossy})"
        raise InputError(path, reason, "export it without loss, or give --allow-lossy")
    # Order the frames, and make them images.
    stack = stack_of(dataset, names or frame_names(layout.frames), path)
    slices, level_facts, measured = _to_slices(dataset, layout, options, path)
    slices = tuple(slices[index] for index in stack.order)
    if measured:
        measured = Measured(measured.values[list(stack.order)], measured.window)
    # Describe them.
    source = source_of(dataset, stack, bool(lossy), path)
    facts = _facts(dataset, layout) | level_facts | _order_facts(stack, layout)
    if lossy:
        facts["lossy"] = lossy
    return Picture(slices, facts, subject_of(dataset, source, stack), asdict(source), measured)


def _facts(dataset: Dataset, layout: Layout) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "format": "dicom",
        "modality": (texts(dataset, "Modality") or ("",))[0],
        **uids(dataset),
        "transfer_syntax_uid": str(layout.syntax),
        "frames": layout.frames,
        "photometric_interpretation": layout.photometric,
    }
    if dataset.get("SOPClassUID") in CAPTURES or dataset.get("ConversionType"):
        facts["capture"] = True
    return facts


def _order_facts(stack: Stack, layout: Layout) -> dict[str, Any]:
    """Facts about the order of the frames, if there are several."""
    facts: dict[str, Any] = {}
    if layout.frames > 1 and stack.order_from:
        facts["order_from"] = stack.order_from
    if stack.is_reordered:
        facts["frame_order"] = [index + 1 for index in stack.order]
    return facts


def is_dicom(data: bytes) -> bool:
    """True for a file with the signature of DICOM."""
    return data[PREAMBLE : PREAMBLE + len(SIGNATURE)] == SIGNATURE


def refuse_headless(data: bytes, path: Path) -> None:
    """InputError for DICOM without the header of a file, as old scanners store it: it begins with its elements."""
    if data.startswith(FIRST_GROUPS):
        raise InputError(path, "is DICOM without a file's header (no DICM after 128 bytes)", HEADLESS)


def parse_any(data: bytes, path: Path) -> Dataset:
    """The dataset of a DICOM file, an image or not; InputError if it inflates to too much."""
    _check_deflated(data, path)
    return dcmread(io.BytesIO(data))


def _parse(data: bytes, path: Path) -> Dataset:
    """The file's dataset; InputError if it is not a DICOM image."""
    if not data:
        raise InputError(path, "is empty", AGAIN)
    if not is_dicom(data):
        refuse_headless(data, path)
        reason = "is not a DICOM file (no DICM after 128 bytes)"
        raise InputError(path, reason, "export it as a DICOM file (PS3.10), or give it the ending of its own format")
    dataset = parse_any(data, path)
    if dataset.file_meta.get("MediaStorageSOPClassUID") == uid.MediaStorageDirectoryStorage:
        raise InputError(path, "is a DICOMDIR, a list of other files", "give one of the files that it lists")
    if not any(keyword in dataset for keyword in KEYWORDS):
        kind = dataset.get("SOPClassUID")
        name = f" ({kind.name})" if isinstance(kind, uid.UID) else ""
        raise InputError(path, f"holds no pixels{name}", "give an image, or export it again if it should be one")
    return dataset


def _check_deflated(data: bytes, path: Path) -> None:
    """Refuse a deflated dataset that is too large. It is inflated without keeping it: pydicom would keep gigabytes."""
    file = io.BytesIO(data)
    file.seek(PREAMBLE + len(SIGNATURE))
    meta = read_dataset(file, False, True, stop_when=lambda tag, vr, length: tag.group != META)
    if meta.get("TransferSyntaxUID") != uid.DeflatedExplicitVRLittleEndian:
        return
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    size = 0
    while not inflater.eof and (rest := inflater.unconsumed_tail or file.read(CHUNK)):
        size += len(inflater.decompress(rest, CHUNK))
        if size > MAX_INFLATED:
            reason = f"inflates to more than {MAX_INFLATED >> 20} MiB"
            raise InputError(path, reason, "export it without the deflated transfer syntax")


def _lossy_compression(dataset: Dataset, layout: Layout) -> str:
    """The lossy compression of the pixels; empty if there was none, as far as the file says."""
    declared = dataset.get("LossyImageCompression")
    may_be_lossless = layout.syntax in (uid.JPEG2000, uid.HTJ2K)
    if layout.syntax in LOSSY and not (declared == "00" and may_be_lossless):
        return layout.syntax.name
    return "Lossy Image Compression (0028,2110) is 01" if declared == "01" else ""


def _to_slices(
    dataset: Dataset, layout: Layout, options: FileOptions, path: Path
) -> tuple[tuple[RGB, ...], dict[str, Any], Measured | None]:
    """The frames as images in the stored order, facts about how they were made, and the values behind them."""
    kind = layout.photometric
    # Grey values.
    if kind in MONOCHROME and dataset.get("PixelPresentation") in ("COLOR", "MIXED"):
        raise InputError(path, "mixes grey values and colours (supplemental palette)", "convert it to 8-bit RGB")
    if kind in MONOCHROME and layout.samples == 1:
        return _grey_slices(dataset, layout, options, path)
    # A palette.
    if kind == "PALETTE COLOR" and layout.samples == 1:
        palette = palette_of(dataset, is_little_endian(dataset))
        values = decode(dataset, layout, path).values
        return tuple(to_rgb(frame, palette) for frame in values), {"levels": "colours of the file's own palette"}, None
    # Colours.
    if layout.samples != 3:
        raise InputError(path, f"has one value a pixel, but is {kind}", "convert it to 8-bit RGB")
    stored = decode(dataset, layout, path)
    return _colour_slices(stored, path), {"levels": _colour_words(layout, stored)}, None


def _grey_slices(
    dataset: Dataset, layout: Layout, options: FileOptions, path: Path
) -> tuple[tuple[RGB, ...], dict[str, Any], Measured | None]:
    values = decode(dataset, layout, path).values
    levels = grey_levels(dataset, values, options, layout.photometric == "MONOCHROME1", path)
    facts: dict[str, Any] = {"levels": levels.words, **levels.facts}
    if levels.window_from:
        facts["window_from"] = levels.window_from
    if levels.wide:
        facts["wide_window_hu"] = levels.wide
    return tuple(grey(frame) for frame in levels.frames), facts, levels.measured


def _colour_slices(stored: Stored, path: Path) -> tuple[RGB, ...]:
    if stored.photometric != "RGB" or stored.values.dtype != np.uint8:
        reason = f"its colours are {stored.photometric} of {stored.values.dtype.itemsize * 8} bits"
        raise InputError(path, reason, "convert it to 8-bit RGB")
    return tuple(np.ascontiguousarray(frame) for frame in stored.values)


def _colour_words(layout: Layout, stored: Stored) -> str:
    same = layout.photometric == stored.photometric
    return AS_STORED if same else f"8-bit {stored.photometric} from {layout.photometric}"
