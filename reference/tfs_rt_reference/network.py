"""The TFS-Diff network: a TMFA gate in front of SR3's U-Net.

TFS-Diff (Xu et al., MICCAI 2024), sections 2.1 and 2.2, Fig. 1; SR3 (Saharia et al., 2021), appendix A.
Attribute names follow the published checkpoints' tensor names, so that those load without a map.

Three things go beyond the paper, off by default: `patch_size` folds pixels into channels before the first convolution
(a network that a CPU can run), `condition_skip` adds a learnt 1x1 map of the condition to the output (a network that
predicts x_0 then only has to learn the rest), and `sigma_data` preconditions a network that predicts
eps (Karras et al. 2022, Table 1; the few channels of a folded network then need not carry the noise).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tfs_rt.spec import Architecture


class TMFA(nn.Module):
    """Squeeze-and-excitation gate over the input channels (paper, section 2.2): GAP, FC, ReLU, FC, sigmoid."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.linear1 = nn.Linear(channels, channels // 4)
        self.linear2 = nn.Linear(channels // 4, channels)

    def forward(self, x: Tensor) -> Tensor:  # (B, C, H, W) -> (B, C, H, W)
        weights = self.linear2(F.relu(self.linear1(x.mean(dim=(2, 3)))))
        return x * weights.sigmoid()[:, :, None, None]


class NoiseLevelEncoding(nn.Module):
    """Sinusoids of the noise level sqrt(alpha_bar) in [0, 1], at `dim` / 2 frequencies from 1 down to 1e-4."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, noise_level: Tensor) -> Tensor:  # (B, 1) -> (B, dim)
        half = self.dim // 2
        step = torch.arange(half, dtype=noise_level.dtype, device=noise_level.device) / half
        angle = noise_level * torch.exp(-math.log(1e4) * step)
        return torch.cat([angle.sin(), angle.cos()], dim=1)


class NoiseBias(nn.Module):
    """The noise level's way into a block: one bias per channel."""

    def __init__(self, embedding: int, channels: int) -> None:
        super().__init__()
        self.channels = channels
        self.noise_func = nn.Sequential(nn.Linear(embedding, channels))

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        return x + self.noise_func(embedding)[:, :, None, None]


class NormActConv(nn.Module):
    """GroupNorm, Swish, dropout, 3x3 convolution."""

    def __init__(self, dim_in: int, dim_out: int, groups: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.block = nn.Sequential(
            nn.GroupNorm(groups, dim_in), nn.SiLU(), nn.Dropout(dropout), nn.Conv2d(dim_in, dim_out, 3, padding=1)
        )

    @property
    def conv(self) -> nn.Conv2d:
        """The convolution, its last layer."""
        return cast(nn.Conv2d, self.block[3])

    def forward(self, x: Tensor) -> Tensor:
        return self.block(x)


class ResidualBlock(nn.Module):
    """Two NormActConv with the noise bias between them, and a skip."""

    def __init__(self, dim_in: int, dim_out: int, embedding: int, groups: int, dropout: float) -> None:
        super().__init__()
        self.noise_func = NoiseBias(embedding, dim_out)
        self.block1 = NormActConv(dim_in, dim_out, groups)
        self.block2 = NormActConv(dim_out, dim_out, groups, dropout)
        self.res_conv = nn.Conv2d(dim_in, dim_out, 1) if dim_in != dim_out else nn.Identity()

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        h = self.noise_func(self.block1(x), embedding)
        return self.block2(h) + self.res_conv(x)


class SelfAttention(nn.Module):
    """Single-head self-attention over all pixels, with a skip."""

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(groups, channels)
        self.qkv = nn.Conv2d(channels, channels * 3, 1, bias=False)
        self.out = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:  # (B, C, H, W)
        q, k, v = self.qkv(self.norm(x)).flatten(2).chunk(3, dim=1)  # each (B, C, H*W)
        weights = torch.softmax(q.transpose(1, 2) @ k / math.sqrt(x.shape[1]), dim=-1)
        # Pixels by channels, not the other way round: ONNX Runtime then splits the product over rows, which leaves the
        # order of every sum, and so the last bit of the image, the same for any number of threads.
        h = weights @ v.transpose(1, 2)
        return x + self.out(h.transpose(1, 2).reshape(x.shape))


class Block(nn.Module):
    """A residual block, with self-attention after it on some levels."""

    def __init__(self, dims: tuple[int, int], arch: Architecture, *, attention: bool, dropout: float) -> None:
        super().__init__()
        self.res_block = ResidualBlock(*dims, arch.inner_channel, arch.norm_groups, dropout)
        self.attn = SelfAttention(dims[1], arch.norm_groups) if attention else nn.Identity()

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        return self.attn(self.res_block(x, embedding))


class Downsample(nn.Module):
    """Halve H and W by a strided convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2, padding=1)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        del embedding  # one signature for all layers of a path
        return self.conv(x)


class Upsample(nn.Module):
    """Double H and W: nearest neighbour, then a convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        del embedding
        return self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))


class UNet(nn.Module):
    """prediction = UNet(condition, x_t, noise_level). Training decides between eps, x_0 and v."""

    def __init__(self, arch: Architecture, *, dropout: float = 0.0) -> None:
        super().__init__()
        self.arch = arch
        inner = arch.inner_channel
        fold = arch.patch_size**2
        # Embed the noise level.
        self.noise_level_mlp = nn.Sequential(
            NoiseLevelEncoding(inner), nn.Linear(inner, inner * 4), nn.SiLU(), nn.Linear(inner * 4, inner)
        )
        # Build the contracting path, the middle and the expansive path.
        widths = [inner * m for m in arch.channel_multiplier]
        stem = nn.Conv2d(arch.in_channel * fold, inner, 3, padding=1)
        down, skips = _contracting(arch, widths, dropout)
        self.downs = nn.ModuleList([stem, *down])
        self.mid = nn.ModuleList(
            Block((widths[-1], widths[-1]), arch, attention=attention, dropout=dropout) for attention in (True, False)
        )
        self.ups = nn.ModuleList(_expansive(arch, widths, skips, dropout))
        # Build the output layer, the gate and the skip of the condition.
        self.final_conv = NormActConv(widths[0], arch.out_channel * fold, arch.norm_groups)
        if arch.gate != "none":
            self.SE_block = TMFA(arch.in_channel if arch.gate == "all" else arch.condition_channels)
        if arch.condition_skip:
            self.condition_skip = nn.Conv2d(arch.condition_channels, arch.out_channel, 1, bias=False)

    def forward(self, condition: Tensor, x_t: Tensor, noise_level: Tensor) -> Tensor:
        """Predict from condition (B, 9, H, W) in [-1, 1], x_t (B, 3, H, W) and noise_level (B, 1) = sqrt(alpha_bar).

        H and W must be multiples of the architecture's stride. Returns (B, 3, H, W).
        """
        output = self.raw_output(condition, x_t, self.noise_level_mlp(noise_level))
        if self.arch.sigma_data:
            return self._eps(output, x_t, noise_level[:, :, None, None])
        return output

    def raw_output(self, condition: Tensor, x_t: Tensor, embedding: Tensor) -> Tensor:
        """The U-Net's raw output: the prediction itself, except for a preconditioned network."""
        h = self.downs[0](F.pixel_unshuffle(self._apply_gate(condition, x_t), self.arch.patch_size))
        skips = [h]
        for layer in self.downs[1:]:
            h = layer(h, embedding)
            skips.append(h)
        for layer in self.mid:
            h = layer(h, embedding)
        for layer in self.ups:
            h = layer(h if isinstance(layer, Upsample) else torch.cat([h, skips.pop()], dim=1), embedding)
        output = F.pixel_shuffle(self.final_conv(h), self.arch.patch_size)
        return output + self._skip(condition) if self.arch.condition_skip else output

    def _eps(self, output: Tensor, x_t: Tensor, signal: Tensor) -> Tensor:
        """The eps of x_0 = c_skip x_t / sqrt(alpha_bar) + c_out / sigma_data `output`, without infinities."""
        variance_x_t = self.arch.sigma_data**2 * signal.square() + (1 - signal.square())
        return (1 - signal.square()).sqrt() * x_t / variance_x_t - signal * variance_x_t.rsqrt() * output

    def _skip(self, condition: Tensor) -> Tensor:
        """The condition's map, in float32 even when training in bfloat16, which near black is as coarse as a level."""
        if not self.training:
            return self.condition_skip(condition)
        with torch.autocast(condition.device.type, enabled=False):
            return self.condition_skip(condition)

    def _apply_gate(self, condition: Tensor, x_t: Tensor) -> Tensor:
        """TMFA in its two forms: over the condition (paper, Fig. 1) or over condition and x_t (published code)."""
        if self.arch.gate == "condition":
            return torch.cat([self.SE_block(condition), x_t], dim=1)
        joined = torch.cat([condition, x_t], dim=1)
        return self.SE_block(joined) if self.arch.gate == "all" else joined


def _contracting(arch: Architecture, widths: list[int], dropout: float) -> tuple[list[nn.Module], list[int]]:
    """The contracting path's layers, and the width of every output that the expansive path will take up."""
    layers: list[nn.Module] = []
    skips = [widths[0] // arch.channel_multiplier[0]]
    channels = skips[0]
    for level, width in enumerate(widths):
        for _ in range(arch.res_blocks):
            layers.append(Block((channels, width), arch, attention=level in arch.attention_levels, dropout=dropout))
            channels = width
            skips.append(channels)
        if level < len(widths) - 1:
            layers.append(Downsample(channels))
            skips.append(channels)
    return layers, skips


def _expansive(arch: Architecture, widths: list[int], skips: list[int], dropout: float) -> Iterator[nn.Module]:
    channels = widths[-1]
    skips = list(skips)
    for level in reversed(range(len(widths))):
        for _ in range(arch.res_blocks + 1):
            dims = (channels + skips.pop(), widths[level])
            yield Block(dims, arch, attention=level in arch.attention_levels, dropout=dropout)
            channels = widths[level]
        if level > 0:
            yield Upsample(channels)
