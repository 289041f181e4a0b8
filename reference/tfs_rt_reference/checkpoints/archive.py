"""Checks of a checkpoint's archive or header before a library reads it.

Compressed or overlapping members unpack to more than the file's size, and readers choose differently between two
members of one name; PyTorch writes neither. Of two tensors of one name, safetensors silently takes one.
"""

from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path
from typing import Any

from tfs_rt.errors import ModelError, printable
from tfs_rt.facts import unique_keys
from tfs_rt.system.files import open_regular

ZIP = b"PK\x03\x04"
TAR = b"ustar"
TAR_AT = 257  # byte at which a tar states its kind
HEADER = 2**22  # bytes of a safetensors header: the published network's has 60,000
ENTRIES = 20_000  # members or tensors: it has 900


def check_archive(path: Path) -> None:
    """ValueError unless a `.pth` is a plain archive as PyTorch writes them, or a pickle of old versions.

    ModelError for a zip archive of other things, or a part of one.
    """
    with open_regular(path) as file:
        # Find out the kind of file by its first bytes.
        size = os.fstat(file.fileno()).st_size
        start = file.read(TAR_AT + len(TAR))
        if start.endswith(TAR):
            raise ValueError("a tar, as the first versions of PyTorch wrote")
        if not start.startswith(ZIP):
            return
        # List the archive's members.
        try:
            with zipfile.ZipFile(file) as archive:
                members = archive.infolist()
        except zipfile.BadZipFile as error:
            reason = f"is an incomplete zip archive ({size} bytes): its download was cut off, or it is damaged"
            raise ModelError(path, reason, "fetch the file again") from error
    # Check the pickle and the names.
    _check_pickle(path, [member.filename for member in members])
    _check_names([member.filename for member in members])
    # Check that the members are stored plainly, and do not overlap.
    if any(member.compress_type != zipfile.ZIP_STORED or member.flag_bits & 1 for member in members):
        raise ValueError("members of its archive are compressed or encrypted")
    if sum(member.file_size for member in members) > size:
        raise ValueError("members of its archive overlap")


def _check_pickle(path: Path, names: list[str]) -> None:
    """ModelError unless there is a pickle where PyTorch writes it."""
    if any(name.endswith("/data.pkl") for name in names):
        return
    checkpoints = [name for name in names if name.endswith((".pth", ".pt", ".ckpt", ".safetensors"))]
    inside = checkpoints or names or ["nothing"]
    remedy = f"unpack it, and give {checkpoints[0]}" if checkpoints else "give the checkpoint that PyTorch saved"
    raise ModelError(path, f"is not a checkpoint but a zip archive with {inside[0]}", printable(remedy))


def _check_names(names: list[str]) -> None:
    if len(names) > ENTRIES:
        raise ValueError(f"its archive has {len(names)} members, more than {ENTRIES}")
    if len(set(names)) < len(names):
        raise ValueError("a member of its archive stands twice")
    if any(name.split("/")[1:2] == ["code"] for name in names):
        raise ValueError("a TorchScript archive")
    folders = {name.split("/")[0] for name in names}
    if len(folders) != 1:
        raise ValueError("members of its archive lie outside its folder")
    for name in names:
        if {"", ".", ".."} & set(name.split("/")):
            raise ValueError("members of its archive lie outside its folder")


def check_header(path: Path) -> None:
    """ValueError unless a safetensors header is short and names each tensor once."""
    with open_regular(path) as file:
        length = int.from_bytes(file.read(8), "little")
        if length > HEADER:
            raise ValueError(f"its header has {length} bytes, more than {HEADER}")
        header = json.loads(file.read(length), object_pairs_hook=unique_keys)
        size = os.fstat(file.fileno()).st_size
    if not isinstance(header, dict):
        raise ValueError("its header is not a table of tensors")
    if len(header) > ENTRIES:
        raise ValueError(f"its header names {len(header)} tensors, more than {ENTRIES}")
    end = 8 + length + max(map(_data_end, header.values()), default=0)
    if end > size:
        raise ValueError(f"it ends after {size} of {end} bytes: its download was cut off, or it is damaged")


def _data_end(entry: Any) -> int:
    """End offset of a tensor's data in bytes, as its entry states it, or 0. The reader checks the rest."""
    offsets = entry.get("data_offsets") if isinstance(entry, dict) else None
    return offsets[1] if isinstance(offsets, list) and len(offsets) == 2 and isinstance(offsets[1], int) else 0
