"""Detect ONNX files that refer to other files, by walking their protobuf fields.

An initializer may name an external file by any path, and a runtime would then read that file. The walk follows the
fields that can hold a tensor (onnx.proto3), without the onnx package.
"""

from __future__ import annotations

from collections.abc import Iterator

from tfs_rt.models.onnx.protobuf import fields

# Message -> {field number: message in that field}, for all fields that can lead to a tensor.
HOLDERS = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
}
# Fields of a tensor.
EXTERNAL_DATA = 13
DATA_LOCATION = 14
MOST_FIELDS = 200_000  # of all these messages: the published network's graph has 16,000


def has_external_data(data: bytes) -> bool:
    """True if any tensor of an ONNX model has its values in another file.

    Raises ValueError if the bytes are not valid protobuf, or have far more fields than a network's graph.
    """
    return _walk(memoryview(data), "model", 0)


def _walk(view: memoryview, message: str, depth: int, budget: Iterator[int] | None = None) -> bool:
    if depth > 64:
        raise ValueError("graphs nested deeper than 64 levels")
    budget = budget or iter(range(MOST_FIELDS))
    for number, value in fields(view):
        if next(budget, None) is None:
            raise ValueError(f"more than {MOST_FIELDS} fields")
        if message == "tensor":
            if number == EXTERNAL_DATA or (number == DATA_LOCATION and value):
                return True
            continue
        inner = HOLDERS[message].get(number)
        if inner and isinstance(value, memoryview) and _walk(value, inner, depth + 1, budget):
            return True
    return False
