"""Decode PNG, TIFF and JPEG by Pillow: its exceptions become InputError, its modes become levels or are refused.

Accepted: 8-bit grey and RGB, palettes, 1-bit, and alpha where every pixel is opaque. Grey of fewer than 8 bits is
scaled to 0 to 255. Deeper grey needs `FileOptions.window`, which changes nothing in the others.
"""

from __future__ import annotations

import io
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from tfs_rt.errors import InputError, first_line
from tfs_rt.formats.levels import AS_STORED, window_words
from tfs_rt.formats.missing import fill_missing
from tfs_rt.formats.picture import MAX_PIXELS, FileOptions, Picture, grey, to_levels
from tfs_rt.images import RGB

REMEDY_REWRITE = "write the file again"
REMEDY_ENDING = "or give it the ending of its own format"
REMEDY_8_BIT = "write the file again, as 8-bit grey or RGB"
REMEDY_WINDOW = (
    "give --window LOW:HIGH, in its own values: which of them become black and white is your choice,"
    " or save it with 8 bits a pixel"
)
ORIENTATION = 0x0112  # EXIF
OPAQUE_ONLY = ("LA", "RGBA", "PA")
DEEP = ("I;16", "I;16B", "I", "F")
WORDS = {"1": "1-bit, black and white", "P": "8-bit colours of its palette", "PA": "8-bit colours of its palette"}


def decode(data: bytes, path: Path, kind: str, make_picture: Callable[[Image.Image], Picture]) -> Picture:
    """Open an image as `kind` and return what `make_picture` makes of it. Any fault of either becomes InputError."""
    if not data:
        raise InputError(path, "is empty", REMEDY_REWRITE)
    # Open the image. Pillow warns of damage and goes on: such a warning is an error here.
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)  # Pillow warns of damage and goes on
            warnings.filterwarnings("ignore", "Metadata Warning", UserWarning)  # about tags that are not used here
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # the limit below is lower
            with Image.open(io.BytesIO(data), formats=[kind]) as image:
                _check_size(image.size, path)
                return make_picture(image)
    except (InputError, MemoryError):
        raise
    except Image.DecompressionBombError as error:
        raise InputError(path, "more than 4096x4096 pixels", "crop or shrink it") from error
    except UnidentifiedImageError as error:  # its message has an address in memory
        raise InputError(path, f"is a damaged {kind}, or of a kind that is not read", REMEDY_8_BIT) from error
    except Exception as error:  # Pillow raises OSError, SyntaxError, ValueError, zlib.error, struct.error ...
        raise InputError(path, f"is a damaged {kind} ({first_line(error)})", REMEDY_REWRITE) from error


def _check_size(size: tuple[int, int], path: Path) -> None:
    width, height = size
    if width * height > MAX_PIXELS:
        raise InputError(path, f"{width}x{height} pixels are more than 4096x4096", "crop or shrink it")


def check_upright(image: Image.Image, path: Path) -> None:
    """Refuse a rotation that is stored beside the pixels: some viewers apply it, some do not."""
    if image.getexif().get(ORIENTATION, 1) != 1:
        raise InputError(path, "carries a rotation in its EXIF data", "rotate the pixels and save without it")


def inflates_to(compressed: bytes, size: int) -> bool:
    """True if a zlib stream is complete and gives `size` bytes: Pillow would fill missing rows with black."""
    inflater = zlib.decompressobj()
    try:
        return len(inflater.decompress(compressed, size + 1)) == size and inflater.eof
    except zlib.error:
        return False


def to_picture(
    image: Image.Image, path: Path, options: FileOptions, *, bits: int = 8, white_is_low: bool = False
) -> Picture:
    """An open image as one slice, of `bits` a sample; `white_is_low` inverts deep grey (Pillow inverts the rest)."""
    mode = image.mode
    if mode in DEEP:
        pixels, facts = _apply_window(image, path, options, white_is_low)
    else:
        pixels = _to_rgb(image, path)
        words = WORDS.get(mode) or (AS_STORED if bits == 8 else f"{bits}-bit levels spread over 0 to 255")
        facts = {"levels": words}
    return Picture((pixels,), {"format": (image.format or "").lower(), "mode": mode, **facts})


def _apply_window(
    image: Image.Image, path: Path, options: FileOptions, white_is_low: bool
) -> tuple[RGB, dict[str, Any]]:
    """The image through the user's window, and facts about it."""
    if options.window is None:
        raise InputError(path, "holds grey values of more than 8 bits", REMEDY_WINDOW)
    if "transparency" in image.info:
        raise InputError(path, "has transparent pixels", "flatten it onto a background of your choice")
    filled = fill_missing(np.asarray(image), path, options)
    levels = to_levels(filled.values, options.window)
    if white_is_low:
        levels = 255 - levels
    filled.blacken(levels)
    words = window_words(options.window) + (", inverted: white is low" if white_is_low else "") + filled.words
    return grey(levels), {"levels": words, "window_from": "user", **filled.facts}


def _to_rgb(image: Image.Image, path: Path) -> RGB:
    if image.mode not in ("1", "L", "P", "RGB", *OPAQUE_ONLY):
        raise InputError(
            path, f"is in colour mode {image.mode}, which is not supported", "convert it to 8-bit grey or RGB"
        )
    image.load()
    if image.mode == "P" and np.asarray(image).max() >= len(image.getpalette() or []) // 3:
        raise InputError(path, f"is a damaged {image.format} (colours beyond its palette)", REMEDY_REWRITE)
    if image.mode in OPAQUE_ONLY or "transparency" in image.info:
        rgba = np.asarray(image.convert("RGBA"))
        if (rgba[..., 3] != 255).any():
            raise InputError(path, "has transparent pixels", "flatten it onto a background of your choice")
        return np.ascontiguousarray(rgba[..., :3])
    return np.asarray(image.convert("RGB"))
