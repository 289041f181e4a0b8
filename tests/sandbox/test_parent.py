"""A sandboxed call ends in a result or in one line, in time, whatever becomes of the child."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from support.malformed_messages import MALFORMED, framed
from support.processes import is_running
from support.sandbox_children import misbehave
from tfs_rt.errors import EnvironmentFault, InputError, ModelError, TfsRtError
from tfs_rt.sandbox import parent as module
from tfs_rt.sandbox.parent import Sandbox
from tfs_rt.sandbox.parts import LANDLOCK, MEMORY

PATH = Path("somewhere/pet.png")
linux = pytest.mark.skipif(sys.platform != "linux", reason="what a child gives up is known of Linux alone")


# --- what the children do


# --- the tests


@pytest.fixture(scope="module")
def call() -> Iterator[Sandbox]:
    """One child after the other for all of these tests: what one leaves behind, the next must not meet."""
    with Sandbox(misbehave, seconds=20, memory=2**30, remedy="write the file again") as sandbox:
        yield sandbox


def refused(call: Sandbox, words: str, *arguments: Any) -> None:
    with pytest.raises(InputError, match=words) as caught:
        call(PATH, *arguments)
    assert caught.value.subject == str(PATH)
    assert caught.value.remedy == "write the file again"


def test_plain_data_come_back_as_they_went(call: Sandbox, rng: np.random.Generator) -> None:
    value = {"a": [1, 2.5, None, True, "\ud800é\n"], 3: (b"\0\xff", (), {}), "inf": float("-inf"), "big": 10**40}
    assert call(PATH, "echo", value) == value
    assert type(call(PATH, "echo", np.float64(0.1))) is float
    for array in (
        rng.integers(0, 256, (5, 7, 3), dtype=np.uint8)[::-1, ::2],
        rng.standard_normal((3, 4), dtype=np.float32).T,
        np.array(7, dtype=">i2"),
        np.zeros((0, 3), dtype=bool),
    ):
        back = call(PATH, "echo", [array])[0]
        np.testing.assert_array_equal(back, array)
        assert back.dtype == array.dtype
        assert back.flags.writeable


def test_one_child_serves_many_calls_and_is_replaced_after_its_share(
    call: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    call.close()
    monkeypatch.setattr(module, "CALLS", 3)
    pids = [call(PATH, "pid") for _ in range(7)]
    assert [pids.count(pid) for pid in dict.fromkeys(pids)] == [3, 3, 1]


@pytest.mark.parametrize(
    ("how", "words"),
    [("crash", "ended the process that reads it .SIGSEGV"), ("leave", "exit status 3"), ("unplain", "not plain data")],
)
def test_a_child_that_dies_names_the_file_and_the_next_call_has_another(call: Sandbox, how: str, words: str) -> None:
    refused(call, words, how)
    assert call(PATH, "echo", 1) == 1


@pytest.mark.parametrize("how", ["hang", "spin", "stop"])
def test_a_child_that_hangs_is_ended_in_time(call: Sandbox, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    call(PATH, "echo", 1)  # it is up
    monkeypatch.setattr(call, "seconds", 0.3)
    started = time.monotonic()
    refused(call, "was not read within 0.3 seconds", how)
    assert time.monotonic() - started < 3
    monkeypatch.undo()
    assert call(PATH, "echo", 1) == 1


@linux
def test_time_on_the_processor_is_limited_by_itself(call: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    call.close()  # a new child cannot have been broken by an earlier file, and is asked once
    monkeypatch.setattr(call, "cpu_seconds", 0)
    started = time.monotonic()
    refused(call, "0 of a processor", "spin")
    assert time.monotonic() - started < 20  # of `seconds`; the child has a second of the processor


@linux
def test_a_child_that_devours_memory_is_refused_it(call: Sandbox) -> None:
    refused(call, "needs more than 1 GiB of memory", "devour")
    assert call(PATH, "echo", 1) == 1


def test_a_file_is_not_failed_by_a_child_that_an_earlier_file_broke(call: Sandbox) -> None:
    for how in ("crash_later", "answer_no_more"):
        call(PATH, how)
        assert call(PATH, "echo", 1) == 1


def test_a_child_killed_between_two_calls_is_not_the_files_fault(call: Sandbox) -> None:
    for signum in (signal.SIGKILL, signal.SIGSEGV):
        pid = call(PATH, "pid")
        os.kill(pid, signum)
        while is_running(pid):
            time.sleep(0.01)
        assert call(PATH, "pid") != pid


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("input", InputError(PATH, "is damaged", "write it again")),
        ("model", ModelError(PATH, "is none", "give one")),
        ("environment", EnvironmentFault(PATH, "pydicom is not installed", "pip install it")),
        ("unknown", InputError(PATH, "cannot be read (ZeroDivisionError: first line)", "write the file again")),
    ],
)
def test_errors_cross_with_their_type_and_their_words(call: Sandbox, kind: str, expected: TfsRtError) -> None:
    with pytest.raises(type(expected)) as caught:
        call(PATH, "fail", kind)
    assert str(caught.value) == str(expected)
    assert caught.value.remedy == expected.remedy


def test_what_a_library_prints_is_no_answer(call: Sandbox, capfd: pytest.CaptureFixture[str]) -> None:
    assert call(PATH, "chatter") == "said"
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    "answer",
    [
        MALFORMED["a pickle"],
        MALFORMED["a huge array"],
        framed("null"),
        framed('["result"]'),
        framed('["error", "SystemExit", "a", "b"]'),
        framed('["error", "UsageError", "a", "b"]'),
    ],
)
def test_a_child_that_was_taken_over_can_but_talk_nonsense(
    call: Sandbox, answer: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    call(PATH, "echo", 1)
    refused(call, "answer nonsense", "nonsense", answer)
    assert not list(tmp_path.iterdir())
    assert call(PATH, "echo", 1) == 1


def test_what_does_not_start_is_no_fault_of_the_file() -> None:
    with Sandbox(lambda: None) as call, pytest.raises(EnvironmentFault, match="does not start"):
        call(PATH)
    with Sandbox(misbehave) as call:
        call.command[0] = "/nowhere/python"
        with pytest.raises(EnvironmentFault, match="does not start"):
            call(PATH, "pid")


@linux
def test_a_child_writes_removes_executes_and_connects_to_nothing(call: Sandbox, tmp_path: Path) -> None:
    (tmp_path / "kept").write_text("kept")
    assert call(PATH, "write", str(tmp_path / "new")) in ("OSError", "PermissionError")
    assert call(PATH, "open_many") < 64
    assert MEMORY in call.parts().held
    if LANDLOCK not in call.parts().held:
        pytest.skip("this kernel has no Landlock")
    assert call(PATH, "write", str(tmp_path / "kept")) == "PermissionError"
    assert call(PATH, "remove", str(tmp_path / "kept")) in ("OSError", "PermissionError")
    assert call(PATH, "execute") in ("OSError", "PermissionError")
    assert [path.read_text() for path in tmp_path.iterdir()] == ["kept"]
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert call(PATH, "connect", server.getsockname()[1]) != "connected"


def test_the_terminals_interrupt_does_not_reach_the_child(call: Sandbox) -> None:
    pid = call(PATH, "pid")
    assert os.getpgid(pid) != os.getpgid(0)  # a terminal signals a group
    assert call(PATH, "is_ignored", int(signal.SIGINT))
    os.kill(pid, signal.SIGINT)
    assert call(PATH, "pid") == pid


class Interrupted(BaseException):
    pass


def test_an_interrupt_in_the_middle_of_a_call_leaves_no_answer_behind(call: Sandbox) -> None:
    pid = call(PATH, "pid")

    def interrupt(*_: object) -> None:
        raise Interrupted

    before = signal.signal(signal.SIGUSR1, interrupt)
    try:
        threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGUSR1)).start()
        with pytest.raises(Interrupted):
            call(PATH, "hang")
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert call(PATH, "echo", 2) == 2
    assert call(PATH, "pid") != pid


@linux
@pytest.mark.parametrize("doing", ["echo", "hang"])
def test_a_child_ends_with_its_parent_whatever_it_is_doing(doing: str, tmp_path: Path) -> None:
    code = (
        "import sys; sys.path[:] = sys.argv[2:]\n"
        "from support.sandbox_children import misbehave; from tfs_rt.sandbox.parent import Sandbox\n"
        "call = Sandbox(misbehave, seconds=2); print(call('a', 'pid'), flush=True)\n"
        "call('a', sys.argv[1]) if sys.argv[1] == 'hang' else input()"
    )
    command = [sys.executable, "-c", code, doing, str(Path(__file__).parents[1]), *sys.path]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout
        child = int(parent.stdout.readline())
        assert is_running(child)
        time.sleep(0.2)
        parent.kill()
    deadline = time.monotonic() + 6  # 2 seconds of its own, and one of grace
    while is_running(child) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not is_running(child)
