"""Results in the output folder: a case's image, and its sidecar last.

A case is done if and only if its sidecar is as it was written, was made by this recipe of these inputs, and describes
the image beside it. Whatever else lies there is computed anew.
"""

from __future__ import annotations

import hashlib
import io
import json
import tempfile
from pathlib import Path
from typing import Any

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from tfs_rt.bundle import MANIFEST
from tfs_rt.cases import Case
from tfs_rt.errors import EnvironmentFault, InputError, TfsRtError, UsageError, first_line
from tfs_rt.files import file_sha256, sync_folder, write_file
from tfs_rt.images import RGB

SEAL = "sidecar_sha256"
Facts = dict[str, Any]
RESEARCH_USE = "research use only; not a medical device"


def prepare_output(folder: Path) -> None:
    """Make the output folder and prove that it can be written."""
    if (folder / MANIFEST).exists():
        raise UsageError(folder, "is a model's bundle", "choose another --output")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise EnvironmentFault(folder, f"cannot be written ({error.strerror})", "choose another --output") from error


def write_result(folder: Path, case_id: str, png: bytes, sidecar: Facts) -> None:
    """Write a case's image and then its sealed sidecar; never an old sidecar beside a new image."""
    (folder / f"{case_id}.json").unlink(missing_ok=True)
    sync_folder(folder)
    write_file(folder / f"{case_id}.png", png)
    write_json(folder / f"{case_id}.json", sidecar | {SEAL: digest(sidecar)})


def read_sidecar(path: Path) -> Facts:
    """A sidecar as it was written; InputError if it is none, or not as it was written."""
    try:
        text = path.read_text(encoding="utf-8")
        facts = json.loads(text)
        seal = facts.pop(SEAL)
        if text != _json(facts | {SEAL: seal}) or seal != digest(facts):
            raise ValueError("it was changed after it was written")
        return facts
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        reason = f"is no sidecar of tfs-rt, or a damaged one ({first_line(error)})"
        raise InputError(path, reason, "fuse the case again") from error


def is_done(folder: Path, case: Case, recipe: Facts) -> Facts | None:
    """The sidecar of a case that is done; None if there is anything to do."""
    try:
        facts = read_sidecar(folder / f"{case.id}.json")
        inputs = {slot: file_sha256(path) for slot, path in case.files.items()}
        image = file_sha256(folder / facts["result"]["file"])
        made = facts["recipe_sha256"] == recipe_sha256(case.id, inputs, recipe)
        return facts if made and image == facts["result"]["sha256"] else None
    except (TfsRtError, OSError, KeyError, TypeError):
        return None


def recipe_of(provenance: Facts) -> Facts:
    """All of a provenance that may decide a pixel; what that was for a case is hashed with its id and its inputs."""
    versions = {name: version for name, version in provenance["versions"].items() if name != "python"}
    recipe = {key: value for key, value in provenance.items() if key != "notice"}
    return json.loads(json.dumps(recipe | {"versions": versions}))


def recipe_sha256(case_id: str, inputs: dict[str, str], recipe: Facts) -> str:
    """What decides a case's pixels, hashed: its id, the inputs' SHA-256 by slot, and the recipe."""
    return digest({"case": case_id, "inputs": inputs, **recipe})


def digest(facts: Facts) -> str:
    """The SHA-256 of facts as JSON with sorted keys."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def remove_result(folder: Path, case_id: str) -> None:
    """Take away what an earlier run left of a case that has failed now: only a pair that is provably ours."""
    sidecar, image = folder / f"{case_id}.json", folder / f"{case_id}.png"
    try:
        facts = read_sidecar(sidecar)
        ours = facts["case"] == case_id and facts["result"]["sha256"] == file_sha256(image)
    except (TfsRtError, OSError, KeyError, TypeError):
        return
    if ours:
        sidecar.unlink()
        image.unlink()


def remove_sheets(folder: Path) -> None:
    """Take away the contact sheets of an earlier run, which may have had more of them."""
    for path in (folder / "sheets").glob("[0-9][0-9][0-9].png"):
        path.unlink()


def encode_png(image: RGB, text: dict[str, str] | None = None) -> bytes:
    """A PNG that depends on the pixels and its text alone."""
    buffer, info = io.BytesIO(), PngInfo()
    for keyword, value in (text or {}).items():
        info.add_text(keyword, value)
    Image.fromarray(image).save(buffer, format="PNG", pnginfo=info)
    return buffer.getvalue()


def png_text(case_id: str, inputs: dict[str, str], provenance: Facts, recipe: str) -> dict[str, str]:
    """What an image says of itself where its sidecar is lost: no name of a person, no path, no time."""
    made_by = provenance.get("method") or provenance["model"]["name"]
    return {
        "Software": f"tfs-rt {provenance['versions']['tfs-rt']}",
        "tfs-rt:case": case_id,
        "tfs-rt:made-by": made_by,
        "tfs-rt:recipe-sha256": recipe,
        "tfs-rt:inputs-sha256": " ".join(inputs.values()),
        "tfs-rt:seed": str(provenance["seed"]),
        "Disclaimer": f"image made by fusion; {RESEARCH_USE}",
    }


def write_json(path: Path, data: Facts) -> None:
    """Write a JSON file; names that are no Unicode are escaped."""
    write_file(path, _json(data).encode())


def _json(data: Facts) -> str:
    return json.dumps(data, indent=1) + "\n"
