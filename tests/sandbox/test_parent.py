"""Whatever becomes of the child that reads a file: the parent gets an answer or one line, in time, and goes on."""

from __future__ import annotations

import errno
import os
import pickle
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from support.helpers import png
from tfs_rt.errors import EnvironmentFault, InputError, LimitReached, ModelError, TfsRtError
from tfs_rt.formats.picture import Rules
from tfs_rt.formats.registry import read_picture
from tfs_rt.sandbox import parent as module
from tfs_rt.sandbox.messages import pack, receive, send
from tfs_rt.sandbox.parent import Limited, Reader
from tfs_rt.sandbox.parts import LANDLOCK, MEMORY
from tfs_rt.system.resource_limits import limit_fault

PATH = Path("somewhere/pet.png")
linux = pytest.mark.skipif(sys.platform != "linux", reason="what a child gives up is known of Linux alone")


# --- what the children do


def misbehave(how: str, *arguments: Any) -> Any:
    return globals()[f"_{how}"](*arguments)


def _echo(value: Any) -> Any:
    return value


def _pid() -> int:
    return os.getpid()


def _crash() -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def _crash_later() -> None:
    globals()["_echo"] = lambda value: os.kill(os.getpid(), signal.SIGSEGV)


def _answer_no_more() -> None:
    globals()["_echo"] = lambda value: _nonsense(b"nonsense")


def _leave() -> None:
    os._exit(3)


def _hang(pid_file: str = "") -> None:
    time.sleep(600)


def _spin() -> None:
    while True:
        pass


def _stop() -> None:
    os.kill(os.getpid(), signal.SIGSTOP)


def _devour() -> int:
    return len([np.empty(2**28, dtype=np.uint8) for _ in range(64)])


def _fail(kind: str) -> None:
    kinds: dict[str, Exception] = {
        "input": InputError("a.png", "is damaged", "write it again"),
        "model": ModelError("a.pth", "is none", "give one"),
        "environment": EnvironmentFault("a.dcm", "pydicom is not installed", "pip install it"),
        "unknown": ZeroDivisionError("first line\nsecond line"),
    }
    raise kinds[kind]


def _chatter() -> str:
    print("printed")  # noqa: T201
    os.write(1, b"written")
    return "said"


def _nonsense(answer: bytes) -> None:
    """Answer in the child's stead, as one that was taken over may."""
    for descriptor in range(3, 10):
        with suppress(OSError):
            os.write(descriptor, answer)
    time.sleep(600)


def _unplain() -> object:
    return object()


def _write(path: str) -> str:
    try:
        Path(path).write_text("harm", encoding="ascii")
    except OSError as error:
        return type(error).__name__
    return "written"


def _remove(path: str) -> str:
    try:
        Path(path).unlink()
    except OSError as error:
        return type(error).__name__
    return "removed"


def _execute() -> str:
    try:
        subprocess.run(["/bin/true"], check=True)
    except OSError as error:
        return type(error).__name__
    return "executed"


def _connect(port: int) -> str:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=2).close()
    except OSError as error:
        return type(error).__name__
    return "connected"


def _open_many() -> int:
    descriptors = []
    with suppress(OSError):
        while True:
            descriptors.append(os.open(os.devnull, os.O_RDONLY))
    for descriptor in descriptors:
        os.close(descriptor)
    return len(descriptors)


def _is_ignored(signum: int) -> bool:
    return signal.getsignal(signum) is signal.SIG_IGN


# --- the tests


@pytest.fixture(scope="module")
def call() -> Iterator[Limited]:
    """One child after the other for all of these tests: what one leaves behind, the next must not meet."""
    with Limited(misbehave, seconds=20, memory=2**30, remedy="write the file again") as limited:
        yield limited


def refused(call: Limited, words: str, *arguments: Any) -> None:
    with pytest.raises(InputError, match=words) as caught:
        call(PATH, *arguments)
    assert caught.value.subject == str(PATH)
    assert caught.value.remedy == "write the file again"


def test_plain_data_come_back_as_they_went(call: Limited, rng: np.random.Generator) -> None:
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
    call: Limited, monkeypatch: pytest.MonkeyPatch
) -> None:
    call.close()
    monkeypatch.setattr(module, "CALLS", 3)
    pids = [call(PATH, "pid") for _ in range(7)]
    assert [pids.count(pid) for pid in dict.fromkeys(pids)] == [3, 3, 1]


@pytest.mark.parametrize(
    ("how", "words"),
    [("crash", "ended the process that reads it .SIGSEGV"), ("leave", "exit status 3"), ("unplain", "no plain data")],
)
def test_a_child_that_dies_names_the_file_and_the_next_call_has_another(call: Limited, how: str, words: str) -> None:
    for _ in range(2):
        refused(call, words, how)
        assert call(PATH, "echo", 1) == 1


@pytest.mark.parametrize("how", ["hang", "spin", "stop"])
def test_a_child_that_hangs_is_ended_in_time(call: Limited, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    call(PATH, "echo", 1)  # it is up
    monkeypatch.setattr(call, "seconds", 0.3)
    started = time.monotonic()
    refused(call, "was not read within 0.3 seconds", how)
    assert time.monotonic() - started < 3
    monkeypatch.undo()
    assert call(PATH, "echo", 1) == 1


@linux
def test_time_on_the_processor_is_limited_by_itself(call: Limited, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(call, "cpu_seconds", 0)
    started = time.monotonic()
    refused(call, "0 of a processor", "spin")
    assert time.monotonic() - started < 30  # two children of a second each: the file may be innocent of the first


@linux
def test_a_child_that_devours_memory_is_refused_it(call: Limited) -> None:
    refused(call, "needs more than 1 GiB of memory", "devour")
    assert call(PATH, "echo", 1) == 1


def test_a_file_is_not_failed_by_a_child_that_an_earlier_file_broke(call: Limited) -> None:
    for how in ("crash_later", "answer_no_more"):
        call(PATH, how)
        assert call(PATH, "echo", 1) == 1


def test_a_child_killed_between_two_calls_is_not_the_files_fault(call: Limited) -> None:
    for signum in (signal.SIGKILL, signal.SIGSEGV):
        pid = call(PATH, "pid")
        os.kill(pid, signum)
        while alive(pid):
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
def test_errors_cross_with_their_type_and_their_words(call: Limited, kind: str, expected: TfsRtError) -> None:
    with pytest.raises(type(expected)) as caught:
        call(PATH, "fail", kind)
    assert str(caught.value) == str(expected)
    assert caught.value.remedy == expected.remedy


def test_what_a_library_prints_is_no_answer(call: Limited, capfd: pytest.CaptureFixture[str]) -> None:
    assert call(PATH, "chatter") == "said"
    assert capfd.readouterr() == ("", "")


class Payload:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("unpickled",)


def framed(text: str, length: int | None = None) -> bytes:
    return (len(text) if length is None else length).to_bytes(8, "little") + text.encode()


MALFORMED = {
    "a pickle": pickle.dumps(Payload()),
    "a huge length": framed("", 2**63),
    "half a message": framed("{"),
    "nesting": framed("[" * 100_000),
    "a huge number": framed("9" * 10_000),
    "an unknown tag": framed('["result", {"object": 1}]'),
    "two tags": framed('["result", {"tuple": [], "bytes": 0}]'),
    "a key that is none": framed('["result", {"dict": [[{"dict": []}, 1]]}]'),
    "bytes of no number": framed('["result", {"bytes": 1e99}]'),
    "bytes of less than none": framed('["result", {"bytes": -1}]'),
    "a huge array": framed('["result", {"array": ["|u1", [1099511627776]]}]'),
    "objects": framed('["result", {"array": ["|O", [1]]}]'),
    "two negative sizes": framed('["result", {"array": ["|u1", [-1, -1]]}]'),
    "a size that is none": framed('["result", {"array": ["|u1", [true]]}]'),
    "a type that is none": framed('["result", {"array": ["|u99", [1]]}]'),
    "a type of fields": framed('["result", {"array": ["u1,u1", [1]]}]'),
}


@pytest.mark.parametrize("what", MALFORMED)
def test_a_malformed_message_is_none_and_runs_nothing(
    what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as file:
        with os.fdopen(writing, "wb") as other:
            other.write(MALFORMED[what][:60_000])
        with pytest.raises(Exception, match=".*") as caught:
            receive(file.fileno(), 2**20)
    assert not isinstance(caught.value, MemoryError)
    assert not list(tmp_path.iterdir())


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
    call: Limited, answer: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    call(PATH, "echo", 1)
    refused(call, "answer nonsense", "nonsense", answer)
    assert not list(tmp_path.iterdir())
    assert call(PATH, "echo", 1) == 1


def test_what_does_not_start_is_no_fault_of_the_file() -> None:
    with Limited(lambda: None) as call, pytest.raises(EnvironmentFault, match="does not start"):
        call(PATH)
    with Limited(misbehave) as call:
        call.command[0] = "/nowhere/python"
        with pytest.raises(EnvironmentFault, match="does not start"):
            call(PATH, "pid")


@linux
def test_a_child_writes_removes_executes_and_connects_to_nothing(call: Limited, tmp_path: Path) -> None:
    (tmp_path / "kept").write_text("kept")
    assert call(PATH, "write", str(tmp_path / "new")) in ("OSError", "PermissionError")
    assert call(PATH, "open_many") < 64
    assert MEMORY in (call.held or [])
    if LANDLOCK not in (call.held or []):
        pytest.skip("this kernel has no Landlock")
    assert call(PATH, "write", str(tmp_path / "kept")) == "PermissionError"
    assert call(PATH, "remove", str(tmp_path / "kept")) in ("OSError", "PermissionError")
    assert call(PATH, "execute") in ("OSError", "PermissionError")
    assert [path.read_text() for path in tmp_path.iterdir()] == ["kept"]
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert call(PATH, "connect", server.getsockname()[1]) != "connected"


def test_the_terminals_interrupt_does_not_reach_the_child(call: Limited) -> None:
    pid = call(PATH, "pid")
    assert os.getpgid(pid) != os.getpgid(0)  # a terminal signals a group
    assert call(PATH, "is_ignored", int(signal.SIGINT))
    os.kill(pid, signal.SIGINT)
    assert call(PATH, "pid") == pid


class Interrupted(BaseException):
    pass


def test_an_interrupt_in_the_middle_of_a_call_leaves_no_answer_behind(call: Limited) -> None:
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


def alive(pid: int) -> bool:
    try:
        return "State:\tZ" not in (Path("/proc") / str(pid) / "status").read_text()
    except OSError:
        return False


@linux
@pytest.mark.parametrize("doing", ["echo", "hang"])
def test_a_child_ends_with_its_parent_whatever_it_is_doing(doing: str, tmp_path: Path) -> None:
    code = (
        "import sys; sys.path[:] = sys.argv[2:]; from sandbox.test_parent import Limited, PATH, misbehave\n"
        "call = Limited(misbehave, seconds=2); print(call(PATH, 'pid'), flush=True)\n"
        "call(PATH, sys.argv[1]) if sys.argv[1] == 'hang' else input()"
    )
    command = [sys.executable, "-c", code, doing, str(Path(__file__).parents[1]), *sys.path]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout
        child = int(parent.stdout.readline())
        assert alive(child)
        time.sleep(0.2)
        parent.kill()
    deadline = time.monotonic() + 6  # 2 seconds of its own, and one of grace
    while alive(child) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not alive(child)


def test_pictures_and_refusals_are_those_of_the_reader_itself(rng: np.random.Generator) -> None:
    data = png(rng.integers(0, 256, (17, 9, 3), dtype=np.uint8))
    direct = read_picture(data, PATH, Rules())
    with Reader() as reader:
        reader.start()
        picture = reader.read(data, PATH, Rules())
        np.testing.assert_array_equal(picture.slices[0], direct.slices[0])
        assert (picture.facts, picture.subject, picture.frame) == (direct.facts, direct.subject, direct.frame)
        for damaged in (data[:-20], b"", data[:40] + b"\0" + data[41:]):
            with pytest.raises(InputError) as ours:
                read_picture(damaged, PATH, Rules())
            with pytest.raises(InputError) as theirs:
                reader.read(damaged, PATH, Rules())
            assert str(theirs.value) == str(ours.value)


def test_a_message_holds_no_more_than_it_is_allowed(tmp_path: Path) -> None:
    with (tmp_path / "pipe").open("wb", buffering=0) as file:
        send(file.fileno(), pack([np.zeros(1000, np.uint8)]))
    for limit, fits in ((1000, True), (999, False)):
        with (tmp_path / "pipe").open("rb", buffering=0) as file:
            if fits:
                assert receive(file.fileno(), limit)[0].size == 1000
                continue
            with pytest.raises(ValueError, match="1000 bytes, 999 are allowed"):
                receive(file.fileno(), limit)


def test_a_small_image_takes_little_longer_than_without_a_child(rng: np.random.Generator) -> None:
    data = png(rng.integers(0, 256, (256, 256, 3), dtype=np.uint8))
    with Reader() as reader:
        reader.read(data, PATH, Rules())
        times = []
        for _ in range(30):
            started = time.perf_counter()
            reader.read(data, PATH, Rules())
            middle = time.perf_counter()
            read_picture(data, PATH, Rules())
            times.append(middle - started - (time.perf_counter() - middle))
    assert min(times) < 0.003


@pytest.mark.parametrize(
    ("message", "limit", "words"),
    [
        ("unexpected: AttributeError: no function", None, "install tfs-rt again"),
        ("unexpected: ImportError: a.so: failed to map segment from shared object", "ulimit -v is 9 kB", "memory"),
        ("[Errno 24] Too many open files", OSError(errno.EMFILE, "Too many open files"), "ulimit -n"),
    ],
)
def test_a_child_that_does_not_start_names_a_limit_only_if_it_reached_one(
    monkeypatch: pytest.MonkeyPatch, message: str, limit: Any, words: str
) -> None:
    monkeypatch.setattr("tfs_rt.system.resource_limits.memory_limits", lambda: iter(["ulimit -v is 9 kB"]))
    fault = module._not_started(message, limit_fault(limit) if isinstance(limit, OSError) else None)
    assert isinstance(fault, LimitReached) == (limit is not None)
    assert words in str(fault)
