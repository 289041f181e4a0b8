"""Results in the output folder: a case's image, and its sidecar last.

A case is done if and only if its sidecar is as it was written, was made by this recipe of these inputs, and describes
the image beside it. Whatever else lies there is computed anew.
"""

from __future__ import annotations

import io
import os
import tempfile
from pathlib import Path

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from tfs_rt.bundle import MANIFEST
from tfs_rt.cases import SHEETS, Case, Found
from tfs_rt.errors import EnvironmentFault, TfsRtError, UsageError
from tfs_rt.files import file_sha256, sweep, sync_folder, write_file
from tfs_rt.images import RGB
from tfs_rt.sidecar import Facts, as_json, read_sidecar, recipe_of, recipe_sha256, sealed


def prepare_output(folder: Path) -> None:
    """Make the output folder and prove that it can be written."""
    try:
        if (folder / MANIFEST).exists():
            raise UsageError(folder, "is a model's bundle", "choose another --output")
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise EnvironmentFault(folder, f"cannot be written ({error.strerror})", "choose another --output") from error


def write_result(folder: Path, case_id: str, png: bytes, sidecar: Facts) -> None:
    """Write a case's image and then its sealed sidecar; never an old sidecar beside a new image."""
    beside = folder / f"{case_id}.json"
    if os.path.lexists(beside):
        beside.unlink()
        sync_folder(folder)
    write_file(folder / f"{case_id}.png", png)
    write_file(beside, sealed(sidecar))


def is_done(folder: Path, case: Case, recipe: Facts) -> Facts | None:
    """The sidecar of a case that is done; None if there is anything to do."""
    try:
        facts = read_sidecar(folder / f"{case.id}.json")
        if not _made_by(facts, recipe) or file_sha256(folder / facts["result"]["file"]) != facts["result"]["sha256"]:
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
    sidecar, image = folder / f"{case.id}.json", folder / f"{case.id}.png"
    try:
        facts = read_sidecar(sidecar)
        if image.exists() and file_sha256(image) != facts["result"]["sha256"]:
            return
    except (TfsRtError, OSError):
        return
    if _made_by(facts, recipe) and not _changed(case, facts):
        return
    for path in (image, sidecar):  # in this order: a kill between the two leaves what is ours by its sidecar
        path.unlink(missing_ok=True)
        sync_folder(folder)


def clear_sheets(folder: Path) -> None:
    """Take away the contact sheets of an earlier run, which may have had more of them; a link is not followed."""
    sheets = folder / SHEETS
    if sheets.is_symlink():
        raise EnvironmentFault(sheets, "is a link", "remove it, or choose another --output")
    if sheets.is_dir():
        sweep(sheets)
    for path in sheets.glob("[0-9][0-9][0-9].png"):
        path.unlink()


def encode_png(image: RGB, text: dict[str, str] | None = None) -> bytes:
    """A PNG that depends on the pixels and its text alone."""
    buffer, info = io.BytesIO(), PngInfo()
    for keyword, value in (text or {}).items():
        info.add_text(keyword, value)
    Image.fromarray(image).save(buffer, format="PNG", pnginfo=info)
    return buffer.getvalue()


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
