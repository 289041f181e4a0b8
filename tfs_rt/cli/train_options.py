"""Options that `tfs-rt train` and `tfs-rt distill` share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tfs_rt.cli.help import FLAG, OUTPUT, TRAINING
from tfs_rt.cli.parsers import listed, one_of, whole_number

DEVICES = ("cpu", "cuda")

Config = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="TOML file that changes the configuration.", rich_help_panel=TRAINING),
]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Change one key of the configuration, as in --set iterations=2000. May be repeated.",
        rich_help_panel=TRAINING,
    ),
]
Device = Annotated[
    str,
    typer.Option(
        parser=one_of(DEVICES),
        metavar="NAME",
        help=f"{listed(DEVICES)}. For several GPUs, start the command by torchrun, one process for each.",
        rich_help_panel=TRAINING,
    ),
]
Workers = Annotated[
    int,
    typer.Option(
        parser=whole_number(1), metavar="N", help="Threads that prepare training samples.", rich_help_panel=TRAINING
    ),
]
Resume = Annotated[
    bool,
    typer.Option(
        "--resume", metavar=FLAG, help="Continue the run in this folder, to the same weights.", rich_help_panel=OUTPUT
    ),
]
