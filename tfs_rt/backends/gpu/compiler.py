"""Compile the CUDA kernels for a GPU, once, by NVRTC: sources ship, machine code does not."""

from __future__ import annotations

import hashlib
from pathlib import Path

from cuda import core
from cuda.bindings import nvrtc

from tfs_rt.assets import folder
from tfs_rt.backends.cache import Cache
from tfs_rt.errors import EnvironmentFault, first_line, printable
from tfs_rt.facts import Facts

KERNELS = (
    "tfs_resample",
    "tfs_normalise",
    "tfs_start",
    "tfs_select",
    "tfs_update",
    "tfs_advance",
    "tfs_finish",
)


def kernel_code(capability: str, cache: Cache) -> bytes:
    """The machine code of all kernels for a compute capability; EnvironmentFault if they do not compile."""
    # Read the sources of all kernels.
    sources = folder("kernels")
    texts = [path.read_bytes() for path in sorted(sources.glob("*.cu*"))]
    # Find NVRTC's version.
    try:
        _, *version = nvrtc.nvrtcVersion()
    except Exception as error:  # pathfinder has a class of its own for a missing library
        raise EnvironmentFault(
            "NVRTC", f"cannot be loaded ({first_line(error)})", "pip install 'tfs-rt[cuda]'"
        ) from error
    # Compile, unless the cache has the code.
    facts = {
        "sources": hashlib.sha256(b"\0".join(texts)).hexdigest(),
        "compute_capability": capability,
        "nvrtc": ".".join(map(str, version)),
    }

    def make() -> tuple[bytes, Facts]:
        return _compile(sources, capability), {}

    return cache.get_or_make("kernels", facts, make).read()


def _compile(sources: Path, capability: str) -> bytes:
    # No fused multiply-adds: memory bandwidth is the limit, and without them the numbers equal NumPy's.
    options = core.ProgramOptions(
        arch=f"sm_{capability.replace('.', '')}", std="c++17", include_path=str(sources), fma=False
    )
    try:
        program = core.Program((sources / "kernels.cu").read_text(encoding="utf-8"), "c++", options)
        return bytes(program.compile("cubin").code)
    except Exception as error:  # of NVRTC's and cuda-core's own classes
        reason = f"cannot be compiled for compute capability {capability} ({printable(str(error))})"
        raise EnvironmentFault(sources, reason, "update nvidia-cuda-nvrtc, which may not know this GPU") from error
