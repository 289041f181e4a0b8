"""Run code in a process of its own and list what it wrote and which connections it tried.

Two observers: Python's audit hook, which is there everywhere and sees Python's own calls, and strace, which also sees
those of native libraries and of child processes. A listing of the folders that a library may write to serves both.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import NamedTuple

CALLS = "network,open,openat,openat2,creat,mkdir,mkdirat,rename,renameat,renameat2,link,linkat,symlink,symlinkat"
CONNECTS = re.compile(r"^\d+ +(connect|sendto|sendmsg|sendmmsg)\(")
NAME_SERVICE = 'sun_path="/var/run/nscd/socket"'  # where the C library asks this machine for a user's name
MAKES = re.compile(r"^\d+ +(creat|mkdir|rename|link|symlink|open)\w*\((.*)")
WRITES = re.compile(r"O_WRONLY|O_RDWR|O_CREAT")
STRACE = ("strace", "-f", "--seccomp-bpf", "-qq")  # the filter: calls of no interest go at full speed
QUIET = ("PATH", "SYSTEMROOT", "LD_LIBRARY_PATH")  # of the environment, what a child keeps: no CI, no opt-out
PRELUDE = """
import json, os, sys

connections, written = [], []
MAKES = {"os.mkdir": 0, "os.rename": 1, "os.link": 1, "os.symlink": 1, "sqlite3.connect": 0}
CONNECTS = ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto", "socket.sendmsg",
            "urllib.Request", "http.client.connect", "smtplib.connect", "ftplib.connect")


def note(path):
    if isinstance(path, (str, bytes, os.PathLike)):
        written.append(os.path.abspath(os.fsdecode(path)))


def watch(event, arguments):
    if event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
        note(arguments[0])
    elif event in MAKES:
        note(arguments[MAKES[event]])
    elif event in CONNECTS:
        connections.append(event + " " + repr(arguments[1:] if event == "socket.connect" else arguments))


sys.addaudithook(watch)


def tfs(line):
    from tfs_rt.cli import main
    sys.argv = ["tfs-rt", *line.split()]
    try:
        main()
    except SystemExit as end:
        assert not end.code, (line, end.code)


"""
POSTLUDE = """
with open(os.environ["TFS_RT_TRACE"], "w") as file:
    json.dump({"connections": connections, "written": written}, file)
"""


class Trace(NamedTuple):
    """Connections tried and files written by a process beside its work."""

    observers: str
    connections: list[str]
    written: list[str]  # paths outside the process's working folder; those in its home and temporary folders relative


@cache
def has_strace() -> bool:
    """True if strace is installed and this system lets a process be traced."""
    command = [*STRACE, "-o", os.devnull, "true"]
    return bool(shutil.which("strace")) and subprocess.run(command, check=False, capture_output=True).returncode == 0


def trace(code: str, folder: Path) -> Trace:
    """Run code with `tfs(command line)` at hand, in `folder/work`, with a new home and temporary folder."""
    for name in ("home", "temporary", "work"):
        (folder / name).mkdir(parents=True)
    env = {name: os.environ[name] for name in QUIET if name in os.environ}
    env |= {"HOME": str(folder / "home"), "USERPROFILE": str(folder / "home"), "TMPDIR": str(folder / "temporary")}
    env |= {"PYTHONPATH": os.pathsep.join(sys.path), "PYTHONDONTWRITEBYTECODE": "1"}
    env |= {"TFS_RT_TRACE": str(folder / "audit.json")}
    command = [sys.executable, "-c", PRELUDE + code + POSTLUDE]
    if has_strace():
        command = [*STRACE, "-s", "200", "-e", f"trace={CALLS}", "-o", str(folder / "strace"), *command]
    done = subprocess.run(command, cwd=folder / "work", env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    audit = json.loads((folder / "audit.json").read_text())
    connections, written = audit["connections"], audit["written"]
    if has_strace():
        seen, made = _seen((folder / "strace").read_text(errors="replace"), folder / "work")
        connections, written = connections + seen, written + made
    return Trace("audit hook, strace" if has_strace() else "audit hook", connections, _outside(written, folder))


def _seen(text: str, work: Path) -> tuple[list[str], list[str]]:
    """Connections and paths in a record of strace. A call that failed wrote nothing; one that is cut in two counts."""
    connections = [line for line in text.splitlines() if CONNECTS.match(line) and NAME_SERVICE not in line]
    written: list[str] = []
    for line in text.splitlines():
        found = MAKES.match(line)
        if not found or " = -1 " in line or (found[1] == "open" and not WRITES.search(found[2])):
            continue
        *_, path = re.findall(r'"((?:[^"\\]|\\.)*)"', found[2]) or [""]
        written.append(os.path.normpath(work / path))
    return connections, written


def _outside(written: list[str], folder: Path) -> list[str]:
    """Paths that are not the work's own, each once, and whatever is left in the home and the temporary folder."""
    own = tuple(str(folder / name) for name in ("work", "audit.json", "temporary"))
    paths = {path for path in written if not path.startswith((*own, os.devnull, "/proc/"))}
    paths |= {str(path) for name in ("home", "temporary") for path in (folder / name).rglob("*")}
    return sorted(os.path.relpath(path, folder) if path.startswith(str(folder)) else path for path in paths)
