"""LPIPS 0.1 on AlexNet (R. Zhang et al., CVPR 2018), by weights that the user supplies: none ship, none are fetched."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import conv2d, max_pool2d

from tfs_rt.errors import ModelError, first_line
from tfs_rt.images import RGB, to_model
from tfs_rt.system.files import open_regular

CONVOLUTIONS = (
    ("features.0.weight", (64, 3, 11, 11)),
    ("features.3.weight", (192, 64, 5, 5)),
    ("features.6.weight", (384, 192, 3, 3)),
    ("features.8.weight", (256, 384, 3, 3)),
    ("features.10.weight", (256, 256, 3, 3)),
)
HEADS = tuple((f"lin{i}.model.1.weight", (1, shape[0], 1, 1)) for i, (_, shape) in enumerate(CONVOLUTIONS))
# Strides and paddings of the layers, and the layers whose input is pooled.
STRIDES = (4, 1, 1, 1, 1)
PADDINGS = (2, 2, 1, 1, 1)
POOLED = (1, 2)
SHIFT = (-0.030, -0.088, -0.188)
SCALE = (0.458, 0.448, 0.450)
SMALLEST = 31  # pixels a side that leave something after two poolings


def load_lpips(files: Sequence[Path]) -> Callable[[RGB, RGB], float | None]:
    """The distance of two images, by weights from one file or several: torchvision's AlexNet and LPIPS's linear heads.

    Either as they are published (`alexnet-owt-*.pth` and `alex.pth`), or in one file as `lpips.LPIPS` saves itself.
    Raises ModelError if a tensor is missing or of another shape. No code in a file is run.
    """
    tensors: dict[str, Tensor] = {}
    for file in files:
        tensors |= _read(file)
    biases = [(name.replace("weight", "bias"), (shape[0],)) for name, shape in CONVOLUTIONS]
    for name, shape in (*CONVOLUTIONS, *biases, *HEADS):
        found = tuple(tensors[name].shape) if name in tensors else "none"
        if found != shape:
            reason = f"expected {name} of shape {shape}, found {found}"
            remedy = "give torchvision's alexnet .pth and LPIPS 0.1's alex.pth"
            raise ModelError(", ".join(map(str, files)), reason, remedy)
        if not tensors[name].isfinite().all():
            raise ModelError(", ".join(map(str, files)), f"{name} holds NaN or infinity", "download the weights again")
    return lambda result, truth: _distance(tensors, result, truth)


def _read(file: Path) -> dict[str, Tensor]:
    try:
        with open_regular(file) as opened:
            state = torch.load(opened, map_location="cpu", weights_only=True)
        named = {re.sub(r"^net\.slice\d\.", "features.", name): tensor.float() for name, tensor in state.items()}
    except Exception as error:  # torch raises many kinds
        raise ModelError(file, f"cannot be read as weights ({first_line(error)})", "give a .pth state dict") from error
    return {re.sub(r"^lins\.(\d)\.", r"lin\1.", name): tensor for name, tensor in named.items()}


@torch.inference_mode()
def _distance(tensors: dict[str, Tensor], result: RGB, truth: RGB) -> float | None:
    if min(truth.shape[:2]) < SMALLEST:
        return None
    pair = torch.from_numpy(np.stack([to_model(result), to_model(truth)]))
    x = (pair - torch.tensor(SHIFT).view(1, 3, 1, 1)) / torch.tensor(SCALE).view(1, 3, 1, 1)
    total = 0.0
    for i, ((name, _), (head, _)) in enumerate(zip(CONVOLUTIONS, HEADS, strict=True)):
        if i in POOLED:
            x = max_pool2d(x, 3, 2)
        bias = tensors[name.replace("weight", "bias")]
        x = conv2d(x, tensors[name], bias, stride=STRIDES[i], padding=PADDINGS[i]).relu()
        unit = x / (x.square().sum(dim=1, keepdim=True).sqrt() + 1e-10)
        total += conv2d((unit[:1] - unit[1:]).square(), tensors[head]).mean().item()
    return total
