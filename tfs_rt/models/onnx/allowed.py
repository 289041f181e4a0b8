"""Which ONNX graphs a bundle may hold: what exporting the U-Net writes, by an allow-list, and nothing else.

A graph is a program: with loops, with operations from libraries of others, with engines inside (EPContext). None of
that is needed here, and a runtime is never shown it. The numbers are those of onnx.proto3's fields; what a message
holds twice is checked twice, whichever of the two a reader would take.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from tfs_rt.models.onnx.protobuf import fields

OPERATIONS = {
    *("Add", "Cast", "Concat", "Conv", "Cos", "DepthToSpace", "Div", "Gather", "Gemm", "GroupNormalization", "MatMul"),
    *("Mul", "Pow", "Reciprocal", "ReduceMean", "ReduceSum", "Relu", "Reshape", "Resize", "Shape", "Sigmoid", "Sin"),
    *("Slice", "Softmax", "Split", "Sqrt", "Squeeze", "Sub", "Transpose", "Unsqueeze"),
    *("Constant", "GlobalAveragePool", "Identity"),  # what other exporters write for the same network
}
OPSETS = range(21, 27)  # GroupNormalization is PyTorch's from 21 on
DOMAINS = ("", "ai.onnx")  # the standard's own, which has two names
MODEL = {*range(1, 9), 14}  # no training (20), no functions (25), no devices (26)
GRAPH = {1, 2, 5, *range(10, 14), 16}  # no quantization (14), no sparse tensors (15)
NODE = {*range(1, 8), 9}  # no overload (8), no devices (10)
ATTRIBUTE = {*range(1, 6), *range(7, 10), 13, 20}  # no graphs (6, 11), types, references, sparse tensors


def check_graph(model: bytes) -> None:
    """ValueError, which says why, unless the graph is one that exporting the U-Net may write."""
    names: list[str] = []
    for number, value in _only(memoryview(model), MODEL, "model"):
        if number == 7:
            names += _graph(value)
        elif number == 8:
            _opset(value)
    if len(set(names)) < len(names):
        raise ValueError("it has two tensors of one name")


def _graph(message: memoryview | int) -> Iterator[str]:
    """The names of its tensors."""
    for number, value in _only(message, GRAPH, "graph"):
        if number == 1:
            _node(value)
        elif number == 5:
            yield from (_text(name) for field, name in fields(_message(value)) if field == 8)


def _opset(message: memoryview | int) -> None:
    for number, value in _only(message, {1, 2}, "opset"):
        if number == 1:
            _domain(value)
        elif value not in OPSETS:
            raise ValueError(f"its opset {value} is none of {OPSETS[0]} to {OPSETS[-1]}")


def _node(message: memoryview | int) -> None:
    operations = []
    for number, value in _only(message, NODE, "node"):
        if number == 4:
            operations.append(_text(value))
        elif number == 5:
            deque(_only(value, ATTRIBUTE, "attribute"), maxlen=0)
        elif number == 7:
            _domain(value)
    for operation in operations or [""]:
        if operation not in OPERATIONS:
            raise ValueError(f"it uses the operation {operation!r}, which no export writes")


def _domain(value: memoryview | int) -> None:
    if (domain := _text(value)) not in DOMAINS:
        raise ValueError(f"it uses operations of {domain!r}, not of ONNX")


def _only(message: memoryview | int, allowed: set[int], what: str) -> Iterator[tuple[int, memoryview | int]]:
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
