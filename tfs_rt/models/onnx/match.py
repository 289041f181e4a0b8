"""Search an ONNX graph for the nodes that a network consists of: by operation, attributes and inputs, never by name.

Sizes of images are unknown while a graph is searched. The arithmetic of shapes is therefore done on sums of products of
n (the batch), h and w: what is found holds for images of every size.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from itertools import chain, product
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tfs_rt.models.onnx.nodes import Node, graph_parts
from tfs_rt.models.onnx.weights import Weights, tensors

Size = Mapping[str, int]  # a sum of products: {"hw": 4, "": -1} is 4 h w - 1
Shape = tuple[Size, ...]

MOST_TERMS, LARGEST, LONGEST = 8, 2**40, 8  # of sizes: an export writes two terms, small factors, six numbers
ROUNDINGS = 32  # by which a constant may be off, in units of the last place: the noise level's frequencies are, by 5
INFINITE_HALF = 0x7C00  # the exponent of a half that is infinite or NaN
PREFIX = "network."  # of weights' names in a half graph
TWO_WAYS = ("Add", "Mul")  # whose inputs may come in either order
DEFAULTS: dict[str, dict[str, Any]] = {  # attributes that mean nothing, where they are what the export writes
    "Conv": {"group": 1, "auto_pad": b"NOTSET", "dilations": (1, 1)},
    "Gemm": {"alpha": 1.0, "beta": 1.0, "transA": 0},
    "GroupNormalization": {"stash_type": 1, "epsilon": float(np.float32(1e-5))},
    "ReduceMean": {"noop_with_empty_axes": 0},
    "ReduceSum": {"noop_with_empty_axes": 0},
    "Resize": {
        "antialias": 0,
        "cubic_coeff_a": -0.75,
        "exclude_outside": 0,
        "extrapolation_value": 0.0,
        "keep_aspect_ratio_policy": b"stretch",
    },
}


class Weight(NamedTuple):
    """An input that has to be one of the network's weights."""

    name: str
    shape: tuple[int, ...]


Operand = str | Weight | NDArray[Any]  # a value by its name, a weight, or a constant


class Graph:
    """The nodes of an ONNX file; ValueError, which says why, where one is missing or the file is damaged."""

    def __init__(self, model: bytes, weights: Weights | None = None, *, tolerance: float = 0.0) -> None:
        """`weights`: those it should have, if not its own, from which its may differ by `tolerance`, relatively."""
        nodes, inputs, outputs = graph_parts(model)
        self.declared = [*inputs, *outputs]
        self.inputs = [value.name for value in inputs]
        self.outputs = [value.name for value in outputs]
        self.tensors = tensors(model)
        self.weights, self.tolerance = self.tensors if weights is None else weights, tolerance
        self.shapes: dict[str, Shape] = {}  # of the values whose shape is asked for in the graph
        self.consumers: defaultdict[str, list[Node]] = defaultdict(list)
        self.makers: dict[str, Node] = {}
        self._sizes: dict[str, Shape] = {}
        names = [*self.inputs, *self.tensors]
        made = {"", *names}
        for node in nodes:
            if not made.issuperset(node.inputs):
                raise ValueError(f"one of its nodes ({node.operation}) uses what no earlier node makes")
            made.update(node.outputs)
            names += node.outputs
            self.makers |= dict.fromkeys(node.outputs, node)
            for name in dict.fromkeys(node.inputs):
                self.consumers[name].append(node)
        if len(set(names)) < len(names):
            raise ValueError("two of its values have one name")

    def find(self, operation: str, *operands: Operand, **attributes: Any) -> str:
        """The one output of a node."""
        (output,) = self.find_all(operation, *operands, **attributes)
        return output

    def find_all(self, operation: str, *operands: Operand, **attributes: Any) -> tuple[str, ...]:
        """All outputs of a node."""
        source = next(operand for operand in operands if isinstance(operand, str))
        wanted = DEFAULTS.get(operation, {}) | attributes
        for by_name in (True, False):  # of equal weights the export may use one for all, under one of their names
            for node in self.consumers[source]:
                same = node.operation == operation and DEFAULTS.get(operation, {}) | node.attributes == wanted
                if same and self._takes(node, operands, by_name=by_name):
                    return node.outputs
        weights = "".join(f" and {operand.name}" for operand in operands if isinstance(operand, Weight))
        raise ValueError(f"it has no {operation} of {source!r}{weights} as the network does")

    def cast(self, value: str, to: int) -> str:
        """A value in another type, or itself if the graph does not cast it."""
        casts = (n for n in self.consumers[value] if n.operation == "Cast" and n.attributes == {"to": to})
        return next((node.outputs[0] for node in casts), value)

    def reshape(self, value: str, shape: Shape) -> str:
        """A value in another shape, which is noted."""
        for node in self.consumers[value]:
            if node.operation == "Reshape" and len(node.inputs) == 2 and node.inputs[0] == value:
                asked = self.sizes(node.inputs[1])
                left_open = sum(size == {"": -1} for size in asked)
                fits = (a in (b, {"": -1}) for a, b in zip(asked, shape, strict=False))
                if len(asked) == len(shape) and left_open <= 1 and all(fits):
                    self.shapes[node.outputs[0]] = shape
                    return node.outputs[0]
        raise ValueError(f"it does not reshape {value!r} as the network does")

    def sizes(self, name: str) -> Shape:
        """The integers in a value, each as a size; those of a scalar are one."""
        if name not in self._sizes:
            maker = self.makers.get(name)
            self._sizes[name] = self._computed(maker) if maker else _constants(name, self.tensors)
        return self._sizes[name]

    def _computed(self, node: Node) -> Shape:
        if node.operation == "Shape":
            shape = self.shapes.get(node.inputs[0])
            if shape is None:
                raise ValueError(f"it asks for the shape of {node.inputs[0]!r}")
            start, end = (node.attributes.get(name, default) for name, default in (("start", 0), ("end", len(shape))))
            if not isinstance(start, int) or not isinstance(end, int):
                raise ValueError("it asks for a part of a shape that is none")
            return shape[start:end]
        parts = [self.sizes(name) for name in node.inputs]
        if node.operation == "Concat" and sum(map(len, parts)) <= LONGEST:
            return tuple(chain.from_iterable(parts))
        if node.operation == "Squeeze" or (node.operation == "Reshape" and parts[1:] == [({"": -1},)]):
            return parts[0]
        if node.operation not in ARITHMETIC or [len(part) for part in parts] != [1, 1]:
            raise ValueError(f"it computes a shape by {node.operation}")
        (a,), (b,) = parts
        return (ARITHMETIC[node.operation](a, b),)

    def _takes(self, node: Node, operands: tuple[Operand, ...], *, by_name: bool) -> bool:
        ways = [operands, operands[::-1]] if node.operation in TWO_WAYS else [operands]
        if len(node.inputs) != len(operands):
            return False
        return any(all(self._is(*pair, by_name=by_name) for pair in zip(node.inputs, way, strict=True)) for way in ways)

    def _is(self, name: str, operand: Operand, *, by_name: bool) -> bool:
        if isinstance(operand, str):
            return name == operand
        name = self._stored_name(name)
        if name not in self.tensors:
            return False
        if not isinstance(operand, Weight):
            return _is_constant(self.tensors[name], operand)
        if by_name and name.removeprefix(PREFIX) != operand.name:
            return False
        return self._is_weight(self.tensors[name], operand)

    def _is_weight(self, found: NDArray[Any], wanted: Weight) -> bool:
        weight = self.weights.get(wanted.name)
        if weight is None:
            raise ValueError(f"it lacks the weight {wanted.name}")
        if weight.shape != wanted.shape:
            raise ValueError(f"{wanted.name} is {weight.shape}, expected {wanted.shape}")
        if not _is_finite(weight):
            raise ValueError(f"{wanted.name} has NaN or infinite values")
        if found is weight:
            return True
        return found.shape == weight.shape and self._is_equal(found, weight)

    def _is_equal(self, found: NDArray[Any], weight: NDArray[Any]) -> bool:
        with np.errstate(over="ignore"):  # in half a large weight is infinite, as the export's gate found it
            if np.array_equal(found, weight.astype(found.dtype)):
                return True
        return bool(np.allclose(found, weight, rtol=self.tolerance, atol=self.tolerance * 1e-4))

    def _stored_name(self, name: str) -> str:
        """The name of a tensor that is stored in half, if a value is that one cast to float32; or the value's own."""
        maker = self.makers.get(name)
        return maker.inputs[0] if maker and maker.operation == "Cast" and maker.attributes == {"to": 1} else name


def _is_constant(found: NDArray[Any], wanted: NDArray[Any]) -> bool:
    """Integers are exact; numbers are rounded to the graph's type, and were computed in it."""
    if found.shape != wanted.shape or (found.dtype.kind == "i") != (wanted.dtype.kind == "i"):
        return False
    if found.dtype.kind == "i":
        return np.array_equal(found, wanted)
    return np.allclose(found, wanted, rtol=ROUNDINGS * np.finfo(found.dtype).eps, atol=0)


def _is_finite(array: NDArray[Any]) -> bool:
    if array.dtype != np.float16:
        return bool(np.isfinite(array).all())
    exponents = array.view(np.uint16) & INFINITE_HALF  # as integers: NumPy takes ten times as long for halves
    return bool((exponents != INFINITE_HALF).all())


def _constants(name: str, stored: Weights) -> Shape:
    array = stored.get(name)
    if array is None or array.dtype != np.int64 or array.size > LONGEST:
        raise ValueError(f"it takes {name!r} for a shape")
    return tuple({"": int(value)} if value else {} for value in array.ravel())


def _sum(a: Size, b: Size) -> Size:
    return _reduced(Counter(a), b.items())


def _product(a: Size, b: Size) -> Size:
    pairs = product(a.items(), b.items())
    return _reduced(Counter(), (("".join(sorted(x + y)), i * j) for (x, i), (y, j) in pairs))


def _quotient(a: Size, b: Size) -> Size:
    """Rounded down, which is known if all but the constant can be divided and nothing is below 0."""
    divisor = b.get("", 0)
    if set(b) != {""} or divisor < 1 or any(i % divisor or i < 0 for term, i in a.items() if term):
        raise ValueError("it divides a shape by what need not divide it")
    if sum(a.values()) < 0:  # with n, h and w at least 1, the least that it can be
        raise ValueError("it divides a negative shape")
    return _reduced(Counter(), ((term, i // divisor) for term, i in a.items()))


def _reduced(terms: Counter[str], more: Iterable[tuple[str, int]]) -> Size:
    for term, factor in more:
        terms[term] += factor
    largest, longest = max(map(abs, terms.values()), default=0), max(map(len, terms), default=0)
    if largest > LARGEST or max(longest, len(terms)) > MOST_TERMS:
        raise ValueError("its arithmetic of shapes has no end")
    return {term: factor for term, factor in terms.items() if factor}


ARITHMETIC: dict[str, Callable[[Size, Size], Size]] = {"Add": _sum, "Mul": _product, "Div": _quotient}
