"""Results in the output folder: a case's image, and its sidecar last.

A case is done if and only if its sidecar is as it was written, was made by this recipe of these inputs, and describes
the image beside it. Whatever else lies there is computed anew.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from tfs_rt.assets import MANIFEST
from tfs_rt.cases.case import Case, Found
from tfs_rt.errors import EnvironmentFault, TfsRtError, UsageError
from tfs_rt.facts import Facts, as_json
from tfs_rt.output.folder import SHEETS
from tfs_rt.output.sidecar import files_of, read_sidecar, recipe_of, recipe_sha256, sidecar_name
from tfs_rt.system.files import file_sha256, sweep, sync_folder, write_file
from tfs_rt.system.os_errors import write_fault


def prepare_output(folder: Path) -> None:
    """Make the output folder and prove that it can be written."""
    try:
        if (folder / MANIFEST).exists():
            raise UsageError(folder, "is a model's bundle", "choose another --output")
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise write_fault(folder, error, "choose another --output") from error


def write_result(folder: Path, case_id: str, files: dict[str, bytes], sidecar: bytes) -> None:
    """Write a case's files and then its sealed sidecar; never an old sidecar beside new files.

    What an earlier result of the case leaves in files of other names is taken away.
    """
    beside = folder / sidecar_name(case_id)
    for name in _own_files(folder, case_id):
        if name not in files:
            (folder / name).unlink()
    if os.path.lexists(beside):
        beside.unlink()
        sync_folder(beside.parent)
    for name, data in files.items():
        write_file(folder / name, data, within=folder)
    write_file(beside, sidecar, within=folder)


def is_done(folder: Path, case: Case, recipe: Facts) -> Facts | None:
    """The sidecar of a case that is done; None if there is anything to do."""
    try:
        facts = read_sidecar(folder / sidecar_name(case.id))
        if not _made_by(facts, recipe) or not _whole(folder, facts):
            return None
        inputs = {slot: file_sha256(path) for slot, path in case.files.items()}
    except (TfsRtError, OSError):
        return None
    return facts if facts["recipe_sha256"] == recipe_sha256(case.id, inputs, recipe) else None


def remove_result(folder: Path, case: Found, recipe: Facts) -> None:
    """Take away what an earlier run left of a case that has failed now, if it is provably ours and not true any more.

    It is true as long as it was made by this recipe and none of its inputs is known to be another: an input that cannot
    be read now (a share that is not there) makes nothing false.
    """
    try:
        facts = read_sidecar(folder / sidecar_name(case.id))
        files = [folder / name for name in files_of(facts)]
        if len(_own_files(folder, case.id)) != sum(path.exists() for path in files):
            return
    except (TfsRtError, OSError):
        return
    if _made_by(facts, recipe) and not _changed(case, facts):
        return
    withdraw(folder, case.id)  # in its order: a kill between two files leaves what is ours by its sidecar


def withdraw(folder: Path, case_id: str) -> None:
    """Take away a case's files that are as its sidecar says, and then the sidecar."""
    for path in (*(folder / name for name in _own_files(folder, case_id)), folder / sidecar_name(case_id)):
        path.unlink(missing_ok=True)
        sync_folder(path.parent)


def _whole(folder: Path, facts: Facts) -> bool:
    return all(file_sha256(folder / name) == sha256 for name, sha256 in files_of(facts).items())


def _own_files(folder: Path, case_id: str) -> list[str]:
    """Of a case's files those that are as its sidecar says."""
    try:
        files = files_of(read_sidecar(folder / sidecar_name(case_id)))
        there = {name: sha256 for name, sha256 in files.items() if (folder / name).exists()}
        return [name for name, sha256 in there.items() if file_sha256(folder / name) == sha256]
    except (TfsRtError, OSError):
        return []


def clear_sheets(folder: Path) -> None:
    """Take away the contact sheets of an earlier run, which may have had more of them; a link is not followed."""
    sheets = folder / SHEETS
    if sheets.is_symlink():
        raise EnvironmentFault(sheets, "is a link", "remove it, or choose another --output")
    if sheets.is_dir():
        sweep(sheets)
    for path in sheets.glob("[0-9][0-9][0-9]*.png"):
        if path.stem.isdecimal():
            path.unlink()


def write_json(path: Path, data: Facts) -> None:
    """Write a JSON file."""
    write_file(path, as_json(data))


def _made_by(facts: Facts, recipe: Facts) -> bool:
    own = {key: facts.get(key) for key in recipe}
    return isinstance(own["versions"], dict) and recipe_of(own) == recipe


def _changed(case: Found, facts: Facts) -> bool:
    """Whether an input is known to be another than the one that a sidecar was made of."""
    made_of = {slot: Path(found["file"]) for slot, found in facts["inputs"].items()}
    for slot, path in (case.files if isinstance(case, Case) else made_of).items():
        try:
            if file_sha256(path) != facts["inputs"][slot]["sha256"]:
                return True
        except OSError:
            continue
    return False
