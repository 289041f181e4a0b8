"""The options of `tfs-rt fuse` as `--help` shows them, panel by panel."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, get_args

import typer

from tfs_rt.backends.registry import BACKENDS
from tfs_rt.cli.help import FLAG, INPUT, MANY_CASES, MODEL, OUTPUT, TRUST, default
from tfs_rt.cli.parsers import fraction, listed, one_of, whole_number
from tfs_rt.formats.registry import NAMES as FORMAT_ENDINGS
from tfs_rt.methods.registry import METHODS
from tfs_rt.sampling.registry import SAMPLERS
from tfs_rt.spec import PLANES, QUALITIES, Spacing

SPACINGS = get_args(Spacing)
WITH_MODEL = [name for name, entry in METHODS.items() if entry.needs_model]
TWO_STAGE = [name for name, entry in METHODS.items() if not entry.loader]
PLAIN_FUSION = [name for name, entry in METHODS.items() if 1 in entry.scales]
BACKEND_NAMES = ("auto", *BACKENDS)

# Input
Cases = Annotated[
    list[Path] | None,
    typer.Argument(
        metavar="CASES",
        help="Folders of cases, a folder for each modality, nnU-Net folders, BIDS datasets, or CSV files with the"
        " columns id,m1,m2,functional."
        f" Images: {listed(FORMAT_ENDINGS)}.",
        show_default=False,
    ),
]
M1 = Annotated[
    Path | None,
    typer.Option(
        "--m1",
        metavar="PATH",
        help="A single case: its first anatomical image (CT or MR), a file or a folder of DICOM slices.",
        rich_help_panel=INPUT,
    ),
]
M2 = Annotated[
    Path | None, typer.Option("--m2", metavar="PATH", help="Its second anatomical image.", rich_help_panel=INPUT)
]
Functional = Annotated[
    Path | None,
    typer.Option("--functional", metavar="PATH", help="Its functional image (PET or SPECT).", rich_help_panel=INPUT),
]
CaseId = Annotated[
    str | None,
    typer.Option("--id", metavar="NAME", help="Its name." + default("from its path"), rich_help_panel=INPUT),
]
Bids = Annotated[
    list[str] | None,
    typer.Option(
        "--bids",
        metavar="KEY=LABEL",
        help="Images to take from BIDS datasets, by entities of their names: space=MNI152NLin2009cAsym,run=1. The label"
        " none takes images without it. anat-ses=LABEL pairs that session's anatomical images with the other sessions.",
        rich_help_panel=INPUT,
    ),
]
TargetSize = Annotated[
    str | None,
    typer.Option(
        metavar="SIZE",
        help="Size of the result, N or WIDTHxHEIGHT, for inputs that are already upsampled.",
        rich_help_panel=INPUT,
    ),
]
Plane = Annotated[
    str | None,
    typer.Option(
        parser=one_of(PLANES),
        metavar="NAME",
        help=f"Slices of volumes in NIfTI, MGH, NRRD and MetaImage: {listed(PLANES)}."
        + default("that with the smallest pixels; axial if several are alike"),
        rich_help_panel=INPUT,
    ),
]
# Model and recipe
Scale = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        help=f"Enlargement of width and height: 2, 4 or 8. Also 1 with {listed(PLAIN_FUSION)}." + default("4"),
        rich_help_panel=MODEL,
    ),
]
Method = Annotated[
    str,
    typer.Option(
        parser=one_of(METHODS),
        metavar="NAME",
        help=f"Fusion method: {listed(METHODS)}. A model is needed by {listed(WITH_MODEL, 'and')};"
        f" {listed(TWO_STAGE, 'and')} upsample by bicubic first.",
        rich_help_panel=MODEL,
    ),
]
Quality = Annotated[
    str | None,
    typer.Option(
        parser=one_of(QUALITIES),
        metavar="TIER",
        help=f"{listed(QUALITIES)}: the recipe and samples that tfs-rt tune chose for this model."
        " balanced is sharper than best, at a lower PSNR.",
        rich_help_panel=MODEL,
    ),
]
Steps = Annotated[
    int | None,
    typer.Option(
        parser=whole_number(1, 100_000),
        metavar="N",
        help="Network calls for each image." + default("the model's"),
        rich_help_panel=MODEL,
    ),
]
Sampler = Annotated[
    str | None,
    typer.Option(
        parser=one_of(SAMPLERS),
        metavar="NAME",
        help=f"Sampling method: {listed(SAMPLERS)}." + default("the model's"),
        rich_help_panel=MODEL,
    ),
]
Eta = Annotated[
    float | None,
    typer.Option(
        parser=fraction,
        metavar="X",
        help="Noise that ddim adds at each step, from 0 (deterministic) to 1 (ancestral, as ddpm)."
        + default("the model's"),
        rich_help_panel=MODEL,
    ),
]
StepSpacing = Annotated[
    str | None,
    typer.Option(
        parser=one_of(SPACINGS),
        metavar="NAME",
        help="Noise levels of the steps. t: evenly spaced in t, from pure noise. log-snr: evenly spaced in log SNR,"
        " from the recipe's highest noise level." + default("the model's"),
        rich_help_panel=MODEL,
    ),
]
Samples = Annotated[
    int | None,
    typer.Option(
        parser=whole_number(1, 1000),
        metavar="N",
        help="Fuse each case N times with different noise. The result is the mean, with a map of the spread."
        + default("1"),
        rich_help_panel=MODEL,
    ),
]
Seed = Annotated[
    int | None,
    typer.Option(
        parser=whole_number(0),
        metavar="N",
        help="Seed of the noise. Each case's noise also depends on its id." + default("0"),
        rich_help_panel=MODEL,
    ),
]
Backend = Annotated[
    str | None,
    typer.Option(
        parser=one_of(BACKEND_NAMES),
        metavar="NAME",
        help=f"Runs the network: {listed(BACKEND_NAMES)}. auto takes the fastest float32 backend of this CPU."
        + default("auto"),
        rich_help_panel=MODEL,
    ),
]

# Output
Output = Annotated[
    Path, typer.Option("--output", "-o", metavar="OUTPUT", help="Folder for the results.", rich_help_panel=OUTPUT)
]
MultiFrame = Annotated[
    bool,
    typer.Option(
        "--multi-frame",
        metavar=FLAG,
        help="Write a DICOM volume as one file of several frames, not as a series with a file for each slice.",
        rich_help_panel=OUTPUT,
    ),
]
Sheet = Annotated[
    bool,
    typer.Option(
        "--sheet",
        metavar=FLAG,
        help="Also write contact sheets: each case's images beside its result.",
        rich_help_panel=OUTPUT,
    ),
]
Resume = Annotated[
    bool,
    typer.Option(
        "--resume/--overwrite",
        metavar=FLAG,
        help="Keep results that are complete, or fuse all cases again.",
        rich_help_panel=OUTPUT,
    ),
]

# Many cases
Batch = Annotated[
    int,
    typer.Option(
        parser=whole_number(1),
        metavar="N",
        help="Cases in each network call. On a CPU this changes no pixel.",
        rich_help_panel=MANY_CASES,
    ),
]
Workers = Annotated[
    int | None,
    typer.Option(
        parser=whole_number(1, 256), metavar="N", help="Processes that share the cases.", rich_help_panel=MANY_CASES
    ),
]
Threads = Annotated[
    int | None,
    typer.Option(
        parser=whole_number(1, 1024),
        metavar="N",
        help="CPU threads, shared by the workers." + default("TFS_RT_THREADS, or one for each processor"),
        rich_help_panel=MANY_CASES,
    ),
]
Devices = Annotated[
    str | None,
    typer.Option(metavar="LIST", help="GPUs by number, as in 0,1: one process for each.", rich_help_panel=MANY_CASES),
]
ShardOption = Annotated[
    str | None,
    typer.Option(
        "--shard",
        metavar="I/N",
        help="Fuse the I-th of N parts of the cases; auto in a Slurm job, auto/N in an indexed Kubernetes job.",
        rich_help_panel=MANY_CASES,
    ),
]

# Trust
Strict = Annotated[
    bool,
    typer.Option(
        "--strict", metavar=FLAG, help="Fail a case that looks wrong, instead of a warning.", rich_help_panel=TRUST
    ),
]
RequireSandbox = Annotated[
    bool,
    typer.Option(
        "--require-sandbox",
        metavar=FLAG,
        help="Refuse to run if a part of the sandbox is missing on this machine.",
        rich_help_panel=TRUST,
    ),
]
