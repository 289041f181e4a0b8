"""Protobuf's wire format: the part that is needed to read and extend an ONNX file without the onnx package."""

from __future__ import annotations

from collections.abc import Iterator

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5


def fields(view: memoryview) -> Iterator[tuple[int, memoryview | int]]:
    """(number, value) of each field: an int for a varint, otherwise its bytes; ValueError if it is malformed."""
    position = 0
    end = len(view)
    while position < end:
        # Read the field's number and kind.
        tag, position = varint(view, position)
        number = tag >> 3
        kind = tag & 7

        # A reader that truncates larger tags would see another field.
        if not 0 < tag < 2**32 or number == 0:
            raise ValueError(f"malformed protobuf tag {tag}")
        # Read its value.
        if kind == VARINT:
            value, position = varint(view, position)
            yield number, value
            continue
        if kind == BYTES:
            length, position = varint(view, position)
        elif kind in (FIXED64, FIXED32):
            length = 8 if kind == FIXED64 else 4
        else:
            raise ValueError(f"unknown protobuf wire type {kind}")
        if position + length > end:
            raise ValueError("a protobuf field ends beyond the file")
        yield number, view[position : position + length]
        position += length


def varint(view: memoryview, position: int) -> tuple[int, int]:
    """The number at a position, and the position after it."""
    # Most numbers have one byte.
    if position < len(view) and view[position] < 0x80:
        return view[position], position + 1
    value = 0
    for shift in range(0, 70, 7):
        if position >= len(view):
            break
        byte = view[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise ValueError("a protobuf number ends beyond the file")


def field(number: int, value: bytes | int) -> bytes:
    """The bytes of one field, with a varint or bytes as its value."""
    if isinstance(value, int):
        return _number(number << 3 | VARINT) + _number(value)
    return _number(number << 3 | BYTES) + _number(len(value)) + value


def _number(value: int) -> bytes:
    digits = bytearray()
    while value > 0x7F:
        digits.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*digits, value])
