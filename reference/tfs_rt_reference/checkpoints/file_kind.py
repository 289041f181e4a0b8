"""Other files that are named like a checkpoint, recognised by their first bytes, each with a remedy.

Failed downloads are the usual case: a web page, a pointer of Git LFS, half a file.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import NamedTuple

from tfs_rt.errors import ModelError
from tfs_rt.system.files import open_regular

FIRST = 1024  # bytes that are examined
FETCH = "fetch the file again, and compare its size with the one that is stated where it is offered"
RAW = "fetch the file itself: the link named 'raw', 'download' or 'resolve', not the page that shows it"
LFS = "run git lfs pull in its repository, or fetch the file itself"
UNPACK = "unpack it, and give the .pth or .safetensors file in it"
PYTORCH = "give the checkpoint that the PyTorch program saved (.pth or .safetensors)"
BOMS = (b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")
WEB = re.compile(rb"\s*(<!doctype|<html|<head|<\?xml|<!--)", re.IGNORECASE)
ONNX = re.compile(rb"\x08[\x01-\x20][\x12\x1a\x22\x28\x32\x3a\x42\x72]")  # the IR's version, and then another field
CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1f]")  # bytes that no text has
PICKLE = re.compile(rb"PK\x03\x04|\x80[\x02-\x05]")  # PyTorch's archives, and its pickles of earlier versions


class Kind(NamedTuple):
    """The kind of a file, and the remedy."""

    words: str
    remedy: str


ARCHIVE = "is not a checkpoint but {} archive"
SIGNATURES = {
    b"version https://git-lfs": Kind("is not a checkpoint but a pointer of Git LFS to one", LFS),
    b"\x1f\x8b": Kind(ARCHIVE.format("a gzip"), UNPACK),
    b"BZh": Kind(ARCHIVE.format("a bzip2"), UNPACK),
    b"\xfd7zXZ\x00": Kind(ARCHIVE.format("an xz"), UNPACK),
    b"\x28\xb5\x2f\xfd": Kind(ARCHIVE.format("a zstd"), UNPACK),
    b"7z\xbc\xaf\x27\x1c": Kind(ARCHIVE.format("a 7z"), UNPACK),
    b"Rar!": Kind(ARCHIVE.format("a rar"), UNPACK),
    b"\x89HDF\r\n": Kind("is not a checkpoint of PyTorch but HDF5 (Keras, MATLAB)", PYTORCH),
    b"GGUF": Kind("is not a checkpoint of PyTorch but GGUF", PYTORCH),
    b"\x93NUMPY": Kind("is not a checkpoint but a NumPy array", PYTORCH),
    b"\x89PNG": Kind("is not a checkpoint but a PNG image", PYTORCH),
    b"%PDF": Kind("is not a checkpoint but a PDF document", PYTORCH),
}


def check_kind(path: Path) -> None:
    """ModelError, with a remedy, if a file that ends as a checkpoint is recognised as something else."""
    with open_regular(path) as file:
        first = file.read(FIRST)
        size = os.fstat(file.fileno()).st_size
    kind = _download(first) or (_for_safetensors if path.suffix.lower() == ".safetensors" else _for_pth)(first, size)
    if kind:
        raise ModelError(path, kind.words, kind.remedy)


def _download(first: bytes) -> Kind | None:
    """The kind of a file that was downloaded in place of a checkpoint."""
    if not first:
        return Kind("is empty", FETCH)
    if not first.strip(b"\0"):
        return Kind("begins with nothing but zeros: its download did not end", FETCH)
    for start, kind in SIGNATURES.items():
        if first.startswith(start):
            return kind
    bare = next((first.removeprefix(bom) for bom in BOMS if first.startswith(bom)), first).replace(b"\0", b"")
    if WEB.match(bare):
        return Kind("is not a checkpoint but a web page", RAW)
    return None


def _for_pth(first: bytes, size: int) -> Kind | None:
    if _header_length(first, size):
        return Kind("is safetensors by its content", "rename it so that it ends in .safetensors")
    if ONNX.match(first):
        remedy = "give the checkpoint that it was exported from; a bundle is given by its folder"
        return Kind("is not a checkpoint but an ONNX model", remedy)
    return _text(first)


def _for_safetensors(first: bytes, size: int) -> Kind | None:
    if PICKLE.match(first):
        return Kind("is PyTorch's own format by its content", "rename it so that it ends in .pth")
    if ONNX.match(first):
        return _for_pth(first, size)
    if length := _header_length(first, 2**63):
        return _cut_off(first, length, size)
    return _text(first)


def _cut_off(first: bytes, length: int, size: int) -> Kind | None:
    """True if a safetensors file ends within its header. Its reader checks that the tensors are there."""
    if 8 + length <= size or length > 2**22:
        return None
    return Kind(f"ends within its header ({size} bytes): its download was cut off", FETCH)


def _header_length(first: bytes, size: int) -> int:
    """The length that a safetensors file states of its header, if it is one."""
    length = int.from_bytes(first[:8], "little")
    return length if first[8:9] == b"{" and 2 <= length <= size - 8 else 0


def _text(first: bytes) -> Kind | None:
    """A text file, for example a server's answer in place of the checkpoint."""
    return None if CONTROL.search(first) else Kind("is not a checkpoint but a text file", RAW)
