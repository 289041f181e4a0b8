"""3x3 convolutions by Winograd's products, whole or in three parts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic

from tfs_rt.backends.winograd import toom
from tfs_rt.backends.winograd.arguments import NumberT, PointerT
from tfs_rt.backends.winograd.blocks.matrix_product import Product
from tfs_rt.backends.winograd.blocks.strip import Strip
from tfs_rt.backends.winograd.blocks.transforms import InputTransform, OutputTransform
from tfs_rt.backends.winograd.emit import Int, Number, Pointer
from tfs_rt.backends.winograd.kernels import KernelModule
from tfs_rt.backends.winograd.operations.operation import Emitters, Operation

M = toom.M
N = toom.N
PLANES = N * N
# Floats between planes beyond their length: else all would compete for the same cache lines.
PADDING = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources(Generic[PointerT, NumberT]):
    """The images that a convolution reads, their channels side by side; of the second, c2 may be 0.

    `upsample`, `slope`, `offset` and `activate` are those of a strip (`blocks.strip`).
    """

    image1: PointerT
    c1: NumberT
    image2: PointerT
    c2: NumberT
    upsample: NumberT
    slope: PointerT
    offset: PointerT
    activate: NumberT
    h: NumberT
    w: NumberT


@dataclass(frozen=True, slots=True, kw_only=True)
class Epilogue(Generic[PointerT, NumberT]):
    """Output channels, and what is added to them as they are written; `residual` if `add_residual` is 1."""

    co: NumberT
    bias: PointerT
    residual: PointerT
    add_residual: NumberT


@dataclass(frozen=True, slots=True, kw_only=True)
class Conv(Generic[PointerT, NumberT]):
    """A 3x3 convolution, whole: a task is a block of tiles, whose values stay in a core's own cache."""

    sources: Sources[PointerT, NumberT]
    epilogue: Epilogue[PointerT, NumberT]
    image: PointerT
    sums: PointerT
    weights: PointerT
    tile_h: NumberT  # rows and columns of tiles of a block
    tile_w: NumberT
    across: NumberT  # blocks side by side


@dataclass(frozen=True, slots=True, kw_only=True)
class ConvInput(Generic[PointerT, NumberT]):
    """The first of three parts of a convolution with more weights than pixels. A task is a row of tiles."""

    sources: Sources[PointerT, NumberT]
    values: PointerT
    plane: NumberT


@dataclass(frozen=True, slots=True, kw_only=True)
class ConvProducts(Generic[PointerT, NumberT]):
    """The second: a task is a part of the output channels of one of the 36 products, so that weights are read once."""

    values: PointerT
    plane_in: NumberT
    weights: PointerT
    products: PointerT
    plane_out: NumberT
    tiles: NumberT
    c: NumberT
    co: NumberT
    parts: NumberT


@dataclass(frozen=True, slots=True, kw_only=True)
class ConvOutput(Generic[PointerT, NumberT]):
    """The third: a task is a row of tiles."""

    products: PointerT
    plane: NumberT
    h: NumberT
    w: NumberT
    epilogue: Epilogue[PointerT, NumberT]
    image: PointerT
    sums: PointerT


def _count_tiles(code: Operation, side: Number) -> Int:
    return code.div(code.add(side, M - 1), M)


@dataclass(frozen=True, slots=True)
class _Memory:
    """A thread's memory for one block: a strip of the image, its values, their products and a tile's buffer.

    `values` and `products` have 36 planes, which begin `plane_in` and `plane_out` floats apart.
    """

    strip: Pointer
    values: Pointer
    plane_in: Int
    products: Pointer
    plane_out: Int
    buffer: Pointer


@dataclass(frozen=True, slots=True)
class _Block:
    """A task's block: its first pixel, its rows of tiles, and the tiles of each."""

    y: Int
    x: Int
    down: Int
    tiles: Int


def _conv(kernels: KernelModule, code: Operation, args: Conv[Pointer, Int]) -> None:
    own = code.scratch()
    epilogue = args.epilogue
    c = code.add(args.sources.c1, args.sources.c2)

    # Divide a thread's memory.
    most_tiles = code.mul(args.tile_h, args.tile_w)
    plane_in = code.add(code.mul(most_tiles, c), PADDING)
    plane_out = code.add(code.mul(most_tiles, epilogue.co), PADDING)
    values = code.at(own, code.mul(code.add(code.mul(args.tile_w, M), 2), c, N))
    products = code.at(values, code.mul(plane_in, PLANES))
    buffer = code.at(products, code.mul(plane_out, PLANES))
    memory = _Memory(own, values, plane_in, products, plane_out, buffer)
    panels = code.div(epilogue.co, kernels.shape.panel)

    with code.each_task() as task:
        # Find the block of this task.
        y = code.mul(code.div(task, args.across), args.tile_h, M)
        x = code.mul(code.rem(task, args.across), args.tile_w, M)
        down = code.minimum(args.tile_h, _count_tiles(code, code.sub(args.sources.h, y)))
        tiles = code.minimum(args.tile_w, _count_tiles(code, code.sub(args.sources.w, x)))
        block = _Block(y, x, down, tiles)

        # Transform the image into values in 36 planes, multiply them, and transform the products back.
        width = code.add(code.mul(tiles, M), 2)
        sums = code.reset_statistics(args.sums, task, epilogue.co)
        _transform_image(kernels, code, args, memory, block, width, c)
        _multiply_planes(kernels, code, args, memory, block, panels, c)
        _transform_products(kernels, code, args, memory, block, sums)


def _transform_image(
    kernels: KernelModule, code: Operation, args: Conv[Pointer, Int], memory: _Memory, block: _Block, width: Int, c: Int
) -> None:
    """Transform each row of tiles of a block, read as a strip of `width` columns, into values in 36 planes."""
    with code.loop(0, block.down) as i:
        y = code.add(block.y, code.mul(i, M), -1)
        _read_strips(kernels, code, args.sources, memory.strip, width, y, code.add(block.x, -1))
        transform = InputTransform(
            strip=memory.strip,
            strip_width=width,
            c=c,
            tiles=block.tiles,
            to=code.at(memory.values, code.mul(i, block.tiles, c)),
            plane=memory.plane_in,
        )
        kernels.call(code, transform)


def _multiply_planes(
    kernels: KernelModule,
    code: Operation,
    args: Conv[Pointer, Int],
    memory: _Memory,
    block: _Block,
    panels: Int,
    c: Int,
) -> None:
    """Multiply each plane of values by its weights: 36 products."""
    co = args.epilogue.co
    with code.loop(0, PLANES) as p:
        product = Product(
            a=code.at(memory.values, code.mul(p, memory.plane_in)),
            a_pitch=c,
            b=code.at(args.weights, code.mul(p, c, co)),
            c=code.at(memory.products, code.mul(p, memory.plane_out)),
            c_pitch=co,
            rows=code.mul(block.down, block.tiles),
            depth=c,
            panels=panels,
            accumulate=0,
        )
        kernels.call(code, product)


def _transform_products(
    kernels: KernelModule, code: Operation, args: Conv[Pointer, Int], memory: _Memory, block: _Block, sums: Pointer
) -> None:
    """Transform each row of products of a block into rows of the image, and add them to the statistics."""
    epilogue = args.epilogue
    with code.loop(0, block.down) as i:
        transform = OutputTransform(
            products=code.at(memory.products, code.mul(i, block.tiles, epilogue.co)),
            plane=memory.plane_out,
            c=epilogue.co,
            tiles=block.tiles,
            y=code.add(block.y, code.mul(i, M)),
            x=block.x,
            h=args.sources.h,
            w=args.sources.w,
            bias=epilogue.bias,
            residual=epilogue.residual,
            add_residual=epilogue.add_residual,
            image=args.image,
            sums=sums,
            buffer=memory.buffer,
        )
        kernels.call(code, transform)


def _read_strips(
    kernels: KernelModule,
    code: Operation,
    sources: Sources[Pointer, Int],
    to: Pointer,
    width: Number,
    y: Number,
    x: Number,
) -> None:
    """A strip of 6 rows of both images, their channels side by side."""
    c = code.add(sources.c1, sources.c2)
    first = code.number(0)
    # Read both images; the second may have no channels.
    for image, channels, offset in ((sources.image1, sources.c1, first), (sources.image2, sources.c2, sources.c1)):
        with code.builder.if_then(code.less(0, channels)):
            strip = Strip(
                to=code.at(to, offset),
                slope=code.at(sources.slope, offset),
                offset=code.at(sources.offset, offset),
                to_width=width,
                to_channels=c,
                image=image,
                h=sources.h,
                w=sources.w,
                c=channels,
                upsample=sources.upsample,
                y=y,
                x=x,
                rows=N,
                columns=width,
                activate=sources.activate,
            )
            kernels.call(code, strip)


def _conv_input(kernels: KernelModule, code: Operation, args: ConvInput[Pointer, Int]) -> None:
    own = code.scratch()
    c = code.add(args.sources.c1, args.sources.c2)
    tiles = _count_tiles(code, args.sources.w)
    width = code.add(code.mul(tiles, M), 2)
    with code.each_task() as task:
        _read_strips(kernels, code, args.sources, own, width, code.add(code.mul(task, M), -1), code.number(-1))
        to = code.at(args.values, code.mul(task, tiles, c))
        transform = InputTransform(strip=own, strip_width=width, c=c, tiles=tiles, to=to, plane=args.plane)
        kernels.call(code, transform)


def _conv_products(kernels: KernelModule, code: Operation, args: ConvProducts[Pointer, Int]) -> None:
    panels = code.div(code.div(args.co, kernels.shape.panel), args.parts)
    with code.each_task() as task:
        # Find the plane and the first output channel of this task.
        p = code.div(task, args.parts)
        first = code.mul(code.rem(task, args.parts), panels, kernels.shape.panel)  # of the output channels
        # Multiply the plane's values by its weights.
        product = Product(
            a=code.at(args.values, code.mul(p, args.plane_in)),
            c=code.at(args.products, code.mul(p, args.plane_out), first),
            b=code.at(args.weights, code.mul(p, args.c, args.co), code.mul(first, args.c)),
            a_pitch=args.c,
            c_pitch=args.co,
            rows=args.tiles,
            depth=args.c,
            panels=panels,
            accumulate=0,
        )
        kernels.call(code, product)


def _conv_output(kernels: KernelModule, code: Operation, args: ConvOutput[Pointer, Int]) -> None:
    buffer = code.scratch()
    tiles = _count_tiles(code, args.w)
    with code.each_task() as task:
        # Find this task's row of products, and reset its statistics.
        products = code.at(args.products, code.mul(task, tiles, args.epilogue.co))
        sums = code.reset_statistics(args.sums, task, args.epilogue.co)
        # Transform the products into rows of the image.
        transform = OutputTransform(
            products=products,
            plane=args.plane,
            c=args.epilogue.co,
            tiles=tiles,
            y=code.mul(task, M),
            x=0,
            h=args.h,
            w=args.w,
            bias=args.epilogue.bias,
            residual=args.epilogue.residual,
            add_residual=args.epilogue.add_residual,
            image=args.image,
            sums=sums,
            buffer=buffer,
        )
        kernels.call(code, transform)


EMITTERS: Emitters = {
    Conv: _conv,
    ConvInput: _conv_input,
    ConvProducts: _conv_products,
    ConvOutput: _conv_output,
}
