"""Code that took over a decoder: nothing that it tries gets through, and a user is told of missing parts."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from support.helpers import Cli, write_case
from support.processes import NOBODY, as_user, landlock, skip_unless_it_runs
from support.sandbox_attacks import TESTS, weakened
from tfs_rt.errors import (
    LimitReached,  # noqa: F401 - likewise
)
from tfs_rt.sandbox import process
from tfs_rt.sandbox.parent import Sandbox
from tfs_rt.sandbox.parts import LANDLOCK, NETWORK, SECCOMP


def tried(without: str, uid: int) -> tuple[list[str], dict[str, str]]:
    skip_unless_it_runs(uid)
    ended = as_user(uid, str(TESTS / "support" / "sandbox_attacks.py"), without)
    assert ended.returncode == 0, ended.stderr
    held, through = json.loads(ended.stdout)
    return held, through


@pytest.fixture(params=["this user", "nobody"])
def uid(request: pytest.FixtureRequest) -> int:
    if request.param == "nobody" and os.getuid() != 0:
        pytest.skip("only root can become another user")
    return os.getuid() if request.param == "this user" else NOBODY


@pytest.mark.parametrize("without", ["whole", "no Landlock", "no Landlock, no namespaces"])
def test_nothing_that_code_in_the_child_tries_gets_through(without: str, uid: int) -> None:
    held, through = tried(without, uid)
    if SECCOMP not in held:
        pytest.skip("this kernel has no seccomp, or there is no list for this machine")
    readable: set[str] = set()
    if NETWORK not in held and LANDLOCK not in held and uid:  # what SECURITY.md says of such a system
        readable = {name for name in through if name.startswith(("open the", "read the", "name the"))}
    assert through.keys() == readable


def test_the_attacks_get_through_where_there_is_no_sandbox() -> None:
    """Otherwise the test above would hold of attacks that cannot work."""
    held, through = tried("none", os.getuid())
    assert not held
    real = {"chmod", "utime", "truncate", "prlimit the parent", "renice the parent", "kill the parent", "fork"}
    real |= {"connect to a path", "connect by TCP", "outlive the run", "more memory", "a thread"}
    assert real - through.keys() <= {"more memory"}  # root's alone
    assert len(through) > 80


def test_the_other_parts_hold_without_the_filter(uid: int) -> None:
    """A machine for which there is no list of system calls."""
    held, through = tried("no seccomp", uid)
    refused = {"more memory", "more files", "set the clock", "become another user"}
    if NETWORK in held:
        refused |= {"connect by TCP", "connect to an abstract name"}
    if LANDLOCK in held:
        refused |= {"write a file", "create a file", "remove a file", "make a folder", "symlink", "rename", "mkfifo"}
        refused |= {"ptrace the parent", "open the parent's memory", "read the parent's environment"}
    if LANDLOCK in held and landlock() >= 3:
        refused |= {"truncate", "truncate by opening"}
    assert held
    assert not [name for name in refused if through.get(name) == "done"]


def no_thread(*_: Any, **__: Any) -> None:
    raise RuntimeError("can't start new thread")


def test_a_run_without_a_thread_to_spare_blames_no_case(
    tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_case(tmp_path / "in" / "k0")
    monkeypatch.setattr(process, "start_new_thread", no_thread)
    ended = cli("fuse", tmp_path / "in", "-o", tmp_path / "out", "-q")
    assert (ended.code, "does not start (can't start new thread)" in ended.err) == (6, True)
    assert "k0" not in ended.err


@pytest.fixture
def poor(monkeypatch: pytest.MonkeyPatch) -> None:
    """A system with neither Landlock nor namespaces."""
    plain = Sandbox.__init__

    def weak(self: Sandbox, *arguments: Any, **options: Any) -> None:
        plain(self, *arguments, **options)
        weakened(self, "no Landlock, no namespaces")

    monkeypatch.setattr(Sandbox, "__init__", weak)


@pytest.mark.usefixtures("poor")
def test_missing_parts_are_told_once_and_written_down(tmp_path: Path, cli: Cli) -> None:
    write_case(tmp_path / "in" / "k0")
    out = tmp_path / "out"
    ended = cli("fuse", tmp_path / "in", "-o", out)
    assert ended.code == 0, ended.err
    assert told(ended.err)
    for name in ("k0.json", "report.json"):
        assert json.loads((out / name).read_text())["sandbox"]["missing"] == [LANDLOCK, NETWORK]


@pytest.mark.usefixtures("poor")
def test_workers_leave_it_to_their_parent_to_tell_the_missing_parts(
    tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tfs_rt.batch.workers.run_workers", lambda *_, **__: 5)
    write_case(tmp_path / "in" / "k0")
    command = ("fuse", tmp_path / "in", "-o", tmp_path / "out", "--workers", 2)
    assert told(cli(*command).err)
    assert cli(*command, "--require-sandbox").code == 6


def told(stderr: str) -> bool:
    (line,) = (line for line in stderr.splitlines() if "sandbox" in line)
    return "no Landlock and no network namespace" in line


@pytest.mark.usefixtures("poor")
def test_required_parts_that_are_missing_end_a_run_before_its_first_case(tmp_path: Path, cli: Cli) -> None:
    write_case(tmp_path / "in" / "k0")
    ended = cli("fuse", tmp_path / "in", "-o", tmp_path / "out", "--require-sandbox")
    assert (ended.code, "no Landlock and no network namespace" in ended.err) == (6, True)
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("poor")
def test_the_doctor_tells_the_missing_parts(monkeypatch: pytest.MonkeyPatch, cli: Cli) -> None:
    from tfs_rt.doctor import examine as doctor
    from tfs_rt.doctor.ask import Answer

    monkeypatch.setattr(doctor, "ask", lambda probe: Answer(None, "not asked", "ask"))
    (line,) = (line for line in cli("doctor", "-v").out.splitlines() if line.startswith("sandbox"))
    assert "--  files are read behind seccomp, memory limit; missing: Landlock, network namespace" in line
    assert json.loads(cli("doctor", "--json").out)["sandbox"]["missing"] == [LANDLOCK, NETWORK]
