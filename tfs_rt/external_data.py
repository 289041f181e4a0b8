"""Refuse ONNX files that point outside themselves, by walking their protobuf fields.

An initializer may name an external file by any path, which a runtime would then read. The walk follows the fields that
can hold a tensor (onnx.proto3) and needs no onnx package.
"""

from __future__ import annotations

from collections.abc import Iterator

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5

# message -> {field number: message of the field}
HOLDERS = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
}
EXTERNAL_DATA, DATA_LOCATION = 13, 14  # of a tensor


def has_external_data(data: bytes) -> bool:
    """Whether any tensor of an ONNX model keeps its values in another file; ValueError if the bytes are no protobuf."""
    return _walk(memoryview(data), "model", 0)


def _walk(view: memoryview, message: str, depth: int) -> bool:
    if depth > 64:
        raise ValueError("graphs nested deeper than 64 levels")
    for number, value in _fields(view):
        if message == "tensor":
            if number == EXTERNAL_DATA or (number == DATA_LOCATION and value):
                return True
        elif (
            isinstance(value, memoryview) and (inner := HOLDERS[message].get(number)) and _walk(value, inner, depth + 1)
        ):
            return True
    return False


def _fields(view: memoryview) -> Iterator[tuple[int, memoryview | int]]:
    """(number, value) of each field: an int for a varint, the bytes for the rest."""
    position = 0
    while position < len(view):
        tag, position = _varint(view, position)
        number, kind = tag >> 3, tag & 7
        if not 0 < tag < 2**32 or number == 0:  # a reader that truncates would see another field
            raise ValueError(f"malformed protobuf tag {tag}")
        if kind == VARINT:
            value, position = _varint(view, position)
            yield number, value
            continue
        if kind == BYTES:
            length, position = _varint(view, position)
        elif kind in (FIXED64, FIXED32):
            length = 8 if kind == FIXED64 else 4
        else:
            raise ValueError(f"unknown protobuf wire type {kind}")
        if position + length > len(view):
            raise ValueError("a protobuf field ends beyond the file")
        yield number, view[position : position + length]
        position += length


def _varint(view: memoryview, position: int) -> tuple[int, int]:
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
