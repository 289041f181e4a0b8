"""Where shipped data lies: inside the installed package, or at the top of a checkout."""

from __future__ import annotations

from pathlib import Path

PACKAGE = Path(__file__).resolve().parent


def folder(name: str) -> Path:
    """The folder of shipped data called `name` (`engines`, `kernels`)."""
    installed = PACKAGE / name
    return installed if installed.is_dir() else PACKAGE.parent / name


def shipped_bundles() -> dict[str, Path]:
    """The models that ship, by name."""
    return {path.parent.name: path.parent for path in sorted(folder("engines").glob("*/model.json"))}
