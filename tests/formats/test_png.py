"""Every kind of PNG is either read exactly or refused with the file, the reason and the remedy."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from support.helpers import png, rewrite_chunk
from tfs_rt.errors import InputError
from tfs_rt.formats.picture import FileOptions
from tfs_rt.formats.png import read
from tfs_rt.images import RGB

PATH = Path("somewhere/pet.png")
GREY = np.arange(64, dtype=np.uint8).reshape(8, 8) * 4
COLOUR = np.stack([GREY, 255 - GREY, GREY // 2], axis=-1)
OPAQUE = np.dstack([COLOUR, np.full_like(GREY, 255)])


def read_image(data: bytes, path: Path) -> RGB:
    (image,) = read(data, path, FileOptions()).slices
    return image


def encoded(image: Image.Image, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", **options)
    return buffer.getvalue()


def refused(data: bytes, words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        read_image(data, PATH)
    assert caught.value.subject == str(PATH)
    assert caught.value.remedy


def test_grey_becomes_three_equal_channels() -> None:
    np.testing.assert_array_equal(read_image(png(GREY), PATH), np.dstack([GREY] * 3))


def test_rgb_and_opaque_alpha_are_read_as_they_are() -> None:
    np.testing.assert_array_equal(read_image(png(COLOUR), PATH), COLOUR)
    np.testing.assert_array_equal(read_image(png(OPAQUE), PATH), COLOUR)


def test_a_palette_is_looked_up() -> None:
    indexed = Image.fromarray(COLOUR).quantize(256)
    np.testing.assert_array_equal(read_image(encoded(indexed), PATH), np.asarray(indexed.convert("RGB")))


def test_one_bit_is_black_and_white() -> None:
    bits = Image.fromarray(GREY > 100)
    np.testing.assert_array_equal(read_image(encoded(bits), PATH), np.dstack([(GREY > 100).astype(np.uint8) * 255] * 3))


def test_transparency_is_refused() -> None:
    half = OPAQUE.copy()
    half[0, 0, 3] = 254
    refused(png(half), "transparent")
    refused(encoded(Image.fromarray(GREY), transparency=0), "transparent")


def test_sixteen_bits_are_refused_in_grey_without_a_window_and_in_colour_always() -> None:
    refused(png(GREY.astype(np.uint16) * 257), "16-bit.*--window LOW:HIGH")
    for kind, channels in ((2, 3), (4, 2), (6, 4)):
        header = struct.pack(">IIBBBBB", 8, 8, 16, kind, 0, 0, 0)
        deep = rewrite_chunk(png(GREY), b"IHDR", lambda _, header=header: header)
        deep = rewrite_chunk(deep, b"IDAT", lambda _, n=channels: zlib.compress((b"\0" + bytes(16 * n)) * 8))
        for rules in (FileOptions(), FileOptions(window=(0, 65535))):
            with pytest.raises(InputError, match="16-bit image: convert"):  # Pillow would drop the low bytes in silence
                read(deep, PATH, rules)


def test_sixteen_bit_grey_is_seen_through_a_window(rng: np.random.Generator) -> None:
    values = rng.integers(0, 65536, (9, 13)).astype(np.uint16)
    values[0, :4] = 0, 65535, 100, 4095
    found = read(png(values), PATH, FileOptions(window=(100, 4095)))
    expected = np.rint((values.astype(float) - 100).clip(0, 3995) * (255 / 3995))
    np.testing.assert_array_equal(found.slices, [np.dstack([expected] * 3)])
    assert found.facts == {
        "format": "png",
        "mode": "I;16",
        "levels": "window 100 to 4095, given",
        "window_from": "user",
    }
    passes = rewrite_chunk(png(values[:1, :1]), b"IHDR", lambda c: c[:12] + b"\1")  # interlaced: one pixel, one pass
    assert read(passes, PATH, FileOptions(window=(-1, 1))).slices[0].max() == 128
    keyed = png(values)
    keyed = keyed[:33] + chunk(b"tRNS", b"\0\0") + keyed[33:]
    with pytest.raises(InputError, match="transparent"):
        read(keyed, PATH, FileOptions(window=(0, 65535)))


def test_the_facts_say_how_values_became_levels_and_a_window_changes_no_eight_bits() -> None:
    rules = FileOptions(window=(0, 10))
    for data, words in (
        (png(GREY), "8-bit levels as stored"),
        (png(OPAQUE), "8-bit levels as stored"),
        (encoded(Image.fromarray(COLOUR).quantize(256)), "8-bit colours of its palette"),
        (encoded(Image.fromarray(GREY > 100)), "1-bit, black and white"),
    ):
        assert read(data, PATH, rules).facts["levels"] == words
        np.testing.assert_array_equal(read(data, PATH, rules).slices, read(data, PATH, FileOptions()).slices)
    rows = b"".join(b"\0" + bytes([0x12, 0x3F, 0, 0]) for _ in range(8))
    four = rewrite_chunk(png(GREY), b"IHDR", lambda c: c[:8] + b"\4" + c[9:])
    four = rewrite_chunk(four, b"IDAT", lambda _: zlib.compress(rows))
    found = read(four, PATH, FileOptions())
    assert found.facts["levels"] == "4-bit levels spread over 0 to 255"
    assert found.slices[0][0, :4, 0].tolist() == [17, 34, 51, 255]


def test_animation_and_stored_rotation_are_refused() -> None:
    frame = Image.fromarray(COLOUR)
    refused(encoded(frame, save_all=True, append_images=[Image.fromarray(255 - COLOUR)]), "animated")
    exif = Image.Exif()
    exif[0x0112] = 6
    refused(encoded(frame, exif=exif.tobytes()), "rotation")


def test_other_formats_are_refused_whatever_their_name() -> None:
    buffer = io.BytesIO()
    Image.fromarray(COLOUR).save(buffer, format="JPEG")
    refused(buffer.getvalue(), "not a PNG")
    refused(b"", "empty")


def test_every_truncation_is_refused() -> None:
    whole = png(COLOUR)
    for length in range(1, len(whole)):
        with pytest.raises(InputError):
            read_image(whole[:length], PATH)


def test_every_flipped_bit_is_refused_or_changes_nothing() -> None:
    whole = png(COLOUR)
    for position in range(len(whole) * 8):
        flipped = bytearray(whole)
        flipped[position // 8] ^= 1 << position % 8
        with pytest.raises(InputError):
            read_image(bytes(flipped), PATH)


def test_a_bomb_is_refused_by_its_header() -> None:
    huge = rewrite_chunk(png(GREY), b"IHDR", lambda c: struct.pack(">II", 50_000, 50_000) + c[8:])
    refused(huge, "more than 4096x4096")


def test_missing_rows_are_not_taken_for_black_ones() -> None:
    half = rewrite_chunk(png(COLOUR), b"IDAT", lambda c: zlib.compress(zlib.decompress(c)[: 4 * 25]))
    refused(half, "damaged or truncated")
    more = rewrite_chunk(png(COLOUR), b"IDAT", lambda c: zlib.compress(zlib.decompress(c) + b"\0" * 25))
    refused(more, "damaged or truncated")


@pytest.mark.parametrize("content", [b"", b"\0" * 4, struct.pack(">IIBBBBB", 0, 8, 8, 2, 0, 0, 0), b"\0" * 14])
def test_a_malformed_header_is_refused(content: bytes) -> None:
    refused(rewrite_chunk(png(COLOUR), b"IHDR", lambda _: content), "damaged PNG")


@pytest.mark.parametrize("size", [(1, 1), (3, 5), (8, 8), (17, 9)])
def test_interlaced_images_are_read(size: tuple[int, int], rng: np.random.Generator) -> None:
    """Pillow writes none, so the seven passes are laid out here."""
    height, width = size
    image = rng.integers(0, 256, (height, width)).astype(np.uint8)
    starts = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))
    passes = [image[y::dy, x::dx] for y, x, dy, dx in starts]
    rows = b"".join(b"\0" + row.tobytes() for part in passes if part.size for row in part)
    data = rewrite_chunk(png(image), b"IHDR", lambda c: c[:12] + b"\1")
    data = rewrite_chunk(data, b"IDAT", lambda _: zlib.compress(rows))
    np.testing.assert_array_equal(read_image(data, PATH), np.dstack([image] * 3))


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def test_a_second_header_or_a_lacking_palette_is_refused() -> None:
    whole = png(GREY)
    at = whole.index(b"IDAT") - 4
    for header in (struct.pack(">IIBBBBB", 8, 16, 8, 0, 0, 0, 0), struct.pack(">IIBBBBB", 8, 8, 16, 0, 0, 0, 0)):
        refused(whole[:at] + chunk(b"IHDR", header) + whole[at:], "damaged PNG")
    indexed = rewrite_chunk(whole, b"IHDR", lambda c: c[:9] + b"\3" + c[10:])
    refused(indexed, "damaged PNG .no palette")
    short = indexed[:at] + chunk(b"PLTE", bytes(3 * 4)) + indexed[at:]
    refused(short, "colours beyond its palette")
    end = indexed.index(b"IEND") - 4
    refused(indexed[:end] + chunk(b"PLTE", bytes(768)) + indexed[end:], "damaged PNG .no palette")
