"""The options of `tfs-rt fuse` about its cases, and about how files are read."""

from pathlib import Path

import pytest

from tfs_rt.cli.reading import parse_case, parse_reading, parse_target_size
from tfs_rt.errors import UsageError
from tfs_rt.spec import SLOTS


def parse_windows(*texts: str) -> tuple[dict[str, tuple[float, float]], bool]:
    reading = parse_reading(texts, None, allow_lossy=False)
    return reading.windows, reading.window_for_all


def test_a_window_without_a_slot_is_for_all_and_equal_ones_with_slots_are_not() -> None:
    everywhere = dict.fromkeys(SLOTS, (0.0, 80.0))
    assert parse_windows("0:80") == (everywhere, True)
    assert parse_windows(*(f"{slot}=0:80" for slot in SLOTS)) == (everywhere, False)
    assert parse_windows() == ({}, False)


@pytest.mark.parametrize("text", ["", "80", "80:0", "0:0", "a:b", "nan:1", "0:inf", "m3=0:1", "m1=", "0:1:2", "0:1e12"])
def test_a_text_that_is_not_a_window_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--window: .* is not a window: write LOW:HIGH"):
        parse_windows(text)


def test_an_image_has_one_window() -> None:
    with pytest.raises(UsageError, match="m1 has two windows"):
        parse_windows("m1=0:80", "0:1")


def test_a_series_is_chosen_for_a_slot_by_a_number_or_a_uid() -> None:
    chosen = parse_reading((), None, series=("functional=1.2.840", "m1=12"))
    assert chosen.series == {"m1": "12", "functional": "1.2.840"}
    assert chosen.recipe() == {"windows": {}, "colormap": None, "series": chosen.series}
    assert "series" not in parse_reading((), None, same_frame=True).recipe()
    for text in ("12", "m1=", "m4=1", "m1=t1 mprage", "m1=" + "1" * 65):
        with pytest.raises(UsageError, match="--series: .* does not name a series: write m1=NUMBER"):
            parse_reading((), None, series=(text,))
    with pytest.raises(UsageError, match="m1 has two series"):
        parse_reading((), None, series=("m1=1", "m1=2"))


def test_a_target_size_is_width_by_height_within_the_largest_result() -> None:
    assert parse_target_size(None) is None
    assert parse_target_size("256") == (256, 256)
    assert parse_target_size("320x256") == (256, 320)
    assert parse_target_size("8192x2048") == (2048, 8192)
    for text in ("big", "0", "0x16", "12345", "4097x4096", "16x", "x16"):
        with pytest.raises(UsageError, match="is not a size"):
            parse_target_size(text)


def test_a_single_case_needs_all_three_files() -> None:
    files = Path("ct.png"), Path("t2.png"), Path("pet.png")
    assert parse_case(None, None, None, None) == []
    (case,) = parse_case(*files, "k1")
    assert case.id == "k1"
    with pytest.raises(UsageError, match="only some of the three"):
        parse_case(files[0], files[1], None, None)
