"""The ends of commands: every fault and signal is one line on stderr and an exit code."""

import contextlib
import os
import signal
from pathlib import Path

import pytest

from support.helpers import Cli, write_case
from tfs_rt.system import signals


def test_version(cli: Cli) -> None:
    assert cli("--version").out.count(".") == 2


@pytest.mark.parametrize("arguments", [["fuse"], ["fuse", "x", "-o", "y", "--steps", "0"], ["paint"]])
def test_usage_errors_are_exit_2(cli: Cli, arguments: list[str]) -> None:
    assert cli(*arguments).code == 2


WRONG_USES = {
    "no case found": (["fuse", "{empty}", "-o", "{out}"], 4, "no case in this folder"),
    "no such folder": (["fuse", "{absent}", "-o", "{out}"], 4, "no such file or folder"),
    "nothing asked": (["fuse", "-o", "{out}"], 2, "nothing to fuse"),
    "two of three files": (["fuse", "--m1", "a.png", "--m2", "b.png", "-o", "{out}"], 2, "only some of the three"),
    "a png as cases": (["fuse", "{case}/pet.png", "-o", "{out}"], 2, "neither a folder nor a CSV"),
    "scale 3": (["fuse", "{case}", "-o", "{out}", "--scale", "3"], 2, "3 is not a scale"),
    "no such shipped model": (["fuse", "{case}", "-o", "{out}", "--model", "tfs-rt/x3"], 5, "no such model ships"),
    "scale against model": (["fuse", "{case}", "-o", "{out}", "--scale", "2", "--model", "tfs-rt/x4"], 2, "x4"),
    "no model": (["fuse", "{case}", "-o", "{out}", "--model", "{absent}"], 5, "no bundle there"),
    "edited model": (["fuse", "{case}", "-o", "{out}", "--model", "{edited}"], 5, "does not match its SHA-256"),
    "eta without ddim": (["fuse", "{case}", "-o", "{out}", "--sampler", "ddpm", "--eta", "1"], 2, "ddpm has no eta"),
    "levels never trained": (
        ["fuse", "{case}", "-o", "{out}", "--spacing", "t"],
        2,
        "leaves the range of the model's training",
    ),
    "bad size": (["fuse", "{case}", "-o", "{out}", "--target-size", "big"], 2, "'big' is not a size"),
    "output is a file": (["fuse", "{case}", "-o", "{case}/pet.png"], 6, "cannot be written"),
    "an id alone": (["fuse", "{case}", "--id", "x", "-o", "{out}"], 2, "only some of the three"),
    "no checkpoint": (["export", "{absent}.pth", "-o", "{out}", "--scale", "4"], 5, "cannot be read"),
    "an image as checkpoint": (
        ["export", "{case}/pet.png", "-o", "{out}", "--scale", "4"],
        5,
        "does not end like a checkpoint",
    ),
    "export into a file": (["export", "x.pth", "-o", "{case}/pet.png/b", "--scale", "4"], 6, "cannot be written"),
    "export onto a folder": (
        ["export", "x.pth", "-o", "{case}", "--scale", "4"],
        2,
        "exists and is not a model bundle",
    ),
    "inspect nothing": (["inspect", "{absent}.pth"], 5, "no such file"),
}


@pytest.mark.parametrize("use", list(WRONG_USES))
def test_wrong_use_ends_in_one_line_and_its_exit_code(tmp_path: Path, cli: Cli, edited: Path, use: str) -> None:
    (tmp_path / "empty").mkdir()
    places = {
        "empty": tmp_path / "empty",
        "absent": tmp_path / "absent",
        "out": tmp_path / "out",
        "case": write_case(tmp_path / "case"),
        "edited": edited,
    }
    arguments, code, words = WRONG_USES[use]
    done = cli(*(argument.format(**places) for argument in arguments))
    assert (done.code, done.out) == (code, "")
    *messages, last = done.err.strip().splitlines()
    assert last.startswith("tfs-rt: ")
    assert words in last
    assert not messages or messages == [f"reading {arguments[1].format(**places)}"]


@pytest.mark.parametrize("arguments", [["fuse", "in", "-o", ""], ["fuse", "in", "--output="]])
def test_an_empty_argument_is_refused_and_not_taken_for_the_current_folder(cli: Cli, arguments: list[str]) -> None:
    ended = cli(*arguments)
    assert (ended.code, "is followed by an empty argument" in ended.err) == (2, True)


def test_a_removed_current_folder_and_a_link_to_itself_are_named(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = write_case(tmp_path / "case")
    (tmp_path / "loop").symlink_to("loop")
    ended = cli("fuse", case, "-o", tmp_path / "loop")
    assert (ended.code, "internal error" in ended.err) == (6, False)
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    ended = cli("fuse", case, "-o", "out")
    assert (ended.code, "the current folder: was removed" in ended.err) == (6, True)


def test_a_signal_that_a_library_swallows_still_ends_the_command(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def swallow(model: str) -> dict[str, str]:
        with contextlib.suppress(BaseException):
            os.kill(os.getpid(), signal.SIGTERM)
        return {"kind": "bundle"}

    monkeypatch.setattr("tfs_rt.cli.inspect._read_bundle", swallow)
    assert cli("inspect", "tfs-rt/x4").code == 143


def test_a_swallowed_signal_is_raised_again_before_what_cannot_be_taken_back() -> None:
    with signals.raise_as_exceptions():
        with contextlib.suppress(BaseException):
            os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(signals.Signalled):
            signals.check()
    signals.check()


@pytest.mark.parametrize("command", [["inspect", "tfs-rt/x4"], ["fuse", "CASE", "-o", "OUT"]])
def test_too_little_memory_is_the_environments_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cli: Cli, command: list[str]
) -> None:
    def full(*_: object) -> bytes:
        raise MemoryError

    monkeypatch.setattr("tfs_rt.models.bundle.read_regular", full)
    places = {"CASE": write_case(tmp_path / "case"), "OUT": tmp_path / "out"}
    ended = cli(*(places.get(word, word) for word in command))
    assert ended.code == 6
    assert ended.err.startswith("tfs-rt: memory: no more memory is available (")
    assert len(ended.err.splitlines()) == 1


def test_a_library_that_does_not_load_is_the_environments_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cli: Cli
) -> None:
    def broken(name: str) -> None:
        raise ImportError("libtorch_cpu.so: failed to map segment from shared object")

    monkeypatch.setattr("tfs_rt.optional.import_module", broken)
    (tmp_path / "a.pth").write_bytes(b"x")
    ended = cli("inspect", tmp_path / "a.pth")
    assert ended.code == 6
    assert "memory: no more memory is available" in ended.err
