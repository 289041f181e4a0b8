"""An encoder of JPEG Lossless, as ISO/IEC 10918-1 annex H writes it out: slow, and with codes of five bits alone."""

from __future__ import annotations

import struct

import numpy as np

CODE_BITS = 5  # enough for the 17 categories of differences
PREDICTORS = {
    1: lambda a, b, c: a,
    2: lambda a, b, c: b,
    3: lambda a, b, c: c,
    4: lambda a, b, c: a + b - c,
    5: lambda a, b, c: a + ((b - c) >> 1),
    6: lambda a, b, c: b + ((a - c) >> 1),
    7: lambda a, b, c: (a + b) >> 1,
}  # of the values to the left (a), above (b) and above to the left (c): table H.1


def encode_lossless(
    pixels: np.ndarray, *, bits: int, predictor: int = 1, rows_per_restart: int = 0, point_transform: int = 0
) -> bytes:
    """(H, W) or (H, W, samples) values of 0 to 2**bits - 1 as a JPEG of one scan."""
    planes = pixels.reshape(*pixels.shape[:2], -1).astype(int)
    height, width, samples = planes.shape
    rows = rows_per_restart or height
    parts = [_code(planes[at : at + rows], bits, predictor) for at in range(0, height, rows)]
    data = b"".join(part + bytes([0xFF, 0xD0 + number % 8]) for number, part in enumerate(parts[:-1])) + parts[-1]
    lengths = bytes(17 if n == CODE_BITS else 0 for n in range(1, 17))
    frame = struct.pack(">BHHB", bits, height, width, samples) + b"".join(bytes([n, 0x11, 0]) for n in range(samples))
    scan = bytes([samples, *(part for n in range(samples) for part in (n, 0)), predictor, 0, point_transform])
    restart = _segment(0xDD, struct.pack(">H", rows * width)) if rows_per_restart else b""
    tables = _segment(0xC4, b"\0" + lengths + bytes(range(17)))
    return b"\xff\xd8" + _segment(0xC3, frame) + tables + restart + _segment(0xDA, scan) + data + b"\xff\xd9"


def _segment(marker: int, content: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content


def _code(planes: np.ndarray, bits: int, predictor: int) -> bytes:
    """The coded differences of some rows, the first of which is predicted from the left alone."""
    written = ""
    for y, row in enumerate(planes):
        for x, pixel in enumerate(row):
            for sample, value in enumerate(pixel.tolist()):
                if x and y:
                    near = (planes[y, x - 1, sample], planes[y - 1, x, sample], planes[y - 1, x - 1, sample])
                    predicted = PREDICTORS[predictor](*map(int, near))
                elif x or y:
                    predicted = int(planes[y, x - 1, sample] if x else planes[y - 1, x, sample])
                else:
                    predicted = 2 ** (bits - 1)
                written += _bits_of((value - predicted + 2**15) % 2**16 - 2**15)
    written += "1" * (-len(written) % 8)
    data = int(written, 2).to_bytes(len(written) // 8)
    return data.replace(b"\xff", b"\xff\0")


def _bits_of(difference: int) -> str:
    """The code of a difference's category and its lower bits: table H.2."""
    category = abs(difference).bit_length()
    code = f"{category:0{CODE_BITS}b}"
    if category in (0, 16):  # 32768, or -32768 in 16 bits, has no further bits
        return code
    return code + f"{difference if difference > 0 else difference + 2**category - 1:0{category}b}"
