"""Weak points on a made set: each figure is what fusing and scoring by hand gives."""

from pathlib import Path

import numpy as np
import pytest

from tfs_rt.methods.diffusion import load_pipeline
from tfs_rt.methods.two_stage import TwoStage
from tfs_rt_reference.data.groups import read_groups
from tfs_rt_studies import pages
from tfs_rt_studies.weak_points import worst, write_page


def test_the_worst_window_holds_the_largest_error() -> None:
    truth = np.zeros((90, 80, 3), np.uint8)
    result = truth.copy()
    result[70, 75] = 200
    result[5, 5] = 150
    rows, columns = worst(result, truth)
    assert (rows.stop - rows.start, columns.stop - columns.start) == (64, 64)
    assert rows.start <= 70 < rows.stop
    assert columns.start <= 75 < columns.stop
    assert worst(result[:30, :20], truth[:30, :20]) == (slice(0, 20), slice(0, 20))


@pytest.mark.usefixtures("shared_models")
def test_the_page_has_every_split_and_modality(
    made_set: Path, x4: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "shipped_bundles", lambda: {"x4": x4})
    write_page(made_set, tmp_path / "docs", made_set)
    page = (tmp_path / "docs" / "weak-points.md").read_text()
    rows = [[c.strip(" *") for c in line.split("|")[1:-1]] for line in page.splitlines() if line.startswith("|")][2:]
    assert [row[1] for row in rows] == ["val", "train"]  # what was held out comes first
    groups = read_groups(made_set, "train")
    assert rows[1][2] == str(len(groups))
    for column, fuser in ((3, TwoStage("bitonicx", 4)), (4, load_pipeline("tfs-rt/x4"))):
        results = [fuser.fuse([g.degraded(4)], [g.id], size=g.size)[0] for g in groups]
        mse = [np.mean((r.astype(float) - g.truth) ** 2) for r, g in zip(results, groups, strict=True)]
        assert float(rows[1][column]) == pytest.approx(np.mean(10 * np.log10(255**2 / np.array(mse))), abs=0.01)
    assert (tmp_path / "docs" / "weak-points-x4.jpg").stat().st_size > 5_000
