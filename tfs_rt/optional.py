"""Importing packages that may not be installed."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from tfs_rt.errors import EnvironmentFault, first_line
from tfs_rt.system.resource_limits import limit_fault


def import_optional(module: str, subject: str, remedy: str, *, reinstall: str = "") -> ModuleType:
    """Import a module that may not be installed; EnvironmentFault about `subject` if it cannot be.

    `reinstall` is the remedy for a package that is installed but does not load, if it is another one.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        raise EnvironmentFault(subject, f"the package {error.name!r} is not installed", remedy) from error
    # A shared library that does not load raises OSError; another version of a package may raise anything.
    except Exception as error:
        if limit := limit_fault(error):
            raise limit from error
        reason = f"cannot be loaded ({first_line(error)})"
        raise EnvironmentFault(subject, reason, reinstall or remedy) from error
