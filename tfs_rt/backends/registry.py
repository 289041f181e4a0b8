"""The backends: where each network can run, and what each needs."""

from __future__ import annotations

from types import ModuleType
from typing import Any, NamedTuple

from tfs_rt.models.bundle import Bundle
from tfs_rt.optional import imported
from tfs_rt.sampling.engine import Engine


class Backend(NamedTuple):
    """Where a backend lives."""

    module: str
    runtime: str  # the package that computes
    remedy: str  # if it is missing
    on_cpu: bool = True
    loop: str = ""  # the module's function that loads a loop; without one it has one for an engine:
    load: str = "load"


BACKENDS = {
    "ort-cpu": Backend("tfs_rt.backends.ort_cpu", "onnxruntime", "pip install 'tfs-rt[cpu]'"),
    "winograd": Backend("tfs_rt.backends.winograd.backend", "llvmlite", "pip install 'tfs-rt[cpu]'"),
    "openvino": Backend("tfs_rt.backends.openvino_cpu", "openvino", "pip install 'tfs-rt[openvino]'"),
    "openvino-bf16": Backend(
        "tfs_rt.backends.openvino_cpu", "openvino", "pip install 'tfs-rt[openvino]'", load="load_bf16"
    ),
    "ort-cuda": Backend("tfs_rt.backends.ort_cuda", "onnxruntime", "pip install 'tfs-rt[gpu]'", on_cpu=False),
    "tensorrt": Backend(
        "tfs_rt.backends.trt.backend",
        "tensorrt",
        "pip install 'tfs-rt[tensorrt]'",
        on_cpu=False,
        loop="load_tensorrt",
    ),
    "tensorrt-rtx": Backend(
        "tfs_rt.backends.trt.backend",
        "tensorrt_rtx",
        "pip install 'tfs-rt[rtx]'",
        on_cpu=False,
        loop="load_tensorrt_rtx",
    ),
    "torch": Backend("tfs_rt_reference.engine", "torch", "pip install 'tfs-rt[export]'"),
}


AUTOMATIC = ("winograd", "ort-cpu")  # what `auto` takes, the first that runs: float32 both, and the faster first


def load_engine(backend: str, bundle: Bundle, threads: int | None = None) -> Engine[Any]:
    """The engine of a bundle on a backend that has engines; `threads` are those of a backend on the CPU."""
    load = getattr(backend_module(backend), BACKENDS[backend].load)
    return load(bundle, threads) if BACKENDS[backend].on_cpu else load(bundle)


def backend_module(backend: str) -> ModuleType:
    """A backend's module, imported; EnvironmentFault names the package that is missing."""
    chosen = BACKENDS[backend]
    return imported(chosen.module, f"backend {backend}", chosen.remedy)
