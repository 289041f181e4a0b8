"""Read and write PNG. A file is read by rule or refused: nothing is guessed, scaled or dropped in silence.

Accepted: 8-bit grey, RGB, palette, 1-bit; alpha only where every pixel is opaque; 16-bit grey through
`FileOptions.window`, in values of 0 to 65535. Refused: 16-bit colour, transparency, animation, a stored rotation,
anything damaged (every chunk's CRC is checked), more than 4096 x 4096 pixels.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from tfs_rt.errors import InputError
from tfs_rt.formats.picture import MAX_PIXELS, FileOptions, Picture
from tfs_rt.formats.pillow_modes import REMEDY_ENDING, REMEDY_WINDOW, check_upright, decode, inflates_to, to_picture
from tfs_rt.images import RGB

SIGNATURE = b"\x89PNG\r\n\x1a\n"
# PNG colour types.
GREY = 0
PALETTE = 3
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


def read(data: bytes, path: Path, options: FileOptions) -> Picture:
    """One slice from the bytes of a PNG file; InputError names `path`, the reason and the remedy."""
    bits = _check_file(data, path, options)

    def make_picture(image: Image.Image) -> Picture:
        if getattr(image, "n_frames", 1) > 1:
            raise InputError(path, "animated PNG", "save one frame")
        check_upright(image, path)
        return to_picture(image, path, options, bits=bits)

    return decode(data, path, "PNG", make_picture)


def encode(slices: Sequence[RGB], frames: dict[str, Any], text: dict[str, str]) -> bytes:
    """A result of one slice (H, W, 3) uint8; PNG takes over nothing from the sources' `frames`."""
    (image,) = slices
    return encode_png(image, text)


def encode_png(image: RGB, text: dict[str, str] | None = None) -> bytes:
    """A PNG of (H, W, 3) uint8 whose bytes depend on the pixels and the text alone."""
    info = PngInfo()
    for keyword, value in (text or {}).items():
        info.add_text(keyword, value)
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="PNG", pnginfo=info)
    return buffer.getvalue()


def _check_file(data: bytes, path: Path, options: FileOptions) -> int:
    """Check that a file is complete; returns the bits of a sample."""
    # Check the signature, and read the chunks.
    if not data:
        raise InputError(path, "is empty", "write the file again")
    if not data.startswith(SIGNATURE):
        raise InputError(path, "is not a PNG file", f"convert it to 8-bit PNG, {REMEDY_ENDING}")
    try:
        chunks = list(_chunks(data))
    except ValueError as error:
        raise InputError(path, "damaged or truncated PNG", "write the file again") from error
    # Check the header and the palette.
    kinds = [kind for kind, _ in chunks]
    if kinds[0] != b"IHDR" or kinds.count(b"IHDR") != 1 or kinds.count(b"PLTE") > 1:
        raise InputError(path, "damaged PNG (malformed header)", "write the file again")
    header = chunks[0][1]
    pixel_bytes = _check_header(header, path, options)
    if header[9] == PALETTE and b"PLTE" not in kinds[: kinds.index(b"IDAT") if b"IDAT" in kinds else None]:
        raise InputError(path, "damaged PNG (no palette)", "write the file again")
    # Check that the pixels are all there.
    if not inflates_to(b"".join(content for kind, content in chunks if kind == b"IDAT"), pixel_bytes):
        raise InputError(path, "damaged or truncated PNG", "write the file again")
    return header[8]


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """(kind, content) of every chunk up to IEND; ValueError where one is cut off or fails its CRC."""
    position = len(SIGNATURE)
    kind = b""
    while kind != b"IEND":
        if position + 12 > len(data):
            raise ValueError("no end")
        length, kind = struct.unpack_from(">I4s", data, position)
        end = position + 8 + length
        if end + 4 > len(data) or struct.unpack_from(">I", data, end)[0] != zlib.crc32(data[position + 4 : end]):
            raise ValueError("cut off or altered")
        yield kind, data[position + 8 : end]
        position = end + 4


def _check_header(header: bytes, path: Path, options: FileOptions) -> int:
    """The number of bytes that the pixels must inflate to: one filter byte a row, rows of whole bytes."""
    if len(header) != 13:
        raise InputError(path, "damaged PNG (malformed header)", "write the file again")
    width, height, depth, colour_type, _, _, interlaced = struct.unpack(">IIBBBBB", header)
    if not width or not height or colour_type not in CHANNELS:
        raise InputError(path, "damaged PNG (malformed header)", "write the file again")
    if width * height > MAX_PIXELS:
        raise InputError(path, f"{width}x{height} pixels are more than 4096x4096", "crop or shrink it")
    if depth == 16 and colour_type != GREY:
        raise InputError(path, "16-bit image", "convert it to 8-bit RGB, or to 16-bit grey without alpha")
    if depth == 16 and options.window is None:
        raise InputError(path, "16-bit image", REMEDY_WINDOW)
    parts = [(0, 0, 1, 1)] if not interlaced else ADAM7
    sizes = [(-(-(height - y) // dy), -(-(width - x) // dx)) for x, y, dx, dy in parts]
    bits = depth * CHANNELS[colour_type]
    return sum(rows * (1 + -(-columns * bits // 8)) for rows, columns in sizes if rows > 0 and columns > 0)
