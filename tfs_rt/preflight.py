"""What is checked of an output folder before the first case: what lies there, and whether there is room."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tfs_rt.cases import Case, Found
from tfs_rt.errors import EnvironmentFault, UsageError

Facts = dict[str, Any]
REPORT = "report.json"
SPARE = 1.2


def check_recipe(folder: Path, recipe: Facts) -> None:
    """UsageError if a folder holds a run of another recipe: half of one and half of another is no set of results."""
    report = read_report(folder) or {}
    if lines := list(differences({key: report[key] for key in recipe if key in report}, recipe)):
        more = f" and {len(lines) - 3} more" if len(lines) > 3 else ""
        reason = f"holds the results of another recipe ({'; '.join(lines[:3])}{more})"
        raise UsageError(folder, reason, "ask for the same, add --overwrite, or choose another --output")


def read_report(folder: Path) -> Facts | None:
    """The report that a run left, if it is one."""
    try:
        report = json.loads((folder / REPORT).read_bytes())
    except (OSError, ValueError):
        return None
    return report if isinstance(report, dict) and {"cases", "results", "ended"} <= report.keys() else None


def differences(before: Facts, now: Facts, prefix: str = "") -> Iterator[str]:
    """One line for each entry of both that was another before."""
    for key in before.keys() & now.keys():
        old, value, name = before[key], now[key], f"{prefix}{key}"
        if isinstance(value, dict) and isinstance(old, dict):
            yield from differences(old, value, f"{name}.")
        elif old != value and name != "versions.python":
            yield f"{name}: {json.dumps(old)} there, {json.dumps(value)} now"


def check_room(folder: Path, cases: Sequence[Found], scale: int, target_size: tuple[int, int] | None) -> None:
    """EnvironmentFault if the results would hardly fit, were they compressed as the inputs are."""
    target = 3 * target_size[0] * target_size[1] if target_size else None
    needed = SPARE * sum(target or _largest_input(case) * scale**2 for case in cases if isinstance(case, Case))
    free = shutil.disk_usage(folder).free
    if free < needed:
        reason = f"has {free / 1e6:.0f} MB of room, and {len(cases)} results may take {needed / 1e6:.0f} MB"
        raise EnvironmentFault(folder, reason, "free space, or choose another --output")


def _largest_input(case: Case) -> int:
    return max((path.stat().st_size for path in case.files.values() if path.is_file()), default=0)
