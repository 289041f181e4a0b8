"""One of several runs over the same cases into the same folder: each case belongs to one of them, by its id.

The id decides and not the position, so that no case is left out or done twice where machines list a folder differently.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass

from tfs_rt.errors import UsageError

MOST = 10_000
FORM = "write I/N, from 1/N to N/N, or auto in a Slurm job, or auto/N in an indexed Kubernetes job"
# (index, first index, step, count) of the tasks that a scheduler has started
TASKS = (
    ("SLURM_ARRAY_TASK_ID", "SLURM_ARRAY_TASK_MIN", "SLURM_ARRAY_TASK_STEP", "SLURM_ARRAY_TASK_COUNT"),
    ("SLURM_PROCID", "", "", "SLURM_NTASKS"),
    ("JOB_COMPLETION_INDEX", "", "", ""),
)


@dataclass(frozen=True, slots=True)
class Shard:
    """The `index`-th of `count`, from 1."""

    index: int
    count: int

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"

    @property
    def folder(self) -> str:
        """What its state is kept in."""
        return f"{self.index}-of-{self.count}"

    @classmethod
    def all(cls, count: int) -> list[Shard]:
        """All of a number."""
        return [cls(index, count) for index in range(1, count + 1)]

    def holds(self, case_id: str) -> bool:
        """Whether a case is its own."""
        return owner(case_id, self.count) == self.index


def owner(case_id: str, count: int) -> int:
    """The index of the shard, of so many, that a case belongs to."""
    digest = hashlib.sha256(case_id.encode(errors="surrogateescape")).digest()
    return int.from_bytes(digest[:8], "big") % count + 1


@dataclass(frozen=True, slots=True)
class Job:
    """A shard's part in a whole: the same cases by the same recipe in all of them."""

    shard: Shard
    sha256: str  # of all cases' ids and the recipe
    token: str = ""  # by which the shard's report is told from an earlier one's


def parse_shard(text: str, environment: Mapping[str, str]) -> Shard:
    """`2/8`, or `auto` and `auto/8` by what a scheduler says in the environment; UsageError if it is neither."""
    match = re.fullmatch(r"(\d{1,5}|auto)(?:/(\d{1,5}))?", text)
    if not match or (match[1] != "auto" and not match[2]):
        raise UsageError("--shard", f"{text!r} is no shard", FORM)
    count = int(match[2]) if match[2] else None
    index, count = (int(match[1]), count) if match[1] != "auto" else _scheduled(count, environment)
    if not count or not 1 <= index <= count <= MOST:
        raise UsageError("--shard", f"{index}/{count} is no shard", FORM)
    return Shard(index, count)


def shard_of(folder: str) -> Shard | None:
    """The shard whose state a folder of this name keeps, if any."""
    match = re.fullmatch(r"([1-9]\d{0,4})-of-([1-9]\d{0,4})", folder)
    found = Shard(int(match[1]), int(match[2])) if match else None
    return found if found and found.index <= found.count <= MOST else None


def _scheduled(count: int | None, environment: Mapping[str, str]) -> tuple[int, int]:
    for index, first, step, total in TASKS:
        found, low, every, said = (_number(environment.get(name, "")) for name in (index, first, step, total))
        if found is None or (index == "SLURM_PROCID" and "SLURM_STEP_ID" not in environment):  # no task of srun's
            continue
        asked = count or said
        if asked is None:
            raise UsageError("--shard", f"{index} is {found}, but nothing says of how many", "write auto/N")
        return (found - (low or 0)) // (every or 1) + 1, asked
    raise UsageError("--shard", "auto, but this is no task of Slurm or Kubernetes", FORM)


def _number(text: str) -> int | None:
    return int(text) if text.isdecimal() else None
