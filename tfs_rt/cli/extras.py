"""Import modules that need an extra, such as training or export, and name the extra if it is not installed."""

from __future__ import annotations

from types import ModuleType

from tfs_rt.optional import import_optional


def import_extra(module: str, *, extras: str) -> ModuleType:
    """Import a module; EnvironmentFault gives the command that installs `extras`."""
    package = f"'tfs-rt[{extras}]'"
    return import_optional(
        module, "this command", f"pip install {package}", reinstall=f"pip install --force-reinstall {package}"
    )
