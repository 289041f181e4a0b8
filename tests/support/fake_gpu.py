"""Functions of test modules on the fake GPU: our `libcuda.so.1` under the unmodified cuda-core.

A process has one libcuda for good, so each run is a process of its own, whose loader finds ours first. What passes here
holds for the host's side (order, arguments, lifetimes, capture and replay), never for a GPU's.
"""

from __future__ import annotations

import atexit
import ctypes
import json
import os
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

SUPPORT = Path(__file__).resolve().parent
SOURCE = SUPPORT / "fake_cuda" / "fake_cuda.cpp"


def run(
    target: str,
    *,
    kernels: Path | None = None,
    driver: bool = True,
    env: dict[str, str] | None = None,
    **arguments: Any,
) -> Any:
    """What `"module:function"` below tests/ returns for `arguments`, all of it JSON.

    `kernels` is a shared object with the kernels' host functions (fake_cuda.cpp says which). Without `driver`
    there is no libcuda at all, whatever the machine has. `env` adds to the environment: TFS_FAKE_CUDA_CC ("8.9"),
    TFS_FAKE_CUDA_DEVICES (1), TFS_FAKE_CUDA_MEMORY (bytes), TFS_FAKE_CUDA_DRIVER (13000). Fails the test with what the
    process said if it fails, and skips it where cuda-core or g++ is missing.
    """
    if not find_spec("cuda") or not find_spec("cuda.core"):
        pytest.skip("cuda-core is not installed: pip install 'tfs-rt[cuda]'")
    paths = {
        "LD_LIBRARY_PATH": str(_library().parent if driver else _no_library().parent),
        "PYTHONPATH": os.pathsep.join([str(SUPPORT.parent), str(SUPPORT.parent.parent)]),
    }
    if kernels:
        paths["TFS_FAKE_CUDA_KERNELS"] = str(kernels)
    command = [sys.executable, "-W", "error", __file__, target, json.dumps(arguments)]
    ended = subprocess.run(command, env=os.environ | paths | (env or {}), capture_output=True, text=True, check=False)
    if ended.returncode or "Exception ignored" in ended.stderr:
        pytest.fail(f"{target} on the fake GPU ended with {ended.returncode}:\n{ended.stdout}{ended.stderr}", False)
    return json.loads(ended.stdout.splitlines()[-1])


def counter(name: str) -> int:
    """Inside a run: how often something happened.

    Of launches, kernels_run, graph_launches, graph_nodes_replayed, synchronizations, allocations, frees, live_bytes,
    pinned_bytes, uploads, downloads, captures and faults.
    """
    ask = ctypes.CDLL("libcuda.so.1").tfs_fake_counter
    ask.restype = ctypes.c_longlong
    return ask(name.encode())


def report() -> list[str]:
    """Inside a run: every misuse so far, a line each."""
    ask = ctypes.CDLL("libcuda.so.1").tfs_fake_report
    ask.restype = ctypes.c_char_p
    return ask().decode().splitlines()


def reset() -> None:
    """Inside a run: forget the counts, except of what is allocated, and the report."""
    ctypes.CDLL("libcuda.so.1").tfs_fake_reset()


@cache
def compiled(source: Path, name: str = "") -> Path:
    """A C++ file as a shared object, once for all tests; skips the test where there is no g++."""
    compiler = shutil.which("g++")
    if compiler is None:
        pytest.skip("g++ is not installed: there is no fake GPU")
    target = _folder() / (name or f"{source.stem}.so")
    flags = ["-std=c++20", "-O1", "-shared", "-fPIC", "-Wall", "-Wextra", "-Werror", f"-Wl,-soname,{target.name}"]
    subprocess.run([compiler, *flags, "-o", target, source], check=True)
    return target


def _library() -> Path:
    return compiled(SOURCE, "libcuda.so.1")


@cache
def _no_library() -> Path:
    """What the loader finds first and cannot load, so that a machine with a driver has none either."""
    target = _folder() / "none" / "libcuda.so.1"
    target.parent.mkdir()
    target.touch()
    return target


@cache
def _folder() -> Path:
    folder = tempfile.mkdtemp(prefix="tfs-rt-fake-gpu-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


def _main(target: str, arguments: str) -> None:
    module, function = target.split(":")
    returned = getattr(import_module(module), function)(**json.loads(arguments))
    assert "torch" not in sys.modules, "the runtime on a GPU does without torch"
    sys.stdout.write(f"\n{json.dumps(returned)}\n")


if __name__ == "__main__":
    _main(*sys.argv[1:])
