"""The configuration of a training run: a frozen dataclass, two presets, and TOML files.

`paper` is the configuration of the TFS-Diff paper (section 3.1) with the published program's network and schedule;
`compact` is a network that a CPU can train and run, and predicts x_0 at the noise levels that few steps visit.
"""

from __future__ import annotations

import dataclasses
import json
import math
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tfs_rt.errors import UsageError, first_line
from tfs_rt.facts import from_dict
from tfs_rt.sampling import schedule as schedules
from tfs_rt.spec import Architecture, ModelSpec, Prediction, Schedule
from tfs_rt.system.files import read_regular

Precision = Literal["fp32", "bf16", "auto"]
Values = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Everything that decides the weights, apart from data and machine."""

    scale: int  # 2, 4 or 8
    architecture: Architecture
    prediction: Prediction
    iterations: int
    batch: int  # crops an iteration, over all processes
    crop: int  # their side in pixels
    rate: float
    schedule: Schedule
    # Levels are log-uniform in sigma within [low, high]; if [], SR3's: t uniform.
    sigma_range: tuple[float, ...] = ()
    at_start: float = 0.0  # share of samples at the highest sigma, where a one-step chain begins
    lambda_1: float = 1.0  # weight of the prediction's squared error (eqs. 1 and 3)
    lambda_2: float = 0.0  # weight of 1 - SSIM of x_0 (eq. 4)
    lambda_3: float = 0.0  # weight of the difference in sharpness of x_0 ...
    sharp_below: float = 0.0  # ... at sigmas below this
    dropout: float = 0.0
    rate_schedule: Literal["constant", "cosine"] = "constant"
    warmup: int = 0  # iterations
    # Rate of Muon for the convolutions inside the network; if 0, AdamW moves them too.
    muon: float = 0.0
    weight_decay: float = 0.0  # for the parameters of AdamW
    clip: float = 1.0  # norm of the gradient
    ema: float = 0.9999  # decay of the averaged weights, which are what is validated and written
    precision: Precision = "fp32"  # auto: bf16 where the device computes in it
    seed: int = 0
    validate_every: int = 500  # iterations; the state on disk is renewed as often

    def __post_init__(self) -> None:
        if self.scale not in (2, 4, 8):
            raise ValueError("scale is not 2, 4 or 8")
        # Collect the rules, and whether each holds.
        stride = self.architecture.stride
        positive = (self.iterations, self.batch, self.crop, self.validate_every)
        checks = {
            "iterations, batch, crop and validate_every are positive": min(positive) > 0,
            f"crop is a multiple of the network's stride {stride} and of the scale": self.crop % stride == 0
            and self.crop % self.scale == 0,
            "crop is 16 or more": self.crop >= 16,
            "rate is positive": 0 < self.rate < math.inf,
            "seed is within 0 and 2^63": 0 <= self.seed < 2**63,
            "at_start, dropout and ema are within 0 and 1": all(
                0 <= share <= 1 for share in (self.at_start, self.dropout, self.ema)
            ),
            "lambda_1 and lambda_2 are not both 0": self.lambda_1 + self.lambda_2 != 0,
            "the lambdas, sharp_below, warmup, muon, weight_decay and clip are not negative": all(
                0 <= value < math.inf
                for value in (
                    *(self.lambda_1, self.lambda_2, self.lambda_3, self.sharp_below),
                    *(self.warmup, self.muon, self.weight_decay, self.clip),
                )
            ),
            "a network takes three images, or one (SR3)": self.architecture.condition_channels in (9, 3),
            "sigma_range is [], or [low, high]": len(self.sigma_range) in (0, 2),
        }
        # Refuse the first that does not hold.
        for rule, holds in checks.items():
            if not holds:
                raise ValueError(f"not so: {rule}")
        if self.lambda_3 and self.sharp_below <= self.sigmas[0]:
            raise ValueError("not so: sharp_below, for lambda_3, is above the lowest sigma")
        self.spec(self.crop)  # refuses a scale and a range that no model can have

    def spec(self, trained_size: int) -> ModelSpec:
        """The model description for the runtime."""
        return ModelSpec(
            architecture=self.architecture,
            prediction=self.prediction,
            schedule=self.schedule,
            scale=self.scale,
            trained_size=trained_size,
            sigma_range=self.sigmas,
        )

    @property
    def sigmas(self) -> tuple[float, float]:
        """The lowest and the highest noise-to-signal ratio that the network sees."""
        if not self.sigma_range:
            return schedules.sigma_range(self.schedule)
        low, high = self.sigma_range
        return low, high


SCHEDULE: Values = {"schedule": "linear", "n_timestep": 4000, "linear_start": 1e-6, "linear_end": 1e-2}  # the paper's

PAPER: Values = {
    "architecture": {
        "in_channel": 12,
        "out_channel": 3,
        "inner_channel": 64,
        "norm_groups": 32,
        "channel_multiplier": [1, 2, 4, 8, 8],
        "attention_levels": [4],
        "res_blocks": 2,
        "gate": "all",
    },
    "prediction": "eps",
    "schedule": SCHEDULE,
    "iterations": 800_000,
    "batch": 32,
    "crop": 256,
    "rate": 1e-4,
    "lambda_2": 0.05,  # the paper says (0, 1]
    "dropout": 0.2,
    "validate_every": 10_000,
}

COMPACT: Values = {
    "architecture": {
        "in_channel": 12,
        "out_channel": 3,
        "inner_channel": 64,
        "norm_groups": 16,
        "channel_multiplier": [1, 2],
        "attention_levels": [],
        "res_blocks": 2,
        "gate": "all",
        "patch_size": 4,
        "condition_skip": True,
    },
    "prediction": "x0",
    "schedule": SCHEDULE,
    "iterations": 10_000,
    "batch": 8,
    "crop": 128,
    "rate": 1e-3,
    # Below this range, x_t says more of x_0 than a network with a folded stem can pass on.
    "sigma_range": [2.0, 80.0],
    "at_start": 0.5,
    "lambda_2": 0.05,
    "rate_schedule": "cosine",
    "warmup": 100,
    "weight_decay": 1e-4,
    "ema": 0.998,
    "precision": "auto",
}

LIMIT = 2**20  # bytes of a TOML file
PRESETS = {"paper": PAPER, "compact": COMPACT}


def make_config(*layers: Values, source: str | Path = "configuration") -> Config:
    """A configuration from layers of keys, each of which changes those before it; UsageError for an unknown key."""
    values: Values = {}
    for layer in layers:
        values = _merge(values, layer)
    if "scale" not in values:
        raise UsageError("--scale", "is not given", "say 2, 4 or 8")
    try:
        return from_dict(Config, values, "configuration")
    except ValueError as error:
        raise UsageError(source, first_line(error), "see tfs-rt train --print-config") from error


def read_file(path: Path) -> Values:
    """A layer from a TOML file."""
    try:
        return tomllib.loads(read_regular(path, LIMIT).decode())
    except (OSError, ValueError) as error:
        raise UsageError(path, f"cannot be read as TOML ({first_line(error)})", "correct it") from error


def setting(text: str) -> Values:
    """A layer from `key=value`, the value as TOML reads it or a plain word; the key of a table's entry has a dot."""
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise UsageError("--set", f"{text!r} is not a setting", "write --set key=value")
    try:
        found = tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        found = value.strip()
    *tables, last = key.strip().split(".")
    layer: Values = {last: found}
    for table in reversed(tables):
        layer = {table: layer}
    return layer


def as_layer(config: Config) -> Values:
    """All of a configuration as plain values."""
    return json.loads(to_json(config))


def from_json(text: str) -> Config:
    """A configuration as `to_json` writes it; ValueError if it is not one."""
    return from_dict(Config, json.loads(text), "configuration")


def to_json(config: Config) -> str:
    """All of a configuration, on one line."""
    return json.dumps(dataclasses.asdict(config))


def to_toml(config: Config) -> str:
    """A configuration as a file for `read_file`."""
    tables = {"": as_layer(config)}
    tables |= {f"[{key}]\n": value for key, value in tables[""].items() if isinstance(value, dict)}
    return "\n".join(
        head + "".join(f"{key} = {json.dumps(v)}\n" for key, v in table.items() if not isinstance(v, dict))
        for head, table in tables.items()
    )


def _merge(base: Values, changes: Values) -> Values:
    merged = dict(base)
    for key, value in changes.items():
        old = merged.get(key)
        merged[key] = _merge(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged
