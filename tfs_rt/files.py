"""Files that appear whole or not at all, also if the power goes."""

from __future__ import annotations

import hashlib
import os
import re
import secrets
from pathlib import Path

from tfs_rt.errors import EnvironmentFault

TEMPORARY = re.compile(r"\..+\.[0-9a-f]{8}\.tmp")


def file_sha256(path: Path) -> str:
    """A file's SHA-256, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_file(path: Path, data: bytes) -> None:
    """Write to a temporary name in the same folder, flush it to the disk, rename, and flush the folder."""
    temporary = path.with_name(f".{path.name[:100]}.{secrets.token_hex(4)}.tmp")
    try:
        path.parent.mkdir(exist_ok=True)
        try:
            _write(temporary, data)
            temporary.replace(path)
        except BaseException:  # a signal, too, leaves nothing behind
            temporary.unlink(missing_ok=True)
            raise
        sync_folder(path.parent)
    except OSError as error:
        remedy = "free space or choose another --output"
        raise EnvironmentFault(path, f"cannot be written ({error.strerror})", remedy) from error


def sync_folder(folder: Path) -> None:
    """Flush a folder's entries to the disk, where folders can be opened."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def sweep(folder: Path) -> None:
    """Take away the temporary files that a killed writer left in a folder nobody writes to."""
    for path in folder.iterdir():
        if TEMPORARY.fullmatch(path.name) and path.is_file():
            path.unlink(missing_ok=True)


def _write(path: Path, data: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
    try:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(descriptor, rest) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
