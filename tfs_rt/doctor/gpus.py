"""NVIDIA's driver and the GPUs that it shows."""

from __future__ import annotations

import os
import re

from tfs_rt.backends.gpu.device import NEWER_DRIVER, OLDEST_CUDA
from tfs_rt.doctor.ask import Answer
from tfs_rt.doctor.report import Driver, Fault, GpuFound, Problem, Report

HIDES_ALL = ("", "-1", "NoDevFiles")  # values of CUDA_VISIBLE_DEVICES


def examine_gpus(report: Report, answer: Answer) -> None:
    """Add the driver and its GPUs; a fault if CUDA_VISIBLE_DEVICES hides some by mistake."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None and (fault := _check_visible_devices(visible)):
        report.faults.append(fault)
    if answer.found is None:
        problem = Problem(reason=answer.reason, remedy=answer.remedy or NEWER_DRIVER)
        report.driver = Driver(cuda=None, problem=problem)
        return
    version = answer.found["cuda"]
    gpus = answer.found["gpus"]
    problem = _driver_problem(version, answer.found["error"], len(gpus))
    report.driver = Driver(cuda=f"{version // 1000}.{version % 1000 // 10}", problem=problem)
    report.gpus = [GpuFound(**gpu, flavours=flavours(gpu["capability"])) for gpu in gpus]


def flavours(capability: str) -> list[str]:
    """The flavours of TensorRT for a compute capability, the better one first.

    Source: NVIDIA's support matrices of both packages.
    """
    if capability in ("7.5", "8.6", "8.9") or capability.startswith("12."):
        return ["tensorrt-rtx", "tensorrt"]
    if capability == "8.0":  # TensorRT-RTX compiles for it, and does not list it
        return ["tensorrt", "tensorrt-rtx"]
    return ["tensorrt"] if float(capability) >= 7.5 else []


def _driver_problem(version: int, error: str, gpus: int) -> Problem | None:
    if version < OLDEST_CUDA:
        return Problem(reason="tensorrt and tensorrt-rtx need CUDA 13.0", remedy=NEWER_DRIVER)
    if error or not gpus:
        reason = f"finds no GPU ({error})" if error else "finds no GPU"
        return Problem(reason=reason, remedy="see what nvidia-smi lists, and CUDA_VISIBLE_DEVICES")
    return None


def _check_visible_devices(value: str) -> Fault | None:
    """A mistake in CUDA_VISIBLE_DEVICES: CUDA ignores everything from the first entry that it does not know."""
    entries = [entry.strip() for entry in value.split(",")]
    if entries[0] in HIDES_ALL:
        return Fault("CUDA_VISIBLE_DEVICES", f"is {value!r}, which hides every GPU", "unset CUDA_VISIBLE_DEVICES")
    unknown = [entry for entry in entries if not re.fullmatch(r"\d+|(GPU|MIG)-[\w/-]+", entry)]
    if unknown or len(set(entries)) < len(entries):
        about = f"{unknown[0]!r} is not a valid GPU" if unknown else "an entry stands twice"
        return Fault("CUDA_VISIBLE_DEVICES", f"is {value!r}: {about}", "export CUDA_VISIBLE_DEVICES=0")
    return None
