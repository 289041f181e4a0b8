"""Rights that a child gives up: each part of the sandbox holds by itself."""

from __future__ import annotations

import os
import shutil
import socket
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from support.processes import NOBODY, PATHS, alone, landlock
from support.sandbox_children import signs
from tfs_rt.errors import (
    LimitReached,  # noqa: F401 - likewise
)
from tfs_rt.sandbox.limits import ruleset
from tfs_rt.sandbox.parent import Sandbox
from tfs_rt.sandbox.parts import LANDLOCK, MEMORY, NETWORK, SECCOMP

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the sandbox's parts are Linux's")


# --- the whole


# --- each part by itself


TRY_FILES = """
limits.drop_capabilities()  # root's reach further than Landlock's
if not limits.restrict_files(): print("lacks"); sys.exit()
folder = sys.argv[1]
def shown(name, act):
    try: act()
    except PermissionError: return
    print(name)
shown("write", lambda: open(folder + "/kept", "w"))
shown("truncate", lambda: os.truncate(folder + "/kept", 0))
shown("truncate by opening", lambda: os.open(folder + "/kept", os.O_RDONLY | os.O_TRUNC))
shown("make", lambda: os.mkdir(folder + "/new"))
shown("make a file", lambda: os.mknod(folder + "/new2"))
shown("make a link", lambda: os.symlink("/", folder + "/new3"))
shown("remove", lambda: os.unlink(folder + "/kept"))
shown("rename", lambda: os.rename(folder + "/kept", folder + "/other"))
shown("execute", lambda: os.execv("/bin/true", ["true"]))
shown("read the parent", lambda: open(f"/proc/{os.getppid()}/environ", "rb").read(1))
print(open(folder + "/kept").read(), end="")
"""


def test_landlock_alone_leaves_files_to_be_read_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "kept").write_text("kept")
    printed = alone(TRY_FILES, str(tmp_path))
    assert printed == ("kept" if landlock() >= 3 else "truncate\ntruncate by opening\n")
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]


def test_a_network_of_its_own_reaches_no_port_of_this_machine() -> None:
    code = (
        "before = os.readlink('/proc/self/ns/net')\n"
        "if not limits.leave_network(): print('lacks'); sys.exit()\n"
        "print(before != os.readlink('/proc/self/ns/net'))\n"
        "client = socket.socket(); client.settimeout(2)\n"
        "print(client.connect_ex(('127.0.0.1', int(sys.argv[1]))) != 0)\n"
        "abstract = socket.socket(socket.AF_UNIX)\n"
        "print(abstract.connect_ex('\\0' + sys.argv[2]) != 0)\n"
    )
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket(socket.AF_UNIX) as abstract:
        abstract.bind(f"\0tfs-rt-test-{os.getpid()}")
        abstract.listen()
        port = server.getsockname()[1]
        name = f"tfs-rt-test-{os.getpid()}"
        assert alone(code, str(port), name) == "True\nTrue\nTrue\n"


READ_PRIVATE_FILE = """
held = bool(limits.leave_network())
limits.drop_capabilities()
print(held, open(sys.argv[1]).read())
"""


def test_root_without_the_right_to_administer_still_reads_files_of_other_users(tmp_path: Path) -> None:
    """A container's root: a user namespace would be permitted, and would take its right to read any file."""
    setpriv = shutil.which("setpriv")
    if os.getuid() != 0 or setpriv is None:
        pytest.skip("only root, with setpriv, can give up one capability")
    private = tmp_path / "private"
    private.write_text("content")
    private.chmod(0o600)
    os.chown(private, NOBODY, NOBODY)
    code = "import sys; from tfs_rt.sandbox import limits\n" + READ_PRIVATE_FILE
    command = [setpriv, "--bounding-set=-sys_admin", "--inh-caps=-all", sys.executable, "-P", "-c", code, str(private)]
    environment = {**os.environ, "PYTHONPATH": PATHS}
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)
    if ended.returncode and "setpriv" in ended.stderr:
        pytest.skip("this root may not give up a capability")
    assert ended.stdout == "False content\n", ended.stderr


def test_a_run_is_given_all_parts_that_this_system_has() -> None:
    with Sandbox(signs, memory=2**30) as call:
        network, seccomp, capabilities, space = call("signs")
        held = call.parts().held
    has = alone("print(limits.restrict_files(), limits.leave_network(), seccomp.restrict_calls())").split()
    assert [part in held for part in (LANDLOCK, NETWORK, SECCOMP)] == [word == "True" for word in has]
    assert (LANDLOCK in held) is (landlock() >= 1)  # as the kernel says, whatever our own code makes of it
    assert (network != str(Path("/proc/self/ns/net").readlink())) is (NETWORK in held)
    assert seccomp == (2 if SECCOMP in held else 0)
    assert capabilities & ~(1 << 2) == 0  # CAP_DAC_READ_SEARCH
    assert MEMORY in held
    assert space < 2**33


@pytest.mark.parametrize(("version", "size"), [(1, 8), (2, 8), (3, 8), (4, 16), (5, 16), (6, 24), (7, 24), (9, 24)])
def test_landlock_is_asked_for_all_rights_but_reading(version: int, size: int) -> None:
    """By the names of linux/landlock.h, in their order, and the ABI that brought each."""
    since = dict.fromkeys(FILE_RIGHTS, 1) | {"refer": 2, "truncate": 3, "ioctl_dev": 5}
    rights = [name for name in FILE_RIGHTS if since[name] <= version and name not in ("read_file", "read_dir")]
    asked = ruleset(version)
    assert len(asked) == size
    files, *more = struct.unpack(f"={size // 8}Q", asked)
    assert files == sum(1 << FILE_RIGHTS.index(name) for name in rights)
    assert more == [3, 3][: len(more)]


FILE_RIGHTS = (
    *("execute", "write_file", "read_file", "read_dir", "remove_dir", "remove_file"),
    *("make_char", "make_dir", "make_reg", "make_sock", "make_fifo", "make_block", "make_sym"),
    *("refer", "truncate", "ioctl_dev"),
)


# --- the filter, on any machine


# --- what a user sees of it


# --- limits on this process


# --- a system without all parts
