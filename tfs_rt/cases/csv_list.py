"""Lists as CSV: read in the dialects of spreadsheet programs, written so that no cell becomes a formula there.

Read are UTF-8, and UTF-16 with its byte order mark; commas, semicolons or tabs, or what a first line `sep=;` names.
A row of empty cells, or of characters that show nothing, is left out.

A cell of text that a spreadsheet program would compute, as `=1+1` or `@SUM(A1)`, is written with an apostrophe before
it, which reading takes away again.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tfs_rt.errors import UsageError, first_line
from tfs_rt.spec import SLOTS
from tfs_rt.system.files import read_regular

ENDINGS = (".csv", ".tsv", ".txt")  # of lists; spreadsheet programs write tabs into the last two
REQUIRED = ("id", *SLOTS)
HEADER_REMEDY = "its first line must be id,m1,m2,functional, with commas, semicolons or tabs between them"
LIMIT = 2**28  # bytes
SEPARATORS = ",;\t"
DECLARED = re.compile(r"\"?sep=(.)\"?(?:\r\n|\r|\n)", re.IGNORECASE)
# A formula begins a cell, or what another program takes for one: a semicolon may separate cells there.
FORMULA = r"(?=[' ]*[=+\-@＝＋－＠])"  # noqa: RUF001 - full-width signs begin a formula, too
BLANK = r"(?='*[\t\r\n])"
EXPOSED = re.compile(rf"^{BLANK}|(^|[;\t\r\n]){FORMULA}")
PROTECTED = re.compile(rf"^'{BLANK}|(^|[;\t\r\n])'{FORMULA}")


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a list: its cells by column, and those that are in no column."""

    line: int
    cells: dict[str, str]
    extra: list[str]

    @property
    def problem(self) -> tuple[str, str] | None:
        """The problem of cells in no column: (reason, remedy)."""
        if not self.extra:
            return None
        reason = f"has cells in no column ({', '.join(self.extra)})"
        return (
            reason,
            "put quotation marks around a cell that holds the separator, or name the column in the first line",
        )


def read_list(path: Path) -> tuple[list[str], list[Row]]:
    """The column names of a list of cases, and its rows; UsageError if it is not such a list."""
    try:
        text = _text(path)
        declared = DECLARED.match(text)
        separator = declared[1] if declared else _separator(text)
        lines = io.StringIO(text, newline="")
        lines.seek(declared.end() if declared else 0)
        reader = csv.reader(lines, delimiter=separator, strict=True)
        lines_before = 1 if declared else 0
        rows = [(reader.line_num + lines_before, cells) for cells in reader if any(map(_shows, cells))]
    except (OSError, ValueError, csv.Error) as error:
        raise UsageError(path, f"cannot be read as CSV ({first_line(error)})", "save it as UTF-8 CSV") from error
    (_, first), *rest = rows or [(1, [])]
    header = [name.strip().lower() for name in first]
    for name in dict.fromkeys((*REQUIRED, *filter(None, header))):
        if header.count(name) != 1:
            reason = f"has {header.count(name)} columns {name!r} (first line: {separator.join(first)})"
            raise UsageError(path, reason, HEADER_REMEDY)
    return header, [_row(line, header, cells) for line, cells in rest]


def to_csv(rows: Iterable[Sequence[object]]) -> str:
    """Rows as CSV; numbers stay as they are, and text that begins a formula is protected."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    for row in rows:
        writer.writerow([protected(cell) if isinstance(cell, str) else cell for cell in row])
    return text.getvalue()


def protected(cell: str) -> str:
    """A cell's text with an apostrophe wherever a formula would begin."""
    return EXPOSED.sub(r"\1'", cell)


def unprotected(cell: str) -> str:
    """The text that `protected` was given."""
    return PROTECTED.sub(r"\1", cell)


def _text(path: Path) -> str:
    data = read_regular(path, LIMIT)
    wide = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return data.decode("utf-16" if wide else "utf-8-sig")


def _separator(text: str) -> str:
    """The separator by which the first line with a word holds the columns of a list."""
    lines = io.StringIO(text, newline="")
    first = next((line for line in lines if _shows(line, SEPARATORS)), "")
    for separator in SEPARATORS:
        (names,) = csv.reader([first], delimiter=separator)
        if set(REQUIRED) <= {name.strip().lower() for name in names}:
            return separator
    return SEPARATORS[0]


def _shows(text: str, but: str = "") -> bool:
    """True if a text holds more than spaces, control and format characters, and those in `but`."""
    return any(not (c.isspace() or c in but or unicodedata.category(c) in ("Cc", "Cf")) for c in text)


def _row(line: int, header: list[str], cells: list[str]) -> Row:
    texts = [unprotected(cell).strip() for cell in cells]
    texts += [""] * (len(header) - len(texts))
    extra = [text for number, text in enumerate(texts) if text and not "".join(header[number : number + 1])]
    return Row(line, {name: text for name, text in zip(header, texts, strict=False) if name}, extra)
