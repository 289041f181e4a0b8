"""Examine this machine for `tfs-rt doctor`: what tfs-rt can use, and what to do about the rest.

Nothing that is found raises. Native libraries are loaded in processes of their own (`tfs_rt.doctor.probes`).
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

from tfs_rt import __version__
from tfs_rt.assets import shipped_bundles
from tfs_rt.backends.cache import Entry, open_cache
from tfs_rt.backends.registry import BACKENDS
from tfs_rt.doctor.ask import Answer, Probe, ask, probes
from tfs_rt.doctor.gpus import examine_gpus
from tfs_rt.doctor.packages import examine_packages
from tfs_rt.doctor.report import CacheFound, EngineFound, Fault, ModelFound, Problem, Report, SandboxFound
from tfs_rt.doctor.verdicts import verdict, why_incompatible
from tfs_rt.errors import EnvironmentFault, TfsRtError, first_line
from tfs_rt.formats.sandboxed import SandboxedReader
from tfs_rt.models.bundle import load_bundle


def examine() -> Report:
    """Examine everything."""
    # Begin with the versions.
    report = Report(
        versions={
            "tfs-rt": __version__,
            "python": platform.python_version(),
            "system": platform.system(),
            "machine": platform.machine(),
        }
    )
    # Ask about all packages at once, each in its own process.
    with ThreadPoolExecutor() as pool:
        answers = dict(zip(probes(), pool.map(ask, probes()), strict=True))
    # Examine each part by itself, so that a fault in one does not hide the others.
    engines: list[Entry] = []
    parts: list[tuple[str, Callable[[], object]]] = [
        ("packages", lambda: examine_packages(report, answers)),
        ("driver", lambda: examine_gpus(report, answers["gpus",])),
        ("sandbox", lambda: _examine_sandbox(report)),
        ("cache", lambda: engines.extend(_examine_cache(report))),
        ("models", lambda: report.models.extend(_examine_model(name, engines, answers) for name in shipped_bundles())),
    ]
    for subject, examine_part in parts:
        try:
            examine_part()
        except Exception as error:
            # Another program may have made a file, say: report it, and examine the rest.
            reason = f"cannot be examined ({type(error).__name__}: {first_line(error)})"
            report.faults.append(Fault(subject, reason, "report this"))
    # Judge each backend by all that was found.
    report.backends = [verdict(name, report, answers, engines) for name in BACKENDS]
    return report


def _examine_sandbox(report: Report) -> None:
    """Add the parts of the sandbox in which `tfs-rt fuse` reads files."""
    try:
        with SandboxedReader() as reader:
            parts = reader.sandbox_parts().as_facts()
        report.sandbox = SandboxFound(holds=parts["holds"], missing=parts["missing"])
    except EnvironmentFault as fault:
        report.sandbox = SandboxFound(problem=Problem(reason=fault.reason, remedy=fault.remedy))


def _examine_cache(report: Report) -> list[Entry]:
    """Add the cache's state; return the engines in it that are not damaged."""
    # Open the cache.
    try:
        cache = open_cache()
    except EnvironmentFault as fault:
        problem = Problem(reason=fault.reason, remedy=fault.remedy)
        report.cache = CacheFound(folder=fault.subject, usable=False, problem=problem)
        return []
    # Check each entry against its digest.
    entries = list(cache.entries())
    damaged = [entry.key for entry in entries if not entry.is_intact()]
    problem = None
    if damaged:
        remedy = f"tfs-rt cache rm {' '.join(key[:12] for key in damaged)}"
        problem = Problem(reason=f"{len(damaged)} of its entries are damaged", remedy=remedy)
    # Report the entries, and return the good engines.
    report.cache = CacheFound(
        folder=str(cache.folder),
        entries=len(entries),
        bytes=sum(entry.size for entry in entries),
        damaged=damaged,
        problem=problem,
    )
    return [entry for entry in entries if entry.kind == "engine" and entry.key not in damaged]


def _examine_model(name: str, engines: Iterable[Entry], answers: dict[Probe, Answer]) -> ModelFound:
    """A shipped bundle: whether engines can be built from it, and its engines that are compatible with this GPU."""
    name = f"tfs-rt/{name}"
    try:
        manifest = load_bundle(name).manifest
    except TfsRtError as error:
        return ModelFound(name=name, half=False, problem=Problem(reason=error.reason, remedy=error.remedy))
    files = {precision: file.sha256 for precision, file in manifest.files.items()}
    compatible = [
        EngineFound(flavour=engine.facts["flavour"], profile=engine.facts["profile"])
        for engine in engines
        if engine.facts["model"] == files and why_incompatible(engine, answers) == ""
    ]
    return ModelFound(name=name, half="fp16" in files, engines=compatible)
