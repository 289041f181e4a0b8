"""What is checked of an output folder before the first case: what lies there, and whether there is room."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from tfs_rt.cases.case import Case, Found
from tfs_rt.errors import EnvironmentFault, TfsRtError, UsageError
from tfs_rt.facts import Facts
from tfs_rt.formats.picture import MAX_PIXELS
from tfs_rt.output.folder import REPORT
from tfs_rt.output.sidecar import read_sidecar, result_folders, sidecar_name

SPARE = 1.2
LARGEST = 3 * MAX_PIXELS  # bytes of a result


def check_recipe(folder: Path, recipe: Facts) -> None:
    """UsageError if a folder holds a result of another recipe: half of one and half of another is no set of results."""
    for path in (path for place in result_folders(folder) for path in sorted(place.glob("*.json"))):
        if path.name == REPORT:
            continue
        try:
            facts = read_sidecar(path)
        except TfsRtError:  # not ours, or damaged and made anew if its case is asked for
            continue
        if lines := list(differences(facts, recipe)):
            more = f" and {len(lines) - 3} more" if len(lines) > 3 else ""
            reason = f"holds results of another recipe ({path.name}: {'; '.join(lines[:3])}{more})"
            raise UsageError(folder, reason, "ask for the same, add --overwrite, or choose another --output")


def differences(before: Facts, now: Facts, prefix: str = "") -> Iterator[str]:
    """One line for each entry of `now` that was another before, or was not there."""
    for key, value in now.items():
        old, name = before.get(key), f"{prefix}{key}"
        if isinstance(value, dict) and isinstance(old, dict):
            yield from differences(old, value, f"{name}.")
        elif old != value:
            yield f"{name}: {_brief(old)} there, {_brief(value)} now"


def _brief(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 40 else f"{text[:37]}..."


def check_room(folder: Path, cases: Sequence[Found], scale: int, target_size: tuple[int, int] | None) -> None:
    """EnvironmentFault if the results that are not there yet would hardly fit, were they compressed as their inputs."""
    target = 3 * target_size[0] * target_size[1] if target_size else None
    missing = [case for case in cases if isinstance(case, Case) and not (folder / sidecar_name(case.id)).exists()]
    needed = SPARE * sum(target or min(LARGEST, _largest_input(case) * scale**2) for case in missing)
    free = _free(folder)
    if free is not None and free < needed:
        reason = f"has {free / 1e6:.1f} MB of room, and {len(missing)} results may take {needed / 1e6:.1f} MB"
        raise EnvironmentFault(folder, reason, "free space, or choose another --output")


def _free(folder: Path) -> int | None:
    """The bytes that are free on a folder's file system; None where it does not say, or says that its size is 0."""
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
    except (OSError, ValueError):  # reading it will say so
        return 0
