"""Read a TIFF by rule or refuse it: nothing is guessed, filled up or dropped in silence.

Accepted as they are: 8-bit grey, RGB, palette, 1-bit (a window changes nothing in them); alpha only where every pixel
is opaque. Accepted through `FileOptions.window`, in stored values: grey of 12 and 16 bits, int32, float32; where white
is low in the file, the levels are inverted after it. JPEG inside only with `FileOptions.allow_lossy`. Refused: several
pages, CMYK, LAB, YCbCr, colour of more than 8 bits, samples of unknown meaning, a stored rotation, strips or tiles
that are missing, cut off or do not inflate to their pixels, compressed big-endian int and float, more than 4096 x 4096
pixels. Of the compressions, deflate alone has a checksum: in the others, damaged pixels may pass for pixels.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from PIL import Image
from PIL import TiffImagePlugin as Tag

from tfs_rt.errors import InputError
from tfs_rt.formats.jpeg import LOSSY
from tfs_rt.formats.picture import FileOptions, Picture
from tfs_rt.formats.pillow_modes import REMEDY_ENDING, REMEDY_REWRITE, check_upright, decode, inflates_to, to_picture

SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # the last two: BigTIFF
BIG_ENDIAN = b"MM"
# Photometric interpretations.
WHITE_IS_LOW = 0
PALETTE = 3
YCBCR = 6
PHOTOMETRIC = (0, 1, 2, 3)  # grey of either kind, RGB, palette
# Compressions.
RAW = 1
LZW = 5
JPEG = 7
PACKBITS = 32773
DEFLATE = (8, 32946)
# Sample formats.
UNSIGNED = 1
SIGNED = 2
FLOAT = 3
DEEP_KINDS = (
    ("I;16", 12, UNSIGNED),
    ("I;16", 16, UNSIGNED),
    ("I;16B", 16, UNSIGNED),
    ("I", 16, SIGNED),
    ("I", 32, SIGNED),
    ("F", 32, FLOAT),
)  # (Pillow's mode, bits, sample format); it opens unsigned 32 bits too, but wraps them
SEPARATE = 2  # planar configuration
ALPHA = (1, 2)  # extra samples
MAX_PART_BYTES = 2**28
Tags = Tag.ImageFileDirectory_v2


def read(data: bytes, path: Path, options: FileOptions) -> Picture:
    """One slice from the bytes of a TIFF file; InputError names `path`, the reason and the remedy."""

    def make_picture(image: Image.Image) -> Picture:
        assert isinstance(image, Tag.TiffImageFile)
        # Refuse what Pillow would open in another way than it is meant.
        if image.n_frames > 1:
            raise InputError(path, f"holds {image.n_frames} pages", "save one of them, or the volume as NIfTI")
        check_upright(image, path)
        tags = image.tag_v2
        _check_compression(tags, path, options)
        _check_samples(image.mode, tags, path)
        # Check that every strip or tile is complete.
        compression = tags.get(Tag.COMPRESSION, RAW)
        if not all(_is_whole(compression, data[at : at + n], n, pixels) for at, n, pixels in _parts(tags, image.size)):
            raise InputError(path, "damaged or truncated TIFF", REMEDY_REWRITE)
        # Convert the pixels.
        white_is_low = tags[Tag.PHOTOMETRIC_INTERPRETATION] == WHITE_IS_LOW
        return to_picture(image, path, options, bits=max(_bits(tags)), white_is_low=white_is_low)

    # Check the signature before Pillow sees the file.
    if data and not data.startswith(SIGNATURES):
        raise InputError(path, "is not a TIFF file", f"convert it to 8-bit TIFF or PNG, {REMEDY_ENDING}")
    return decode(data, path, "TIFF", make_picture)


def _check_compression(tags: Tags, path: Path, options: FileOptions) -> None:
    compression = tags.get(Tag.COMPRESSION, RAW)
    if compression == JPEG and not options.allow_lossy:
        raise InputError(path, "is compressed by JPEG, which loses detail", LOSSY)
    if compression not in (RAW, LZW, JPEG, PACKBITS, *DEFLATE) or tags.get(Tag.FILLORDER, 1) != 1:
        name = Tag.COMPRESSION_INFO.get(compression, compression)
        raise InputError(path, f"is packed in a way that is not read ({name})", "save it with deflate or LZW")


def _check_samples(mode: str, tags: Tags, path: Path) -> None:
    """Refuse samples that Pillow opens, but guesses, cuts or wraps."""
    # Check the kind of colours.
    photometric = tags.get(Tag.PHOTOMETRIC_INTERPRETATION)
    bits = max(_bits(tags))
    converted = photometric == YCBCR and tags.get(Tag.COMPRESSION) == JPEG  # by libtiff, to RGB
    if photometric not in PHOTOMETRIC and not converted:
        raise InputError(path, f"has colours that are not read ({mode})", "convert it to 8-bit grey or RGB")
    # Check the kind of numbers.
    kind = tags.get(Tag.SAMPLEFORMAT, (UNSIGNED,))[0]
    if kind != UNSIGNED if bits <= 8 else (mode, bits, kind) not in DEEP_KINDS:
        reason = f"has {bits}-bit samples of a kind that is not read ({mode})"
        raise InputError(path, reason, "convert it to 8-bit grey or RGB, or to 16-bit grey")
    if mode in ("I", "F") and tags.prefix == BIG_ENDIAN and tags.get(Tag.COMPRESSION, RAW) != RAW:
        reason = "is compressed and big-endian, whose bytes Pillow swaps for nothing"
        raise InputError(path, reason, "save it little-endian, or without compression")
    # Check the samples beside the colours, and the palette.
    if any(extra not in ALPHA for extra in tags.get(Tag.EXTRASAMPLES, ())):
        raise InputError(path, "has samples of unknown meaning beside its colours", "save it without them")
    if photometric == PALETTE and 0 < max(tags[Tag.COLORMAP]) < 256:
        raise InputError(path, "has an 8-bit palette, where TIFF has 16-bit ones", "convert it to RGB")


def _parts(tags: Tags, size: tuple[int, int]) -> Iterator[tuple[int, int, int]]:
    """(offset, length, bytes of pixels) of every strip or tile; ValueError where they are not as many as it takes."""
    # Read how the image is divided.
    width, height = size
    samples = tags.get(Tag.SAMPLESPERPIXEL, 1)
    bits = _bits(tags)[0]
    planes = samples if tags.get(Tag.PLANAR_CONFIGURATION, 1) == SEPARATE else 1
    tiled = Tag.TILEOFFSETS in tags
    across = tags[Tag.TILEWIDTH] if tiled else width
    down = tags[Tag.TILELENGTH] if tiled else tags.get(Tag.ROWSPERSTRIP, height)
    # Check the number of parts.
    offsets = tags[Tag.TILEOFFSETS if tiled else Tag.STRIPOFFSETS]
    lengths = tags[Tag.TILEBYTECOUNTS if tiled else Tag.STRIPBYTECOUNTS]
    rows = -(-height // down)
    if not len(offsets) == len(lengths) == -(-width // across) * rows * planes:
        raise ValueError("strips or tiles are missing")
    # Compute the bytes that each part holds.
    row_bytes = -(-across * bits * (samples // planes) // 8)
    for number, (offset, length) in enumerate(zip(offsets, lengths, strict=True)):
        shown = down if tiled else min(down, height - number % rows * down)  # the last strip is shorter, no tile is
        yield offset, length, shown * row_bytes


def _is_whole(compression: int, part: bytes, length: int, pixel_bytes: int) -> bool:
    """True if a strip or tile is complete: Pillow does not check, and libtiff fills gaps."""
    if len(part) < length or pixel_bytes > MAX_PART_BYTES:
        return False
    if compression in DEFLATE:
        return inflates_to(part, pixel_bytes)
    return length >= (pixel_bytes if compression == RAW else 1)


def _bits(tags: Tags) -> tuple[int, ...]:
    return tags.get(Tag.BITSPERSAMPLE, (1,))
