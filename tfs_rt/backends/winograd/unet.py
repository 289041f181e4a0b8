"""SR3's U-Net laid out as a program.

The graph is the reference's (`tfs_rt_reference.network.UNet`), read from the architecture and the weights' names.
"""

from __future__ import annotations

from collections.abc import Sequence

from tfs_rt.backends.winograd.layout import PIXELS, Layout, Tensor, ceil_div
from tfs_rt.backends.winograd.operations.attention import Attend, Pack
from tfs_rt.backends.winograd.operations.norm import Affine

QUERIES = 48  # of a block of an attention


def lay_out_unet(layout: Layout, source: Tensor) -> Tensor:
    """The whole U-Net, from its folded input to its folded output."""
    arch = layout.arch
    widths = [arch.inner_channel * multiplier for multiplier in arch.channel_multiplier]
    skips = _contracting_path(layout, layout.conv("downs.0", [source], arch.inner_channel), widths)

    # Lay out the middle.
    h = _residual_block(layout, "mid.0", skips[-1:], widths[-1], attention=True)
    before = h
    h = _residual_block(layout, "mid.1", [h], widths[-1], attention=False)
    layout.release(before)

    # The expansive path takes up each result of the contracting path, the last one first.
    index = 0
    for level, width in reversed(list(enumerate(widths))):
        for _ in range(arch.res_blocks + 1):
            sources = [h, skips.pop()]
            h = _residual_block(layout, f"ups.{index}", sources, width, attention=level in arch.attention_levels)
            for before in sources:
                layout.release(before)
            index += 1
        if level:
            before = h
            h = layout.conv(f"ups.{index}.conv", [h], width, upsample=1)
            layout.release(before)
            index += 1
    return layout.conv("final_conv.block.3", [h], arch.out_channel * arch.patch_size**2, norm="final_conv.block.0")


def _contracting_path(layout: Layout, h: Tensor, widths: Sequence[int]) -> list[Tensor]:
    """The results of the contracting path, all of which the expansive path takes up."""
    skips = [h]
    for level, width in enumerate(widths):
        for _ in range(layout.arch.res_blocks):
            attention = level in layout.arch.attention_levels
            skips.append(_residual_block(layout, f"downs.{len(skips)}", skips[-1:], width, attention=attention))
        if level < len(widths) - 1:
            skips.append(layout.downsample(f"downs.{len(skips)}.conv", skips[-1]))
    return skips


def _residual_block(layout: Layout, name: str, sources: Sequence[Tensor], out: int, *, attention: bool) -> Tensor:
    """A residual block. Its sources are not released: later blocks may read them."""
    inside = f"{name}.res_block"
    widths = [source.channels for source in sources]
    first = f"{inside}.block1.block"
    second = f"{inside}.block2.block"
    h = layout.conv(f"{first}.3", sources, out, added=[f"{inside}.noise_func.noise_func.0"], norm=f"{first}.0")

    # The skip is the source itself, or its 1x1 convolution if the number of channels changes.
    residual = sources[0].data
    projection = f"{inside}.res_conv" if len(sources) > 1 or sum(widths) != out else ""
    if projection:
        weights = layout.packing.points(projection, widths, out)
        residual = layout.linear([source.data for source in sources], weights)

    added = [projection] if projection else []
    result = layout.conv(f"{second}.3", [h], out, added=added, norm=f"{second}.0", residual=residual)
    layout.release(h)
    if projection:
        layout.buffers.free(residual)
    return _attention(layout, f"{name}.attn", result) if attention else result


def _attention(layout: Layout, name: str, source: Tensor) -> Tensor:
    """Append self-attention of one head over all pixels, added to its input. Frees the input."""
    h, w, c = source.data.shape
    pixels = h * w
    tokens = layout.packing.round_up(pixels, layout.panel)

    # Normalise the image.
    slope, offset = layout.norm(f"{name}.norm", [source])
    normed = layout.buffers.allocate(h, w, c)
    affine = Affine(image=source.data, c=c, slope=slope, offset=offset, to=normed, pixels=pixels, block=PIXELS)
    layout.program.add(affine, ceil_div(pixels, PIXELS))

    # Compute queries, keys and values; the last two in panels.
    qkv = layout.linear([normed], [layout.packing.attention(f"{name}.qkv", c)])
    keys = layout.buffers.allocate(tokens, c)
    values = layout.buffers.allocate(tokens, c)
    pitch = 3 * c
    pack = Pack(qkv=qkv, pitch=pitch, c=c, pixels=pixels, tokens=tokens, keys=keys, values=values)
    layout.program.add(pack, tokens // layout.panel)

    # Average the values, weighted by the softmax of the scores.
    averages = layout.buffers.allocate(h, w, c)
    attend = Attend(
        qkv=qkv,
        pitch=pitch,
        c=c,
        pixels=pixels,
        tokens=tokens,
        keys=keys,
        values=values,
        output=averages,
        block=QUERIES,
    )
    layout.program.add(attend, ceil_div(pixels, QUERIES), scratch=QUERIES * tokens)

    # Apply the last linear layer, and add the skip.
    weights = layout.packing.points(f"{name}.out", [c], c)
    bias = layout.packing.bias(f"{name}.out", c)
    out = layout.linear([averages], weights, residual=source.data, bias=bias)
    layout.buffers.free(slope, offset, normed, qkv, keys, values, averages)
    layout.release(source)
    return layout.with_statistics(out)
