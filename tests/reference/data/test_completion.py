"""Pairs completed to groups: what is borrowed keeps its pixels, what is remapped keeps its edges."""

import csv
import sys
from pathlib import Path

import numpy as np
import pytest

from support.helpers import png
from tfs_rt.cases.load import read_file
from tfs_rt.errors import InputError, UsageError
from tfs_rt.spec import SLOTS
from tfs_rt_reference.data.completion import complete, head_box, main, read_pairs, remap, run, shift_image


def disc(rng: np.random.Generator, *, centre: tuple[int, int], radius: int, colours: int) -> np.ndarray:
    y, x = np.mgrid[:64, :64]
    inside = np.hypot(y - centre[0], x - centre[1]) <= radius
    texture = rng.integers(60, 255, (64, 64, colours)).astype(np.uint8)
    return np.where(inside[..., None], texture, 0).astype(np.uint8).squeeze()


@pytest.fixture
def pairs(tmp_path: Path, rng: np.random.Generator) -> Path:
    rows = ["id,m1,m2,functional,patient,split"]
    missing = ["functional", "m1", "m2", "functional", "m1", "m1"]
    for i, gap in enumerate(missing):
        centre, radius = (24 + 3 * i, 40 - 2 * i), 14 + i
        cells = []
        for slot in SLOTS:
            name = f"{i}_{slot}.png"
            if slot != gap:
                colours = 3 if slot == "functional" else 1
                (tmp_path / name).write_bytes(png(disc(rng, centre=centre, radius=radius, colours=colours)))
            cells.append("" if slot == gap else name)
        rows.append(",".join([f"k{i}", *cells, f"p{i % 3}", "train"]))
    (tmp_path / "pairs.csv").write_text("\n".join(rows) + "\n")
    return tmp_path / "pairs.csv"


def test_every_pair_becomes_a_group_whose_files_are_there(pairs: Path, tmp_path: Path) -> None:
    run(pairs, tmp_path / "out", seed=0)
    with (tmp_path / "out" / "cases.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["id"] for row in rows] == [f"k{i}" for i in range(6)]
    for row in rows:
        images = [read_file(Path(row[slot]))[0] for slot in SLOTS]
        assert {image.shape for image in images} == {(64, 64, 3)}
        assert images[2].std(axis=2).max() > 0  # in colour


def test_a_seed_decides_what_is_made(pairs: Path) -> None:
    given = read_pairs(pairs)
    a, b, c = (complete(given, np.random.default_rng(seed)) for seed in (0, 0, 1))
    assert all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))
    assert not all(np.array_equal(x, y) for x, y in zip(a, c, strict=True))


def test_a_loan_comes_from_another_patient_and_lies_where_the_head_is(pairs: Path) -> None:
    given = read_pairs(pairs)
    made = complete(given, np.random.default_rng(0))[0]  # k0 lacks its functional image
    assert np.abs(head_box(made) - head_box(given[0].anatomy)).max() <= 6  # heads of unlike sizes, centres met
    lenders = [pair for pair in given if pair.missing != "functional" and pair.patient != given[0].patient]
    levels = sorted(made[made > 0].tolist())
    assert any(levels == sorted(image[image > 0].tolist()) for image in (p.images["functional"] for p in lenders))


def test_shifting_moves_by_whole_pixels_over_black(rng: np.random.Generator) -> None:
    image = rng.integers(1, 256, (8, 8, 3)).astype(np.uint8)
    moved = shift_image(image, 2, -3)
    assert np.array_equal(moved[2:, :5], image[:6, 3:])
    assert not moved[:2].any()
    assert not moved[:, 5:].any()


def test_a_change_of_contrast_keeps_black_and_equal_greys_equal(rng: np.random.Generator) -> None:
    image = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, axis=2)
    for _ in range(5):
        curve = remap(image, rng)[0, :, 0].astype(int)
        assert curve[0] == 0
        assert np.abs(np.diff(curve)).max() <= 6  # 255 levels within one fifth of the range
        assert np.ptp(curve[1:]) > 50


def test_a_row_that_is_no_pair_is_refused(pairs: Path) -> None:
    pairs.write_text("id,m1,m2,functional,patient,split\nk0,a.png,,,p0,train\n")
    with pytest.raises(UsageError, match="k0 has 1 files, not two"):
        read_pairs(pairs)


def _row(**changes: str) -> str:
    row = {"id": "k9", "m1": "0_m1.png", "m2": "0_m2.png", "functional": "", "patient": "p0", "split": "train"}
    return ",".join((row | changes).values())


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([_row(patient="")], "a row without a patient"),
        ([_row(id="../k")], "an id that a file can be named by"),
        ([_row(), _row()], "lists k9 more than once"),
        ([_row(m1="none.png")], "none.png: cannot be read"),
        ([_row(m1="small.png")], "its two images differ in size"),
    ],
)
def test_a_faulty_list_of_pairs_is_refused_in_one_line(
    pairs: Path, rows: list[str], words: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (pairs.parent / "small.png").write_bytes(png(np.full((32, 32), 90, np.uint8)))
    pairs.write_text("\n".join(["id,m1,m2,functional,patient,split", *rows]) + "\n")
    monkeypatch.setattr(sys, "argv", ["completion", str(pairs), "-o", str(pairs.parent / "out")])
    with pytest.raises(SystemExit, match=words):
        main()
    assert not (pairs.parent / "out").exists()


def test_nothing_that_is_read_is_overwritten(pairs: Path) -> None:
    listed = pairs.rename(pairs.parent / "cases.csv")
    before = {path: path.read_bytes() for path in pairs.parent.iterdir()}
    with pytest.raises(UsageError, match="would be overwritten"):
        run(listed, pairs.parent, seed=0)
    assert {path: path.read_bytes() for path in pairs.parent.iterdir()} == before


def test_a_list_without_a_column_or_without_a_lender_is_refused(pairs: Path) -> None:
    row = _row()
    pairs.write_text(f"id,m1,m2,functional,patient,split\n{row}\n")
    with pytest.raises(InputError, match="k9: no other patient of its split has a functional image"):
        run(pairs, pairs.parent / "out", seed=0)
    pairs.write_text("id,m1,m2,functional,patient,split\n")
    with pytest.raises(UsageError, match="lists no pairs"):
        run(pairs, pairs.parent / "out", seed=0)
    pairs.write_text("id,m1,m2,functional,split\n")
    with pytest.raises(UsageError, match="has no column patient"):
        read_pairs(pairs)
    with pytest.raises(UsageError, match="cannot be read as CSV"):
        read_pairs(pairs.parent / "missing.csv")
