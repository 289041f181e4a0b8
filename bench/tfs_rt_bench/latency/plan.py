"""The rows of a bench, made from its options and checked before anything is loaded."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tfs_rt.backends.registry import BACKENDS, backends_on
from tfs_rt.errors import UsageError
from tfs_rt.models.bundle import Bundle
from tfs_rt.sampling.schedule import sigma_range
from tfs_rt.sampling.tables import step_table
from tfs_rt.spec import ModelSpec, Recipe
from tfs_rt_bench.latency.peers import PEERS
from tfs_rt_bench.latency.worker import Task

REFERENCE = "torch"  # the backend whose images are the measure of fidelity
PEERS_ON_GPU = ("torch-eager", "torch-compile")
PAPER_PART = 8  # steps of the paper's 4,000 that are timed
NONE = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """The options of a bench; an empty list of names means the default."""

    model: str
    backends: tuple[str, ...] = ()
    against: tuple[str, ...] = ()
    steps: tuple[int, ...] = ()
    samplers: tuple[str, ...] = ()
    batches: tuple[int, ...] = (1,)
    sources: tuple[Path, ...] = ()
    truth: Path | None = None
    size: tuple[int, int] | None = None
    rounds: int = 10
    paper: str = ""  # "", "part" or "full"
    gpu: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """A row to be measured."""

    label: str
    task: Task
    batch: int
    # One job of each case, and no more: it takes minutes. It is the reference, and its images are the reference images.
    once: bool = False

    @property
    def whole(self) -> bool:
        """True if the row makes images; otherwise only a part of its steps is timed."""
        return not self.task.part

    @property
    def extrapolated(self) -> str:
        """A note on the extrapolation, or empty."""
        return f"{self.task.part} of {self.task.recipe.steps:,} steps timed" if self.task.part else ""


def default_backends(*, gpu: bool) -> tuple[str, ...]:
    """The backends that are measured if none is asked for: all of the device but the reference."""
    return tuple(name for name in backends_on("gpu" if gpu else "cpu") if name != REFERENCE)


def planned(request: Request, bundle: Bundle) -> list[Planned]:
    """The rows, in the order of the table; UsageError where something asked for does not exist or fit the model."""
    # Choose the backends and the peers.
    default = default_backends(gpu=request.gpu)
    backends = _known(request.backends, default, tuple(BACKENDS), "--backends")
    peers = _known(request.against, PEERS_ON_GPU if request.gpu else tuple(PEERS), tuple(PEERS), "--against")
    if cpu_only := [name for name in peers if request.gpu and name not in PEERS_ON_GPU]:
        raise UsageError("--against", f"{cpu_only[0]} runs on the CPU here", f"choose {' or '.join(PEERS_ON_GPU)}")
    # Plan a row for each recipe, batch and program.
    found = recipes(request, bundle.manifest.model, bundle.manifest.recipe)
    device = "cuda" if request.gpu else "cpu"
    rows = [
        _row(Task(model=request.model, backend=name, peer=peer, recipe=recipe, device=device), batch)
        for recipe in found
        for batch in dict.fromkeys(request.batches)
        for peer, names in ((False, backends), (True, peers))
        for name in names
    ]
    if not rows and not request.paper:
        raise UsageError("--backends", "nothing to measure is left", f"choose from {', '.join(default)}")
    # Add the rows of the paper's network.
    return [*rows, *_paper(request, bundle.manifest.model, device)]


def recipes(request: Request, spec: ModelSpec, own: Recipe) -> list[Recipe]:
    """The model's recipe, with every sampler and number of steps asked for."""
    changed = [
        dataclasses.replace(own, sampler=sampler, steps=steps)
        for sampler in request.samplers or (own.sampler,)
        for steps in request.steps or (own.steps,)
    ]
    for recipe in changed:
        step_table(spec, recipe)
    return list(dict.fromkeys(changed))


def name_of(recipe: Recipe) -> str:
    """A recipe in a label."""
    return f"{recipe.sampler} {recipe.steps}"


def paper_recipe(spec: ModelSpec, *, whole: bool) -> Recipe:
    """The paper's way: an ancestral step at every t.

    To be run whole by a model that was not trained on all of them, as many steps over those that it was trained on.
    """
    (lowest, highest) = spec.sigma_range
    everything = sigma_range(spec.schedule)
    spacing = "log-snr" if whole and spec.sigma_range != everything else "t"
    steps = spec.schedule.n_timestep
    return Recipe(sampler="ddpm", steps=steps, eta=1.0, spacing=spacing, sigma_max=highest, sigma_min=lowest)


def _paper(request: Request, spec: ModelSpec, device: str) -> Iterator[Planned]:
    if request.paper:
        whole = request.paper == "full"
        recipe = paper_recipe(spec, whole=whole)
        part = 0 if whole else min(PAPER_PART, recipe.steps)
        task = Task(model=request.model, backend="torch-eager", peer=True, recipe=recipe, part=part, device=device)
        yield dataclasses.replace(_row(task, 1), once=whole)


def _row(task: Task, batch: int) -> Planned:
    how = " as it comes" if task.peer else ""
    return Planned(label=f"{task.backend}{how}, {name_of(task.recipe)}, batch {batch}", task=task, batch=batch)


def _known(asked: tuple[str, ...], default: tuple[str, ...], possible: tuple[str, ...], option: str) -> tuple[str, ...]:
    if asked == (NONE,):
        return ()
    for name in asked:
        if name not in possible:
            raise UsageError(option, f"there is no {name!r}", f"choose from {', '.join(possible)}, or {NONE}")
    return tuple(dict.fromkeys(asked)) or default
