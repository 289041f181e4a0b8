"""Files in and out at 256x256, and the guards; each against pixels that are known, or against its formula."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from pytest_benchmark.fixture import BenchmarkFixture

from tfs_rt.cases.guards import input_findings, result_findings
from tfs_rt.formats.picture import FileOptions
from tfs_rt.formats.png import encode_png, read
from tfs_rt.formats.sandboxed import SandboxedReader
from tfs_rt.images import RGB, resize

SIDE = 256
HERE = Path("image.png")
SHIFT = 16  # pixels of 256
Holds = Callable[[Any, Any, float], None]


def written(image: RGB) -> bytes:
    """A PNG by hand: every row as it is."""
    height, width = image.shape[:2]
    rows = b"".join(b"\0" + row.tobytes() for row in image)
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = [(b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    chunks = (struct.pack(">I", len(c)) + k + c + struct.pack(">I", zlib.crc32(k + c)) for k, c in parts)
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def undone(data: bytes) -> RGB:
    """The pixels of an RGB PNG of 256x256 by the standard's five filters, byte by byte."""
    # Collect the compressed pixels from the chunks.
    at = 8
    packed = b""
    while at < len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        packed += data[at + 8 : at + 8 + length] if kind == b"IDAT" else b""
        at += 12 + length
    # Undo the filter of each row, byte by byte.
    raw = zlib.decompress(packed)
    above = bytes(3 * SIDE)
    rows = []
    for start in range(0, len(raw), 3 * SIDE + 1):
        row = bytearray(raw[start + 1 : start + 1 + 3 * SIDE])
        for i in range(len(row)):
            a, b, c = (row[i - 3], above[i], above[i - 3]) if i >= 3 else (0, above[i], 0)
            nearest = min((a, b, c), key=lambda value: abs(a + b - c - value))  # the first of equals: Paeth's order
            row[i] = (row[i] + (0, a, b, (a + b) // 2, nearest)[raw[start]]) % 256
        above = bytes(row)
        rows.append(above)
    return np.frombuffer(b"".join(rows), np.uint8).reshape(SIDE, SIDE, 3)


def test_png_read(images: list[RGB], benchmark: BenchmarkFixture, holds: Holds) -> None:
    image = resize(images[2], (SIDE, SIDE))
    picture = benchmark(read, written(image), HERE, FileOptions())
    holds(picture.slices[0], image, 0)


def test_png_encode(images: list[RGB], benchmark: BenchmarkFixture, holds: Holds) -> None:
    image = resize(images[2], (SIDE, SIDE))
    data = benchmark(encode_png, image, {"Software": "tfs-rt"})
    holds(undone(data), image, 0)


def test_png_read_in_a_child(images: list[RGB], benchmark: BenchmarkFixture, holds: Holds) -> None:
    """With the way there and back; the child runs already, and a new one after every 200 files counts too."""
    image = resize(images[2], (SIDE, SIDE))
    data = written(image)
    with SandboxedReader() as reader:
        reader.read(data, HERE, FileOptions())
        picture = benchmark(reader.read, data, HERE, FileOptions())
    holds(picture.slices[0], image, 0)


def test_guards_of_inputs(images: list[RGB], benchmark: BenchmarkFixture, holds: Holds) -> None:
    large = [resize(image, (SIDE, SIDE)) for image in images]
    case = [np.roll(large[0], SHIFT, axis=1), *large[1:]]
    (finding,) = benchmark(input_findings, case)
    assert finding.guard == "registration"
    holds(finding.measured, SHIFT / SIDE, 0.5 / 64)  # it is searched on a grid of 64 cells


def test_guards_of_a_result(images: list[RGB], benchmark: BenchmarkFixture, holds: Holds) -> None:
    large = [resize(image, (SIDE, SIDE)) for image in images]
    light = np.max([image.astype(float) @ (0.299, 0.587, 0.114) for image in large], axis=0)
    grey = np.rint(light + 30).clip(0, 255)
    (finding,) = benchmark(result_findings, np.dstack([grey] * 3).astype(np.uint8), large)
    assert finding.guard == "brightness"
    holds(finding.measured, np.abs(grey - light).mean(), 1e-3)
