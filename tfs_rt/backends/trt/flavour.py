"""TensorRT's two packages, `tensorrt` and `tensorrt_rtx`. They have one interface; features tell them apart."""

from __future__ import annotations

from typing import Any, Literal

from tfs_rt.backends.registry import BACKENDS
from tfs_rt.errors import EnvironmentFault, UsageError, first_line
from tfs_rt.optional import import_optional

Flavour = Literal["tensorrt", "tensorrt-rtx"]

NEEDED = ("ExecutionContextAllocationStrategy", "OnnxParser", "IProgressMonitor")


def load_flavour(flavour: Flavour) -> Any:
    """The package; EnvironmentFault if it is not installed, or older than 10.12."""
    package = BACKENDS[flavour].package
    remedy = BACKENDS[flavour].remedy
    try:
        trt = import_optional(package, flavour, remedy)
    except EnvironmentFault:
        raise
    except Exception as error:  # a package that finds no library raises what it likes
        raise EnvironmentFault(flavour, f"cannot be loaded ({first_line(error)})", remedy) from error
    missing = [name for name in NEEDED if not hasattr(trt, name)]
    if missing or not hasattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED"):
        version = getattr(trt, "__version__", "of an unknown version")
        raise EnvironmentFault(flavour, f"{package} {version} is too old", f"install 10.12 or later: {remedy}")
    return trt


def capabilities(trt: Any) -> list[str]:
    """The compute capabilities that the package compiles for without a GPU: ["7.5", ...]; `tensorrt` has none."""
    names = [name for name in dir(getattr(trt, "ComputeCapability", None)) if name.startswith("SM")]
    return [f"{int(name[2:]) // 10}.{int(name[2:]) % 10}" for name in sorted(names, key=lambda name: int(name[2:]))]


def check_capabilities(trt: Any, asked: list[str]) -> None:
    """UsageError for a compute capability that the package does not compile for."""
    known = capabilities(trt)
    for capability in asked:
        if capability not in known:
            other = ", or --engine tensorrt on that GPU" if capability in ("9.0", "10.0", "10.3") else ""
            remedy = f"choose from {', '.join(known)}{other}" if known else "leave it out: it builds for its own GPU"
            raise UsageError("--compute-capability", f"{trt.__name__} does not compile for {capability}", remedy)
