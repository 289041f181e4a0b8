"""Decode JPEG Lossless and 12-bit JPEG by imagecodecs (libjpeg-turbo), as a plugin of pydicom's decoders.

libjpeg-turbo fills up pixels whose bits are missing, and imagecodecs hides its warning. So each frame is decoded twice,
with other bits behind its data each time: only pixels that were filled up differ.

The plugin interface is that of pydicom's guide "Pixel Data Decoder Plugins".
"""

from __future__ import annotations

import re
from functools import cache
from importlib.util import find_spec

import numpy as np
from numpy.typing import NDArray
from pydicom import uid
from pydicom.pixels.decoders import JPEGExtended12BitDecoder, JPEGLosslessDecoder, JPEGLosslessSV1Decoder
from pydicom.pixels.decoders.base import DecodeRunner

from tfs_rt.formats.dicom.jpeg_segments import (
    APPLICATION,
    END,
    LOSSLESS_FRAME,
    SCAN,
    SEQUENTIAL_FRAME,
    SIZES,
    WITHOUT_LENGTH,
    segments,
)
from tfs_rt.formats.dicom.layout import Layout

NAME = "imagecodecs"
LOSSLESS = (uid.JPEGLossless, uid.JPEGLosslessSV1)
DECODER_DEPENDENCIES = dict.fromkeys((*LOSSLESS, uid.JPEGExtended12Bit), (NAME,))
MARKER = re.compile(rb"\xff+[^\x00\xff]")
# Bits to put behind the data of a frame, and their complement: no byte of either is part of a marker.
BITS = bytes.fromhex("a94c63d21e87b5703acf25966de814b7")
COMPLEMENT = bytes(255 - byte for byte in BITS)


def is_available(_syntax: str) -> bool:
    """True if imagecodecs is installed: asked by pydicom."""
    return find_spec(NAME) is not None


@cache
def register() -> None:
    """Make the plugin known to pydicom, once."""
    for decoder in (JPEGLosslessDecoder, JPEGLosslessSV1Decoder, JPEGExtended12BitDecoder):
        decoder.add_plugin(NAME, (__name__, "decode_frame"))


def decode_frame(frame: bytes, runner: DecodeRunner) -> bytes:
    """The pixels of a frame, little-endian, in as many bytes as the file allots: called by pydicom."""
    values = _pixels(_with_bits_behind(frame, BITS))
    if not np.array_equal(values, _pixels(_with_bits_behind(frame, COMPLEMENT))):
        raise ValueError("a frame ends too early")
    return values.astype(f"<u{runner.bits_allocated // 8}").tobytes()


def is_for(syntax: uid.UID, bits: int) -> bool:
    """True for a syntax that this decoder is for, with so many bits stored: 8-bit JPEG goes to Pillow."""
    return syntax in LOSSLESS or (syntax == uid.JPEGExtended12Bit and bits != 8)


def fault_of(frame: bytes, layout: Layout, stored: int) -> str:
    """The fault of a frame whose header contradicts its file, which has `stored` bits a value; empty without one."""
    is_lossless = layout.syntax in LOSSLESS
    for marker, start in segments(frame):
        # The kind of the frame, and the bits of its values.
        if marker in SIZES:
            precision = frame[start + 2]
            if marker != (LOSSLESS_FRAME if is_lossless else SEQUENTIAL_FRAME):
                return f"is another kind of JPEG than {layout.syntax.name}"
            if not stored <= precision <= layout.bits:
                return f"has {precision} bits a value, where the file says {stored} in {layout.bits}"
        # The kind of colours: programs disagree which of the two statements counts.
        if marker == APPLICATION and frame.startswith(b"JFIF", start + 2) and layout.photometric == "RGB":
            return "says that its colours are YCbCr (JFIF), where the file says RGB"
        # The point transform: lower bits that were left out.
        if marker == SCAN and is_lossless and frame[start + 5 + 2 * frame[start + 2]] & 15:
            return "was compressed with loss (by a point transform)"
    return ""


def _pixels(frame: bytes) -> NDArray[np.uint8 | np.uint16]:
    """(H, W), or (H, W, 3) without any conversion of colours."""
    from imagecodecs import jpeg8_decode  # 80 MB: not imported before it is needed

    samples = next(frame[start + 7] for marker, start in segments(frame) if marker in SIZES)
    colours = "RGB" if samples == 3 else None
    return jpeg8_decode(frame, colorspace=colours, outcolorspace=colours)


def _with_bits_behind(frame: bytes, bits: bytes) -> bytes:
    """A frame with more bits before each marker after its first scan; ValueError if it has no end."""
    (position,) = (start for marker, start in segments(frame) if marker == SCAN)
    pieces = [frame[:position]]
    while match := MARKER.search(frame, position):
        pieces += [frame[position : match.start()], bits]
        # The first marker may be that of a restart, or of the tables before another scan.
        marker = frame[match.end() - 1]
        if marker == END:
            return b"".join([*pieces, match[0]])
        length = 0 if marker in WITHOUT_LENGTH else int.from_bytes(frame[match.end() : match.end() + 2])
        position = match.end() + length
        pieces.append(frame[match.start() : position])
    raise ValueError("a frame has no end")
