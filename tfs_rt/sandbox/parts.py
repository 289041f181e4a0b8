"""The sandbox in which foreign bytes are parsed: its parts, and what a user is told where some of them are missing."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from tfs_rt.errors import EnvironmentFault

SECCOMP = "seccomp"  # the filter of system calls
LANDLOCK = "Landlock"  # the lock on files
NETWORK = "network namespace"
MEMORY = "memory limit"
PARTS = (SECCOMP, LANDLOCK, NETWORK, MEMORY)
OPTION = "--require-sandbox"
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")  # each maps much
VARIABLES = {
    *("LANG", "PYTHONHOME", "PYTHONPLATLIBDIR", "PYTHONUTF8", "PYTHONPYCACHEPREFIX", "PYTHONDONTWRITEBYTECODE"),
    *("LD_LIBRARY_PATH", "LD_PRELOAD", "DYLD_LIBRARY_PATH", "DYLD_FALLBACK_LIBRARY_PATH"),
    *(("SYSTEMROOT", "PATH") if os.name == "nt" else ()),
}  # of the environment, what Python and its libraries need to start; all else stays with the parent
PREFIXES = ("LC_", "OMP_", "KMP_", "MKL_", "OPENBLAS_", "NPY_")  # and what a mathematical library needs on a processor


@dataclass(frozen=True, slots=True)
class Sandbox:
    """The parts that hold a child process."""

    held: Collection[str]

    @property
    def missing(self) -> list[str]:
        """The parts that this system lacks, or does not permit to this user."""
        return [part for part in PARTS if part not in self.held]

    @property
    def warning(self) -> str:
        """One line about the missing parts; empty if there are none."""
        if not self.missing:
            return ""
        return (
            f"sandbox: files are read with {self._lack} here, so a file that takes over its decoder can do more "
            f"(SECURITY.md); {OPTION} refuses to run like this"
        )

    def as_facts(self) -> dict[str, list[str]]:
        """For the sidecar, the report and `tfs-rt doctor --json`."""
        return {"holds": [part for part in PARTS if part in self.held], "missing": self.missing}

    def check_complete(self) -> None:
        """EnvironmentFault names the missing parts."""
        if self.missing:
            remedy = "run on Linux with Landlock (5.13), where this user may make namespaces, or leave the option out"
            raise EnvironmentFault(OPTION, f"files would be read with {self._lack} here", remedy)

    @property
    def _lack(self) -> str:
        return " and ".join(f"no {part}" for part in self.missing)


def sandbox_of(facts: Any) -> Sandbox:
    """The sandbox that a child says it is in, before it has seen foreign bytes."""
    return Sandbox(tuple(part for part in PARTS if part in facts))


def child_environment(own: Mapping[str, str]) -> dict[str, str]:
    """A child's environment: no address of an agent, no key, no setting that a library would follow."""
    kept = {name: value for name, value in own.items() if name in VARIABLES or name.startswith(PREFIXES)}
    return {**kept, **ONE_THREAD}
