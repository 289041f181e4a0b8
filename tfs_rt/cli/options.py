"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tfs_rt.cli.help import FLAG, GENERAL, MODEL, default
from tfs_rt.cli.parsers import listed
from tfs_rt.errors import UsageError

SCALES = (2, 4, 8)
SHIPPED = "tfs-rt/x2, tfs-rt/x4 or tfs-rt/x8"

AsJson = Annotated[
    bool, typer.Option("--json", metavar=FLAG, help="Print the result as JSON on stdout.", rich_help_panel=GENERAL)
]
Quiet = Annotated[
    bool,
    typer.Option(
        "--quiet", "-q", metavar=FLAG, help="No progress, messages or warnings; errors only.", rich_help_panel=GENERAL
    ),
]
Verbose = Annotated[
    bool, typer.Option("--verbose", "-v", metavar=FLAG, help="A line for each case.", rich_help_panel=GENERAL)
]
Model = Annotated[
    str | None,
    typer.Option(
        metavar="MODEL",
        help=f"A bundle's folder, or a shipped model: {SHIPPED}." + default("tfs-rt/x4"),
        rich_help_panel=MODEL,
    ),
]
Scale = Annotated[
    int | None,
    typer.Option(metavar="N", help="Enlargement of width and height: 2, 4 or 8." + default("4"), rich_help_panel=MODEL),
]
ResultFolder = Annotated[
    Path, typer.Argument(metavar="OUTPUT", help="The --output folder of tfs-rt fuse.", show_default=False)
]


def check_scale(scale: int | None, allowed: tuple[int, ...] = SCALES) -> None:
    """UsageError for a scale that is not allowed. Only a method without a model allows scale 1."""
    if scale is None or scale in allowed:
        return
    plain = "; --method bitonicx --scale 1 is plain fusion" if scale == 1 else ""
    raise UsageError("--scale", f"{scale} is not a scale", f"choose {listed(map(str, allowed))}{plain}")
