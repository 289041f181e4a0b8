"""Files that appear whole or not at all."""

from __future__ import annotations

import hashlib
import os
import secrets
from pathlib import Path

from tfs_rt.errors import EnvironmentFault


def file_sha256(path: Path) -> str:
    """A file's SHA-256, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_file(path: Path, data: bytes) -> None:
    """Write to a temporary name in the same folder, flush it to the disk, and rename."""
    temporary = path.with_name(f".{path.name[:100]}.{secrets.token_hex(4)}.tmp")
    try:
        path.parent.mkdir(exist_ok=True)
        try:
            with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666), "wb") as file:  # noqa: PTH123
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:  # a signal, too, leaves nothing behind
            temporary.unlink(missing_ok=True)
            raise
    except OSError as error:
        remedy = "free space or choose another --output"
        raise EnvironmentFault(path, f"cannot be written ({error.strerror})", remedy) from error
