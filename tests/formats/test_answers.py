"""A decoder that was taken over lies in its answer: its case fails alone, and nothing it says is written down."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from pydicom.data import get_testdata_file

from support.decoder_lies import HONEST, LIES, SLICE, lie
from support.helpers import png, write_case
from support.made_volumes import mgz_file
from tfs_rt.batch.request import Options
from tfs_rt.batch.run import Run
from tfs_rt.cases.discover import discover
from tfs_rt.formats.answers import checked_picture
from tfs_rt.formats.picture import FileOptions
from tfs_rt.formats.registry import format_of, read_picture
from tfs_rt.formats.sandboxed import SandboxedReader
from tfs_rt.images import RGB
from tfs_rt.sampling.engine import ImageBatch
from tfs_rt.sandbox.messages import pack
from tfs_rt.sandbox.parent import Sandbox


class Grey:
    """A fuser whose results are one colour."""

    scale = 1
    steps = 1
    trained_size = None

    def begin(self, batch: ImageBatch) -> Callable[[], list[RGB]]:
        return lambda: [np.full((*batch.size, 3), 99, np.uint8) for _ in batch.ids]

    def describe(self, size: tuple[int, int] | None) -> str:
        return "method: grey"

    def self_test(self) -> None:
        pass

    def provenance(self) -> dict[str, Any]:
        return {"method": "grey", "versions": {}}


@pytest.mark.parametrize("lies", [pytest.param(list(LIES), marks=pytest.mark.slow), [*list(LIES)[::14], "ready again"]])
def test_each_lie_fails_its_case_alone(lies: list[str], tmp_path: Path) -> None:
    names = [*lies, *HONEST]
    for name in names:
        write_case(tmp_path / "in" / name)
    out = tmp_path / "out"
    out.mkdir()
    reader = SandboxedReader()
    reader.sandbox = Sandbox(lie, seconds=10, remedy="take it out")
    report = Run(Grey(), Options(out, batch=3), discover([tmp_path / "in"], output=out), reader).fuse()
    assert (report.exit_code, report.ended, len(report.results)) == (3, "complete", len(names))
    ended = {result["id"]: result["status"] for result in report.results}
    assert {name for name, status in ended.items() if status == "done"} == set(HONEST)
    for result in report.results:
        if result["status"] == "failed":
            assert result["error"]["subject"].endswith(f"{result['id']}/pet.png"), result  # whatever the child says
            assert len(json.dumps(result)) < 2000
    assert {path.stem for path in out.glob("*.png")} == {path.stem for path in out.glob("*.json")} - {"report"}
    sidecar = json.loads((out / "honest.json").read_text())
    assert sidecar["inputs"]["functional"]["file"] == str(tmp_path / "in" / "honest" / "pet.png")


@pytest.mark.parametrize("name", [name for name, told in LIES.items() if not isinstance(told, bytes)])
def test_a_lie_is_not_a_picture(name: str) -> None:
    assert len(LIES) >= 50
    with pytest.raises(ValueError, match="not|another|slices of|its (facts|subject|frame) are"):
        checked_picture(LIES[name], "png")


# --- formats with more to say: what an honest file says passes, and no part of it may be another


def nifti(path: Path) -> bytes:
    volume = nib.Nifti1Image(np.arange(60, dtype=np.int16).reshape(3, 4, 5), np.diag([2.0, 2.0, 3.0, 1.0]))
    nib.save(volume, path)
    return path.read_bytes()


def answers(folder: Path) -> dict[str, tuple[Path, tuple[Any, ...]]]:
    found = {"n.nii": nifti(folder / "n.nii"), "d.dcm": Path(str(get_testdata_file("CT_small.dcm"))).read_bytes()}
    found["p.png"] = png(SLICE)
    found["m.mgz"] = mgz_file()
    read = {name: read_picture(data, folder / name, FileOptions()) for name, data in found.items()}
    return {
        name: (folder / name, tuple(getattr(picture, field.name) for field in dataclasses.fields(picture)[:4]))
        for name, picture in read.items()
    }


ODD = (None, True, -1, 10**400, math.nan, math.inf, "x" * 20_000, b"", [], (), {}, {1: 2}, np.zeros(1), object())


def changed(value: Any) -> list[Any]:
    """All that differs from a value of plain data in one place."""
    others = [odd for odd in ODD if type(odd) is not type(value) or odd != value]
    if isinstance(value, dict):
        others += [{**value, key: other} for key, item in value.items() for other in changed(item)]
        others += [{**value, "another": 1}, *({k: v for k, v in value.items() if k != key} for key in value)]
    elif isinstance(value, list | tuple):
        kind = type(value)
        others += [
            kind([*value[:i], other, *value[i + 1 :]]) for i, item in enumerate(value) for other in changed(item)
        ]
        others += [kind([*value, *value[-1:]]), kind(value[:-1]), list(value) if kind is tuple else tuple(value)]
    return others


@pytest.mark.parametrize("name", ["n.nii", "d.dcm", "p.png", "m.mgz"])
def test_an_honest_answer_passes_and_any_other_type_in_it_does_not(name: str, tmp_path: Path) -> None:
    path, answer = answers(tmp_path)[name]
    assert checked_picture(answer, format_of(path)).facts == answer[1]
    slices, *parts = answer
    passed = []
    for number, part in enumerate(parts):
        for other in changed(part):
            liar = [*parts[:number], other, *parts[number + 1 :]]
            try:
                checked_picture((slices, *liar), format_of(path))
            except ValueError:
                continue
            passed.append(other)
    for other in passed:  # it is as plain as an honest one, then, and says no more than its kind may
        pack(other)
        json.dumps(other, allow_nan=True)
        assert len(str(other)) < 10_000
    assert len(passed) < {"n.nii": 300, "m.mgz": 300, "d.dcm": 200, "p.png": 1}[name], len(passed)


def test_nothing_of_a_lie_is_unplain_where_a_format_has_more_to_say(tmp_path: Path) -> None:
    """An optional part may be left out; of a kind it may have another value; nothing else passes."""
    path, answer = answers(tmp_path)["d.dcm"]
    for lie_of in (
        {"rows": 5},
        {"planes": ()},
        {"attributes": {"PatientName": ["a"]}},
        {"attributes": {"not a keyword": ("a",)}},
        {"attributes": {f"K{i}": ("a",) for i in range(100)}},
        {"spacing": (1.0,)},
        {"lossy": 1},
        {"deidentified_by": (("a", "b"),)},
    ):
        with pytest.raises(ValueError, match="its frame"):
            checked_picture((*answer[:3], answer[3] | lie_of), format_of(path))
    path, answer = answers(tmp_path)["n.nii"]
    for lie_of in (
        {"version": 3},
        {"shape": (1, 1, 1)},
        {"to_view": [[0.0, 5.0]] * 3},
        {"sform": [[1.0] * 4] * 3},
        {"copied": {**answer[3]["copied"], "magic": 1}},
        {"copied": {}},
        {"pixdim": [1.0]},
        {"pixdim": [10**400] * 4},
        {"pixdim": [1.0, math.nan, 1.0, 1.0]},
        {"pixdim": [1.0, 1.0, 1.0, 1e39]},
        {"sform": [[1e300] * 4] * 4},
        {"sform": [[10**37] * 4] * 4},
        {"qform": [[math.inf] * 4] * 4},
        {"to_view": [[0.0, 1.0]] * 3},
        {"to_view": [[0.0, 0.0], [1.0, 1.0], [2.0, 1.0]]},
        {"to_view": [[-1.0, 1.0], [1.0, 1.0], [2.0, 1.0]]},
        {"copied": {**answer[3]["copied"], "quatern_b": 10**400}},
        {"copied": {**answer[3]["copied"], "quatern_b": 1e39}},
        {"copied": {**answer[3]["copied"], "qform_code": 1, "quatern_c": math.nan}},
        {"copied": {**answer[3]["copied"], "xyzt_units": 1e10}},
        {"copied": {**answer[3]["copied"], "xyzt_units": 256}},
        {"copied": {**answer[3]["copied"], "xyzt_units": 2.0}},
    ):
        with pytest.raises(ValueError, match="its frame"):
            checked_picture((*answer[:3], answer[3] | lie_of), format_of(path))


@pytest.mark.parametrize("kind", [float, np.int64, lambda side: np.array([side])], ids=["float", "int64", "array"])
def test_a_size_of_equal_numbers_of_another_type_does_not_pass(kind: Callable[[int], Any], tmp_path: Path) -> None:
    path, (slices, facts, subject, frame) = answers(tmp_path)["n.nii"]
    assert checked_picture((slices, facts, subject, frame), "nifti")
    lie_of = {"grid": {**subject["grid"], "size": tuple(map(kind, subject["grid"]["size"]))}}
    with pytest.raises(ValueError, match="its subject"):
        checked_picture((slices, facts, subject | lie_of, frame), format_of(path))


def test_true_is_no_side_of_one(tmp_path: Path) -> None:
    volume = nib.Nifti1Image(np.arange(12, dtype=np.int16).reshape(3, 4, 1), np.diag([2.0, 2.0, 3.0, 1.0]))
    nib.save(volume, tmp_path / "n.nii")
    picture = read_picture((tmp_path / "n.nii").read_bytes(), tmp_path / "n.nii", FileOptions())
    width, height, _ = picture.subject["grid"]["size"]
    lie_of = {"grid": {**picture.subject["grid"], "size": (width, height, True)}}
    with pytest.raises(ValueError, match="its subject"):
        checked_picture((picture.slices, picture.facts, picture.subject | lie_of, picture.frame), "nifti")


@pytest.mark.parametrize("version", [1, 2])
def test_an_honest_header_with_any_value_in_a_form_that_does_not_count_passes(version: int, tmp_path: Path) -> None:
    kind = nib.Nifti1Image if version == 1 else nib.Nifti2Image
    volume = kind(np.arange(60, dtype=np.int16).reshape(3, 4, 5), np.diag([2.0, 2.0, 3.0, 1.0]))
    volume.header["qform_code"] = 0
    volume.header["quatern_b"] = np.nan
    volume.header["quatern_c"] = np.inf
    nib.save(volume, tmp_path / "n.nii")
    picture = read_picture((tmp_path / "n.nii").read_bytes(), tmp_path / "n.nii", FileOptions())
    assert checked_picture((picture.slices, picture.facts, picture.subject, picture.frame), "nifti")
