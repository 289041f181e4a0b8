"""The CSA header of Siemens MR: elements by name, which say how many tiles a mosaic has and where its slices go.

Layout, from the description in nibabel's documentation ("The CSA header format"): `SV10`, 4 bytes, the number of
elements, 4 bytes; for each element its name (64 bytes), multiplicity, VR, type, number of items, 4 bytes; for each item
four numbers, of which the second is its length, and its text, filled up to 4 bytes.
"""

from __future__ import annotations

import struct

SIGNATURE = b"SV10"
MAX_ELEMENTS = 1000  # as many as nibabel accepts; real headers have about 100
ELEMENT = struct.Struct("<64si4siii")
ITEM = struct.Struct("<4i")


def read_csa(data: bytes) -> dict[str, list[str]]:
    """The texts of each element of a CSA header (version 2); ValueError if it is not one."""
    if data[: len(SIGNATURE)] != SIGNATURE:
        raise ValueError("not a CSA header of version 2")
    (count,) = struct.unpack_from("<I", data, 8)
    if count > MAX_ELEMENTS:
        raise ValueError(f"a CSA header of {count} elements")
    position = 16
    elements: dict[str, list[str]] = {}
    for _ in range(count):
        name, _, _, _, items, _ = ELEMENT.unpack_from(data, position)
        position += ELEMENT.size
        texts, position = _items(data, position, items)
        elements[_text(name)] = texts
    return elements


def _items(data: bytes, position: int, count: int) -> tuple[list[str], int]:
    """The texts of an element's items, without empty ones, and the position behind them."""
    if not 0 <= count <= MAX_ELEMENTS:
        raise ValueError(f"a CSA element of {count} items")
    texts: list[str] = []
    for _ in range(count):
        _, length, _, _ = ITEM.unpack_from(data, position)
        position += ITEM.size
        if not 0 <= length <= len(data) - position:
            raise ValueError("a CSA item beyond the header's end")
        if text := _text(data[position : position + length]).strip():
            texts.append(text)
        position += length + -length % 4
    return texts, position


def _text(data: bytes) -> str:
    return data.split(b"\0", 1)[0].decode("latin-1")
