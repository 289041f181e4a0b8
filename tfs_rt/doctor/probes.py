"""Probes: what the doctor tries out. A library may crash or hang while it loads, so each probe is a process."""

from __future__ import annotations

import ctypes
import json
import os
import sys
from collections.abc import Callable
from typing import Any

from tfs_rt.backends.gpu.device import NEWER_DRIVER
from tfs_rt.errors import EnvironmentFault, TfsRtError, first_line

MARK = "tfs-rt probe: "  # before the answer, since a library may print other lines
LIBRARY = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
CAPABILITY = (75, 76)  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR


def gpus() -> dict[str, Any]:
    """The driver's CUDA version, the error if it cannot be started, and the visible GPUs: by ctypes alone."""
    try:
        cuda = ctypes.CDLL(LIBRARY)
    except OSError as error:
        about = "" if "No such file" in str(error) else f" that loads ({first_line(error)})"
        raise EnvironmentFault("driver", f"there is no NVIDIA driver here{about}", NEWER_DRIVER) from error
    version = ctypes.c_int()
    count = ctypes.c_int()
    cuda.cuDriverGetVersion(ctypes.byref(version))
    code = cuda.cuInit(0) or cuda.cuDeviceGetCount(ctypes.byref(count))
    found = [_gpu(cuda, ordinal) for ordinal in range(count.value)]
    return {"cuda": version.value, "error": _error(cuda, code) if code else "", "gpus": found}


def _gpu(cuda: ctypes.CDLL, ordinal: int) -> dict[str, Any]:
    device = ctypes.c_int()
    name = ctypes.create_string_buffer(256)
    memory = ctypes.c_size_t()
    parts = [ctypes.c_int(), ctypes.c_int()]
    cuda.cuDeviceGet(ctypes.byref(device), ordinal)
    cuda.cuDeviceGetName(name, len(name), device)
    cuda.cuDeviceTotalMem_v2(ctypes.byref(memory), device)
    for part, attribute in zip(parts, CAPABILITY, strict=True):
        cuda.cuDeviceGetAttribute(ctypes.byref(part), attribute, device)
    capability = f"{parts[0].value}.{parts[1].value}"
    return {"name": name.value.decode(errors="replace"), "capability": capability, "memory": memory.value}


def _error(cuda: ctypes.CDLL, code: int) -> str:
    text = ctypes.c_char_p()
    cuda.cuGetErrorName(code, ctypes.byref(text))
    return (text.value or f"CUDA error {code}".encode()).decode()


def device() -> dict[str, Any]:
    """The first visible GPU as `tensorrt` and `tensorrt-rtx` open it, and the compiler of their kernels."""
    from cuda.bindings import nvrtc

    import tfs_rt.backends.trt.backend  # noqa: F401 - imports everything that they need
    from tfs_rt.backends.gpu.cuda_device import CudaDevice

    opened = CudaDevice()
    _, *version = nvrtc.nvrtcVersion()
    gpu = {"name": opened.name, "capability": opened.compute_capability, "driver": opened.driver}
    return {"gpu": gpu, "nvrtc": ".".join(map(str, version))}


def flavour(name: Any) -> dict[str, Any]:
    """TensorRT's version, and what it compiles for without a GPU."""
    from tfs_rt.backends.trt.flavour import capabilities, load_flavour

    trt = load_flavour(name)
    return {"version": trt.__version__, "capabilities": capabilities(trt)}


def backend(name: str) -> dict[str, Any]:
    """A backend that needs no engine, with a shipped model loaded and tried."""
    from tfs_rt.assets import shipped_bundles
    from tfs_rt.backends.registry import BACKENDS, load_engine
    from tfs_rt.models.bundle import load_bundle

    load_engine(name, load_bundle(min(shipped_bundles().values())))
    module = sys.modules[BACKENDS[name].package]
    return {"version": module.__version__, "file": module.__file__}


PROBES: dict[str, Callable[..., dict[str, Any]]] = {f.__name__: f for f in (gpus, device, flavour, backend)}


def main(name: str, *arguments: str) -> None:
    """Run a probe, print its answer, and end at once: a library's clean-up may hang."""
    try:
        answer = {"found": PROBES[name](*arguments)}
    except TfsRtError as error:
        answer = {"fault": [error.reason, error.remedy]}
    except ModuleNotFoundError as error:
        answer = {"fault": [f"the package {error.name!r} is not installed", ""]}
    except BaseException as error:  # the doctor reports all of them
        answer = {"fault": [f"{type(error).__name__}: {first_line(error)}", ""]}
    sys.stdout.write(f"\n{MARK}{json.dumps(answer)}\n")
    sys.stdout.flush()
    os._exit(0)
