"""When a result is kept, and when it is deleted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tfs_rt.errors import UsageError
from tfs_rt.facts import Facts
from tfs_rt.output.provenance import pixel_settings, recipe_hash
from tfs_rt.output.results import delete_result, is_done, prepare_output, remove_result, write_result
from tfs_rt.output.sidecar import Result, Sidecar
from tfs_rt.system.files import file_sha256

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


def test_a_bundle_is_not_an_output_folder(tmp_path: Path) -> None:
    (tmp_path / "model.json").touch()
    with pytest.raises(UsageError, match="is a model's bundle"):
        prepare_output(tmp_path)
