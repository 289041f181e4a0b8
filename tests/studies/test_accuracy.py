"""The accuracy study on a made set: every method's row is what fusing and scoring by hand gives."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from support.helpers import Cli
from tfs_rt.cases.case import Case, FoundCase
from tfs_rt.errors import TfsRtError, UsageError
from tfs_rt.images import resize
from tfs_rt.methods.bitonicx import fuse as bitonicx
from tfs_rt.spec import SLOTS
from tfs_rt_reference.data.groups import low_resolution, read_groups
from tfs_rt_reference.data.prepare import Request, prepare
from tfs_rt_studies import pages
from tfs_rt_studies.accuracy import page as study
from tfs_rt_studies.accuracy.page import BASELINE, Study, single_image_upsampler, write_page

pytestmark = pytest.mark.usefixtures("shared_graphs", "shared_models")

SIDE = 48
SETTINGS = ["architecture.inner_channel=16", "architecture.norm_groups=4", "architecture.res_blocks=1", "batch=2"]
SETTINGS += ["crop=32", "iterations=1", "precision=fp32"]


@pytest.fixture
def tested(made_set: Path, tmp_path: Path) -> Path:
    """A set of a quarter of two groups of the made set, with one of them as the test split."""
    (tmp_path / "in").mkdir()
    cases: list[FoundCase] = []
    for split, group in (("train", "k0"), ("test", "k1")):
        files: dict[str, Path] = {}
        for slot, source in zip(SLOTS, sorted((made_set / "train" / "x1").glob(f"{group}_*.png")), strict=True):
            files[slot] = tmp_path / "in" / source.name
            with Image.open(source) as image:
                image.crop((0, 0, SIDE, SIDE)).save(files[slot])
        cases.append(Case(group, files, {"patient": group, "split": split}))
    prepare(Request(tmp_path / "set", cases))
    return tmp_path / "set"


@pytest.fixture
def sr3(cli: Cli, made_set: Path, tmp_path: Path) -> Path:
    settings = [f"--set={setting}" for setting in (*SETTINGS, "architecture.in_channel=6", "architecture.gate=none")]
    assert cli("train", made_set, "-o", tmp_path / "run", "--scale", "4", *settings).code == 0
    bundle = tmp_path / "sr3"
    assert cli("export", tmp_path / "run" / "model.safetensors", "-o", bundle, "--steps", "1").code == 0
    return bundle


@pytest.mark.parametrize("resolvers", [[], pytest.param(["sr3"], marks=pytest.mark.slow)], ids=["plain", "sr3"])
def test_the_page_shows_what_fusing_and_scoring_by_hand_gives(
    tested: Path,
    x4: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
    resolvers: list[str],
) -> None:
    bundles = [request.getfixturevalue(name) for name in resolvers]
    monkeypatch.setattr(pages, "shipped_bundles", lambda: {"x4": x4})
    monkeypatch.setattr(study, "STEPS", (1, 2))
    write_page(Study(tested, tmp_path / "docs", tmp_path / "work", bundles, [("no change", x4)], tested))
    page = (tmp_path / "docs" / "accuracy.md").read_text()
    rows = {
        cells[0]: cells[1:] for line in page.splitlines() if (cells := [c.strip(" *") for c in line.split("|")[1:-1]])
    }
    assert rows["tfs-rt x4, 1 step"] == rows["no change"]
    assert {"tfs-rt x4, 2 steps", "bicubic, then CTSR", "ground truth"} <= rows.keys()
    assert ("SR3 of each image, then BitonicX" in rows) == bool(bundles)
    (group,) = read_groups(tested, "test")
    low = [low_resolution(image, 4) for image in group.sources]
    error = bitonicx.fuse(*(resize(image, (SIDE, SIDE)) for image in low)).astype(float) - group.truth
    assert float(rows[BASELINE][0]) == pytest.approx(np.mean(error**2), abs=0.01)
    assert "(accuracy-x4.jpg)" in page
    assert (tmp_path / "docs" / "accuracy-x4.jpg").stat().st_size > 10_000


def test_what_would_fail_later_is_refused_before_anything_is_fused(
    tested: Path, x4: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "shipped_bundles", lambda: {"x4": x4})
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "file").touch()
    request = Study(tested, tmp_path / "docs", tmp_path / "work")
    refused: list[tuple[dict[str, Any], str]] = [
        ({"work": tmp_path / "used"}, "is not empty"),
        ({"resolvers": [x4]}, "takes three images, not one"),
        ({"further": [("truth", x4)]}, "cannot name one method"),
        ({"further": [("a", x4), ("a", x4)]}, "cannot name one method"),
        ({"further": [("a", x4.parent / "x8")]}, "is for x8"),
        ({"further": [("a", tmp_path)]}, "model.json"),
        ({"pictures": tmp_path / "none"}, "is not a training set's manifest"),
    ]
    for changes, words in refused:
        with pytest.raises(TfsRtError, match=words):
            write_page(dataclasses.replace(request, **changes))
    assert not (tmp_path / "work").exists()


def test_a_model_of_three_images_resolves_none(x4: Path) -> None:
    with pytest.raises(UsageError, match="takes three images, not one"):
        single_image_upsampler(x4)
