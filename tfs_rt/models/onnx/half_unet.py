"""Check that a half-precision ONNX graph is the network of given float32 weights.

FP16 engines are compiled from this graph. See `unet` for why a graph has to be checked.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tfs_rt.models.onnx.match import Graph, Shape, Weight
from tfs_rt.models.onnx.unet import CHANNELS, FLOAT32, PIXELS, StepGraph, compare
from tfs_rt.models.onnx.weights import Weights
from tfs_rt.spec import Architecture

FLOAT16 = 10  # ONNX's number of the type
HALF_TOLERANCE = 2.0**-10  # relative, of a weight that was rounded to half
LAST = np.array([-1])  # axis
FIRST = np.array([0])  # index
TO_THE_END = np.array([2**63 - 1])


def check_half_network(model: bytes, arch: Architecture, weights: Weights, biases: Sequence[str]) -> None:
    """ValueError unless a half graph, with its weights added, is the network of these float32 weights.

    `biases`: the modules whose noise biases are the graph's second input, in order.
    """
    compare(HalfGraph(Graph(model, weights, tolerance=HALF_TOLERANCE), arch, biases))


class HalfGraph(StepGraph):
    """The network as `tfs_rt_export.half` writes it: convolutions in half precision, noise biases as an input."""

    def __init__(self, graph: Graph, arch: Architecture, biases: Sequence[str]) -> None:
        super().__init__(graph, arch)
        self.biases = list(biases)  # those not found yet
        self.column = 0  # the next bias's first column in the row

    @property
    def inputs(self) -> dict[str, Shape]:
        """The names of the graph's inputs, with their shapes."""
        return {"x": self.image(self.arch.in_channel), "bias": ()}

    def prediction(self) -> str:
        """The network's output."""
        start = np.array([self.arch.condition_channels])
        condition = self.find("Slice", "x", FIRST, start, CHANNELS, CHANNELS)
        x_t = self.find("Slice", "x", start, TO_THE_END, CHANNELS, CHANNELS)
        output = self.graph.cast(self.network_output(condition, x_t), FLOAT32)
        if self.biases:
            raise ValueError(f"it does not use the biases of {self.biases[0]}")
        if not self.arch.sigma_data:
            return output

        # The last two columns are the factors of the preconditioning.
        direct = self.bias_column(-2)
        factor = self.bias_column(-1)
        return self.find("Sub", self.find("Mul", direct, x_t), self.find("Mul", factor, output))

    def dimensions(self) -> dict[str, tuple[int | None, ...]]:
        """The dimensions of the float32 graph and of the row of biases, whose length is known after `prediction`."""
        columns = self.column + (2 if self.arch.sigma_data else 0)
        return super().dimensions() | {"bias": (1, columns)}

    def bias_column(self, column: int) -> str:
        """One number of the row of biases: (1, columns) -> (1, 1, 1, 1)."""
        number = self.find("Gather", "bias", np.array(column), axis=1)
        return self.find("Unsqueeze", self.find("Unsqueeze", number, np.array([1, 2])), np.array([3]))

    def noise_bias(self, name: str, width: int) -> str:
        """The bias of each channel: the next columns of the row."""
        if not self.biases or self.biases.pop(0) != name:
            raise ValueError(f"its list of biases does not have {name} at this place")
        start = self.column
        self.column += width
        bias = self.find("Slice", "bias", np.array([start]), np.array([self.column]), CHANNELS, CHANNELS)
        return self.graph.cast(self.find("Unsqueeze", bias, PIXELS), FLOAT16)

    def scores(self, q: str, k: str, width: int) -> str:
        """The attention weights, with the softmax in float32."""
        scale = np.array(width**-0.25)
        product = self.find("MatMul", self.transposed(self.find("Mul", q, scale)), self.find("Mul", k, scale))
        return self.graph.cast(self.find("Softmax", self.graph.cast(product, FLOAT32), axis=-1), FLOAT16)

    def norm(self, x: str, name: str, channels: int) -> str:
        """GroupNorm in float32."""
        return super().norm(self.graph.cast(x, FLOAT32), name, channels)

    def conv(
        self, x: str, name: str, channels: int, width: int, *, side: int = 3, stride: int = 1, bias: bool = True
    ) -> str:
        """A convolution in half precision."""
        x = self.graph.cast(x, FLOAT16)
        return super().conv(x, name, channels, width, side=side, stride=stride, bias=bias)

    def linear(self, x: str, name: str, channels: int, width: int) -> str:
        """A linear layer as products and a sum."""
        products = self.find("Mul", self.find("Unsqueeze", x, CHANNELS), Weight(f"{name}.weight", (width, channels)))
        return self.find("Add", self.find("ReduceSum", products, LAST, keepdims=0), Weight(f"{name}.bias", (width,)))
