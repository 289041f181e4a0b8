"""The options by which images of different grids are put onto one, of `tfs-rt align` and `tfs-rt fuse --align`."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated

import typer

from tfs_rt.cli.help import ALIGN, FLAG, default
from tfs_rt.errors import UsageError
from tfs_rt.spec import SLOTS

if TYPE_CHECKING:
    from tfs_rt.cases.align import AlignOptions

Onto = Annotated[
    str | None,
    typer.Option(
        metavar="GRID",
        help="Grid to align onto: that of m1, m2 or functional, or the extent of m1 in cubic voxels of so many mm, as"
        " in --onto 1." + default("m1"),
        rich_help_panel=ALIGN,
    ),
]
NoRegister = Annotated[
    bool,
    typer.Option(
        "--no-register",
        metavar=FLAG,
        help="Resample by the places in the headers alone, as of images of one session. Without it the images are"
        " registered: moved and turned until they match.",
        rich_help_panel=ALIGN,
    ),
]
Align = Annotated[
    bool,
    typer.Option(
        "--align",
        metavar=FLAG,
        help="First put the images of each case onto one grid, as tfs-rt align does.",
        rich_help_panel=ALIGN,
    ),
]


def parse_align(onto: str | None, *, no_register: bool, same_frame: bool, strict: bool) -> AlignOptions:
    """How to align; UsageError for a grid that is not one, and for options that do not go together."""
    from tfs_rt.cases.align import AlignOptions

    if same_frame and not no_register:
        reason = "says how frames of reference lie to each other, which the registration finds out"
        raise UsageError("--same-frame", reason, "leave it out, or add --no-register")
    if onto is None or onto in SLOTS:
        return AlignOptions(onto=onto or "m1", register=not no_register, strict=strict)
    try:
        spacing = float(onto.removesuffix("mm"))
    except ValueError:
        spacing = math.nan
    if not 0 < spacing < math.inf:
        remedy = f"write {', '.join(SLOTS)}, or a spacing in mm such as 1"
        raise UsageError("--onto", f"{onto!r} is not a grid", remedy)
    return AlignOptions(spacing=spacing, register=not no_register, strict=strict)


def parse_fuse_align(
    onto: str | None, *, align: bool, no_register: bool, same_frame: bool, strict: bool
) -> AlignOptions | None:
    """How `tfs-rt fuse` aligns; None without --align. UsageError for options that need it."""
    if align:
        return parse_align(onto, no_register=no_register, same_frame=same_frame, strict=strict)
    for option, is_given in (("--onto", onto is not None), ("--no-register", no_register)):
        if is_given:
            raise UsageError(option, "only has a meaning with --align", f"add --align, or leave out {option}")
    return None
