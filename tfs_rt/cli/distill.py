"""`tfs-rt distill`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tfs_rt.cli.extras import import_extra
from tfs_rt.cli.help import OUTPUT, TEACHER, default, examples
from tfs_rt.cli.options import Quiet
from tfs_rt.cli.parsers import whole_number
from tfs_rt.cli.train import EXTRAS, change_config, run_training
from tfs_rt.cli.train_options import Config, Device, Resume, Settings, Workers

EXAMPLES = examples(
    ("A one-step student of a bundle", "tfs-rt distill my_x2 set -o student"),
    ("Then export it", "tfs-rt export student/model.safetensors -o my_x2_student --steps 1"),
)

TeacherModel = Annotated[
    Path,
    typer.Argument(metavar="TEACHER", help="A bundle, or a checkpoint of tfs-rt train.", show_default=False),
]
Sets = Annotated[list[Path], typer.Argument(metavar="SETS", help="Sets of tfs-rt prepare.", show_default=False)]
Samples = Annotated[
    int,
    typer.Option(
        parser=whole_number(0),
        metavar="N",
        help="Samples of the teacher; their mean is the target. 0: the target is the ground truth.",
        rich_help_panel=TEACHER,
    ),
]
Steps = Annotated[
    int | None,
    typer.Option(
        parser=whole_number(1, 100_000),
        metavar="N",
        help="Steps for each of these samples." + default("the bundle's, or usual for its kind"),
        rich_help_panel=TEACHER,
    ),
]
RunFolder = Annotated[
    Path,
    typer.Option(
        "--output", "-o", metavar="RUN", help="Folder for the run.", show_default=False, rich_help_panel=OUTPUT
    ),
]


def distill(  # noqa: PLR0913 - one parameter for each option
    teacher: TeacherModel,
    sets: Sets,
    *,
    samples: Samples = 4,
    steps: Steps = None,
    config: Config = None,
    settings: Settings = None,
    device: Device = "cpu",
    workers: Workers = 1,
    output: RunFolder,
    resume: Resume = False,
    quiet: Quiet = False,
) -> None:
    """Train a student that does in one step what its teacher does in many.

    The student has the teacher's architecture, starts from its weights and predicts x_0. It is trained as the preset
    compact. The teacher's images are made first, and kept in RUN/targets.

    Exit codes: as for tfs-rt train.
    """
    models = import_extra("tfs_rt_reference.model", extras=EXTRAS)
    distillation = import_extra("tfs_rt_reference.training.distillation", extras=EXTRAS)
    configs = import_extra("tfs_rt_reference.training.config", extras=EXTRAS)
    run = import_extra("tfs_rt_reference.training.run", extras=EXTRAS)

    # The student's configuration: of the run or the teacher, changed by the options.
    model = models.load_model(teacher)
    layers = [configs.as_layer(run.configuration(output))] if resume else distillation.student_layers(model.spec)
    final = change_config(layers, config, settings, None)
    distillation.check_student(final, model.spec)

    request = run.Request(
        sets=sets,
        output=output,
        config=final,
        resume=resume,
        device=device,
        workers=workers,
        teacher=distillation.make_teacher(model, samples, steps),
    )
    run_training(request, quiet=quiet)
