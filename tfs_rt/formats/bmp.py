"""Read a BMP by rule or refuse it.

Accepted: uncompressed pictures of 1, 4 and 8 bits with a palette, and of 24 and 32 bits, with opaque alpha if any.
Refused: run lengths, colours of 5 bits, JPEG and PNG inside, a file that ends too early. BMP has no checksum: damaged
pixels may pass for pixels.
"""

from __future__ import annotations

import struct
from pathlib import Path

from PIL import Image

from tfs_rt.errors import InputError
from tfs_rt.formats.picture import FileOptions, Picture
from tfs_rt.formats.pillow_modes import REMEDY_8_BIT, REMEDY_ENDING, REMEDY_REWRITE, decode, to_picture

SIGNATURE = b"BM"
OPAQUE = 255
OLD_HEADER = 12  # bytes
HEADERS = (OLD_HEADER, 40, 52, 56, 64, 108, 124)
# Compressions.
RAW = 0
BIT_FIELDS = 3
DEPTHS = {RAW: (1, 4, 8, 24, 32), BIT_FIELDS: (32,)}  # bits a pixel


def read(data: bytes, path: Path, options: FileOptions) -> Picture:
    """One slice from the bytes of a BMP file; InputError names `path`, the reason and the remedy."""

    def make_picture(image: Image.Image) -> Picture:
        return to_picture(image, path, options)

    if data and not data.startswith(SIGNATURE):
        raise InputError(path, "is not a BMP file", f"convert it to 8-bit PNG, {REMEDY_ENDING}")
    if data:
        _check_file(data, path)
    return decode(data, path, "BMP", make_picture)


def _check_file(data: bytes, path: Path) -> None:
    """InputError unless the header is of a known kind, and as many bytes follow as it says."""
    try:
        offset, size = struct.unpack_from("<II", data, 10)
        if size == OLD_HEADER:
            width, height, _, depth = struct.unpack_from("<HHHH", data, 18)
            compression = RAW
        else:
            width, height, _, depth, compression = struct.unpack_from("<iiHHI", data, 18)
    except struct.error as error:
        raise InputError(path, "damaged or truncated BMP", REMEDY_REWRITE) from error
    if size not in HEADERS or min(width, abs(height)) < 1:
        raise InputError(path, "damaged BMP (malformed header)", REMEDY_REWRITE)
    if depth not in DEPTHS.get(compression, ()):
        reason = f"is packed in a way that is not read (compression {compression}, {depth} bits a pixel)"
        raise InputError(path, reason, REMEDY_8_BIT)
    end = offset + (width * depth + 31) // 32 * 4 * abs(height)
    if offset < 14 + size or len(data) < end:
        raise InputError(path, "damaged or truncated BMP", REMEDY_REWRITE)
    # The fourth byte of a pixel has no meaning. Some programs write an alpha channel there, which Pillow leaves out.
    fourth = data[offset + 3 : end : 4] if (compression, depth) == (RAW, 32) else b""
    if len(fourth) not in (fourth.count(0), fourth.count(OPAQUE)):
        raise InputError(path, "has transparent pixels", "flatten it onto a background of your choice")
