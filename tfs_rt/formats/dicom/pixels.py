"""The pixels of a DICOM file as they are stored, decoded within limits that are checked before anything is inflated.

Each compressed syntax has one decoder, so that lossy pixels are the same on every machine, and one that survives
damaged data: on such, pylibjpeg-rle panics and GDCM aborts. So RLE goes to pydicom's own, and JPEG Lossless is refused.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset, uid
from pydicom.encaps import generate_frames
from pydicom.pixels.decoders.base import get_decoder

from tfs_rt.errors import InputError
from tfs_rt.formats.dicom.numbers import integer, number
from tfs_rt.formats.picture import MAX_PIXELS

MAX_BYTES = 2**30  # of all frames as they are stored
JPEG = (uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit)
JPEG_LS = (uid.JPEGLSLossless, uid.JPEGLSNearLossless)
JPEG_2000 = (uid.JPEG2000Lossless, uid.JPEG2000, uid.HTJ2KLossless, uid.HTJ2KLosslessRPCL, uid.HTJ2K)
DECODERS = {
    **dict.fromkeys(JPEG, ("pillow", "pillow")),
    **dict.fromkeys(JPEG_2000, ("pylibjpeg", "'pylibjpeg[openjpeg]'")),
    **dict.fromkeys(JPEG_LS, ("pyjpegls", "pyjpegls")),
    uid.RLELossless: ("pydicom", "pydicom"),
}  # by transfer syntax: pydicom's name for the decoder, and the package to install
LOSSY = {*JPEG, uid.JPEGLSNearLossless, uid.JPEG2000, uid.HTJ2K}
PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")  # where they may be
DECOMPRESS = "decompress it first, as with DCMTK's dcmdjpeg or GDCM's gdcmconv --raw"
AGAIN = "export it again"
SOS, EOI = 0xDA, 0xD9  # JPEG markers
SIZES = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}  # those after which a JPEG or JPEG-LS says its size
ALONE = {0x01, *range(0xD0, 0xD9)}  # those without a length
J2K_SIZE = b"\xff\x4f\xff\x51"


class Layout(NamedTuple):
    """What a file says of its pixels."""

    syntax: uid.UID
    photometric: str
    frames: int
    rows: int
    columns: int
    samples: int
    bits: int  # allocated


class Stored(NamedTuple):
    """Decoded pixels."""

    values: NDArray[Any]  # (frames, H, W), or (frames, H, W, 3)
    photometric: str  # of the values as decoded


def layout_of(dataset: Dataset, path: Path) -> Layout:
    """What a file says of its pixels; InputError if it holds none, says too little, or more than the limits."""
    syntax = dataset.file_meta.get("TransferSyntaxUID")
    if not syntax:
        raise InputError(path, "does not say how it is encoded (no Transfer Syntax UID)", AGAIN)
    keywords = ("NumberOfFrames", "Rows", "Columns", "SamplesPerPixel", "BitsAllocated")
    missing = [keyword for keyword in keywords[1:] if dataset.get(keyword) is None]
    if missing or not dataset.get("PhotometricInterpretation"):
        absent = ", ".join(missing) or "PhotometricInterpretation"
        raise InputError(path, f"damaged DICOM file (has no {absent})", AGAIN)
    frames, rows, columns, samples, bits = (integer(dataset, keyword, path) or 0 for keyword in keywords)
    found = Layout(syntax, str(dataset.PhotometricInterpretation), frames or 1, rows, columns, samples, bits)
    _check_limits(found, path)
    stored, high = dataset.get("BitsStored"), dataset.get("HighBit")
    if stored is not None and high is not None and high != stored - 1:
        reason = f"keeps its {stored} bits a value at an unusual place (high bit {high})"
        raise InputError(path, reason, "convert it to a high bit one below the bits stored")
    return found


def decode(dataset: Dataset, layout: Layout, path: Path) -> Stored:
    """All frames as they are stored; InputError if no decoder is there, or if they are not what the file says."""
    options: dict[str, Any] = {"allow_excess_frames": False}
    if layout.syntax.is_encapsulated:
        options["decoding_plugin"] = _decoder(dataset, layout, path)
        _check_encoded(dataset, layout, path)
    else:
        _check_native(dataset, layout, path)
    array, found = get_decoder(layout.syntax).as_array(dataset, **options)
    array = _within_bits(array, dataset, path)
    shape = (layout.frames, layout.rows, layout.columns, *((3,) if layout.samples == 3 else ()))
    return Stored(array.reshape(shape), str(found["photometric_interpretation"]))


def padding_of(dataset: Dataset, stored: NDArray[Any], path: Path) -> NDArray[np.bool_]:
    """A mask of the stored values that are padding: not part of the image, and in no window (PS3.3 C.7.5.1.1.2)."""
    prefix = {"f4": "Float", "f8": "DoubleFloat"}.get(stored.dtype.str[1:], "")
    value = number(dataset, f"{prefix}PixelPaddingValue", path)
    if value is None:
        return np.zeros(stored.shape, dtype=bool)
    limit = number(dataset, f"{prefix}PixelPaddingRangeLimit", path)
    ends = [value, value if limit is None else limit]
    if not prefix:
        bits, signed = _bits(dataset, stored.dtype)
        whole = [_in_bits(int(end), stored.dtype.itemsize * 8, signed) for end in ends]
        ends = [_in_bits(int(end), bits, signed) for end in ends]
        if whole != ends and (unmasked := _unmasked(dataset, stored)) is not None:
            padded = (unmasked >= min(whole)) & (unmasked <= max(whole))
            if padded.any():
                return padded
    return (stored >= min(ends)) & (stored <= max(ends))


def _unmasked(dataset: Dataset, stored: NDArray[Any]) -> NDArray[Any] | None:
    """Native pixels with the bits above those stored, where padding may stand; None for encoded ones."""
    syntax = dataset.file_meta.TransferSyntaxUID
    if syntax.is_encapsulated or stored.dtype.itemsize == 1 or "PixelData" not in dataset:
        return None
    order = "<" if syntax.is_little_endian else ">"
    return np.frombuffer(dataset.PixelData, stored.dtype.newbyteorder(order), stored.size).reshape(stored.shape)


def _bits(dataset: Dataset, dtype: np.dtype[Any]) -> tuple[int, bool]:
    """The number of bits of a stored value that count, and True if the highest of them is a sign."""
    return int(dataset.get("BitsStored") or dtype.itemsize * 8), dtype.kind == "i"


def _in_bits(value: int, bits: int, signed: bool) -> int:
    """A value by its lowest bits alone."""
    low = value & (2**bits - 1)
    return low - 2**bits if signed and low >= 2 ** (bits - 1) else low


def _within_bits(array: NDArray[Any], dataset: Dataset, path: Path) -> NDArray[Any]:
    """Decoded values by their stored bits; InputError if bits above those say something else.

    pydicom has masked native and run-length pixels, whose higher bits may hold an overlay. It does not mask what a
    codec has decoded: there the highest stored bit may still be the sign, and any other higher bit is a contradiction.
    """
    bits, signed = _bits(dataset, array.dtype)
    spare = array.dtype.itemsize * 8 - bits
    if array.dtype.kind not in "iu" or spare <= 0:
        return array
    low = array & np.array(2**bits - 1, array.dtype)
    inside = low << spare >> spare if signed else low
    if not ((array == inside) | (array == low)).all():
        reason = f"has values beyond its {bits} bits stored ({array.min()} to {array.max()})"
        raise InputError(path, reason, "correct Bits Stored (0028,0101), or export it again")
    return inside


def _check_limits(layout: Layout, path: Path) -> None:
    if layout.rows < 1 or layout.columns < 1 or layout.frames < 1 or layout.samples < 1 or layout.bits < 1:
        raise InputError(path, "damaged DICOM file (says that it has no pixels)", AGAIN)
    if layout.rows * layout.columns > MAX_PIXELS:
        reason = f"{layout.columns}x{layout.rows} pixels are more than 4096x4096"
        raise InputError(path, reason, "crop or shrink it")
    if layout.frames * _frame_bytes(layout) > MAX_BYTES:
        reason = f"its {layout.frames} frames of {layout.columns}x{layout.rows} pixels are more than 1 GiB"
        raise InputError(path, reason, "split it into files of fewer frames")
    if layout.samples not in (1, 3) or (layout.samples == 3 and layout.bits != 8):
        reason = f"has {layout.samples} samples of {layout.bits} bits a pixel"
        raise InputError(path, reason, "convert it to 8-bit RGB, or to one grey value a pixel")


def _frame_bytes(layout: Layout) -> int:
    """Of one frame, not compressed; bits of the next frame may follow in its last byte."""
    size = layout.rows * layout.columns * layout.samples * layout.bits // 8
    halved = layout.photometric == "YBR_FULL_422" and not layout.syntax.is_encapsulated
    return size * 2 // 3 if halved else size


def _decoder(dataset: Dataset, layout: Layout, path: Path) -> str:
    """pydicom's name for the decoder of a compressed syntax; InputError says what to install."""
    syntax = layout.syntax
    name, package = DECODERS.get(syntax, ("", ""))
    if not name:
        raise InputError(path, f"is encoded as {syntax.name}, which is not read", DECOMPRESS)
    if syntax == uid.JPEGExtended12Bit and dataset.get("BitsStored") != 8:
        raise InputError(path, "is encoded as 12-bit JPEG, for which there is no decoder", DECOMPRESS)
    if name not in get_decoder(syntax).available_plugins:
        reason = f"is encoded as {syntax.name}, and the decoder for it is not installed"
        raise InputError(path, reason, f"pip install {package}, or {DECOMPRESS}")
    return name


def _check_native(dataset: Dataset, layout: Layout, path: Path) -> None:
    """More pixels than the file says it has would be dropped in silence; pydicom checks that there are not fewer."""
    (keyword,) = (keyword for keyword in PIXELS if keyword in dataset)
    frame = _frame_bytes(layout)
    if len(dataset[keyword].value) - layout.frames * frame >= max(frame, 2):
        raise InputError(path, f"holds more frames than it says ({layout.frames})", AGAIN)


def _check_encoded(dataset: Dataset, layout: Layout, path: Path) -> None:
    """As many frames as the file says, each of the size that the file says: decoders allot memory by the frame's."""
    offsets = (dataset.ExtendedOffsetTable, dataset.ExtendedOffsetTableLengths) if _has_offsets(dataset) else None
    count = 0
    for frame in generate_frames(dataset.PixelData, number_of_frames=layout.frames, extended_offsets=offsets):
        count += 1
        if layout.syntax == uid.RLELossless:
            sound = _rle_bytes(frame) <= 2 * _frame_bytes(layout)
        else:
            sound = _codestream(frame, layout.syntax) == (layout.rows, layout.columns, layout.samples)
        if not sound:
            raise InputError(path, f"damaged DICOM file (frame {count} has another size than the file says)", AGAIN)
    if count != layout.frames:
        raise InputError(path, f"damaged DICOM file (says {layout.frames} frames, holds {count})", AGAIN)


def _has_offsets(dataset: Dataset) -> bool:
    return "ExtendedOffsetTable" in dataset and "ExtendedOffsetTableLengths" in dataset


def _rle_bytes(frame: bytes) -> int:
    """The number of bytes that the runs of a frame expand to (PS3.5 annex G)."""
    count, *offsets = struct.unpack_from("<16L", frame)
    starts = [*offsets[: min(count, 15)], len(frame)]
    return sum(_run_bytes(frame[start:end]) for start, end in pairwise(starts))


def _run_bytes(segment: bytes) -> int:
    total = position = 0
    while position < len(segment):
        control = segment[position]
        total += control + 1 if control < 128 else 257 - control if control > 128 else 0
        position += control + 2 if control < 128 else 2 if control > 128 else 1
    return total


def _codestream(frame: bytes, syntax: uid.UID) -> tuple[int, int, int]:
    """(rows, columns, samples) by the compressed frame's own header; ValueError if it has none."""
    if syntax in JPEG_2000:
        at = frame.index(J2K_SIZE) + len(J2K_SIZE)
        x, y, x0, y0 = struct.unpack_from(">4xIIII", frame, at)
        return y - y0, x - x0, struct.unpack_from(">H", frame, at + 36)[0]
    for marker, at in _segments(frame):
        if marker in SIZES:
            rows, columns, samples = struct.unpack_from(">HHB", frame, at + 3)
            return rows, columns, samples
    raise ValueError("a frame without a size")


def _segments(frame: bytes) -> Iterator[tuple[int, int]]:
    """(marker, where its length stands) of the segments of a JPEG or JPEG-LS before its pixels."""
    position = 0
    while position + 4 <= len(frame) and frame[position] == 0xFF:
        marker = frame[position + 1]
        if marker in (SOS, EOI):
            return
        yield marker, position + 2
        fill, alone = marker == 0xFF, marker in ALONE
        position += 1 if fill else 2 if alone else 2 + struct.unpack_from(">H", frame, position + 2)[0]
