"""The installed packages that backends need, and conflicts between them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from importlib import metadata
from typing import Any

from tfs_rt.backends.registry import BACKENDS
from tfs_rt.doctor.ask import Answer, Probe
from tfs_rt.doctor.report import Fault, Report

ONNXRUNTIME = "onnxruntime"  # a module that several distributions bring, each in its own way


def examine_packages(report: Report, answers: dict[Probe, Answer]) -> None:
    """Add the distributions that matter; a fault if two of them share a module, or another module is loaded."""
    known = _known_distributions()
    sharing: dict[str, str] = {}
    for distribution in metadata.distributions():
        name = _normalised_name(distribution)
        if name in known or name.startswith(ONNXRUNTIME):
            report.packages.setdefault(name, distribution.version)
        if name.startswith(ONNXRUNTIME) and _has_onnxruntime(distribution.files):
            sharing.setdefault(name, distribution.version)
    if len(sharing) > 1:
        report.faults.append(_several_installed(sharing, answers))
    if len(sharing) == 1:
        report.faults += _another_loaded(sharing, answers)


def _known_distributions() -> set[str]:
    """The distributions that a backend needs, by the names that pip knows them by."""
    return {name for backend in BACKENDS.values() for name in (*backend.distributions, *backend.also_needs)}


def _normalised_name(distribution: metadata.Distribution) -> str:
    """A distribution's name in the form that names compare in; empty for a broken distribution."""
    try:
        return re.sub(r"[-_.]+", "-", distribution.metadata["Name"] or "").lower()
    except Exception:  # a metadata file may hold anything
        return ""


def _has_onnxruntime(files: Sequence[Any] | None) -> bool:
    return files is None or any(str(file) == f"{ONNXRUNTIME}/__init__.py" for file in files)


def _several_installed(sharing: dict[str, str], answers: dict[Probe, Answer]) -> Fault:
    """The fault of several distributions with one module."""
    versions = " and ".join(f"{name} {version}" for name, version in sorted(sharing.items()))
    gpus = answers["gpus",].found
    extra = "gpu" if gpus and gpus["gpus"] else "cpu"
    return Fault(
        ONNXRUNTIME,
        f"{versions} are installed at once and overwrite each other's module",
        f"pip uninstall -y {' '.join(sorted(sharing))} && pip install 'tfs-rt[{extra}]'",
    )


def _another_loaded(sharing: dict[str, str], answers: dict[Probe, Answer]) -> list[Fault]:
    """The fault of a loaded module that is not the installed distribution's."""
    loaded = answers["backend", "ort-cpu"].found
    ((name, version),) = sharing.items()
    if not loaded or loaded["version"] == version:
        return []
    reason = f"what loads is {loaded['version']} ({loaded['file']}), installed is {name} {version}"
    return [Fault(ONNXRUNTIME, reason, f"pip install --force-reinstall --no-deps {name}=={version}")]
