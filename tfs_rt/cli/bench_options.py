"""The options of `tfs-rt bench` as `--help` shows them, and the parsers of their lists."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tfs_rt.cli.help import FLAG, INPUT, MEASURING, MODEL, OUTPUT, default
from tfs_rt.cli.parsers import LARGEST_SIDE, comma_list, decimal, height_and_width, listed, whole_number
from tfs_rt.errors import UsageError
from tfs_rt.sampling.registry import SAMPLERS

LARGEST = {"--steps": 100_000, "--batches": 1024}

Output = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        metavar="REPORT",
        help="Folder for bench.json and bench.html. Required.",
        rich_help_panel=OUTPUT,
    ),
]
Backends = Annotated[
    str | None,
    typer.Option(
        metavar="LIST",
        help="Backends to measure, with commas between them, or none." + default("all for the CPU"),
        rich_help_panel=MEASURING,
    ),
]
Against = Annotated[
    str | None,
    typer.Option(
        metavar="LIST",
        help="Other programs to measure: torch-eager, torch-compile, onnxruntime, openvino; or none." + default("all"),
        rich_help_panel=MEASURING,
    ),
]
Steps = Annotated[
    str | None,
    typer.Option(
        metavar="LIST",
        help="Network calls for each image, as in 1,4." + default("the model's"),
        rich_help_panel=MODEL,
    ),
]
Samplers = Annotated[
    str | None,
    typer.Option(
        metavar="LIST",
        help=f"Samplers, with commas between them: {listed(SAMPLERS)}." + default("the model's"),
        rich_help_panel=MODEL,
    ),
]
Batches = Annotated[
    str, typer.Option(metavar="LIST", help="Numbers of cases in a job, as in 1,4,16.", rich_help_panel=MEASURING)
]
Cases = Annotated[
    list[Path] | None,
    typer.Option(
        metavar="CASES",
        help="Cases, as for tfs-rt fuse. May be repeated." + default("the shipped examples"),
        rich_help_panel=INPUT,
    ),
]
GroundTruth = Annotated[
    Path | None,
    typer.Option(metavar="FOLDER", help="Ground truth, CASE.png for each case: adds accuracy.", rich_help_panel=INPUT),
]
Size = Annotated[
    str | None,
    typer.Option(
        metavar="SIZE",
        help="Size of results, N or WIDTHxHEIGHT." + default("that of the inputs times the scale"),
        rich_help_panel=INPUT,
    ),
]
Rounds = Annotated[
    int,
    typer.Option(
        parser=whole_number(1, 10_000), metavar="N", help="Timed jobs in each row.", rich_help_panel=MEASURING
    ),
]
Paper = Annotated[
    bool,
    typer.Option(
        "--paper",
        metavar=FLAG,
        help="Add the paper's 4,000 ancestral steps: some are timed, the rest is extrapolated.",
        rich_help_panel=MEASURING,
    ),
]
PaperInFull = Annotated[
    bool,
    typer.Option(
        "--paper-in-full",
        metavar=FLAG,
        help="Add all 4,000 steps of each case. Takes minutes or hours.",
        rich_help_panel=MEASURING,
    ),
]
Gpu = Annotated[
    bool,
    typer.Option(
        "--gpu", metavar=FLAG, help="Measure the GPU's backends, and PyTorch on the GPU.", rich_help_panel=MEASURING
    ),
]


def parse_names(option: str, text: str | None) -> tuple[str, ...]:
    """The names in a list; none if the option was not given."""
    if text is None:
        return ()
    names = tuple(comma_list(text))
    if not all(names):
        reason = f"{text!r} is not a list of names"
        raise UsageError(option, reason, "write them with commas between them, or none")
    return names


def parse_samplers(text: str | None) -> tuple[str, ...]:
    """The names of samplers in a list."""
    names = parse_names("--samplers", text)
    for name in names:
        if name not in SAMPLERS:
            raise UsageError("--samplers", f"there is no {name!r}", f"choose from {', '.join(SAMPLERS)}")
    return names


def parse_numbers(option: str, text: str | None) -> tuple[int, ...]:
    """The whole numbers in a list; none if the option was not given."""
    if text is None:
        return ()
    largest = LARGEST[option]
    numbers: list[int] = []
    for part in comma_list(text):
        number = decimal(part, 1, largest)
        if number is None:
            reason = f"{text!r} is not a list of numbers from 1 to {largest:,}"
            raise UsageError(option, reason, "write them as in 1,4")
        numbers.append(number)
    return tuple(numbers)


def parse_size(text: str | None) -> tuple[int, int] | None:
    """(H, W) of `--size`."""
    if text is None:
        return None
    size = height_and_width(text)
    if size is None or max(size) > LARGEST_SIDE:
        remedy = f"write 256 or 320x256 (width x height), up to {LARGEST_SIDE}x{LARGEST_SIDE}"
        raise UsageError("--size", f"{text!r} is not a size", remedy)
    return size
