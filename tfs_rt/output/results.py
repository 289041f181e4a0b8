"""Results in the output folder: a case's image first, and its sidecar last.

A case is done if and only if its sidecar is as it was written, was made by the same settings from the same inputs, and
describes the image beside it. Anything else in the folder is computed again.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

from tfs_rt.assets import MANIFEST
from tfs_rt.errors import EnvironmentFault, InputError, TfsRtError, UsageError
from tfs_rt.facts import Facts, json_bytes
from tfs_rt.output.folder import ENDINGS, FILE_ENDINGS, SERIES, SERIES_FILE, SHEETS, SPREAD, result_name, sidecar_name
from tfs_rt.output.marks import is_result
from tfs_rt.output.provenance import pixel_settings, recipe_hash
from tfs_rt.output.sidecar import Sidecar, read_sidecar
from tfs_rt.system.files import (
    delete_folder,
    fold_name,
    path_sha256,
    remove_temporaries,
    sync_folder,
    write_file,
    write_folder,
)
from tfs_rt.system.os_errors import write_fault

FINDER_FILE = ".DS_Store"  # macOS writes it into every folder that somebody looks at
Content = bytes | Mapping[str, bytes]  # of a file, or of a folder's files by name


def prepare_output(folder: Path) -> None:
    """Make the output folder, and prove that it can be written to."""
    try:
        if (folder / MANIFEST).exists():
            raise UsageError(folder, "is a model's bundle, which results would spoil", "choose another --output")
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise write_fault(folder, error, "choose another --output") from error


def check_place(folder: Path, case_id: str, form: str) -> None:
    """InputError if a result that is a folder would lie where somebody else's files are, or another case's."""
    if form != SERIES:
        return
    path = folder / result_name(case_id, form)
    if fold_name(case_id).endswith(FILE_ENDINGS):
        reason = "its result is a folder, and this id ends like the name of a result's file"
        raise InputError(case_id, reason, "rename the case, or list it in a CSV under another id")
    for place in (path, folder / SPREAD / case_id):
        if os.path.lexists(place) and (place.is_symlink() or not place.is_dir()):
            raise InputError(place, "is a file where a folder should go", "move it, or choose another --output")
        if other := _other_file(place):
            reason = f"holds {other}, which no run has written, and a result should go there"
            raise InputError(place, reason, f"move {other} away, or choose another --output")


def _other_file(folder: Path) -> str | None:
    """The name of an entry that is not a slice of a result; None without one, or without the folder."""
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if path.name == FINDER_FILE:
            continue
        if not SERIES_FILE.fullmatch(path.name) or not is_result(path):
            return path.name
    return None


def write_result(folder: Path, case_id: str, files: Mapping[str, Content], sidecar: bytes) -> None:
    """Write a case's files and then its sidecar, so that an old sidecar never lies beside new files.

    An earlier result's files of other names are deleted.
    """
    sidecar_path = folder / sidecar_name(case_id)
    # Delete what the earlier result leaves under other names.
    for name in _intact_files(folder, case_id):
        if name not in files:
            _delete(folder, name)
    # Delete the earlier sidecar, before the files that it describes change.
    if os.path.lexists(sidecar_path):
        sidecar_path.unlink()
        sync_folder(sidecar_path.parent)
    # Write the files, and the sidecar when they are on the disk.
    for name, content in files.items():
        if isinstance(content, bytes):
            write_file(folder / name, content, within=folder)
        else:
            write_folder(folder / name, content, within=folder)
    write_file(sidecar_path, sidecar, within=folder)


def is_done(folder: Path, case_id: str, inputs: Mapping[str, Path], settings: Facts) -> Sidecar | None:
    """The sidecar of a case that is done; None if the case must be fused. `inputs` are its files by slot."""
    try:
        sidecar = read_sidecar(folder / sidecar_name(case_id))
        if not _has_settings(sidecar, settings) or _has_earlier_form(sidecar) or not _is_intact(folder, sidecar):
            return None
        hashes = {slot: path_sha256(path) for slot, path in inputs.items()}
    except (TfsRtError, OSError):
        return None
    return sidecar if sidecar.recipe_sha256 == recipe_hash(case_id, hashes, settings) else None


def remove_result(folder: Path, case_id: str, inputs: Mapping[str, Path], settings: Facts) -> None:
    """Delete the old result of a case that has just failed, if it is stale.

    Stale is a result of ours that was made by other settings, or from inputs that have changed. If an input cannot be
    read now (a network share that is away), the result is kept. Without `inputs`, the files that the sidecar names are
    compared.
    """
    try:
        sidecar = read_sidecar(folder / sidecar_name(case_id))
        present = [name for name in sidecar.files() if (folder / name).exists()]
        if len(_intact_files(folder, case_id)) != len(present):
            return  # one of the files is not as we wrote it
    except (TfsRtError, OSError):
        return
    if not _has_settings(sidecar, settings) or _inputs_changed(inputs, sidecar):
        delete_result(folder, case_id)


def delete_result(folder: Path, case_id: str) -> None:
    """Delete a case's files that are as its sidecar says, and then the sidecar.

    The sidecar goes last: a kill between two files leaves files that it still proves to be ours.
    """
    for name in [*_intact_files(folder, case_id), sidecar_name(case_id)]:
        _delete(folder, name)


def _delete(folder: Path, name: str) -> None:
    """Delete a file, or a folder of files, of a result."""
    path = folder / name
    if path.is_dir() and not path.is_symlink():
        delete_folder(path, within=folder)
    else:
        path.unlink(missing_ok=True)
        sync_folder(path.parent)


def clear_sheets(folder: Path) -> None:
    """Delete the contact sheets of an earlier run, which may have had more of them; a link is not followed."""
    sheets = folder / SHEETS
    if sheets.is_symlink():
        raise EnvironmentFault(sheets, "is a link", "remove it, or choose another --output")
    if sheets.is_dir():
        remove_temporaries(sheets)
    for path in sheets.glob("[0-9][0-9][0-9]*.png"):
        if path.stem.isdecimal():
            path.unlink()


def write_json(path: Path, data: Facts) -> None:
    """Write a JSON file."""
    write_file(path, json_bytes(data))


def _is_intact(folder: Path, sidecar: Sidecar) -> bool:
    """True if all files of a result are as its sidecar says."""
    return all(path_sha256(folder / name) == sha256 for name, sha256 in sidecar.files().items())


def _intact_files(folder: Path, case_id: str) -> list[str]:
    """A case's files that are as its sidecar says; none if any file or the sidecar cannot be read."""
    try:
        files = read_sidecar(folder / sidecar_name(case_id)).files()
        present = {name: sha256 for name, sha256 in files.items() if (folder / name).exists()}
        return [name for name, sha256 in present.items() if _is_own(folder / name, sha256)]
    except (TfsRtError, OSError):
        return []


def _is_own(path: Path, sha256: str) -> bool:
    """True if a file is as it was written; a folder must also hold nothing else. OSError if it cannot be read."""
    return path_sha256(path) == sha256 and not _other_file(path)


def _has_earlier_form(sidecar: Sidecar) -> bool:
    """True for a volume with places that is one DICOM file, by a version that wrote no series."""
    result = sidecar.result
    is_dicom_volume = result.file.endswith(ENDINGS["dicom"]) and result.slices is not None
    is_placed = any(facts.get("has_place") for facts in sidecar.inputs.values())
    return is_dicom_volume and result.form is None and is_placed


def _has_settings(sidecar: Sidecar, settings: Facts) -> bool:
    """True if a result was made by these settings; entries that only another version writes are not compared."""
    same_keys = {key: sidecar.provenance.get(key) for key in settings}
    return isinstance(same_keys["versions"], dict) and pixel_settings(same_keys) == settings


def _inputs_changed(inputs: Mapping[str, Path], sidecar: Sidecar) -> bool:
    """True if an input is known to differ from the one that the result was made from."""
    paths = inputs or {slot: Path(facts["file"]) for slot, facts in sidecar.inputs.items()}
    for slot, path in paths.items():
        try:
            if path_sha256(path) != sidecar.inputs[slot]["sha256"]:
                return True
        except OSError:
            continue
    return False
