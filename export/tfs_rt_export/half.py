"""The network for FP16 engines: half precision where it is fast, float32 where half precision would be wrong.

Half: convolutions, the attention's two products, skips, resizing. Float32: normalisations with their SiLU, softmax,
the TMFA gate, the state x_t and the prediction. The noise level's path is not part of the graph: its biases, one row
for each step, come as an input (`tfs_rt.backends.noise_biases`), because half precision cannot tell noise levels near 1
apart.
The graph avoids float32 matrix products (TensorRT-RTX lacks them on Turing): the gate is a sum of products.

The parameters keep their names, so that the graph can take its convolutions' weights from `step.onnx`.
"""

from __future__ import annotations

import copy

from torch import Tensor, nn

from tfs_rt_reference.network import TMFA, NoiseBias, SelfAttention, UNet


class HalfConv(nn.Conv2d):
    """A convolution in half precision, for input of any type."""

    def forward(self, input: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C', H', W'), half."""
        return super().forward(input.half())


class FloatNorm(nn.GroupNorm):
    """A normalisation in float32; the following layers stay in float32 up to the next convolution."""

    def forward(self, input: Tensor) -> Tensor:
        """(B, C, H, W) -> the same, float32."""
        return super().forward(input.float())


class FloatGate(TMFA):
    """TMFA without matrix products."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) float32 -> the same."""
        squeezed = _affine(x.mean(dim=(2, 3)), self.linear1).relu()
        return x * _affine(squeezed, self.linear2).sigmoid()[:, :, None, None]


class HalfAttention(SelfAttention):
    """Attention whose products are small enough for half precision, with its softmax in float32."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) half -> the same."""
        q, k, v = self.qkv(self.norm(x)).flatten(2).chunk(3, dim=1)  # each (B, C, H*W)
        scale = x.shape[1] ** -0.25  # on both sides: their product alone could leave half's range
        weights = ((q * scale).transpose(1, 2) @ (k * scale)).float().softmax(dim=-1).half()
        h = weights @ v.transpose(1, 2)
        return x + self.out(h.transpose(1, 2).reshape(x.shape))


class TabledBias(NoiseBias):
    """A block's noise bias, cut from the row of all of them."""

    columns: slice

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """x (B, C, H, W) half, embedding (1, n): the row."""
        return x + embedding[:, self.columns, None, None].half()


HALF: dict[type[nn.Module], type[nn.Module]] = {
    nn.Conv2d: HalfConv,
    nn.GroupNorm: FloatNorm,
    TMFA: FloatGate,
    SelfAttention: HalfAttention,
    NoiseBias: TabledBias,
}


class HalfStep(nn.Module):
    """prediction = HalfStep(x, bias): one network call as an engine sees it."""

    def __init__(self, network: UNet) -> None:
        super().__init__()
        self.network = copy.deepcopy(network)
        self.biases: list[str] = []  # the modules whose biases make up a row, in order
        column = 0
        modules: dict[str, nn.Module] = dict(self.network.named_modules())
        for name, module in modules.items():
            module.__class__ = HALF.get(type(module), type(module))
            if isinstance(module, HalfConv):
                module.half()
            if isinstance(module, TabledBias):
                module.columns = slice(column, column + module.channels)
                column = module.columns.stop
                self.biases.append(name)
        self.columns = column + (2 if network.arch.sigma_data else 0)

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        """x (B, C, H, W): the condition and, in its last channels, x_t; bias (1, columns). Returns (B, 3, H, W)."""
        channels = self.network.arch.condition_channels
        condition = x[:, :channels]
        x_t = x[:, channels:]
        output = self.network.raw_output(condition, x_t, bias).float()
        if not self.network.arch.sigma_data:
            return output
        return bias[:, -2, None, None, None] * x_t - bias[:, -1, None, None, None] * output


def _affine(x: Tensor, layer: nn.Linear) -> Tensor:
    return (x[:, None, :] * layer.weight).sum(dim=-1) + layer.bias
