"""The options by which images are read, of every command that takes what `tfs-rt fuse` takes."""

from __future__ import annotations

from typing import Annotated

import typer

from tfs_rt.cli.help import FLAG, INPUT
from tfs_rt.cli.parsers import listed, one_of

COLORMAPS = ("atlas-pet", "atlas-spect", "hot", "hot-iron")
BACKGROUND = "background"
OFFERED = ("--window", "--colormap", "--nan", "--series", "--same-frame", "--allow-lossy")  # all of this module

Windows = Annotated[
    list[str] | None,
    typer.Option(
        metavar="LOW:HIGH",
        help="Values that become black and white, for images of more than 8 bits, in their own units (HU, SUV)."
        " For one of the three images: m1=LOW:HIGH. May be repeated.",
        rich_help_panel=INPUT,
    ),
]
Colormap = Annotated[
    str | None,
    typer.Option(
        parser=one_of(COLORMAPS),
        metavar="NAME",
        help=f"Colour map for a functional image that has none: {listed(COLORMAPS)}."
        " DICOM and NIfTI default to the colours of the training images.",
        rich_help_panel=INPUT,
    ),
]
AllowLossy = Annotated[
    bool, typer.Option("--allow-lossy", metavar=FLAG, help="Also read JPEG and lossy DICOM.", rich_help_panel=INPUT)
]
SeriesOption = Annotated[
    list[str] | None,
    typer.Option(
        "--series",
        metavar="SLOT=SERIES",
        help="The series to read from a folder with several DICOM series: m1=NUMBER, or m1=UID. May be repeated.",
        rich_help_panel=INPUT,
    ),
]
SameFrame = Annotated[
    bool,
    typer.Option(
        "--same-frame",
        metavar=FLAG,
        help="Take different Frame of Reference UIDs for one, as of images that were registered by another program.",
        rich_help_panel=INPUT,
    ),
]
Nan = Annotated[
    str | None,
    typer.Option(
        parser=one_of((BACKGROUND,)),
        metavar=BACKGROUND,
        help="Read NaN as background, which is black, as in images that were resliced. Without it NaN is refused.",
        rich_help_panel=INPUT,
    ),
]
