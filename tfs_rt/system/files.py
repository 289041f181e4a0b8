"""Atomic, durable writes; reads that never block on a pipe or a device."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import secrets
import stat
import unicodedata
from collections.abc import Iterable, Mapping
from io import BufferedReader
from pathlib import Path

from tfs_rt.errors import EnvironmentFault
from tfs_rt.system.os_errors import write_fault

TEMPORARY = re.compile(r"\.(.+)\.[0-9a-f]{8}\.tmp")  # its group: the start of the name of the file to be
NAME_START = 100  # characters of a file's name in that of its temporary
UNSYNCED = {errno.EINVAL, errno.ENOTSUP, errno.EBADF}  # errors of file systems that cannot flush a folder
BINARY = getattr(os, "O_BINARY", 0)  # on Windows
AT_ONCE = getattr(os, "O_NONBLOCK", 0)  # on all other systems
# In bytes. Only files that the kernel makes up (/proc/kcore) claim to be larger.
LARGEST = 2**40


def file_sha256(path: Path) -> str:
    """A regular file's SHA-256, in hexadecimal digits; OSError for anything else."""
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def path_sha256(path: Path) -> str:
    """SHA-256 of a regular file, or of a folder's visible files by their names; OSError for anything else."""
    if not path.is_dir():
        return file_sha256(path)
    return names_sha256({name: file_sha256(path / name) for name in visible_files(path)})


def names_sha256(hashes: Mapping[str, str]) -> str:
    """SHA-256 of a folder: of the lines `<sha256>  <name>` of its files, sorted by name, as sha256sum prints them."""
    lines = [f"{hashes[name]}  {name}\n" for name in sorted(hashes)]
    return hashlib.sha256("".join(lines).encode(errors="surrogateescape")).hexdigest()


def visible_files(folder: Path) -> list[str]:
    """Sorted names of all in a folder that is neither hidden nor a folder; OSError if it cannot be listed.

    A link to nothing and a pipe are among them: reading them fails, so that no file is passed over in silence.
    """
    with os.scandir(folder) as entries:
        return sorted(entry.name for entry in entries if not entry.name.startswith(".") and not entry.is_dir())


def read_regular(path: Path, limit: int) -> bytes:
    """The bytes of a regular file of at most `limit` bytes; OSError for anything else."""
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > limit:
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), str(path))
        return file.read(size)


def open_regular(path: Path) -> BufferedReader:
    """Open a regular file for reading; OSError, at once, for a pipe, a device, a folder or a missing file.

    A device is not even opened, because that alone can have effects. A file of size 0 is opened as an empty one: the
    kernel makes up such files (/proc/kmsg), and reading them can block for ever.
    """
    # Check before opening, and again afterwards: the file may have been exchanged.
    try:
        _check_regular(path, path.stat())
        file = os.fdopen(_open_at_once(path), "rb")
    except ValueError as error:
        raise OSError(errno.EINVAL, str(error), str(path)) from error
    try:
        status = os.fstat(file.fileno())
        _check_regular(path, status)
    except OSError:
        file.close()
        raise
    if status.st_size:
        return file
    file.close()
    return open(os.devnull, "rb")  # noqa: PTH123


def _check_regular(path: Path, status: os.stat_result) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise OSError(errno.EISDIR, "it is a folder", str(path))
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "it is a pipe, a device or a socket", str(path))
    if status.st_size > LARGEST:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), str(path))


def _open_at_once(path: Path) -> int:
    try:
        return os.open(path, os.O_RDONLY | BINARY | AT_ONCE)
    except BlockingIOError:
        # A file server has a lease on it, which the system takes back in time.
        return os.open(path, os.O_RDONLY | BINARY)


def write_file(path: Path, data: bytes | Iterable[bytes], *, mode: int = 0o666, within: Path | None = None) -> None:
    """Write a file that appears whole or not at all, even if the power fails. Raises EnvironmentFault.

    Data may come in pieces, so that they need not be in memory at once. With `within`, a folder above the file, the
    folders between are made, and links among them are refused.
    """
    # Write to a temporary name, flush it to the disk, rename it, and flush the folder.
    temporary = _temporary(path, within or path.parent)
    try:
        if within:
            _make_folders(path.parent, within)
        else:
            path.parent.mkdir(exist_ok=True)
        try:
            _write(temporary, data, mode)
            temporary.replace(path)
        except BaseException:  # a signal, too, leaves nothing behind
            temporary.unlink(missing_ok=True)
            raise
        sync_folder(path.parent)
    except OSError as error:
        raise write_fault(path, error) from error


def write_folder(path: Path, files: Mapping[str, bytes], *, within: Path) -> None:
    """Write a folder of files that appears whole or not at all. Raises EnvironmentFault.

    An earlier folder of its name is deleted with its files. `within` is a folder above it, as in `write_file`.
    """
    # Write to a temporary folder and flush it; then take the earlier one away, and rename.
    temporary = _temporary(path, within)
    try:
        _make_folders(path.parent, within)
        try:
            temporary.mkdir()
            for name, data in files.items():
                _write(temporary / name, data, 0o666)
            sync_folder(temporary)
            delete_folder(path, within=within)
            temporary.replace(path)
        except BaseException:  # a signal, too, leaves nothing behind
            _delete_files_and_folder(temporary)
            raise
        sync_folder(path.parent)
    except OSError as error:
        raise write_fault(path, error) from error


def delete_folder(path: Path, *, within: Path) -> None:
    """Delete a folder of files, if it is there: it disappears whole before its files go. A link is not followed."""
    if path.is_symlink() or not path.is_dir():
        return
    temporary = _temporary(path, within)
    path.replace(temporary)
    sync_folder(path.parent)
    _delete_files_and_folder(temporary)


def _temporary(path: Path, folder: Path) -> Path:
    """A new name in a folder, for a file or folder that will be called `path`, or was."""
    return folder / f".{path.name[:NAME_START]}.{secrets.token_hex(4)}.tmp"


def _delete_files_and_folder(folder: Path) -> None:
    """Delete a folder and the files in it, if it is there; OSError if it holds folders."""
    if folder.is_dir():
        for file in folder.iterdir():
            file.unlink()
        folder.rmdir()


def real_path(path: Path) -> Path:
    """A path with its links followed; a link to itself stays as it is, so that opening it fails with the reason."""
    return Path(os.path.realpath(path))


def first_link(folder: Path, within: Path) -> Path | None:
    """The first link among the folders below `within` down to `folder`, which counts too; None without one."""
    return next((place for place in _folders_down_to(folder, within) if place.is_symlink()), None)


def _folders_down_to(folder: Path, within: Path) -> list[Path]:
    """The folders below `within` down to `folder`."""
    parts = folder.relative_to(within).parts
    return [within.joinpath(*parts[: i + 1]) for i in range(len(parts))]


def _make_folders(folder: Path, within: Path) -> None:
    """Make the folders below `within` down to `folder`, each flushed to the disk before anything is written into it."""
    if link := first_link(folder, within):
        raise EnvironmentFault(link, "is a link", "remove it, or choose another --output")
    for place in _folders_down_to(folder, within):
        if not place.is_dir():
            place.mkdir(exist_ok=True)  # another shard may have made it meanwhile
            sync_folder(place.parent)


def sync_folder(folder: Path) -> None:
    """Flush a folder's entries to the disk, where folders can be flushed."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in UNSYNCED:
            raise
    finally:
        os.close(descriptor)


def remove_temporaries(folder: Path) -> None:
    """Remove the temporary files, and folders of files, of killed writers from a folder that nobody writes to."""
    for path in list(folder.iterdir()) if folder.is_dir() else ():
        if not TEMPORARY.fullmatch(path.name):
            continue
        if path.is_file():
            path.unlink(missing_ok=True)
        elif path.is_dir() and not path.is_symlink() and all(map(Path.is_file, path.iterdir())):
            _delete_files_and_folder(path)


def temporaries_of(folder: Path, names: set[str], prefixes: tuple[str, ...] = ()) -> set[Path]:
    """The temporary files that killed writers left in a folder for files of these names, or that begin so."""
    starts = {name[:NAME_START] for name in names}
    found = set()
    for path in folder.iterdir() if folder.is_dir() else ():
        match = TEMPORARY.fullmatch(path.name)
        if match and (match[1] in starts or match[1].startswith(prefixes)) and path.is_file():
            found.add(path)
    return found


def write_all(descriptor: int, data: bytes) -> None:
    """Write all of the data, in as many pieces as the system takes."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def _write(path: Path, data: bytes | Iterable[bytes], mode: int) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | BINARY, mode)
    try:
        for piece in (data,) if isinstance(data, bytes) else data:
            write_all(descriptor, piece)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def fold_name(name: str) -> str:
    """A name in one letter case and one Unicode form: names that are equal then are taken for one."""
    return unicodedata.normalize("NFC", name).casefold()
