"""What of this machine tfs-rt can use, and what to do about the rest: found out without raising, native code at arm's
length (`tfs_rt.doctor.probes`).
"""

from __future__ import annotations

import json
import os
import platform
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from importlib import metadata
from typing import Any, NamedTuple, get_args

from tfs_rt import __version__
from tfs_rt.assets import shipped_bundles
from tfs_rt.backends.cache import Entry, open_cache
from tfs_rt.backends.gpu.device import NEWER_DRIVER, OLDEST_CUDA
from tfs_rt.backends.registry import BACKENDS, automatic_backends
from tfs_rt.backends.trt.engine_store import Gpu, foreign
from tfs_rt.backends.trt.flavour import Flavour
from tfs_rt.doctor.probes import MARK
from tfs_rt.errors import EnvironmentFault, TfsRtError, first_line, printable
from tfs_rt.facts import Facts
from tfs_rt.formats.sandboxed import SandboxedReader
from tfs_rt.models.bundle import load_bundle

SECONDS = 60.0  # for a probe
HIDDEN = ("", "-1", "NoDevFiles")
Probe = tuple[str, ...]


class Fault(NamedTuple):
    """What is wrong, and the command that mends it."""

    subject: str
    reason: str
    remedy: str


class Answer(NamedTuple):
    """What a probe found, or why it found nothing."""

    found: Facts | None
    reason: str = ""
    remedy: str = ""


class Verdict(NamedTuple):
    """Whether a backend runs here; if not, why and what to do."""

    backend: str
    runs: bool
    reason: str = ""
    remedy: str = ""


@dataclass(slots=True)
class Report:
    """All that was found."""

    versions: dict[str, str]
    packages: dict[str, str]
    driver: Facts = field(default_factory=dict)  # cuda, and reason and remedy if it does not do
    gpus: list[Facts] = field(default_factory=list)
    sandbox: Facts = field(default_factory=dict)  # the parts that it holds and those that are missing; or a reason
    cache: Facts = field(default_factory=dict)
    models: list[Facts] = field(default_factory=list)
    backends: list[Verdict] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)

    @property
    def auto(self) -> str:
        """The backend that `--backend auto` takes here; empty if none of its candidates runs."""
        running = {verdict.backend for verdict in self.backends if verdict.runs}
        return next((name for name in automatic_backends() if name in running), "")

    @property
    def exit_code(self) -> int:
        """0 if any backend runs, 6 if none does."""
        return 0 if any(verdict.runs for verdict in self.backends) else EnvironmentFault.exit_code

    def as_facts(self) -> Facts:
        """For JSON."""
        facts: Facts = {name: getattr(self, name) for name in (*self.__dataclass_fields__, "auto")}
        return facts | {name: [item._asdict() for item in facts[name]] for name in ("backends", "faults")}


def examine() -> Report:
    """Look at everything; nothing that is found raises."""
    versions = {"tfs-rt": __version__, "python": platform.python_version(), "system": platform.system()}
    report = Report(versions | {"machine": platform.machine()}, {})
    with ThreadPoolExecutor() as pool:
        answers = dict(zip(probes(), pool.map(ask, probes()), strict=True))
    engines: list[Entry] = []
    looks: list[tuple[str, Callable[[], object]]] = [
        ("packages", lambda: _packages(report, answers)),
        ("driver", lambda: _driver(report, answers["gpus",])),
        ("sandbox", lambda: _sandbox(report)),
        ("cache", lambda: engines.extend(_cache(report))),
        ("models", lambda: report.models.extend(_model(name, engines, answers) for name in shipped_bundles())),
    ]
    for subject, look in looks:
        try:
            look()
        except Exception as error:  # a file of another's making, say: told, and the rest is looked at
            fault = Fault(subject, f"cannot be looked at ({type(error).__name__}: {first_line(error)})", "report this")
            report.faults.append(fault)
    report.backends = [_verdict(name, report, answers, engines) for name in BACKENDS]
    return report


def probes() -> list[Probe]:
    """Everything that is tried out in a process of its own."""
    tried: list[Probe] = [("gpus",), ("device",), *(("flavour", name) for name in get_args(Flavour))]
    return tried + [("backend", name) for name, backend in BACKENDS.items() if backend.returns == "engine"]


def known_distributions() -> set[str]:
    """The distributions that a backend needs, by the names that pip knows them by."""
    return {name for backend in BACKENDS.values() for name in (*backend.distributions, *backend.also_needs)}


def ask(probe: Probe) -> Answer:
    """The answer of a probe's process, whatever becomes of it."""
    code = f"import sys; sys.path[:] = {sys.path!r}; from tfs_rt.doctor.probes import main; main(*{probe!r})"
    command = [sys.executable, "-c", code]
    try:
        ended = subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL, timeout=SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return Answer(None, f"it does not answer within {SECONDS:g} s")
    except OSError as error:
        return Answer(None, f"no process can be started ({first_line(error)})")
    lines = ended.stdout.decode(errors="replace").splitlines()
    try:
        said = json.loads([line for line in lines if line.startswith(MARK)][-1].removeprefix(MARK))
        return Answer(said["found"]) if "found" in said else Answer(None, *said["fault"])
    except (IndexError, ValueError, KeyError, TypeError):
        return Answer(None, _end(ended))


def _end(ended: subprocess.CompletedProcess[bytes]) -> str:
    """How a process ended that gave no answer."""
    if ended.returncode < 0 and -ended.returncode in list(signal.Signals):
        return f"it crashes while it loads ({signal.Signals(-ended.returncode).name})"
    last = ended.stderr.decode(errors="replace").strip().splitlines()[-1:]
    return printable(f"it ends with {ended.returncode} while it loads{''.join(f' ({line})' for line in last)}")


def flavours(capability: str) -> list[str]:
    """What runs on a GPU of a compute capability, the better first, by NVIDIA's support matrices of both packages."""
    if capability in ("7.5", "8.6", "8.9") or capability.startswith("12."):
        return ["tensorrt-rtx", "tensorrt"]
    if capability == "8.0":  # TensorRT-RTX compiles for it, and does not list it
        return ["tensorrt", "tensorrt-rtx"]
    return ["tensorrt"] if float(capability) >= 7.5 else []


def _packages(report: Report, answers: dict[Probe, Answer]) -> None:
    """The distributions that matter, and whether two of them share a module."""
    sharing: dict[str, str] = {}
    known = known_distributions()
    for distribution in metadata.distributions():
        name = _name(distribution)
        if name in known or name.startswith("onnxruntime"):
            report.packages.setdefault(name, distribution.version)
        if name.startswith("onnxruntime") and _holds_onnxruntime(distribution.files):
            sharing.setdefault(name, distribution.version)
    if len(sharing) > 1:
        reason = f"{_listed(sharing)} are installed at once and overwrite each other's module"
        remedy = f"pip uninstall -y {' '.join(sorted(sharing))} && pip install 'tfs-rt[{_wanted(answers)}]'"
        report.faults.append(Fault("onnxruntime", reason, remedy))
    loaded = answers["backend", "ort-cpu"].found
    if loaded and len(sharing) == 1 and loaded["version"] not in sharing.values():
        ((name, version),) = sharing.items()
        reason = f"what loads is {loaded['version']} ({loaded['file']}), installed is {name} {version}"
        report.faults.append(Fault("onnxruntime", reason, f"pip install --force-reinstall --no-deps {name}=={version}"))


def _name(distribution: metadata.Distribution) -> str:
    """In the form that all names compare in; none for a distribution that is broken."""
    try:
        return re.sub(r"[-_.]+", "-", distribution.metadata["Name"] or "").lower()
    except Exception:  # whatever a file of no use here may hold
        return ""


def _holds_onnxruntime(files: Sequence[Any] | None) -> bool:
    return files is None or any(str(file) == "onnxruntime/__init__.py" for file in files)


def _wanted(answers: dict[Probe, Answer]) -> str:
    """Which of the two extras suits this machine."""
    found = answers["gpus",].found
    return "gpu" if found and found["gpus"] else "cpu"


def _listed(versions: dict[str, str]) -> str:
    return " and ".join(f"{name} {version}" for name, version in sorted(versions.items()))


def _driver(report: Report, answer: Answer) -> None:
    """The driver, the GPUs, and what hides them."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None and (fault := _visible(visible)):
        report.faults.append(fault)
    if answer.found is None:
        report.driver = {"cuda": None, "reason": answer.reason, "remedy": answer.remedy or NEWER_DRIVER}
        return
    version, error = answer.found["cuda"], answer.found["error"]
    report.driver = {"cuda": f"{version // 1000}.{version % 1000 // 10}"}
    if version < OLDEST_CUDA:
        report.driver |= {"reason": "tensorrt and tensorrt-rtx need CUDA 13.0", "remedy": NEWER_DRIVER}
    elif error or not answer.found["gpus"]:
        reason = f"finds no GPU ({error})" if error else "finds no GPU"
        report.driver |= {"reason": reason, "remedy": "see what nvidia-smi lists, and CUDA_VISIBLE_DEVICES"}
    report.gpus = [gpu | {"flavours": flavours(gpu["capability"])} for gpu in answer.found["gpus"]]


def _visible(value: str) -> Fault | None:
    """What CUDA_VISIBLE_DEVICES does amiss: CUDA ignores everything from the first entry that it does not know."""
    entries = [entry.strip() for entry in value.split(",")]
    if entries[0] in HIDDEN:
        return Fault("CUDA_VISIBLE_DEVICES", f"is {value!r}, which hides every GPU", "unset CUDA_VISIBLE_DEVICES")
    odd = [entry for entry in entries if not re.fullmatch(r"\d+|(GPU|MIG)-[\w/-]+", entry)]
    if odd or len(set(entries)) < len(entries):
        about = f"{odd[0]!r} is no GPU" if odd else "an entry stands twice"
        return Fault("CUDA_VISIBLE_DEVICES", f"is {value!r}: {about}", "export CUDA_VISIBLE_DEVICES=0")
    return None


def _sandbox(report: Report) -> None:
    """The parts of the sandbox in which `tfs-rt fuse` reads files."""
    try:
        with SandboxedReader() as reader:
            report.sandbox = reader.sandbox_parts().as_facts()
    except EnvironmentFault as fault:
        report.sandbox = {"reason": fault.reason, "remedy": fault.remedy}


def _cache(report: Report) -> list[Entry]:
    """The cache's state, and the engines in it that are whole."""
    try:
        cache = open_cache()
    except EnvironmentFault as fault:
        report.cache = {"folder": fault.subject, "usable": False, "reason": fault.reason, "remedy": fault.remedy}
        return []
    entries = list(cache.entries())
    damaged = [entry.key for entry in entries if not entry.is_whole()]
    report.cache = {"folder": str(cache.folder), "usable": True, "entries": len(entries)}
    report.cache |= {"bytes": sum(entry.size for entry in entries), "damaged": damaged}
    if damaged:
        remedy = f"tfs-rt cache rm {' '.join(key[:12] for key in damaged)}"
        report.cache |= {"reason": f"{len(damaged)} of its entries are damaged", "remedy": remedy}
    return [entry for entry in entries if entry.kind == "engine" and entry.key not in damaged]


def _model(name: str, engines: Iterable[Entry], answers: dict[Probe, Answer]) -> Facts:
    """A shipped bundle: whether engines can be built of it, and those that fit this GPU."""
    try:
        manifest = load_bundle(f"tfs-rt/{name}").manifest
    except TfsRtError as error:
        return {"name": f"tfs-rt/{name}", "half": False, "reason": error.reason, "remedy": error.remedy}
    files = {precision: file.sha256 for precision, file in manifest.files.items()}
    fitting = [e for e in engines if e.facts["model"] == files and _misfit(e, answers) == ""]
    told = [{"flavour": e.facts["flavour"], **e.facts["profile"]} for e in fitting]
    return {"name": f"tfs-rt/{name}", "half": "fp16" in files, "engines": told}


def _misfit(engine: Entry, answers: dict[Probe, Answer]) -> str:
    """Why an engine does not run here; nothing if it does."""
    trt, device = answers["flavour", engine.facts["flavour"]].found, answers["device",].found
    if trt is None or device is None:
        return "its runtime does not load"
    return foreign(engine, trt["version"], Gpu(**device["gpu"]))


def _verdict(name: str, report: Report, answers: dict[Probe, Answer], engines: list[Entry]) -> Verdict:
    """Whether a backend runs, by the probes that concern it."""
    backend = BACKENDS[name]
    if backend.device == "gpu" and not report.gpus:
        reason, remedy = report.driver.get("reason", "there is no GPU"), report.driver.get("remedy", NEWER_DRIVER)
        return Verdict(name, False, reason, remedy)
    if backend.returns == "engine":
        answer = answers["backend", name]
        remedy = _for_ort_cuda(report) if name == "ort-cuda" else answer.remedy or backend.remedy
        return Verdict(name, answer.found is not None, answer.reason, "" if answer.found else remedy)
    suited, capability = report.gpus[0]["flavours"], report.gpus[0]["capability"]
    if name not in suited:
        other = f"use --backend {suited[0]}" if suited else f"use --backend {automatic_backends()[-1]}"
        return Verdict(name, False, f"it knows no GPU of compute capability {capability}", other)
    for answer in (answers["flavour", name], answers["device",]):
        if answer.found is None:
            return Verdict(name, False, answer.reason, answer.remedy or backend.remedy)
    return _with_engine(name, answers, [engine for engine in engines if engine.facts["flavour"] == name])


def _for_ort_cuda(report: Report) -> str:
    """The command for where there is a GPU that ONNX Runtime does not use."""
    if "onnxruntime-gpu" in report.packages:
        return "pip install 'onnxruntime-gpu[cuda,cudnn]', the CUDA libraries that it needs"
    return f"pip uninstall -y onnxruntime && {BACKENDS['ort-cuda'].remedy}"


def _with_engine(name: str, answers: dict[Probe, Answer], engines: list[Entry]) -> Verdict:
    """All is there but, perhaps, an engine."""
    misfits = [_misfit(engine, answers) for engine in engines]
    if "" in misfits:
        return Verdict(name, True)
    reason = f"no engine fits: {'; '.join(dict.fromkeys(misfits))}" if misfits else "no engine was built yet"
    trt, device = answers["flavour", name].found or {}, answers["device",].found or {}
    target = f" --compute-capability {device['gpu']['capability']}" if trt["capabilities"] else ""
    return Verdict(name, False, reason, f"tfs-rt build tfs-rt/x4 --engine {name}{target}")
