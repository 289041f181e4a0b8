"""`tfs-rt distill`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tfs_rt.cli.extras import workshop
from tfs_rt.cli.train import Device, changed, conduct


def distill(  # noqa: PLR0913 - one parameter an option
    teacher: Annotated[
        Path, typer.Argument(help="A bundle, or a checkpoint of tfs-rt train; of any prediction.", show_default=False)
    ],
    sets: Annotated[list[Path], typer.Argument(help="Sets made by tfs-rt prepare.", show_default=False)],
    *,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the run.", show_default=False)],
    samples: Annotated[
        int, typer.Option(min=0, help="Samples of the teacher whose mean is the target; 0: the ground truth.")
    ] = 4,
    steps: Annotated[
        int | None,
        typer.Option(min=1, max=100_000, help="Steps of a sample.", show_default="the bundle's, or its kind's"),
    ] = None,
    config: Annotated[Path | None, typer.Option(help="TOML file that changes the student's configuration.")] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change one key, as in --set iterations=2000."),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in the output folder.")] = False,
    device: Annotated[Device, typer.Option(help="Under torchrun, one process a GPU.")] = Device.cpu,
    workers: Annotated[int, typer.Option(min=1, help="Threads that make samples.")] = 1,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Errors only.")] = False,
) -> None:
    """Train a student that says in one step what a teacher says in many.

    It has the teacher's architecture and begins with its weights, predicts x_0, and is trained as the preset `compact`
    says. The targets are made first, and kept in OUTPUT/targets. Output and exit codes as of tfs-rt train.
    """
    models = workshop("tfs_rt_reference.model", extras="train")
    distillation = workshop("tfs_rt_reference.training.distillation", extras="train")
    configs = workshop("tfs_rt_reference.training.config", extras="train")
    run = workshop("tfs_rt_reference.training.run", extras="train")
    model = models.load_model(teacher)
    layers = [configs.as_layer(run.configuration(output))] if resume else distillation.student_layers(model.spec)
    chosen = changed(layers, config, settings, None)
    distillation.check_student(chosen, model.spec)
    request = run.Request(
        sets=sets,
        output=output,
        config=chosen,
        resume=resume,
        device=device.value,
        workers=workers,
        teacher=distillation.make_teacher(model, samples, steps),
    )
    conduct(request, quiet=quiet)
