"""Files that appear whole or not at all."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from tfs_rt.errors import EnvironmentFault


def write_file(path: Path, data: bytes) -> None:
    """Write to a temporary name in the same folder, flush it to the disk, and rename."""
    try:
        path.parent.mkdir(exist_ok=True)
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name[:100]}.", suffix=".tmp", dir=path.parent)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(descriptor)
                os.fchmod(descriptor, 0o666 & ~_umask())
            Path(name).replace(path)
        except BaseException:  # a signal, too, leaves nothing behind
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as error:
        remedy = "free space or choose another --output"
        raise EnvironmentFault(path, f"cannot be written ({error.strerror})", remedy) from error


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
