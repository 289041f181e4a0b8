"""Inputs, folders and links that are in the way of a run's results.

Nothing is looked at once per case but the inputs: an output folder is listed, and what it holds is compared by name.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from tfs_rt.errors import InputError, UsageError
from tfs_rt.output.folder import REPORT, SHEETS, SPREAD, STATE, result_names, sidecar_name, spread_names
from tfs_rt.system.files import TEMPORARY, linked


@dataclass(frozen=True, slots=True)
class OutputFolder:
    """The output folder as it is before a run, and the inputs of the run."""

    folder: Path
    real: str  # its path without links
    inputs: set[str]  # paths of all inputs without links
    input_folders: set[str]
    odd: dict[str, set[str]] = field(default_factory=dict)  # by folder: names in it that are folders or links
    clear: dict[str, bool] = field(default_factory=dict)  # by folder: nothing in it can be in any result's way

    @classmethod
    def of(cls, folder: Path, inputs: Iterable[Path]) -> OutputFolder:
        """UsageError if any run there would write over an input, whatever the cases are called."""
        real_path = _resolver()
        files = set(map(real_path, inputs))
        target = cls(folder, os.path.realpath(folder), files, set(map(os.path.dirname, files)))
        if hit := min(filter(target._is_of_a_run(), files), default=None):
            raise UsageError(hit, "is an input of this run, and a run writes there", "choose another --output")
        return target

    def conflict(self, case_id: str) -> InputError | None:
        """The first input, folder or link in the way of a case's files; None if there is none."""
        results = [*result_names(case_id), sidecar_name(case_id)]
        if self._is_clear(results[0].rpartition("/")[0]):
            return None
        for name in results:
            path = os.path.join(self.real, name)  # noqa: PTH118 - a string, of which there are many
            if (os.path.realpath(path) if self._is_odd(name) else path) in self.inputs:
                return InputError(self.folder / name, "is an input of this run", "choose another --output")
        for name in (*results, *spread_names(case_id)):
            if self._is_odd(name) and (self.folder / name).is_dir():
                return InputError(self.folder / name, "is a folder where a result should go", "choose another --output")
        if link := linked((self.folder / results[0]).parent, self.folder):
            remedy = "remove it, or choose another --output"
            return InputError(link, "is a link where a result should go", remedy)
        return None

    def _is_of_a_run(self) -> Callable[[str], bool]:
        """A test for files that a run may write to or remove, whatever its cases are called."""
        inner = {os.path.join(self.real, name) for name in (SHEETS, SPREAD, STATE)}  # noqa: PTH118

        def test(file: str) -> bool:
            folder, name = os.path.split(file)
            own = folder == self.real and (name == REPORT or TEMPORARY.fullmatch(name))
            return bool(own) or folder in inner

        return test

    def _is_clear(self, inner: str) -> bool:
        if inner not in self.clear:
            path = os.path.join(self.real, inner) if inner else self.real  # noqa: PTH118
            is_linked = linked(self.folder / inner, self.folder)
            odd = self._odd(inner) or self._odd(SPREAD)
            self.clear[inner] = not odd and not is_linked and path not in self.input_folders
        return self.clear[inner]

    def _is_odd(self, name: str) -> bool:
        inner, _, name = name.rpartition("/")
        return name in self._odd(inner)

    def _odd(self, inner: str) -> set[str]:
        if inner not in self.odd:
            self.odd[inner] = _odd_names(self.folder / inner)
        return self.odd[inner]


def _odd_names(folder: Path) -> set[str]:
    """The entries of a folder that are folders or links; none if it cannot be listed."""
    try:
        with os.scandir(folder) as entries:
            return {entry.name for entry in entries if entry.is_symlink() or entry.is_dir()}
    except OSError:  # whoever reads or writes there will say so
        return set()


def _resolver() -> Callable[[Path], str]:
    """A function that gives paths without links, and looks at each folder once."""
    folders: dict[str, str] = {}

    def real_folder(folder: str) -> str:
        if folder not in folders:
            folders[folder] = real(folder)
        return folders[folder]

    def real(path: str) -> str:
        above, name = os.path.split(path)
        if above == path or name in ("", ".", "..") or _is_link(path):
            return os.path.realpath(path)
        return os.path.join(real_folder(above), name)  # noqa: PTH118 - a string, of which there are many

    return lambda path: real(os.fspath(path))


def _is_link(path: str) -> bool:
    try:
        return stat.S_ISLNK(os.lstat(path).st_mode)
    except (OSError, ValueError):  # reading it will say so
        return False
