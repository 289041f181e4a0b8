"""Import modules that need an extra, such as training or export, and name the extra if it is not installed."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from tfs_rt.errors import EnvironmentFault, first_line
from tfs_rt.system.resource_limits import limit_fault


def import_extra(module: str, *, extras: str) -> ModuleType:
    """Import a module; EnvironmentFault gives the command that installs `extras`."""
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        reason = f"the package {error.name!r} is not installed"
        raise EnvironmentFault("this command", reason, f"pip install 'tfs-rt[{extras}]'") from error
    except (ImportError, OSError) as error:
        # A library of the package does not load.
        if limit := limit_fault(error):
            raise limit from error
        remedy = f"pip install --force-reinstall 'tfs-rt[{extras}]'"
        raise EnvironmentFault("this command", f"a library cannot be loaded ({first_line(error)})", remedy) from error
