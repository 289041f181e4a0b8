"""SimpleITK, imported when it is used: the extra `[register]`."""

from __future__ import annotations

from typing import Any

from tfs_rt.optional import import_optional


def simpleitk() -> Any:
    """The module SimpleITK; EnvironmentFault if it is not installed."""
    return import_optional("SimpleITK", "aligning volumes", "pip install 'tfs-rt[register]'")
