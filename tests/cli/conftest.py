"""Fixtures of the command line's tests."""

import shutil
from pathlib import Path

import pytest


@pytest.fixture
def edited(tmp_path: Path, x4: Path) -> Path:
    """A bundle with one bit of its graph changed."""
    folder = shutil.copytree(x4, tmp_path / "edited")
    data = bytearray((folder / "step.onnx").read_bytes())
    data[len(data) // 2] ^= 1
    (folder / "step.onnx").write_bytes(data)
    return folder
