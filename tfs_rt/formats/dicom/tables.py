"""Lookup tables of DICOM: those of modality and VOI, and palettes (PS3.3 C.11.1.1, C.7.6.3.1.5, C.7.9.2)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.multival import MultiValue

COLOURS = ("Red", "Green", "Blue")
# Kinds of segments.
DISCRETE = 0
LINEAR = 1
MAX_ENTRIES = 2**16


@dataclass(frozen=True, slots=True)
class Table:
    """A lookup table. Values before its first entry take the first, values after its last take the last."""

    first: int  # the value that takes the first entry
    entries: tuple[int, ...]
    bits: int  # of an entry

    def look_up(self, values: NDArray[Any]) -> NDArray[np.uint16]:
        """The entry of each value, of the shape of `values`."""
        places = np.rint(values.astype(np.float64) - self.first).clip(0, len(self.entries) - 1)
        return np.asarray(self.entries, dtype=np.uint16)[places.astype(np.int64)]


def is_little_endian(dataset: Dataset) -> bool:
    """The byte order of a file's tables."""
    return dataset.file_meta.TransferSyntaxUID.is_little_endian


def table_of(dataset: Dataset, descriptor: str, data: str, little: bool) -> Table:
    """The table under two keywords; ValueError if it is short, or its entries are wider than it says."""
    count, first, bits = (int(v) for v in dataset[descriptor].value)
    return _checked_table(
        _entries(dataset[data].value, count or MAX_ENTRIES, little), count or MAX_ENTRIES, first, bits
    )


def palette_of(dataset: Dataset, little: bool) -> tuple[Table, Table, Table]:
    """The tables of red, green and blue, plain or in segments; ValueError if there are none, or damaged ones."""
    if "AlphaPaletteColorLookupTableData" in dataset or dataset.get("PixelPresentation") in ("MIXED", "COLOR"):
        raise ValueError("a palette with transparency, or one beside grey values")
    red, green, blue = (_colour(dataset, name, little) for name in COLOURS)
    return red, green, blue


def to_rgb(stored: NDArray[Any], palette: tuple[Table, Table, Table]) -> NDArray[np.uint8]:
    """(..., H, W) indices to (..., H, W, 3) levels; of 16-bit entries the high byte, as every viewer does."""
    return np.stack([(table.look_up(stored) >> (table.bits - 8)).astype(np.uint8) for table in palette], axis=-1)


def _colour(dataset: Dataset, name: str, little: bool) -> Table:
    descriptor = f"{name}PaletteColorLookupTableDescriptor"
    data = f"{name}PaletteColorLookupTableData"
    if data in dataset:
        table = table_of(dataset, descriptor, data, little)
    else:
        count, first, bits = (int(v) for v in dataset[descriptor].value)
        content = dataset[f"Segmented{data}"].value
        segments = _words(content, little).view(np.uint8) if bits == 8 else _words(content, little)
        table = _checked_table(_expand_segments(segments.tolist()), count or MAX_ENTRIES, first, bits)
    if table.bits not in (8, 16) or (table.bits == 16 and 0 < max(table.entries) < 256):
        raise ValueError(f"a palette of {table.bits}-bit entries up to {max(table.entries)}")
    return table


def _checked_table(entries: list[int], count: int, first: int, bits: int) -> Table:
    if len(entries) < count or not 8 <= bits <= 16 or max(entries[:count]) >= 2**bits:
        raise ValueError(f"a lookup table of {len(entries)} entries that should have {count} of {bits} bits")
    return Table(first, tuple(entries[:count]), bits)


def _entries(value: Any, count: int, little: bool) -> list[int]:
    """A table's entries: numbers, or words, or bytes if there are just as many."""
    if not isinstance(value, bytes):
        return [int(v) for v in value] if isinstance(value, MultiValue | list) else [int(value)]
    words = _words(value, little)
    return (words.view(np.uint8) if len(value) in (count, count + 1) else words).tolist()


def _words(value: bytes, little: bool) -> NDArray[np.uint16]:
    """16-bit words in this machine's order, so that their bytes stand as in a little-endian file."""
    return np.frombuffer(value, "<u2" if little else ">u2").astype("<u2")


def _expand_segments(data: list[int]) -> list[int]:
    """The entries of a palette in segments."""
    entries: list[int] = []
    for kind, length, content in _segments(data):
        if kind == LINEAR:
            start = entries[-1]  # the standard has no linear segment at the beginning
            entries += np.rint(np.linspace(start, content[0], length + 1)[1:]).astype(int).tolist()
        else:
            entries += content
        if len(entries) > MAX_ENTRIES:
            raise ValueError("a palette with too many entries")
    return entries


def _segments(data: list[int]) -> Iterator[tuple[int, int, list[int]]]:
    """(kind, length, content) of each segment.

    Segments that point back into the data are refused: they could expand without end.
    """
    position = 0
    while position + 2 < len(data):
        kind, length = data[position : position + 2]
        if kind not in (DISCRETE, LINEAR):
            raise ValueError(f"a palette with segments of kind {kind}")
        size = length if kind == DISCRETE else 1
        content = data[position + 2 : position + 2 + size]
        if len(content) < size:
            raise ValueError("a palette that is cut off")
        yield kind, length, content
        position += 2 + size
