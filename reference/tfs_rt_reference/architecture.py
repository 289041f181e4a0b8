"""A U-Net's architecture, read from the names and shapes of its tensors."""

from __future__ import annotations

import math
from pathlib import Path

import torch
from torch import Tensor

from tfs_rt.errors import ModelError, first_line
from tfs_rt.spec import Architecture
from tfs_rt_reference.network import UNet

Tensors = dict[str, Tensor]


def infer_architecture(path: Path, tensors: Tensors, norm_groups: int) -> Architecture:
    """Read the architecture from tensor shapes (all but the groups of the normalisation)."""
    try:
        # Read the widths from the first and last layers.
        stem = tensors["downs.0.weight"].shape
        head = tensors["final_conv.block.3.weight"].shape
        out_channel, patch_size, in_channel = _channels(path, stem[1], head[0])
        # Read the levels and the gate.
        levels = _levels(tensors)
        gate_width = tensors["SE_block.linear2.bias"].shape[0] if "SE_block.linear2.bias" in tensors else 0
        return Architecture(
            in_channel=in_channel,
            out_channel=out_channel,
            inner_channel=stem[0],
            norm_groups=norm_groups,
            channel_multiplier=tuple(width // stem[0] for width, _, _ in levels),
            attention_levels=tuple(i for i, (_, _, attention) in enumerate(levels) if attention),
            res_blocks=levels[0][1],
            gate="none" if not gate_width else "all" if gate_width == in_channel else "condition",
            patch_size=patch_size,
            condition_skip="condition_skip.weight" in tensors,
        )
    except KeyError as error:
        raise _other_network(path, f"it has no tensor {error}") from error
    except (IndexError, ZeroDivisionError) as error:
        raise _other_network(path, "a tensor has too few dimensions, or an empty one") from error
    except ValueError as error:
        raise _other_network(path, first_line(error)) from error


def _other_network(path: Path, why: str) -> ModelError:
    remedy = "give a TFS-Diff or SR3 checkpoint (..._gen.pth)"
    return ModelError(path, f"is not a U-Net of the SR3 family ({why})", remedy)


def _channels(path: Path, stem: int, head: int) -> tuple[int, int, int]:
    """(output channels, patch size, input channels), from the channels of the first and the last convolution."""
    out_channel = 3  # x_0 is RGB in every model of the family
    patch_size = math.isqrt(head // out_channel)
    remedy = "train or choose a model for RGB images: grey ones are read as RGB"
    if head != out_channel * patch_size**2 or not patch_size:
        reason = f"has {head} output channels, and only 3-channel output is supported"
        raise ModelError(path, reason, remedy)
    in_channel, rest = divmod(stem, patch_size**2)
    condition = in_channel - out_channel
    if rest or condition < 3 or condition % 3:
        reason = f"has {stem} input channels, and only whole images of 3 channels beside x_t are supported"
        raise ModelError(path, f"{reason} ({9 * patch_size**2 + head} for TFS-Diff, {2 * head} for SR3)", remedy)
    return out_channel, patch_size, in_channel


def _levels(tensors: Tensors) -> list[tuple[int, int, bool]]:
    """(width, number of blocks, attention) of each level of the contracting path."""
    levels = []
    blocks = 0
    width = 0
    attention = False
    index = 1
    while True:
        # Count the blocks of a level, and take its width and attention from the last.
        block = f"downs.{index}.res_block.block2.block.3.weight"
        if block in tensors:
            width = tensors[block].shape[0]
            blocks += 1
            attention = f"downs.{index}.attn.qkv.weight" in tensors
        else:
            # End the level, and the path where no downsampling follows.
            levels.append((width, blocks, attention))
            blocks = 0
            if f"downs.{index}.conv.weight" not in tensors:
                return levels
        index += 1


def compare_tensors(path: Path, tensors: Tensors, architecture: Architecture) -> None:
    """Every tensor of the inferred network must be there, in its shape, and nothing else."""
    with torch.device("meta"):
        wanted = {name: tuple(tensor.shape) for name, tensor in UNet(architecture).state_dict().items()}
    found = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    lines = [f"{n} is missing" for n in wanted if n not in found]
    lines += [f"{n} is not expected" for n in found if n not in wanted]
    lines += [f"{n} is {found[n]}, expected {wanted[n]}" for n in wanted if n in found and found[n] != wanted[n]]
    if lines:
        more = f" and {len(lines) - 3} more" if len(lines) > 3 else ""
        raise ModelError(path, "; ".join(lines[:3]) + more, "give a TFS-Diff or SR3 checkpoint (..._gen.pth)")
