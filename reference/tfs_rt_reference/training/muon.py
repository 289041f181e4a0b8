"""Muon: momentum whose matrix is made orthogonal before it is applied, for the convolutions inside a network.

K. Jordan et al., 2024, "Muon: An optimizer for hidden layers in neural networks". PyTorch's own takes matrices alone,
and a convolution's (out, in, 3, 3) weights, which lie channels last, have no view as one.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from tfs_rt_reference.network import UNet

QUINTIC = (3.4445, -4.7750, 2.0315)  # a, b, c of X <- a X + b (X X^T) X + c (X X^T)^2 X
ROUNDS = 5


class Muon(torch.optim.Optimizer):
    """Nesterov momentum, made orthogonal in `dtype`; an update does not depend on the gradient's size."""

    def __init__(
        self, parameters: Iterable[Tensor], rate: float, *, momentum: float = 0.95, dtype: torch.dtype = torch.float32
    ) -> None:
        super().__init__(parameters, {"lr": rate, "momentum": momentum})
        self.dtype = dtype

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # pyrefly: ignore[bad-override]
        """Update every parameter that has a gradient."""
        del closure  # the base class's, of no use here
        for group in self.param_groups:
            for parameter in group["params"]:
                state = self.state[parameter]
                if not state:
                    state["momentum"] = torch.zeros_like(parameter)
                momentum = state["momentum"]
                momentum.lerp_(parameter.grad, 1 - group["momentum"])
                matrix = parameter.grad.lerp(momentum, group["momentum"]).flatten(1)
                rows, columns = matrix.shape
                scale = max(1.0, rows / columns) ** 0.5
                update = orthogonal(matrix.to(self.dtype)).view(parameter.shape)
                parameter.add_(update, alpha=-group["lr"] * scale)


def orthogonal(matrix: Tensor) -> Tensor:
    """About U V^T of a matrix U S V^T: its singular values are brought to within 0.7 and 1.2."""
    a, b, c = QUINTIC
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if tall else matrix
    x = x / (x.norm() + 1e-7)
    for _ in range(ROUNDS):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.T if tall else x


def hidden_convolutions(network: UNet) -> list[nn.Parameter]:
    """The convolutions between the first and the last, to which Muon applies."""
    ends = {network.downs[0].weight, *network.final_conv.parameters()}
    if network.arch.condition_skip:
        ends.add(network.condition_skip.weight)
    return [parameter for parameter in network.parameters() if parameter.ndim == 4 and parameter not in ends]
