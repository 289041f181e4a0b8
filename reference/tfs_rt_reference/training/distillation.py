"""Distillation: targets for a one-step student, the mean of its teacher's many-step results.

The mean of K samples tends to E[x_0 | condition], which is what a one-step network that minimises the squared error
learns from ground truth as well; a teacher's is the smoother target, and needs none.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tfs_rt.cases.load import read_file
from tfs_rt.errors import UsageError
from tfs_rt.formats.png import encode_png
from tfs_rt.images import RGB
from tfs_rt.output.results import prepare_output
from tfs_rt.sampling.engine import ImageBatch
from tfs_rt.sampling.stepwise import fuse_batch
from tfs_rt.sampling.tables import StepTable, step_table
from tfs_rt.spec import ModelSpec, Recipe
from tfs_rt.system.files import write_file
from tfs_rt_reference.data.groups import Group
from tfs_rt_reference.engine import TorchEngine
from tfs_rt_reference.model import Model
from tfs_rt_reference.recipe import default_recipe
from tfs_rt_reference.training.config import PRESETS, Config, Values

TARGETS = "targets"


@dataclass(frozen=True, slots=True)
class Teacher:
    """A model and how its targets are made."""

    model: Model
    samples: int  # chains whose mean is a target; 0: the ground truth is
    recipe: Recipe

    @property
    def key(self) -> str:
        """Hash of everything that decides the targets."""
        facts = [self.model.sha256, self.samples, dataclasses.asdict(self.recipe)]
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def student_layers(spec: ModelSpec) -> list[Values]:
    """The configuration of a teacher's student: the compact preset with the teacher's network, predicting x_0."""
    architecture = dataclasses.replace(spec.architecture, sigma_data=0.0)
    network = {"architecture": dataclasses.asdict(architecture), "schedule": dataclasses.asdict(spec.schedule)}
    plain: Values = json.loads(json.dumps(network))
    return [PRESETS["compact"], plain | {"prediction": "x0", "scale": spec.scale}]


def check_student(config: Config, spec: ModelSpec) -> None:
    """UsageError if the student is to do something else than its teacher, or not in one step."""
    for key, asked, fixed in (("scale", config.scale, spec.scale), ("prediction", config.prediction, "x0")):
        if asked != fixed:
            raise UsageError(f"--set {key}", f"{asked} is asked, but the student's is {fixed}", "leave it out")


def make_teacher(model: Model, samples: int, steps: int | None) -> Teacher:
    """A teacher with `samples` chains for each group, by its bundle's recipe or else the default one."""
    recipe = model.recipe or default_recipe(model.spec)
    return Teacher(model, samples, recipe if steps is None else dataclasses.replace(recipe, steps=steps))


def target_key(teacher: Teacher, data: Sequence[str]) -> str:
    """Folder name of a teacher's targets for these data."""
    return hashlib.sha256(json.dumps([teacher.key, *data]).encode()).hexdigest()[:16]


def make_targets(
    teacher: Teacher,
    sets: Sequence[Sequence[Group]],
    folder: Path,
    *,
    share: tuple[int, int] = (0, 1),
    advance: Callable[[int], None] = lambda done: None,
) -> None:
    """Write every `share[1]`-th target from number `share[0]` on; existing ones are kept."""
    prepare_output(folder)
    model = teacher.model
    engine = TorchEngine(model.spec, model.network)
    table = step_table(model.spec, teacher.recipe)
    for number, (name, group) in enumerate(_with_target_names(sets)):
        if number % share[1] == share[0] and not (folder / name).exists():
            write_file(folder / name, encode_png(_mean(engine, table, group, teacher.samples)))
        advance(1)


def with_targets(sets: Sequence[Sequence[Group]], folder: Path) -> list[list[Group]]:
    """The groups with the targets in a folder in place of the ground truth."""
    names = iter(_with_target_names(sets))
    return [[dataclasses.replace(g, truth=read_file(folder / next(names)[0])[0]) for g in groups] for groups in sets]


def _mean(engine: TorchEngine, table: StepTable, group: Group, samples: int) -> RGB:
    cases = [group.degraded(engine.spec.scale)]
    batches = [ImageBatch(cases, [group.id], size=group.size, seed=seed) for seed in range(samples)]
    drawn = [fuse_batch(engine, table, batch)[0] for batch in batches]
    return np.mean(drawn, axis=0).round().astype(np.uint8)


def _with_target_names(sets: Sequence[Sequence[Group]]) -> Iterator[tuple[str, Group]]:
    """Each group with its target's file name."""
    for number, groups in enumerate(sets):
        for group in groups:
            yield f"{number}-{group.id}.png", group
