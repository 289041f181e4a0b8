"""The weights of an ONNX file, read and added without the onnx package (onnx.proto3's ModelProto and TensorProto)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tfs_rt.models.onnx.protobuf import field, fields, varint

GRAPH, INITIALIZER = 7, 5  # of a model, of a graph
DIMS, DATA_TYPE, NAME, RAW_DATA = 1, 2, 8, 9  # of a tensor
# Fields of a tensor: values that are not raw data, or a segment of them.
TYPED_DATA = {3, 4, 5, 6, 7, 10, 11}
TYPES: dict[int, Any] = {1: np.dtype("<f4"), 7: np.dtype("<i8"), 10: np.dtype("<f2")}

Weights = dict[str, NDArray[Any]]


def weights(model: bytes) -> Weights:
    """The float32 and float16 initializers of a model's graph, by name; ValueError if it is damaged."""
    return {name: array.copy() for name, array in tensors(model).items() if array.dtype != np.int64}


def tensors(model: bytes) -> Weights:
    """The initializers in float32, float16 and int64, by name, as views of the model; ValueError if it is damaged."""
    found: Weights = {}
    for number, graph in fields(memoryview(model)):
        if number != GRAPH or isinstance(graph, int):
            continue
        for inner, tensor in fields(graph):
            if inner == INITIALIZER and isinstance(tensor, memoryview):
                _check_raw(tensor)
                found.update(_tensor(tensor))
    return found


def is_shared(array: NDArray[Any]) -> bool:
    """True for weights that the half graph takes from `step.onnx`: the convolutions', nearly all of the network."""
    return array.ndim == 4


def with_weights(model: bytes, added: Mapping[str, NDArray[Any]]) -> bytes:
    """A model with more initializers. Protobuf merges messages that follow each other."""
    initializers = [field(INITIALIZER, _encode_tensor(name, array)) for name, array in added.items()]
    return model + field(GRAPH, b"".join(initializers))


def _check_raw(view: memoryview) -> None:
    """ValueError for values that are not raw data: of both, readers differ in which ones they take."""
    if any(number in TYPED_DATA for number, _ in fields(view)):
        raise ValueError("a tensor has values that are not raw data")


def _tensor(view: memoryview) -> Weights:
    dims = []
    kind = 0
    name = ""
    raw = memoryview(b"")
    # Read the fields.
    for number, value in fields(view):
        if number == DIMS:
            dims += [value] if isinstance(value, int) else _packed_numbers(value)
        elif number == DATA_TYPE and isinstance(value, int):
            kind = value
        elif number == NAME and isinstance(value, memoryview):
            name = str(value, "utf-8")
        elif number == RAW_DATA and isinstance(value, memoryview):
            raw = value
    # Skip tensors of other types, and view the bytes as an array.
    if kind not in TYPES:
        return {}
    try:
        return {name: np.frombuffer(raw, TYPES[kind]).reshape(dims)}
    except OverflowError as error:
        raise ValueError(f"{name} has a dimension of {max(dims)}") from error


def _packed_numbers(view: memoryview) -> list[int]:
    numbers = []
    position = 0
    while position < len(view):
        value, position = varint(view, position)
        numbers.append(value)
    return numbers


def _encode_tensor(name: str, array: NDArray[Any]) -> bytes:
    kind = next(kind for kind, dtype in TYPES.items() if dtype == array.dtype)
    dims = b"".join(field(DIMS, size) for size in array.shape)
    return dims + field(DATA_TYPE, kind) + field(NAME, name.encode()) + field(RAW_DATA, array.tobytes())
