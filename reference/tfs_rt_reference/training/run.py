"""The training loop, on one processor or, under torchrun, on several."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, distributed, nn

from tfs_rt.errors import EnvironmentFault, UsageError
from tfs_rt.files import file_sha256
from tfs_rt.results import prepare_output
from tfs_rt_reference.data import MANIFEST, Group, read_groups, read_manifest
from tfs_rt_reference.training.config import Config
from tfs_rt_reference.training.curves import draw
from tfs_rt_reference.training.material import Batch, Material
from tfs_rt_reference.training.objective import loss
from tfs_rt_reference.training.state import CURVES, LOG, MODEL, STATE, Line, State, new_state, resumed, stored
from tfs_rt_reference.training.validation import validate


@dataclass(frozen=True, slots=True)
class Request:
    """What is to be trained on what, and where."""

    sets: Sequence[Path]  # as `tfs-rt prepare` makes them; each is drawn from equally often
    output: Path
    config: Config | None  # None: that of the run to be resumed
    resume: bool = False
    init: Path | None = None  # a checkpoint or a bundle to begin with
    device: str = "cpu"
    workers: int = 1  # threads that make samples


@dataclass(frozen=True, slots=True)
class Place:
    """This process among those of torchrun."""

    rank: int
    world: int
    device: torch.device


def train(
    request: Request, on_line: Callable[[Line], None], on_iterations: Callable[[int], None] = lambda done: None
) -> State:
    """Train to the end, or go on with a run that was interrupted; `on_iterations` hears how many more are done.

    Raises UsageError for a folder that holds a run already or another one, and if the loss is no number.
    """
    for root in request.sets:
        read_manifest(root)
    data = [file_sha256(root / MANIFEST) for root in request.sets]
    with _place(request.device) as place:
        state = _begun(request, data, place)
        if state.config.batch % place.world:
            reason = f"{state.config.batch} samples cannot be shared out evenly among {place.world} processes"
            raise UsageError("batch", reason, "set a multiple")
        on_iterations(state.iteration)
        groups, validation = read_material(request.sets)
        trained_size = max(max(group.truth.shape[:2]) for group in validation)
        material = Material(groups, state.config)
        batches = material.batches(state.iteration + 1, rank=place.rank, world=place.world, workers=request.workers)
        step = _stepper(state, place)
        before = state.log[-1]["seconds"] if state.log else 0.0
        start, losses, clock = time.monotonic(), [], time.monotonic()
        while state.iteration < state.config.iterations:
            losses.append(step(next(batches)))
            on_iterations(1)
            if state.iteration % state.config.validate_every and state.iteration < state.config.iterations:
                continue
            line = {
                "iteration": state.iteration,
                "seconds": round(before + time.monotonic() - start, 1),
                "images_per_second": round(len(losses) * state.config.batch / (time.monotonic() - clock), 2),
                "loss": _mean(losses, state, place),
            }
            if place.rank == 0:
                state.log.append(line | validate(state.average, state.config, trained_size, validation))
                state.save(request.output, trained_size)
                draw(state.log, request.output / CURVES)
                on_line(state.log[-1])
            losses, clock = [], time.monotonic()
    return state


def read_material(sets: Sequence[Path]) -> tuple[list[list[Group]], list[Group]]:
    """The groups to train on, by set, and those to validate on."""
    splits = [{record["split"] for record in read_manifest(root)["cases"]} for root in sets]
    train = [read_groups(root, "train") for root in sets]
    validation = [
        g for root, there in zip(sets, splits, strict=True) if "val" in there for g in read_groups(root, "val")
    ]
    if not validation:
        raise UsageError(sets[0], "holds no case to validate on", "add a set that has a split val")
    return train, validation


def iterations(output: Path) -> int:
    """How many iterations a run that is on disk is to have."""
    return stored(output).config.iterations


def _begun(request: Request, data: list[str], place: Place) -> State:
    there = any((request.output / name).exists() for name in (STATE, MODEL, LOG))
    if request.resume:
        return resumed(request.output, request.config, data, place.device)
    if there:
        raise UsageError(request.output, "holds a run", "add --resume to go on with it, or choose another --output")
    if request.config is None:
        raise UsageError("--scale", "is not given", "say 2, 4 or 8")
    prepare_output(request.output)
    return new_state(request.config, data, place.device, init=request.init)


def _stepper(state: State, place: Place) -> Callable[[Batch], Tensor]:
    """One iteration of training: a batch in, its loss out."""
    config, parameters = state.config, list(state.network.parameters())
    network: nn.Module = state.network
    if place.world > 1:
        ids = [place.device.index] if place.device.type == "cuda" else None
        network = nn.parallel.DistributedDataParallel(network, device_ids=ids)

    def step(batch: Batch) -> Tensor:
        seeds = np.random.SeedSequence([config.seed, state.iteration, place.rank])  # of dropout
        torch.manual_seed(int(seeds.generate_state(1)[0]))
        state.network.train()
        value = loss(network, batch.to(place.device), config)
        state.optimiser.zero_grad(set_to_none=True)
        value.backward()
        if config.clip:
            nn.utils.clip_grad_norm_(parameters, config.clip)
        for group in state.optimiser.param_groups:
            group["lr"] = rate(config, state.iteration)
        state.optimiser.step()
        state.iteration += 1
        state.update_average()
        return value.detach()

    return step


def rate(config: Config, iteration: int) -> float:
    """The learning rate of an iteration, counted from 0."""
    warm = min(1.0, (iteration + 1) / config.warmup) if config.warmup else 1.0
    if config.rate_schedule == "constant":
        return config.rate * warm
    return config.rate * min(warm, 0.5 + 0.5 * math.cos(math.pi * iteration / config.iterations))


def _mean(losses: Sequence[Tensor], state: State, place: Place) -> float:
    """The mean loss of a stretch, over all processes; UsageError if it is no number."""
    mean = torch.stack(list(losses)).double().mean()
    if place.world > 1:
        distributed.all_reduce(mean)
        mean /= place.world
    value = mean.item() if all(p.isfinite().all() for p in state.average.parameters()) else math.nan
    if not math.isfinite(value):
        reason = f"the loss became {value} before iteration {state.iteration}; what was saved last is kept"
        raise UsageError("training", reason, "resume is of no use: train anew with a lower rate, elsewhere")
    return round(mean.item(), 6)


@contextmanager
def _place(device: str) -> Iterator[Place]:
    """Where this process works; joins the others under torchrun."""
    if device == "cuda" and not torch.cuda.is_available():
        raise EnvironmentFault("--device cuda", "PyTorch finds no GPU", "use --device cpu, or install CUDA's PyTorch")
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1:
        yield Place(0, 1, torch.device(device))
        return
    local = torch.device(device, int(os.environ["LOCAL_RANK"])) if device == "cuda" else torch.device(device)
    distributed.init_process_group("nccl" if device == "cuda" else "gloo")
    try:
        yield Place(distributed.get_rank(), world, local)
    finally:
        distributed.destroy_process_group()
