"""Limits of this process's control groups (Linux): CPU quota and number of processes, in versions 1 and 2.

A group is bound by its own limits and by those of every group above it.
`/proc/self/cgroup` names the groups, and `/proc/self/mountinfo` the folders where they can be read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from math import inf
from pathlib import Path, PurePosixPath

PROC = Path("/proc/self")
VERSION_2 = ""  # in /proc/self/cgroup: the list of controllers is empty


@dataclass(frozen=True, slots=True)
class Mount:
    """A folder where a hierarchy of control groups can be read."""

    root: str  # the group that is shown at `folder`
    folder: Path
    controllers: tuple[str, ...]


def cpu_quota(proc: Path = PROC) -> float:
    """Processors' worth of time that this process may use; infinite without a quota."""
    return min((_quota(folder) for folder in group_folders("cpu", proc)), default=inf)


def process_limit(proc: Path = PROC) -> float:
    """Processes and threads that this process's groups may hold; infinite without a limit."""
    limits = (_number(folder / "pids.max") for folder in group_folders("pids", proc))
    return min(limits, default=inf)


def group_folders(controller: str, proc: Path = PROC) -> list[Path]:
    """Folders of this process's group and of all groups above it, for one controller."""
    groups = _groups(proc)
    folders: list[Path] = []
    for mount in _mounts(proc):
        name = VERSION_2 if VERSION_2 in mount.controllers else controller
        if name in mount.controllers and name in groups:
            inside = _path_below(groups[name], mount.root)
            own = mount.folder.joinpath(*inside)
            folders += [own, *own.parents[: len(inside)]]
    return folders


def _groups(proc: Path) -> dict[str, str]:
    """Paths of this process's groups, by controller."""
    groups: dict[str, str] = {}
    for line in _lines(proc / "cgroup"):
        _, controllers, path = line.split(":", 2)
        groups |= dict.fromkeys(controllers.split(","), path)
    return groups


def _mounts(proc: Path) -> Iterator[Mount]:
    for line in _lines(proc / "mountinfo"):
        place, _, kind = line.partition(" - ")
        system, _, options = kind.split(" ", 2)
        root, folder = (_unescape(text) for text in place.split(" ")[3:5])
        if system == "cgroup2":
            yield Mount(root, Path(folder), (VERSION_2,))
        elif system == "cgroup":
            yield Mount(root, Path(folder), tuple(options.split(",")))


def _path_below(group: str, root: str) -> tuple[str, ...]:
    """Path of a group below the one that is mounted; empty if the group lies outside, as in some containers."""
    path = PurePosixPath(group)
    top = PurePosixPath(root)
    parts = path.relative_to(top).parts if path.is_relative_to(top) else ()
    return () if ".." in parts else parts


def _quota(folder: Path) -> float:
    """Quota over period, both in microseconds: one file in version 2, two in version 1."""
    words = _text(folder / "cpu.max") or f"{_text(folder / 'cpu.cfs_quota_us')} {_text(folder / 'cpu.cfs_period_us')}"
    with suppress(ValueError, ZeroDivisionError):  # "max", nothing, or the root, which has no such file
        quota, period = map(int, words.split())
        return quota / period if quota > 0 else inf
    return inf


def _number(file: Path) -> float:
    with suppress(ValueError):  # "max", or nothing
        return int(_text(file))
    return inf


def _lines(file: Path) -> list[str]:
    return _text(file).splitlines()


def _text(file: Path) -> str:
    """A file's content; nothing if it cannot be read."""
    try:
        return file.read_text(encoding="utf-8", errors="surrogateescape").strip()
    except OSError:
        return ""


def _unescape(text: str) -> str:
    """A path of mountinfo, where spaces and other special characters are written in octal."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), text)
