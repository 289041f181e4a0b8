"""The sidecar's layout on disk, what is read back from it, and what is refused."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from tfs_rt.errors import InputError
from tfs_rt.output.sidecar import DIGEST, OutputFile, Result, Sidecar, Spread, looks_like_sidecar, read_sidecar
from tfs_rt.output.sidecar import with_digest as file_of

INPUTS = {
    slot: {"file": f"/in/{slot}.png", "sha256": "1" * 64, "format": "png", "width": 2, "height": 3}
    for slot in ("m1", "m2", "functional")
}
BIDS = {"Description": "fused", "Sources": ["bids:raw:a"], "SkullStripped": True}
PROVENANCE = {"method": "bitonicx", "scale": 4, "seed": None, "versions": {"tfs-rt": "1"}, "notice": "n"}
RESULT = Result(file="k.png", sha256="2" * 64, pixels_sha256="3" * 64, width=8, height=12)
SPREAD = Spread(
    files=[OutputFile(file="spread/k.png", sha256="4" * 64), OutputFile(file="spread/k.tif", sha256="5" * 64)],
    samples=3,
    mean_levels=1.5,
    white_levels=63,
)


def sidecar(**changes: Any) -> Sidecar:
    plain = Sidecar(
        case="k",
        result=RESULT,
        inputs=INPUTS,
        warnings=["a warning"],
        findings=[{"guard": "g", "measured": 1.0, "threshold": 0.5, "slices": 1}],
        seconds=0.25,
        bids={},
        spread=None,
        created="2026-01-02T03:04:05+00:00",
        provenance=PROVENANCE,
        recipe_sha256="6" * 64,
    )
    return dataclasses.replace(plain, **changes)


def layout(**changes: Any) -> dict[str, Any]:
    """The JSON object of `sidecar()`, written out by hand."""
    result = {"file": "k.png", "sha256": "2" * 64, "pixels_sha256": "3" * 64, "width": 8, "height": 12}
    facts = {
        "case": "k",
        "result": result,
        "inputs": INPUTS,
        "warnings": ["a warning"],
        "findings": [{"guard": "g", "measured": 1.0, "threshold": 0.5, "slices": 1}],
        "seconds": 0.25,
        "created": "2026-01-02T03:04:05+00:00",
        **PROVENANCE,
        "recipe_sha256": "6" * 64,
    }
    return facts | changes


@pytest.mark.parametrize(
    "changes",
    [{}, {"bids": BIDS}, {"spread": SPREAD}, {"result": dataclasses.replace(RESULT, slices=5)}],
    ids=["plain", "bids", "spread", "volume"],
)
def test_a_sidecar_is_read_back_as_it_was_written(tmp_path: Path, changes: dict[str, Any]) -> None:
    path = tmp_path / "k.json"
    path.write_bytes(sidecar(**changes).as_bytes())
    assert read_sidecar(path) == sidecar(**changes)
    assert looks_like_sidecar(path)


def test_its_entries_keep_their_order_with_the_digest_last(tmp_path: Path) -> None:
    facts = json.loads(sidecar(bids=BIDS, spread=SPREAD).as_bytes())
    plain = list(layout())
    place = plain.index("created")
    assert list(facts) == [*plain[:place], *BIDS, "spread", *plain[place:], DIGEST]
    assert {key: facts[key] for key in plain} == layout()
    assert list(facts["result"]) == list(layout()["result"])
    assert facts["spread"]["files"][1] == {"file": "spread/k.tif", "sha256": "5" * 64}


def test_entries_that_another_version_has_written_are_kept_as_provenance(tmp_path: Path) -> None:
    path = tmp_path / "k.json"
    path.write_bytes(file_of(layout(precision="half")))
    assert read_sidecar(path).provenance == {**PROVENANCE, "precision": "half"}


def test_every_field_is_written_and_none_of_them_is_read_back_as_provenance(tmp_path: Path) -> None:
    whole = sidecar(bids=BIDS, spread=SPREAD)
    merged = {"bids", "provenance"}
    own = {field.name for field in dataclasses.fields(Sidecar)} - merged
    assert own | BIDS.keys() | PROVENANCE.keys() == whole.as_facts().keys()
    path = tmp_path / "k.json"
    path.write_bytes(whole.as_bytes())
    assert read_sidecar(path).provenance == PROVENANCE


def test_a_field_that_an_older_file_lacks_has_its_default_if_it_has_one(tmp_path: Path) -> None:
    path = tmp_path / "k.json"
    path.write_bytes(file_of(layout()))
    assert read_sidecar(path).spread is None
    older = layout()
    del older["created"]
    path.write_bytes(file_of(older))
    with pytest.raises(InputError, match="'created'"):
        read_sidecar(path)


def test_the_result_is_the_last_of_the_files() -> None:
    assert list(sidecar(spread=SPREAD).files()) == ["spread/k.png", "spread/k.tif", "k.png"]
    assert sidecar().files() == {"k.png": "2" * 64}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"result": {**layout()["result"], "file": "../k.png"}}, "another case's file"),
        ({"result": {**layout()["result"], "width": 8.0}}, "no size"),
        ({"result": {**layout()["result"], "pixels_sha256": 1}}, "pixels have no hash"),
        ({"inputs": {"m1": INPUTS["m1"]}}, "not three"),
        ({"inputs": {**INPUTS, "m1": {**INPUTS["m1"], "format": 1}}}, "no format"),
        ({"seconds": -1}, "no valid time"),
        ({"seconds": 2**53}, "no valid time"),
        ({"findings": None}, "findings are not a list"),
        ({"warnings": [3]}, "warnings are not text"),
        ({"recipe_sha256": None}, "recipe has no hash"),
        ({"spread": {"files": [{"file": "spread/j.png", "sha256": "4"}]}}, "spread is in another case's files"),
        ({"case": "j"}, "another case's file"),
    ],
)
def test_an_entry_that_is_not_valid_is_refused_though_the_digest_is_right(
    tmp_path: Path, change: dict[str, Any], reason: str
) -> None:
    path = tmp_path / "k.json"
    path.write_bytes(file_of(layout(**change)))
    with pytest.raises(InputError, match=f"not a valid sidecar .*{reason}"):
        read_sidecar(path)


def test_an_edit_or_a_swap_of_sidecars_is_found(tmp_path: Path) -> None:
    path = tmp_path / "k.json"
    path.write_bytes(sidecar().as_bytes().replace(b"0.25", b"0.26"))
    with pytest.raises(InputError, match="changed after it was written"):
        read_sidecar(path)
    other = tmp_path / "j.json"
    other.write_bytes(sidecar().as_bytes())
    with pytest.raises(InputError, match="is the sidecar of k"):
        read_sidecar(other)
