"""What the options of `tfs-rt fuse` say, checked."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfs_rt.cli.sizes import height_and_width
from tfs_rt.errors import UsageError
from tfs_rt.spec import SLOTS

if TYPE_CHECKING:
    from tfs_rt.batch.shards import Shard
    from tfs_rt.cases.case import Case

SCALES = (2, 4, 8)
WINDOW = re.compile(rf"(?:({'|'.join(SLOTS)})=)?([^:=]+):([^:=]+)")


def check_scale_value(scale: int | None, allowed: tuple[int, ...] = SCALES) -> None:
    """Only the paper's scales exist; a method that needs no model also fuses at scale 1."""
    if scale is not None and scale not in allowed:
        plain = "; --method bitonicx --scale 1 is plain fusion" if scale == 1 else ""
        remedy = f"choose {', '.join(map(str, allowed[:-1]))} or {allowed[-1]}{plain}"
        raise UsageError("--scale", f"{scale} is not a scale", remedy)


def case_given(m1: Path | None, m2: Path | None, functional: Path | None, case_id: str | None) -> list[Case]:
    """The case of --m1, --m2 and --functional, if it is given."""
    from tfs_rt.cases.discover import single

    if m1 and m2 and functional:
        return [single(m1, m2, functional, case_id)]
    if m1 or m2 or functional or case_id:
        raise UsageError("--m1 --m2 --functional", "only some of the three are given", "give all three")
    return []


def target_size(text: str | None) -> tuple[int, int] | None:
    """(H, W) of --target-size."""
    if text is None:
        return None
    size = height_and_width(text)
    if size is None or size[0] * size[1] > 4096 * 4096:
        raise UsageError(
            "--target-size", f"{text!r} is no size", "write 256 or 320x256 (width x height), up to 4096x4096"
        )
    return size


def windows(texts: Sequence[str]) -> dict[str, Any]:
    """The fields of `Reading` that --window decides: `LOW:HIGH` for all three slots, `m1=LOW:HIGH` for one."""
    found: dict[str, tuple[float, float]] = {}
    for_all = False
    for text in texts:
        slot, window = _window(text)
        for_all = for_all or slot is None
        for name in (slot,) if slot else SLOTS:
            if name in found:
                raise UsageError("--window", f"{name} has two windows", "give it one")
            found[name] = window
    return {"windows": {slot: found[slot] for slot in SLOTS if slot in found}, "window_for_all": for_all}


def _window(text: str) -> tuple[str | None, tuple[float, float]]:
    match = WINDOW.fullmatch(text)
    remedy = "write LOW:HIGH, or m1=LOW:HIGH (m2, functional), in the files' own units, LOW below HIGH"
    try:
        low, high = (float(match[2]), float(match[3])) if match else (math.nan, math.nan)
    except ValueError:
        low, high = math.nan, math.nan
    if not match or not (-1e12 < low < high < 1e12):
        raise UsageError("--window", f"{text!r} is no window", remedy)
    return match[1], (low, high)


def shards(
    shard: str | None, workers: int | None, devices: str | None, environment: Mapping[str, str]
) -> tuple[list[Shard], list[str]]:
    """The shards that this command runs, and the device of each if there are devices; none for a run over all cases."""
    from tfs_rt.batch.shards import Shard, parse_shard

    if workers and devices is not None:
        raise UsageError("--workers", "each device of --devices has a worker", "leave one of the two options out")
    own = parse_shard(shard, environment) if shard else None
    listed = [name.strip() for name in devices.split(",")] if devices is not None else []
    if not all(re.fullmatch(r"[\w-]+", name) for name in listed) or len(set(listed)) < len(listed):
        raise UsageError("--devices", f"{devices!r} lists no devices", "write their numbers, as in 0,1")
    listed = _visible(listed, environment.get("CUDA_VISIBLE_DEVICES"))
    count = len(listed) or workers or 1
    if count == 1 and not listed:
        return [own] if own else [], []
    first = own or Shard(1, 1)
    return [Shard((first.index - 1) * count + k, first.count * count) for k in range(1, count + 1)], listed


def _visible(numbers: list[str], given: str | None) -> list[str]:
    """Devices as CUDA_VISIBLE_DEVICES names them, where it says which of them this process may use."""
    names = given.split(",") if given else []
    if not names:
        return numbers
    if not all(number.isdecimal() and int(number) < len(names) for number in numbers):
        reason = f"{','.join(numbers)} are not among the {len(names)} that CUDA_VISIBLE_DEVICES gives"
        raise UsageError("--devices", reason, "count those from 0")
    return [names[int(number)].strip() for number in numbers]


def without(arguments: Sequence[str], options: tuple[str, ...]) -> list[str]:
    """A command line without some of its options and their values; what follows `--` are no options."""
    rest, left = iter(arguments), []
    for argument in rest:
        if argument == "--":
            return [*left, argument, *rest]
        if argument in options:
            next(rest, None)
        elif not argument.startswith(tuple(f"{option}=" for option in options)):
            left.append(argument)
    return left
