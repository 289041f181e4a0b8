"""Paths of shipped data: inside the installed package, or at the top of a checkout."""

from __future__ import annotations

from pathlib import Path

PACKAGE = Path(__file__).resolve().parent
MANIFEST = "model.json"  # file name of a bundle's manifest


def folder(name: str) -> Path:
    """The path of a folder of shipped data: `engines`, `kernels` or `examples`."""
    installed = PACKAGE / name
    return installed if installed.is_dir() else PACKAGE.parent / name


def shipped_bundles() -> dict[str, Path]:
    """The folders of the shipped models, by name."""
    return {path.parent.name: path.parent for path in sorted(folder("engines").glob(f"*/{MANIFEST}"))}
