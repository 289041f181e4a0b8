"""`--shard`, `--workers` and `--devices` of `tfs-rt fuse`: how cases are shared among processes and machines."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tfs_rt.backends.registry import BACKENDS
from tfs_rt.cli.parsers import comma_list
from tfs_rt.errors import UsageError

if TYPE_CHECKING:
    from tfs_rt.batch.shards import Shard


@dataclass(frozen=True, slots=True)
class Sharing:
    """The part of the cases that this command fuses, and its worker processes."""

    shards: tuple[Shard, ...] = ()  # of this command; none: all cases
    devices: tuple[str, ...] = ()  # one GPU for each shard, as CUDA_VISIBLE_DEVICES names it

    @property
    def in_workers(self) -> bool:
        """True if worker processes fuse, one for each shard; False if this process does."""
        return len(self.shards) > 1 or bool(self.devices)

    @property
    def shard(self) -> Shard | None:
        """The one shard that this process fuses; None for all cases."""
        return self.shards[0] if self.shards else None


def parse_sharing(
    shard: str | None, workers: int | None, devices: str | None, environment: Mapping[str, str]
) -> Sharing:
    """The options as a `Sharing`; a scheduler's variables in the environment decide `--shard auto`."""
    from tfs_rt.batch.shards import Shard, parse_shard

    if workers and devices is not None:
        raise UsageError("--workers", "each device of --devices has a worker", "leave one of the two options out")
    own = parse_shard(shard, environment) if shard else None
    names = _parse_devices(devices, environment)
    count = len(names) or workers or 1
    if count == 1 and not names:
        return Sharing((own,) if own else ())

    # Divide this machine's shard into one shard for each worker.
    whole = own or Shard(1, 1)
    first = (whole.index - 1) * count + 1
    shards = tuple(Shard(index, whole.count * count) for index in range(first, first + count))
    return Sharing(shards, tuple(names))


def check_sharing(sharing: Sharing, backend: str | None, threads: int | None, *, sheet: bool) -> None:
    """UsageError for options that do not go together."""
    if sharing.shards and sheet:
        raise UsageError("--sheet", "its rows come from one process", "leave out --shard, --workers and --devices")
    if not sharing.devices:
        return
    if backend is None or backend == "auto" or BACKENDS[backend].device != "gpu":
        raise UsageError("--devices", "these are GPUs", "choose a --backend that runs on one, or give --workers")
    if threads:
        raise UsageError("--threads", f"{backend} computes on a GPU", "leave it out")


def drop_options(arguments: Sequence[str], options: tuple[str, ...]) -> list[str]:
    """A command line without some options and their values. What follows `--` is kept: these are not options."""
    kept: list[str] = []
    rest = iter(arguments)
    for argument in rest:
        if argument == "--":
            return [*kept, argument, *rest]
        if argument in options:
            next(rest, None)
        elif not argument.startswith(tuple(f"{option}=" for option in options)):
            kept.append(argument)
    return kept


def _parse_devices(text: str | None, environment: Mapping[str, str]) -> list[str]:
    """The GPUs of `--devices`, as CUDA_VISIBLE_DEVICES names them."""
    if text is None:
        return []
    numbers = comma_list(text)
    if not all(re.fullmatch(r"[\w-]+", number) for number in numbers) or len(set(numbers)) < len(numbers):
        raise UsageError("--devices", f"{text!r} is not a list of devices", "write their numbers, as in 0,1")

    # CUDA_VISIBLE_DEVICES names the GPUs that this process may use; the numbers count among these.
    visible = environment.get("CUDA_VISIBLE_DEVICES")
    if not visible:
        return numbers
    names = visible.split(",")
    if not all(number.isdecimal() and int(number) < len(names) for number in numbers):
        reason = f"{text} are not among the {len(names)} devices of CUDA_VISIBLE_DEVICES"
        raise UsageError("--devices", reason, "count those from 0")
    return [names[int(number)].strip() for number in numbers]
