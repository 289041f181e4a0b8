"""Read a GIF of one frame by rule or refuse it.

Accepted: a frame that fills the whole picture, with opaque colours. Refused: animations, frames that leave a border,
transparent pixels, a file that ends too early. GIF has no checksum: damaged pixels may pass for pixels.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

from PIL import Image

from tfs_rt.errors import InputError
from tfs_rt.formats.picture import FileOptions, Picture
from tfs_rt.formats.pillow_modes import REMEDY_ENDING, REMEDY_REWRITE, decode, to_picture

SIGNATURES = (b"GIF87a", b"GIF89a")
HEADER = 13  # bytes, up to the palette
# The first byte of a block.
EXTENSION = 0x21
IMAGE = 0x2C
TRAILER = 0x3B
HAS_PALETTE = 0x80
PALETTE_SIZE = 0x07  # its entries are 2 to the power of one more


def read(data: bytes, path: Path, options: FileOptions) -> Picture:
    """One slice from the bytes of a GIF file; InputError names `path`, the reason and the remedy."""

    def make_picture(image: Image.Image) -> Picture:
        return to_picture(image, path, options)

    if data and not data.startswith(SIGNATURES):
        raise InputError(path, "is not a GIF file", f"convert it to 8-bit PNG, {REMEDY_ENDING}")
    if data:
        _check_file(data, path)
    return decode(data, path, "GIF", make_picture)


def _check_file(data: bytes, path: Path) -> None:
    """InputError unless the file is complete, and holds one frame that fills the picture."""
    try:
        width, height = struct.unpack_from("<HH", data, len(SIGNATURES[0]))
        frames = [struct.unpack_from("<HHHH", data, at + 1) for at in _images(data)]
    except (struct.error, IndexError, ValueError) as error:
        raise InputError(path, "damaged or truncated GIF", REMEDY_REWRITE) from error
    if len(frames) != 1:
        raise InputError(path, f"holds {len(frames)} frames", "save one of them, as PNG")
    if frames[0] != (0, 0, width, height):
        raise InputError(path, "its frame does not fill the picture", "save it as PNG")


def _images(data: bytes) -> Iterator[int]:
    """The positions of the images; ValueError or IndexError unless whole blocks follow each other up to the trailer."""
    position = HEADER + _palette_bytes(data[10])
    while (kind := data[position]) != TRAILER:
        if kind == IMAGE:
            yield position
            position += 10 + _palette_bytes(data[position + 9]) + 1  # the last byte is the size of a code
        elif kind == EXTENSION:
            position += 2
        else:
            raise ValueError("no such block")
        # Skip the parts of the block, up to one without content.
        while length := data[position]:
            position += 1 + length
        position += 1


def _palette_bytes(flags: int) -> int:
    return 3 * 2 ** ((flags & PALETTE_SIZE) + 1) if flags & HAS_PALETTE else 0
