"""3x3 convolutions with stride 2, by taps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic

from tfs_rt.backends.winograd.arguments import NumberT, PointerT
from tfs_rt.backends.winograd.blocks.matrix_product import Product
from tfs_rt.backends.winograd.blocks.strip import Strip
from tfs_rt.backends.winograd.emit import Int, Pointer
from tfs_rt.backends.winograd.kernels import KernelModule
from tfs_rt.backends.winograd.operations.operation import Emitters, Operation

TAPS = 9


@dataclass(frozen=True, slots=True, kw_only=True)
class Downsample(Generic[PointerT, NumberT]):
    """A 3x3 convolution with stride 2 of an image (h, w, c). A task is a row; each tap is a matrix product."""

    image: PointerT
    c: NumberT
    h: NumberT
    w: NumberT
    weights: PointerT
    co: NumberT
    bias: PointerT
    to: PointerT


def _downsample(kernels: KernelModule, code: Operation, args: Downsample[Pointer, Int]) -> None:
    own = code.scratch()
    width = code.add(args.w, 2)
    columns = code.div(args.w, 2)
    panels = code.div(args.co, kernels.shape.panel)
    with code.each_task() as task:
        y = code.add(code.mul(task, 2), -1)
        to = code.at(args.to, code.mul(task, columns, args.co))

        # Read the three rows that this row of the result is made of.
        _read_rows(kernels, code, args, own, width, y)

        # Begin with the bias, and add a product for each tap.
        with code.each_vector(0, columns, args.co) as (place, c):
            code.store(code.load(args.bias, c), to, place)
        for tap in range(TAPS):
            product = Product(
                a=code.at(own, code.mul(code.add(code.mul(width, tap // 3), tap % 3), args.c)),
                b=code.at(args.weights, code.mul(args.c, args.co, tap)),
                a_pitch=code.mul(args.c, 2),
                c=to,
                c_pitch=args.co,
                rows=columns,
                depth=args.c,
                panels=panels,
                accumulate=1,
            )
            kernels.call(code, product)


def _read_rows(
    kernels: KernelModule, code: Operation, args: Downsample[Pointer, Int], to: Pointer, width: Int, y: Int
) -> None:
    """Read three rows of the image from `y` on, with a column of zeros on each side."""
    strip = Strip(
        to=to,
        to_width=width,
        to_channels=args.c,
        image=args.image,
        h=args.h,
        w=args.w,
        c=args.c,
        upsample=0,
        y=y,
        x=-1,
        rows=3,
        columns=width,
        slope=args.bias,  # neither of the two is read
        offset=args.bias,
        activate=0,
    )
    kernels.call(code, strip)


EMITTERS: Emitters = {Downsample: _downsample}
