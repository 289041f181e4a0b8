"""A strip of an image in a buffer: with zeros around the image, normalised, and upsampled, as its reader asks."""

from __future__ import annotations

from dataclasses import dataclass

from tfs_rt.backends.winograd.emit import Function, Number, Pointer
from tfs_rt.backends.winograd.kernels import KernelModule
from tfs_rt.backends.winograd.vector_math import silu


@dataclass(frozen=True, slots=True, kw_only=True)
class Strip:
    """Copy `rows` x `columns` pixels of an image (h, w, c), from (y, x), into channels of a wider buffer.

    With `activate` 1, each value v becomes silu(slope v + offset) by channel; with 0 it stays as it is.
    With `upsample` 1, the image in memory has half of that height and width, and every pixel is read twice.
    """

    to: Pointer
    to_width: Number
    to_channels: Number
    image: Pointer
    h: Number
    w: Number
    c: Number
    upsample: Number
    y: Number
    x: Number
    rows: Number
    columns: Number
    slope: Pointer
    offset: Pointer
    activate: Number


def add_strip(kernels: KernelModule) -> None:
    """Add the block Strip."""
    kernels.add_block(Strip, _strip)


def _strip(kernels: KernelModule, code: Function, args: Strip) -> None:
    builder = code.builder
    with code.loop(0, args.rows) as i:
        line = code.at(args.to, code.mul(i, args.to_width, args.to_channels))
        image_y = code.add(args.y, i)

        # Columns before `left` and from `right` lie outside the image; of a row outside it, all do.
        inside = builder.and_(code.less(-1, image_y), code.less(image_y, args.h))
        first = code.minimum(code.maximum(code.sub(0, args.x), 0), args.columns)
        left = builder.select(inside, first, args.columns)
        last = code.maximum(left, code.minimum(args.columns, code.sub(args.w, args.x)))
        right = builder.select(inside, last, args.columns)

        # Write zeros outside.
        for start, stop in ((0, left), (right, args.columns)):
            with code.loop(start, stop) as j, code.loop(0, args.c, code.width) as c:
                code.store(code.constant(0), line, code.mul(j, args.to_channels), c)

        # Write the image's values inside.
        row = code.mul(code.shift_right(image_y, args.upsample), code.shift_right(args.w, args.upsample), args.c)
        source = code.at(args.image, row)
        for activate in (0, 1):
            with builder.if_then(code.equal(args.activate, activate)), code.loop(left, right) as j:
                pixel = code.mul(code.shift_right(code.add(args.x, j), args.upsample), args.c)
                with code.loop(0, args.c, code.width) as c:
                    value = code.load(source, pixel, c)
                    if activate:
                        value = silu(code, code.fma(code.load(args.slope, c), value, code.load(args.offset, c)))
                    code.store(value, line, code.mul(j, args.to_channels), c)
