"""Lists of cases as CSV, in the dialects of spreadsheet programs: a row for each case, with id, m1, m2, functional.

The text is UTF-8, or UTF-16 with its byte order mark. Commas, semicolons or tabs separate cells, or the sign in a first
line `sep=;`. A row of empty cells, or of invisible characters, is left out.

Columns may be named by modality instead of m1, m2 and functional (`id,ct,t2,pet`, `ct_path`), and id may be `case`,
`subject`, `patient_id` and the like. A first column without a name, as pandas writes it, is left out.

A cell of text that a spreadsheet program would compute, such as `=1+1` or `@SUM(A1)`, is written with an apostrophe
before it, which reading removes again.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tfs_rt.cases.case import Case, FoundCase, Problem, RefusedCase
from tfs_rt.cases.file_lookup import FileLookup
from tfs_rt.cases.modalities import SEPARATORS, is_called_by_modality, modality_of_name
from tfs_rt.cases.pairing import anatomical_slots, functional_slot
from tfs_rt.cases.source import Source, SourceKind
from tfs_rt.errors import InputError, UsageError, first_line
from tfs_rt.spec import SLOTS
from tfs_rt.system.files import read_regular

ENDINGS = (".csv", ".tsv", ".txt")  # spreadsheet programs write tabs into the last two
REQUIRED = ("id", *SLOTS)
# Stand for `id`, if one of them alone is there; words are joined by `_`.
ID_COLUMNS = (
    *("case", "case_id", "subject", "subject_id", "sub", "participant", "participant_id", "patient", "patient_id"),
    *("name", "fall", "fall_id", "patienten_id"),
)
# May stand beside a modality in the name of its column.
FILE_WORDS = ("path", "file", "filename", "image", "scan", "pfad", "datei", "bild")
HEADER_REMEDY = (
    "its first line must be id,m1,m2,functional, or name modalities, as id,ct,mr-t2,pet, "
    "with commas, semicolons or tabs between them"
)
SAVE_AS_UTF8 = "save it as CSV UTF-8 in the spreadsheet program"
LIMIT = 2**28  # bytes
LONGEST_LINE = 100  # characters of a first line in a message
ARCHIVE = b"PK\x03\x04"  # begins a workbook
CELL_SEPARATORS = ",;\t"
DECLARED = re.compile(r"\"?sep=(.)\"?(?:\r\n|\r|\n)", re.IGNORECASE)
# A formula begins a cell. It may also follow a semicolon or a tab, which separate cells in another program.
FORMULA = r"(?=[' ]*[=+\-@＝＋－＠])"  # noqa: RUF001 - full-width signs begin a formula, too
BLANK = r"(?='*[\t\r\n])"
EXPOSED = re.compile(rf"^{BLANK}|(^|[;\t\r\n]){FORMULA}")
PROTECTED = re.compile(rf"^'{BLANK}|(^|[;\t\r\n])'{FORMULA}")


@dataclass(frozen=True, slots=True)
class Header:
    """The columns of a list."""

    names: list[str]  # in small letters; id, m1, m2 and functional also for columns of other names
    modalities: dict[str, str]  # by slot, of columns that are named by modality


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a list."""

    line: int  # its number in the file
    cells: dict[str, str]  # by column
    extra: list[str]  # cells that are in no column

    @property
    def problem(self) -> Problem | None:
        """The problem of cells that are in no column; None if there are none."""
        if not self.extra:
            return None
        reason = f"has cells in no column ({', '.join(self.extra)})"
        remedy = "put quotation marks around a cell that holds the separator, or name the column in the first line"
        return Problem(reason, remedy)


def read_list(path: Path) -> tuple[list[str], list[Row]]:
    """The column names and the rows of a list of cases; UsageError if the file is not such a list."""
    header, rows = _read(path)
    return header.names, rows


def _read(path: Path) -> tuple[Header, list[Row]]:
    try:
        text = _read_text(path)
        declared = DECLARED.match(text)
        separator = declared[1] if declared else _guess_separator(text)
        lines = io.StringIO(text, newline="")
        lines.seek(declared.end() if declared else 0)
        reader = csv.reader(lines, delimiter=separator, strict=True)
        lines_before = 1 if declared else 0
        rows = [(reader.line_num + lines_before, cells) for cells in reader if any(map(_is_visible, cells))]
    except UnicodeDecodeError as error:
        raise UsageError(path, "is not text in UTF-8", SAVE_AS_UTF8) from error
    except (OSError, ValueError, csv.Error) as error:
        raise UsageError(path, f"cannot be read as CSV ({first_line(error)})", SAVE_AS_UTF8) from error

    # The first row names the columns; each name occurs once.
    (_, first), *rest = rows or [(1, [])]
    header = _header(first)
    for name in dict.fromkeys((*REQUIRED, *filter(None, header.names))):
        if header.names.count(name) != 1:
            count = f"{header.names.count(name)} columns" if name in header.names else "no column"
            reason = f"has {count} {name!r} (first line: {separator.join(first)[:LONGEST_LINE]})"
            raise UsageError(path, reason, HEADER_REMEDY)
    return header, [_row(line, header.names, cells) for line, cells in rest]


def _header(first: Sequence[str]) -> Header:
    """The columns that a first line names. A modality stands for a slot if there is no doubt about which."""
    names = [name.strip().lower() for name in first]
    ids = [name for name in names if "_".join(SEPARATORS.split(name)[::2]) in ID_COLUMNS]
    renamed: dict[str, str] = {}
    if "id" not in names and len(ids) == 1:
        renamed[ids[0]] = "id"

    # Find the columns of modalities for slots that have no column.
    columns: dict[str, str] = {}
    for name in names:
        plain = " ".join(word for word in SEPARATORS.split(name)[::2] if word not in FILE_WORDS)
        modality = modality_of_name(plain)
        if modality and is_called_by_modality(plain):
            columns[modality] = name
    slots: dict[str, str] = {}
    if "functional" not in names:
        slots |= functional_slot(columns)
    if "m1" not in names and "m2" not in names:
        slots |= anatomical_slots(columns)
    renamed |= {columns[modality]: slot for slot, modality in slots.items()}
    return Header([renamed.get(name, name) for name in names], slots)


def _recognises(source: Source) -> bool:
    return source.path.suffix.lower() in ENDINGS and not source.path.is_dir()


def _find_cases(source: Source) -> Iterator[FoundCase]:
    header, rows = _read(source.path)
    lookup = FileLookup()
    for row in rows:
        yield _case(row, source.path, header, lookup)


def _case(row: Row, path: Path, header: Header, lookup: FileLookup) -> FoundCase:
    """The case of a row; paths are relative to the list."""
    label_names = [name for name in header.names if name and name not in REQUIRED]
    case_id = row.cells["id"] or f"line {row.line}"
    labels = {name: row.cells[name] for name in label_names}
    files: dict[str, Path] = {}
    problem = row.problem
    for slot in SLOTS:
        cell = row.cells[slot]
        if cell and "\0" not in cell:
            files[slot] = lookup.find(path.parent, cell)
        elif not problem:
            reason = "holds a NUL character" if cell else "is empty"
            problem = Problem(f"{slot} {reason}", "write the path of its file")
    if problem:
        error = InputError(f"{path}, line {row.line}", *problem)
        return RefusedCase(case_id, error, tuple(files.values()), labels=labels)
    return Case(case_id, files, labels, modalities=header.modalities)


def to_csv(rows: Iterable[Sequence[object]]) -> str:
    """Rows as CSV; numbers stay as they are, and an apostrophe protects text that begins a formula."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    for row in rows:
        writer.writerow([protect(cell) if isinstance(cell, str) else cell for cell in row])
    return text.getvalue()


def protect(cell: str) -> str:
    """A cell's text with an apostrophe wherever a formula would begin."""
    return EXPOSED.sub(r"\1'", cell)


def unprotect(cell: str) -> str:
    """A cell's text without the apostrophes that `protect` has added."""
    return PROTECTED.sub(r"\1", cell)


def _read_text(path: Path) -> str:
    data = read_regular(path, LIMIT)
    if data.startswith(ARCHIVE):
        raise ValueError("it is a workbook or another archive")
    is_wide = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return data.decode("utf-16" if is_wide else "utf-8-sig")


def _guess_separator(text: str) -> str:
    """The separator with which the first line with a word has the columns of a list; the first one if none has."""
    lines = io.StringIO(text, newline="")
    first = next((line for line in lines if _is_visible(line, CELL_SEPARATORS)), "")
    for separator in CELL_SEPARATORS:
        (names,) = csv.reader([first], delimiter=separator)
        if set(REQUIRED) <= set(_header(names).names):
            return separator
    return CELL_SEPARATORS[0]


def _is_visible(text: str, ignored: str = "") -> bool:
    """True if a text holds more than spaces, control and format characters, and those in `ignored`."""
    for character in text:
        is_blank = character.isspace() or unicodedata.category(character) in ("Cc", "Cf")
        if not is_blank and character not in ignored:
            return True
    return False


def _row(line: int, header: list[str], cells: list[str]) -> Row:
    """A row with its cells by column; columns at the end may be missing."""
    texts = [unprotect(cell).strip() for cell in cells]
    texts += [""] * (len(header) - len(texts))
    by_column: dict[str, str] = {}
    extra: list[str] = []
    for number, text in enumerate(texts):
        column = header[number] if number < len(header) else ""
        if column:
            by_column[column] = text
        elif text and number > 0:  # a first column without a name numbers the rows
            extra.append(text)
    return Row(line, by_column, extra)


CSV_LIST = SourceKind(
    name="list",
    naming_remedy="add a line for each case under id,m1,m2,functional",
    recognises=_recognises,
    find_cases=_find_cases,
)
