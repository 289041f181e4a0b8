"""The verdict on each backend: it runs here, or why not and what to do."""

from __future__ import annotations

from tfs_rt.backends.cache import Entry
from tfs_rt.backends.gpu.device import NEWER_DRIVER
from tfs_rt.backends.registry import BACKENDS, automatic_backends
from tfs_rt.backends.trt.engine_store import Gpu, why_foreign
from tfs_rt.doctor.ask import Answer, Probe
from tfs_rt.doctor.report import Problem, Report, Verdict


def verdict(name: str, report: Report, answers: dict[Probe, Answer], engines: list[Entry]) -> Verdict:
    """The verdict on a backend, by the probes that concern it."""
    backend = BACKENDS[name]
    if backend.device == "gpu" and not report.gpus:
        problem = report.driver.problem if report.driver else None
        problem = problem or Problem(reason="there is no GPU", remedy=NEWER_DRIVER)
        return Verdict(name, False, problem.reason, problem.remedy)
    if backend.probe == "backend":
        answer = answers["backend", name]
        if answer.found is not None:
            return Verdict(name, True)
        remedy = _ort_cuda_remedy(report) if name == "ort-cuda" else answer.remedy or backend.remedy
        return Verdict(name, False, answer.reason, remedy)

    # TensorRT: the GPU must suit it, its libraries must load, and it needs a built engine.
    gpu = report.gpus[0]
    if name not in gpu.flavours:
        other = gpu.flavours[0] if gpu.flavours else automatic_backends()[-1]
        reason = f"it knows no GPU of compute capability {gpu.capability}"
        return Verdict(name, False, reason, f"use --backend {other}")
    for answer in (answers["flavour", name], answers["device",]):
        if answer.found is None:
            return Verdict(name, False, answer.reason, answer.remedy or backend.remedy)
    return _engine_verdict(name, answers, [engine for engine in engines if engine.facts["flavour"] == name])


def why_incompatible(engine: Entry, answers: dict[Probe, Answer]) -> str:
    """Why an engine does not run here; empty if it does."""
    trt = answers["flavour", engine.facts["flavour"]].found
    device = answers["device",].found
    if trt is None or device is None:
        return "its runtime does not load"
    return why_foreign(engine, trt["version"], Gpu(**device["gpu"]))


def _ort_cuda_remedy(report: Report) -> str:
    """The command for a machine with a GPU that ONNX Runtime does not use."""
    if "onnxruntime-gpu" in report.packages:
        return "pip install 'onnxruntime-gpu[cuda,cudnn]', the CUDA libraries that it needs"
    return f"pip uninstall -y onnxruntime && {BACKENDS['ort-cuda'].remedy}"


def _engine_verdict(name: str, answers: dict[Probe, Answer], engines: list[Entry]) -> Verdict:
    """The verdict on a flavour of TensorRT that loads: it runs if one of its engines is compatible."""
    reasons = [why_incompatible(engine, answers) for engine in engines]
    if "" in reasons:
        return Verdict(name, True)
    reason = "no engine was built yet"
    if reasons:
        reason = f"no engine is compatible: {'; '.join(dict.fromkeys(reasons))}"
    trt = answers["flavour", name].found or {}
    device = answers["device",].found or {}
    target = f" --compute-capability {device['gpu']['capability']}" if trt["capabilities"] else ""
    return Verdict(name, False, reason, f"tfs-rt build tfs-rt/x4 --engine {name}{target}")
