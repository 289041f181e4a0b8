"""Results in the output folder: a case's image, and its sidecar last."""

from __future__ import annotations

import io
import json
import tempfile
from pathlib import Path
from typing import Any

from PIL import Image

from tfs_rt.errors import EnvironmentFault
from tfs_rt.files import write_file
from tfs_rt.images import RGB


def prepare_output(folder: Path) -> None:
    """Make the output folder and prove that it can be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise EnvironmentFault(folder, f"cannot be written ({error.strerror})", "choose another --output") from error


def write_result(folder: Path, case_id: str, png: bytes, sidecar: dict[str, Any]) -> None:
    """Write a case's image and then its sidecar; never an old sidecar beside a new image."""
    remove_sidecar(folder, case_id)
    write_file(folder / f"{case_id}.png", png)
    write_json(folder / f"{case_id}.json", sidecar)


def remove_result(folder: Path, case_id: str) -> None:
    """Take away what an earlier run left of a case that has failed now."""
    if remove_sidecar(folder, case_id):
        (folder / f"{case_id}.png").unlink(missing_ok=True)


def remove_sidecar(folder: Path, case_id: str) -> bool:
    """Whether there was one."""
    try:
        (folder / f"{case_id}.json").unlink()
    except OSError:
        return False
    return True


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
