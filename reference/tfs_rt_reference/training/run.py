"""The training loop, on one processor or, under torchrun, on several."""

from __future__ import annotations

import dataclasses
import math
import os
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, distributed, nn

from tfs_rt.errors import EnvironmentFault, ModelError, UsageError
from tfs_rt.output.results import prepare_output
from tfs_rt.system.files import file_sha256
from tfs_rt_reference.data.groups import MANIFEST, Group, read_groups, read_manifest, singly
from tfs_rt_reference.model import load_model
from tfs_rt_reference.training.config import Config, Precision
from tfs_rt_reference.training.curves import draw
from tfs_rt_reference.training.distillation import TARGETS, Teacher, make_targets, target_key, with_targets
from tfs_rt_reference.training.material import Batch, Material
from tfs_rt_reference.training.muon import Muon
from tfs_rt_reference.training.objective import loss
from tfs_rt_reference.training.state import CURVES, LOG, MODEL, STATE, Line, State, new_state, read_state, resume_state
from tfs_rt_reference.training.validation import validate


@dataclass(frozen=True, slots=True)
class Request:
    """A training run: its sets, its configuration, its folder and its device."""

    sets: Sequence[Path]  # as `tfs-rt prepare` makes them; each is drawn from equally often
    output: Path
    config: Config
    resume: bool = False
    init: Path | None = None  # a checkpoint or a bundle to begin with
    teacher: Teacher | None = None  # its results replace the ground truth; training starts from its weights
    device: str = "cpu"
    workers: int = 1  # threads that make samples


@dataclass(frozen=True, slots=True)
class Place:
    """This process among those of torchrun."""

    rank: int
    world: int
    device: torch.device


Advance = Callable[[int], None]  # number of further items done


def _no_progress(doing: str, total: int, units: str) -> AbstractContextManager[Advance]:
    del doing, total, units
    return nullcontext(lambda done: None)


@dataclass(frozen=True, slots=True)
class Watch:
    """Callbacks for progress."""

    line: Callable[[Line], None] = lambda line: None  # a validation
    progress: Callable[[str, int, str], AbstractContextManager[Advance]] = _no_progress  # (doing, total, units)


def train(request: Request, watch: Watch = Watch()) -> State:
    """Train to the end, or go on with a run that was interrupted.

    Raises UsageError for a folder that holds a run already or another one, and if the loss is not finite.
    """
    try:
        return _train(request, watch)
    except torch.OutOfMemoryError as error:
        raise EnvironmentFault(f"--device {request.device}", "ran out of memory", "lower batch or crop") from error


def _train(request: Request, watch: Watch) -> State:
    # Check the sets.
    for root in request.sets:
        read_manifest(root)
    data = [file_sha256(root / MANIFEST) for root in request.sets]
    with _place(request.device) as place:
        # Begin the run, or resume it.
        state = _first_state(request, data, place)
        if state.config.batch % place.world:
            reason = f"{state.config.batch} samples cannot be shared out evenly among {place.world} processes"
            raise UsageError("batch", reason, "set a multiple")
        # Read the images.
        groups, validation = read_material(request.sets, alone=state.config.architecture.condition_channels == 3)
        trained_size = max(max(group.truth.shape[:2]) for group in validation)
        material = Material(groups, state.config)
        # Distil towards the teacher's samples, if it gives any.
        if request.teacher and request.teacher.samples:
            folder = request.output / TARGETS / target_key(request.teacher, data)
            taught = _groups_with_targets(request.teacher, groups, folder, place, watch)
            material = Material(taught, state.config, grid=state.config.scale)
        # Train; at each validation, write the log and the state.
        batches = material.batches(state.iteration + 1, rank=place.rank, world=place.world, workers=request.workers)
        with watch.progress("training", state.config.iterations, "iterations") as advance:
            advance(state.iteration)
            for line in _lines(state, batches, place, advance):
                if place.rank == 0:
                    state.log.append(line | validate(state.average, state.config, trained_size, validation))
                    state.save(request.output, trained_size)
                    draw(state.log, request.output / CURVES)
                    watch.line(state.log[-1])
    return state


def _lines(state: State, batches: Iterator[Batch], place: Place, advance: Advance) -> Iterator[Line]:
    """Train to the end; a line of the log whenever it is time to validate."""
    step = _stepper(state, place)
    # Continue the clock of the earlier part of the run.
    before = state.log[-1]["seconds"] if state.log else 0.0
    start = time.monotonic()
    losses = []
    clock = time.monotonic()
    while state.iteration < state.config.iterations:
        # Run one iteration.
        losses.append(step(next(batches)))
        advance(1)
        if state.iteration % state.config.validate_every and state.iteration < state.config.iterations:
            continue
        # Report the time and the loss since the last line.
        yield {
            "iteration": state.iteration,
            "seconds": round(before + time.monotonic() - start, 1),
            "images_per_second": round(len(losses) * state.config.batch / (time.monotonic() - clock), 2),
            "loss": _mean(losses, state, place),
        }
        losses = []
        clock = time.monotonic()


def _groups_with_targets(
    teacher: Teacher, groups: list[list[Group]], folder: Path, place: Place, watch: Watch
) -> list[list[Group]]:
    """The groups with the teacher's targets, which the processes make together."""
    teacher.model.network.to(place.device)
    with watch.progress("teacher's targets", sum(map(len, groups)), "groups") as advance:
        make_targets(teacher, groups, folder, share=(place.rank, place.world), advance=advance)
    teacher.model.network.cpu()
    if place.world > 1:
        distributed.barrier(device_ids=[place.device.index] if place.device.type == "cuda" else None)
    return with_targets(groups, folder)


def read_material(sets: Sequence[Path], *, alone: bool = False) -> tuple[list[list[Group]], list[Group]]:
    """The groups to train on, by set, and those to validate on; or, `alone`, the images of those groups."""
    splits = [{record["split"] for record in read_manifest(root)["cases"]} for root in sets]
    train = [read_groups(root, "train") for root in sets]
    validation = [
        g for root, there in zip(sets, splits, strict=True) if "val" in there for g in read_groups(root, "val")
    ]
    if not validation:
        raise UsageError(sets[0], "holds no case to validate on", "add a set that has a split val")
    return ([singly(groups) for groups in train], singly(validation)) if alone else (train, validation)


def configuration(output: Path) -> Config:
    """The configuration of a run on disk."""
    return read_state(output).config


def _first_state(request: Request, data: list[str], place: Place) -> State:
    config = dataclasses.replace(request.config, precision=_precision(request.config, place.device))
    key = request.teacher.key if request.teacher else None
    # Resume the run on disk.
    if request.resume:
        state = resume_state(request.output, config, data, place.device, teacher=key)
        prepare_output(request.output)
        return state
    # Refuse a folder that holds a run.
    if any((request.output / name).exists() for name in (STATE, MODEL, LOG)):
        raise UsageError(request.output, "holds a run", "add --resume to go on with it, or choose another --output")
    prepare_output(request.output)
    # Begin from the teacher, from a given model or from random weights.
    if request.teacher:
        begin = request.teacher.model
    else:
        begin = load_model(request.init) if request.init else None
        if begin and begin.spec.prediction != config.prediction:
            reason = f"predicts {begin.spec.prediction}, and {config.prediction} is asked"
            raise ModelError(begin.path, reason, f"add --set prediction={begin.spec.prediction}")
    return new_state(config, data, place.device, begin=begin, teacher=key)


def _precision(config: Config, device: torch.device) -> Precision:
    """`auto` decided: a processor that only emulates bfloat16 is twelve times slower in it than in float32."""
    if config.precision != "auto":
        return config.precision
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    able = torch.cpu.get_capabilities()
    return "bf16" if any(able.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16")) else "fp32"


def _stepper(state: State, place: Place) -> Callable[[Batch], Tensor]:
    """One iteration of training: a batch in, its loss out."""
    # Wrap the network where several processes train it.
    config = state.config
    parameters = list(state.network.parameters())
    network: nn.Module = state.network
    if place.world > 1:
        ids = [place.device.index] if place.device.type == "cuda" else None
        network = nn.parallel.DistributedDataParallel(network, device_ids=ids)

    def step(batch: Batch) -> Tensor:
        # Seed dropout by the iteration and the process.
        seeds = np.random.SeedSequence([config.seed, state.iteration, place.rank])
        torch.manual_seed(int(seeds.generate_state(1)[0]))
        state.network.train()
        # Compute the loss and its gradient.
        share = rate(config, state.iteration)
        value = loss(network, batch.to(place.device), config)
        state.network.zero_grad(set_to_none=True)
        value.backward()
        if config.clip:
            nn.utils.clip_grad_norm_(parameters, config.clip)
        # Update the weights, each optimiser at its own rate.
        for optimiser in state.optimisers:
            for group in optimiser.param_groups:
                group["lr"] = (config.muon if isinstance(optimiser, Muon) else config.rate) * share
            optimiser.step()
        # Count the iteration, and update the average.
        state.iteration += 1
        state.update_average()
        return value.detach()

    return step


def rate(config: Config, iteration: int) -> float:
    """The share of the learning rate in an iteration, counted from 0."""
    warm = min(1.0, (iteration + 1) / config.warmup) if config.warmup else 1.0
    if config.rate_schedule == "constant":
        return warm
    return min(warm, 0.5 + 0.5 * math.cos(math.pi * iteration / config.iterations))


def _mean(losses: Sequence[Tensor], state: State, place: Place) -> float:
    """The mean loss of a stretch, over all processes; UsageError if it is not finite."""
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
def _place(device: str) -> Generator[Place]:
    """This process's rank and device; joins the others under torchrun."""
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
