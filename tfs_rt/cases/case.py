"""A case: three registered images of one subject, or the reason why it cannot be run."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from tfs_rt.errors import TfsRtError


class Problem(NamedTuple):
    """The reason why files cannot be used as a case, and a remedy."""

    reason: str
    remedy: str


@dataclass(frozen=True, slots=True)
class Case:
    """Three registered images of one subject."""

    id: str
    files: dict[str, Path]  # by slot: m1, m2, functional. A folder is a DICOM series
    labels: dict[str, str] = field(default_factory=dict)  # the other columns of a CSV list
    dataset: Path | None = None  # the BIDS dataset that holds the files
    modalities: dict[str, str] = field(default_factory=dict)  # by slot, if names say them


@dataclass(frozen=True, slots=True)
class RefusedCase:
    """A case that cannot be run, with the error that says why."""

    id: str
    error: TfsRtError
    files: tuple[Path, ...] = ()  # those of its files that are known
    # A result of this name in the output folder is an earlier one of this case.
    owns_result: bool = False
    labels: dict[str, str] = field(default_factory=dict)
    dataset: Path | None = None  # the BIDS dataset that holds the files


FoundCase = Case | RefusedCase  # a case of a source, usable or refused
