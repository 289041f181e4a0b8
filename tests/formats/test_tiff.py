"""Every kind of TIFF and JPEG is either read exactly or refused with the file, the reason and the remedy.

tifffile, which shares no code with Pillow, writes most of the files here.
"""

import io
import struct
import tracemalloc
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from tfs_rt.errors import InputError
from tfs_rt.formats import jpeg, tiff
from tfs_rt.formats.picture import FileOptions, Picture

PATH = Path("somewhere/pet.tif")
PHOTO = Path("somewhere/pet.jpg")
WINDOW = FileOptions(window=(100, 4095))
LOSSY = FileOptions(allow_lossy=True)
RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (37, 50)).astype(np.uint8)
COLOUR = RNG.integers(0, 256, (37, 50, 3)).astype(np.uint8)
DEEP = RNG.integers(0, 5000, (37, 50)).astype(np.uint16)
OPAQUE = np.full_like(GREY, 255)
WINDOWED = np.rint((DEEP.astype(float) - 100).clip(0, 3995) * (255 / 3995)).astype(np.uint8)
PALETTE = RNG.integers(0, 256, (3, 256)).astype(np.uint16)


def written(pixels: np.ndarray, **options: Any) -> bytes:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, pixels, metadata=None, **options)
    return buffer.getvalue()


def saved(image: Image.Image, kind: str = "TIFF", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format=kind, **options)
    return buffer.getvalue()


def retagged(data: bytes, tag: int, value: int, kind: int | None = None) -> bytes:
    """A little-endian TIFF in which the first entry of a tag holds another value."""
    (directory,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, directory)
    changed = bytearray(data)
    for at in range(directory + 2, directory + 2 + 12 * count, 12):
        number, found = struct.unpack_from("<HH", data, at)
        if number == tag:
            struct.pack_into("<H" if (kind or found) == 3 else "<I", changed, at + 8, value)
            return bytes(changed)
    raise AssertionError(f"no tag {tag}")


def picture(data: bytes, rules: FileOptions | None = None) -> Picture:
    return tiff.read(data, PATH, rules or FileOptions())


def read_as(
    data: bytes, expected: np.ndarray, words: str = "8-bit levels as stored", rules: FileOptions | None = None
) -> None:
    found = picture(data, rules)
    rgb = expected if expected.ndim == 3 else np.dstack([expected] * 3)
    np.testing.assert_array_equal(found.slices, [rgb])
    assert found.slices[0].dtype == np.uint8
    assert found.facts["format"] == "tiff"
    assert found.facts["levels"] == words


def refused(data: bytes, words: str, rules: FileOptions | None = None) -> None:
    with pytest.raises(InputError, match=words) as caught:
        picture(data, rules)
    assert caught.value.subject == str(PATH)
    assert caught.value.remedy


LAYOUTS = [
    {},
    {"byteorder": ">"},
    {"rowsperstrip": 5},
    {"tile": (16, 32)},
    {"compression": "zlib"},
    {"compression": "zlib", "tile": (16, 16), "byteorder": ">"},
    {"compression": "zlib", "rowsperstrip": 7},
    {"bigtiff": True},
]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_grey_and_colour_are_read_in_every_layout(layout: dict[str, Any]) -> None:
    read_as(written(GREY, photometric="minisblack", **layout), GREY)
    read_as(written(GREY, photometric="miniswhite", **layout), 255 - GREY, rules=WINDOW)
    read_as(written(COLOUR, photometric="rgb", **layout), COLOUR, rules=WINDOW)
    planes = written(COLOUR.transpose(2, 0, 1), photometric="rgb", planarconfig="separate", **layout)
    read_as(planes, COLOUR)
    opaque = np.dstack([COLOUR, OPAQUE])
    read_as(written(opaque, photometric="rgb", extrasamples=["unassalpha"], **layout), COLOUR)
    read_as(written(opaque, photometric="rgb", extrasamples=["assocalpha"], **layout), COLOUR)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_deep_grey_is_seen_through_a_window_of_stored_values(layout: dict[str, Any]) -> None:
    words = "window 100 to 4095, given"
    read_as(written(DEEP, photometric="minisblack", **layout), WINDOWED, words, WINDOW)
    inverted = f"{words}, inverted: white is low"
    white = written(DEEP, photometric="miniswhite", **layout)
    if layout.get("byteorder") == ">":
        refused(white, "of a kind that is not read", WINDOW)  # Pillow has no such mode
    else:
        read_as(white, 255 - WINDOWED, inverted, WINDOW)
    for kind in (np.int16, np.int32, np.float32):
        values = DEEP.astype(kind) - 500
        levels = np.rint((values.astype(float) + 400).clip(0, 3995) * (255 / 3995))
        data = written(values, photometric="minisblack", **layout)
        if layout.get("byteorder") == ">" and "compression" in layout:
            refused(data, "compressed and big-endian", WINDOW)  # Pillow takes its bytes in the wrong order
            continue
        read_as(data, levels, "window -400 to 3595, given", FileOptions(window=(-400, 3595)))
        refused(data, "more than 8 bits: give --window LOW:HIGH")


@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("width", [50, 51])
def test_twelve_bits_are_seen_through_a_window(width: int, compression: str | None) -> None:
    values = RNG.integers(0, 4096, (37, width))
    bits = values[..., None] >> np.arange(11, -1, -1) & 1
    packed = np.packbits(bits.reshape(37, -1), axis=1)
    data = written(packed, photometric="minisblack", compression=compression)
    levels = np.rint(values * (255 / 4095))
    read_as(
        retagged(retagged(data, 258, 12), 256, width), levels, "window 0 to 4095, given", FileOptions(window=(0, 4095))
    )


def test_palettes_and_fewer_bits_are_looked_up_and_spread() -> None:
    indexed = written(GREY, photometric="palette", colormap=PALETTE * 257)
    read_as(indexed, PALETTE.T[GREY].astype(np.uint8), "8-bit colours of its palette")
    bits = Image.fromarray(GREY > 100)
    black_white = (GREY > 100).astype(np.uint8) * 255
    for data in (saved(bits), saved(bits, compression="packbits"), saved(bits, compression="tiff_adobe_deflate")):
        read_as(data, black_white, "1-bit, black and white")
    read_as(retagged(saved(bits), 262, 0), 255 - black_white, "1-bit, black and white")
    four = retagged(retagged(written(GREY, photometric="minisblack"), 258, 4), 256, 100)
    nibbles = np.stack([GREY >> 4, GREY & 15], axis=-1).reshape(37, 100) * 17
    read_as(four, nibbles, "4-bit levels spread over 0 to 255")


@pytest.mark.parametrize("compression", ["tiff_lzw", "packbits", "tiff_adobe_deflate", "tiff_deflate"])
def test_lossless_compressions_are_read(compression: str) -> None:
    read_as(saved(Image.fromarray(GREY), compression=compression), GREY)
    read_as(saved(Image.fromarray(COLOUR), compression=compression), COLOUR)
    for deep in (DEEP, DEEP.astype(">u2"), DEEP.astype(np.float32)):
        for predictor in {"packbits": [1]}.get(compression, [1, 2]):
            data = saved(Image.fromarray(deep), compression=compression, tiffinfo={317: predictor})
            read_as(data, WINDOWED, "window 100 to 4095, given", WINDOW)


def test_what_cannot_be_read_by_rule_is_refused() -> None:
    clear = np.dstack([COLOUR, OPAQUE])
    clear[3, 4, 3] = 254
    for rules in (FileOptions(), FileOptions(window=(0, 65535), allow_lossy=True)):
        refused(written(clear, photometric="rgb", extrasamples=["unassalpha"]), "transparent", rules)
        refused(saved(Image.fromarray(np.dstack([GREY, GREY]), "LA")), "transparent", rules)
        refused(written(clear, photometric="rgb", extrasamples=["unspecified"]), "unknown meaning", rules)
        refused(written(np.stack([GREY] * 3), photometric="minisblack"), "holds 3 pages", rules)
        refused(written(clear, photometric="separated"), "colours that are not read", rules)
        refused(saved(Image.fromarray(COLOUR).convert("LAB")), "colours that are not read", rules)
        refused(saved(Image.fromarray(COLOUR).convert("YCbCr")), "colours that are not read", rules)
        refused(written(COLOUR.astype(np.uint16), photometric="rgb"), "16-bit samples", rules)
        refused(written(DEEP.astype(np.uint32), photometric="minisblack"), "32-bit samples", rules)
        refused(written(DEEP.astype(np.float64), photometric="minisblack"), "of a kind that is not read", rules)
        refused(written(DEEP.astype(np.float16), photometric="minisblack"), "of a kind that is not read", rules)
        refused(written(GREY.view(np.int8), photometric="minisblack"), "8-bit samples of a kind", rules)
        refused(written(DEEP.astype(np.complex64), photometric="minisblack"), "of a kind that is not read", rules)
        refused(saved(Image.fromarray(GREY > 9), compression="group4"), "not read .group4", rules)
        refused(saved(Image.fromarray(GREY > 9), compression="group3"), "not read .group3", rules)
        refused(written(GREY, photometric="palette", colormap=PALETTE), "8-bit palette", rules)
        refused(saved(Image.fromarray(COLOUR), tiffinfo={274: 6}), "rotation", rules)
        refused(retagged(saved(Image.fromarray(GREY)), 259, 50_000, 3), "not read .zstd", rules)
    for bad, words in ((np.nan, "not numbers"), (np.inf, "infinite values")):
        holed = DEEP.astype(np.float32)
        holed[1, 2] = bad
        refused(written(holed, photometric="minisblack"), words, WINDOW)


def test_jpeg_inside_is_read_if_the_user_allows_it() -> None:
    smooth = Image.fromarray(COLOUR).resize((64, 48), Image.Resampling.BICUBIC)
    for image in (smooth, smooth.convert("L")):
        data = saved(image, compression="jpeg")
        refused(data, "--allow-lossy")
        with Image.open(io.BytesIO(data)) as again:
            read_as(data, np.asarray(again.convert("RGB")), rules=LOSSY)


def test_a_file_is_what_its_name_says() -> None:
    refused(b"", "empty")
    refused(saved(Image.fromarray(COLOUR), "PNG"), "not a TIFF file")
    refused(saved(Image.fromarray(COLOUR), "JPEG"), "not a TIFF file")


def test_strips_that_are_missing_or_cut_off_are_not_taken_for_black_ones() -> None:
    plain = written(GREY, photometric="minisblack")
    refused(retagged(plain, 279, 900), "damaged or truncated")
    refused(retagged(plain, 273, len(plain) - 900), "damaged or truncated")
    refused(retagged(plain, 278, 20), "strips or tiles are missing")
    packed = written(GREY, photometric="minisblack", compression="zlib")
    refused(retagged(packed, 279, 900), "damaged or truncated")
    refused(retagged(packed, 257, 38), "damaged")
    for compression in ("tiff_lzw", "packbits"):
        short = saved(Image.fromarray(COLOUR), compression=compression)
        refused(retagged(short, 279, 2000), "damaged")


@pytest.mark.parametrize("options", [{}, {"compression": "zlib", "rowsperstrip": 9}, {"tile": (16, 16)}])
def test_every_cut_is_refused(options: dict[str, Any]) -> None:
    whole = written(GREY, photometric="minisblack", **options)
    for length in [*range(1, 300), *range(300, len(whole) - 40, 17), *range(len(whole) - 40, len(whole))]:
        with pytest.raises(InputError):
            picture(whole[:length])


def test_flipped_bits_are_refused_or_read_and_never_in_deflated_pixels(capfd: pytest.CaptureFixture[str]) -> None:
    packed = written(GREY, photometric="minisblack", compression="zlib", rowsperstrip=9)
    (directory,) = struct.unpack_from("<I", packed, 4)
    for whole in (packed, written(DEEP, photometric="miniswhite"), saved(Image.fromarray(COLOUR), compression="jpeg")):
        right = np.array(picture(whole, FileOptions(window=(0, 5000), allow_lossy=True)).slices)
        head = struct.unpack_from("<I", whole, 4)[0]
        for position in [*RNG.choice(len(whole) * 8, 300), *range(64), *(head * 8 + RNG.choice(180 * 8, 300))]:
            flipped = bytearray(whole)
            flipped[position // 8 % len(whole)] ^= 1 << position % 8
            try:
                found = picture(bytes(flipped), FileOptions(window=(0, 5000), allow_lossy=True))
            except InputError:
                continue
            if whole is packed and position // 8 > directory + 250:
                np.testing.assert_array_equal(found.slices, right)
    capfd.readouterr()  # libtiff complains there


def test_bombs_are_refused_by_their_header() -> None:
    plain = written(GREY, photometric="minisblack")
    packed = zlib.compress(bytes(50_000_000))
    tracemalloc.start()
    for side in (5_000, 12_000, 60_000):
        refused(retagged(retagged(plain, 256, side), 257, side), "more than 4096x4096")
    bomb = written(GREY, photometric="minisblack", compression="zlib")
    at = len(bomb)
    refused(retagged(retagged(bomb + packed, 273, at), 279, len(packed)), "damaged or truncated")
    assert tracemalloc.get_traced_memory()[1] < 1_000_000
    tracemalloc.stop()


def photo(data: bytes, rules: FileOptions = LOSSY) -> Picture:
    return jpeg.read(data, PHOTO, rules)


def photo_refused(data: bytes, words: str, rules: FileOptions = LOSSY) -> None:
    with pytest.raises(InputError, match=words) as caught:
        photo(data, rules)
    assert caught.value.subject == str(PHOTO)
    assert caught.value.remedy


@pytest.mark.parametrize(
    "options", [{}, {"progressive": True}, {"subsampling": 0}, {"quality": 20}, {"optimize": True}]
)
def test_jpeg_is_read_if_the_user_allows_it(options: dict[str, Any]) -> None:
    for image in (Image.fromarray(COLOUR), Image.fromarray(GREY)):
        data = saved(image, "JPEG", **options)
        with Image.open(io.BytesIO(data)) as again:
            expected = np.asarray(again.convert("RGB"))
        np.testing.assert_array_equal(photo(data).slices, [expected])
        assert photo(data).facts == {"format": "jpeg", "mode": image.mode, "levels": "8-bit levels as stored"}
        photo_refused(data, "--allow-lossy.*damage cannot be seen", FileOptions())


def test_other_jpegs_are_refused() -> None:
    image = Image.fromarray(COLOUR)
    photo_refused(saved(image.convert("CMYK"), "JPEG"), "mode CMYK")
    exif = Image.Exif()
    exif[0x0112] = 3
    photo_refused(saved(image, "JPEG", exif=exif.tobytes()), "rotation")
    photo_refused(saved(image, "MPO", save_all=True, append_images=[image]), "several pictures")
    photo_refused(b"", "empty")
    photo_refused(saved(image, "PNG"), "not a JPEG")
    wide = saved(image, "JPEG")
    at = wide.index(b"\xff\xc0") + 5
    photo_refused(wide[:at] + struct.pack(">HH", 60_000, 60_000) + wide[at + 4 :], "more than 4096")
    photo_refused(wide[:at] + struct.pack(">HH", 5_000, 5_000) + wide[at + 4 :], "5000x5000")


def test_jpegs_that_end_too_early_are_refused_and_flipped_bits_never_raise_anything_else() -> None:
    for options in ({}, {"progressive": True}):
        whole = saved(Image.fromarray(COLOUR), "JPEG", **options)
        for length in [*range(1, len(whole) - 40, 11), *range(len(whole) - 40, len(whole))]:
            with pytest.raises(InputError):
                photo(whole[:length])
        for position in RNG.choice(len(whole) * 8, 200):
            flipped = bytearray(whole)
            flipped[position // 8] ^= 1 << position % 8
            try:
                photo(bytes(flipped))
            except InputError:
                continue
