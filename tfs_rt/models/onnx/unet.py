"""The graph that an architecture implies, looked for in a bundle's ONNX files.

A graph is a program of its own: with the same weights it may compute another network than `model.json` describes.
`check_network` follows SR3's U-Net through it, node by node, from the inputs to the prediction. What it finds is the
network for images of every size, with every weight in its place.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from tfs_rt.models.onnx.match import Graph, Operand, Shape, Weight
from tfs_rt.models.onnx.weights import Weights
from tfs_rt.spec import Architecture

PREDICTION = "prediction"
FLOAT32, FLOAT16 = 1, 10  # ONNX's numbers of types
HALF_TOLERANCE = 2.0**-10  # of a weight that was rounded to half
LAST, CHANNELS, PIXELS = np.array([-1]), np.array([1]), np.array([2, 3])  # axes
FIRST, TO_THE_END = np.array([0]), np.array([2**63 - 1])
DOUBLED = np.array([1, 1, 2, 2], dtype=np.float32)
NEAREST = {"mode": b"nearest", "nearest_mode": b"floor", "coordinate_transformation_mode": b"asymmetric"}


def check_network(model: bytes, arch: Architecture) -> None:
    """ValueError unless a float32 graph (`step.onnx`) is the architecture's network."""
    _check(StepGraph(Graph(model), arch))


def check_half_network(model: bytes, arch: Architecture, weights: Weights, biases: Sequence[str]) -> None:
    """ValueError unless a half graph, with its weights added, is the network of these float32 weights.

    `biases`: the modules whose noise biases are its second input, in order.
    """
    _check(HalfGraph(Graph(model, weights, tolerance=HALF_TOLERANCE), arch, biases))


def _check(network: StepGraph) -> None:
    graph = network.graph
    if sorted(graph.inputs) != sorted(network.inputs):
        raise ValueError(f"its inputs are {graph.inputs}, expected {list(network.inputs)}")
    graph.shapes |= network.inputs
    try:
        found = network.prediction()
    except RecursionError as error:
        raise ValueError("its arithmetic of shapes is nested too deeply") from error
    if found != PREDICTION or graph.outputs != [PREDICTION]:
        raise ValueError(f"it answers {graph.outputs}, where the network ends with {found!r}")
    expected = network.dimensions()
    for value in graph.declared:
        if (value.element_type, value.dimensions) != (FLOAT32, expected[value.name]):
            raise ValueError(f"{value.name} is declared as type {value.element_type} of {value.dimensions}")


class StepGraph:
    """The network in float32. Its methods find parts of it and return the names of their values."""

    def __init__(self, graph: Graph, arch: Architecture) -> None:
        self.graph, self.arch, self.find = graph, arch, graph.find
        self.embedding = ""  # of the noise level

    @property
    def inputs(self) -> dict[str, Shape]:
        """The graph's inputs, with the shapes that it may ask for."""
        images = {"condition": self.arch.condition_channels, "x_t": self.arch.out_channel}
        return {name: self.image(channels) for name, channels in images.items()} | {"noise_level": ({"n": 1}, {"": 1})}

    def dimensions(self) -> dict[str, tuple[int | None, ...]]:
        """The dimensions of the inputs and the output as the exporter declares them; None is a size left open."""
        shapes = self.inputs | {PREDICTION: self.image(self.arch.out_channel)}
        return {name: tuple(size.get("") for size in shape) for name, shape in shapes.items()}

    def image(self, channels: int, shrink: int = 1) -> Shape:
        """(B, channels, H / shrink, W / shrink), with H and W multiples of the stride."""
        side = self.arch.stride // shrink
        return {"n": 1}, {"": channels}, {"h": side}, {"w": side}

    def prediction(self) -> str:
        """The network's output."""
        self.embedding = self.noise_embedding()
        output = self.network_output("condition", "x_t")
        return self.preconditioned(output) if self.arch.sigma_data else output

    def noise_embedding(self) -> str:
        """Sinusoids of the noise level, and two linear layers."""
        inner = self.arch.inner_channel
        frequencies = np.exp(-math.log(1e4) * np.arange(inner // 2) / (inner // 2))
        angle = self.find("Mul", "noise_level", frequencies)
        waves = self.find("Concat", self.find("Sin", angle), self.find("Cos", angle), axis=1)
        hidden = self.silu(self.linear(waves, "noise_level_mlp.1", inner, 4 * inner))
        return self.linear(hidden, "noise_level_mlp.3", 4 * inner, inner)

    def preconditioned(self, output: str) -> str:
        """Eps of a preconditioned network (`UNet._eps` of the reference)."""
        find, one, two = self.find, np.array(1.0), np.array(2.0)
        signal = find("Unsqueeze", "noise_level", PIXELS)
        square = find("Pow", signal, two)
        noise = find("Sub", one, square)
        variance = find("Add", find("Mul", square, np.array(self.arch.sigma_data**2)), noise)
        kept = find("Div", find("Mul", find("Sqrt", noise), "x_t"), variance)
        factor = find("Mul", signal, find("Reciprocal", find("Sqrt", variance)))
        return find("Sub", kept, find("Mul", factor, output))

    def network_output(self, condition: str, x_t: str) -> str:
        """From the gate to the unfolded output, with the condition's skip."""
        arch, fold = self.arch, self.arch.patch_size
        h = self.conv(self.folded(self.gated(condition, x_t)), "downs.0", arch.in_channel * fold**2, arch.inner_channel)
        h = self.u_net(h)
        h = self.norm_act_conv(h, "final_conv", arch.inner_channel * arch.channel_multiplier[0], 3 * fold**2)
        output = self.find("DepthToSpace", h, blocksize=fold, mode=b"CRD")
        if not arch.condition_skip:
            return output
        skip = self.conv(condition, "condition_skip", arch.condition_channels, arch.out_channel, side=1, bias=False)
        return self.find("Add", output, skip)

    def gated(self, condition: str, x_t: str) -> str:
        """Condition and x_t in one, gated as the architecture says."""
        if self.arch.gate == "condition":
            return self.find("Concat", self.gate(condition, self.arch.condition_channels), x_t, axis=1)
        joined = self.find("Concat", condition, x_t, axis=1)
        return self.gate(joined, self.arch.in_channel) if self.arch.gate == "all" else joined

    def gate(self, x: str, channels: int) -> str:
        """TMFA."""
        mean = self.find("ReduceMean", x, PIXELS, keepdims=0)
        hidden = self.find("Relu", self.linear(mean, "SE_block.linear1", channels, channels // 4))
        weights = self.find("Sigmoid", self.linear(hidden, "SE_block.linear2", channels // 4, channels))
        return self.find("Mul", x, self.find("Unsqueeze", weights, PIXELS))

    def folded(self, x: str) -> str:
        """Patches as channels: PyTorch's `pixel_unshuffle`, as its exporter writes it."""
        channels, fold = self.arch.in_channel, self.arch.patch_size
        whole, small = self.image(channels), self.image(channels * fold**2, fold)
        (batch, _, h, w), size = small, {"": fold}
        self.graph.shapes[x] = whole
        patches = self.graph.reshape(self.graph.reshape(x, whole), (batch, {"": channels}, h, size, w, size))
        moved = self.find("Transpose", patches, perm=(0, 1, 3, 5, 2, 4))
        return self.graph.reshape(self.graph.reshape(moved, small), small)

    def u_net(self, h: str) -> str:
        """Both paths, and the blocks between them."""
        arch = self.arch
        widths = [arch.inner_channel * multiplier for multiplier in arch.channel_multiplier]
        skips = self.contracting(h, widths)
        h, channels = skips[-1]
        for i, attention in enumerate((True, False)):
            h = self.block(h, f"mid.{i}", channels, channels, len(widths) - 1, attention=attention)
        index = 0
        for level, width in reversed(list(enumerate(widths))):
            for _ in range(arch.res_blocks + 1):
                skip, more = skips.pop()
                joined = self.find("Concat", h, skip, axis=1)
                attention = level in arch.attention_levels
                h = self.block(joined, f"ups.{index}", channels + more, width, level, attention=attention)
                channels, index = width, index + 1
            if level:
                larger = self.find("Resize", h, "", DOUBLED, **NEAREST)
                h, index = self.conv(larger, f"ups.{index}.conv", width, width), index + 1
        return h

    def contracting(self, h: str, widths: Sequence[int]) -> list[tuple[str, int]]:
        """The contracting path's values, each with its channels."""
        skips = [(h, self.arch.inner_channel)]
        for level, width in enumerate(widths):
            for _ in range(self.arch.res_blocks):
                h, channels = skips[-1]
                attention = level in self.arch.attention_levels
                h = self.block(h, f"downs.{len(skips)}", channels, width, level, attention=attention)
                skips.append((h, width))
            if level < len(widths) - 1:
                h = self.conv(h, f"downs.{len(skips)}.conv", width, width, stride=2)
                skips.append((h, width))
        return skips

    def block(self, x: str, name: str, channels: int, width: int, level: int, *, attention: bool) -> str:
        """A residual block, and attention after it."""
        inside = f"{name}.res_block"
        h = self.norm_act_conv(x, f"{inside}.block1", channels, width)
        h = self.find("Add", h, self.noise_bias(f"{inside}.noise_func", width))
        h = self.norm_act_conv(h, f"{inside}.block2", width, width)
        skip = x if channels == width else self.conv(x, f"{inside}.res_conv", channels, width, side=1)
        h = self.find("Add", h, skip)
        return self.attention(h, f"{name}.attn", width, level) if attention else h

    def noise_bias(self, name: str, width: int) -> str:
        """The noise level's bias of each channel."""
        bias = self.linear(self.embedding, f"{name}.noise_func.0", self.arch.inner_channel, width)
        return self.find("Unsqueeze", bias, PIXELS)

    def attention(self, x: str, name: str, width: int, level: int) -> str:
        """Self-attention over all pixels, with a skip."""
        batch, channels, h, w = self.image(width, self.arch.patch_size * 2**level)
        qkv = self.conv(self.norm(x, f"{name}.norm", width), f"{name}.qkv", width, 3 * width, side=1, bias=False)
        flat = self.graph.reshape(qkv, (batch, {"": 3 * width}, {"hw": h["h"] * w["w"]}))
        q, k, v = self.graph.find_all("Split", flat, axis=1, num_outputs=3)
        mixed = self.find("MatMul", self.scores(q, k, width), self.turned(v))
        h = self.graph.reshape(self.turned(mixed), (batch, channels, h, w))
        return self.find("Add", x, self.conv(h, f"{name}.out", width, width, side=1))

    def scores(self, q: str, k: str, width: int) -> str:
        """The attention's weights."""
        product = self.find("MatMul", self.turned(q), k)
        return self.find("Softmax", self.find("Div", product, np.array(math.sqrt(width))), axis=-1)

    def turned(self, x: str) -> str:
        """(B, a, b) -> (B, b, a)."""
        return self.find("Transpose", x, perm=(0, 2, 1))

    def norm_act_conv(self, x: str, name: str, channels: int, width: int) -> str:
        """GroupNorm, SiLU, convolution."""
        return self.conv(self.silu(self.norm(x, f"{name}.block.0", channels)), f"{name}.block.3", channels, width)

    def norm(self, x: str, name: str, channels: int) -> str:
        """GroupNorm."""
        operands = [Weight(f"{name}.{part}", (channels,)) for part in ("weight", "bias")]
        return self.find("GroupNormalization", x, *operands, num_groups=self.arch.norm_groups)

    def silu(self, x: str) -> str:
        """SiLU."""
        return self.find("Mul", x, self.find("Sigmoid", x))

    def conv(
        self, x: str, name: str, channels: int, width: int, *, side: int = 3, stride: int = 1, bias: bool = True
    ) -> str:
        """A convolution that keeps the size, or halves it."""
        operands: list[Operand] = [Weight(f"{name}.weight", (width, channels, side, side))]
        operands += [Weight(f"{name}.bias", (width,))] if bias else []
        sizes = {"kernel_shape": (side, side), "pads": (side // 2,) * 4, "strides": (stride, stride)}
        return self.find("Conv", x, *operands, **sizes)

    def linear(self, x: str, name: str, channels: int, width: int) -> str:
        """A linear layer."""
        operands = [Weight(f"{name}.weight", (width, channels)), Weight(f"{name}.bias", (width,))]
        return self.find("Gemm", x, *operands, transB=1)


class HalfGraph(StepGraph):
    """The network as `tfs_rt_export.half` writes it: convolutions in half, biases of the noise level from outside."""

    def __init__(self, graph: Graph, arch: Architecture, biases: Sequence[str]) -> None:
        super().__init__(graph, arch)
        self.biases, self.column = list(biases), 0

    @property
    def inputs(self) -> dict[str, Shape]:
        """The graph's inputs, with the shapes that it may ask for."""
        return {"x": self.image(self.arch.in_channel), "bias": ()}

    def prediction(self) -> str:
        """The network's output."""
        start = np.array([self.arch.condition_channels])
        condition = self.find("Slice", "x", FIRST, start, CHANNELS, CHANNELS)
        x_t = self.find("Slice", "x", start, TO_THE_END, CHANNELS, CHANNELS)
        output = self.graph.cast(self.network_output(condition, x_t), FLOAT32)
        if self.biases:
            raise ValueError(f"it has no {self.biases[0]}, whose biases it is given")
        if not self.arch.sigma_data:
            return output
        kept, factor = (self.column_of_bias(column) for column in (-2, -1))
        return self.find("Sub", self.find("Mul", kept, x_t), self.find("Mul", factor, output))

    def dimensions(self) -> dict[str, tuple[int | None, ...]]:
        """Those of the float32 graph, and one row of all biases. The row's length is known after `prediction`."""
        columns = self.column + (2 if self.arch.sigma_data else 0)
        return super().dimensions() | {"bias": (1, columns)}

    def column_of_bias(self, column: int) -> str:
        """(1, columns) -> (1, 1, 1, 1)."""
        number = self.find("Gather", "bias", np.array(column), axis=1)
        return self.find("Unsqueeze", self.find("Unsqueeze", number, np.array([1, 2])), np.array([3]))

    def noise_bias(self, name: str, width: int) -> str:
        """The noise level's bias of each channel, which are the row's next columns."""
        if not self.biases or self.biases.pop(0) != name:
            raise ValueError(f"its biases do not name {name} in its turn")
        start, self.column = self.column, self.column + width
        bias = self.find("Slice", "bias", np.array([start]), np.array([self.column]), CHANNELS, CHANNELS)
        return self.graph.cast(self.find("Unsqueeze", bias, PIXELS), FLOAT16)

    def scores(self, q: str, k: str, width: int) -> str:
        """The attention's weights."""
        scale = np.array(width**-0.25)
        product = self.find("MatMul", self.turned(self.find("Mul", q, scale)), self.find("Mul", k, scale))
        return self.graph.cast(self.find("Softmax", self.graph.cast(product, FLOAT32), axis=-1), FLOAT16)

    def norm(self, x: str, name: str, channels: int) -> str:
        """GroupNorm in float32."""
        return super().norm(self.graph.cast(x, FLOAT32), name, channels)

    def conv(
        self, x: str, name: str, channels: int, width: int, *, side: int = 3, stride: int = 1, bias: bool = True
    ) -> str:
        """A convolution in half."""
        x = self.graph.cast(x, FLOAT16)
        return super().conv(x, name, channels, width, side=side, stride=stride, bias=bias)

    def linear(self, x: str, name: str, channels: int, width: int) -> str:
        """A linear layer without a matrix product."""
        products = self.find("Mul", self.find("Unsqueeze", x, CHANNELS), Weight(f"{name}.weight", (width, channels)))
        return self.find("Add", self.find("ReduceSum", products, LAST, keepdims=0), Weight(f"{name}.bias", (width,)))
