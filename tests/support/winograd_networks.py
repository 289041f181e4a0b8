"""Networks of every form of the architecture, for the tests of the CPU kernels; and processes that run one."""

from __future__ import annotations

import dataclasses
import subprocess
import sys

import numpy as np
import torch

from support.helpers import TINY
from tfs_rt.backends.winograd.kernels import RegisterTile
from tfs_rt.backends.winograd.machine import host_shape
from tfs_rt.images import Array
from tfs_rt.models.onnx.weights import Weights
from tfs_rt.spec import Architecture
from tfs_rt_reference.network import UNet

WIDE = dataclasses.replace(TINY, inner_channel=32, norm_groups=8)
HOST = host_shape()
SHAPES = [
    HOST,
    RegisterTile(4, 6, 4),
    RegisterTile(16, 12, 2),
]  # those of other processors run here too, in more instructions
ARCHITECTURES = {
    "gate over all": WIDE,
    "gate over the condition": dataclasses.replace(WIDE, gate="condition"),
    "SR3": dataclasses.replace(WIDE, gate="none", in_channel=6),
    "three levels, attention on two": dataclasses.replace(
        WIDE, channel_multiplier=(1, 2, 4), attention_levels=(1, 2), res_blocks=2
    ),
    "folded, with a skip": dataclasses.replace(WIDE, patch_size=2, condition_skip=True),
    "not folded, with a skip": dataclasses.replace(WIDE, condition_skip=True),
    "folded, a layer as large as the condition": dataclasses.replace(
        WIDE, patch_size=4, condition_skip=True, inner_channel=144, norm_groups=16
    ),
    "levels that narrow": dataclasses.replace(WIDE, channel_multiplier=(4, 2, 1), attention_levels=()),
    "preconditioned": dataclasses.replace(WIDE, patch_size=4, sigma_data=0.05),
    "as many channels in as in a layer": dataclasses.replace(WIDE, patch_size=4, inner_channel=96, norm_groups=16),
}


def reference(arch: Architecture, seed: int = 0) -> tuple[UNet, Weights]:
    torch.manual_seed(seed)
    network = UNet(arch).eval().requires_grad_(requires_grad=False)
    for tensor in network.state_dict().values():
        if tensor.ndim == 1:  # norms and biases that do nothing would hide what is wrong with them
            tensor += 0.2 * torch.randn(tensor.shape)
    return network, {name: tensor.numpy() for name, tensor in network.state_dict().items()}


def images(arch: Architecture, h: int, w: int) -> tuple[Array, Array, Array]:
    random = np.random.default_rng(h * w)
    condition = random.uniform(-1, 1, (1, arch.condition_channels, h, w)).astype(np.float32)
    return condition, random.standard_normal((1, 3, h, w)).astype(np.float32), np.array([[0.3]], dtype=np.float32)


def relative(found: Array, expected: Array) -> float:
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


def output_of(code: str) -> str:
    """The output of a process that runs this code; without PyTorch, which takes seconds to import."""
    command = [sys.executable, "-W", "ignore", "-c", code]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False).stdout


ON_FOUR_THREADS = """
import os, signal
import numpy as np
from tfs_rt.models.bundle import load_bundle
from tfs_rt.backends.winograd.machine import host_shape
from tfs_rt.backends.winograd.network import Network
bundle = load_bundle("tfs-rt/x4")
ours = Network(bundle.manifest.model.architecture, bundle.weights(), host_shape(), 4)
given = [np.full((1, channels, 32, 32), 0.5, np.float32) for channels in (9, 3)] + [np.full((1, 1), 0.5, np.float32)]
expected = ours(*given)
"""
