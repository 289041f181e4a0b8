"""Read a PNG by rule or refuse it: nothing is guessed, scaled or dropped in silence.

Accepted: 8-bit grey, RGB, palette, 1-bit; alpha only where every pixel is opaque. Refused: 16-bit, transparency,
animation, a stored rotation, anything damaged (every chunk's CRC is checked), more than 4096 x 4096 pixels.
"""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

from tfs_rt.errors import InputError
from tfs_rt.images import RGB

MAX_PIXELS = 4096 * 4096
SIGNATURE = b"\x89PNG\r\n\x1a\n"
ORIENTATION = 0x0112  # EXIF


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
    damaged = InputError(path, "damaged or truncated PNG", "write the file again")
    position, kind = len(SIGNATURE), b""
    while kind != b"IEND":
        if position + 12 > len(data):
            raise damaged
        length, kind = struct.unpack_from(">I4s", data, position)
        end = position + 8 + length
        if end + 4 > len(data) or struct.unpack_from(">I", data, end)[0] != zlib.crc32(data[position + 4 : end]):
            raise damaged
        if kind == b"IHDR":
            _check_header(data[position + 8 : end], path)
        position = end + 4


def _check_header(header: bytes, path: Path) -> None:
    width, height, depth = struct.unpack_from(">IIB", header)
    if width * height > MAX_PIXELS:
        raise InputError(path, f"{width}x{height} pixels are more than 4096x4096", "crop or shrink it")
    if depth == 16:
        raise InputError(path, "16-bit image", "window it to 8 bits first: which grey levels matter is your choice")


def _check_image(image: Image.Image, path: Path) -> None:
    if getattr(image, "n_frames", 1) > 1:
        raise InputError(path, "animated PNG", "save one frame")
    if image.getexif().get(ORIENTATION, 1) != 1:
        raise InputError(path, "carries a rotation in its EXIF data", "rotate the pixels and save without it")


def _to_rgb(image: Image.Image, path: Path) -> RGB:
    image.load()
    if image.mode in ("LA", "RGBA", "PA") or "transparency" in image.info:
        rgba = np.asarray(image.convert("RGBA"))
        if (rgba[..., 3] != 255).any():
            raise InputError(path, "has transparent pixels", "flatten it onto a background of your choice")
        return np.ascontiguousarray(rgba[..., :3])
    return np.asarray(image.convert("RGB"))
