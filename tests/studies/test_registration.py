"""The study of registration: its scans, its errors and its tables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tfs_rt.formats.volume import Volume
from tfs_rt_studies.registration import measure, page, scans
from tfs_rt_studies.registration.anatomy import Anatomy
from tfs_rt_studies.registration.scans import HOPELESS, PROTOCOLS, Protocol, displacement, hopeless, scan

SOUND = {
    "information": 1.0,
    "backward_mm": 0.3,
    "second_start_mm": 0.2,
    "agreeing_starts": 7,
    "starts": 8,
    "overlap": 0.9,
    "structure": 0.5,
    "turn_degrees": 5.0,
    "shift_mm": 4.0,
    "iterations": 12,
    "seconds": 5.0,
}


@pytest.fixture
def anatomy(monkeypatch: pytest.MonkeyPatch) -> Anatomy:
    """A brain of 40 mm whose values are linear in x, seen by a scanner without noise."""
    monkeypatch.setattr(scans, "FIELD_OF_VIEW", (20.0, 20.0, 18.0))
    monkeypatch.setitem(scans.PROTOCOLS, "pet", Protocol((2.0, 2.0, 2.0), 1e-6))
    to_world = np.eye(4)
    to_world[:3, 3] = -20
    ramp = np.broadcast_to(np.arange(41, dtype=np.float32) - 20 + 50, (41, 41, 41)).copy()
    maps = dict.fromkeys(PROTOCOLS, ramp)
    points = np.stack(np.meshgrid([-8.0, 8.0], [-8.0, 8.0], [-8.0, 8.0]), axis=-1).reshape(-1, 3)
    return Anatomy(Volume(ramp, to_world), maps, to_world, points)


def test_a_scan_shows_each_place_where_the_displacement_took_it(anatomy: Anatomy) -> None:
    moved = np.eye(4)
    moved[0, 3] = 3.0  # the head lies 3 mm further along x
    found = scan(anatomy, "pet", moved, np.random.default_rng(0))
    x = found.to_world[0, 3] + 2.0 * np.arange(found.shape[2])
    np.testing.assert_allclose(found.values[4, 5], x - 3.0 + 50, atol=1e-3)


def test_displacements_stay_within_the_stated_range(anatomy: Anatomy) -> None:
    for draw in range(50):
        moved = displacement(np.random.default_rng(draw), anatomy)
        assert np.trace(moved[:3, :3]) >= 1 + 2 * np.cos(np.deg2rad(10)) - 1e-9
        shift = moved[:3, :3] @ anatomy.centre + moved[:3, 3] - anatomy.centre
        assert np.linalg.norm(shift) <= 12


def test_hopeless_pairs_are_what_they_are_called(anatomy: Anatomy) -> None:
    half = hopeless(anatomy, "half a volume", "pet", np.random.default_rng(1))
    assert half.values.size == pytest.approx(10 * 10 * 9 / 2, rel=0.15)
    blank = hopeless(anatomy, "half blank", "pet", np.random.default_rng(1))
    assert (blank.values == blank.values.min()).mean() >= 0.4
    for fault in HOPELESS:
        assert np.isfinite(hopeless(anatomy, fault, "pet", np.random.default_rng(2)).values).all()


def test_errors_are_distances_from_the_true_places(anatomy: Anatomy, monkeypatch: pytest.MonkeyPatch) -> None:
    def unmoved(fixed: Any, volume: Volume) -> dict[str, Any]:
        return {"transform": np.eye(4).tolist(), "digest": "", "reasons": [], "figures": SOUND}

    monkeypatch.setattr(measure, "registered", unmoved)
    unused: Any = None  # the fixed image, which `unmoved` does not look at
    record = measure.sound_pair(anatomy, unused, "pet", 0, 5)
    assert record["mean"] == pytest.approx(record["displaced"])
    assert record["worst"] >= record["mean"] > 0
    assert record["same"]


def test_the_tables_judge_by_the_bounds_of_today(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sound = {"kind": "ct", "draw": 0, "mean": 0.25, "worst": 0.5, "displaced": 9.0, "seconds": 6.0, "figures": SOUND}
    bad = {"kind": "hopeless", "draw": 0, "fault": "noise", "figures": SOUND | {"structure": 0.0}}
    output = tmp_path / "registration.md"
    page.write_page(output, [sound, bad])
    text = output.read_text()
    assert "| CT-like, 0.9x0.9x2.5 mm | 1 | 9.0 | 0.25 | 0.25 | 0.50 | 6.0 | 0/0 | 0/1 |" in text
    assert "| noise | 1/1 |" in text
    monkeypatch.setattr("tfs_rt.geometry.verdict.STRUCTURE", -1.0)
    page.write_page(output, [sound, bad])
    assert "| noise | 0/1 |" in output.read_text()
