"""Results in the output folder: a case's image, and its sidecar last."""

from __future__ import annotations

import hashlib
import io
import json
import tempfile
from pathlib import Path
from typing import Any

from PIL import Image

from tfs_rt.bundle import MANIFEST
from tfs_rt.errors import EnvironmentFault, UsageError
from tfs_rt.files import write_file
from tfs_rt.images import RGB

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


def write_result(folder: Path, case_id: str, png: bytes, sidecar: dict[str, Any]) -> None:
    """Write a case's image and then its sidecar; never an old sidecar beside a new image."""
    (folder / f"{case_id}.json").unlink(missing_ok=True)
    write_file(folder / f"{case_id}.png", png)
    write_json(folder / f"{case_id}.json", sidecar)


def remove_result(folder: Path, case_id: str) -> None:
    """Take away what an earlier run left of a case that has failed now: only a pair that is provably ours."""
    sidecar, image = folder / f"{case_id}.json", folder / f"{case_id}.png"
    try:
        facts = json.loads(sidecar.read_text(encoding="utf-8"))
        ours = facts["case"] == case_id and facts["notice"] == RESEARCH_USE
        ours = ours and facts["result"]["sha256"] == hashlib.sha256(image.read_bytes()).hexdigest()
    except (OSError, ValueError, KeyError, TypeError):
        return
    if ours:
        sidecar.unlink()
        image.unlink()


def remove_sheets(folder: Path) -> None:
    """Take away the contact sheets of an earlier run, which may have had more of them."""
    for path in (folder / "sheets").glob("[0-9][0-9][0-9].png"):
        path.unlink()


def encode_png(image: RGB) -> bytes:
    """A PNG that depends on the pixels alone."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="PNG")
    return buffer.getvalue()


def write_json(path: Path, data: dict[str, Any]) -> None:
    """Write a JSON file; names that are no Unicode are escaped."""
    write_file(path, (json.dumps(data, indent=1) + "\n").encode())
