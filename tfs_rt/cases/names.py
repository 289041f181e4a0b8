"""Spellings of patients' names: systems write one name in capitals, without accents, or with its parts exchanged."""

from __future__ import annotations

import re
import unicodedata

LEAST = 2  # letters of a part of a name that counts
WRITTEN_OUT = {
    "ä": "ae",
    "ö": "oe",
    "ü": "ue",
    "ø": "oe",
    "å": "aa",
    "ß": "ss",
    "æ": "ae",
    "ñ": "n",
    "ł": "l",
    "đ": "d",
}
LATIN = re.compile(r"[a-z]")


def is_same_name(one: str, other: str) -> bool:
    """True if two names may be spellings of one: they share a part, or are in different scripts."""
    if bool(LATIN.search(_folded(one))) != bool(LATIN.search(_folded(other))):
        return True
    return bool(_parts(one) & _parts(other))


def _parts(name: str) -> set[str]:
    """The parts of a name in small letters without accents, with and without their umlauts written out."""
    parts: set[str] = set()
    small = unicodedata.normalize("NFC", name).casefold()
    for text in (_folded(small), _folded("".join(WRITTEN_OUT.get(letter, letter) for letter in small))):
        parts |= {part for part in re.split(r"[\W_]+", text) if len(part) >= LEAST}
        parts.add("".join(re.split(r"[\W_]+", text)))
    return parts - {""}


def _folded(text: str) -> str:
    """A text in small letters without accents."""
    letters = unicodedata.normalize("NFKD", text.casefold())
    return "".join(letter for letter in letters if not unicodedata.combining(letter))
