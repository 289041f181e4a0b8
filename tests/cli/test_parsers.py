"""Parsers of option values."""

import pytest
import typer

from tfs_rt.cli.parsers import fraction, height_and_width, listed, one_of, whole_number


def test_whole_numbers_are_held_to_their_range() -> None:
    parse = whole_number(1, 1000)
    assert parse("1") == 1
    assert parse("1000") == 1000
    assert parse(7) == 7  # a default value
    for text in ("0", "1001", "-1", "1.5", "", "three", "9" * 400):
        with pytest.raises(typer.BadParameter, match="is not a whole number from 1 to 1,000"):
            parse(text)


def test_a_range_may_be_open_above() -> None:
    assert whole_number(0)("12345678901") == 12345678901
    with pytest.raises(typer.BadParameter, match="of 2 or more"):
        whole_number(2)("1")


def test_fractions_lie_from_0_to_1() -> None:
    assert [fraction(value) for value in ("0", "0.25", 1.0)] == [0.0, 0.25, 1.0]
    for text in ("-0.1", "1.1", "nan", "half"):
        with pytest.raises(typer.BadParameter, match="is not a number from 0 to 1"):
            fraction(text)


def test_another_name_is_refused_with_those_that_exist() -> None:
    parse = one_of({"a": 1, "b": 2})
    assert parse("b") == "b"
    with pytest.raises(typer.BadParameter, match="'c' is not known: choose from a, b"):
        parse("c")


def test_sizes_are_width_by_height() -> None:
    assert height_and_width("256") == (256, 256)
    assert height_and_width("320x256") == (256, 320)
    assert [height_and_width(text) for text in ("0", "0x8", "8x0", "12345", "8x8x8", "")] == [None] * 6


def test_names_are_listed_as_in_a_sentence() -> None:
    assert listed(["a"]) == "a"
    assert listed(["a", "b", "c"]) == "a, b or c"
    assert listed(["a", "b"], "and") == "a and b"


@pytest.mark.parametrize("text", ["0", "+1", " 1 ", "1_0", "9" * 30])
def test_a_whole_number_is_what_python_reads_as_one(text: str) -> None:
    assert whole_number(0)(text) == int(text)


@pytest.mark.parametrize("text", ["", "-1", "1.0", "one", "1e3", "9" * 5000])
def test_other_text_is_not_a_whole_number(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="is not a whole number of 0 or more"):
        whole_number(0)(text)
