"""Results on disk: each file appears whole or not at all, and a case's sidecar last."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path
from typing import Any

from PIL import Image

from tfs_rt.errors import EnvironmentFault
from tfs_rt.images import RGB


def prepare_output(folder: Path) -> None:
    """Make the output folder and prove that it can be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".probe.{os.getpid()}"
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        raise EnvironmentFault(folder, f"cannot be written ({error.strerror})", "choose another --output") from error


def encode_png(image: RGB) -> bytes:
    """A PNG that depends on the pixels alone."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="PNG")
    return buffer.getvalue()


def write_json(path: Path, data: dict[str, Any]) -> None:
    """Write a JSON file, atomically."""
    write_file(path, (json.dumps(data, indent=1, ensure_ascii=False) + "\n").encode())


def write_file(path: Path, data: bytes) -> None:
    """Write to a temporary name in the same folder, flush it to the disk, and rename."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(exist_ok=True)
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise EnvironmentFault(
            path, f"cannot be written ({error.strerror})", "free space or choose another --output"
        ) from error
