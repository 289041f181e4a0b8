"""The backends: where a network can run. One entry each, with every fact that the rest of the program needs.

To add a backend: write its module, add its entry to BACKENDS, and add its extra to pyproject.toml. The choices of
`--backend`, `tfs-rt doctor`, `tfs-rt bench` and the tables of the documentation are made from this registry.
Reading it imports no backend and no array library, so that `tfs-rt --help` stays fast.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal

from tfs_rt.optional import import_optional

if TYPE_CHECKING:
    from tfs_rt.models.bundle import Bundle
    from tfs_rt.sampling.engine import Engine

Device = Literal["cpu", "gpu"]
Precision = Literal["fp32", "bf16", "fp16"]

CUDA_DISTRIBUTIONS = ("cuda-core", "cuda-bindings", "nvidia-cuda-nvrtc")


@dataclass(frozen=True, slots=True, kw_only=True)
class Backend:
    """All facts about a backend."""

    summary: str  # one line for --help and for tables
    module: str  # of this project; imported when the backend is chosen
    loader: str = "load"  # the module's function: (bundle, threads) on a CPU, (bundle) on a GPU
    # The loader returns an engine (one step at a time) or a loop (whole tables on the device).
    returns: Literal["engine", "loop"] = "engine"
    probe: Literal["backend", "flavour"] = "backend"  # `tfs-rt doctor` tries it by this probe: a load, or TensorRT's
    package: str  # the library that computes, by its import name
    # Names under which pip may have installed that library; one of them is enough.
    distributions: tuple[str, ...]
    also_needs: tuple[str, ...] = ()  # distributions that must all be installed as well
    extra: str  # pip install 'tfs-rt[EXTRA]' brings all of them
    device: Device
    precision: Precision  # of the network's arithmetic
    graph: Literal["fp32", "fp16"] = "fp32"  # the bundle's file that it loads
    # Place in the order in which `auto` tries backends; None: only when asked for.
    auto_order: int | None = None

    @property
    def remedy(self) -> str:
        """The command that installs it."""
        return f"pip install 'tfs-rt[{self.extra}]'"


BACKENDS = {
    "ort-cpu": Backend(
        summary="ONNX Runtime on the CPU, float32",
        module="tfs_rt.backends.ort_cpu",
        package="onnxruntime",
        distributions=("onnxruntime", "onnxruntime-gpu"),
        extra="cpu",
        device="cpu",
        precision="fp32",
        auto_order=2,
    ),
    "winograd": Backend(
        summary="our own kernels, compiled for this CPU, float32; the fastest on a CPU",
        module="tfs_rt.backends.winograd.backend",
        package="llvmlite",
        distributions=("llvmlite",),
        extra="cpu",
        device="cpu",
        precision="fp32",
        auto_order=1,
    ),
    "openvino": Backend(
        summary="OpenVINO on the CPU, float32",
        module="tfs_rt.backends.openvino_cpu",
        package="openvino",
        distributions=("openvino",),
        extra="openvino",
        device="cpu",
        precision="fp32",
    ),
    "openvino-bf16": Backend(
        summary="OpenVINO on a CPU with AVX-512 BF16 or AMX, bfloat16",
        module="tfs_rt.backends.openvino_cpu",
        loader="load_bf16",
        package="openvino",
        distributions=("openvino",),
        extra="openvino",
        device="cpu",
        precision="bf16",
    ),
    "ort-cuda": Backend(
        summary="ONNX Runtime on an NVIDIA GPU, float32",
        module="tfs_rt.backends.ort_cuda",
        package="onnxruntime",
        distributions=("onnxruntime-gpu",),
        extra="gpu",
        device="gpu",
        precision="fp32",
    ),
    "tensorrt": Backend(
        summary="TensorRT in CUDA graphs on an NVIDIA GPU, FP16; needs an engine from `tfs-rt build`",
        module="tfs_rt.backends.trt.backend",
        loader="load_tensorrt",
        returns="loop",
        probe="flavour",
        package="tensorrt",
        distributions=("tensorrt-cu13", "tensorrt-cu12", "tensorrt"),
        also_needs=CUDA_DISTRIBUTIONS,
        extra="tensorrt",
        device="gpu",
        precision="fp16",
        graph="fp16",
    ),
    "tensorrt-rtx": Backend(
        summary="TensorRT for RTX in CUDA graphs on a GeForce or RTX GPU, FP16; needs an engine from `tfs-rt build`",
        module="tfs_rt.backends.trt.backend",
        loader="load_tensorrt_rtx",
        returns="loop",
        probe="flavour",
        package="tensorrt_rtx",
        distributions=("tensorrt-rtx-cu13",),
        also_needs=CUDA_DISTRIBUTIONS,
        extra="rtx",
        device="gpu",
        precision="fp16",
        graph="fp16",
    ),
    "torch": Backend(
        summary="the PyTorch reference on the CPU, float32; slow, and the measure of all others",
        module="tfs_rt_reference.engine",
        package="torch",
        distributions=("torch",),
        extra="export",
        device="cpu",
        precision="fp32",
    ),
}


def backends_on(device: Device) -> tuple[str, ...]:
    """The names of the backends that compute on a device."""
    return tuple(name for name, backend in BACKENDS.items() if backend.device == device)


def automatic_backends() -> tuple[str, ...]:
    """The candidates of `auto`, in order; the first that runs is taken. All compute in float32, the fastest first."""
    order = {name: backend.auto_order for name, backend in BACKENDS.items() if backend.auto_order is not None}
    return tuple(sorted(order, key=order.__getitem__))


def load_engine(backend: str, bundle: Bundle, threads: int | None = None) -> Engine[Any]:
    """Load a bundle on a backend whose loader returns an engine; `threads` are for the CPU."""
    load = backend_loader(backend)
    return load(bundle, threads) if BACKENDS[backend].device == "cpu" else load(bundle)


def backend_loader(backend: str) -> Any:
    """The loading function of a backend; EnvironmentFault names a package that is missing."""
    return getattr(backend_module(backend), BACKENDS[backend].loader)


def backend_module(backend: str) -> ModuleType:
    """Import a backend's module; EnvironmentFault names a package that is missing."""
    chosen = BACKENDS[backend]
    return import_optional(chosen.module, f"backend {backend}", chosen.remedy)
