"""Cases shared by several runs into one folder, on several machines or in several processes: each is done once."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from support.helpers import Cli, InProcessReader, write_case
from support.pipelines import blend, pipeline
from tfs_rt.batch.lock import has_running_run, lock_output
from tfs_rt.batch.progress import status
from tfs_rt.batch.request import Options, Request
from tfs_rt.batch.run import Run
from tfs_rt.batch.shards import Job, Shard, parse_shard, shard_of
from tfs_rt.cases.discover import discover
from tfs_rt.errors import EnvironmentFault, UsageError

CASES = 9
FUSE = ("fuse", "--backend", "ort-cpu")  # each worker begins sooner than with the default: it compiles nothing


@pytest.fixture
def source(tmp_path: Path) -> Path:
    for i in range(CASES):
        write_case(tmp_path / "in" / f"k{i}")
    (tmp_path / "in" / "k3" / "pet.png").write_bytes(b"no image")
    return tmp_path / "in"


@pytest.fixture
def begin(source: Path, tmp_path: Path) -> Callable[..., Run]:
    made = pipeline(tmp_path, blend)

    def ready(output: Path, shard: Shard | None = None, **more: Any) -> Run:
        output.mkdir(exist_ok=True)
        return Run(made, Options(output, shard=shard, **more), discover([source], output=output), InProcessReader())

    return ready


def job(begin: Callable[..., Run], out: Path, shard: Shard) -> Job:
    made = begin(out, shard).job
    assert made
    return made


def images(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*.png")}


@pytest.mark.parametrize("count", [1, 2, 3, 8, 100])
def test_each_case_belongs_to_one_shard_and_none_has_much_more_than_its_share(count: int) -> None:
    ids = [f"sub-{i:04d}" for i in range(2000)]
    owners = [[shard for shard in Shard.all(count) if shard.holds(case_id)] for case_id in ids]
    assert all(len(owner) == 1 for owner in owners)
    sizes = [sum(owner[0] == shard for owner in owners) for shard in Shard.all(count)]
    mean = 2000 / count
    assert max(sizes) < mean + 5 * mean**0.5 + 1  # five standard deviations of a fair draw


@pytest.mark.parametrize(
    ("text", "environment", "expected"),
    [
        ("2/8", {}, Shard(2, 8)),
        ("auto", {"SLURM_ARRAY_TASK_ID": "7", "SLURM_ARRAY_TASK_MIN": "5", "SLURM_ARRAY_TASK_COUNT": "4"}, Shard(3, 4)),
        (
            "auto",
            {"SLURM_ARRAY_TASK_ID": "6", "SLURM_ARRAY_TASK_STEP": "3", "SLURM_ARRAY_TASK_COUNT": "4"},
            Shard(3, 4),
        ),
        ("auto", {"SLURM_PROCID": "0", "SLURM_NTASKS": "2", "SLURM_STEP_ID": "0"}, Shard(1, 2)),
        ("auto/6", {"JOB_COMPLETION_INDEX": "5"}, Shard(6, 6)),
    ],
)
def test_a_shard_is_given_or_told_by_the_scheduler(text: str, environment: dict[str, str], expected: Shard) -> None:
    assert parse_shard(text, environment) == expected
    assert shard_of(expected.folder) == expected


@pytest.mark.parametrize(
    ("text", "environment"),
    [
        ("0/4", {}),
        ("5/4", {}),
        ("1", {}),
        ("1/0", {}),
        ("-1/4", {}),
        ("a/b", {}),
        ("", {}),
        ("1/99999", {}),
        ("auto", {}),
        ("auto", {"JOB_COMPLETION_INDEX": "0"}),
        ("auto", {"SLURM_PROCID": "0", "SLURM_NTASKS": "8"}),  # in a batch script, which srun has not started
        ("auto/2", {"JOB_COMPLETION_INDEX": "2"}),
        ("auto", {"SLURM_ARRAY_TASK_ID": "x"}),
    ],
)
def test_what_is_no_shard_is_refused(text: str, environment: dict[str, str]) -> None:
    with pytest.raises(UsageError, match=r"--shard: .*write"):
        parse_shard(text, environment)


def test_shards_give_the_tree_of_one_run_and_one_report(begin: Callable[..., Run], tmp_path: Path) -> None:
    begin(tmp_path / "whole").fuse()
    for shard in Shard.all(3):
        begin(tmp_path / "out", shard).fuse()
    assert images(tmp_path / "out") == images(tmp_path / "whole")
    one, together = (json.loads((tmp_path / name / "report.json").read_text()) for name in ("whole", "out"))
    assert [r["id"] for r in together["results"]] == [r["id"] for r in one["results"]]
    assert {k: together[k] for k in ("cases", "done", "failed", "ended")} == {
        k: one[k] for k in ("cases", "done", "failed", "ended")
    }
    assert together["shards"] == {"1/3": "complete", "2/3": "complete", "3/3": "complete"}
    assert begin(tmp_path / "out").fuse().kept == CASES - 1  # a run over all goes on from there


def test_the_report_says_which_shards_have_not_been_run(begin: Callable[..., Run], tmp_path: Path) -> None:
    begin(tmp_path / "out", Shard(2, 3)).fuse()
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert (report["ended"], report["shards"]["1/3"]) == ("interrupted", "not begun")
    found = status(tmp_path / "out")
    assert (found["state"], found["shards"]["3/3"]) == ("complete", "not begun")


def test_shards_work_at_once_but_not_the_same_and_not_beside_a_run_over_all(
    begin: Callable[..., Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tfs_rt.batch.lock.START_TIMEOUT", 0.2)
    out = tmp_path / "out"
    out.mkdir()
    with lock_output(out, job(begin, out, Shard(1, 2))) as journal:
        journal.begin(1)
        begin(out, Shard(2, 2)).fuse()
        assert has_running_run(out)
        for other, words in ((Shard(1, 2), "process"), (Shard(1, 3), "shard 1/2"), (None, "shard 1/2")):
            with pytest.raises(EnvironmentFault, match=f"is written to by {words}"):
                begin(out, other).fuse()
    assert not has_running_run(out)
    with lock_output(out), pytest.raises(EnvironmentFault, match="is written to by"):
        begin(out, Shard(1, 2)).fuse()
    begin(out).fuse()


def test_a_shard_leaves_the_temporary_files_of_another_that_works(begin: Callable[..., Run], tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / ".a.png.01234567.tmp").touch()
    with lock_output(out, job(begin, out, Shard(1, 2))):
        (out / ".b.png.01234567.tmp").touch()
        begin(out, Shard(2, 2)).fuse()
        assert [path.name for path in out.glob(".*.tmp")] == [".b.png.01234567.tmp"]
    begin(out, Shard(2, 2)).fuse()
    assert not list(out.glob(".*.tmp"))


def test_workers_give_the_same_bytes_and_say_each_thing_once(
    tmp_path: Path, source: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They go on from the results of one shard, and import nothing from the folder that the command is called in."""
    (tmp_path / "study").mkdir()
    (tmp_path / "study" / "typer.py").write_text("raise SystemExit('not ours')")
    monkeypatch.chdir(tmp_path / "study")
    assert cli(*FUSE, source, "-o", tmp_path / "one").code == 3
    first = json.loads(cli(*FUSE, source, "-o", tmp_path / "two", "--shard", "1/2", "--json").out)
    kept = sum(result["status"] == "done" for result in first["results"])
    assert 0 < kept < CASES - 1
    done = cli(*FUSE, source, "-o", tmp_path / "two", "--workers", 2, "--json")
    assert done.code == 3
    assert images(tmp_path / "two") == images(tmp_path / "one")
    assert done.err.count("failed k3") == 1
    assert f"{CASES - 1} of {CASES} cases fused" in done.err
    assert f"{kept} of them already" in done.err
    assert json.loads(done.out)["shards"] == {"1/2": "complete", "2/2": "complete"}


@pytest.mark.parametrize(
    ("more", "code", "words"),
    [
        (["--steps", "5000", "--spacing", "t"], 2, "--steps: 5000 steps"),
        (["--model", "nowhere"], 5, "no bundle there"),
        pytest.param(["--seed", "1"], 2, "another recipe", marks=pytest.mark.slow),
        (["--sheet"], 2, "--sheet: "),
        (["--devices", "0"], 2, "--workers: each device"),
    ],
)
def test_what_stops_all_workers_is_said_once(
    tmp_path: Path, source: Path, cli: Cli, more: list[str], code: int, words: str
) -> None:
    if "--seed" in more:
        cli(*FUSE, source, "-o", tmp_path / "out")
    done = cli(*FUSE, source, "-o", tmp_path / "out", "--workers", 2, *more)
    assert done.code == code
    assert done.err.count(words) == 1
    assert "Traceback" not in done.err


def test_shards_of_another_recipe_or_of_other_cases_are_refused_while_one_goes_on(
    begin: Callable[..., Run], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    other = begin(out, Shard(2, 2), request=Request(seed=1))
    with lock_output(out, job(begin, out, Shard(1, 2))), pytest.raises(UsageError, match="of another recipe"):
        other.fuse()
    begin(out, Shard(1, 2)).fuse()
    write_case(tmp_path / "in" / "k99")
    begin(out, Shard(2, 2)).fuse()
    report = json.loads((out / "report.json").read_text())
    assert report["shards"] == {"1/2": "not begun", "2/2": "complete"}  # the first has not seen all cases
    assert status(out)["shards"] == {"1/2": "not begun", "2/2": "complete"}


def test_a_worker_that_ends_in_no_known_way_is_a_fault(
    tmp_path: Path, source: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reports of an earlier run do not stand for it."""
    for shard in ("1/2", "2/2"):
        cli(*FUSE, source, "-o", tmp_path / "out", "--shard", shard)
    assert json.loads((tmp_path / "out" / "report.json").read_text())["ended"] == "complete"
    monkeypatch.setattr("tfs_rt.batch.workers.CODE", "raise SystemExit(143)")
    done = cli(*FUSE, source, "-o", tmp_path / "out", "--workers", 2, "--overwrite")
    assert (done.code, "worker 1/2: ended with exit code 143: run the command again" in done.err) == (6, True)
    monkeypatch.setattr("tfs_rt.batch.workers.CODE", "pass")
    assert cli(*FUSE, source, "-o", tmp_path / "out", "--workers", 2, "--overwrite").code == 4


@pytest.mark.parametrize("content", ["pipe", '{"cases": "x"}', '{"results": [{}]}', "[]", "\xff"])
def test_what_lies_in_a_shards_folder_is_not_waited_for_nor_believed(
    begin: Callable[..., Run], tmp_path: Path, content: str
) -> None:
    out = tmp_path / "out"
    begin(out, Shard(2, 2)).fuse()
    report = out / ".tfs-rt" / "shards" / "2-of-2" / "report.jsonl"
    report.unlink()
    os.mkfifo(report) if content == "pipe" else report.write_text(content)
    (out / ".tfs-rt" / "shards" / "1-of-99999").mkdir()
    begin(out, Shard(1, 2)).fuse()
    assert json.loads((out / "report.json").read_text())["shards"] == {"1/2": "complete", "2/2": "not begun"}
    assert len(status(out)["shards"]) == 2


def test_very_many_shards_begin_at_once(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    with contextlib.ExitStack() as held:
        began = time.monotonic()
        for shard in Shard.all(200):
            held.enter_context(lock_output(out, Job(shard, "0")))
        assert time.monotonic() - began < 20


@pytest.fixture
def working(tmp_path: Path, source: Path) -> Iterator[subprocess.Popen[str]]:
    """A run in two workers that would go on for minutes."""
    line = [*FUSE, str(source), "-o", str(tmp_path / "out"), "--workers", "2", "--steps", "1000"]
    command = [sys.executable, "-m", "tfs_rt", *line]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True) as process:
        patience = time.monotonic() + 60
        while time.monotonic() < patience and not has_running_run(tmp_path / "out"):
            time.sleep(0.1)
        yield process
        process.kill()


@pytest.mark.parametrize(
    ("signum", "code"),
    [(signal.SIGTERM, 143), pytest.param(signal.SIGINT, 130, marks=pytest.mark.slow), (signal.SIGKILL, -9)],
)
def test_workers_end_with_the_run_that_started_them(
    tmp_path: Path, working: subprocess.Popen[str], signum: int, code: int
) -> None:
    os.kill(working.pid, signum)
    assert working.wait(30) == code
    patience = time.monotonic() + 10
    while time.monotonic() < patience and has_running_run(tmp_path / "out"):
        time.sleep(0.1)
    assert not has_running_run(tmp_path / "out")
