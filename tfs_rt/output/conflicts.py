"""Conflicts in an output folder: inputs, folders and links where a run would write its results.

Only the inputs are looked up for each case. The output folder is listed once, and its entries are compared by name.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from tfs_rt.errors import InputError, UsageError
from tfs_rt.output.folder import (
    FILE_ENDINGS,
    REPORT,
    SHEETS,
    SPREAD,
    STATE,
    result_names,
    sidecar_name,
    spread_names,
)
from tfs_rt.system.files import TEMPORARY, first_link


@dataclass(frozen=True, slots=True)
class OutputFolder:
    """An output folder before a run, and the inputs of the run."""

    folder: Path
    real: str  # its path without links
    inputs: set[str]  # paths of all inputs without links
    input_folders: set[str]
    blockers: dict[str, set[str]] = field(default_factory=dict)  # by folder: names of the folders and links in it
    clear: dict[str, bool] = field(default_factory=dict)  # by folder: True if it holds no conflict for any result

    @classmethod
    def of(cls, folder: Path, inputs: Iterable[Path]) -> OutputFolder:
        """List the inputs; UsageError if one lies where any run writes, whatever its cases are called."""
        real_path = _resolver()
        files = set(map(real_path, inputs))
        target = cls(folder, os.path.realpath(folder), files, set(map(os.path.dirname, files)))
        is_run_file = target._run_file_test()
        overwritten = min((file for file in files if is_run_file(file)), default=None)
        if overwritten:
            raise UsageError(overwritten, "is an input of this run, and a run writes there", "choose another --output")
        return target

    def conflict(self, case_id: str) -> InputError | None:
        """The first input, folder or link in the place of a case's files; None if there is none."""
        results = [*result_names(case_id), sidecar_name(case_id)]
        if self._is_clear(results[0].rpartition("/")[0]):
            return None
        for name in results:
            path = os.path.join(self.real, name)  # noqa: PTH118 - a string, of which there are many
            real = os.path.realpath(path) if self._is_blocked(name) else path
            if real in self.inputs:
                return InputError(self.folder / name, "is an input of this run", "choose another --output")
        # The places of folders are checked when the result's form is known: see `results.check_place`.
        for name in filter(_is_file_name, (*results, *spread_names(case_id))):
            if self._is_blocked(name) and (self.folder / name).is_dir():
                return InputError(self.folder / name, "is a folder where a result should go", "choose another --output")
        if link := first_link((self.folder / results[0]).parent, self.folder):
            remedy = "remove it, or choose another --output"
            return InputError(link, "is a link where a result should go", remedy)
        return None

    def _run_file_test(self) -> Callable[[str], bool]:
        """A function that tells if a run may write or delete a file, whatever its cases are called."""
        inner = {os.path.join(self.real, name) for name in (SHEETS, SPREAD, STATE)}  # noqa: PTH118

        def is_run_file(file: str) -> bool:
            folder, name = os.path.split(file)
            if folder == self.real and (name == REPORT or TEMPORARY.fullmatch(name)):
                return True
            return folder in inner

        return is_run_file

    def _is_clear(self, inner: str) -> bool:
        """True if an inner folder holds no input, folder or link."""
        if inner not in self.clear:
            path = os.path.join(self.real, inner) if inner else self.real  # noqa: PTH118
            is_linked = first_link(self.folder / inner, self.folder)
            blocked = self._blockers(inner) or self._blockers(SPREAD)
            self.clear[inner] = not blocked and not is_linked and path not in self.input_folders
        return self.clear[inner]

    def _is_blocked(self, name: str) -> bool:
        """True if a folder or a link has the name of a result."""
        inner, _, name = name.rpartition("/")
        return name in self._blockers(inner)

    def _blockers(self, inner: str) -> set[str]:
        if inner not in self.blockers:
            self.blockers[inner] = _folders_and_links(self.folder / inner)
        return self.blockers[inner]


def _is_file_name(name: str) -> bool:
    """True for the name of a result's file, as opposed to its folder."""
    return name.endswith(FILE_ENDINGS)


def _folders_and_links(folder: Path) -> set[str]:
    """Names of the entries of a folder that are folders or links; none if it cannot be listed."""
    try:
        with os.scandir(folder) as entries:
            return {entry.name for entry in entries if entry.is_symlink() or entry.is_dir()}
    except OSError:  # reading or writing there will report it
        return set()


def _resolver() -> Callable[[Path], str]:
    """A function that resolves links in paths, and looks at each folder once."""
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
    except (OSError, ValueError):  # reading it will report it
        return False
