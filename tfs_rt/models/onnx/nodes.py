"""The nodes of an ONNX file's graph, read without the onnx package (onnx.proto3's GraphProto and NodeProto)."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any, NamedTuple

from tfs_rt.models.onnx.protobuf import fields, varint

GRAPH = 7  # of a model
NODES, INPUTS, OUTPUTS = 1, 11, 12  # of a graph
FLOAT, INT, STRING, FLOATS, INTS = 2, 3, 4, 7, 8  # of an attribute: the field of its value
TYPE = 20  # of an attribute: its type


class Node(NamedTuple):
    """An operation on values, which have names."""

    operation: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: dict[str, Any]


class Value(NamedTuple):
    """An input or output of a graph, as it is declared; a dimension without a fixed size is None."""

    name: str
    element_type: int
    dimensions: tuple[int | None, ...]


class Parts(NamedTuple):
    """A graph without its tensors."""

    nodes: list[Node]
    inputs: list[Value]
    outputs: list[Value]


def graph_parts(model: bytes) -> Parts:
    """The graph of a model that `check_graph` has passed; ValueError if its messages are damaged or ambiguous."""
    parts = Parts([], [], [])
    for number, graph in fields(memoryview(model)):
        if number != GRAPH:
            continue
        for inner, value in fields(_bytes(graph)):
            if inner == NODES:
                parts.nodes.append(_node(_bytes(value)))
            elif inner in (INPUTS, OUTPUTS):
                (parts.inputs if inner == INPUTS else parts.outputs).append(_value(_bytes(value)))
    return parts


def _value(message: memoryview) -> Value:
    """An input or output (onnx.proto3's ValueInfoProto, whose type is a TypeProto.Tensor)."""
    name = _text(_only_field(message, 1, "name"))
    tensor = _bytes(_only_field(_bytes(_only_field(message, 2, f"type of {name!r}")), 1, f"tensor type of {name!r}"))
    element_type = _only_field(tensor, 1, f"element type of {name!r}")
    if not isinstance(element_type, int):
        raise ValueError(f"the element type of {name!r} is not a number")
    shape = _bytes(_only_field(tensor, 2, f"shape of {name!r}"))
    return Value(name, element_type, tuple(_dimension(_bytes(value)) for field, value in fields(shape) if field == 1))


def _dimension(message: memoryview) -> int | None:
    """A fixed size; None for a size that only has a name."""
    size = _single([value for number, value in fields(message) if number in (1, 2)], "size of a dimension")
    return size if isinstance(size, int) else None


def _only_field(message: memoryview, number: int, what: str) -> memoryview | int:
    return _single([value for field, value in fields(message) if field == number], what)


def _node(message: memoryview) -> Node:
    texts: dict[int, list[str]] = {1: [], 2: [], 4: []}
    attributes: dict[str, Any] = {}
    for number, value in fields(message):
        if number in texts:
            texts[number].append(_text(value))
        elif number == 5:
            name, content = _attribute(_bytes(value))
            if name in attributes:
                raise ValueError(f"a node has two attributes {name!r}")
            attributes[name] = content
    return Node(_single(texts[4], "operation"), tuple(texts[1]), tuple(texts[2]), attributes)


def _attribute(message: memoryview) -> tuple[str, Any]:
    """An attribute's name and its value: a number, bytes or a tuple of numbers."""
    names: list[str] = []
    types: list[Any] = []
    values: dict[int, list[Any]] = {}
    for number, value in fields(message):
        if number == 1:
            names.append(_text(value))
        elif number == TYPE:
            types.append(value)
        elif number in READERS:
            values.setdefault(number, []).extend(READERS[number](value))
    name = _single(names, "name of an attribute")

    # A type's number is that of its value's field, less 1.
    place = _single(types, f"type of {name!r}") + 1
    if place not in READERS or set(values) - {place}:
        raise ValueError(f"the attribute {name!r} has a value of another type than it states")
    content = values.get(place, [])
    return name, tuple(content) if place in (FLOATS, INTS) else _single(content, f"value of {name!r}")


def _integers(value: memoryview | int) -> list[int]:
    """One number, or several packed ones; from 2^63 on they stand for negative numbers."""
    numbers = []
    if isinstance(value, int):
        numbers.append(value)
    else:
        position = 0
        while position < len(value):
            number, position = varint(value, position)
            numbers.append(number)
    return [number - 2**64 if number >= 2**63 else number for number in numbers]


def _floats(value: memoryview | int) -> list[float]:
    data = _bytes(value)
    return list(struct.unpack(f"<{len(data) // 4}f", data))


def _strings(value: memoryview | int) -> list[bytes]:
    return [bytes(_bytes(value))]


READERS: dict[int, Callable[[memoryview | int], list[Any]]] = {
    FLOAT: _floats,
    INT: _integers,
    STRING: _strings,
    FLOATS: _floats,
    INTS: _integers,
}


def _single(values: list[Any], what: str) -> Any:
    """The only value; ValueError if there are more, because readers differ in which one they take."""
    if len(values) != 1:
        raise ValueError(f"{what} stands {len(values)} times where it belongs once")
    return values[0]


def _bytes(value: memoryview | int) -> memoryview:
    if isinstance(value, int):
        raise ValueError("a number stands where a message belongs")
    return value


def _text(value: memoryview | int) -> str:
    return str(_bytes(value), "utf-8")
