"""CSV lists in the dialects of spreadsheet programs, and cells that no such program computes."""

import csv
import os
from pathlib import Path
from typing import Literal
from unicodedata import normalize

import numpy as np
import pytest

from support.cases import find, refusal
from support.helpers import Cli, png
from tfs_rt.cases.case import Case, RefusedCase
from tfs_rt.cases.csv_list import protect, read_list, to_csv, unprotect
from tfs_rt.cases.discover import discover
from tfs_rt.cases.file_lookup import FileLookup
from tfs_rt.errors import NothingFound, UsageError

Form = Literal["NFC", "NFD"]
PLAIN = "id,m1,m2,functional\nk,a.png,b.png,c.png\n"
DIALECTS = {
    "semicolons": PLAIN.replace(",", ";").encode(),
    "semicolons and a mark": PLAIN.replace(",", ";").encode("utf-8-sig"),
    "tabs": PLAIN.replace(",", "\t").encode(),
    "UTF-16 and tabs": PLAIN.replace(",", "\t").replace("\n", "\r\n").encode("utf-16"),
    "UTF-16, the other way round": b"\xfe\xff" + PLAIN.encode("utf-16-be"),
    "a declared separator": ("sep=|\r\n" + PLAIN.replace(",", "|").replace("\n", "\r\n")).encode("utf-8-sig"),
    "lines that end as on old Macs": PLAIN.replace("\n", "\r").encode(),
    "quoted cells": b'"id","m1","m2","functional"\r\n"k","a.png","b.png","c.png"\r\n',
    "empty rows and columns": b"\n,,,,\nid,m1,m2,functional,,\n,,,,,\n \t,,,,,\nk,a.png,b.png,c.png,,\n,,,\r\n,,,\r\n",
    "modalities as columns": PLAIN.replace("id,m1,m2,functional", "Case;CT;MR-T2;PET").replace(",", ";").encode(),
    "synonyms as columns": PLAIN.replace("id,m1,m2,functional", "subject,T1w,Flair,FDG").encode(),
    "some columns by modality": PLAIN.replace("id,m1,m2,functional", "id,m1,m2,SPECT").encode(),
    "spaces and capitals in the header": PLAIN.replace("id,m1,m2,functional", "ID, M1 ,m2, Functional").encode(),
}


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("ending", [".csv", ".tsv", ".txt"])
def test_a_list_is_read_in_every_dialect_of_spreadsheet_programs(tmp_path: Path, dialect: str, ending: str) -> None:
    path = tmp_path / f"list{ending}"
    path.write_bytes(DIALECTS[dialect])
    (found,) = discover([path])
    assert isinstance(found, Case)
    files = {"m1": "a.png", "m2": "b.png", "functional": "c.png"}
    assert (found.id, found.files) == ("k", {slot: tmp_path / name for slot, name in files.items()})


@pytest.mark.parametrize(
    "text",
    [
        "id,m1,m2,functional\n,,,\n\n ,\t,,\n",
        "id;m1;m2;functional\r\n;;;\r\n",
        "id,m1,m2,functional\n\u200b,,,\n\0,\0,,\n\x1a",
        "\u200b\nid;m1;m2;functional\n\u2060;\ufeff;;\n",
    ],
)
def test_a_list_of_empty_rows_holds_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / "list.csv").write_text(text)
    with pytest.raises(NothingFound, match="no case in this list"):
        discover([tmp_path / "list.csv"])


@pytest.mark.parametrize(
    ("text", "cells"),
    [
        ("id,m1,m2,functional\na,1,2,3,one,,two\nb,1,2,3\n", "one, two"),
        ("id,m1,m2,functional,\na,1,2,3,no name\nb,1,2,3,\n", "no name"),
        ("id;m1;m2;functional\na;1;2;3;4\nb;1;2;3\n", "4"),
    ],
)
def test_a_row_with_cells_in_no_column_is_refused_alone_and_by_name(tmp_path: Path, text: str, cells: str) -> None:
    (tmp_path / "list.csv").write_text(text)
    a, b = discover([tmp_path / "list.csv"])
    assert isinstance(a, RefusedCase)
    assert isinstance(b, Case)
    assert a.id == "a"
    assert f"line 2: has cells in no column ({cells})" in str(a.error)


def test_line_numbers_are_those_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("sep=;\nid;m1;m2;functional\n;;;\n\nk;;b;c\n")
    (found,) = discover([tmp_path / "list.csv"])
    assert isinstance(found, RefusedCase)
    assert "line 5: m1 is empty" in str(found.error)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_called_like_a_list_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "list.csv")
    with pytest.raises(UsageError, match="cannot be read as CSV"):
        discover([tmp_path / "list.csv"])


def test_a_csv_is_read_relative_to_itself(tmp_path: Path) -> None:
    table = tmp_path / "cases.csv"
    table.write_text(
        "\ufeffid,functional,m1,m2,extra\nk1,f.png,a.png,sub/b.png,9\nk2,,a.png,b.png,\n", encoding="utf-8"
    )
    found = find(table)
    case = found["k1"]
    assert isinstance(case, Case)
    assert case.files == {"m1": tmp_path / "a.png", "m2": tmp_path / "sub/b.png", "functional": tmp_path / "f.png"}
    assert "line 3: functional is empty" in refusal(found["k2"])


def test_a_csv_without_its_columns_is_refused(tmp_path: Path) -> None:
    table = tmp_path / "cases.csv"
    table.write_text("id,m1,functional\na,b,c\n")
    with pytest.raises(UsageError, match="has no column 'm2'"):
        find(table)
    table.write_text("id m1 m2 functional\na b c d\n")
    with pytest.raises(UsageError, match="first line: id m1 m2 functional.*with commas, semicolons or tabs"):
        find(table)
    table.write_text("id,m1,m2,m2,functional\na,b,c,d,e\n")
    with pytest.raises(UsageError, match="has 2 columns 'm2'"):
        find(table)


@pytest.mark.parametrize(
    "header",
    [
        "id,t1,mri,pet",
        "id,t1,ct,pet",
        "id,t1,t2,pet,spect",
        "id,ct,t1,t2,pet",
        "case,name,m1,m2,functional",
        "id,m1,t2,pet",
    ],
)
def test_columns_whose_slot_is_in_doubt_are_not_taken(tmp_path: Path, header: str) -> None:
    (tmp_path / "list.csv").write_text(f"{header}\n{','.join('abcde'[: header.count(',') + 1])}\n")
    with pytest.raises(UsageError, match="has no column .*or name modalities, as id,ct,mr-t2,pet"):
        discover([tmp_path / "list.csv"])


@pytest.mark.parametrize(("stored", "written"), [("NFC", "NFD"), ("NFD", "NFC"), ("NFC", "NFC"), ("NFD", "NFD")])
def test_files_are_found_in_either_unicode_form(tmp_path: Path, stored: Form, written: Form) -> None:
    folder = tmp_path / normalize(stored, "Übung")
    folder.mkdir()
    for name in "äöü":
        (folder / normalize(stored, f"{name}.png")).touch()
    cells = [normalize(written, f"Übung/{name}.png") for name in "äöü"]
    (tmp_path / "list.csv").write_text(f"id,m1,m2,functional\nk,{','.join(cells)}\n", encoding="utf-8")
    (case,) = discover([tmp_path / "list.csv"])
    assert isinstance(case, Case)
    assert all(file.exists() for file in case.files.values())


def test_of_two_forms_of_a_name_the_exact_one_is_taken(tmp_path: Path) -> None:
    names = [normalize(form, "ä.png") for form in ("NFC", "NFD")]
    for name in names:
        (tmp_path / name).touch()
    (tmp_path / "list.csv").write_text(f"id,m1,m2,functional\nk,{names[0]},{names[1]},c.png\n", encoding="utf-8")
    (case,) = discover([tmp_path / "list.csv"])
    assert isinstance(case, Case)
    assert [case.files["m1"].name, case.files["m2"].name] == names


def test_separators_of_windows_are_those_of_folders_where_no_file_has_them(tmp_path: Path) -> None:
    (tmp_path / "img").mkdir()
    for name in ("img/a.png", "img/b.png", "odd\\c.png"):
        (tmp_path / name).touch()
    (tmp_path / "list.csv").write_text("id,m1,m2,functional\nk,img\\a.png,.\\img\\b.png,odd\\c.png\n")
    (case,) = discover([tmp_path / "list.csv"])
    assert isinstance(case, Case)
    files = [case.files[slot].relative_to(tmp_path).as_posix() for slot in ("m1", "m2", "functional")]
    assert files == ["img/a.png", "img/b.png", "odd\\c.png"]


def test_a_path_with_a_nul_is_refused_alone(tmp_path: Path) -> None:
    (tmp_path / "cases.csv").write_text("id,m1,m2,functional\na,x\0y,b,c\nb,x,y,z\n")
    found = find(tmp_path / "cases.csv")
    assert isinstance(found["a"], RefusedCase)
    assert isinstance(found["b"], Case)


WIDE = "".join(chr(ord(sign) + 0xFEE0) for sign in "=+-@")  # full-width signs, which begin a formula, too
FORMULAS = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", " =1", "a;=1+1", "a\t-2", "=", "'=1", "\tx", *WIDE]


@pytest.mark.parametrize("text", FORMULAS)
def test_no_text_of_ours_is_a_formula_in_a_spreadsheet(text: str) -> None:
    written = to_csv([[text, -1.5, "plain"]])
    for separator in ",;\t":
        for row in csv.reader(written.splitlines(), delimiter=separator):
            cells = [cell for cell in row if cell not in ("-1.5", "")]
            assert not any(cell.lstrip(" ")[:1] in tuple(f"=+-@{WIDE}\t\r\n") for cell in cells), (separator, row)
    assert "-1.5" in written


def test_protection_is_taken_away_to_the_letter(rng: np.random.Generator) -> None:
    alphabet = np.array(list("=+-@'; \t\r\nax" + WIDE))
    texts = ["".join(rng.choice(alphabet, rng.integers(0, 7))) for _ in range(3000)]
    assert [unprotect(protect(text)) for text in texts] == texts
    for text in ("k-1", "a=b", "mni-z060", "it's", ""):
        assert protect(text) == text


def test_a_list_of_ours_is_read_back(tmp_path: Path) -> None:
    row = ["-k", "=a.png", "@b.png", "/x;-y.png", "+p"]
    (tmp_path / "list.csv").write_text(to_csv([["id", "m1", "m2", "functional", "patient"], row]))
    (found,) = read_list(tmp_path / "list.csv")[1]
    assert list(found.cells.values()) == row


def test_an_evaluation_writes_no_formula(tmp_path: Path, cli: Cli, rng: np.random.Generator) -> None:
    for folder in ("=cmd", "truth"):
        (tmp_path / folder).mkdir()
        for name in ("=1+1", "@x", "plain"):
            pixels = rng.integers(0, 256, (16, 16, 3)).astype(np.uint8)
            (tmp_path / folder / f"{name}.png").write_bytes(png(pixels))
    assert cli("eval", tmp_path / "=cmd", tmp_path / "truth", "-o", tmp_path / "report", "--quiet").code == 0
    rows = list(csv.DictReader((tmp_path / "report" / "eval.csv").read_text().splitlines()))
    assert {row["method"] for row in rows} == {"'=cmd"}
    assert {row["case"] for row in rows} == {"'=1+1", "'@x", "plain"}
    assert all(float(row["psnr"]) for row in rows)


@pytest.mark.parametrize(
    "header",
    [
        "Patient ID;MRT T1;MRT T2;PET",
        "fall;t1_path;t2_path;pet_path",
        ";id;m1;m2;functional",
        "participant_id;t1;t2;pet",
    ],
)
def test_a_list_may_have_the_columns_of_other_programs(tmp_path: Path, header: str) -> None:
    images = [touched(tmp_path / name).name for name in ("t1.png", "t2.png", "pet.png")]
    number = ["0"] if header.startswith(";") else []
    (tmp_path / "cases.csv").write_text(header + "\n" + ";".join([*number, "a", *images]) + "\n")
    (case,) = discover([tmp_path / "cases.csv"])
    assert isinstance(case, Case)
    assert (case.id, [file.name for file in case.files.values()]) == ("a", images)


def test_a_path_may_have_other_capitals_or_begin_with_the_home_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    image = touched(tmp_path / "home" / "Img" / "T1.PNG")
    lookup = FileLookup()
    assert lookup.find(tmp_path, "~/Img/T1.PNG") == image
    assert lookup.find(tmp_path, "home\\img\\t1.png") == image
    touched(tmp_path / "home" / "Img" / "t1.PNG")
    assert not FileLookup().find(tmp_path, "home/img/t1.png").exists()  # two files have the name


@pytest.mark.parametrize(
    ("data", "words"), [(b"PK\x03\x04", "workbook"), ("id,m1,m2,functional\nä,a,b,c".encode("latin-1"), "UTF-8")]
)
def test_a_file_that_is_no_text_in_utf_8_says_how_to_save_it(tmp_path: Path, data: bytes, words: str) -> None:
    (tmp_path / "cases.csv").write_bytes(data)
    with pytest.raises(UsageError, match=f"{words}.*save it as CSV UTF-8"):
        discover([tmp_path / "cases.csv"])


def touched(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path
