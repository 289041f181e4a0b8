"""Nothing is lost: a run that is killed or fails at any operation is resumed to the tree of an undisturbed run."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngImageFile

from support.crashes import VARYING, run_and_kill, stop_at, watch_operations
from support.helpers import Cli, InProcessReader, png, write_case
from support.made_series import write_volume_case
from support.pipelines import blend, pipeline
from tfs_rt.batch import verify as verification
from tfs_rt.batch.journal import parse_journal
from tfs_rt.batch.lock import lock_output, state_folder
from tfs_rt.batch.progress import status
from tfs_rt.batch.request import Options, Request
from tfs_rt.batch.run import Run
from tfs_rt.batch.shards import Shard
from tfs_rt.cases.discover import discover
from tfs_rt.errors import EnvironmentFault, UsageError
from tfs_rt.output.folder import JOURNAL
from tfs_rt.output.sidecar import DIGEST, read_sidecar, with_digest
from tfs_rt.system.files import TEMPORARY

CASES = 4
NAMES = ("mr-t1", "mr-t2", "pet")  # of the files of a case, in slot order


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Three cases that can be fused, and one that cannot."""
    for i in range(CASES):
        write_case(tmp_path / "in" / f"k{i}")
    (tmp_path / "in" / "k2" / "pet.png").write_bytes(b"no image")
    return tmp_path / "in"


@pytest.fixture
def begin(source: Path, tmp_path: Path) -> Callable[..., Run]:
    """A run ready to be fused into a folder."""
    made = pipeline(tmp_path, blend)

    def ready(output: Path, **options: Any) -> Run:
        output.mkdir(exist_ok=True)
        request = Request(seed=options.pop("seed", 0), samples=options.pop("samples", 1))
        return Run(made, Options(output, request, **options), discover([source], output=output), InProcessReader())

    return ready


def tree(folder: Path) -> dict[str, Any]:
    """A folder's content, without entries that differ between two runs."""
    found: dict[str, Any] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix == ".png":
            found[path.name] = hashlib.sha256(path.read_bytes()).hexdigest()
        elif path.suffix == ".json":
            facts = json.loads(path.read_text())
            for result in facts.get("results", []):
                result["status"] = result["status"].replace("kept", "done")
                result.pop("seconds", None)
            found[path.name] = {key: value for key, value in facts.items() if key not in VARYING}
        elif path.name == "sheets":
            found |= {f"sheets/{name}": facts for name, facts in tree(path).items()}
    return found


def check_results_are_whole(folder: Path) -> None:
    """Check that every visible result is complete."""
    for path in folder.glob("[!.]*.png"):
        Image.open(path).load()
    for path in folder.glob("k*.json"):
        sidecar = read_sidecar(path)
        image = path.with_suffix(".png")
        assert not image.exists() or sidecar.result.sha256 == hashlib.sha256(image.read_bytes()).hexdigest()


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.parametrize(
    ("earlier", "options"),
    [
        ("nothing", {"seed": 1}),
        ("another recipe", {"seed": 1, "resume": False}),
        ("a case that was good", {"seed": 1, "batch": 2, "sheet": True}),
        ("nothing", {"seed": 1, "samples": 2, "shard": Shard(1, 1)}),
    ],
)
@pytest.mark.parametrize("every", [pytest.param(1, marks=pytest.mark.slow, id="all"), pytest.param(17, id="a few")])
def test_a_run_killed_at_any_operation_and_run_again_gives_the_undisturbed_tree(
    begin: Callable[..., Run], source: Path, tmp_path: Path, earlier: str, options: dict[str, Any], every: int
) -> None:
    good, bad = ((source / case / "pet.png").read_bytes() for case in ("k0", "k2"))

    def output(name: str) -> Path:
        if earlier == "another recipe":
            begin(tmp_path / name, seed=9).fuse()
        elif earlier == "a case that was good":
            (source / "k2" / "pet.png").write_bytes(good)
            begin(tmp_path / name, seed=1).fuse()
            (source / "k2" / "pet.png").write_bytes(bad)
        return tmp_path / name

    run = begin(output("clean"), **options)
    with watch_operations() as seen:
        run.fuse()
    expected = tree(tmp_path / "clean")
    assert len(seen) > 40
    for point in range(1, len(seen) + 1, every):
        out = output(f"killed{point}")
        run_and_kill(begin(out, **options), point)
        check_results_are_whole(out)
        begin(out, **options).fuse()
        assert tree(out) == expected, f"killed before operation {point}, {seen[point - 1]}"
        assert not [path for path in out.rglob("*") if TEMPORARY.fullmatch(path.name)]


@pytest.mark.parametrize("every", [pytest.param(1, marks=pytest.mark.slow, id="all"), pytest.param(17, id="a few")])
def test_a_run_that_writes_a_series_is_stopped_at_any_operation_and_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, every: int
) -> None:
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)  # slow, and without effect as the machine runs on
    write_volume_case(tmp_path / "in" / "k", slices=2)
    fuser = pipeline(tmp_path, blend)

    def fuse(output: Path) -> None:
        output.mkdir(exist_ok=True)
        options = Options(output, Request(samples=2))
        Run(fuser, options, discover([tmp_path / "in"], output=output), InProcessReader()).fuse()

    def everything(output: Path) -> dict[str, Any]:
        found = {str(path.relative_to(output)): path.read_bytes() for path in output.rglob("[!.]*") if path.is_file()}
        return tree(output) | {name: data for name, data in found.items() if name.endswith((".dcm", ".tif"))}

    with watch_operations() as seen:
        fuse(tmp_path / "clean")
    expected = everything(tmp_path / "clean")
    assert {"k/0001.dcm", "k/0002.dcm", "spread/k/0001.dcm", "spread/k.tif", "k.json"} <= expected.keys()
    for point in range(1, len(seen) + 1, every):
        out = tmp_path / f"stopped{point}"
        with stop_at(point):
            fuse(out)
        assert not (out / "k").exists() or len(list((out / "k").iterdir())) == 2
        fuse(out)
        assert everything(out) == expected, f"stopped before operation {point}, {seen[point - 1]}"
        assert not [path for path in out.rglob("*") if TEMPORARY.fullmatch(path.name)]


def test_a_file_is_flushed_before_it_is_renamed_and_its_folder_after(begin: Callable[..., Run], tmp_path: Path) -> None:
    with watch_operations() as seen:
        begin(tmp_path / "out", seed=1).fuse()
    opened: dict[int, str] = {}  # what a descriptor stands for
    # files and folders with what is not on the disk yet
    written = set()
    entries = set()
    renamed = []
    for name, arguments, result in seen:
        if name == "open":
            opened[result] = str(arguments[0])
        elif name == "write":
            written.add(opened[arguments[0]])
        elif name == "fsync":
            written.discard(opened[arguments[0]])
            entries.discard(opened[arguments[0]])
        elif name == "replace":
            assert not entries  # a sidecar never reaches the disk before its image
            assert str(arguments[0]) not in written
            entries.add(str(Path(arguments[1]).parent))
            renamed.append(Path(arguments[1]).name)
    assert not entries
    pairs = [f"k{i}.{ending}" for i in (0, 1, 3) for ending in ("png", "json")]
    assert renamed == ["report.json", *pairs, "report.json"]


@pytest.mark.parametrize("name", ["write", "fsync", "replace", "unlink", "mkdir"])
@pytest.mark.parametrize(("code", "stays"), [(errno.ENOSPC, True), (errno.EIO, False)])
@pytest.mark.parametrize("every", [pytest.param(1, marks=pytest.mark.slow, id="all"), pytest.param(6, id="a sixth")])
def test_a_full_or_broken_disk_ends_a_run_that_can_be_resumed(
    begin: Callable[..., Run], tmp_path: Path, name: str, code: int, stays: bool, every: int
) -> None:
    run = begin(tmp_path / "clean", seed=1)
    with watch_operations() as seen:
        run.fuse()
    expected = tree(tmp_path / "clean")
    for at in range(1, sum(kind == name for kind, *_ in seen) + 1, every):
        out = tmp_path / f"{name}{at}"
        count = 0

        def act(number: int, kind: str, arguments: tuple, at: int = at) -> None:
            nonlocal count
            del number, arguments
            count += kind == name
            if kind == name and (count == at or (stays and count > at)):
                raise OSError(code, os.strerror(code))

        run = begin(out, seed=1)
        with watch_operations(act), pytest.raises(EnvironmentFault):
            run.fuse()
        check_results_are_whole(out)
        begin(out, seed=1).fuse()
        assert tree(out) == expected


def test_inputs_that_cannot_be_read_now_cost_no_result(begin: Callable[..., Run], source: Path, tmp_path: Path) -> None:
    listed = tmp_path / "l.csv"
    rows = [",".join([case, *(str(source / case / f"{name}.png") for name in NAMES)]) for case in ("k0", "k1")]
    listed.write_text("\n".join(["id,m1,m2,functional", *rows]))
    run = begin(tmp_path / "out")
    run.cases = discover([listed], output=tmp_path / "out")
    run.fuse()
    before = tree(tmp_path / "out")
    source.rename(tmp_path / "unmounted")
    run = Run(run.fuser, run.options, discover([listed], output=tmp_path / "out"))
    assert run.fuse().exit_code == 4
    (tmp_path / "unmounted").rename(source)
    assert {name: facts for name, facts in tree(tmp_path / "out").items() if name in before and name[0] == "k"} == {
        name: facts for name, facts in before.items() if name[0] == "k"
    }


def test_a_case_with_a_missing_file_keeps_its_result_and_one_with_a_changed_file_does_not(
    begin: Callable[..., Run], source: Path, tmp_path: Path
) -> None:
    begin(tmp_path / "out").fuse()
    (source / "k0" / "mr-t1.png").rename(tmp_path / "away.png")
    assert begin(tmp_path / "out").fuse().done == 2
    assert (tmp_path / "out" / "k0.json").exists()
    (source / "k0" / "pet.png").write_bytes(b"another")
    assert begin(tmp_path / "out").fuse().done == 2
    assert not list((tmp_path / "out").glob("k0*"))


def test_every_option_that_decides_pixels_is_part_of_the_recipe(source: Path, tmp_path: Path, cli: Cli) -> None:
    given = {"--scale": 4, "--steps": 1, "--seed": 0, "--sampler": "ddim", "--target-size": 64, "--model": "tfs-rt/x4"}
    other = {"--steps": 2, "--seed": 1, "--sampler": "dpmpp-2m", "--target-size": 72, "--eta": 1}
    out = ["-o", tmp_path / "out"]
    case = source / "k0"
    flat = [word for item in given.items() for word in item]
    assert cli("fuse", case, *out, *flat).code == 0
    for option, value in other.items():
        changed = [word for item in (given | {option: value}).items() for word in item]
        refused = cli("fuse", case, *out, *changed)
        assert refused.code == 2, option
        assert "holds results of another recipe" in refused.err
    assert cli("fuse", case, *out, "--method", "bitonicx", "--scale", 2).code == 2
    assert cli("fuse", case, "-o", tmp_path / "two", "--method", "bitonicx", "--scale", 2).code == 0
    again = cli("fuse", case, "-o", tmp_path / "two", "--method", "bitonicx", "--scale", 4)
    assert again.code == 2
    assert "scale: 2 there, 4 now" in again.err


def test_results_beside_their_inputs_are_no_inputs(source: Path, tmp_path: Path, cli: Cli) -> None:
    folder = tmp_path / "nnunet"
    folder.mkdir()
    for i in range(2):
        for channel, name in enumerate(NAMES):
            data = (source / "k0" / f"{name}.png").read_bytes()
            (folder / f"brats_{i:04d}_{channel:04d}.png").write_bytes(data)
    for _ in range(2):
        done = cli("fuse", folder, "-o", folder)
        assert (done.code, "2 of 2 cases fused" in done.err) == (0, True)
    assert cli("verify", folder).code == 0  # inputs are not taken for results either
    (folder / "brats_0000.json").unlink()  # as a kill between image and sidecar leaves it
    done = cli("fuse", folder, "-o", folder)
    assert (done.code, "2 of 2 cases fused" in done.err) == (0, True)


@pytest.mark.parametrize("name", ["report.json", ".tfs-rt/journal.jsonl", "sheets/001.png", ".a.01234567.tmp"])
def test_an_input_where_a_run_writes_is_refused(source: Path, tmp_path: Path, cli: Cli, name: str) -> None:
    file = tmp_path / "out" / name
    file.parent.mkdir(parents=True)
    file.write_bytes((source / "k0" / "pet.png").read_bytes())
    case = source / "k0"
    (tmp_path / "l.csv").write_text(f"id,m1,m2,functional\na,{case}/mr-t1.png,{case}/mr-t2.png,{file}\n")
    refused = cli("fuse", tmp_path / "l.csv", "-o", tmp_path / "out")
    assert (refused.code, "a run writes there" in refused.err) == (2, True)
    assert file.read_bytes() == (case / "pet.png").read_bytes()


def test_a_resume_needs_no_room_for_what_is_there(
    begin: Callable[..., Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin(tmp_path / "out").fuse()
    (tmp_path / "in" / "k2" / "pet.png").unlink()
    monkeypatch.setattr("shutil.disk_usage", lambda folder: type("Usage", (), {"free": 10}))
    assert begin(tmp_path / "out").fuse().kept == 3


ODD = {
    "a pipe": lambda path: os.mkfifo(path),
    "a folder": lambda path: path.mkdir(),
    "a link to a device": lambda path: path.symlink_to("/dev/zero"),
    "a link to itself": lambda path: path.symlink_to(path),
    "nothing": lambda path: path.write_bytes(b""),
    "garbage": lambda path: path.write_bytes(bytes(range(256))),
    "a deep list": lambda path: path.write_text("[" * 200_000),
    "a list": lambda path: path.write_text("[]"),
    "a long number": lambda path: path.write_text('{"n": ' + "9" * 5000 + ', "event": "end", "ended": "x"}'),
    "a bare event": lambda path: path.write_text('{"n": 1, "event": "begin"}\n{"n": 2, "event": "failed", "case": []}'),
    # larger than any limit on a file of ours; a result has none, and all of it is hashed
    "a large file": lambda path: (path.touch(), os.truncate(path, 2**26 if path.suffix == ".png" else 2**33)),
}


@pytest.mark.parametrize("odd", list(ODD))
@pytest.mark.parametrize("name", ["k0.json", "k0.png", "report.json", ".tfs-rt/journal.jsonl", ".tfs-rt/lock"])
def test_odd_files_in_the_output_folder_end_in_one_line(
    begin: Callable[..., Run], source: Path, tmp_path: Path, cli: Cli, odd: str, name: str
) -> None:
    out = tmp_path / "out"
    begin(out).fuse()
    path = out / name
    (path.rename(tmp_path / "away") if path.is_dir() else path.unlink())
    ODD[odd](path)
    for command in (["verify", out], ["status", out], ["fuse", source / "k0", "-o", out, "--overwrite"]):
        done = cli(*command)
        assert done.code in (0, 3, 4, 6), (command, done)
        assert "internal error" not in done.err


@pytest.mark.parametrize(
    "change",
    [
        {"case": 3},
        {"case": "k1"},
        {"result": []},
        {"result": {"file": "../k0.png", "sha256": "0"}},
        {"result": {"file": 1, "sha256": "0"}},
        {"result": {"file": "k0.png"}},
        {"inputs": []},
        {"inputs": {"m1": 1}},
        {"inputs": {"m1": {"file": "a\0", "sha256": "0"}}},
        {"warnings": [3]},
        {"warnings": None},
        {"versions": 1},
        {"recipe_sha256": None},
    ],
)
def test_an_invalid_sidecar_with_a_right_digest_is_not_trusted(
    begin: Callable[..., Run], source: Path, tmp_path: Path, cli: Cli, change: dict[str, Any]
) -> None:
    out = tmp_path / "out"
    begin(out).fuse()
    (out / "k0.json").write_bytes(with_digest(without_digest(out / "k0.json") | change))
    assert begin(out, resume=True).fuse().done == 3 if "versions" not in change else True
    (out / "k0.json").write_bytes(with_digest(without_digest(out / "k1.json") | {"case": "k0"} | change))
    assert cli("verify", out).code == 3
    assert cli("fuse", source / "k0", "-o", out, "--overwrite").code == 0


def without_digest(sidecar: Path) -> dict[str, Any]:
    facts = json.loads(sidecar.read_text())
    del facts[DIGEST]
    return facts


def test_finished_cases_are_kept_and_changed_ones_are_fused_again(
    begin: Callable[..., Run], source: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    begin(out).fuse()
    before = tree(out)
    again = begin(out).fuse()
    assert (again.done, again.kept, again.exit_code) == (3, 3, 3)
    assert tree(out) == before
    for path in (out / "k0.png", out / "k1.json"):
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    (source / "k2" / "pet.png").write_bytes((source / "k1" / "pet.png").read_bytes())
    (source / "k3" / "mr-t2.png").write_bytes(png(np.full((16, 16), 90, np.uint8)))
    mended = begin(out).fuse()
    assert (mended.done, mended.kept, mended.failed) == (4, 0, 0)
    assert tree(out)["k0.png"] == before["k0.png"]


def test_another_recipe_is_refused_and_named(begin: Callable[..., Run], tmp_path: Path) -> None:
    begin(tmp_path / "out", seed=1).fuse()
    with pytest.raises(UsageError, match="another recipe .k0.json: seed: 1 there, 2 now.*--overwrite"):
        begin(tmp_path / "out", seed=2).fuse()
    assert begin(tmp_path / "out", seed=2, resume=False).fuse().kept == 0
    assert json.loads((tmp_path / "out" / "k0.json").read_text())["seed"] == 2


def test_one_run_at_a_time_writes_to_a_folder(begin: Callable[..., Run], tmp_path: Path) -> None:
    run = begin(tmp_path / "out")
    with lock_output(tmp_path / "out") as journal:
        journal.write("begin", cases=1, pid=4711, host="there")
        with pytest.raises(EnvironmentFault, match="is written to by process 4711 on there"):
            run.fuse()
    assert run.fuse().done == 3  # free again


def test_of_runs_that_start_together_one_works_and_the_others_are_refused(tmp_path: Path, source: Path) -> None:
    line = ["fuse", str(source), "-o", str(tmp_path / "out"), "--backend", "ort-cpu"]
    command = [sys.executable, "-m", "tfs_rt", *line]
    processes = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    ends = [(process.communicate(timeout=60)[1], process.returncode) for process in processes]
    assert {code for _, code in ends} <= {3, 6}
    assert 3 in {code for _, code in ends}
    assert all("is written to by process" in said for said, code in ends if code == 6)
    check_results_are_whole(tmp_path / "out")


def test_a_disk_without_room_is_reported_before_the_first_case(
    begin: Callable[..., Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda folder: type("Usage", (), {"free": 10}))
    with pytest.raises(EnvironmentFault, match="0.0 MB of free space, and 4 results may take"):
        begin(tmp_path / "out").fuse()
    assert not list((tmp_path / "out").glob("*.png"))


@pytest.mark.parametrize("flips", [120, pytest.param(500, marks=pytest.mark.slow)])
def test_verify_finds_every_flipped_bit(begin: Callable[..., Run], tmp_path: Path, flips: int) -> None:
    out = tmp_path / "out"
    rng = np.random.default_rng(0)
    begin(out).fuse()
    assert [(c.case, c.verdict, c.inputs) for c in verification.verify(out)] == [
        (case, "good", "as they were") for case in ("k0", "k1", "k3")
    ]
    text = (out / "k0.json").read_bytes()
    (out / "k0.json").write_bytes(text.replace(b"\n", b"\r\n"))
    assert [c.case for c in verification.verify(out) if c.verdict == "bad"] == ["k0"]
    (out / "k0.json").write_bytes(text)
    for i in range(flips):
        path = out / f"k{(0, 1, 3)[i % 3]}{('.png', '.json')[i % 2]}"
        data = path.read_bytes()
        changed = bytearray(data)
        changed[rng.integers(len(data))] ^= 1 << rng.integers(8)
        path.write_bytes(changed)
        assert [c.case for c in verification.verify(out) if c.verdict == "bad"] == [path.stem]
        path.write_bytes(data)


def test_verify_reports_missing_renamed_and_changed_files(
    begin: Callable[..., Run], source: Path, tmp_path: Path, cli: Cli
) -> None:
    out = tmp_path / "out"
    begin(out).fuse()
    assert cli("verify", out).code == 0
    (out / "k0.png").unlink()
    (out / "k1.json").unlink()
    (out / "k3.json").rename(out / "k4.json")
    (out / "k3.png").rename(out / "k4.png")
    done = cli("verify", out, "--json")
    assert done.code == 3
    for told in ("k0: {}/k0.png: is missing", "k1: {}/k1.png: has no sidecar", "k4: {}/k4.json: is the sidecar of k3"):
        assert f"failed {told.format(out)}" in done.err
    assert [row["verdict"] for row in json.loads(done.out)] == ["bad"] * 3
    begin(out).fuse()
    (out / "k4.json").unlink()
    (out / "k4.png").unlink()
    (source / "k1" / "pet.png").unlink()
    (source / "k3" / "pet.png").write_bytes(b"other")
    told = cli("verify", out)
    assert told.code == 0
    assert "k1: the inputs are gone" in told.err
    assert "k3: the inputs are changed" in told.err
    assert cli("verify", tmp_path / "none").code == 4


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_status_reports_running_complete_and_killed_runs(begin: Callable[..., Run], tmp_path: Path, cli: Cli) -> None:
    out = tmp_path / "out"
    run = begin(tmp_path / "out")
    assert cli("status", out).code == 4
    going = threading.Event()
    looked = threading.Event()

    def pause(result: dict[str, Any]) -> None:
        if result["id"] == "k1":  # ended when k2, which fails, was read
            going.set()
            looked.wait(30)

    run.on_result = pause
    worker = threading.Thread(target=run.fuse)
    worker.start()
    assert going.wait(30)
    during = status(out)
    looked.set()
    worker.join()
    assert (during["state"], during["cases"], during["done"], during["failed"]) == ("running", 4, 2, 1)
    assert during["seconds_left"] is not None
    after = cli("status", out)
    assert after.out.startswith("complete: 3 of 4 done, 1 failed, 0 left\nfailed k2: ")
    run_and_kill(begin(out, seed=3, resume=False), 40)
    assert cli("status", out).out.startswith("broken off: ")


def test_a_journal_goes_on_after_a_torn_line(begin: Callable[..., Run], tmp_path: Path) -> None:
    begin(tmp_path / "out").fuse()
    path = state_folder(tmp_path / "out") / JOURNAL
    events, torn = parse_journal(path.read_bytes())
    assert not torn
    assert [event["n"] for event in events] == list(range(1, len(events) + 1))
    path.write_bytes(path.read_bytes()[:-5])
    begin(tmp_path / "out").fuse()
    later, _ = parse_journal(path.read_bytes())
    assert [event["event"] for event in later[len(events) - 1 :]] == ["begin", "kept", "kept", "failed", "kept", "end"]
    assert [event["n"] for event in later] == list(range(1, len(later) + 1))


def test_a_state_folder_that_is_a_link_is_not_followed(begin: Callable[..., Run], tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / ".tfs-rt").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(EnvironmentFault, match="is a link"):
        begin(tmp_path / "out").fuse()
    assert not list((tmp_path / "elsewhere").iterdir())


def test_a_journal_that_is_a_link_is_not_followed(begin: Callable[..., Run], tmp_path: Path) -> None:
    state = tmp_path / "out" / ".tfs-rt"
    state.mkdir(parents=True)
    (tmp_path / "mine").write_bytes(b"mine")
    (state / JOURNAL).symlink_to(tmp_path / "mine")
    with pytest.raises(EnvironmentFault, match="journal.jsonl: .*remove the link"):
        begin(tmp_path / "out").fuse()
    assert (tmp_path / "mine").read_bytes() == b"mine"


def replace_folder(out: Path, away: Path) -> None:
    out.rename(away)
    out.mkdir()


def replace_folder_by_its_copy(out: Path, away: Path) -> None:
    shutil.copytree(out, away)
    out.rename(away.with_name("original"))
    away.rename(out)


EXCHANGES = {
    "moved": lambda out, away: out.rename(away),
    "replaced": replace_folder,
    "replaced by its copy": replace_folder_by_its_copy,
    "removed": lambda out, away: shutil.rmtree(out),
}


@pytest.mark.parametrize("exchange", list(EXCHANGES))
@pytest.mark.parametrize("options", [{}, {"batch": 2, "sheet": True}, {"shard": Shard(1, 1)}])
def test_moving_or_replacing_the_output_folder_ends_the_run(
    begin: Callable[..., Run], tmp_path: Path, exchange: str, options: dict[str, Any]
) -> None:
    out = tmp_path / "out"
    away = tmp_path / "away"
    run = begin(out, **options)
    before: set[Path] = set()

    def act(result: dict[str, Any]) -> None:
        if result["id"] == "k0":
            EXCHANGES[exchange](out, away)
            before.update(out.rglob("*"))

    run.on_result = act
    with pytest.raises(EnvironmentFault, match="was moved, replaced or removed during the run: put it back") as fault:
        run.fuse()
    assert fault.value.exit_code == 6
    assert set(out.rglob("*")) == before  # nothing was written to another folder
    if exchange in ("moved", "replaced"):
        shutil.rmtree(out, ignore_errors=True)
        away.rename(out)
        assert begin(out, **options).fuse().kept >= 1


def test_a_file_system_that_reports_no_size_is_not_full(
    begin: Callable[..., Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown(folder: Path) -> Any:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    for answer in (lambda folder: type("Usage", (), {"total": 0, "used": 0, "free": 0}), unknown):
        monkeypatch.setattr("shutil.disk_usage", answer)
        assert begin(tmp_path / "out", resume=False).fuse().done == 3


def test_an_image_carries_its_provenance_as_text(begin: Callable[..., Run], source: Path, tmp_path: Path) -> None:
    write_case(source / "cas nº 1 ☃")
    begin(tmp_path / "out", seed=7).fuse()
    sidecar = read_sidecar(tmp_path / "out" / "k0.json")
    with Image.open(tmp_path / "out" / "k0.png") as image:
        assert isinstance(image, PngImageFile)
        text = dict(image.text)
        pixels = np.asarray(image)
    hashes = [hashlib.sha256((source / "k0" / f"{name}.png").read_bytes()).hexdigest() for name in NAMES]
    assert text.pop("tfs-rt:inputs-sha256").split() == hashes
    assert text.pop("Software").startswith("tfs-rt ")
    assert text == {
        "tfs-rt:case": "k0",
        "tfs-rt:made-by": sidecar.provenance["model"]["name"],
        "tfs-rt:recipe-sha256": sidecar.recipe_sha256,
        "tfs-rt:seed": "7",
        "Disclaimer": "image made by fusion; research use only; not a medical device",
    }
    assert sidecar.result.pixels_sha256 == hashlib.sha256(pixels.tobytes()).hexdigest()
    with Image.open(tmp_path / "out" / "cas nº 1 ☃.png") as image:
        assert isinstance(image, PngImageFile)
        assert image.text["tfs-rt:case"] == "cas nº 1 ☃"


@pytest.mark.parametrize(
    ("cases", "bad"),
    [
        (20, 3),
        pytest.param(200, 1, marks=pytest.mark.slow),
        pytest.param(200, 20, marks=pytest.mark.slow),
        pytest.param(200, 100, marks=pytest.mark.slow),
    ],
)
def test_of_many_cases_the_bad_ones_stop_only_themselves(
    tmp_path: Path, rng: np.random.Generator, cases: int, bad: int
) -> None:
    for i in range(cases):
        write_case(tmp_path / "in" / f"k{i:03d}")
    spoilt = {f"k{i:03d}" for i in rng.choice(cases, bad, replace=False)}
    for case in spoilt:
        file = tmp_path / "in" / case / NAMES[rng.integers(3)]
        data = file.with_suffix(".png").read_bytes()
        file.with_suffix(".png").write_bytes(data[: rng.integers(len(data))])
    (tmp_path / "out").mkdir()
    found = discover([tmp_path / "in"], output=tmp_path / "out")
    report = Run(pipeline(tmp_path, blend), Options(tmp_path / "out", batch=3), found, InProcessReader()).fuse()
    assert (report.exit_code, report.done) == (3, cases - bad)
    assert {path.stem for path in (tmp_path / "out").glob("k*.png")} == {f"k{i:03d}" for i in range(cases)} - spoilt
    failed = {result["id"]: result["error"] for result in report.results if result["status"] == "failed"}
    assert failed.keys() == spoilt
    assert all(case in error["subject"] and error["reason"] and error["remedy"] for case, error in failed.items())
