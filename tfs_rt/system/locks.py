"""Locks between processes, by a file.

The kernel holds the lock where the file system has `flock`, and frees it when its process ends. Some network and FUSE
file systems lack it. There a marker file beside the lock holds it. A killed process leaves its marker behind, and only
its own machine can tell that the marker is stale.
"""

from __future__ import annotations

import errno
import os
import tempfile
from pathlib import Path
from typing import Any

from filelock import BaseFileLock, FileLock, SoftFileLock, Timeout

MARKER = ".marker"
MISSING = {errno.ENOSYS, errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP}  # errors of `flock` where there is none
NO_FLOCK = (
    "this file system has no locks (flock): a marker file keeps other runs out of the folder, "
    "and a run that was killed on another machine leaves its marker there"
)


def marker_of(lock: Path) -> Path:
    """The file that holds a lock where the file system cannot."""
    return lock.with_name(lock.name + MARKER)


def has_flock(folder: Path) -> bool:
    """Test a folder's file system for `flock`; OSError if nothing can be written there."""
    if os.name != "posix":
        return True
    import fcntl

    with tempfile.TemporaryFile(dir=folder) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in MISSING:
                return False
            raise
    return True


def acquire(lock: Path, timeout: float, mode: int | None = None) -> BaseFileLock:
    """Take a lock; its `release` gives it back. Timeout if another process holds it, OSError if it cannot be taken."""
    options: dict[str, Any] = {} if mode is None else {"mode": mode}
    marker = marker_of(lock)
    # A machine whose mount of this file system has no flock may hold the marker.
    if os.path.lexists(marker):
        SoftFileLock(marker, **options).acquire(timeout=timeout).lock.release()
    held: BaseFileLock = FileLock(lock, fallback_to_soft=False, **options)
    try:
        held.acquire(timeout=timeout)
    except OSError as error:
        if error.errno not in MISSING:
            raise
        held = SoftFileLock(marker, **options)
        held.acquire(timeout=timeout)
    return held


def is_held(lock: Path, patience: float) -> bool:
    """True if another process holds a lock; OSError if the system cannot tell."""
    try:
        if os.path.lexists(marker := marker_of(lock)):
            SoftFileLock(marker).acquire(timeout=patience).lock.release()
        if lock.is_file():
            FileLock(lock, fallback_to_soft=False).acquire(timeout=patience).lock.release()
    except Timeout:
        return True
    except OSError as error:
        if error.errno not in MISSING:
            raise
    return False
