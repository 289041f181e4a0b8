"""What a run does when the engine fails: nothing is lost that was done, and the report says the rest."""

import contextlib
import dataclasses
import json
import os
import re
import signal
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from support.helpers import Here, png, read_png, write_case
from support.paths import ROOT
from support.pipelines import blend, pipeline
from tfs_rt.batch.execute import SELF_TEST_EVERY
from tfs_rt.batch.request import Options, Request
from tfs_rt.batch.run import Run
from tfs_rt.cases.case import Case
from tfs_rt.cases.discover import discover
from tfs_rt.cases.load import Loaded, Reading, load_case
from tfs_rt.errors import EnvironmentFault, InputError, ModelError, TfsRtError
from tfs_rt.images import RGB, Array
from tfs_rt.sampling.engine import ImageBatch
from tfs_rt.system import signals
from tfs_rt.system.files import write_file


def cases(tmp_path: Path, count: int) -> Path:
    for i in range(count):
        write_case(tmp_path / "in" / f"k{i}")
    colour = np.asarray([250, 10, 10], dtype=np.uint8)
    (tmp_path / "in" / "k1" / "pet.png").write_bytes(png(np.full((16, 16, 3), colour)))
    return tmp_path / "in"


def is_the_marked_case(condition: Array) -> bool:
    return bool((condition[:, 6] > 0.9).all(axis=(1, 2)).any())


def run(tmp_path: Path, fail: BaseException, count: int, batch: int) -> Run:
    def predict(condition: Array, x_t: Array, noise_level: Array) -> Array:
        if is_the_marked_case(condition):
            raise fail
        return blend(condition, x_t, noise_level)

    out = tmp_path / "out"
    out.mkdir()
    found = discover([cases(tmp_path, count)], output=out)
    return Run(pipeline(tmp_path, predict), Options(out, batch=batch), found, Here())


@pytest.mark.parametrize("batch", [1, 2, 4])
@pytest.mark.parametrize("fail", [MemoryError("no room"), RuntimeError("engine\nlong text"), ValueError()])
def test_what_cannot_run_fails_alone(tmp_path: Path, fail: Exception, batch: int) -> None:
    report = run(tmp_path, fail, 4, batch).fuse()
    assert report.exit_code == 3
    assert {r["id"]: r["status"] for r in report.results} == {"k0": "done", "k1": "failed", "k2": "done", "k3": "done"}
    assert sorted(p.name for p in (tmp_path / "out").iterdir() if p.suffix == ".png") == ["k0.png", "k2.png", "k3.png"]


def test_a_case_without_memory_fails_alone_and_names_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A limit that is set, however high, is no reason to end the run."""
    monkeypatch.setattr("tfs_rt.batch.case_errors.memory_limits", lambda: iter(["ulimit -v is 67108864 kB"]))
    report = run(tmp_path, MemoryError("no room"), 4, 2).fuse()
    failed = [result for result in report.results if result["status"] == "failed"]
    assert [result["id"] for result in failed] == ["k1"]
    assert "could not be fused at 64x64 (MemoryError: no room) (ulimit -v is 67108864 kB)" in str(failed[0]["error"])


@pytest.mark.parametrize("fault", [EnvironmentFault("disk", "full", "rm"), ModelError("a", "b", "c")])
def test_a_finished_case_whose_reading_fails_is_on_no_sheet_and_ends_no_run(
    tmp_path: Path, fault: TfsRtError, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = run(tmp_path, ValueError(), 2, 1)
    first.fuse()

    def refuse(*_: Any) -> None:
        raise fault

    monkeypatch.setattr("tfs_rt.batch.plan.load_case", refuse)
    options = dataclasses.replace(first.options, sheet=True)
    found = [case for case in discover([tmp_path / "in"], output=tmp_path / "out") if case.id == "k0"]
    report = Run(first.fuser, options, found, Here()).fuse()
    (kept,) = report.results
    assert (kept["status"], "is on no contact sheet" in str(kept["warnings"])) == ("kept", True)


def test_an_interruption_leaves_the_finished_cases_and_a_report(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, KeyboardInterrupt(), 3, 1).fuse()
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert [r["id"] for r in report["results"]] == ["k0"]
    assert (report["cases"], report["done"], report["ended"], report["not_run"]) == (3, 1, "interrupted", ["k1", "k2"])
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [".tfs-rt", "k0.json", "k0.png", "report.json"]


def test_a_signal_while_a_file_is_written_leaves_no_temporary_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(descriptor: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("os.fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_file(tmp_path / "a.png", b"half")
    assert list(tmp_path.iterdir()) == []


def test_a_foreign_temporary_file_does_not_block_a_run(tmp_path: Path) -> None:
    for process in range(2):
        (tmp_path / f".a.png.{process}.tmp").write_bytes(b"left by a killed run")
    write_file(tmp_path / "a.png", b"whole")
    assert (tmp_path / "a.png").read_bytes() == b"whole"


def test_a_signal_that_the_engine_swallows_ends_the_run_after_its_batch(tmp_path: Path) -> None:
    watched = run(tmp_path, RuntimeError(), 3, 1)

    def swallow(cases: float) -> None:
        with contextlib.suppress(BaseException):
            os.kill(os.getpid(), signal.SIGTERM)

    watched.on_step = swallow
    with signals.raise_as_exceptions(), pytest.raises(signals.Signalled):
        watched.fuse()
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert (report["ended"], report["done"], report["not_run"]) == ("interrupted", 1, ["k1", "k2"])


class Watched:
    """A fuser that knows how many batches are under way, and cannot fuse more than `most` cases at once."""

    scale, steps, trained_size = 4, 1, None

    def __init__(self, most: int = 1) -> None:
        self.at_once, self.under_way, self.most, self.begun = most, 0, 0, list[tuple[str, int]]()

    def begin(self, batch: ImageBatch) -> Callable[[], list[RGB]]:
        self.begun.append(("+".join(batch.ids), self.under_way))
        self.under_way += 1
        self.most = max(self.most, self.under_way)

        def wait() -> list[RGB]:
            self.under_way -= 1
            if len(batch.ids) > self.at_once:
                raise FloatingPointError("NaN")
            return [np.full((*batch.size, 3), int(name[1:]), np.uint8) for name in batch.ids]

        return wait

    def self_test(self) -> None:
        assert not self.under_way

    def provenance(self) -> dict[str, Any]:
        return {"method": "watched", "versions": {}}


def test_what_is_tried_alone_is_tried_with_nothing_else_under_way(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    for i in range(7):
        write_case(tmp_path / "in" / f"k{i}")
    fuser, out = Watched(), tmp_path / "out"
    report = Run(fuser, Options(out, batch=3), discover([tmp_path / "in"], output=out), Here()).fuse()
    assert (report.exit_code, fuser.most) == (0, 2)
    assert fuser.begun[:3] == [("k0+k1+k2", 0), ("k3+k4+k5", 1), ("k0", 0)]
    assert all(before == 0 for ids, before in fuser.begun if "+" not in ids)
    for i in range(7):
        assert (read_png(out / f"k{i}.png") == i).all()


def test_a_retry_is_not_kept_from_memory_by_what_failed(tmp_path: Path) -> None:
    """The frames of an exception hold what the engine had allocated."""
    held: list[weakref.ref] = []

    class Memory:
        """Of a device."""

    class Full(Watched):
        def begin(self, batch: ImageBatch) -> Any:
            if len(batch.ids) > 1:
                memory = Memory()
                held.append(weakref.ref(memory))
                raise MemoryError("full")
            assert held[0]() is None, "a retry finds the device as full as before"
            return super().begin(batch)

    (tmp_path / "out").mkdir()
    for i in range(2):
        write_case(tmp_path / "in" / f"k{i}")
    found = discover([tmp_path / "in"], output=tmp_path / "out")
    assert Run(Full(), Options(tmp_path / "out", batch=2), found, Here()).fuse().exit_code == 0


def test_no_more_than_two_batches_are_read_before_their_results_are_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory stays flat over any number of cases, and a kill loses no more than what was under way."""
    (tmp_path / "out").mkdir()
    for i in range(9):
        write_case(tmp_path / "in" / f"k{i}")
    read: list[str] = []
    ahead: list[int] = []

    def counted(case: Case, *arguments: Any) -> Loaded:
        read.append(case.id)
        ahead.append(len(read) - len(list((tmp_path / "out").glob("*.png"))))
        return load_case(case, *arguments)

    monkeypatch.setattr("tfs_rt.batch.plan.load_case", counted)
    found = discover([tmp_path / "in"], output=tmp_path / "out")
    assert Run(Watched(most=2), Options(tmp_path / "out", batch=2), found, Here()).fuse().exit_code == 0
    assert max(ahead) == 4  # two batches of two


def test_slices_keep_their_order_when_a_batch_fails_and_is_tried_alone(tmp_path: Path) -> None:
    """The second batch ends before the parts of the first, tried alone, do."""
    (tmp_path / "out").mkdir()
    volume = np.arange(5, dtype=np.uint8)[:, None, None] * np.ones((1, 8, 8), np.uint8) * 40
    folder = tmp_path / "in" / "k"
    folder.mkdir(parents=True)
    for more, name in enumerate(("mr-t1", "mr-t2", "pet")):
        voxels = volume.transpose(2, 1, 0) + np.uint8(more)
        nib.save(nib.Nifti1Image(voxels, np.diag([-1.0, -1.0, 1.0, 1.0])), folder / f"{name}.nii")

    class Marking(Watched):
        def begin(self, batch: ImageBatch) -> Any:
            names = [f"k{name.split('slice')[1]}" for name in batch.ids]
            wait = super().begin(dataclasses.replace(batch, ids=names))
            first, self.at_once = self.at_once == 0, 2
            return wait if not first else lambda: wait() and wait.missing  # type: ignore[attr-defined]

    fuser = Marking(most=2)
    fuser.at_once = 0
    found = discover([tmp_path / "in"], output=tmp_path / "out")
    report = Run(fuser, Options(tmp_path / "out", batch=2), found, Here()).fuse()
    assert report.exit_code == 0, report.results
    assert any("+" not in ids for ids, _ in fuser.begun)
    colours = np.asarray(nib.Nifti1Image.from_filename(tmp_path / "out" / "k.nii.gz").dataobj)
    assert colours["R"][0, 0].tolist() == [0, 1, 2, 3, 4]


def test_a_volume_of_which_a_slice_fails_fails_once_and_as_a_whole(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    folder = write_case(tmp_path / "in" / "good").parent / "k"
    folder.mkdir()
    for level, name in enumerate(("mr-t1", "mr-t2", "pet")):
        voxels = np.full((8, 8, 6), 9 * level, np.uint8)
        nib.save(nib.Nifti1Image(voxels, np.diag([-1.0, -1.0, 1.0, 1.0])), folder / f"{name}.nii")

    class Failing(Watched):
        def begin(self, batch: ImageBatch) -> Any:
            if any(name.endswith("slice3") for name in batch.ids):
                raise RuntimeError("no")
            return super().begin(dataclasses.replace(batch, ids=["k1"] * len(batch.ids)))

    found = discover([tmp_path / "in"], output=tmp_path / "out")
    fuser = Failing(most=2)
    fuser.at_once = 2
    report = Run(fuser, Options(tmp_path / "out", batch=2), found, Here()).fuse()
    assert [(r["id"], r["status"]) for r in report.results] == [("good", "done"), ("k", "failed")]
    assert not list((tmp_path / "out").glob("k.*"))


class Sound(Watched):
    """A fuser that computes wrongly after so many self-tests."""

    def __init__(self, tests: int) -> None:
        super().__init__(most=2)
        self.at_once, self.tests = 2, tests

    def self_test(self) -> None:
        super().self_test()
        self.tests -= 1
        if self.tests < 0:
            raise EnvironmentFault("backend x", "computes wrongly", "check it")


@pytest.mark.parametrize(("tests", "kept"), [(0, 0), (1, 0), (2, 6), (3, 9)])
def test_what_was_fused_since_a_self_test_that_held_is_taken_away_if_the_next_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tests: int, kept: int
) -> None:
    monkeypatch.setattr("tfs_rt.batch.execute.SELF_TEST_EVERY", 3)
    for i in range(9):
        write_case(tmp_path / "in" / f"k{i}")
    out = tmp_path / "out"
    out.mkdir()
    run = Run(Sound(tests), Options(out, batch=2), discover([tmp_path / "in"], output=out), Here())
    if kept < 9:
        with pytest.raises(EnvironmentFault, match="computes wrongly"):
            run.fuse()
    else:
        run.fuse()
    assert len(list(out.glob("k*.png"))) == len(list(out.glob("k*.json"))) == kept
    report = json.loads((out / "report.json").read_text())
    assert (report["done"], len(report["results"]) + len(report["not_run"])) == (kept, 9)
    again = Run(Sound(99), Options(out), discover([tmp_path / "in"], output=out), Here()).fuse()
    assert (again.done, again.kept) == (9, kept)


def test_a_run_ends_with_a_self_test(tmp_path: Path) -> None:
    """Fewer cases than are fused between two self-tests, by a fuser that computes wrongly after its first."""
    for i in range(2):
        write_case(tmp_path / "in" / f"k{i}")
    out = tmp_path / "out"
    out.mkdir()
    with pytest.raises(EnvironmentFault, match="computes wrongly"):
        Run(Sound(1), Options(out), discover([tmp_path / "in"], output=out), Here()).fuse()
    assert not list(out.glob("k*"))


def test_self_tests_come_as_often_as_the_documents_state() -> None:
    page = (ROOT / "docs" / "many-cases.md").read_text(encoding="utf-8")
    (stated,) = re.findall(r"self-test before the first case, after every (\d+) ", page)
    assert int(stated) == SELF_TEST_EVERY


def test_strict_fails_what_otherwise_earns_a_warning(tmp_path: Path) -> None:
    found_by = {}
    for strict in (False, True):
        write_case(tmp_path / "in" / "k0")
        out = tmp_path / f"out {strict}"
        out.mkdir()
        fuser = Watched()
        fuser.at_once = 1  # its results are one colour throughout
        report = Run(fuser, Options(out, strict=strict), discover([tmp_path / "in"], output=out), Here()).fuse()
        found_by[strict] = report.results[0]
    assert found_by[False]["status"] == "done"
    assert any("one colour throughout" in warning for warning in found_by[False]["warnings"])
    assert (found_by[True]["status"], "one colour" in found_by[True]["error"]["reason"]) == ("failed", True)
    facts = json.loads((tmp_path / "out False" / "k0.json").read_text())
    assert facts["findings"][0]["guard"] == "constant result"
    out = tmp_path / "out False"
    strict_now = Run(Watched(), Options(out, strict=True), discover([tmp_path / "in"], output=out), Here())
    assert strict_now.fuse().kept == 0  # what an easier run left is no pass


@pytest.mark.parametrize("place", ["finish_case", "warnings_of"])
@pytest.mark.parametrize("fail", [ValueError("inf"), MemoryError(), InputError("k1", "too large", "crop it")])
def test_a_case_that_cannot_be_encoded_stops_only_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, fail: Exception
) -> None:
    from tfs_rt.batch import record as module

    plain = getattr(module, place)

    def failing(work: Any, *arguments: Any) -> Any:
        if work.loaded.case.id == "k1":
            raise fail
        return plain(work, *arguments)

    monkeypatch.setattr(module, place, failing)
    for i in range(3):
        write_case(tmp_path / "in" / f"k{i}")
    out = tmp_path / "out"
    out.mkdir()
    fuser = Watched()
    fuser.at_once = 1
    report = Run(fuser, Options(out), discover([tmp_path / "in"], output=out), Here()).fuse()
    assert {r["id"]: r["status"] for r in report.results} == {"k0": "done", "k1": "failed", "k2": "done"}
    assert not list(out.glob("k1.*"))


def test_a_lossy_result_is_kept_only_where_lossy_inputs_are_allowed_and_stops_no_sheet(tmp_path: Path) -> None:
    for i in range(2):
        write_case(tmp_path / "in" / f"k{i}")
    with Image.open(tmp_path / "in" / "k0" / "mr-t2.png") as image:
        image.save(tmp_path / "in" / "k0" / "mr-t2.jpg")
    (tmp_path / "in" / "k0" / "mr-t2.png").unlink()
    out = tmp_path / "out"
    out.mkdir()

    def again(*, lossy: bool, sheet: bool) -> list[str]:
        fuser = Watched()
        fuser.at_once = 1
        request = Request(reading=Reading(allow_lossy=lossy))
        options = Options(out, request, sheet=sheet)
        report = Run(fuser, options, discover([tmp_path / "in"], output=out), Here()).fuse()
        return [result["status"] for result in report.results]

    assert again(lossy=True, sheet=False) == ["done", "done"]
    assert again(lossy=False, sheet=True) == ["failed", "kept"]
    assert (out / "k0.png").exists()  # it is still true
    assert again(lossy=True, sheet=True) == ["kept", "kept"]
