"""Faults for errors of the operating system: one table of remedies for everything that is written."""

from __future__ import annotations

import errno
from pathlib import Path

from tfs_rt.errors import EnvironmentFault
from tfs_rt.system.resource_limits import limit_fault

ELSEWHERE = "write to another folder"
IN_THE_WAY = "remove what is in the way"
PERMISSIONS = "check the permissions of the folder"
SHARE = "check the network share and mount it again"
NAMES = {
    "ENOSPC": "free space",
    "EDQUOT": "free space within your quota",
    "EFBIG": "raise the limit on the size of files (ulimit -f)",
    "EIO": "the disk or its connection is failing: check it (dmesg)",
    "ENODEV": "the disk is gone: check its connection",
    "ENXIO": "the disk is gone: check its connection",
    "EROFS": "the file system is mounted read-only: mount it writable",
    "EACCES": PERMISSIONS,
    "EPERM": PERMISSIONS,
    "ENAMETOOLONG": "choose shorter names for cases and folders",
    "EILSEQ": "the file system cannot store this name: choose letters and digits",
    "ENOENT": "the folder was moved or removed: run the command again",
    "ENOTDIR": IN_THE_WAY,
    "EISDIR": IN_THE_WAY,
    "EEXIST": IN_THE_WAY,
    "ENOTEMPTY": IN_THE_WAY,
    "ELOOP": "remove the link",
    "EBUSY": "close the program that uses it",
    "ETXTBSY": "close the program that uses it",
    "EMLINK": "the folder is full: use several folders",
    "ESTALE": SHARE,
    "ETIMEDOUT": SHARE,
    "EHOSTDOWN": SHARE,
    "ENOTCONN": SHARE,
}
REMEDIES = {getattr(errno, name): remedy for name, remedy in NAMES.items() if hasattr(errno, name)}


def reason_of(error: Exception) -> str:
    """The system's message for an error."""
    return getattr(error, "strerror", None) or str(error)


def remedy_for(error: OSError, elsewhere: str = ELSEWHERE) -> str:
    """The remedy for an error of writing; `elsewhere` is the alternative of another place."""
    if limit := limit_fault(error):
        return limit.remedy
    return f"{REMEDIES.get(error.errno or 0, 'check the disk')}, or {elsewhere}"


def write_fault(path: str | Path, error: OSError, elsewhere: str = ELSEWHERE) -> EnvironmentFault:
    """The fault of a file or folder that cannot be written."""
    return EnvironmentFault(path, f"cannot be written ({reason_of(error)})", remedy_for(error, elsewhere))
