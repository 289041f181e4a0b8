"""Shards: several runs that divide the same cases among them and write to the same folder.

A case's id decides which shard it belongs to, and not its position. So no case is left out or done twice where machines
list a folder in different orders.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass

from tfs_rt.errors import UsageError

MOST_SHARDS = 10_000
REMEDY = "write I/N, from 1/N to N/N, or auto in a Slurm job, or auto/N in an indexed Kubernetes job"
# Environment variables of a scheduler's tasks: a task's index, the first index, the step between indices, their count.
SCHEDULERS = (
    ("SLURM_ARRAY_TASK_ID", "SLURM_ARRAY_TASK_MIN", "SLURM_ARRAY_TASK_STEP", "SLURM_ARRAY_TASK_COUNT"),
    ("SLURM_PROCID", "", "", "SLURM_NTASKS"),
    ("JOB_COMPLETION_INDEX", "", "", ""),
)


@dataclass(frozen=True, slots=True)
class Shard:
    """One of several runs that divide the cases."""

    index: int  # from 1 to `count`
    count: int

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"

    @property
    def folder(self) -> str:
        """Name of the folder that holds its state."""
        return f"{self.index}-of-{self.count}"

    @classmethod
    def all(cls, count: int) -> list[Shard]:
        """All shards of a number of shards."""
        return [cls(index, count) for index in range(1, count + 1)]

    def holds(self, case_id: str) -> bool:
        """True if a case belongs to this shard."""
        return shard_index(case_id, self.count) == self.index


def shard_index(case_id: str, count: int) -> int:
    """The index of the shard, of `count`, that a case belongs to."""
    digest = hashlib.sha256(case_id.encode(errors="surrogateescape")).digest()
    return int.from_bytes(digest[:8], "big") % count + 1


@dataclass(frozen=True, slots=True)
class Job:
    """A shard's part in a job: all its shards divide the same cases and fuse them by the same settings."""

    shard: Shard
    sha256: str  # of all cases' ids and the settings
    # Marks the shard's report, so that its parent process accepts no earlier one.
    token: str = ""


def parse_shard(text: str, environment: Mapping[str, str]) -> Shard:
    """Parse `2/8`, or `auto` and `auto/8`, which take the index from a scheduler's environment. Raises UsageError."""
    match = re.fullmatch(r"(\d{1,5}|auto)(?:/(\d{1,5}))?", text)
    if not match or (match[1] != "auto" and not match[2]):
        raise UsageError("--shard", f"{text!r} is not a valid shard", REMEDY)
    count = int(match[2]) if match[2] else None
    if match[1] == "auto":
        index, count = _scheduled(count, environment)
    else:
        index = int(match[1])
    if not count or not 1 <= index <= count <= MOST_SHARDS:
        raise UsageError("--shard", f"{index}/{count} is not a valid shard", REMEDY)
    return Shard(index, count)


def shard_of(folder: str) -> Shard | None:
    """The shard whose state lies in a folder of this name; None for any other name."""
    match = re.fullmatch(r"([1-9]\d{0,4})-of-([1-9]\d{0,4})", folder)
    if not match:
        return None
    shard = Shard(int(match[1]), int(match[2]))
    return shard if shard.index <= shard.count <= MOST_SHARDS else None


def _scheduled(count: int | None, environment: Mapping[str, str]) -> tuple[int, int]:
    """(index, count) of the task that a scheduler has started; `count` overrides the scheduler's."""
    for index_name, first_name, step_name, count_name in SCHEDULERS:
        index = _number(environment.get(index_name, ""))
        if index is None:
            continue
        if index_name == "SLURM_PROCID" and "SLURM_STEP_ID" not in environment:  # in a batch script, outside srun
            continue
        count = count or _number(environment.get(count_name, ""))
        if count is None:
            reason = f"{index_name} is {index}, but the number of shards is not known"
            raise UsageError("--shard", reason, "write auto/N")
        first = _number(environment.get(first_name, "")) or 0
        step = _number(environment.get(step_name, "")) or 1
        return (index - first) // step + 1, count
    raise UsageError("--shard", "auto works in a task of Slurm or Kubernetes only", REMEDY)


def _number(text: str) -> int | None:
    return int(text) if text.isdecimal() else None
