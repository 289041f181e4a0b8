"""A run on disk: its configuration, its state, the averaged weights, and its log.

    RUN/state.pt            everything for a resumed run to reach the same weights
    RUN/model.safetensors   the averaged weights that validated best, for `tfs-rt export`
    RUN/log.jsonl           a line for each validation
    RUN/curves.png          the log as a picture

Randomness needs no state: samples and dropout are drawn anew from (seed, iteration).
"""

from __future__ import annotations

import copy
import dataclasses
import io
import json
import pickle
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tfs_rt.errors import ModelError, UsageError, first_line
from tfs_rt.spec import Prediction
from tfs_rt.system.files import open_regular, write_file
from tfs_rt_reference.checkpoints.load import save_checkpoint
from tfs_rt_reference.model import Model
from tfs_rt_reference.network import UNet
from tfs_rt_reference.training import config as configs
from tfs_rt_reference.training.config import Config
from tfs_rt_reference.training.muon import Muon, hidden_convolutions

STATE = "state.pt"
MODEL = "model.safetensors"
LOG = "log.jsonl"
CURVES = "curves.png"

Line = dict[str, Any]


@dataclass(slots=True)
class State:
    """A run at some iteration."""

    config: Config
    data: list[str]  # SHA-256 of each set's manifest
    teacher: str | None  # hash of everything that decides its targets
    network: UNet
    average: UNet
    optimisers: list[torch.optim.Optimizer]
    iteration: int = 0
    log: list[Line] = field(default_factory=list)

    @torch.no_grad()
    def update_average(self) -> None:
        """Exponential moving average of the weights, faster at first."""
        decay = min(self.config.ema, self.iteration / (self.iteration + 10))
        for mean, value in zip(self.average.parameters(), self.network.parameters(), strict=True):
            mean.lerp_(value, 1 - decay)

    def save(self, folder: Path, trained_size: int) -> None:
        """Write everything; each file appears whole or stays what it was, and the state goes last."""
        # Write the model if it is the best so far.
        if self.log[-1]["val_loss"] == min(line["val_loss"] for line in self.log):
            save_checkpoint(folder / MODEL, self.average, self.config.spec(trained_size))
        # Write the log.
        write_file(folder / LOG, "".join(json.dumps(line) + "\n" for line in self.log).encode())
        # Write the state.
        content = {
            "config": configs.to_json(self.config),
            "data": self.data,
            "teacher": self.teacher,
            "iteration": self.iteration,
            "log": json.dumps(self.log),
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimisers": [optimiser.state_dict() for optimiser in self.optimisers],
        }
        buffer = io.BytesIO()
        torch.save(content, buffer)
        write_file(folder / STATE, buffer.getvalue())


def new_state(
    config: Config, data: list[str], device: torch.device, *, begin: Model | None = None, teacher: str | None = None
) -> State:
    """A run's beginning: random weights, or those of a model of the same architecture.

    If that predicts something else, its last layer begins anew.
    """
    torch.manual_seed(config.seed)
    network = UNet(config.architecture, dropout=config.dropout)
    if begin is not None:
        _check_architecture(begin, config)
        network.load_state_dict(begin.network.state_dict())
    if begin is None or begin.spec.prediction != config.prediction:
        network.final_conv.conv.reset_parameters()
        begin_with_functional(network, config.prediction)
    return _make_state(config, data, teacher, network.to(device))


@dataclass(frozen=True, slots=True)
class Stored:
    """Contents of a state file."""

    config: Config
    data: list[str]
    teacher: str | None
    iteration: int
    log: list[Line]
    network: dict[str, Tensor]
    average: dict[str, Tensor]
    optimisers: list[dict[str, Any]]


def read_state(folder: Path) -> Stored:
    """A run's state on disk; UsageError if it is missing, ModelError if it cannot be read."""
    path = folder / STATE
    try:
        with open_regular(path) as file:
            content = torch.load(file, map_location="cpu", weights_only=True)
        content |= {"config": configs.from_json(content["config"]), "log": json.loads(content["log"])}
        return Stored(**content)
    except FileNotFoundError as error:
        raise UsageError(folder, "holds no run to resume", "leave --resume out") from error
    except (OSError, RuntimeError, ValueError, KeyError, TypeError, EOFError, pickle.UnpicklingError) as error:
        raise ModelError(path, f"is not a training state ({first_line(error)})", "train anew, elsewhere") from error


def resume_state(
    folder: Path, config: Config, data: list[str], device: torch.device, *, teacher: str | None = None
) -> State:
    """The run on disk; UsageError if it is of another configuration, of other data or of another teacher."""
    # Compare the run on disk with the one asked for.
    held = read_state(folder)
    if lines := differences(held.config, config):
        raise UsageError(
            folder / STATE, "; ".join(lines), "resume with the options it was begun with, or with none of them"
        )
    if held.data != data:
        reason = "was trained on other sets"
        raise UsageError(folder / STATE, reason, "resume with those that it was begun with, in their order")
    if held.teacher != teacher:
        raise UsageError(
            folder / STATE,
            "was begun with another teacher, --samples or --steps"
            if teacher and held.teacher
            else "was begun otherwise",
            "resume it with the command, the teacher and the options that it was begun with",
        )
    # Restore the network, its average and the optimisers.
    network = UNet(held.config.architecture, dropout=held.config.dropout)
    network.load_state_dict(held.network)
    state = _make_state(held.config, data, teacher, network.to(device))
    state.average.load_state_dict(held.average)
    for optimiser, content in zip(state.optimisers, held.optimisers, strict=True):
        optimiser.load_state_dict(content)
    state.iteration = held.iteration
    state.log = held.log
    return state


def differences(stored: Config, asked: Config) -> list[str]:
    """One line for each field in which two configurations differ."""
    lines = []
    for key, value in dataclasses.asdict(asked).items():
        old = dataclasses.asdict(stored)[key]
        if key == "architecture":
            lines += [f"architecture.{k}: {old[k]} in the run, {v} asked" for k, v in value.items() if old[k] != v]
        elif old != value:
            lines.append(f"{key}: {old} in the run, {value} asked")
    return lines


def begin_with_functional(network: UNet, prediction: Prediction) -> None:
    """Initialise a network with a condition skip so that its first x_0 is the functional image, where it can be."""
    arch = network.arch
    if not arch.condition_skip or (prediction == "eps" and not arch.sigma_data):
        return
    for tensor in (*network.final_conv.conv.parameters(), network.condition_skip.weight):
        torch.nn.init.zeros_(tensor)
    sign = -1 if prediction == "v" else 1  # v is -x_0 where x_t is noise alone
    network.condition_skip.weight.data[:, -3:, 0, 0] = sign * torch.eye(3)


def _make_state(config: Config, data: list[str], teacher: str | None, network: UNet) -> State:
    network = network.to(memory_format=torch.channels_last)  # pyrefly: ignore[no-matching-overload]
    average = copy.deepcopy(network).eval().requires_grad_(requires_grad=False)
    return State(config, data, teacher, network, average, list(_optimisers(config, network)))


def _optimisers(config: Config, network: UNet) -> Iterator[torch.optim.Optimizer]:
    inner = hidden_convolutions(network) if config.muon else []
    rest = [parameter for parameter in network.parameters() if all(parameter is not other for other in inner)]
    yield torch.optim.AdamW(rest, config.rate, weight_decay=config.weight_decay)
    if inner:
        yield Muon(inner, config.muon, dtype=torch.bfloat16 if config.precision == "bf16" else torch.float32)


def _check_architecture(begin: Model, config: Config) -> None:
    own = begin.spec.architecture
    if begin.spec.prediction != config.prediction:
        own = dataclasses.replace(own, sigma_data=config.architecture.sigma_data)
    found = dataclasses.asdict(own)
    wanted = dataclasses.asdict(config.architecture)
    lines = [f"{key}: {found[key]} in the file, {value} asked" for key, value in wanted.items() if found[key] != value]
    if lines:
        reason = f"has another architecture ({'; '.join(lines)})"
        raise ModelError(begin.path, reason, "set architecture.* to what it has")
