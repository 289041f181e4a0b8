"""Search an ONNX graph for a network's nodes: by operation, attributes and inputs, never by name.

The sizes of images are unknown during the search. Shapes are therefore computed as sums of products of n (the batch), h
and w, so that a match holds for images of every size.
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

# A sum of products: {"hw": 4, "": -1} is 4 h w - 1.
Size = Mapping[str, int]
Shape = tuple[Size, ...]

# Limits of the arithmetic of shapes: an export has two terms, small factors and six numbers.
MOST_TERMS = 8
LARGEST_FACTOR = 2**40
LONGEST_SHAPE = 8

# Tolerance of constants, in units of the last place: the noise level's frequencies differ by 5.
ROUNDINGS = 32

INFINITE_HALF = 0x7C00  # the exponent of a half that is infinite or NaN
PREFIX = "network."  # of weights' names in a half graph
COMMUTATIVE = ("Add", "Mul")

# Default values of attributes that change nothing in a graph of ours.
DEFAULTS: dict[str, dict[str, Any]] = {
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
    """An expected input: one of the network's weights."""

    name: str
    shape: tuple[int, ...]


# An expected input: a value by its name, a weight, or a constant.
Operand = str | Weight | NDArray[Any]


class Graph:
    """The nodes of an ONNX file. ValueError, with the reason, if a node is missing or the file is damaged."""

    def __init__(self, model: bytes, weights: Weights | None = None, *, tolerance: float = 0.0) -> None:
        """`weights`: the expected weights, by default its own; the graph's may differ by a relative `tolerance`."""
        # Read the file.
        nodes, inputs, outputs = graph_parts(model)
        self.declared = [*inputs, *outputs]
        self.inputs = [value.name for value in inputs]
        self.outputs = [value.name for value in outputs]
        self.tensors = tensors(model)
        self.weights = self.tensors if weights is None else weights
        self.tolerance = tolerance
        self.shapes: dict[str, Shape] = {}  # known shapes of values, which the graph may read
        self.consumers: defaultdict[str, list[Node]] = defaultdict(list)
        self.makers: dict[str, Node] = {}
        self._sizes: dict[str, Shape] = {}

        # Index the nodes by their inputs and outputs. Nodes are sorted: each uses outputs of earlier ones.
        names = [*self.inputs, *self.tensors]
        available = {"", *names}
        for node in nodes:
            if not available.issuperset(node.inputs):
                raise ValueError(f"one of its nodes ({node.operation}) uses a value that no earlier node computes")
            available.update(node.outputs)
            names += node.outputs
            self.makers |= dict.fromkeys(node.outputs, node)
            for name in dict.fromkeys(node.inputs):
                self.consumers[name].append(node)
        # Check that names are unique.
        if len(set(names)) < len(names):
            raise ValueError("two of its values have one name")

    def find(self, operation: str, *operands: Operand, **attributes: Any) -> str:
        """Find a node with these inputs and attributes; the name of its only output."""
        (output,) = self.find_all(operation, *operands, **attributes)
        return output

    def find_all(self, operation: str, *operands: Operand, **attributes: Any) -> tuple[str, ...]:
        """Find a node with these inputs and attributes; the names of all its outputs."""
        source = next(operand for operand in operands if isinstance(operand, str))
        wanted = DEFAULTS.get(operation, {}) | attributes

        # Match weights by name first. Then by value: of equal weights the export may keep one, under one name.
        for by_name in (True, False):
            for node in self.consumers[source]:
                same_attributes = DEFAULTS.get(operation, {}) | node.attributes == wanted
                if node.operation == operation and same_attributes and self._takes(node, operands, by_name=by_name):
                    return node.outputs
        weights = "".join(f" and {operand.name}" for operand in operands if isinstance(operand, Weight))
        raise ValueError(f"it has no {operation} of {source!r}{weights} as the network does")

    def cast(self, value: str, to: int) -> str:
        """The name of a value cast to another type, or its own if the graph does not cast it."""
        casts = (n for n in self.consumers[value] if n.operation == "Cast" and n.attributes == {"to": to})
        return next((node.outputs[0] for node in casts), value)

    def reshape(self, value: str, shape: Shape) -> str:
        """The name of a value in another shape, which becomes a known shape."""
        for node in self.consumers[value]:
            if node.operation == "Reshape" and len(node.inputs) == 2 and node.inputs[0] == value:
                target = self.sizes(node.inputs[1])
                inferred = sum(size == {"": -1} for size in target)
                equal = (a in (b, {"": -1}) for a, b in zip(target, shape, strict=False))
                if len(target) == len(shape) and inferred <= 1 and all(equal):
                    self.shapes[node.outputs[0]] = shape
                    return node.outputs[0]
        raise ValueError(f"it does not reshape {value!r} as the network does")

    def sizes(self, name: str) -> Shape:
        """The integers in a value, each as a size; a scalar has one."""
        if name not in self._sizes:
            maker = self.makers.get(name)
            self._sizes[name] = self._node_sizes(maker) if maker else _constant_sizes(name, self.tensors)
        return self._sizes[name]

    def _node_sizes(self, node: Node) -> Shape:
        """The integers that a node computes from shapes."""
        # Read a shape, or a part of one.
        if node.operation == "Shape":
            shape = self.shapes.get(node.inputs[0])
            if shape is None:
                raise ValueError(f"it reads the shape of {node.inputs[0]!r}, which is unknown")
            start = node.attributes.get("start", 0)
            end = node.attributes.get("end", len(shape))
            if not isinstance(start, int) or not isinstance(end, int):
                raise ValueError("it reads a part of a shape whose ends are not integers")
            return shape[start:end]
        # Compute the inputs first.
        parts = [self.sizes(name) for name in node.inputs]
        # Join or flatten lists of integers.
        if node.operation == "Concat" and sum(map(len, parts)) <= LONGEST_SHAPE:
            return tuple(chain.from_iterable(parts))
        if node.operation == "Squeeze" or (node.operation == "Reshape" and parts[1:] == [({"": -1},)]):
            return parts[0]
        # Compute with two integers.
        if node.operation not in ARITHMETIC or [len(part) for part in parts] != [1, 1]:
            raise ValueError(f"it computes a shape by {node.operation}")
        (a,), (b,) = parts
        return (ARITHMETIC[node.operation](a, b),)

    def _takes(self, node: Node, operands: tuple[Operand, ...], *, by_name: bool) -> bool:
        """True if the node has these inputs, in either order if it is commutative."""
        if len(node.inputs) != len(operands):
            return False
        orders = [operands, operands[::-1]] if node.operation in COMMUTATIVE else [operands]
        for order in orders:
            pairs = zip(node.inputs, order, strict=True)
            if all(self._is(name, operand, by_name=by_name) for name, operand in pairs):
                return True
        return False

    def _is(self, name: str, operand: Operand, *, by_name: bool) -> bool:
        """True if the value of this name is the expected input."""
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
        """True if a tensor is the expected weight; ValueError if that weight is missing or cannot be right."""
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
        # In half a large weight becomes infinite, as in the export's gate.
        with np.errstate(over="ignore"):
            if np.array_equal(found, weight.astype(found.dtype)):
                return True
        return np.allclose(found, weight, rtol=self.tolerance, atol=self.tolerance * 1e-4)

    def _stored_name(self, name: str) -> str:
        """The name of a tensor stored in half, if the value is its cast to float32; otherwise the value's own."""
        maker = self.makers.get(name)
        return maker.inputs[0] if maker and maker.operation == "Cast" and maker.attributes == {"to": 1} else name


def _is_constant(found: NDArray[Any], wanted: NDArray[Any]) -> bool:
    """True if a tensor is the expected constant: integers exactly, floats within the rounding of the graph's type."""
    if found.shape != wanted.shape or (found.dtype.kind == "i") != (wanted.dtype.kind == "i"):
        return False
    if found.dtype.kind == "i":
        return np.array_equal(found, wanted)
    return np.allclose(found, wanted, rtol=ROUNDINGS * np.finfo(found.dtype).eps, atol=0)


def _is_finite(array: NDArray[Any]) -> bool:
    if array.dtype != np.float16:
        return bool(np.isfinite(array).all())
    # As integers: NumPy takes ten times as long for halves.
    exponents = array.view(np.uint16) & INFINITE_HALF
    return bool((exponents != INFINITE_HALF).all())


def _constant_sizes(name: str, stored: Weights) -> Shape:
    """The integers in a stored tensor, each as a size."""
    array = stored.get(name)
    if array is None or array.dtype != np.int64 or array.size > LONGEST_SHAPE:
        raise ValueError(f"it uses {name!r} as a shape")
    return tuple({"": int(value)} if value else {} for value in array.ravel())


def _sum(a: Size, b: Size) -> Size:
    return _add_terms(Counter(a), b.items())


def _product(a: Size, b: Size) -> Size:
    pairs = product(a.items(), b.items())
    return _add_terms(Counter(), (("".join(sorted(x + y)), i * j) for (x, i), (y, j) in pairs))


def _quotient(a: Size, b: Size) -> Size:
    """a / b, rounded down. It is known if all terms but the constant are divisible and none is negative."""
    divisor = b.get("", 0)
    if set(b) != {""} or divisor < 1 or any(i % divisor or i < 0 for term, i in a.items() if term):
        raise ValueError("it divides a shape by a number that may not divide it")
    # With n, h and w of at least 1, this sum is the smallest value.
    if sum(a.values()) < 0:
        raise ValueError("it divides a negative shape")
    return _add_terms(Counter(), ((term, i // divisor) for term, i in a.items()))


def _add_terms(terms: Counter[str], more: Iterable[tuple[str, int]]) -> Size:
    """Add terms, and drop those that cancel; ValueError beyond the limits of an export."""
    for term, factor in more:
        terms[term] += factor
    largest = max(map(abs, terms.values()), default=0)
    longest = max(map(len, terms), default=0)
    if largest > LARGEST_FACTOR or max(longest, len(terms)) > MOST_TERMS:
        raise ValueError("its arithmetic of shapes is larger than any export's")
    return {term: factor for term, factor in terms.items() if factor}


ARITHMETIC: dict[str, Callable[[Size, Size], Size]] = {"Add": _sum, "Mul": _product, "Div": _quotient}
