"""HTML and SVG as strings: every text and every attribute passes through one of these functions."""

from __future__ import annotations

import html
import unicodedata

from tfs_rt.errors import printable

NARROW = set("fijlrt.,:;'|!()[]/· ")
BROAD = set("mwMW%@—†")


def text(value: str, limit: int = 300) -> str:
    """Foreign text as markup: one line, without control characters, escaped."""
    return html.escape(printable(value, limit))


def tag(name: str, /, *content: str, **attributes: str | float) -> str:
    """An element; `class_` is class, `stroke_width` is stroke-width, and the content is markup already."""
    written = "".join(f' {_name(key)}="{html.escape(_value(value))}"' for key, value in attributes.items())
    return f"<{name}{written}>{''.join(content)}</{name}>" if content else f"<{name}{written}/>"


def text_width(value: str, size: float, *, bold: bool = False) -> float:
    """About how wide a sans-serif font sets a text, on the safe side (DejaVu is the widest in use): units of `size`."""
    return size * sum(map(_advance, value)) * (1.13 if bold else 1)


def fitted(value: str, size: float, width: float) -> str:
    """The text, or as much of it as fits, with an ellipsis."""
    if text_width(value, size) <= width:
        return value
    while value and text_width(f"{value}…", size) > width:
        value = value[:-1]
    return f"{value.rstrip()}…"


def _name(key: str) -> str:
    return key.rstrip("_").replace("_", "-")


def _value(value: str | float) -> str:
    return value if isinstance(value, str) else f"{value:.2f}".rstrip("0").rstrip(".")


def _advance(character: str) -> float:
    if unicodedata.east_asian_width(character) in "WF":
        return 1.05
    if character in NARROW:
        return 0.4
    return 1.0 if character in BROAD else 0.72 if character.isupper() else 0.64
