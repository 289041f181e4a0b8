"""Output folders on file systems without locks, and locks that another machine has left."""

from __future__ import annotations

import errno
import fcntl
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from support.helpers import Cli, InProcessReader, write_case
from support.pipelines import blend, pipeline
from tfs_rt.backends.cache import Cache
from tfs_rt.batch.lock import has_running_run, lock_output, state_folder
from tfs_rt.batch.request import Options
from tfs_rt.batch.run import Run
from tfs_rt.cases.discover import discover
from tfs_rt.errors import EnvironmentFault, UsageError
from tfs_rt.output.folder import LOCK
from tfs_rt.system.locks import marker_of

pytestmark = pytest.mark.skipif(os.name != "posix", reason="Windows locks files in another way")


@pytest.fixture
def begin(tmp_path: Path) -> Callable[[], Run]:
    """A run over one case, ready to be fused into a folder."""
    made = pipeline(tmp_path, blend)
    out = tmp_path / "out"
    write_case(tmp_path / "in" / "a")
    out.mkdir()
    return lambda: Run(made, Options(out), discover([tmp_path / "in"], output=out), InProcessReader())


@pytest.fixture(params=["ENOSYS", "ENOLCK", "ENOTSUP", "EOPNOTSUPP"])
def no_flock(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system that refuses `flock` with this error."""
    code = getattr(errno, request.param)

    def refuse(*_: Any) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", refuse)


@pytest.mark.usefixtures("no_flock")
def test_without_flock_a_run_is_alone_too_and_leaves_no_marker(begin: Callable[[], Run], tmp_path: Path) -> None:
    marker = marker_of(state_folder(tmp_path / "out") / LOCK)
    with lock_output(tmp_path / "out") as journal:
        journal.begin(1)
        assert has_running_run(tmp_path / "out")
        with pytest.raises(EnvironmentFault, match=f"is written to by process .*remove {marker}"):
            begin().fuse()
    assert not has_running_run(tmp_path / "out")
    assert begin().fuse().done == 1
    assert not marker.exists()


@pytest.mark.usefixtures("no_flock")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_without_flock_the_marker_of_a_killed_run_of_this_machine_is_removed(
    begin: Callable[[], Run], tmp_path: Path
) -> None:
    child = os.fork()
    if child == 0:
        with lock_output(tmp_path / "out"):
            os._exit(0)
    os.waitpid(child, 0)
    assert marker_of(state_folder(tmp_path / "out") / LOCK).exists()
    assert begin().fuse().done == 1


def test_the_marker_of_another_machine_is_named_and_can_be_removed(begin: Callable[[], Run], tmp_path: Path) -> None:
    state = state_folder(tmp_path / "out")
    state.mkdir()
    marker = marker_of(state / LOCK)
    marker.write_text("4711\nanother-machine\n")
    for _ in range(2):
        with pytest.raises(EnvironmentFault, match=f"if that run has ended, remove {marker}"):
            begin().fuse()
    marker.unlink()
    assert begin().fuse().done == 1


def test_a_broken_link_in_the_markers_place_is_the_file_to_remove(begin: Callable[[], Run], tmp_path: Path) -> None:
    state = state_folder(tmp_path / "out")
    state.mkdir(parents=True)
    marker = marker_of(state / LOCK)
    marker.symlink_to("nothing")
    with pytest.raises(EnvironmentFault, match=re.escape(f"remove {marker}")):
        begin().fuse()
    marker.unlink()
    assert begin().fuse().done == 1


def test_a_lock_whose_run_is_on_another_machine_is_named_and_can_be_removed(
    begin: Callable[[], Run], tmp_path: Path, cli: Cli
) -> None:
    lock = state_folder(tmp_path / "out") / LOCK
    with lock_output(tmp_path / "out") as journal:
        journal.write("begin", cases=1, pid=4711, host="another-machine")
        with pytest.raises(EnvironmentFault, match=f"process 4711 on another-machine: wait, or, .* remove {lock}"):
            begin().fuse()
        assert f"remove its lock: {lock}" in cli("status", tmp_path / "out").out
        journal.begin(1)
        assert "remove" not in cli("status", tmp_path / "out").out
        with pytest.raises(EnvironmentFault, match="wait, or choose another --output$"):
            begin().fuse()
        lock.unlink()
        assert begin().fuse().done == 1


def test_what_is_not_promised_without_flock_is_said_once(
    tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_case(tmp_path / "in" / "a")
    monkeypatch.setattr("tfs_rt.system.locks.has_flock", lambda folder: False)
    for workers in ([], ["--workers", 2]):
        done = cli("fuse", tmp_path / "in", "-o", tmp_path / "out", "--backend", "ort-cpu", *workers)
        assert (done.code, done.err.count("no locks (flock)")) == (0, 1)


@pytest.mark.usefixtures("no_flock")
def test_the_cache_works_without_flock(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    entry = cache.get_or_make("engine", {"a": 1}, lambda: (b"made", {}))
    assert entry.read() == b"made"


@pytest.mark.usefixtures("no_flock")
def test_prepare_works_without_flock_one_at_a_time(tmp_path: Path) -> None:
    prepare = pytest.importorskip("tfs_rt_reference.data.prepare")
    with (
        prepare._locked(tmp_path / "set"),
        pytest.raises(UsageError, match="wait for it, or, if it has ended, remove"),
        prepare._locked(tmp_path / "set"),
    ):
        pass
    with prepare._locked(tmp_path / "set"):
        assert not list((tmp_path / "set").iterdir())
    assert not list(tmp_path.glob(".set*.marker"))
