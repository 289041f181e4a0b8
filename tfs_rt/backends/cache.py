"""The per-user cache of engines, compiled kernels and TensorRT-RTX's compiled code. All of it can be made again.

An entry is a file and, written after it, a sidecar with a digest of its own. The sidecar holds everything that decided
the content (`facts`) and the content's SHA-256; the cache key is a hash of the facts. A file without its sidecar is not
an entry. Entries are run on the GPU, so the folder is private: no other user may write to it.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import stat
import sys
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from filelock import Timeout

from tfs_rt.errors import EnvironmentFault, first_line
from tfs_rt.facts import Facts, digest, json_bytes
from tfs_rt.system.files import TEMPORARY, file_sha256, read_regular, write_file
from tfs_rt.system.locks import MARKER, acquire, is_held
from tfs_rt.system.os_errors import remedy_for, write_fault

Kind = Literal["engine", "kernels", "jit"]

# A part of the cache key. It is raised when old entries must not be found any more.
SCHEMA = 1
LARGEST = 2**33  # bytes
OURS = re.compile(rf"([0-9a-f]{{40}})\.({'|'.join(get_args(Kind))}|json|lock)")
LOCK_TIMEOUT = 3600.0  # seconds: longer than it takes to build an engine
REMEDY = "set TFS_RT_CACHE to a folder of your own, with space left"


@dataclass(frozen=True, slots=True)
class Entry:
    """A cached file, as its sidecar describes it."""

    path: Path
    kind: Kind
    facts: Facts  # what decided the content
    notes: Facts  # for information: seconds, layers, ...
    sha256: str
    size: int

    @property
    def key(self) -> str:
        """The cache key, which is the file's name: a hash of kind and facts."""
        return self.path.stem

    def read(self) -> bytes:
        """The content, checked by its SHA-256; EnvironmentFault if it is damaged or missing."""
        remedy = "remove it (tfs-rt cache rm) and build it again (tfs-rt build)"
        try:
            if not _is_private(self.path):
                raise EnvironmentFault(self.path, "can be written by others, and would be run", remedy)
            data = read_regular(self.path, LARGEST)
        except OSError as error:
            raise EnvironmentFault(self.path, f"cannot be read ({error.strerror})", remedy) from error
        if hashlib.sha256(data).hexdigest() != self.sha256:
            raise EnvironmentFault(self.path, "does not match its SHA-256", remedy)
        return data

    def is_intact(self) -> bool:
        """True if the file is private and matches its SHA-256."""
        try:
            return _is_private(self.path) and file_sha256(self.path) == self.sha256
        except OSError:
            return False

    def remove(self) -> None:
        """Delete it, the sidecar first."""
        _delete(self.path.with_suffix(".json"))
        _delete(self.path)


@dataclass(frozen=True, slots=True)
class Cache:
    """A cache folder that exists and is private; `open_cache` makes one."""

    folder: Path

    def entries(self, kind: Kind | None = None) -> Iterator[Entry]:
        """All entries, damaged ones too. A file without a valid sidecar is not an entry."""
        for sidecar in sorted(self.folder.glob("*.json")):
            entry = _read_entry(sidecar)
            if entry and kind in (None, entry.kind):
                yield entry

    def get(self, kind: Kind, facts: Facts) -> Entry | None:
        """The entry of these facts; None if there is none, or if it is damaged."""
        entry = _read_entry(self._path(kind, facts).with_suffix(".json"))
        return entry if entry and entry.is_intact() else None

    def put(self, kind: Kind, facts: Facts, data: bytes, notes: Facts) -> Entry:
        """Write an entry, in place of an older one; one process at a time."""
        with self._locked(kind, facts):
            return self._write(kind, facts, data, notes)

    def get_or_make(self, kind: Kind, facts: Facts, make: Callable[[], tuple[bytes, Facts]]) -> Entry:
        """The entry of these facts. If there is none, make it: of several processes, only one does."""
        if entry := self.get(kind, facts):
            return entry
        with self._locked(kind, facts):
            if entry := self.get(kind, facts):
                return entry
            return self._write(kind, facts, *make())

    def _write(self, kind: Kind, facts: Facts, data: bytes, notes: Facts) -> Entry:
        """The file, then its sidecar."""
        entry = Entry(self._path(kind, facts), kind, facts, notes, hashlib.sha256(data).hexdigest(), len(data))
        content = {"kind": kind, "facts": facts, "notes": notes, "sha256": entry.sha256, "size": entry.size}
        sidecar = json_bytes(content | {"digest": digest(content)})
        try:
            entry.remove()  # or the old sidecar would stand beside the new file
            for path, written in ((entry.path, data), (entry.path.with_suffix(".json"), sidecar)):
                write_file(path, written, mode=0o600)
        except EnvironmentFault as error:
            raise EnvironmentFault(error.subject, error.reason, REMEDY) from error
        return entry

    def _locked(self, kind: Kind, facts: Facts) -> AbstractContextManager[None]:
        return _locked(self._path(kind, facts).with_suffix(".lock"))

    def _path(self, kind: Kind, facts: Facts) -> Path:
        return self.folder / f"{cache_key(kind, facts)}.{kind}"


def open_cache(folder: Path | None = None) -> Cache:
    """The user's cache, made if necessary; EnvironmentFault if it cannot be written, or if others can write to it."""
    try:
        folder = folder or default_folder()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = folder.stat()
        if os.name == "posix" and (found.st_uid != os.getuid() or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)):
            raise EnvironmentFault(folder, "others can write to this cache, and its content is run", REMEDY)
        if not os.access(folder, os.W_OK | os.X_OK):
            raise EnvironmentFault(folder, "cannot be written", REMEDY)
    except (OSError, RuntimeError) as error:  # the latter for a user who has no home
        raise EnvironmentFault(folder or "cache", f"cannot be made ({first_line(error)})", REMEDY) from error
    return Cache(folder)


def default_folder() -> Path:
    """`$TFS_RT_CACHE`, or where the system keeps a user's caches."""
    if chosen := os.environ.get("TFS_RT_CACHE"):
        if not (folder := Path(chosen).expanduser()).is_absolute():
            raise EnvironmentFault("TFS_RT_CACHE", f"{chosen!r} depends on where you are", "give an absolute path")
        return folder
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local")) / "tfs-rt" / "cache"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tfs-rt"


def clean(cache: Cache) -> None:
    """Delete leftovers: files without a sidecar, from killed builds, and unused locks. Builds under way are kept."""
    # Entries under construction have a lock that is held.
    locks = {path.with_name(path.name.removesuffix(MARKER)) for path in cache.folder.glob("*.lock*")}
    busy = {lock.stem for lock in locks if OURS.fullmatch(lock.name) and _is_held(lock)}
    whole = {entry.key for entry in cache.entries()}
    for path in cache.folder.iterdir():
        name = path.name[1:-13] if TEMPORARY.fullmatch(path.name) else path.name
        ours = OURS.fullmatch(name)  # other names are files that we did not write
        if ours and ours[1] not in busy and (name != path.name or ours[1] not in whole):
            _delete(path)


@contextmanager
def _locked(lock: Path) -> Generator[None]:
    try:
        held = acquire(lock, LOCK_TIMEOUT, mode=0o600)
    except Timeout as error:
        remedy = f"wait for it, or, if it has ended, remove {error.lock_file}"
        raise EnvironmentFault(lock, "is held by another process", remedy) from error
    except OSError as error:
        raise write_fault(lock, error, REMEDY) from error
    try:
        yield
    finally:
        held.release()


def _is_held(lock: Path) -> bool:
    try:
        return is_held(lock, patience=0)
    except OSError:
        return False


def _delete(path: Path) -> None:
    """Delete a file, or a folder that stands in its place."""
    try:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    except OSError as error:
        raise EnvironmentFault(path, f"cannot be removed ({error.strerror})", remedy_for(error, REMEDY)) from error


def _is_private(path: Path) -> bool:
    """True for a regular file of the user's own that nobody else can write; OSError if it does not exist."""
    found = path.lstat()
    shared = os.name == "posix" and (found.st_uid != os.getuid() or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH))
    return stat.S_ISREG(found.st_mode) and not shared


def cache_key(kind: Kind, facts: Facts) -> str:
    """The name of the entry with these facts: 40 hexadecimal digits."""
    return digest({"schema": SCHEMA, "kind": kind, "facts": facts})[:40]


def _read_entry(sidecar: Path) -> Entry | None:
    """The entry that a sidecar describes; None if the sidecar is not valid."""
    try:
        # Read the sidecar, and compare it with its own digest.
        content: Any = json.loads(read_regular(sidecar, 2**20))
        own_digest = content.pop("digest")
        if own_digest != digest(content):
            return None
        # Compare its name with the key of its facts.
        kind = content["kind"]
        facts = content["facts"]
        if cache_key(kind, facts) != sidecar.stem:  # renamed, or of another schema
            return None
        # Build the entry, and check the types of its values.
        entry = Entry(
            sidecar.with_suffix(f".{kind}"), kind, facts, content["notes"], content["sha256"], content["size"]
        )
        types = [(kind, str), (facts, dict), (entry.notes, dict), (entry.sha256, str), (entry.size, int)]
        return entry if kind in get_args(Kind) and all(isinstance(value, of) for value, of in types) else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
