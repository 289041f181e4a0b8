"""The CUDA kernels compiled for the CPU: the same source through `gpu_host/host.h`, called from NumPy."""

from __future__ import annotations

import ctypes
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

HOST = Path(__file__).resolve().parent / "gpu_host"
KERNELS = HOST.parents[2] / "kernels"
BLOCK = 256
FLAGS = ["-std=c++17", "-O2", "-ffp-contract=off", "-fPIC", "-shared", "-Wl,-Bsymbolic"]
FLAGS += ["-Wall", "-Wno-unknown-pragmas"]
TYPES = {"unsigned char": "uint8", "int": "int32", "float": "float32", "unsigned long long": "uint64"}
SIGNATURE = re.compile(r'extern "C" __global__ void (\w+)\((.*?)\)', re.DOTALL)


class Parameter(NamedTuple):
    """`type` as it is declared, without const: "float*", "int"."""

    type: str
    name: str


def kernels(extra: Sequence[Path] = ()) -> dict[str, list[Parameter]]:
    """Every kernel's parameters, from its source."""
    sources = [path.read_text() for path in (*sorted(KERNELS.glob("*.cu")), *extra)]
    return {
        name: [_parameter(text) for text in parameters.split(",")]
        for source in sources
        for name, parameters in SIGNATURE.findall(source)
    }


def _parameter(text: str) -> Parameter:
    declared, name = text.replace("const ", "").strip().rsplit(" ", 1)
    return Parameter(declared, name)


def host_source(extra: Sequence[Path] = ()) -> str:
    """C++ of all kernels, and for each kernel k two functions named like it:

    `void tfs_host_k(void** params, unsigned grid, unsigned block)` runs all its threads, with pointers to the arguments
    as cuLaunchKernel takes them; `int tfs_host_params_k(int* sizes)` returns their number and writes their sizes.
    """
    files = [HOST / "host.h", KERNELS / "kernels.cu", *extra]
    includes = [f'#include "{path}"' for path in files]
    return "\n".join(includes + [_wrapper(name, parameters) for name, parameters in kernels(extra).items()])


def _wrapper(name: str, parameters: list[Parameter]) -> str:
    arguments = ", ".join(f"*({p.type}*)params[{i}]" for i, p in enumerate(parameters))
    sizes = " ".join(f"sizes[{i}] = sizeof({p.type});" for i, p in enumerate(parameters))
    return f"""
extern "C" void tfs_host_{name}(void** params, unsigned grid, unsigned block) {{
    for_each_thread(grid, block, [=] {{ {name}({arguments}); }});
}}
extern "C" int tfs_host_params_{name}(int* sizes) {{
    {sizes}
    return {len(parameters)};
}}
"""


@dataclass(frozen=True, slots=True)
class HostKernels:
    """A library of kernels and their parameters."""

    library: ctypes.CDLL
    parameters: dict[str, list[Parameter]]

    def launch(self, name: str, threads: int, *arguments: Any) -> None:
        """Run a kernel on at least so many threads; arrays go by address, NumPy's scalars by value."""
        held = []
        for argument, parameter in zip(arguments, self.parameters[name], strict=True):
            declared = np.dtype(TYPES[parameter.type.rstrip("*")])
            assert argument.dtype == declared, f"{name}: {parameter.name} is {parameter.type}, got {argument.dtype}"
            by_address = isinstance(argument, np.ndarray)
            assert by_address == parameter.type.endswith("*"), f"{name}: {parameter.name} is {parameter.type}"
            assert not by_address or argument.flags.c_contiguous, f"{name}: {parameter.name} is not contiguous"
            held.append(np.array(argument.ctypes.data if by_address else argument))
        params = (ctypes.c_void_p * len(held))(*[value.ctypes.data for value in held])
        getattr(self.library, f"tfs_host_{name}")(params, ctypes.c_uint(-(-threads // BLOCK)), ctypes.c_uint(BLOCK))


def compile_host(folder: Path, extra: Sequence[Path] = ()) -> HostKernels:
    """Compile everything into `folder`; skips the test where there is no g++."""
    compiler = shutil.which("g++")
    if compiler is None:
        pytest.skip("g++ is not installed: the kernels cannot run on this CPU")
    source, library = folder / "host.cpp", folder / "host.so"
    source.write_text(host_source(extra))
    subprocess.run([compiler, *FLAGS, "-o", library, source], check=True)
    return HostKernels(ctypes.CDLL(str(library)), kernels(extra))
