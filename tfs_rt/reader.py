"""Read a PNG by rule or refuse it: nothing is guessed, scaled or dropped in silence.

Accepted: 8-bit grey, RGB, palette, 1-bit; alpha only where every pixel is opaque. Refused: 16-bit, transparency,
animation, a stored rotation, anything damaged (every chunk's CRC is checked), more than 4096 x 4096 pixels.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from tfs_rt.errors import InputError
from tfs_rt.images import RGB

MAX_PIXELS = 4096 * 4096
SIGNATURE = b"\x89PNG\r\n\x1a\n"
ORIENTATION = 0x0112  # EXIF
PALETTE = 3  # a PNG colour type
CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by PNG colour type
ADAM7 = (
    (0, 0, 8, 8),
    (4, 0, 8, 8),
    (0, 4, 4, 8),
    (2, 0, 4, 4),
    (0, 2, 2, 4),
    (1, 0, 2, 2),
    (0, 1, 1, 2),
)  # x, y, dx, dy


def read_image(data: bytes, path: Path) -> RGB:
    """(H, W, 3) uint8 from the bytes of a PNG file; InputError names `path`, the reason and the remedy."""
    _check_file(data, path)
    try:
        with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
            _check_image(image, path)
            return _to_rgb(image, path)
    except (InputError, MemoryError):
        raise
    except Exception as error:  # Pillow raises OSError, SyntaxError, ValueError, zlib.error, struct.error ...
        raise InputError(path, f"damaged PNG ({error})", "write the file again") from error


def _check_file(data: bytes, path: Path) -> None:
    if not data:
        raise InputError(path, "is empty", "write the file again")
    if not data.startswith(SIGNATURE):
        raise InputError(path, "is not a PNG file", "convert it to 8-bit PNG")
    try:
        chunks = list(_chunks(data))
    except ValueError as error:
        raise InputError(path, "damaged or truncated PNG", "write the file again") from error
    kinds = [kind for kind, _ in chunks]
    if kinds[0] != b"IHDR" or kinds.count(b"IHDR") != 1 or kinds.count(b"PLTE") > 1:
        raise InputError(path, "damaged PNG (malformed header)", "write the file again")
    header = chunks[0][1]
    pixel_bytes = _check_header(header, path)
    if header[9] == PALETTE and b"PLTE" not in kinds[: kinds.index(b"IDAT") if b"IDAT" in kinds else None]:
        raise InputError(path, "damaged PNG (no palette)", "write the file again")
    if not _holds(b"".join(content for kind, content in chunks if kind == b"IDAT"), pixel_bytes):
        raise InputError(path, "damaged or truncated PNG", "write the file again")


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """(kind, content) of every chunk up to IEND; ValueError where one is cut off or fails its CRC."""
    position, kind = len(SIGNATURE), b""
    while kind != b"IEND":
        if position + 12 > len(data):
            raise ValueError("no end")
        length, kind = struct.unpack_from(">I4s", data, position)
        end = position + 8 + length
        if end + 4 > len(data) or struct.unpack_from(">I", data, end)[0] != zlib.crc32(data[position + 4 : end]):
            raise ValueError("cut off or altered")
        yield kind, data[position + 8 : end]
        position = end + 4


def _check_header(header: bytes, path: Path) -> int:
    """The number of bytes that the pixels must inflate to: one filter byte a row, rows of whole bytes."""
    if len(header) != 13:
        raise InputError(path, "damaged PNG (malformed header)", "write the file again")
    width, height, depth, colour_type, _, _, interlaced = struct.unpack(">IIBBBBB", header)
    if not width or not height or colour_type not in CHANNELS:
        raise InputError(path, "damaged PNG (malformed header)", "write the file again")
    if width * height > MAX_PIXELS:
        raise InputError(path, f"{width}x{height} pixels are more than 4096x4096", "crop or shrink it")
    if depth == 16:
        raise InputError(path, "16-bit image", "window it to 8 bits first: which grey levels matter is your choice")
    parts = [(0, 0, 1, 1)] if not interlaced else ADAM7
    sizes = [(-(-(height - y) // dy), -(-(width - x) // dx)) for x, y, dx, dy in parts]
    bits = depth * CHANNELS[colour_type]
    return sum(rows * (1 + -(-columns * bits // 8)) for rows, columns in sizes if rows > 0 and columns > 0)


def _holds(compressed: bytes, pixel_bytes: int) -> bool:
    """Whether the pixel data is complete: Pillow would fill up missing rows with black."""
    inflater = zlib.decompressobj()
    try:
        return len(inflater.decompress(compressed, pixel_bytes + 1)) == pixel_bytes and inflater.eof
    except zlib.error:
        return False


def _check_image(image: Image.Image, path: Path) -> None:
    if getattr(image, "n_frames", 1) > 1:
        raise InputError(path, "animated PNG", "save one frame")
    if image.getexif().get(ORIENTATION, 1) != 1:
        raise InputError(path, "carries a rotation in its EXIF data", "rotate the pixels and save without it")


def _to_rgb(image: Image.Image, path: Path) -> RGB:
    image.load()
    if image.mode == "P" and np.asarray(image).max() >= len(image.getpalette() or []) // 3:
        raise InputError(path, "damaged PNG (colours beyond its palette)", "write the file again")
    if image.mode in ("LA", "RGBA", "PA") or "transparency" in image.info:
        rgba = np.asarray(image.convert("RGBA"))
        if (rgba[..., 3] != 255).any():
            raise InputError(path, "has transparent pixels", "flatten it onto a background of your choice")
        return np.ascontiguousarray(rgba[..., :3])
    return np.asarray(image.convert("RGB"))
