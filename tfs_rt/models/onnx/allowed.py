"""Allow-lists of ONNX graphs: the operations and fields that the exporter writes.

A graph is a program: it could have loops, operations of other libraries, or engines inside (EPContext). None of these
is needed, so that no runtime is given such a graph. The numbers are those of onnx.proto3's fields. If a message holds
a field twice, both are checked, because readers differ in which one they take.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Set

from tfs_rt.models.onnx.protobuf import fields

UNET_OPERATIONS = {
    *("Add", "Cast", "Concat", "Conv", "Cos", "DepthToSpace", "Div", "Gather", "Gemm", "GroupNormalization", "MatMul"),
    *("Mul", "Pow", "Reciprocal", "ReduceMean", "ReduceSum", "Relu", "Reshape", "Resize", "Shape", "Sigmoid", "Sin"),
    *("Slice", "Softmax", "Split", "Sqrt", "Squeeze", "Sub", "Transpose", "Unsqueeze"),
    *("Constant", "GlobalAveragePool", "Identity"),  # written by other exporters for the same network
}
OPSETS = range(21, 27)  # GroupNormalization is PyTorch's from 21 on
DOMAINS = ("", "ai.onnx")  # both names of the standard's own operations
MODEL = {*range(1, 9), 14}  # no training (20), no functions (25), no devices (26)
GRAPH = {1, 2, 5, *range(10, 14), 16}  # no quantization (14), no sparse tensors (15)
NODE = {*range(1, 8), 9}  # no overload (8), no devices (10)
ATTRIBUTE = {*range(1, 6), *range(7, 10), 13, 20}  # no graphs (6, 11), types, references, sparse tensors


def check_graph(model: bytes, operations: Set[str]) -> None:
    """ValueError, with the reason, if the graph has another operation, or anything else that no bundle may have."""
    names: list[str] = []
    for number, value in _allowed_fields(memoryview(model), MODEL, "model"):
        if number == 7:
            names += _check_graph(value, operations)
        elif number == 8:
            _check_opset(value)
    if len(set(names)) < len(names):
        raise ValueError("it has two tensors of one name")


def _check_graph(message: memoryview | int, operations: Set[str]) -> Iterator[str]:
    """Check a graph's nodes; the names of its tensors."""
    for number, value in _allowed_fields(message, GRAPH, "graph"):
        if number == 1:
            _check_node(value, operations)
        elif number == 5:
            yield from (_text(name) for field, name in fields(_message(value)) if field == 8)


def _check_opset(message: memoryview | int) -> None:
    for number, value in _allowed_fields(message, {1, 2}, "opset"):
        if number == 1:
            _check_domain(value)
        elif value not in OPSETS:
            raise ValueError(f"its opset {value} is not within {OPSETS[0]} and {OPSETS[-1]}")


def _check_node(message: memoryview | int, allowed: Set[str]) -> None:
    operations = []
    for number, value in _allowed_fields(message, NODE, "node"):
        if number == 4:
            operations.append(_text(value))
        elif number == 5:
            deque(_allowed_fields(value, ATTRIBUTE, "attribute"), maxlen=0)
        elif number == 7:
            _check_domain(value)
    for operation in operations or [""]:
        if operation not in allowed:
            raise ValueError(f"it uses the operation {operation!r}, which no export writes")


def _check_domain(value: memoryview | int) -> None:
    if (domain := _text(value)) not in DOMAINS:
        raise ValueError(f"it uses operations of {domain!r}, not of ONNX")


def _allowed_fields(message: memoryview | int, allowed: set[int], what: str) -> Iterator[tuple[int, memoryview | int]]:
    """The fields of a message; ValueError for a field that is not allowed."""
    for number, value in fields(_message(message)):
        if number not in allowed:
            raise ValueError(f"its {what} has a field {number}, which no export writes")
        yield number, value


def _message(value: memoryview | int) -> memoryview:
    if isinstance(value, int):
        raise ValueError("a number stands where a message belongs")
    return value


def _text(value: memoryview | int) -> str:
    return str(_message(value), "utf-8", "replace")
