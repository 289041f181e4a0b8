"""Batches in flight, retries one case at a time, and self-tests that withdraw results."""

import contextlib
import dataclasses
import json
import re
import weakref
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from support.fake_methods import FakeMethod, WrongAfter, fuse_with, write_cases
from support.helpers import read_png, write_case
from support.paths import ROOT
from tfs_rt.batch.execute import SELF_TEST_EVERY
from tfs_rt.errors import EnvironmentFault
from tfs_rt.sampling.engine import ImageBatch


def test_failed_batches_are_retried_one_case_at_a_time_with_nothing_else_in_flight(tmp_path: Path) -> None:
    method = FakeMethod()
    out = tmp_path / "out"
    report = fuse_with(method, write_cases(tmp_path / "in", 7), out, batch=3)
    assert (report.done, method.most_in_flight) == (7, 2)
    assert method.begun[:3] == [("k0+k1+k2", 0), ("k3+k4+k5", 1), ("k0", 0)]
    assert all(before == 0 for ids, before in method.begun if "+" not in ids)
    for i in range(7):
        assert (read_png(out / f"k{i}.png") == i).all()


def test_a_retry_finds_the_memory_of_the_failed_batch_free(tmp_path: Path) -> None:
    """The frames of an exception hold what the engine had allocated."""
    held: list[weakref.ref] = []

    class Memory:
        """Memory that an engine has allocated on its device."""

    class Full(FakeMethod):
        def begin(self, batch: ImageBatch) -> Any:
            if len(batch.ids) > 1:
                memory = Memory()
                held.append(weakref.ref(memory))
                raise MemoryError("full")
            assert held[0]() is None, "a retry finds the device as full as before"
            return super().begin(batch)

    assert fuse_with(Full(), write_cases(tmp_path / "in", 2), tmp_path / "out", batch=2).exit_code == 0


def test_slices_keep_their_order_when_a_batch_fails_and_is_retried(tmp_path: Path) -> None:
    """The second batch ends before the retries of the first do."""
    volume = np.arange(5, dtype=np.uint8)[:, None, None] * np.ones((1, 8, 8), np.uint8) * 40
    folder = tmp_path / "in" / "k"
    folder.mkdir(parents=True)
    for more, name in enumerate(("mr-t1", "mr-t2", "pet")):
        voxels = volume.transpose(2, 1, 0) + np.uint8(more)
        nib.save(nib.Nifti1Image(voxels, np.diag([-1.0, -1.0, 1.0, 1.0])), folder / f"{name}.nii")

    class Marking(FakeMethod):
        def begin(self, batch: ImageBatch) -> Any:
            names = [f"k{name.split('slice')[1]}" for name in batch.ids]
            wait = super().begin(dataclasses.replace(batch, ids=names))
            first = self.largest_batch == 0
            self.largest_batch = 2

            def fail() -> Any:
                wait()
                raise AttributeError("missing")

            return fail if first else wait

    method = Marking(largest_batch=0)
    report = fuse_with(method, tmp_path / "in", tmp_path / "out", batch=2)
    assert report.exit_code == 0, report.results
    assert any("+" not in ids for ids, _ in method.begun)
    colours = np.asarray(nib.Nifti1Image.from_filename(tmp_path / "out" / "k.nii.gz").dataobj)
    assert colours["R"][0, 0].tolist() == [0, 1, 2, 3, 4]


def test_a_volume_with_a_failed_slice_fails_once_and_as_a_whole(tmp_path: Path) -> None:
    folder = write_case(tmp_path / "in" / "good").parent / "k"
    folder.mkdir()
    for level, name in enumerate(("mr-t1", "mr-t2", "pet")):
        voxels = np.full((8, 8, 6), 9 * level, np.uint8)
        nib.save(nib.Nifti1Image(voxels, np.diag([-1.0, -1.0, 1.0, 1.0])), folder / f"{name}.nii")

    class Failing(FakeMethod):
        def begin(self, batch: ImageBatch) -> Any:
            if any(name.endswith("slice3") for name in batch.ids):
                raise RuntimeError("no")
            return super().begin(dataclasses.replace(batch, ids=["k1"] * len(batch.ids)))

    report = fuse_with(Failing(largest_batch=2), tmp_path / "in", tmp_path / "out", batch=2)
    assert [(r["id"], r["status"]) for r in report.results] == [("good", "done"), ("k", "failed")]
    assert not list((tmp_path / "out").glob("k.*"))


@pytest.mark.parametrize(("tests", "kept"), [(0, 0), (1, 0), (2, 6), (3, 9)])
def test_a_failed_self_test_withdraws_the_results_since_the_last_one_that_passed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tests: int, kept: int
) -> None:
    monkeypatch.setattr("tfs_rt.batch.execute.SELF_TEST_EVERY", 3)
    source = write_cases(tmp_path / "in", 9)
    out = tmp_path / "out"
    expected = pytest.raises(EnvironmentFault, match="computes wrongly") if kept < 9 else contextlib.nullcontext()
    with expected:
        fuse_with(WrongAfter(tests), source, out, batch=2)
    assert len(list(out.glob("k*.png"))) == len(list(out.glob("k*.json"))) == kept
    report = json.loads((out / "report.json").read_text())
    assert (report["done"], len(report["results"]) + len(report["not_run"])) == (kept, 9)
    again = fuse_with(WrongAfter(99), source, out)
    assert (again.done, again.kept) == (9, kept)


def test_a_run_ends_with_a_self_test(tmp_path: Path) -> None:
    """Fewer cases than are fused between two self-tests, by a method that computes wrongly after its first."""
    source = write_cases(tmp_path / "in", 2)
    out = tmp_path / "out"
    with pytest.raises(EnvironmentFault, match="computes wrongly"):
        fuse_with(WrongAfter(1), source, out)
    assert not list(out.glob("k*"))


def test_self_tests_come_as_often_as_the_documents_state() -> None:
    page = (ROOT / "docs" / "many-cases.md").read_text(encoding="utf-8")
    (stated,) = re.findall(r"self-test before the first case, after every (\d+) ", page)
    assert int(stated) == SELF_TEST_EVERY
