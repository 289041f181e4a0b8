"""Functions of test modules on the fake GPU: our `libcuda.so.1` under the unmodified cuda-core.

A process has one libcuda for good, so each run is a process of its own, whose loader finds ours first. It is forked
from a process that has imported the program and has not yet loaded libcuda: the imports take two seconds. What passes
here holds for the host's side (order, arguments, lifetimes, capture and replay), never for a GPU's.
"""

from __future__ import annotations

import atexit
import ctypes
import gc
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

from support.shared_work import share_command

SUPPORT = Path(__file__).resolve().parent
SOURCE = SUPPORT / "fake_cuda" / "fake_cuda.cpp"
STREAMS = ("stdout", "stderr")  # files with the output of the last run
PROGRAM = ("tfs_rt.cli", "tfs_rt.batch.run", "tfs_rt.backends.trt.backend", "numpy.ma")


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
    library = _library().parent if driver else _no_library().parent
    environment = os.environ | _paths(library) | (env or {})
    if kernels:
        environment["TFS_FAKE_CUDA_KERNELS"] = str(kernels)
    # Let the process with this libcuda fork a process for the run, and wait for its end.
    request = {"target": target, "arguments": arguments, "environment": environment, "folder": str(_folder())}
    server = _server(library)
    assert server.stdin
    assert server.stdout
    server.stdin.write(json.dumps(request) + "\n")
    server.stdin.flush()
    code = server.stdout.readline().strip()
    said, errors = ((_folder() / name).read_text() for name in STREAMS)
    if code != "0" or "Exception ignored" in errors:
        pytest.fail(f"{target} on the fake GPU ended with {code}:\n{said}{errors}", False)
    return json.loads(said.splitlines()[-1])


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


def _paths(library: Path) -> dict[str, str]:
    """Where a process finds libcuda and the tests' modules."""
    modules = os.pathsep.join([str(SUPPORT.parent), str(SUPPORT.parent.parent)])
    return {"LD_LIBRARY_PATH": str(library), "PYTHONPATH": modules}


@cache
def _server(library: Path) -> subprocess.Popen[str]:
    """A process that forks a process for each run with one libcuda; it ends when its input does."""
    command = [sys.executable, "-W", "error", __file__]
    environment = os.environ | _paths(library)
    server = subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert server.stdin
    atexit.register(server.wait)
    atexit.register(server.stdin.close)  # called first
    return server


def _serve() -> None:
    """Fork a process for each request and say its exit code; in that process, run what was asked for."""
    for name in ("cuda.core", *PROGRAM):
        import_module(name)
    share_command()
    gc.freeze()  # a collection would make each process copy these modules
    for line in iter(sys.stdin.readline, ""):
        request = json.loads(line)
        module, function = request["target"].split(":")
        target = getattr(import_module(module), function)
        child = os.fork()
        if not child:
            _begin_run(Path(request["folder"]), request["environment"])
            returned = target(**request["arguments"])
            assert "torch" not in sys.modules, "the runtime on a GPU does without torch"
            sys.stdout.write(f"\n{json.dumps(returned)}\n")
            return
        _, status = os.waitpid(child, 0)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(status)}\n")
        sys.stdout.flush()


def _begin_run(folder: Path, environment: dict[str, str]) -> None:
    """Give this process the environment of its run, and files in place of the server's pipes."""
    with (
        Path(os.devnull).open() as nothing,
        (folder / STREAMS[0]).open("w") as out,
        (folder / STREAMS[1]).open("w") as errors,
    ):
        for number, stream in enumerate((nothing, out, errors)):
            os.dup2(stream.fileno(), number)
    os.environ.clear()
    os.environ.update(environment)


if __name__ == "__main__":
    _serve()
