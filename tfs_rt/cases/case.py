"""A case: three registered images of one subject, or the reason why it cannot be run."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from tfs_rt.errors import TfsRtError


@dataclass(frozen=True, slots=True)
class Case:
    """Three registered images of one subject."""

    id: str
    files: dict[str, Path]  # by slot: m1, m2, functional
    labels: dict[str, str] = field(default_factory=dict)  # what else a CSV says of it, by column
    dataset: Path | None = None  # the BIDS dataset that holds it


@dataclass(frozen=True, slots=True)
class RefusedCase:
    """A case that cannot be run, and why."""

    id: str
    error: TfsRtError
    files: tuple[Path, ...] = ()  # those of its files that are there
    owns_result: bool = False  # a result of this name in the output folder is an earlier one of this case
    labels: dict[str, str] = field(default_factory=dict)


Found = Case | RefusedCase
