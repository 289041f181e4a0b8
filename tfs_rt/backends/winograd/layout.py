"""Layers of SR3's U-Net as operations of a program, for images of one size.

Concatenations are not copied: a layer reads two sources. Additions are fused into the write of the convolution.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tfs_rt.backends.winograd.blocks.statistics import STATISTICS
from tfs_rt.backends.winograd.machine import Machine
from tfs_rt.backends.winograd.operations.conv import (
    PADDING,
    PLANES,
    Conv,
    ConvInput,
    ConvOutput,
    ConvProducts,
    Epilogue,
    M,
    N,
    Sources,
)
from tfs_rt.backends.winograd.operations.downsample import Downsample
from tfs_rt.backends.winograd.operations.linear import Linear
from tfs_rt.backends.winograd.operations.norm import Norm, Statistics
from tfs_rt.backends.winograd.packing import Packing
from tfs_rt.backends.winograd.program import Program
from tfs_rt.images import Array
from tfs_rt.spec import Architecture

TILES = 48  # of a block, whose values stay in a core's own cache
PIXELS = 96  # of a block of a 1x1 convolution
STATISTICS_PIXELS = 4 * PIXELS  # of a block whose statistics are computed by themselves
FEW_TILES = 300  # a convolution with no more tiles and ...
MANY_WEIGHTS = 2**21  # ... with more weights than this is done in three parts


@dataclass(frozen=True, slots=True)
class Tensor:
    """An image of channels, with the statistics of its blocks: what a normalisation needs."""

    data: Array  # (H, W, C)
    sums: Array  # (blocks, STATISTICS, C)
    # Channels at its end that are always zero, and that no weight knows of.
    filled: int = 0

    @property
    def channels(self) -> int:
        """C."""
        return self.data.shape[2]


@dataclass(frozen=True, slots=True, kw_only=True)
class Convolution:
    """A 3x3 convolution, before it is decided whether it is done whole or in parts."""

    sources: Sources[Array | None, int]
    c: int
    epilogue: Epilogue[Array | None, int]
    weights: Array

    @property
    def tiles(self) -> tuple[int, int]:
        """Rows and columns of tiles."""
        return ceil_div(self.sources.h, M), ceil_div(self.sources.w, M)


def ceil_div(a: int, b: int) -> int:
    """a / b, rounded up."""
    return -(-a // b)


class Layout:
    """Appends layers to a program; each takes tensors and returns the one that it will write."""

    def __init__(self, arch: Architecture, machine: Machine, packing: Packing) -> None:
        self.arch = arch
        self.panel = machine.shape.panel
        self.packing = packing
        self.program = Program(machine)
        self.buffers = self.program.buffers

    def tensor(self, h: int, w: int, channels: int, blocks: int) -> Tensor:
        """A tensor to be written."""
        return Tensor(self.buffers.allocate(h, w, channels), self.buffers.allocate(blocks, STATISTICS, channels))

    def release(self, tensor: Tensor) -> None:
        """Free a tensor that no later layer reads."""
        self.buffers.free(tensor.data, tensor.sums)

    def norm(self, name: str, sources: Sequence[Tensor]) -> tuple[Array, Array]:
        """The slope and offset of a group normalisation of the channels of one or two sources."""
        # Check the sources and the number of channels.
        first, second = _two(sources)
        c = sum(source.channels for source in sources)
        h, w, _ = first.data.shape
        if c % self.arch.norm_groups:
            raise ValueError(f"{self.arch.norm_groups} groups do not divide {c} channels")
        # Allocate the results.
        slope = self.buffers.allocate(c)
        offset = self.buffers.allocate(c)
        # Append the normalisation, one task for each group.
        operation = Norm(
            sums1=first.sums,
            count1=len(first.sums),
            c1=first.channels,
            sums2=second.sums if second else None,
            count2=len(second.sums) if second else 0,
            c2=second.channels if second else 0,
            groups=self.arch.norm_groups,
            pixels=h * w,
            gamma=self.packing.vector(f"{name}.weight", c),
            beta=self.packing.vector(f"{name}.bias", c),
            slope=slope,
            offset=offset,
        )
        self.program.add(operation, self.arch.norm_groups)
        return slope, offset

    def conv(
        self,
        name: str,
        sources: Sequence[Tensor],
        out: int,
        *,
        added: Sequence[str] = (),
        residual: Array | None = None,
        norm: str = "",
        upsample: int = 0,
    ) -> Tensor:
        """Append a 3x3 convolution of one or two sources, side by side.

        With `norm`, its input is group-normalised and passed through SiLU; with `upsample` 1, it is first upsampled
        by 2. The biases of the modules `added` are added to its own, and the image `residual` to its result.
        """
        # Normalise the sources.
        first, second = _two(sources)
        affine = self.norm(norm, sources) if norm else ()
        # Describe the images to read.
        h, w = (side << upsample for side in first.data.shape[:2])
        c = sum(source.channels for source in sources)
        channels_with_weights = c - sum(source.filled for source in sources)
        slope, offset = affine or (None, None)
        inputs = Sources(
            image1=first.data,
            c1=first.channels,
            image2=second.data if second else None,
            c2=second.channels if second else 0,
            upsample=upsample,
            slope=slope,
            offset=offset,
            activate=int(bool(norm)),
            h=h,
            w=w,
        )
        # Describe the sums that are added as the result is written.
        epilogue = Epilogue(
            co=self.packing.round_up(out, self.panel),
            bias=self.packing.bias(name, out, added),
            residual=residual,
            add_residual=int(residual is not None),
        )
        weights = self.packing.tiles(name, channels_with_weights, out)
        convolution = Convolution(sources=inputs, c=c, epilogue=epilogue, weights=weights)

        # Large weights, few tiles: read the weights once.
        down, across = convolution.tiles
        in_parts = down * across <= FEW_TILES and weights.size > MANY_WEIGHTS
        result = self._conv_in_parts(convolution) if in_parts else self._conv_in_blocks(convolution)
        self.buffers.free(*affine)
        return result

    def _conv_in_blocks(self, conv: Convolution) -> Tensor:
        c = conv.c
        co = conv.epilogue.co
        down, across = conv.tiles

        # Make blocks of as many whole rows of tiles as they take.
        tile_w = min(across, TILES)
        tile_h = min(down, max(1, TILES // tile_w))
        blocks_across = ceil_div(across, tile_w)
        tasks = ceil_div(down, tile_h) * blocks_across

        # Scratch memory: a strip of the image, values and products of all planes, a tile's buffer and statistics.
        strip = (tile_w * M + 2) * N * c
        planes = PLANES * (tile_h * tile_w * (c + co) + 2 * PADDING)
        scratch = strip + planes + (M * M + STATISTICS) * co

        out = self.tensor(conv.sources.h, conv.sources.w, co, tasks)
        operation = Conv(
            sources=conv.sources,
            epilogue=conv.epilogue,
            image=out.data,
            sums=out.sums,
            weights=conv.weights,
            tile_h=tile_h,
            tile_w=tile_w,
            across=blocks_across,
        )
        self.program.add(operation, tasks, scratch=scratch)
        return out

    def _conv_in_parts(self, conv: Convolution) -> Tensor:
        h = conv.sources.h
        w = conv.sources.w
        c = conv.c
        co = conv.epilogue.co
        down, across = conv.tiles
        plane_in = down * across * c + PADDING
        plane_out = down * across * co + PADDING
        values = self.buffers.allocate(PLANES * plane_in)
        products = self.buffers.allocate(PLANES * plane_out)
        out = self.tensor(h, w, co, down)

        # Transform the image, one row of tiles for each task.
        to_values = ConvInput(sources=conv.sources, values=values, plane=plane_in)
        self.program.add(to_values, down, scratch=(across * M + 2) * N * c)

        # Multiply by the weights, a plane or half a plane for each task.
        parts = 2 - co // self.panel % 2
        multiply = ConvProducts(
            values=values,
            plane_in=plane_in,
            weights=conv.weights,
            products=products,
            plane_out=plane_out,
            tiles=down * across,
            c=c,
            co=co,
            parts=parts,
        )
        self.program.add(multiply, PLANES * parts)

        # Transform the products into the result, one row of tiles for each task.
        to_image = ConvOutput(
            products=products, plane=plane_out, h=h, w=w, epilogue=conv.epilogue, image=out.data, sums=out.sums
        )
        self.program.add(to_image, down, scratch=(M * M + STATISTICS) * co)
        self.buffers.free(values, products)
        return out

    def linear(
        self,
        images: Sequence[Array],
        weights: Sequence[Array],
        *,
        residual: Array | None = None,
        bias: Array | None = None,
    ) -> Array:
        """Append a 1x1 convolution of one or two images. `residual` and `bias` are given together or not at all."""
        # Allocate the result.
        h, w, _ = images[0].shape
        co = weights[0].shape[0] * self.panel
        out = self.buffers.allocate(h, w, co)
        # Append the product, one task for each block of pixels.
        operation = Linear(
            image1=images[0],
            c1=images[0].shape[2],
            weights1=weights[0],
            image2=images[1] if len(images) > 1 else None,
            c2=images[1].shape[2] if len(images) > 1 else 0,
            weights2=weights[1] if len(images) > 1 else None,
            co=co,
            residual=residual,
            bias=bias,
            add_residual=int(residual is not None),
            to=out,
            pixels=h * w,
            block=PIXELS,
        )
        self.program.add(operation, ceil_div(h * w, PIXELS))
        return out

    def with_statistics(self, data: Array) -> Tensor:
        """Append the statistics of an image."""
        h, w, c = data.shape
        sums = self.buffers.allocate(ceil_div(h * w, STATISTICS_PIXELS), STATISTICS, c)
        operation = Statistics(image=data, c=c, pixels=h * w, block=STATISTICS_PIXELS, sums=sums)
        self.program.add(operation, len(sums))
        return Tensor(data, sums)

    def downsample(self, name: str, source: Tensor) -> Tensor:
        """Append a 3x3 convolution with stride 2, to as many channels."""
        h, w, c = source.data.shape
        out = self.buffers.allocate(h // 2, w // 2, c)
        operation = Downsample(
            image=source.data,
            c=c,
            h=h,
            w=w,
            weights=self.packing.taps(name, c, c),
            co=c,
            bias=self.packing.bias(name, c),
            to=out,
        )
        self.program.add(operation, h // 2, scratch=3 * (w + 2) * c)
        return self.with_statistics(out)


def _two(sources: Sequence[Tensor]) -> tuple[Tensor, Tensor | None]:
    """The first source, and the second if there is one."""
    return sources[0], sources[1] if len(sources) > 1 else None
