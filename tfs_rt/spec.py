"""A model's description: architecture, prediction type, noise schedule and recommended sampling.

These dataclasses are the vocabulary of the manifest (`model.json`) and the constructor arguments of the reference.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

Gate = Literal["none", "condition", "all"]
Prediction = Literal["eps", "x0", "v"]
BundleKind = Literal["diffusion", "feedforward", "prior"]  # TFS-Diff and SR3; CDDFuse and TGFuse; DDFM
Spacing = Literal["t", "log-snr"]

SLOTS = ("m1", "m2", "functional")
QUALITIES = ("fast", "balanced", "best")
PLANES = ("axial", "coronal", "sagittal")  # of slices; the first is that of the training images


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """SR3's U-Net with a TMFA gate. All but `norm_groups` and `sigma_data` follow from a checkpoint's tensors."""

    in_channel: int  # condition and x_t together: 12 for TFS-Diff, 6 for SR3
    out_channel: int
    inner_channel: int
    norm_groups: int
    channel_multiplier: tuple[int, ...]  # one per level, from full resolution down
    attention_levels: tuple[int, ...]  # levels whose blocks have self-attention; the middle always has
    res_blocks: int
    # Channels of TMFA: none (SR3), the 9 of the condition (paper), or all 12 (published code).
    gate: Gate
    patch_size: int = 1  # pixels folded into channels before the first convolution (1 in the paper)
    condition_skip: bool = False  # add a learned 1x1 map of the condition to the output
    # For preconditioning as in Karras et al. 2022, with eps as the output; 0: none.
    sigma_data: float = 0.0

    def __post_init__(self) -> None:
        sizes = (self.out_channel, self.inner_channel, self.norm_groups, self.res_blocks, self.patch_size)
        levels = range(len(self.channel_multiplier))
        images, remainder = divmod(self.condition_channels, 3)
        # Check that the sizes are positive and within bounds.
        _require(
            all(0 < size <= 2**16 for size in (*sizes, *self.channel_multiplier)), "architecture: sizes are positive"
        )
        _require(0 < len(levels) <= 10, "architecture: between 1 and 10 levels are possible")
        _require(self.stride <= 512, "architecture: images would have to be multiples of more than 512 pixels")
        _require(
            self.sigma_data == 0 or 1e-3 <= self.sigma_data <= 1e3,
            "architecture: sigma_data is neither 0 nor within 0.001 and 1000",
        )
        # Check that the sizes fit each other.
        _require(self.inner_channel % 2 == 0, "architecture: inner_channel is odd: sines and cosines go in pairs")
        _require(self.inner_channel % self.norm_groups == 0, "architecture: norm_groups does not divide inner_channel")
        _require(
            all(level in levels for level in self.attention_levels),
            "architecture: attention_levels has a level that does not exist",
        )
        _require(
            self.gate != "condition" or self.condition_channels > 3, "architecture: one image leaves nothing to gate"
        )
        _require(images > 0 and remainder == 0 and self.out_channel == 3, "architecture: images have 3 channels each")

    @property
    def condition_channels(self) -> int:
        """Channels of the condition: 3 for each input image."""
        return self.in_channel - self.out_channel

    @property
    def stride(self) -> int:
        """H and W of the network's images must be multiples of this."""
        return self.patch_size * 2 ** (len(self.channel_multiplier) - 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """The training's noise schedule, with the names of the published option file."""

    schedule: Literal["linear", "quad", "cosine"]
    n_timestep: int
    linear_start: float
    linear_end: float

    def __post_init__(self) -> None:
        _require(1 <= self.n_timestep <= 100_000, "schedule: n_timestep is not within 1 and 100,000")
        _require(
            self.schedule == "cosine" or 0 < self.linear_start <= self.linear_end < 1,
            "schedule: betas not within 0 and 1",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """The settings of sampling: all that can change the image, but the seed."""

    sampler: str  # a name in `tfs_rt.sampling.registry.SAMPLERS`
    steps: int
    eta: float  # 0 is deterministic DDIM, 1 is ancestral; used by ddim alone
    spacing: Spacing
    sigma_max: float  # with log-snr spacing: noise-to-signal ratio of the first network call
    sigma_min: float  # with log-snr spacing: noise-to-signal ratio of the last network call

    def __post_init__(self) -> None:
        _require(1 <= self.steps <= 100_000, "recipe: steps is not within 1 and 100,000")
        _require(0 <= self.eta <= 1, "recipe: eta is not within 0 and 1")
        _require(0 < self.sigma_min <= self.sigma_max < math.inf, "recipe: sigma_min and sigma_max are not a range")


@dataclass(frozen=True, slots=True, kw_only=True)
class Accuracy:
    """A model's accuracy against ground truth: means over the cases of a split."""

    psnr: float  # dB
    ssim: float
    sharpness: float  # average gradient, relative to the ground truth's
    cases: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Tier:
    """A recipe that `tfs-rt tune` chose, with its measured accuracy and time."""

    recipe: Recipe
    samples: int  # the result is their mean
    accuracy: dict[str, Accuracy]  # by split; the recipe was chosen on the first
    seconds: float  # for an image of `size`: the minimum of several runs
    size: tuple[int, int]  # (H, W)
    machine: str  # machine and software of the time measurement

    def __post_init__(self) -> None:
        _require(1 <= self.samples <= 1000, "tier: samples is not within 1 and 1000")
        _require(len(self.accuracy) > 0, "tier: accuracy was measured on no split")

    @property
    def calls(self) -> int:
        """Network calls for an image."""
        return self.recipe.steps * self.samples


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec:
    """All that the runtime must know about a network to sample from it."""

    architecture: Architecture
    prediction: Prediction
    schedule: Schedule
    # 2, 4 or 8: side of the result over side of the inputs.
    scale: int
    trained_size: int  # side in pixels of the images the model was trained on
    sigma_range: tuple[float, float]  # lowest and highest noise-to-signal ratio it was trained on

    def __post_init__(self) -> None:
        _require(self.scale in (2, 4, 8), "model: scale is not 2, 4 or 8")
        _require(self.prediction == "eps" or not self.architecture.sigma_data, "model: sigma_data is for eps alone")
        _require(1 <= self.trained_size <= 4096, "model: trained_size is not within 1 and 4096")
        _require(0 < self.sigma_range[0] <= self.sigma_range[1] < math.inf, "model: sigma_range is not a range")


def _require(holds: bool, fault: str) -> None:
    if not holds:
        raise ValueError(fault)
