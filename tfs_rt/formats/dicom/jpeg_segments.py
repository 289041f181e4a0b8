"""The segments of a JPEG or JPEG-LS (ISO/IEC 10918-1, annex B)."""

from __future__ import annotations

import struct
from collections.abc import Iterator

# Markers.
APPLICATION = 0xE0  # JFIF, for one
SCAN = 0xDA
END = 0xD9
LOSSLESS_FRAME = 0xC3
SEQUENTIAL_FRAME = 0xC1
SIZES = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}  # a size follows, in JPEG and JPEG-LS
WITHOUT_LENGTH = {0x01, *range(0xD0, 0xD9)}


def segments(frame: bytes) -> Iterator[tuple[int, int]]:
    """(marker, position of its length) of the segments of a JPEG or JPEG-LS, up to that of its first scan."""
    position = 0
    while position + 4 <= len(frame) and frame[position] == 0xFF:
        marker = frame[position + 1]
        if marker == END:
            return
        yield marker, position + 2
        if marker == SCAN:
            return
        if marker == 0xFF:  # a fill byte
            position += 1
        elif marker in WITHOUT_LENGTH:
            position += 2
        else:
            position += 2 + struct.unpack_from(">H", frame, position + 2)[0]
