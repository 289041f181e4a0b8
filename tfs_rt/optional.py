"""Modules of packages that may not be installed."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from tfs_rt.errors import EnvironmentFault, first_line
from tfs_rt.system.resource_limits import limit_fault


def imported(module: str, subject: str, remedy: str) -> ModuleType:
    """A module that may not be installed, imported; EnvironmentFault about `subject` if it cannot be."""
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        raise EnvironmentFault(subject, f"the package {error.name!r} is not installed", remedy) from error
    except Exception as error:  # a library of it that does not load is an OSError, another version's names are anything
        if limit := limit_fault(error):
            raise limit from error
        reason = f"cannot be loaded ({first_line(error)})"
        raise EnvironmentFault(subject, reason, remedy) from error
