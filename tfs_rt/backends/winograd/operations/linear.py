"""1x1 convolutions: of images of many channels, and of a few channels as planes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic

from tfs_rt.backends.winograd.arguments import NumberT, PointerT
from tfs_rt.backends.winograd.blocks.matrix_product import Product
from tfs_rt.backends.winograd.emit import Int, Pointer
from tfs_rt.backends.winograd.kernels import KernelModule
from tfs_rt.backends.winograd.operations.operation import Emitters, Operation


@dataclass(frozen=True, slots=True, kw_only=True)
class Linear(Generic[PointerT, NumberT]):
    """to = image1 @ weights1 + image2 @ weights2, and + residual + bias if `add_residual` is 1; c2 may be 0."""

    image1: PointerT
    c1: NumberT
    weights1: PointerT
    image2: PointerT
    c2: NumberT
    weights2: PointerT
    co: NumberT
    residual: PointerT
    bias: PointerT
    add_residual: NumberT
    to: PointerT
    pixels: NumberT
    block: NumberT  # pixels of a task


@dataclass(frozen=True, slots=True, kw_only=True)
class LinearOfPlanes(Generic[PointerT, NumberT]):
    """A 1x1 convolution of few channels: planes (c, pixels) -> (co, pixels). Vectors run along the pixels."""

    planes: PointerT
    c: NumberT
    weights: PointerT
    co: NumberT
    to: PointerT
    pixels: NumberT
    block: NumberT  # pixels of a task


def _linear(kernels: KernelModule, code: Operation, args: Linear[Pointer, Int]) -> None:
    panels = code.div(args.co, kernels.shape.panel)
    with code.each_block(args.block, args.pixels) as (start, count):
        # Find the block's results and residual.
        to = code.at(args.to, code.mul(start, args.co))
        residual = code.at(args.residual, code.mul(start, args.co))
        # Begin with the residual and the bias, if they are given.
        add_residual = code.builder.if_then(code.equal(args.add_residual, 1))
        with add_residual, code.each_vector(0, count, args.co) as (place, c):
            code.store(code.plus(code.load(residual, place), code.load(args.bias, c)), to, place)
        # Add the product of the first image.
        first = Product(
            a=code.at(args.image1, code.mul(start, args.c1)),
            a_pitch=args.c1,
            b=args.weights1,
            c=to,
            c_pitch=args.co,
            rows=count,
            depth=args.c1,
            panels=panels,
            accumulate=args.add_residual,
        )
        kernels.call(code, first)
        # Add the product of the second image, if there is one.
        with code.builder.if_then(code.less(0, args.c2)):
            second = Product(
                a=code.at(args.image2, code.mul(start, args.c2)),
                a_pitch=args.c2,
                b=args.weights2,
                c=to,
                c_pitch=args.co,
                rows=count,
                depth=args.c2,
                panels=panels,
                accumulate=1,
            )
            kernels.call(code, second)


def _linear_of_planes(kernels: KernelModule, code: Operation, args: LinearOfPlanes[Pointer, Int]) -> None:
    with (
        code.each_block(args.block, args.pixels) as (start, count),
        code.loop(0, args.co) as o,
        code.loop(start, code.add(start, count), code.width) as i,
    ):
        total = code.variable()
        code.put(code.constant(0), total)
        with code.loop(0, args.c) as c:
            weight = code.broadcast(code.load_element(args.weights, code.mul(o, args.c), c))
            value = code.load(args.planes, code.mul(c, args.pixels), i)
            code.put(code.fma(weight, value, code.get(total)), total)
        code.store(code.get(total), args.to, code.mul(o, args.pixels), i)


EMITTERS: Emitters = {Linear: _linear, LinearOfPlanes: _linear_of_planes}
