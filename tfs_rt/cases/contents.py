"""The bytes of an input, and their SHA-256: of a file, or of a folder that holds a DICOM series."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

from tfs_rt.errors import InputError
from tfs_rt.formats.picture import Content
from tfs_rt.system.files import names_sha256, read_regular, visible_files
from tfs_rt.system.os_errors import reason_of
from tfs_rt.system.resource_limits import limit_fault

MAX_BYTES = 2**30  # of a file, and of all files of a folder
MAX_FILES = 10_000  # of a folder
NESTED = "give the folder that holds the slices themselves: its sub-folders are not read"
WINDOWS_PATH = re.compile(r"(?<=/)[A-Za-z]:[\\/].*")  # below the folder of the list that names it
SMALLER = "give a folder that holds the files of one series alone"


def read_content(path: Path) -> tuple[Content, str]:
    """The bytes of a file, or of each file of a folder by name, and their SHA-256; InputError if one cannot be read."""
    return _read_folder(path) if os.path.isdir(path) else read_bytes(path)  # noqa: PTH112 - is_dir raises


def read_bytes(path: Path) -> tuple[bytes, str]:
    """A file's bytes and their SHA-256; InputError, without waiting for a pipe or device, if it cannot be read."""
    try:
        data = read_regular(path, MAX_BYTES)
    except IsADirectoryError as error:
        raise InputError(path, "is a folder", "give one file") from error
    except OSError as error:
        raise _unreadable(path, error) from error
    return data, hashlib.sha256(data).hexdigest()


def _read_folder(folder: Path) -> tuple[dict[str, bytes], str]:
    """The bytes of the visible files of a folder, and the folder's SHA-256 as of `path_sha256`."""
    try:
        names = visible_files(folder)
    except OSError as error:
        raise _unreadable(folder, error) from error
    if not names:
        raise InputError(folder, "is a folder without files", NESTED)
    if len(names) > MAX_FILES:
        raise InputError(folder, f"holds {len(names)} files, more than {MAX_FILES}", SMALLER)
    files: dict[str, bytes] = {}
    hashes: dict[str, str] = {}
    total = 0
    for name in names:
        files[name], hashes[name] = read_bytes(folder / name)
        total += len(files[name])
        if total > MAX_BYTES:
            raise InputError(folder, "holds more than 1 GiB of files", SMALLER)
    return files, names_sha256(hashes)


def _unreadable(path: Path, error: OSError) -> Exception:
    """The error for a path that the system does not let us read."""
    reason = f"cannot be read ({reason_of(error)})"
    remedy = "check the path"
    if isinstance(error, FileNotFoundError):
        remedy = "check the path (in a CSV, paths start from the folder of the CSV)"
        if os.path.islink(path):  # noqa: PTH114 - is_symlink raises
            reason = f"is a link to a file that is not there ({reason_of(error)})"
            remedy = "fetch the file, as by datalad get, or correct the link"
        elif WINDOWS_PATH.search(str(path)):
            reason = "is a path of a Windows machine"
            remedy = "write the path that the file has on this machine"
    return limit_fault(error) or InputError(path, reason, remedy)
