"""A command whose stdout or stderr is lost does its work, and ends with an exit code that says what was lost."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from support.helpers import write_case
from tfs_rt.cli.streams import TolerantFile

COMMAND = (sys.executable, "-m", "tfs_rt")
CLOSE = "import os, sys; os.close(int(sys.argv[1])); os.execv(sys.argv[2], sys.argv[2:])"
FUSE = ("fuse", "--backend", "ort-cpu")  # begins sooner than the default: it compiles nothing
LOSSES = ("a full disk", "a closed pipe", "a closed descriptor", "a closed terminal")
LINUX = pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A case that can be fused, and one that fails and says so on stderr."""
    write_case(tmp_path / "in" / "a")
    (write_case(tmp_path / "in" / "b") / "pet.png").write_bytes(b"no image")
    return tmp_path / "in"


def slow_except(quick: str) -> list[object]:
    """All losses, of which one is tried in the quick tests."""
    return [loss if loss == quick else pytest.param(loss, marks=pytest.mark.slow) for loss in LOSSES]


@contextmanager
def lost_stream(loss: str) -> Generator[int | None]:
    """A descriptor to which nothing can be written; None stands for none."""
    with ExitStack() as opened:
        if loss == "a full disk":
            yield opened.enter_context(open("/dev/full", "wb")).fileno()  # noqa: PTH123
            return
        if loss == "a closed descriptor":
            yield None
            return
        reader, writer = os.openpty() if loss == "a closed terminal" else os.pipe()
        opened.callback(os.close, writer)
        os.close(reader)
        yield writer


def run(*arguments: object, **lost: str) -> tuple[int, str, str]:
    """Run a command with lost streams (`stdout=`, `stderr=`); its exit code, and what was written to the others."""
    command = [*COMMAND, *map(str, arguments)]
    with ExitStack() as opened:
        streams: dict[str, int] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        for name, loss in lost.items():
            descriptor = opened.enter_context(lost_stream(loss))
            if descriptor is None:
                command = [sys.executable, "-c", CLOSE, str(("stdin", "stdout", "stderr").index(name)), *command]
            else:
                streams[name] = descriptor
        done = subprocess.run(
            command,
            stdin=streams.get("stdin"),
            stdout=streams["stdout"],
            stderr=streams["stderr"],
            timeout=120,
            check=False,
        )
    return done.returncode, (done.stdout or b"").decode(), (done.stderr or b"").decode()


@LINUX
@pytest.mark.parametrize("loss", slow_except("a closed pipe"))
@pytest.mark.parametrize("workers", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_a_lost_stderr_changes_nothing_else(tmp_path: Path, source: Path, loss: str, workers: int) -> None:
    """Without workers, the quick tests lose stderr together with the other streams."""
    code, out, _ = run(*FUSE, source, "-o", tmp_path / "out", "--workers", workers, "--json", "-v", stderr=loss)
    assert code == 3
    assert [result["status"] for result in json.loads(out)["results"]] == ["done", "failed"]
    assert (tmp_path / "out" / "a.png").exists()


@LINUX
@pytest.mark.parametrize("loss", slow_except("a closed terminal"))
def test_a_lost_report_is_exit_code_6_after_the_work(tmp_path: Path, source: Path, loss: str) -> None:
    code, _, err = run(*FUSE, source, "-o", tmp_path / "out", "--json", stdout=loss)
    assert code == 6
    assert "1 of 2 cases fused" in err
    assert "tfs-rt: stdout: the output is incomplete" in err
    assert "Traceback" not in err
    assert json.loads((tmp_path / "out" / "report.json").read_text())["ended"] == "complete"


@LINUX
@pytest.mark.parametrize("loss", ["a closed descriptor", pytest.param("a full disk", marks=pytest.mark.slow)])
def test_a_run_with_no_stream_left_does_its_work(tmp_path: Path, source: Path, loss: str) -> None:
    out = tmp_path / "out"
    lost = {"stdin": "a closed descriptor", "stdout": loss, "stderr": loss}
    code, _, _ = run(*FUSE, source, "-o", out, "--json", **lost)
    assert code == 6
    assert json.loads((out / "report.json").read_text())["done"] == 1


@LINUX
@pytest.mark.parametrize(
    "arguments",
    [("--version",), pytest.param(("fuse", "--help"), marks=pytest.mark.slow), ("inspect", "tfs-rt/x4", "--json")],
)
def test_text_is_lost_on_a_full_disk_but_not_by_a_reader_that_has_seen_enough(arguments: tuple[str, ...]) -> None:
    code, _, err = run(*arguments, stdout="a full disk")
    assert (code, err.count("tfs-rt: stdout: the output is incomplete (No space left on device): free space")) == (6, 1)
    code, _, err = run(*arguments, stdout="a closed pipe")
    assert (code, err.count("stdout: ")) == ((6, 1) if "--json" in arguments else (0, 0))


@LINUX
def test_the_code_of_a_fault_is_not_hidden_by_a_lost_stdout(tmp_path: Path) -> None:
    code, _, err = run("inspect", tmp_path / "none.pth", "--json", stdout="a full disk")
    assert (code, "no such file" in err) == (5, True)


def test_no_file_gets_the_descriptor_of_a_closed_stream(tmp_path: Path) -> None:
    code = (
        "import os; [os.close(n) for n in (0, 1, 2)]\n"
        "from tfs_rt.cli import streams; streams.install()\n"
        f"number = os.open({str(tmp_path / 'journal')!r}, os.O_WRONLY | os.O_CREAT)\n"
        "os.write(number, str(number).encode())\n"
        "raise SystemExit(0 if os.read(0, 1) == b'' else 1)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    assert int((tmp_path / "journal").read_text()) > 2


def test_a_slow_reader_of_a_non_blocking_pipe_gets_every_byte() -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    received: list[bytes] = []

    def read() -> None:
        while data := os.read(reader, 2**12):
            received.append(data)

    thread = threading.Timer(0.2, read)
    thread.start()
    with TolerantFile(writer, "wb") as file:
        sent = bytes(range(256)) * 2**10  # four times what a pipe holds
        left = memoryview(sent)
        while left:
            left = left[file.write(left) :]
        assert file.error is None
    thread.join()
    os.close(reader)
    assert b"".join(received) == sent
