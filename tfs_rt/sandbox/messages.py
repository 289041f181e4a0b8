"""Messages between two processes: plain data, read without unpickling, so that a hostile child can only lie.

A message is 8 bytes of length, that much JSON, and then the bytes of its arrays and byte strings in order. In the JSON
every object is a tag for what JSON lacks: {"dict": [[key, value], ...]}, {"tuple": [...]}, {"bytes": length},
{"array": [dtype, shape]}.
"""

from __future__ import annotations

import json
import math
import os
import re
from typing import Any

import numpy as np

from tfs_rt.system.files import write_all

TEXT = 2**24  # bytes of JSON in a message
NUMBERS = re.compile(r"[<>|][biuf]\d{1,2}")  # booleans, integers and floats, as NumPy writes their types


def pack(value: Any) -> list[Any]:
    """A message in pieces: None, bool, int, float, str, bytes, arrays of numbers, and lists, tuples, dicts of them.

    Raises TypeError for anything else.
    """
    buffers: list[Any] = []
    text = json.dumps(_to_json(value, buffers)).encode()
    if len(text) > TEXT:
        raise TypeError(f"{len(text)} bytes of text are more than a message may hold")
    return [len(text).to_bytes(8, "little") + text, *buffers]


def send(descriptor: int, message: list[Any]) -> None:
    """Write a packed message to a pipe."""
    for piece in message:
        write_all(descriptor, piece)


def receive(descriptor: int, limit: int) -> Any:
    """The value of the next message in a pipe, of at most `limit` bytes of arrays and byte strings.

    Raises EOFError where the pipe ends; any other exception means a malformed message.
    """
    length = int.from_bytes(_read_exactly(descriptor, 8), "little")
    if length > TEXT:
        raise ValueError(f"{length} bytes of text")
    return _Reader(descriptor, limit).value(json.loads(bytes(_read_exactly(descriptor, length))))


def _to_json(value: Any, buffers: list[Any]) -> Any:
    # Plain values stand for themselves.
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list):
        return [_to_json(item, buffers) for item in value]
    # Other containers become an object that names their type.
    if isinstance(value, tuple):
        return {"tuple": [_to_json(item, buffers) for item in value]}
    if isinstance(value, dict):
        return {"dict": [[_to_json(key, buffers), _to_json(item, buffers)] for key, item in value.items()]}
    # Bytes and arrays go into buffers beside the JSON; only their sizes stay in it.
    if isinstance(value, bytes):
        buffers.append(value)
        return {"bytes": len(value)}
    if isinstance(value, np.ndarray) and NUMBERS.fullmatch(value.dtype.str):
        buffers.append(np.ascontiguousarray(value).reshape(-1).view(np.uint8).data)
        return {"array": [value.dtype.str, list(value.shape)]}
    raise TypeError(f"{type(value).__name__} is not plain data")


class _Reader:
    """Values from their tags; their bytes are read from the pipe in order."""

    def __init__(self, descriptor: int, limit: int) -> None:
        self.descriptor = descriptor
        self.left = limit

    def value(self, node: Any) -> Any:
        if isinstance(node, list):
            return [self.value(item) for item in node]
        if not isinstance(node, dict):
            return node
        ((tag, content),) = node.items()
        if tag == "dict":
            return {self.value(key): self.value(item) for key, item in content}
        if tag == "tuple":
            return tuple(self.value(item) for item in content)
        if tag == "bytes":
            return bytes(self.take(content))
        if tag == "array":
            return self.array(*content)
        raise ValueError(f"unknown tag: {tag}")

    def array(self, dtype: str, shape: list[int]) -> np.ndarray:
        if not NUMBERS.fullmatch(dtype) or not all(type(size) is int and size >= 0 for size in shape):
            raise ValueError(f"not an array of numbers: {dtype} {shape}")
        return np.frombuffer(self.take(math.prod(shape) * np.dtype(dtype).itemsize), dtype).reshape(shape)

    def take(self, count: int) -> bytearray:
        if not 0 <= count <= self.left:
            raise ValueError(f"{count} bytes, {self.left} are allowed")
        self.left -= count
        return _read_exactly(self.descriptor, count)


def _read_exactly(descriptor: int, count: int) -> bytearray:
    data = bytearray(count)
    view = memoryview(data)
    while view:
        got = os.readv(descriptor, [view]) if hasattr(os, "readv") else _read_into(descriptor, view)
        if not got:
            raise EOFError
        view = view[got:]
    return data


def _read_into(descriptor: int, view: memoryview) -> int:
    """`os.readv` for Windows, which lacks it."""
    data = os.read(descriptor, len(view))
    view[: len(data)] = data
    return len(data)
