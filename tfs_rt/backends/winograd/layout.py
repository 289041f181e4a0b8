"""SR3's U-Net laid out as a program, for images of one size.

The graph is the reference's (`UNet.said`), read from the architecture and the weights' names. What the reference
concatenates stays two sources here, and what it adds to a convolution's result is added as the result is written.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tfs_rt.backends.winograd.kernels import STATISTICS
from tfs_rt.backends.winograd.machine import Machine
from tfs_rt.backends.winograd.operations import APART, PLANES, M, N, field_names
from tfs_rt.backends.winograd.packing import Packing
from tfs_rt.backends.winograd.program import Buffers, Program
from tfs_rt.images import Array
from tfs_rt.spec import Architecture

TILES = 48  # of a block, whose values stay in a core's own cache
PIXELS = 96  # of a block of a 1x1 convolution
QUERIES = 48  # of a block of an attention
FEW_TILES, MANY_WEIGHTS = 300, 2**21  # a convolution with so few tiles and so many weights is done in three parts


@dataclass(frozen=True, slots=True)
class Tensor:
    """An image of channels, with the statistics of its blocks: what a normalisation needs."""

    data: Array  # (H, W, C)
    sums: Array  # (blocks, STATISTICS, C)
    filled: int = 0  # channels at its end that are always zero, and that no weight knows of

    @property
    def channels(self) -> int:
        """C."""
        return self.data.shape[2]


def given(**fields: Any) -> dict[str, Any]:
    """Fields of an operation, by their names."""
    return fields


class Layout:
    """Appends layers to a program; each takes tensors and returns the one that it will write."""

    def __init__(self, arch: Architecture, machine: Machine, packing: Packing) -> None:
        self.arch, self.panel, self.packing = arch, machine.shape.panel, packing
        self.buffers, self.program = Buffers(), Program(machine)
        self.scratch = 0  # floats that a thread needs for itself

    def tensor(self, h: int, w: int, channels: int, blocks: int) -> Tensor:
        """A tensor to be written."""
        return Tensor(self.buffers.take(h, w, channels), self.buffers.take(blocks, STATISTICS, channels))

    def release(self, tensor: Tensor) -> None:
        """No later layer reads it."""
        self.buffers.give(tensor.data, tensor.sums)

    def add(self, operation: str, tasks: int, *, scratch: int = 0, **values: Any) -> None:
        """Append an operation; of a dictionary of fields those that it has."""
        self.scratch = max(self.scratch, scratch)
        self.program.add(operation, tasks, {k: v for k, v in values.items() if k in field_names(operation)})

    def norm(self, name: str, sources: Sequence[Tensor]) -> tuple[Array, Array]:
        """The a and b of a group normalisation of all the sources' channels."""
        c, (h, w, _) = sum(source.channels for source in sources), sources[0].data.shape
        if c % self.arch.norm_groups:
            raise ValueError(f"{self.arch.norm_groups} groups do not divide {c} channels")
        a, b = self.buffers.take(c), self.buffers.take(c)
        fields: dict[str, Any] = {}
        for i, source in enumerate(sources, start=1):
            fields |= {f"sums{i}": source.sums, f"count{i}": len(source.sums), f"c{i}": source.channels}
        gamma, beta = (self.packing.vector(f"{name}.{part}", c) for part in ("weight", "bias"))
        fields |= given(groups=self.arch.norm_groups, pixels=h * w, gamma=gamma, beta=beta, a=a, b=b)
        self.add("norm", self.arch.norm_groups, **fields)
        return a, b

    def conv(
        self, name: str, sources: Sequence[Tensor], out: int, *, added: Sequence[str] = (), rest: Array | None = None,
        norm: str = "", shift: int = 0,
    ) -> Tensor:  # fmt: skip
        """A 3x3 convolution; of what `norm` normalises, after SiLU; of images of twice the size if `shift` is 1.

        The biases of `added` are added to its own, and the image `rest` to its result.
        """
        h, w = (side << shift for side in sources[0].data.shape[:2])
        affine = self.norm(norm, sources) if norm else ()
        c, weights = sum(source.channels for source in sources), self.packing
        known = c - sum(source.filled for source in sources)
        fields = given(act=int(bool(norm)), shift=shift, h=h, w=w)
        fields |= dict(zip("ab", affine, strict=False))
        for i, source in enumerate(sources, start=1):
            fields |= {f"image{i}": source.data, f"c{i}": source.channels}
        channels = weights.whole(out, self.panel)
        fields |= given(co=channels, c=c, rest=rest, more=int(rest is not None))
        fields |= given(bias=weights.bias(name, out, added), weights=weights.tiles(name, known, out))
        few = -(-h // M) * -(-w // M) <= FEW_TILES and fields["weights"].size > MANY_WEIGHTS
        result = (self._conv_in_parts if few else self._conv_in_blocks)(fields)
        self.buffers.give(*affine)
        return result

    def _conv_in_blocks(self, fields: dict[str, Any]) -> Tensor:
        h, w, c, co = (fields[name] for name in ("h", "w", "c", "co"))
        down, across = -(-h // M), -(-w // M)
        tile_w = min(across, TILES)
        tile_h = min(down, max(1, TILES // tile_w))
        blocks = -(-across // tile_w)
        tasks, most = -(-down // tile_h) * blocks, tile_h * tile_w
        scratch = (tile_w * M + 2) * N * c + PLANES * (most * (c + co) + 2 * APART) + (M * M + STATISTICS) * co
        out = self.tensor(h, w, co, tasks)
        fields |= given(image=out.data, sums=out.sums, tile_h=tile_h, tile_w=tile_w, across=blocks)
        self.add("conv", tasks, scratch=scratch, **fields)
        return out

    def _conv_in_parts(self, fields: dict[str, Any]) -> Tensor:
        h, w, c, co = (fields[name] for name in ("h", "w", "c", "co"))
        down, across = -(-h // M), -(-w // M)
        plane_in, plane_out = down * across * c + APART, down * across * co + APART
        values, products = self.buffers.take(PLANES * plane_in), self.buffers.take(PLANES * plane_out)
        out, parts = self.tensor(h, w, co, down), 2 - co // self.panel % 2
        fields |= given(values=values, products=products, plane_in=plane_in, plane_out=plane_out)
        fields |= given(count=down * across, parts=parts, image=out.data, sums=out.sums)
        self.add("conv_in", down, scratch=(across * M + 2) * N * c, **fields, plane=plane_in)
        self.add("conv_products", PLANES * parts, **fields)
        self.add("conv_out", down, scratch=(M * M + STATISTICS) * co, **fields, plane=plane_out)
        self.buffers.give(values, products)
        return out

    def linear(
        self, images: Sequence[Array], weights: Sequence[Array], *, rest: Array | None = None, bias: Array | None = None
    ) -> Array:
        """A 1x1 convolution of one or two images."""
        (h, w, _), co = images[0].shape, weights[0].shape[0] * self.panel
        out = self.buffers.take(h, w, co)
        fields = given(co=co, rest=rest, bias=bias, more=int(rest is not None), to=out)
        for i, (image, weight) in enumerate(zip(images, weights, strict=True), start=1):
            fields |= {f"image{i}": image, f"c{i}": image.shape[2], f"weights{i}": weight}
        self.add("linear", -(-h * w // PIXELS), pixels=h * w, block=PIXELS, **fields)
        return out

    def summed(self, data: Array) -> Tensor:
        """An image, with its statistics."""
        h, w, c = data.shape
        block = 4 * PIXELS
        sums = self.buffers.take(-(-h * w // block), STATISTICS, c)
        self.add("sums", len(sums), image=data, c=c, pixels=h * w, block=block, sums=sums)
        return Tensor(data, sums)

    def down(self, name: str, source: Tensor) -> Tensor:
        """A 3x3 convolution with stride 2, of as many channels."""
        h, w, c = source.data.shape
        out = self.buffers.take(h // 2, w // 2, c)
        weights, bias = self.packing.taps(name, c, c), self.packing.bias(name, c)
        fields = given(image=source.data, c=c, h=h, w=w, weights=weights, co=c, bias=bias, to=out)
        self.add("down", h // 2, scratch=3 * (w + 2) * c, **fields)
        return self.summed(out)

    def attention(self, name: str, source: Tensor) -> Tensor:
        """Self-attention of one head over all pixels, with a skip."""
        h, w, c = source.data.shape
        tokens = self.packing.whole(h * w, self.panel)
        a, b = self.norm(f"{name}.norm", [source])
        normed = self.buffers.take(h, w, c)
        fields = given(image=source.data, c=c, a=a, b=b, to=normed, pixels=h * w, block=PIXELS)
        self.add("affine", -(-h * w // PIXELS), **fields)
        qkv = self.linear([normed], [self.packing.attention(f"{name}.qkv", c)])
        keys, values, seen = self.buffers.take(tokens, c), self.buffers.take(tokens, c), self.buffers.take(h, w, c)
        fields = given(qkv=qkv, pitch=3 * c, tokens=tokens, keys=keys, values=values, c=c, pixels=h * w)
        self.add("pack", tokens // self.panel, **fields)
        self.add("attend", -(-h * w // QUERIES), scratch=QUERIES * tokens, to=seen, block=QUERIES, **fields)
        weights, bias = self.packing.points(f"{name}.out", [c], c), self.packing.bias(f"{name}.out", c)
        out = self.linear([seen], weights, rest=source.data, bias=bias)
        self.buffers.give(a, b, normed, qkv, keys, values, seen)
        self.release(source)
        return self.summed(out)

    def block(self, name: str, sources: Sequence[Tensor], out: int, *, attention: bool) -> Tensor:
        """A residual block; its sources may be read by later ones."""
        inside, widths = f"{name}.res_block", [source.channels for source in sources]
        first, second = (f"{inside}.block{i}.block" for i in (1, 2))
        h = self.conv(f"{first}.3", sources, out, added=[f"{inside}.noise_func.noise_func.0"], norm=f"{first}.0")
        skip, rest = (), sources[0].data
        if len(sources) > 1 or sum(widths) != out:
            skip = (f"{inside}.res_conv",)
            rest = self.linear([source.data for source in sources], self.packing.points(skip[0], widths, out))
        result = self.conv(f"{second}.3", [h], out, added=skip, norm=f"{second}.0", rest=rest)
        self.release(h)
        if skip:
            self.buffers.give(rest)
        return self.attention(f"{name}.attn", result) if attention else result


def lay_out(layout: Layout, source: Tensor) -> Tensor:
    """The whole U-Net, from its folded input to its folded output."""
    arch = layout.arch
    widths = [arch.inner_channel * multiplier for multiplier in arch.channel_multiplier]
    skips = _contracting(layout, layout.conv("downs.0", [source], arch.inner_channel), widths)
    h = layout.block("mid.0", skips[-1:], widths[-1], attention=True)
    before, h = h, layout.block("mid.1", [h], widths[-1], attention=False)
    layout.release(before)
    index = 0
    for level, width in reversed(list(enumerate(widths))):
        for _ in range(arch.res_blocks + 1):
            sources = [h, skips.pop()]
            h = layout.block(f"ups.{index}", sources, width, attention=level in arch.attention_levels)
            for before in sources:
                layout.release(before)
            index += 1
        if level:
            before, h = h, layout.conv(f"ups.{index}.conv", [h], width, shift=1)
            layout.release(before)
            index += 1
    return layout.conv("final_conv.block.3", [h], arch.out_channel * arch.patch_size**2, norm="final_conv.block.0")


def _contracting(layout: Layout, h: Tensor, widths: Sequence[int]) -> list[Tensor]:
    """The contracting path's results, all of which the expansive path takes up."""
    skips = [h]
    for level, width in enumerate(widths):
        for _ in range(layout.arch.res_blocks):
            attention = level in layout.arch.attention_levels
            skips.append(layout.block(f"downs.{len(skips)}", skips[-1:], width, attention=attention))
        if level < len(widths) - 1:
            skips.append(layout.down(f"downs.{len(skips)}.conv", skips[-1]))
    return skips
