"""Check that a float32 ONNX graph is the U-Net that the manifest describes.

A graph is a program of its own: with the same weights it may compute another network than `model.json` describes.
`check_network` follows SR3's U-Net through it, node by node, from the inputs to the prediction. A graph that passes
computes this network for images of every size, with every weight in its place.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from tfs_rt.models.onnx.match import Graph, Operand, Shape, Weight
from tfs_rt.spec import Architecture

PREDICTION = "prediction"
FLOAT32 = 1  # ONNX's number of the type
CHANNELS = np.array([1])  # axes
PIXELS = np.array([2, 3])
DOUBLED = np.array([1, 1, 2, 2], dtype=np.float32)
NEAREST = {"mode": b"nearest", "nearest_mode": b"floor", "coordinate_transformation_mode": b"asymmetric"}


def check_network(model: bytes, arch: Architecture) -> None:
    """ValueError unless a float32 graph (`step.onnx`) is the architecture's network."""
    compare(StepGraph(Graph(model), arch))


def compare(network: StepGraph) -> None:
    """ValueError unless the whole graph is this network."""
    graph = network.graph
    if sorted(graph.inputs) != sorted(network.inputs):
        raise ValueError(f"its inputs are {graph.inputs}, expected {list(network.inputs)}")

    # Follow the network from the inputs to its output.
    graph.shapes |= network.inputs
    try:
        output = network.prediction()
    except RecursionError as error:
        raise ValueError("its arithmetic of shapes is nested too deeply") from error
    if output != PREDICTION or graph.outputs != [PREDICTION]:
        raise ValueError(f"its outputs are {graph.outputs}, and the network ends with {output!r}")

    # Compare the declared types and dimensions.
    expected = network.dimensions()
    for value in graph.declared:
        if (value.element_type, value.dimensions) != (FLOAT32, expected[value.name]):
            raise ValueError(f"{value.name} is declared as type {value.element_type} of {value.dimensions}")


class StepGraph:
    """The network in float32. Its methods find parts of it and return the names of their values."""

    def __init__(self, graph: Graph, arch: Architecture) -> None:
        self.graph = graph
        self.arch = arch
        self.find = graph.find
        self.embedding = ""  # name of the noise level's embedding

    @property
    def inputs(self) -> dict[str, Shape]:
        """The names of the graph's inputs, with their shapes."""
        images = {"condition": self.arch.condition_channels, "x_t": self.arch.out_channel}
        return {name: self.image(channels) for name, channels in images.items()} | {"noise_level": ({"n": 1}, {"": 1})}

    def dimensions(self) -> dict[str, tuple[int | None, ...]]:
        """The dimensions of the inputs and the output as the exporter declares them; None is a free size."""
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
        find = self.find
        signal = find("Unsqueeze", "noise_level", PIXELS)
        square = find("Pow", signal, np.array(2.0))
        noise = find("Sub", np.array(1.0), square)
        variance = find("Add", find("Mul", square, np.array(self.arch.sigma_data**2)), noise)
        direct = find("Div", find("Mul", find("Sqrt", noise), "x_t"), variance)
        factor = find("Mul", signal, find("Reciprocal", find("Sqrt", variance)))
        return find("Sub", direct, find("Mul", factor, output))

    def network_output(self, condition: str, x_t: str) -> str:
        """From the gate to the unfolded output, with the condition's skip."""
        arch = self.arch
        fold = arch.patch_size
        folded = self.fold_patches(self.gated_input(condition, x_t))
        h = self.conv(folded, "downs.0", arch.in_channel * fold**2, arch.inner_channel)
        h = self.u_net(h)
        h = self.norm_act_conv(h, "final_conv", arch.inner_channel * arch.channel_multiplier[0], 3 * fold**2)
        output = self.find("DepthToSpace", h, blocksize=fold, mode=b"CRD")
        if not arch.condition_skip:
            return output
        skip = self.conv(condition, "condition_skip", arch.condition_channels, arch.out_channel, side=1, bias=False)
        return self.find("Add", output, skip)

    def gated_input(self, condition: str, x_t: str) -> str:
        """Condition and x_t concatenated, with the architecture's gate."""
        if self.arch.gate == "condition":
            return self.find("Concat", self.gate(condition, self.arch.condition_channels), x_t, axis=1)
        joined = self.find("Concat", condition, x_t, axis=1)
        return self.gate(joined, self.arch.in_channel) if self.arch.gate == "all" else joined

    def gate(self, x: str, channels: int) -> str:
        """TMFA: a squeeze-and-excitation gate."""
        mean = self.find("ReduceMean", x, PIXELS, keepdims=0)
        hidden = self.find("Relu", self.linear(mean, "SE_block.linear1", channels, channels // 4))
        weights = self.find("Sigmoid", self.linear(hidden, "SE_block.linear2", channels // 4, channels))
        return self.find("Mul", x, self.find("Unsqueeze", weights, PIXELS))

    def fold_patches(self, x: str) -> str:
        """Patches as channels: PyTorch's `pixel_unshuffle`, as its exporter writes it."""
        channels = self.arch.in_channel
        fold = self.arch.patch_size
        whole = self.image(channels)
        small = self.image(channels * fold**2, fold)
        batch, _, h, w = small
        size = {"": fold}
        self.graph.shapes[x] = whole
        patches = self.graph.reshape(self.graph.reshape(x, whole), (batch, {"": channels}, h, size, w, size))
        transposed = self.find("Transpose", patches, perm=(0, 1, 3, 5, 2, 4))
        return self.graph.reshape(self.graph.reshape(transposed, small), small)

    def u_net(self, h: str) -> str:
        """The contracting path, the middle blocks and the expanding path."""
        arch = self.arch
        widths = [arch.inner_channel * multiplier for multiplier in arch.channel_multiplier]
        skips = self.contracting_path(h, widths)

        # The middle: a block with attention, and one without.
        h, channels = skips[-1]
        for i, attention in enumerate((True, False)):
            h = self.block(h, f"mid.{i}", channels, channels, len(widths) - 1, attention=attention)

        # The expanding path, which takes the skips in reverse order.
        index = 0
        for level, width in reversed(list(enumerate(widths))):
            for _ in range(arch.res_blocks + 1):
                skip, skip_channels = skips.pop()
                joined = self.find("Concat", h, skip, axis=1)
                attention = level in arch.attention_levels
                h = self.block(joined, f"ups.{index}", channels + skip_channels, width, level, attention=attention)
                channels = width
                index += 1
            if level:
                larger = self.find("Resize", h, "", DOUBLED, **NEAREST)
                h = self.conv(larger, f"ups.{index}.conv", width, width)
                index += 1
        return h

    def contracting_path(self, h: str, widths: Sequence[int]) -> list[tuple[str, int]]:
        """The outputs of the contracting path's blocks, each with its number of channels."""
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
        """A residual block, with attention after it if asked for."""
        inside = f"{name}.res_block"
        h = self.norm_act_conv(x, f"{inside}.block1", channels, width)
        h = self.find("Add", h, self.noise_bias(f"{inside}.noise_func", width))
        h = self.norm_act_conv(h, f"{inside}.block2", width, width)
        skip = x if channels == width else self.conv(x, f"{inside}.res_conv", channels, width, side=1)
        h = self.find("Add", h, skip)
        return self.attention(h, f"{name}.attn", width, level) if attention else h

    def noise_bias(self, name: str, width: int) -> str:
        """The bias of each channel, which depends on the noise level."""
        bias = self.linear(self.embedding, f"{name}.noise_func.0", self.arch.inner_channel, width)
        return self.find("Unsqueeze", bias, PIXELS)

    def attention(self, x: str, name: str, width: int, level: int) -> str:
        """Self-attention over all pixels, with a skip."""
        batch, channels, h, w = self.image(width, self.arch.patch_size * 2**level)
        qkv = self.conv(self.norm(x, f"{name}.norm", width), f"{name}.qkv", width, 3 * width, side=1, bias=False)
        flat = self.graph.reshape(qkv, (batch, {"": 3 * width}, {"hw": h["h"] * w["w"]}))
        q, k, v = self.graph.find_all("Split", flat, axis=1, num_outputs=3)
        mixed = self.find("MatMul", self.scores(q, k, width), self.transposed(v))
        h = self.graph.reshape(self.transposed(mixed), (batch, channels, h, w))
        return self.find("Add", x, self.conv(h, f"{name}.out", width, width, side=1))

    def scores(self, q: str, k: str, width: int) -> str:
        """The attention weights."""
        product = self.find("MatMul", self.transposed(q), k)
        return self.find("Softmax", self.find("Div", product, np.array(math.sqrt(width))), axis=-1)

    def transposed(self, x: str) -> str:
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
