"""Checks before the first case: the output folder holds no results of another recipe, and has room for the results."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from tfs_rt.cases.case import Case, FoundCase
from tfs_rt.errors import EnvironmentFault, TfsRtError, UsageError
from tfs_rt.facts import Facts
from tfs_rt.formats.picture import MAX_PIXELS
from tfs_rt.output.folder import REPORT, result_folders, sidecar_name
from tfs_rt.output.sidecar import read_sidecar

SPARE = 1.2  # room that is demanded, relative to the estimate
LARGEST_RESULT = 3 * MAX_PIXELS  # bytes
LISTED = 3  # differences between two recipes that a message lists
LONGEST_VALUE = 40  # characters of a value in a message


def check_recipe(output: Path, settings: Facts) -> None:
    """UsageError if an output folder holds a result of other settings: a mixture would be no set of results."""
    for folder in result_folders(output):
        for path in sorted(folder.glob("*.json")):
            if path.name == REPORT:
                continue
            try:
                sidecar = read_sidecar(path)
            except TfsRtError:
                # This is not a sidecar, or it is damaged: its case is fused again if it is asked for.
                continue
            if lines := list(differences(sidecar.provenance, settings)):
                _raise_other_recipe(output, path, lines)


def _raise_other_recipe(output: Path, path: Path, lines: list[str]) -> None:
    more = f" and {len(lines) - LISTED} more" if len(lines) > LISTED else ""
    reason = f"holds results of another recipe ({path.name}: {'; '.join(lines[:LISTED])}{more})"
    remedy = "give the same options as before, add --overwrite, or choose another --output"
    raise UsageError(output, reason, remedy)


def differences(before: Facts, now: Facts, prefix: str = "") -> Iterator[str]:
    """One line for each entry of `now` that has another value in `before`, or is missing there."""
    for key, value in now.items():
        old = before.get(key)
        name = f"{prefix}{key}"
        if isinstance(value, dict) and isinstance(old, dict):
            yield from differences(old, value, f"{name}.")
        elif old != value:
            yield f"{name}: {_brief(old)} there, {_brief(value)} now"


def _brief(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= LONGEST_VALUE else f"{text[: LONGEST_VALUE - 3]}..."


def check_room(output: Path, cases: Sequence[FoundCase], scale: int, target_size: tuple[int, int] | None) -> None:
    """EnvironmentFault if the missing results would not fit on the disk, were they compressed as well as their inputs.

    `target_size` is (H, W) in pixels.
    """
    missing = [case for case in cases if isinstance(case, Case) and not (output / sidecar_name(case.id)).exists()]
    needed = 0
    for case in missing:
        if target_size:
            needed += 3 * target_size[0] * target_size[1]
        else:
            needed += min(LARGEST_RESULT, _largest_input(case) * scale**2)
    needed *= SPARE
    free = _free_bytes(output)
    if free is not None and free < needed:
        reason = f"has {free / 1e6:.1f} MB of free space, and {len(missing)} results may take {needed / 1e6:.1f} MB"
        raise EnvironmentFault(output, reason, "free space, or choose another --output")


def _free_bytes(folder: Path) -> int | None:
    """The free bytes of a folder's file system; None if it does not tell, or tells that its size is 0."""
    try:
        usage = shutil.disk_usage(folder)
    except OSError:
        return None
    return usage.free if usage.free or usage.total else None


def _largest_input(case: Case) -> int:
    return max(_size(path) for path in case.files.values())


def _size(path: Path) -> int:
    try:
        return path.stat().st_size if path.is_file() else 0
    except (OSError, ValueError):  # reading it will report why
        return 0
