"""The report of `tfs-rt doctor`: what was found on this machine. `as_facts` gives its shape in JSON."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

from tfs_rt.backends.registry import automatic_backends
from tfs_rt.errors import EnvironmentFault
from tfs_rt.facts import Facts


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """Why a part of the machine cannot be used, and what to do about it."""

    reason: str
    remedy: str


@dataclass(frozen=True, slots=True)
class Fault:
    """A problem of the machine as a whole, with its subject."""

    subject: str
    reason: str
    remedy: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """The verdict on a backend: it runs here, or why not and what to do."""

    backend: str
    runs: bool
    reason: str = ""
    remedy: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Driver:
    """NVIDIA's driver."""

    cuda: str | None  # the highest version of CUDA that it supports; None without a driver
    problem: Problem | None = None

    def as_facts(self) -> Facts:
        """For JSON."""
        return {"cuda": self.cuda, **_problem_facts(self.problem)}


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuFound:
    """A GPU that the driver shows."""

    name: str
    capability: str  # "8.9"
    memory: int  # bytes
    flavours: list[str]  # of TensorRT that run on it, the better one first

    def as_facts(self) -> Facts:
        """For JSON."""
        return dataclasses.asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxFound:
    """The sandbox in which images are read: the parts that it has here, and those that are missing."""

    holds: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    problem: Problem | None = None  # if it cannot be started

    def as_facts(self) -> Facts:
        """For JSON."""
        return _problem_facts(self.problem) or {"holds": self.holds, "missing": self.missing}


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheFound:
    """The cache of engines and compiled kernels."""

    folder: str
    usable: bool = True
    entries: int = 0
    bytes: int = 0
    damaged: list[str] = field(default_factory=list)  # cache keys
    problem: Problem | None = None

    def as_facts(self) -> Facts:
        """For JSON."""
        content = {"entries": self.entries, "bytes": self.bytes, "damaged": self.damaged} if self.usable else {}
        return {"folder": self.folder, "usable": self.usable, **content, **_problem_facts(self.problem)}


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineFound:
    """A built engine that is compatible with this GPU, and the shapes that it takes."""

    flavour: str
    profile: Facts

    def as_facts(self) -> Facts:
        """For JSON."""
        return {"flavour": self.flavour, **self.profile}


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFound:
    """A shipped bundle."""

    name: str
    half: bool  # it has the half-precision graph that engines are built from
    engines: list[EngineFound] = field(default_factory=list)
    problem: Problem | None = None  # if it cannot be loaded

    def as_facts(self) -> Facts:
        """For JSON."""
        rest = _problem_facts(self.problem) or {"engines": [engine.as_facts() for engine in self.engines]}
        return {"name": self.name, "half": self.half, **rest}


@dataclass(slots=True, kw_only=True)
class Report:
    """Everything that was found. What could not be examined stays None or empty, with a fault."""

    versions: dict[str, str]
    packages: dict[str, str] = field(default_factory=dict)
    driver: Driver | None = None
    gpus: list[GpuFound] = field(default_factory=list)
    sandbox: SandboxFound | None = None
    cache: CacheFound | None = None
    models: list[ModelFound] = field(default_factory=list)
    backends: list[Verdict] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)

    @property
    def running(self) -> list[str]:
        """The backends that run here."""
        return [verdict.backend for verdict in self.backends if verdict.runs]

    @property
    def auto(self) -> str:
        """The backend that `--backend auto` takes here; empty if none of its candidates runs."""
        return next((name for name in automatic_backends() if name in self.running), "")

    @property
    def exit_code(self) -> int:
        """0 if any backend runs, 6 if none does."""
        return 0 if self.running else EnvironmentFault.exit_code

    def as_facts(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "versions": self.versions,
            "packages": self.packages,
            "driver": self.driver.as_facts() if self.driver else {},
            "gpus": [gpu.as_facts() for gpu in self.gpus],
            "sandbox": self.sandbox.as_facts() if self.sandbox else {},
            "cache": self.cache.as_facts() if self.cache else {},
            "models": [model.as_facts() for model in self.models],
            "backends": [dataclasses.asdict(verdict) for verdict in self.backends],
            "faults": [dataclasses.asdict(fault) for fault in self.faults],
            "auto": self.auto,
        }


def _problem_facts(problem: Problem | None) -> Facts:
    return dataclasses.asdict(problem) if problem else {}
