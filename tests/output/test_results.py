"""When a result is kept, and when it is deleted."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from support.crashes import stop_at, watch_operations
from tfs_rt.errors import InputError, UsageError
from tfs_rt.facts import Facts
from tfs_rt.output.provenance import pixel_settings, recipe_hash
from tfs_rt.output.results import (
    Content,
    check_place,
    delete_result,
    is_done,
    prepare_output,
    remove_result,
    write_result,
)
from tfs_rt.output.sidecar import OutputFile, Result, Sidecar, Spread, read_sidecar
from tfs_rt.system.files import file_sha256, path_sha256, remove_temporaries

PROVENANCE: Facts = {"method": "m", "seed": 0, "versions": {"tfs-rt": "1", "python": "3"}, "notice": "n"}
SETTINGS = pixel_settings(PROVENANCE)


@pytest.fixture
def inputs(tmp_path: Path) -> dict[str, Path]:
    """The files of a case by slot."""
    (tmp_path / "in").mkdir()
    files = {slot: tmp_path / "in" / f"{slot}.png" for slot in ("m1", "m2", "functional")}
    for slot, path in files.items():
        path.write_text(slot)
    return files


@pytest.fixture
def output(tmp_path: Path, inputs: dict[str, Path]) -> Path:
    """An output folder that holds the case's result."""
    folder = tmp_path / "out"
    folder.mkdir()
    image = tmp_path / "image"
    image.write_bytes(b"image")
    hashes = {slot: file_sha256(path) for slot, path in inputs.items()}
    sidecar = Sidecar(
        case="k",
        result=Result(file="k.png", sha256=file_sha256(image), pixels_sha256="", width=1, height=1),
        inputs={slot: {"file": str(inputs[slot]), "sha256": hashes[slot], "format": "png"} for slot in inputs},
        warnings=[],
        findings=[],
        seconds=0,
        bids={},
        spread=None,
        created="",
        provenance=PROVENANCE,
        recipe_sha256=recipe_hash("k", hashes, SETTINGS),
    )
    write_result(folder, "k", {"k.png": b"image"}, sidecar.as_bytes())
    return folder


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_case_is_done_whatever_python_or_notice_it_was_made_with(output: Path, inputs: dict[str, Path]) -> None:
    now = pixel_settings({**PROVENANCE, "versions": {"tfs-rt": "1", "python": "4"}, "notice": "another", "auto": "x"})
    sidecar = is_done(output, "k", inputs, now)
    assert sidecar
    assert sidecar.case == "k"


CHANGES: dict[str, Callable[[Path, dict[str, Path]], object]] = {
    "another input": lambda output, inputs: inputs["m2"].write_text("other"),
    "no input": lambda output, inputs: inputs["m2"].unlink(),
    "another image": lambda output, inputs: (output / "k.png").write_bytes(b"other"),
    "no image": lambda output, inputs: (output / "k.png").unlink(),
    "no sidecar": lambda output, inputs: (output / "k.json").unlink(),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_case_is_not_done_after_a_change(output: Path, inputs: dict[str, Path], change: str) -> None:
    CHANGES[change](output, inputs)
    assert is_done(output, "k", inputs, SETTINGS) is None


def test_a_case_is_not_done_by_other_settings(output: Path, inputs: dict[str, Path]) -> None:
    assert is_done(output, "k", inputs, pixel_settings({**PROVENANCE, "seed": 1})) is None


def test_the_old_result_of_a_failed_case_stays_while_it_is_true(output: Path, inputs: dict[str, Path]) -> None:
    inputs["m1"].unlink()  # not known to be another: it may lie on a share that is away
    remove_result(output, "k", inputs, SETTINGS)
    remove_result(output, "k", {}, SETTINGS)
    assert names(output) == ["k.json", "k.png"]


def test_the_old_result_of_a_failed_case_goes_if_an_input_or_a_setting_is_another(
    output: Path, inputs: dict[str, Path]
) -> None:
    inputs["m1"].write_text("other")
    remove_result(output, "k", {}, SETTINGS)  # by the files that the sidecar names
    assert names(output) == []


def test_the_old_result_of_a_failed_case_goes_if_it_was_made_by_other_settings(
    output: Path, inputs: dict[str, Path]
) -> None:
    remove_result(output, "k", inputs, pixel_settings({**PROVENANCE, "seed": 1}))
    assert names(output) == []


def test_a_file_that_somebody_has_changed_is_never_deleted(output: Path, inputs: dict[str, Path]) -> None:
    (output / "k.png").write_bytes(b"edited")
    remove_result(output, "k", inputs, pixel_settings({**PROVENANCE, "seed": 1}))
    assert names(output) == ["k.json", "k.png"]
    delete_result(output, "k")
    assert names(output) == ["k.png"]


MARK = b"tfs-rt:case"  # in each slice of a series that is a result
SERIES = {"0001.dcm": MARK + b" 1", "0002.dcm": MARK + b" 2"}
PICTURE = {"k.dcm": MARK}
Files = Mapping[str, Content]


def sidecar_of(inputs: dict[str, Path], files: Files, *, placed: bool = True, **changes: Any) -> Sidecar:
    """The sidecar of a result that is the last of some files, of a spread before it."""
    hashes = {slot: file_sha256(path) for slot, path in inputs.items()}
    entries: list[OutputFile] = []
    for name, content in files.items():
        parts = {name: content} if isinstance(content, bytes) else content
        lines = [f"{hashlib.sha256(parts[part]).hexdigest()}  {part}\n" for part in sorted(parts)]
        sha256 = lines[0][:64] if isinstance(content, bytes) else hashlib.sha256("".join(lines).encode()).hexdigest()
        entries.append(OutputFile(file=name, sha256=sha256))
    *spread, result = entries
    return Sidecar(
        case="k",
        result=Result(file=result.file, sha256=result.sha256, pixels_sha256="", width=1, height=1, **changes),
        inputs={
            slot: {"file": str(inputs[slot]), "sha256": hashes[slot], "format": "dicom", "has_place": placed}
            for slot in inputs
        },
        warnings=[],
        findings=[],
        seconds=0,
        bids={},
        spread=Spread(files=spread, samples=2, mean_levels=0, white_levels=63) if spread else None,
        created="",
        provenance=PROVENANCE,
        recipe_sha256=recipe_hash("k", hashes, SETTINGS),
    )


def write(folder: Path, inputs: dict[str, Path], files: Files, **changes: Any) -> None:
    folder.mkdir(exist_ok=True)
    write_result(folder, "k", files, sidecar_of(inputs, files, **changes).as_bytes())


def contents(folder: Path) -> dict[str, bytes]:
    """All files below a folder."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def series(tmp_path: Path, inputs: dict[str, Path]) -> Path:
    """An output folder that holds the case's result as a series."""
    write(tmp_path / "series", inputs, {"k": SERIES})
    return tmp_path / "series"


FOLDER_CHANGES: dict[str, Callable[[Path], object]] = {
    "another slice": lambda folder: (folder / "0002.dcm").write_bytes(MARK),
    "a slice less": lambda folder: (folder / "0002.dcm").unlink(),
    "a file more": lambda folder: (folder / "0003.dcm").write_bytes(MARK),
    "another name": lambda folder: (folder / "0002.dcm").rename(folder / "0004.dcm"),
    "no folder": shutil.rmtree,
}


@pytest.mark.parametrize("change", FOLDER_CHANGES)
def test_a_series_is_done_while_its_folder_is_as_it_was_written(
    series: Path, inputs: dict[str, Path], change: str
) -> None:
    assert is_done(series, "k", inputs, SETTINGS)
    FOLDER_CHANGES[change](series / "k")
    assert is_done(series, "k", inputs, SETTINGS) is None


def test_a_series_is_deleted_whole_unless_somebody_has_put_a_file_into_it(
    series: Path, inputs: dict[str, Path]
) -> None:
    (series / "k" / ".notes").write_text("mine")
    remove_result(series, "k", inputs, pixel_settings({**PROVENANCE, "seed": 1}))
    assert names(series / "k") == [".notes", "0001.dcm", "0002.dcm"]
    (series / "k" / ".notes").unlink()
    delete_result(series, "k")
    assert names(series) == []


def test_a_link_to_a_series_goes_without_its_target(tmp_path: Path, series: Path, inputs: dict[str, Path]) -> None:
    (series / "k").rename(tmp_path / "elsewhere")
    (series / "k").symlink_to(tmp_path / "elsewhere")
    assert is_done(series, "k", inputs, SETTINGS)
    delete_result(series, "k")
    assert names(series) == []
    assert names(tmp_path / "elsewhere") == ["0001.dcm", "0002.dcm"]


def test_a_folder_of_somebody_else_is_never_replaced(tmp_path: Path, series: Path) -> None:
    (series / "k" / ".DS_Store").touch()
    check_place(series, "k", "dicom-series")
    check_place(tmp_path, "in", "png")
    for other in ("mine.txt", "0003.dcm", "inner"):
        (series / "k" / other).mkdir() if other == "inner" else (series / "k" / other).write_bytes(b"mine")
        with pytest.raises(InputError, match=f"holds {other}, which no run has written"):
            check_place(series, "k", "dicom-series")
        (series / "k" / other).rmdir() if other == "inner" else (series / "k" / other).unlink()
    (series / "l").write_bytes(b"mine")
    with pytest.raises(InputError, match="is a file where a folder should go"):
        check_place(series, "l", "dicom-series")
    (series / "m").symlink_to(tmp_path / "in")
    with pytest.raises(InputError, match="is a file where a folder should go"):
        check_place(series, "m", "dicom-series")
    with pytest.raises(InputError, match="ends like the name of a result's file"):
        check_place(series, "report.JSON", "dicom-series")


def test_a_volume_with_places_that_an_earlier_version_wrote_as_one_file_is_written_again(
    tmp_path: Path, inputs: dict[str, Path]
) -> None:
    def is_kept(**changes: Any) -> bool:
        write(tmp_path / "old", inputs, PICTURE, **changes)
        return is_done(tmp_path / "old", "k", inputs, SETTINGS) is not None

    assert not is_kept(slices=3)
    assert is_kept(slices=3, form="multi-frame")
    assert is_kept(slices=3, placed=False)
    assert is_kept()


@pytest.mark.parametrize("earlier", [{}, PICTURE, {"k": {**SERIES, "0003.dcm": MARK}}])
def test_a_series_that_is_stopped_at_any_operation_and_written_again_is_the_same(
    tmp_path: Path, inputs: dict[str, Path], monkeypatch: pytest.MonkeyPatch, earlier: Files
) -> None:
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)  # slow, and without effect as the machine runs on
    files: Files = {"spread/k": SERIES, "k": SERIES}

    def begin(name: str) -> Path:
        (tmp_path / name).mkdir()
        if earlier:
            write(tmp_path / name, inputs, earlier)
        return tmp_path / name

    clean = begin("clean")
    with watch_operations() as seen:
        write(clean, inputs, files)
    expected = contents(clean)
    assert sorted(expected) == ["k.json", *(f"{folder}/000{n}.dcm" for folder in ("k", "spread/k") for n in (1, 2))]
    old = {name: data for name, data in earlier.items() if not isinstance(data, bytes)}.get("k", SERIES)
    for point in range(1, len(seen) + 1):
        folder = begin(f"stopped{point}")
        with stop_at(point):
            write(folder, inputs, files)
        # A folder is either whole or not there, and never of other content than its sidecar's.
        slices = {path.name: path.read_bytes() for path in (folder / "k").glob("*")}
        assert slices in ({}, SERIES, old)
        if (folder / "k.json").exists():
            named = read_sidecar(folder / "k.json").files()
            assert all(path_sha256(folder / name) == sha for name, sha in named.items() if (folder / name).exists())
        remove_temporaries(folder)
        check_place(folder, "k", "dicom-series")
        write(folder, inputs, files)
        assert contents(folder) == expected, f"stopped before operation {point}, {seen[point - 1]}"


def test_a_bundle_is_not_an_output_folder(tmp_path: Path) -> None:
    (tmp_path / "model.json").touch()
    with pytest.raises(UsageError, match="is a model's bundle"):
        prepare_output(tmp_path)
