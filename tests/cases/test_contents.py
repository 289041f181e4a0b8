"""A folder is read as the bytes of its files, or is refused before anything of it is used."""

from __future__ import annotations

from pathlib import Path

import pytest

from tfs_rt.cases import contents
from tfs_rt.cases.contents import read_content
from tfs_rt.errors import InputError
from tfs_rt.system.files import path_sha256


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "t1"
    (folder / "nested").mkdir(parents=True)
    for name in ("b", "a.dcm", ".DS_Store", "nested/c"):
        (folder / name).write_bytes(name.encode())
    return folder


def refused(folder: Path, words: str) -> InputError:
    with pytest.raises(InputError, match=words) as caught:
        read_content(folder)
    assert caught.value.remedy
    return caught.value


def test_a_folder_is_its_visible_files_and_their_common_hash(folder: Path) -> None:
    assert read_content(folder) == ({"a.dcm": b"a.dcm", "b": b"b"}, path_sha256(folder))
    assert read_content(folder / "b") == (b"b", path_sha256(folder / "b"))


def test_a_file_that_cannot_be_read_refuses_the_folder_by_its_name(folder: Path) -> None:
    """As a link into a store that is not there, which must not become a missing slice."""
    (folder / "c").symlink_to(folder / "nowhere")
    assert refused(folder, "No such file").subject == str(folder / "c")


def test_a_folder_beyond_the_limits_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contents, "MAX_FILES", 1)
    refused(folder, "holds 2 files, more than 1")
    monkeypatch.setattr(contents, "MAX_FILES", 2)
    monkeypatch.setattr(contents, "MAX_BYTES", 5)
    refused(folder, "holds more than 1 GiB of files")


def test_a_folder_without_files_is_refused(tmp_path: Path) -> None:
    refused(tmp_path, "is a folder without files")


def test_a_path_that_leads_nowhere_says_what_it_may_be(folder: Path) -> None:
    (folder / "link").symlink_to(folder / ".git" / "annex" / "x.nii.gz")
    assert "link to a file that is not there" in refused(folder / "link", "No such file").reason
    refused(folder / r"C:\data\t1.png", "of a Windows machine")
    assert "paths start from the folder of the CSV" in refused(folder / "missing.png", "No such file").remedy
