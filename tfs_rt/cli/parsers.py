"""Parsers of option values: numbers, names, sizes, and lists of them.

Those passed to Typer raise `typer.BadParameter`, which names the option. They also get the option's default value,
which is not always text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable

import typer

LARGEST_SIDE = 4096  # pixels of a result


def whole_number(low: int, high: int | None = None) -> Callable[[object], int]:
    """A parser of whole numbers from `low` to `high`."""
    allowed = f"from {low:,} to {high:,}" if high is not None else f"of {low:,} or more"

    def parse(value: object) -> int:
        try:
            number = int(str(value))
        except ValueError:
            number = None
        if number is None or number < low or (high is not None and number > high):
            raise typer.BadParameter(f"{value!r} is not a whole number {allowed}")
        return number

    return parse


def fraction(value: object) -> float:
    """A number from 0 to 1."""
    try:
        number = float(str(value))
    except ValueError:
        number = -1.0
    if not 0 <= number <= 1:
        raise typer.BadParameter(f"{value!r} is not a number from 0 to 1")
    return number


def one_of(names: Collection[str]) -> Callable[[object], str]:
    """A parser that accepts these names and no other."""

    def parse(value: object) -> str:
        if value not in names:
            raise typer.BadParameter(f"{value!r} is not known: choose from {', '.join(names)}")
        return str(value)

    return parse


def decimal(text: str, low: int, high: int | None) -> int | None:
    """The whole number that a text of up to 20 digits writes, if it lies from `low` to `high`."""
    if not (text.isascii() and text.isdecimal() and len(text) <= 20):
        return None
    number = int(text)
    return number if low <= number and (high is None or number <= high) else None


def height_and_width(text: str) -> tuple[int, int] | None:
    """(H, W) of `256` or `320x256` (width x height), of up to four digits; None for other text and for zero."""
    match = re.fullmatch(r"(\d{1,4})(?:x(\d{1,4}))?", text)
    if match is None:
        return None
    width = int(match[1])
    height = int(match[2] or match[1])
    return (height, width) if height and width else None


def comma_list(text: str) -> list[str]:
    """The parts of a text between commas, without the spaces around them."""
    return [part.strip() for part in text.split(",")]


def listed(names: Iterable[str], last: str = "or") -> str:
    """Names as a sentence lists them: `a, b or c`."""
    *others, final = names
    return f"{', '.join(others)} {last} {final}" if others else final
