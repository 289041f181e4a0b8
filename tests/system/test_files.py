"""Files that cannot be written or read end in one line, at once, with the system's error and a remedy that fits it."""

from __future__ import annotations

import errno
import hashlib
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from support.crashes import watch_operations
from support.helpers import Cli, png, write_case
from tfs_rt.batch.journal import Journal
from tfs_rt.cases.contents import read_bytes
from tfs_rt.errors import EnvironmentFault
from tfs_rt.output.results import prepare_output
from tfs_rt.system.files import file_sha256, open_regular, path_sha256, read_regular, write_file
from tfs_rt.system.resource_limits import limit_fault

WORDS = {
    "ENOSPC": "No space left on device.: free space, or",
    "EDQUOT": "free space within your quota",
    "EIO": "Input/output error.: the disk or its connection is failing",
    "EROFS": "Read-only file system.: the file system is mounted read-only",
    "EACCES": "Permission denied.: check the permissions",
    "ENAMETOOLONG": "choose shorter names",
    "EFBIG": "ulimit -f",
    "ESTALE": "mount it again",
    "EMFILE": "ulimit -n",
    "ENOTRECOVERABLE": "check the disk, or",  # an error without words of its own
}


@pytest.fixture(autouse=True)
def _nothing_hangs() -> Iterator[None]:
    """End a test that waits."""

    def end(*_: object) -> None:
        pytest.fail("it was waited for")

    before = signal.signal(signal.SIGALRM, end)
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def refuse(code: int) -> Callable[..., Any]:
    def call(*_: Any, **__: Any) -> Any:
        raise OSError(code, os.strerror(code))

    return call


@pytest.mark.parametrize("name", list(WORDS))
def test_every_writer_says_the_disks_error_and_its_own_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    code = getattr(errno, name)
    journal = Journal(tmp_path)
    writers: dict[str, list[Callable[[], object]]] = {
        "fsync": [lambda: write_file(tmp_path / "a", b"a")],
        "write": [lambda: write_file(tmp_path / "a", b"a"), lambda: journal.write("end", ended="complete")],
        "mkdir": [lambda: prepare_output(tmp_path / "new")],
        "replace": [lambda: write_file(tmp_path / "a", b"a")],
    }
    for operation, calls in writers.items():
        for call in calls:
            with monkeypatch.context() as patch:
                patch.setattr(os, operation, refuse(code))
                with pytest.raises(EnvironmentFault, match=WORDS[name]) as fault:
                    call()
            assert os.strerror(code) in fault.value.reason
            assert ("free space" in fault.value.remedy) == (name in ("ENOSPC", "EDQUOT"))
    journal.close()
    assert [path.name for path in tmp_path.iterdir()] == ["journal.jsonl"]


def test_real_errors_have_their_remedies(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path, words in (
        (tmp_path / ("x" * 300), "choose shorter names"),
        (tmp_path / "file" / "a", "remove what is in the way"),
        (tmp_path / "gone" / "folder" / "a", "was moved or removed"),
    ):
        with pytest.raises(EnvironmentFault, match=words):
            write_file(path, b"a")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
    try:
        with pytest.raises(EnvironmentFault, match=r"File too large.: raise the limit .*ulimit -f"):
            write_file(tmp_path / "a", bytes(1000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_limits_of_the_machine_are_named_and_are_no_bug_of_ours() -> None:
    for error, words in (
        (RuntimeError("can't start new thread"), "ulimit -u"),
        (BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable"), "pids.max"),
        (OSError(errno.ENFILE, "Too many open files in system"), "open files"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "free memory"),
    ):
        fault = limit_fault(error)
        assert fault
        assert (fault.exit_code, words in fault.remedy) == (6, True)
    assert limit_fault(RuntimeError("something else")) is None
    assert limit_fault(FileNotFoundError(errno.ENOENT, "No such file")) is None


def test_too_many_open_files_are_not_the_fault_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.png").write_bytes(b"good")
    monkeypatch.setattr(os, "open", refuse(errno.EMFILE))
    with pytest.raises(EnvironmentFault, match="raise the limit on open files"):
        read_bytes(tmp_path / "a.png")


def test_a_command_that_cannot_start_a_thread_says_which_limit(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse_thread(model: str) -> Any:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr("tfs_rt.cli.inspect._read_bundle", refuse_thread)
    done = cli("inspect", "tfs-rt/x4")
    assert (done.code, "no more threads or processes can be started" in done.err) == (6, True)


def unreadable(folder: Path) -> dict[str, Path]:
    """Paths that must be refused at once: none is a file of this system's disks."""
    os.mkfifo(folder / "pipe")
    found = {"a pipe": folder / "pipe", "a device": Path("/dev/zero")}
    for name in ("/proc/kmsg", "/proc/kcore"):  # the first makes root wait, the second is 128 TiB
        if Path(name).exists():
            found[name] = Path(name)
    return found


def test_what_is_no_file_is_refused_at_once_wherever_a_path_is_given(tmp_path: Path, cli: Cli) -> None:
    case = write_case(tmp_path / "case")
    for number, (what, path) in enumerate(unreadable(tmp_path).items()):
        place = tmp_path / str(number)
        names = ("a.csv", "b.pth", "c.safetensors", "d.toml", "truth/e.png", "set/manifest.json")
        links = {name: place / name for name in names}
        for link in links.values():
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(path)
        (place / "results").mkdir()
        (place / "results" / "e.png").write_bytes(png(np.zeros((64, 64, 3), np.uint8)))
        files = ["--m1", path, "--m2", case / "mr-t2.png", "--functional", case / "pet.png"]
        commands: dict[str, tuple[list[object], int]] = {
            "image": (["fuse", *files, "-o", place / "out"], 4),
            "list": (["fuse", links["a.csv"], "-o", place / "out"], 2),
            "checkpoint": (["inspect", links["b.pth"]], 5),
            "safetensors": (["inspect", links["c.safetensors"]], 5),
            "truth": (["eval", place / "results", place / "truth"], 3),
            "configuration": (["train", place / "set", "-o", place / "run", "--config", links["d.toml"]], 2),
            "set": (["train", place / "set", "-o", place / "run", "--scale", 4], 3),
        }
        for name, (command, code) in commands.items():
            done = cli(*command)
            assert done.code in (code, 4), (what, name, done)
            assert "internal error" not in done.err, (what, name, done)
            assert done.err.strip(), (what, name)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="this system has no /proc")
def test_a_file_that_the_kernel_makes_up_is_read_as_what_its_size_says() -> None:
    assert Path("/proc/self/status").read_bytes()
    assert read_regular(Path("/proc/self/status"), 2**20) == b""
    assert file_sha256(Path("/proc/self/status")).startswith("e3b0c44298fc1c14")  # of nothing


def test_a_device_is_not_even_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    def opened(*_: object) -> int:
        raise AssertionError("opening a device can arm or rewind it")

    monkeypatch.setattr(os, "open", opened)
    with pytest.raises(OSError, match="a pipe, a device or a socket"):
        open_regular(Path("/dev/null"))


def test_a_file_is_read_by_its_size_and_not_by_what_it_may_have(tmp_path: Path) -> None:
    """An address space of little more than the program's own is enough for a small file under a large limit."""
    (tmp_path / "a").write_bytes(b"small")
    code = (
        "import resource; from pathlib import Path; from tfs_rt.system.files import read_regular\n"
        "resource.setrlimit(resource.RLIMIT_AS, (2**30, 2**30))\n"
        f"assert read_regular(Path({str(tmp_path / 'a')!r}), 2**40) == b'small'"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_folders_are_on_the_disk_before_what_is_in_them(tmp_path: Path) -> None:
    opened: dict[int, str] = {}
    made = []
    flushed = []
    with watch_operations() as seen:
        for name in ("a/b/c/x", "a/b/d/y"):
            write_file(tmp_path / name, b"data", within=tmp_path)
    for name, arguments, result in seen:
        if name == "open":
            opened[result] = str(arguments[0])
        elif name == "mkdir":
            assert set(flushed) >= {str(Path(folder).parent) for folder in made}
            made.append(str(arguments[0]))
            flushed = [folder for folder in flushed if folder != str(Path(arguments[0]).parent)]
        elif name == "fsync":
            flushed.append(opened[arguments[0]])
        elif name == "replace":
            assert set(flushed) >= {str(Path(folder).parent) for folder in made}
    assert made == [str(tmp_path / name) for name in ("a", "a/b", "a/b/c", "a/b/d")]


def test_the_hash_of_a_folder_is_that_of_the_lines_of_sha256sum(tmp_path: Path) -> None:
    folder = tmp_path / "series"
    (folder / "nested").mkdir(parents=True)
    for name in ("b.dcm", "a 1.dcm", ".hidden", "nested/c.dcm"):
        (folder / name).write_bytes(name.encode())
    lines = subprocess.run(["sha256sum", "a 1.dcm", "b.dcm"], cwd=folder, capture_output=True, check=True).stdout
    assert path_sha256(folder) == hashlib.sha256(lines).hexdigest()
    assert path_sha256(folder / "b.dcm") == file_sha256(folder / "b.dcm")
    with pytest.raises(FileNotFoundError):
        path_sha256(tmp_path / "absent")
