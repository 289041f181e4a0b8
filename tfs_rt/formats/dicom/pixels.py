"""Decode the pixels of a DICOM file as they are stored.

Each compressed syntax has one decoder, so that lossy pixels are the same on every machine, and one that survives
damaged data: on such, pylibjpeg-rle panics and GDCM aborts. So RLE goes to pydicom's own, JPEG Lossless to imagecodecs.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset, uid
from pydicom.pixels.decoders.base import get_decoder

from tfs_rt.errors import InputError
from tfs_rt.formats.dicom import jpeg_codec
from tfs_rt.formats.dicom.frame_sizes import JPEG_2000, check_frames
from tfs_rt.formats.dicom.layout import AGAIN, Layout

IMAGECODECS = (jpeg_codec.NAME, "'tfs-rt[jpeg]'")
JPEG = (uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit)
JPEG_LS = (uid.JPEGLSLossless, uid.JPEGLSNearLossless)
DECODERS = {
    **dict.fromkeys(JPEG, ("pillow", "pillow")),
    **dict.fromkeys(JPEG_2000, ("pylibjpeg", "'pylibjpeg[openjpeg]'")),
    **dict.fromkeys(JPEG_LS, ("pyjpegls", "pyjpegls")),
    uid.RLELossless: ("pydicom", "pydicom"),
}  # by transfer syntax: pydicom's name for the decoder, and the package to install
LOSSY = {*JPEG, uid.JPEGLSNearLossless, uid.JPEG2000, uid.HTJ2K}
KEYWORDS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")  # of the elements where pixels may be
DECOMPRESS = "decompress it first, as with DCMTK's dcmdjpeg or GDCM's gdcmconv --raw"


class Stored(NamedTuple):
    """Decoded pixels."""

    values: NDArray[Any]  # (frames, H, W), or (frames, H, W, 3)
    photometric: str  # of the values as decoded


def decode(dataset: Dataset, layout: Layout, path: Path) -> Stored:
    """All frames as they are stored; InputError if the decoder is missing, or if they contradict the layout."""
    # Check the size of the frames first.
    options: dict[str, Any] = {"allow_excess_frames": False}
    if layout.syntax.is_encapsulated:
        options["decoding_plugin"] = _decoder(dataset, layout, path)
        if options["decoding_plugin"] == jpeg_codec.NAME:
            options["correct_unused_bits"] = False  # pydicom would mask bits that contradict the file
        check_frames(dataset, layout, path)
    else:
        _check_native(dataset, layout, path)
    try:
        array, properties = get_decoder(layout.syntax).as_array(dataset, **options)
    except RuntimeError as error:  # of the decoder, whose reason is in the last line
        *_, reason = ["no reason", *str(error).splitlines()]
        raise InputError(path, f"damaged DICOM file ({reason.strip()})", AGAIN) from error
    array = _within_bits(array, dataset, path)
    shape = (layout.frames, layout.rows, layout.columns, *((3,) if layout.samples == 3 else ()))
    return Stored(array.reshape(shape), str(properties["photometric_interpretation"]))


def stored_bits(dataset: Dataset, dtype: np.dtype[Any]) -> tuple[int, bool]:
    """The number of bits of a stored value that count, and True if the highest of them is a sign."""
    return int(dataset.get("BitsStored") or dtype.itemsize * 8), dtype.kind == "i"


def _within_bits(array: NDArray[Any], dataset: Dataset, path: Path) -> NDArray[Any]:
    """Decoded values by their stored bits; InputError if bits above those contradict them.

    pydicom has masked native and run-length pixels, whose higher bits may hold an overlay. It does not mask what a
    codec has decoded: there the highest stored bit may still be the sign, and any other higher bit is a contradiction.
    """
    bits, signed = stored_bits(dataset, array.dtype)
    spare = array.dtype.itemsize * 8 - bits
    if array.dtype.kind not in "iu" or spare <= 0:
        return array
    low = array & np.array(2**bits - 1, array.dtype)
    inside = low << spare >> spare if signed else low
    if not ((array == inside) | (array == low)).all():
        reason = f"has values beyond its {bits} bits stored ({array.min()} to {array.max()})"
        raise InputError(path, reason, "correct Bits Stored (0028,0101), or export it again")
    return inside


def _decoder(dataset: Dataset, layout: Layout, path: Path) -> str:
    """pydicom's name for the decoder of a compressed syntax; InputError names the package to install."""
    syntax = layout.syntax
    jpeg_codec.register()
    name, package = DECODERS.get(syntax, ("", ""))
    if jpeg_codec.is_for(syntax, int(dataset.get("BitsStored") or layout.bits)):
        name, package = IMAGECODECS
    if not name:
        raise InputError(path, f"is encoded as {syntax.name}, which is not read", DECOMPRESS)
    if name not in get_decoder(syntax).available_plugins:
        reason = f"is encoded as {syntax.name}, and the decoder for it is not installed"
        raise InputError(path, reason, f"pip install {package}, or {DECOMPRESS}")
    return name


def _check_native(dataset: Dataset, layout: Layout, path: Path) -> None:
    """Refuse more pixels than the layout has: they would be dropped. pydicom refuses fewer."""
    (keyword,) = (keyword for keyword in KEYWORDS if keyword in dataset)
    if len(dataset[keyword].value) - layout.frames * layout.frame_bytes >= max(layout.frame_bytes, 2):
        raise InputError(path, f"holds more frames than it says ({layout.frames})", AGAIN)
