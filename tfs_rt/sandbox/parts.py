"""The parts of the sandbox, and what a user is told if some of them are missing."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from tfs_rt.errors import EnvironmentFault

SECCOMP = "seccomp"  # the filter of system calls
LANDLOCK = "Landlock"  # the lock on files
NETWORK = "network namespace"
MEMORY = "memory limit"
PARTS = (SECCOMP, LANDLOCK, NETWORK, MEMORY)
OPTION = "--require-sandbox"


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts of the sandbox that hold a child process."""

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


def known_parts(answer: list[Any]) -> Parts:
    """The parts that a child says it is held by, before it has seen foreign bytes; unknown names are left out."""
    return Parts(tuple(part for part in PARTS if part in answer))
