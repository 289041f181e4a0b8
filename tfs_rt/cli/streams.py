"""Standard streams whose loss does not end a command.

If stdout or stderr cannot be written (the reader is gone, the disk is full, the descriptor is closed), the text is
dropped and the command goes on. A loss on stderr has no further effect. A loss on stdout is reported at the end.
"""

from __future__ import annotations

import errno
import io
import os
import select
import sys
from contextlib import suppress
from typing import Any, TextIO

from tfs_rt.errors import EnvironmentFault
from tfs_rt.system.os_errors import reason_of, remedy_for

CLOSED = (errno.EPIPE, errno.EBADF, errno.EIO)  # errors of a closed pipe, descriptor and terminal


class TolerantFile(io.FileIO):
    """A standard stream's descriptor: writing to it never fails."""

    error: OSError | None = None  # of the first loss

    def write(self, data: Any, /) -> int:
        """Write the data, or drop it. Returns the number of bytes written or dropped."""
        try:
            written = super().write(data)
            # Wait if another program has made the terminal non-blocking.
            while written is None:
                select.select([], [self], [])
                written = super().write(data)
        except OSError as error:
            self.error = self.error or error
            return memoryview(data).nbytes
        return written


def install() -> None:
    """Make this process's own stdout and stderr tolerant. A stream that a caller has put in their place stays."""
    if os.name == "posix":
        _occupy_closed()
    if sys.stdout is sys.__stdout__:
        sys.stdout = _tolerant(1, sys.stdout)
    if sys.stderr is sys.__stderr__:
        sys.stderr = _tolerant(2, sys.stderr)


def stdout_fault(*, to_the_end: bool) -> EnvironmentFault | None:
    """The fault of text lost on stdout; None if nothing was lost.

    A reader that closes the pipe early (`| head`) loses nothing, unless the text must be read `to_the_end`.
    """
    file = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    error = file.error if isinstance(file, TolerantFile) else None
    if error is None or (error.errno == errno.EPIPE and not to_the_end):
        return None
    remedy = "redirect stdout to a file" if error.errno in CLOSED else remedy_for(error, "redirect stdout elsewhere")
    return EnvironmentFault("stdout", f"the output is incomplete ({reason_of(error)})", remedy)


def _occupy_closed() -> None:
    """Open the null device in place of closed standard streams. Else the next file would get their descriptor.

    It is open for reading only, so that a write fails as on a closed stream.
    """
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            # This gets the lowest free descriptor: the closed one.
            os.open(os.devnull, os.O_RDONLY)


def _tolerant(descriptor: int, stream: TextIO | None) -> TextIO | None:
    """A stream as Python makes it, on a tolerant file; a Windows console stays as it is."""
    binary = getattr(stream, "buffer", None)
    # With Python's -u a text stream has no buffer.
    raw = getattr(binary, "raw", binary)
    if stream is None and os.name != "posix":
        return None
    if stream is not None and type(raw) is not io.FileIO:
        return stream
    encoding = stream.encoding if stream else "utf-8"
    if stream:
        with suppress(OSError):
            stream.flush()
    file = TolerantFile(descriptor, "wb", closefd=False)
    return io.TextIOWrapper(io.BufferedWriter(file), encoding, "backslashreplace", line_buffering=True)
