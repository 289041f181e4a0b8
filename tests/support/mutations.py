"""Damaged and hostile files, made from whole ones, and what becomes of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from numpy.random import Generator

from tfs_rt.errors import InputError
from tfs_rt.formats.picture import Content, FileOptions, Picture
from tfs_rt.formats.sandboxed import SandboxedReader


def mutated(data: bytes, rng: Generator) -> Iterator[bytes]:
    """Cuts, flipped bits, foreign blocks, changed headers and repeated parts, without end."""
    while True:
        at = int(rng.integers(len(data)))
        changed = bytearray(data)
        yield data[:at]
        changed[at] ^= 1 << int(rng.integers(8))
        yield bytes(changed)
        yield data[:at] + rng.bytes(int(rng.integers(1, 64))) + data[at + 32 :]
        head = int(rng.integers(min(len(data), 400)))
        yield data[:head] + rng.choice([b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff"]) + data[head + 4 :]
        yield data[:at] + data[at // 2 :]


def outcome(reader: SandboxedReader, data: Content, path: Path, rules: FileOptions) -> Picture | InputError:
    """The picture, or the error that refuses the file."""
    try:
        return reader.read(data, path, rules)
    except InputError as error:
        return error
