"""The per-user cache: engines, compiled kernels and what a driver compiled of them. All of it can be made again.

An entry is a file and, written after it, a sealed sidecar with everything that decided its content (`facts`: the key is
their hash) and the content's SHA-256. A file without its sidecar, or other than its sidecar says, is no entry. What
lies here is run on the GPU, so the folder is private: nobody else may write to it.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from filelock import Timeout

from tfs_rt.errors import EnvironmentFault, first_line
from tfs_rt.facts import Facts, as_json, digest
from tfs_rt.system.files import TEMPORARY, file_sha256, read_regular, write_file
from tfs_rt.system.locks import MARKER, acquire, is_held
from tfs_rt.system.os_errors import remedy_for, write_fault

Kind = Literal["engine", "kernels", "jit"]

SCHEMA = 1  # of facts: raised when an old entry must not be found any more
LARGEST = 2**33  # bytes
OURS = re.compile(rf"([0-9a-f]{{40}})\.({'|'.join(get_args(Kind))}|json|lock)")
PATIENCE = 3600.0  # seconds: longer than it takes to build an engine
REMEDY = "set TFS_RT_CACHE to a folder of your own, with space left"


@dataclass(frozen=True, slots=True)
class Entry:
    """A cached file, as its sidecar tells it."""

    path: Path
    kind: Kind
    facts: Facts  # what decided the content
    notes: Facts  # what is good to know: seconds, layers, ...
    sha256: str
    size: int

    @property
    def key(self) -> str:
        """Its name: the hash of kind and facts."""
        return self.path.stem

    def read(self) -> bytes:
        """The content, held to its SHA-256; EnvironmentFault if it is damaged or gone."""
        remedy = "remove it (tfs-rt cache rm) and build it again (tfs-rt build)"
        try:
            if not _is_private(self.path):
                raise EnvironmentFault(self.path, "is not yours alone, and would be run", remedy)
            data = read_regular(self.path, LARGEST)
        except OSError as error:
            raise EnvironmentFault(self.path, f"cannot be read ({error.strerror})", remedy) from error
        if hashlib.sha256(data).hexdigest() != self.sha256:
            raise EnvironmentFault(self.path, "does not match its SHA-256", remedy)
        return data

    def is_intact(self) -> bool:
        """Whether the content is what was written."""
        try:
            return _is_private(self.path) and file_sha256(self.path) == self.sha256
        except OSError:
            return False

    def remove(self) -> None:
        """Take it away, the sidecar first."""
        _take_away(self.path.with_suffix(".json"))
        _take_away(self.path)


@dataclass(frozen=True, slots=True)
class Cache:
    """A cache folder that is there and private; `open_cache` makes one."""

    folder: Path

    def entries(self, kind: Kind | None = None) -> Iterator[Entry]:
        """What is there, whole or not, but for what has no true sidecar."""
        for sidecar in sorted(self.folder.glob("*.json")):
            entry = _entry(sidecar)
            if entry and kind in (None, entry.kind):
                yield entry

    def get(self, kind: Kind, facts: Facts) -> Entry | None:
        """The entry of these facts, if there is a whole one."""
        entry = _entry(self._path(kind, facts).with_suffix(".json"))
        return entry if entry and entry.is_intact() else None

    def put(self, kind: Kind, facts: Facts, data: bytes, notes: Facts) -> Entry:
        """Write an entry in place of what is there, one process at a time."""
        with self._locked(kind, facts):
            return self._write(kind, facts, data, notes)

    def get_or_make(self, kind: Kind, facts: Facts, make: Callable[[], tuple[bytes, Facts]]) -> Entry:
        """The entry of these facts, made if there is none; of several processes at once one makes it."""
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
        sidecar = as_json(content | {"digest": digest(content)})
        try:
            entry.remove()  # the old sidecar may not stand beside the new file
            for path, written in ((entry.path, data), (entry.path.with_suffix(".json"), sidecar)):
                write_file(path, written, mode=0o600)
        except EnvironmentFault as error:
            raise EnvironmentFault(error.subject, error.reason, REMEDY) from error
        return entry

    def _locked(self, kind: Kind, facts: Facts) -> AbstractContextManager[None]:
        return _locked(self._path(kind, facts).with_suffix(".lock"))

    def _path(self, kind: Kind, facts: Facts) -> Path:
        return self.folder / f"{_key(kind, facts)}.{kind}"


def open_cache(folder: Path | None = None) -> Cache:
    """The user's cache, made if it is not there; EnvironmentFault if it cannot be written, or by others too."""
    try:
        folder = folder or default_folder()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = folder.stat()
        if os.name == "posix" and (found.st_uid != os.getuid() or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)):
            raise EnvironmentFault(folder, "others can write to this cache, and what lies there is run", REMEDY)
        if not os.access(folder, os.W_OK | os.X_OK):
            raise EnvironmentFault(folder, "cannot be written", REMEDY)
    except (OSError, RuntimeError) as error:  # the latter for a user who has no home
        raise EnvironmentFault(folder or "cache", f"there can be none ({first_line(error)})", REMEDY) from error
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
    """Take away what is no entry: halves that a killed build left, and locks. What is being built is left alone."""
    locks = {path.with_name(path.name.removesuffix(MARKER)) for path in cache.folder.glob("*.lock*")}
    busy = {lock.stem for lock in locks if OURS.fullmatch(lock.name) and _is_held(lock)}
    whole = {entry.key for entry in cache.entries()}
    for path in cache.folder.iterdir():
        name = path.name[1:-13] if TEMPORARY.fullmatch(path.name) else path.name
        ours = OURS.fullmatch(name)  # whatever else lies there is somebody's
        if ours and ours[1] not in busy and (name != path.name or ours[1] not in whole):
            _take_away(path)


@contextmanager
def _locked(lock: Path) -> Iterator[None]:
    try:
        held = acquire(lock, PATIENCE, mode=0o600)
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


def _take_away(path: Path) -> None:
    """Remove a file, or whatever stands in its place."""
    try:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    except OSError as error:
        raise EnvironmentFault(path, f"cannot be removed ({error.strerror})", remedy_for(error, REMEDY)) from error


def _is_private(path: Path) -> bool:
    """Whether a file is the user's own, no link, and nobody else may write to it; OSError if there is none."""
    found = path.lstat()
    shared = os.name == "posix" and (found.st_uid != os.getuid() or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH))
    return stat.S_ISREG(found.st_mode) and not shared


def _key(kind: Kind, facts: Facts) -> str:
    return digest({"schema": SCHEMA, "kind": kind, "facts": facts})[:40]


def _entry(sidecar: Path) -> Entry | None:
    try:
        content: Any = json.loads(read_regular(sidecar, 2**20))
        seal = content.pop("digest")
        if seal != digest(content):
            return None
        kind, facts = content["kind"], content["facts"]
        if _key(kind, facts) != sidecar.stem:  # renamed, or of another schema
            return None
        entry = Entry(
            sidecar.with_suffix(f".{kind}"), kind, facts, content["notes"], content["sha256"], content["size"]
        )
        types = [(kind, str), (facts, dict), (entry.notes, dict), (entry.sha256, str), (entry.size, int)]
        return entry if kind in get_args(Kind) and all(isinstance(value, of) for value, of in types) else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
