"""Files that a list names in another spelling: other capitals, the other Unicode form, or the separators of Windows.

Capitals make no difference on Windows and macOS. macOS writes `ü` as two characters where most programs write one, and
both look alike. A path may begin with `~`, the user's folder. A file that has the name to the letter is always taken.
"""

from __future__ import annotations

import os
from collections import defaultdict
from pathlib import Path

from tfs_rt.system.files import fold_name


class FileLookup:
    """Finds files by names as lists write them. Each folder is listed once at most."""

    def __init__(self) -> None:
        self._names: dict[Path, dict[str, list[str]]] = {}  # by folder: its names by their folded form

    def find(self, base: Path, name: str) -> Path:
        """The file of this name, relative to a folder; the name as it stands if there is none, or more than one."""
        written = base / name
        if os.path.lexists(written):
            return written
        if name.startswith(("~/", "~\\")):
            base = Path.home()
            name = name[2:]
        parts = Path(name.replace("\\", "/")).parts
        found = base
        for part in parts:
            spelled = self._spelled(found, part)
            if spelled is None:
                return written
            found /= spelled
        return found

    def _spelled(self, folder: Path, part: str) -> str | None:
        """The name in a folder that is spelled so, in any form; None if there is none, or more than one."""
        if os.path.lexists(folder / part):
            return part
        if folder not in self._names:
            self._names[folder] = _names_in(folder)
        spellings = self._names[folder].get(fold_name(part), [])
        return spellings[0] if len(spellings) == 1 else None


def _names_in(folder: Path) -> dict[str, list[str]]:
    """The names in a folder by their folded form; empty if it cannot be listed."""
    names: dict[str, list[str]] = defaultdict(list)
    try:
        for name in os.listdir(folder):  # noqa: PTH208 - names, not paths
            names[fold_name(name)].append(name)
    except OSError:
        return {}
    return names
