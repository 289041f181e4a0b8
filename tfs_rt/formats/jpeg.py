"""Read a JPEG if the user allows it: no damage can be seen in one, and its 8x8 blocks are taken for anatomy.

Accepted with `FileOptions.allow_lossy`: 8-bit grey and RGB. Refused: CMYK, several pictures in one file, a stored
rotation, a file that ends too early, more than 4096 x 4096 pixels.
"""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from tfs_rt.errors import InputError
from tfs_rt.formats.picture import FileOptions, Picture
from tfs_rt.formats.pillow_modes import REMEDY_ENDING, check_upright, decode, to_picture

SIGNATURE = b"\xff\xd8\xff"
LOSSY = (
    "give --allow-lossy, knowing that damage cannot be seen in JPEG and that its blocks are taken for anatomy,"
    " or give the file that it was made from"
)


def read(data: bytes, path: Path, options: FileOptions) -> Picture:
    """One slice from the bytes of a JPEG file; InputError names `path`, the reason and the remedy."""

    def make_picture(image: Image.Image) -> Picture:
        if getattr(image, "n_frames", 1) > 1:
            raise InputError(path, "holds several pictures", "save one of them")
        check_upright(image, path)
        return to_picture(image, path, options)

    if data and not data.startswith(SIGNATURE):
        raise InputError(path, "is not a JPEG file", f"convert it to 8-bit PNG, {REMEDY_ENDING}")
    if data and not options.allow_lossy:
        raise InputError(path, "is a JPEG, which loses detail", LOSSY)
    return decode(data, path, "JPEG", make_picture)
