"""A run's settings: those that can change pixels, and those that cannot."""

from __future__ import annotations

import platform
from dataclasses import dataclass, field
from pathlib import Path

from tfs_rt import __version__
from tfs_rt.batch.shards import Shard
from tfs_rt.cases.load import ReadingOptions
from tfs_rt.methods.method import FusionMethod
from tfs_rt.output.provenance import Provenance


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """The run's settings that can change results."""

    seed: int | None = 0  # None for a method that draws no noise
    samples: int = 1  # drawn for each case: the result is their mean
    target_size: tuple[int, int] | None = None  # (H, W) of results; by default the inputs' size times the scale
    reading: ReadingOptions = field(default_factory=ReadingOptions)
    # Write a DICOM volume as one file of several frames, not as a series. This changes bytes, and no pixel.
    multi_frame: bool = False


@dataclass(frozen=True, slots=True)
class Options:
    """A run's settings, beside the method and the cases."""

    output: Path
    request: Request = field(default_factory=Request)
    batch: int = 1  # images that are fused at once
    sheet: bool = False  # write contact sheets
    # A finding of the guards fails the case, instead of causing a warning.
    strict: bool = False
    shard: Shard | None = None  # this run's part of the cases, where several runs share them
    # Marks the report of this run, so that its parent process accepts no earlier one.
    token: str = ""
    # Keep results that are there, and refuse results of other settings; else fuse all cases anew.
    resume: bool = True


def run_provenance(fuser: FusionMethod, request: Request) -> Provenance:
    """Everything that makes a run's results, beside their inputs."""
    method = fuser.provenance()
    versions = {"tfs-rt": __version__, "python": platform.python_version(), **method.pop("versions")}
    return Provenance(
        method=method,
        scale=fuser.scale,
        target_size=request.target_size,
        seed=request.seed,
        samples=request.samples,
        reading=request.reading.recipe(),
        multi_frame=request.multi_frame,
        versions=versions,
    )
